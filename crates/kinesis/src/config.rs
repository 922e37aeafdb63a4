//! Settings in layers: defaults < TOML file < environment < flags.
//!
//! Flags and environment are one layer already when they get here (clap reads both into the same
//! struct); [`Layered::over`] puts them over the file's. Unknown keys of a file are refused.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{
    cli::key::SignerSettings,
    cli::role::{ChainSettings, Data, JoinSettings, UpOwn, UpSettings, UtilitySettings},
    error::{Error, Result},
    files,
};

/// Settings that can be laid over others.
pub(crate) trait Layered: Sized {
    /// These settings, and where they say nothing those below.
    fn over(self, below: Self) -> Self;
}

macro_rules! layered {
    ($settings:ident: $($field:ident),+) => {
        impl Layered for $settings {
            fn over(self, below: Self) -> Self {
                // Every field must be named here: a forgotten one does not compile.
                let Self { $($field),+ } = self;
                Self { $($field: $field.or(below.$field)),+ }
            }
        }
    };
}

layered!(ChainSettings: rpc);
layered!(SignerSettings: socket, holder, passphrase_file, chain_id, escrow, joule, leases,
    exchange, usd);
layered!(UpOwn: suppliers, chain, rpc);
layered!(UtilitySettings: ingress, portal, relay, wire, lifeline, store, artifacts, escrow, exchange,
    series, margin_bp, joule_price, escrow_deposit, desk_low, desk_high, desk_trade_max, desk_day_max,
    desk_slippage_bp, domain, tls_cert, tls_key, signer, passphrase_file, index_from, min_stake,
    contracts);

impl Layered for UpSettings {
    fn over(self, below: Self) -> Self {
        Self { own: self.own.over(below.own), utility: self.utility.over(below.utility) }
    }
}

impl Layered for JoinSettings {
    fn over(self, below: Self) -> Self {
        let Self {
            utility,
            rpc,
            name,
            tier,
            region,
            cpu_millis,
            mem_mib,
            disk_mib,
            mut prices,
            exposure,
            watts_per_core,
            drain,
            max_penalty,
            passphrase_file,
            contracts,
        } = self;
        // Prices are laid over one another counter by counter.
        for price in below.prices {
            if !prices.iter().any(|p| p.counter == price.counter) {
                prices.push(price);
            }
        }
        Self {
            utility: utility.or(below.utility),
            rpc: rpc.or(below.rpc),
            name: name.or(below.name),
            tier: tier.or(below.tier),
            region: region.or(below.region),
            cpu_millis: cpu_millis.or(below.cpu_millis),
            mem_mib: mem_mib.or(below.mem_mib),
            disk_mib: disk_mib.or(below.disk_mib),
            prices,
            exposure: exposure.or(below.exposure),
            watts_per_core: watts_per_core.or(below.watts_per_core),
            drain: drain.or(below.drain),
            max_penalty: max_penalty.or(below.max_penalty),
            passphrase_file: passphrase_file.or(below.passphrase_file),
            contracts: contracts.or(below.contracts),
        }
    }
}

/// A role's data directory: what was named, or `role`'s below the default one.
pub(crate) fn data_dir(named: Option<&Path>, role: Option<&str>) -> Result<PathBuf> {
    let dir = match named {
        Some(dir) => dir.to_owned(),
        None => {
            let dir = files::default_data_dir()?;
            role.map_or(dir.clone(), |role| dir.join(role))
        }
    };
    std::path::absolute(&dir).map_err(Error::io(format!("find {}", dir.display())))
}

/// Reads the file that `--config` names, or `config.toml` in the data directory if there is one.
pub(crate) fn file<T: DeserializeOwned + Default>(data: &Data, dir: &Path) -> Result<T> {
    let Some((path, text)) = text(data, dir)? else { return Ok(T::default()) };
    toml::from_str(&text).map_err(|e| Error::Config { path, source: e.into() })
}

