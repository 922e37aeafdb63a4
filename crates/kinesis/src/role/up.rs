//! `kinesis up`: a whole grid on one machine, each part a process of its own.
//!
//! Started in order (chain, signer, utility, suppliers), stopped in the opposite order. Children find their
//! settings in a file that is written for them, since a database's URL may hold a password and
//! arguments are seen by everybody.

mod backing;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use kinesis_chain::dev;
use kinesis_protocol::{NanoJoule, Tier};
use serde::Serialize;

use super::{
    Stop,
    chain::RPC_DEFAULT,
    signer::SignerEndpoints,
    supervisor::{Change, Kept, Spec},
    utility,
};
use crate::{
    cli::{
        key::SignerSettings,
        role::{JoinSettings, Up, UpSettings},
    },
    config::{self, Layered},
    endpoints::{self, ChainEndpoints, GridEndpoints, SupplierEndpoints, UtilityEndpoints},
    error::{Error, Result},
    files::{self, DataLock},
    output::Output,
    profile::URL_DEFAULT,
};

/// How often the children are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a child may take to answer at first.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a child may take to stop.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long a supplier goes on serving when the grid is stopped: nobody takes over from it.
const DRAIN_S: u64 = 2;
const SUPPLIERS_MAX: usize = 64;
/// The stake that a grid on its own chain asks suppliers for, unless somebody says otherwise: what a
/// claim on one machine occupies.
const MIN_STAKE: NanoJoule = NanoJoule(100_000_000_000);

struct Grid {
    dir: PathBuf,
    program: PathBuf,
    out: Output,
    rpc: Option<String>,
    children: Vec<Kept>,
    suppliers: Vec<SupplierEndpoints>,
}

pub(crate) async fn run(args: Up, out: Output) -> Result<()> {
    let dir = config::data_dir(args.data.data.as_deref(), None)?;
    let settings: UpSettings = args.settings.over(config::up_file(&args.data, &dir)?);
    let tiers = tiers(settings.own.suppliers.as_deref().unwrap_or("1"))?;
    let _lock = DataLock::take(&dir)?;
    check_ports(&settings)?;
    let mut stop = Stop::listen()?;
    let mut grid = Grid {
        dir,
        program: std::env::current_exe().map_err(Error::io("find this program"))?,
        out,
        rpc: settings.own.chain.clone(),
        children: Vec::new(),
        suppliers: Vec::new(),
    };
    // Whoever reads the file must not find the ports of a grid that is gone.
    let stale = grid.dir.join(endpoints::FILE);
    if stale.exists() {
        std::fs::remove_file(&stale).map_err(Error::io(format!("remove {}", stale.display())))?;
    }
    let ended = tokio::select! {
        ended = grid.live(&settings, &tiers) => ended,
        () = stop.asked() => Ok(()),
    };
    out.note("Stopping");
    tokio::select! {
        () = grid.stop() => {}
        () = stop.asked() => grid.kill().await,
    }
    ended
}

impl Grid {
    /// Brings everything up and keeps it up. Ends only with an error.
    async fn live(&mut self, settings: &UpSettings, tiers: &[Tier]) -> Result<()> {
        let mut progress = self.out.progress();
        if self.rpc.is_none() {
            progress.step("Starting the chain");
            let chain = self.start_chain(settings).await?;
            self.rpc = Some(chain.rpc);
        }
        progress.step("Starting the utility, deploying contracts where there are none");
        let min_stake = settings.utility.min_stake.unwrap_or(match settings.own.chain {
            None => MIN_STAKE,
            // What is asked for on somebody else's chain is somebody's decision.
            Some(_) => NanoJoule::ZERO,
        });
        let utility = self.start_utility(settings, min_stake).await?;
        if !tiers.is_empty() {
            progress.step(format!("Plugging in local suppliers: {}", tiers.len()));
            self.start_suppliers(&utility, tiers).await?;
            self.back_suppliers(&utility, min_stake).await;
        }
        drop(progress);
        let endpoints = self.write_endpoints()?;
        self.out.event(&endpoints, banner(&endpoints, &self.dir))?;
        self.keep().await
    }

