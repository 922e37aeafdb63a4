//! `kinesis supply join`: this machine's agent.

use std::{path::Path, time::Duration};

use kinesis_agent::{Agent, AgentConfig, OfferedLimits, wallet::stored};
use kinesis_chain::{ChainError, Contracts, Key, Protocol, dev};
use kinesis_protocol::{Address, AttoUsd, NodeInfo, Prices};
use kinesis_runtime::RunnerCommand;
use kinesis_wire::UtilityAddr;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Stop, raise_open_files};
use crate::{
    cli::role::{Join, JoinSettings},
    client::Client,
    command::{
        protocol::{RPC_DEFAULT, chain, read_json},
        supply::agent,
    },
    config::{self, Layered},
    endpoints,
    error::{Error, Result},
    files,
    output::Output,
    passphrase, profile,
};

/// What this machine joined with: what other commands in its data directory fall back on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JoinedWith {
    /// The process.
    pub(crate) pid: u32,
    /// The node's name.
    pub(crate) name: String,
    /// The utilities it works for.
    pub(crate) utility: Vec<String>,
    /// The chain's JSON-RPC.
    pub(crate) rpc: Option<String>,
}

/// Where a supplier's data lies below the default directory.
pub(crate) const DATA: &str = "supply";

pub(crate) async fn run(args: Join, url: Option<String>, out: Output) -> Result<()> {
    let dir = config::data_dir(args.data.data.as_deref(), Some(DATA))?;
    files::private_dir(&dir)?;
    let settings: JoinSettings = args.settings.over(config::file(&args.data, &dir)?);
    let mut stop = Stop::listen()?;
    raise_open_files();

    let whom = settings.utility.clone().or(url);
    let whom = whom.unwrap_or_else(|| profile::URL_DEFAULT.to_owned());
    let expects = whom.parse::<Address>().ok();
    let (utility, told_rpc) = tokio::select! {
        found = find(&whom, expects, &settings) => found?,
        () = stop.asked() => return Ok(()),
    };
    let program = std::env::current_exe().map_err(Error::io("find this program"))?;
    let name = settings.name.clone().unwrap_or_else(host_name);
    let runner = RunnerCommand { program, args: vec!["runner".into()] };
    let mut config = AgentConfig::new(dir.clone(), utility, name, runner);
    // Found on chain, it is the chain that the owner asked.
    config.rpc_is_told = settings.rpc.is_none() && expects.is_none();
    config.rpc_url = settings.rpc.clone().or(told_rpc);
    apply(&mut config, &settings);
    config.expects = expects;
    config.key = supplier_key(&dir, settings.passphrase_file.as_deref())?;

    let name = config.name.clone();
    let joined = JoinedWith {
        pid: std::process::id(),
        name: name.clone(),
        utility: config.utilities.iter().map(ToString::to_string).collect(),
        rpc: config.rpc_url.clone(),
    };
    let started = Agent::start(config).await.map_err(agent)?;
    endpoints::write(&dir, &joined)?;
    out.note(format!("{name} is plugged in (Ctrl-C unplugs it)\n  data  {}", dir.display()));
    let asked = CancellationToken::new();
    let mut running = std::pin::pin!(started.run(asked.clone()));
    tokio::select! {
        () = &mut running => return Ok(()),
        () = stop.asked() => {}
    }
    out.note("Finishing what is in flight; Ctrl-C again stops at once");
    asked.cancel();
    tokio::select! {
        () = running => {}
        () = stop.asked() => {}
    }
    Ok(())
}

/// The supplier's key, where it is encrypted; `None`: the agent reads or makes a plain one.
fn supplier_key(dir: &Path, passphrase_file: Option<&Path>) -> Result<Option<Key>> {
    let path = stored::key_path(dir);
    match Key::load(&path) {
        Err(ChainError::KeyEncrypted(_)) => passphrase::open_key(&path, passphrase_file).map(Some),
        // What else may be wrong with it the agent says.
        _ => Ok(None),
    }
}

fn apply(config: &mut AgentConfig, settings: &JoinSettings) {
    if let Some(tier) = settings.tier {
        config.tier = tier;
    }
    if let Some(region) = &settings.region {
        config.region.clone_from(region);
    }
    if !settings.prices.is_empty() {
        // Whoever names prices names all of them: what is not named is free.
        config.prices = prices(settings);
    }
    config.offered = OfferedLimits {
        cpu_millis: settings.cpu_millis,
        mem_mib: settings.mem_mib,
        disk_mib: settings.disk_mib,
        ..OfferedLimits::default()
    };
    if let Some(exposure) = settings.exposure {
        config.exposure_max = exposure;
    }
    if let Some(watts) = settings.watts_per_core {
        config.watts_per_core = watts;
    }
    config.max_penalty = settings.max_penalty;
    if let Some(seconds) = settings.drain {
        config.drain_notice = Duration::from_secs(seconds);
    }
}