/// The file of `kinesis up`: its own keys and the utility's, side by side.
pub(crate) fn up_file(data: &Data, dir: &Path) -> Result<UpSettings> {
    let Some((path, text)) = text(data, dir)? else { return Ok(UpSettings::default()) };
    up_settings(&text).map_err(|e| Error::Config { path, source: e.into() })
}

fn up_settings(text: &str) -> Result<UpSettings, toml::de::Error> {
    let mut utility: toml::Table = toml::from_str(text)?;
    let mut own = toml::Table::new();
    for key in ["suppliers", "chain", "rpc"] {
        if let Some(value) = utility.remove(key) {
            // A number of suppliers may be written as one.
            let value = match value {
                toml::Value::Integer(n) if key == "suppliers" => n.to_string().into(),
                other => other,
            };
            own.insert(key.to_owned(), value);
        }
    }
    Ok(UpSettings { own: own.try_into()?, utility: utility.try_into()? })
}

fn text(data: &Data, dir: &Path) -> Result<Option<(PathBuf, String)>> {
    let path = data.config.clone().unwrap_or_else(|| dir.join("config.toml"));
    match files::read_text(&path)? {
        Some(text) => Ok(Some((path, text))),
        None if data.config.is_some() => {
            Err(Error::usage(format!("there is no file {}", path.display())))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::role::Price, listen::Listen};
    use kinesis_protocol::NanoUsd;

    fn data(config: Option<&Path>) -> Data {
        Data { data: None, config: config.map(Path::to_owned) }
    }

    #[test]
    fn nearer_layers_win_and_the_rest_shows_through() {
        let file: JoinSettings = toml::from_str(
            "name = \"file\"\nregion = \"eu\"\nexposure = \"2.50\"\n[prices]\ncpu_ms = 1\nwall_ms = 2\n",
        )
        .unwrap();
        let flags = JoinSettings {
            name: Some("flag".into()),
            prices: vec!["cpu_ms=9".parse().unwrap()],
            ..JoinSettings::default()
        };
        let both = flags.over(file);
        assert_eq!(both.name.as_deref(), Some("flag"));
        assert_eq!(both.region.as_deref(), Some("eu"));
        assert_eq!(both.exposure, Some(NanoUsd(2_500_000_000)));
        assert_eq!(both.prices.len(), 2);
        assert!(both.prices.contains(&Price { counter: "cpu_ms".into(), attousd: 9 }));
    }

    #[test]
    fn settings_survive_the_file_that_up_writes_for_its_children() {
        let settings = UtilitySettings {
            ingress: Some(Listen::local(0)),
            joule_price: Some(NanoUsd(10_000_000)),
            ..UtilitySettings::default()
        };
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<UtilitySettings>(&text).unwrap(), settings, "{text}");
        let settings = JoinSettings {
            tier: Some(kinesis_protocol::Tier::Datacenter),
            prices: vec!["cpu_ms=9".parse().unwrap()],
            ..JoinSettings::default()
        };
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<JoinSettings>(&text).unwrap(), settings, "{text}");
    }

    #[test]
    fn up_reads_its_own_keys_and_the_utilitys() {
        let settings = up_settings("suppliers = 3\nrpc = 0\ningress = \"0.0.0.0:80\"\n").unwrap();
        assert_eq!(settings.own.suppliers.as_deref(), Some("3"));
        assert_eq!(settings.own.rpc, Some(Listen::local(0)));
        assert!(settings.utility.ingress.is_some());
        assert!(up_settings("suplliers = 3\n").unwrap_err().to_string().contains("suplliers"));
    }

    #[test]
    fn unknown_keys_and_missing_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let none: ChainSettings = file(&data(None), dir.path()).unwrap();
        assert_eq!(none, ChainSettings::default());
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "prot = 1\n").unwrap();
        let error = file::<ChainSettings>(&data(None), dir.path()).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.causes().concat().contains("prot"), "{:?}", error.causes());
        let gone = dir.path().join("gone.toml");
        assert!(file::<ChainSettings>(&data(Some(&gone)), dir.path()).is_err());
        assert!("cpu=1".parse::<Price>().unwrap_err().contains("cpu_ms"));
    }
}