    async fn start_chain(&mut self, settings: &UpSettings) -> Result<ChainEndpoints> {
        let dir = self.dir.join("chain");
        let settings =
            crate::cli::role::ChainSettings { rpc: Some(settings.own.rpc.unwrap_or(RPC_DEFAULT)) };
        self.start("chain", &["chain"], &dir, &settings, endpoints::FILE).await?;
        read(&dir)
    }

    /// Starts what holds the utility's key; says where it answers.
    async fn start_signer(&mut self) -> Result<PathBuf> {
        let dir = self.dir.join("signer");
        // Where a utility held its key itself before, it stays the same utility.
        let before = self.dir.join("utility/utility.key");
        let settings =
            SignerSettings { holder: before.exists().then_some(before), ..Default::default() };
        self.start("signer", &["signer"], &dir, &settings, endpoints::FILE).await?;
        Ok(read::<SignerEndpoints>(&dir)?.socket)
    }

    async fn start_utility(
        &mut self,
        settings: &UpSettings,
        min_stake: NanoJoule,
    ) -> Result<UtilityEndpoints> {
        let mut utility = settings.utility.clone();
        utility.min_stake = Some(min_stake);
        // Contracts that somebody named are not the ones that a signer knows by itself.
        if utility.signer.is_none() && utility.escrow.is_none() && utility.contracts.is_none() {
            utility.signer = Some(self.start_signer().await?);
        }
        let dir = self.dir.join("utility");
        let rpc = self.rpc.clone().unwrap_or_default();
        let args = ["utility", "--chain", &rpc];
        self.start("utility", &args, &dir, &utility, endpoints::FILE).await?;
        read(&dir)
    }

    async fn start_suppliers(&mut self, utility: &UtilityEndpoints, tiers: &[Tier]) -> Result<()> {
        for (i, tier) in tiers.iter().enumerate() {
            let name = format!("supplier-{}", i + 1);
            let dir = self.dir.join(&name);
            let settings = JoinSettings {
                utility: Some(utility.wire.clone()),
                rpc: Some(utility.rpc.clone()),
                name: Some(name.clone()),
                tier: Some(*tier),
                mem_mib: memory_share(tiers.len()),
                prices: prices(*tier),
                drain: Some(DRAIN_S),
                ..JoinSettings::default()
            };
            self.launch(&name, &["supply", "join"], &dir, &settings, "agent.json")?;
            self.suppliers.push(SupplierEndpoints { name, tier: *tier, data: dir });
        }
        self.all_up().await
    }

    /// Has the pool of a development chain lend local suppliers the stake that is asked for. Without
    /// it the grid is up all the same: they say what they lack.
    async fn back_suppliers(&self, utility: &UtilityEndpoints, min_stake: NanoJoule) {
        let dirs: Vec<PathBuf> = self.suppliers.iter().map(|s| s.data.clone()).collect();
        let Some(contracts) = utility.contracts else { return };
        if min_stake <= NanoJoule::ZERO || contracts.chain_id != dev::CHAIN_ID {
            return;
        }
        if let Err(error) = backing::back(&utility.rpc, contracts, &dirs, min_stake).await {
            let why = std::iter::once(error.to_string()).chain(error.causes());
            let why = why.collect::<Vec<_>>().join(": ");
            self.out.warn(format!("local suppliers get no work, since nothing backs them: {why}"));
        }
    }

    async fn start<T: Serialize>(
        &mut self,
        name: &str,
        args: &[&str],
        dir: &Path,
        settings: &T,
        ready: &str,
    ) -> Result<()> {
        self.launch(name, args, dir, settings, ready)?;
        self.all_up().await
    }