fn prices(settings: &JoinSettings) -> Prices {
    let mut prices = Prices::default();
    for price in &settings.prices {
        let asked = AttoUsd(price.attousd);
        match price.counter.as_str() {
            "wall_ms" => prices.wall_ms = asked,
            "cpu_ms" => prices.cpu_ms = asked,
            "gpu_ms" => prices.gpu_ms = asked,
            "mem_mib_ms" => prices.mem_mib_ms = asked,
            "vram_mib_ms" => prices.vram_mib_ms = asked,
            "energy_mj" => prices.energy_mj = asked,
            "rx_bytes" => prices.rx_bytes = asked,
            "tx_bytes" => prices.tx_bytes = asked,
            "requests" => prices.requests = asked,
            other => unreachable!("{other} was checked when it was parsed"),
        }
    }
    prices
}

/// What a portal says of its utility.
#[derive(Debug, Deserialize)]
struct Whereabouts {
    wire: String,
    #[serde(default)]
    rpc: Option<String>,
}

/// A utility's address on the wires, and the RPC it names, if it was asked at its portal.
async fn find(
    whom: &str,
    on_chain: Option<Address>,
    settings: &JoinSettings,
) -> Result<(UtilityAddr, Option<String>)> {
    if let Some(utility) = on_chain {
        let endpoint = published(utility, settings).await?;
        let said: Whereabouts = Client::new(&endpoint, None)?.get("/v1/grid").await?;
        // The chain that named it is the one to believe.
        return Ok((parse(&said.wire)?, Some(rpc_of(settings))));
    }
    if whom.starts_with("http://") || whom.starts_with("https://") {
        let said: Whereabouts = Client::new(whom, None)?.get("/v1/grid").await?;
        return Ok((parse(&said.wire)?, said.rpc));
    }
    Ok((parse(whom)?, None))
}

fn rpc_of(settings: &JoinSettings) -> String {
    settings.rpc.clone().unwrap_or_else(|| RPC_DEFAULT.to_owned())
}

/// Where a utility says on chain that it is.
async fn published(utility: Address, settings: &JoinSettings) -> Result<String> {
    let contracts = match &settings.contracts {
        Some(path) => read_json(path, "a file of contracts")?,
        None => Contracts::development(dev::key(0).address()),
    };
    // It only looks: reading asks for no key.
    let client = Protocol::new(&rpc_of(settings), contracts, Key::random()).map_err(chain)?;
    client.check().await.map_err(chain)?;
    let offer = client.offer(utility).await.map_err(chain)?;
    let endpoint = offer
        .map(|offer| offer.endpoint)
        .filter(|endpoint| endpoint.starts_with("http://") || endpoint.starts_with("https://"));
    endpoint.ok_or_else(|| Error::Refused {
        message: format!("{utility} has published no portal on this chain"),
        hint: Some("`kinesis stake offers` shows who has; or name a portal's URL".into()),
    })
}

fn parse(token: &str) -> Result<UtilityAddr> {
    token.parse().map_err(|e: kinesis_wire::WireError| Error::Usage {
        message: format!("--utility is neither a portal's URL nor a utility's address: {e}"),
        hint: Some("the portal's page and `kinesis up`'s endpoints.json show the address".into()),
    })
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .map(|name| name.chars().take(NodeInfo::NAME_CHARS_MAX).collect::<String>())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "node".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_can_be_priced() {
        let settings = JoinSettings {
            prices: Prices::default()
                .by_name()
                .map(|(name, _)| format!("{name}=7").parse().unwrap())
                .to_vec(),
            ..JoinSettings::default()
        };
        assert!(prices(&settings).by_name().iter().all(|(_, price)| *price == AttoUsd(7)));
    }

    #[test]
    fn an_encrypted_key_is_opened_and_a_plain_one_is_left_to_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = stored::key_path(dir.path());
        assert!(supplier_key(dir.path(), None).unwrap().is_none(), "the agent makes one");
        let key = Key::load_or_create(&path).unwrap();
        assert!(supplier_key(dir.path(), None).unwrap().is_none());
        let secret = dir.path().join("passphrase");
        std::fs::write(&secret, "correct horse\n").unwrap();
        Key::encrypt_file(&path, &kinesis_chain::Passphrase::from_file(&secret).unwrap()).unwrap();
        let opened = supplier_key(dir.path(), Some(&secret)).unwrap().unwrap();
        assert_eq!(opened.address(), key.address());
        std::fs::write(&secret, "wrong horse\n").unwrap();
        assert!(supplier_key(dir.path(), Some(&secret)).is_err());
    }

    #[test]
    fn nonsense_is_not_a_utility() {
        assert_eq!(parse("nowhere").unwrap_err().code(), 2);
    }
}