    /// Writes a child's settings and counts it among those that are kept running.
    fn launch<T: Serialize>(
        &mut self,
        name: &str,
        args: &[&str],
        dir: &Path,
        settings: &T,
        ready: &str,
    ) -> Result<()> {
        files::private_dir(dir)?;
        let config = dir.join("up.toml");
        let text = toml::to_string(settings)
            .map_err(|e| Error::Config { path: config.clone(), source: e.into() })?;
        files::write_private(
            &config,
            &format!("# Written by `kinesis up` at each start.\n{text}"),
        )?;
        let path = |p: &Path| p.to_string_lossy().into_owned();
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        all.extend(["--data".into(), path(dir), "--config".into(), path(&config)]);
        self.children.push(Kept::new(Spec {
            name: name.to_owned(),
            args: all,
            log: self.dir.join(format!("{name}.log")),
            ready_file: dir.join(ready),
        }));
        Ok(())
    }

    /// Waits until every child answers.
    async fn all_up(&mut self) -> Result<()> {
        let up = async {
            while !self.children.iter().all(Kept::is_up) {
                self.poll()?;
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        match tokio::time::timeout(START_MAX, up).await {
            Ok(up) => up,
            Err(_) => {
                let late = self.children.iter().find(|child| !child.is_up());
                let spec = late.map(|child| &child.spec);
                Err(Error::Failed {
                    message: format!(
                        "{} did not answer within {} s",
                        spec.map_or("a part of the grid", |spec| spec.name.as_str()),
                        START_MAX.as_secs()
                    ),
                    hint: spec.map(|spec| format!("see {}", spec.log.display())),
                })
            }
        }
    }

    /// Looks at every child once; whether anything changed.
    fn poll(&mut self) -> Result<bool> {
        let mut changed = false;
        for child in &mut self.children {
            match child.poll(&self.program)? {
                None => continue,
                Some(Change::Up) => tracing::info!(name = child.spec.name, "answers"),
                Some(Change::Died { how, again_in }) => {
                    let ms = again_in.as_millis();
                    self.out
                        .warn(format!("{} {how}; starting it again in {ms} ms", child.spec.name));
                }
            }
            changed = true;
        }
        Ok(changed)
    }

    async fn keep(&mut self) -> Result<()> {
        loop {
            if self.poll()? && self.children.iter().all(Kept::is_up) {
                self.write_endpoints()?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn write_endpoints(&self) -> Result<GridEndpoints> {
        let utility: UtilityEndpoints = read(&self.dir.join("utility"))?;
        let mut pids = BTreeMap::from([("up".to_owned(), std::process::id())]);
        for child in &self.children {
            pids.extend(child.pid().map(|pid| (child.spec.name.clone(), pid)));
        }
        let grid = GridEndpoints { utility, pids, suppliers: self.suppliers.clone() };
        endpoints::write(&self.dir, &grid)?;
        Ok(grid)
    }

    /// Stops suppliers first, the chain last, so that the last earnings are still posted.
    async fn stop(&mut self) {
        let core =
            self.children.iter().take_while(|c| !c.spec.name.starts_with("supplier")).count();
        let (core, suppliers) = self.children.split_at_mut(core);
        futures_util::future::join_all(suppliers.iter_mut().map(|s| s.stop(STOP_MAX))).await;
        for child in core.iter_mut().rev() {
            child.stop(STOP_MAX).await;
        }
    }

    async fn kill(&mut self) {
        for child in &mut self.children {
            child.kill().await;
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(dir: &Path) -> Result<T> {
    endpoints::read(dir).ok_or_else(|| Error::Failed {
        message: format!("{} is not what this version writes", dir.join(endpoints::FILE).display()),
        hint: None,
    })
}

/// Says at once which port is taken, before anything is started.
fn check_ports(settings: &UpSettings) -> Result<()> {
    if settings.own.chain.is_none() {
        settings.own.rpc.unwrap_or(RPC_DEFAULT).check_tcp("the chain", "--rpc")?;
    }
    utility::check_ports(&settings.utility)
}

/// `3`, or `crowd,crowd,datacenter`.
fn tiers(text: &str) -> Result<Vec<Tier>> {
    let wrong = |why: String| Error::Usage {
        message: format!("--suppliers: {why}"),
        hint: Some("for example --suppliers 2, or --suppliers crowd,crowd,datacenter".into()),
    };
    let tiers = match text.parse::<usize>() {
        Ok(n) if n <= SUPPLIERS_MAX => vec![Tier::Crowd; n],
        Ok(n) => return Err(wrong(format!("{n} are more than {SUPPLIERS_MAX}"))),
        Err(_) => text
            .split(',')
            .map(|tier| tier.trim().parse::<Tier>().map_err(wrong))
            .collect::<Result<Vec<_>>>()?,
    };
    if tiers.len() > SUPPLIERS_MAX {
        return Err(wrong(format!("{} are more than {SUPPLIERS_MAX}", tiers.len())));
    }
    Ok(tiers)
}

/// What local suppliers ask: somebody's own machine is cheaper than one in a data centre.
fn prices(tier: Tier) -> Vec<crate::cli::role::Price> {
    // Per core and hour $0.012 or $0.020, $0.001 for a GiB of memory, $0.15 for a kWh.
    let cpu_ms = match tier {
        Tier::Crowd => 3_333_333_333,
        Tier::Datacenter => 5_555_555_556,
    };
    [("cpu_ms", cpu_ms), ("mem_mib_ms", 271_267), ("energy_mj", 41_666_667)]
        .map(|(counter, attousd)| crate::cli::role::Price { counter: counter.to_owned(), attousd })
        .to_vec()
}

/// Memory is divided among local suppliers, since it cannot be lent twice; cores are shared.
/// `None` leaves it to the one supplier there is.
fn memory_share(suppliers: usize) -> Option<u32> {
    if suppliers < 2 {
        return None;
    }
    let total = nix::sys::sysinfo::sysinfo().ok()?.ram_total() >> 20;
    u32::try_from(total * 3 / 4 / suppliers as u64).ok()
}

/// What a command has to be told, since it would not find this grid by itself.
fn found_at(portal: &str, dir: &Path) -> String {
    let mut told = String::new();
    if portal != URL_DEFAULT {
        told += &format!(" --url {portal}");
    }
    if config::data_dir(None, None).is_ok_and(|usual| usual != dir) {
        told += &format!(" --data {}", dir.display());
    }
    told
}

fn banner(grid: &GridEndpoints, dir: &Path) -> String {
    let utility = &grid.utility;
    let suppliers: Vec<String> =
        grid.suppliers.iter().map(|s| format!("{} ({})", s.name, s.tier)).collect();
    let suppliers = if suppliers.is_empty() {
        "none; plug one in with `kinesis supply join`".to_owned()
    } else {
        suppliers.join(", ")
    };
    let apps = utility.ingress.replacen("://127.0.0.1", "://NAME.localhost", 1);
    let found = found_at(&utility.portal, dir);
    format!(
        "The grid is up (Ctrl-C stops it)

  page       {}
  apps       {apps}
  chain      {}
  suppliers  {suppliers}
  data       {}

Next, in another terminal:
  kinesis account open --name me --usd 25.00{found}
  kinesis deploy PATH",
        utility.portal,
        utility.rpc,
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppliers_are_a_number_or_tiers() {
        assert_eq!(tiers("0").unwrap(), []);
        assert_eq!(tiers("2").unwrap(), [Tier::Crowd; 2]);
        assert_eq!(tiers("crowd, datacenter").unwrap(), [Tier::Crowd, Tier::Datacenter]);
        for text in ["", "-1", "crowed", "65", "crowd,,crowd"] {
            let error = tiers(text).unwrap_err();
            assert_eq!(error.code(), 2, "{text}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn the_next_command_finds_the_grid() {
        let usual = config::data_dir(None, None).unwrap();
        assert_eq!(found_at(URL_DEFAULT, &usual), "");
        let elsewhere = found_at("http://127.0.0.1:9000", Path::new("/a/place"));
        assert_eq!(elsewhere, " --url http://127.0.0.1:9000 --data /a/place");
    }

    #[test]
    fn memory_is_lent_once() {
        assert_eq!(memory_share(1), None);
        let (two, four) = (memory_share(2).unwrap(), memory_share(4).unwrap());
        assert!(four > 0 && four <= two / 2 + 1);
    }
}
