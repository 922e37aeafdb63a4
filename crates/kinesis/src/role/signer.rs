//! `kinesis signer`: holds a utility's key, away from the process that strangers talk to.

use kinesis_chain::{
    ChainError, Contracts, Key, ProtocolContracts, dev,
    signer::{
        guard::Guard,
        policy::{SignerPolicy, TradePolicy},
        server::SignerServer,
    },
};
use kinesis_protocol::Address;
use serde::{Deserialize, Serialize};

use super::Stop;
use crate::{
    cli::key::{Signer, SignerSettings},
    config::{self, Layered},
    endpoints,
    error::{Error, Result},
    files::DataLock,
    output::Output,
    passphrase,
};

/// The socket's name in a data directory.
pub(crate) const SOCKET: &str = "signer.sock";
/// What is paid at most for a unit of gas, in wei.
const FEE_PER_GAS_MAX: u128 = 500_000_000_000;

/// Where a signer answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignerEndpoints {
    /// The process.
    pub(crate) pid: u32,
    /// Its socket.
    pub(crate) socket: std::path::PathBuf,
    /// Whom it signs for.
    pub(crate) address: Address,
}

pub(crate) async fn run(args: Signer, out: Output) -> Result<()> {
    let dir = config::data_dir(args.data.data.as_deref(), Some("signer"))?;
    let _lock = DataLock::take(&dir)?;
    let settings: SignerSettings = args.settings.over(config::file(&args.data, &dir)?);
    let policy = policy(&settings)?;
    let mut stop = Stop::listen()?;
    let path = settings.holder.clone().unwrap_or_else(|| dir.join("utility.key"));
    let made = match Key::load_or_create(&path) {
        Err(ChainError::KeyEncrypted(_)) => None,
        made => Some(made.map_err(Error::role("key file"))?),
    };
    let key = match made {
        Some(key) => key,
        None => passphrase::open_key(&path, settings.passphrase_file.as_deref())?,
    };
    let address = key.address();
    let guard = Guard::open(&dir.join("signed.json")).map_err(Error::role("signer"))?;
    let socket = settings.socket.clone().unwrap_or_else(|| dir.join(SOCKET));
    let server = SignerServer::bind(&socket, key, policy, guard).await;
    let server = server.map_err(Error::role("signer"))?;
    let found = SignerEndpoints { pid: std::process::id(), socket, address };
    endpoints::write(&dir, &found)?;
    let at = found.socket.display();
    out.event(&found, format_args!("Signs for {address} at {at} (Ctrl-C stops it)"))?;
    tracing::info!(%address, "signs");
    tokio::select! {
        () = server.run() => {}
        () = stop.asked() => tracing::info!("the signer stops"),
    }
    Ok(())
}

fn policy(settings: &SignerSettings) -> Result<SignerPolicy> {
    let chain_id = settings.chain_id.unwrap_or(dev::CHAIN_ID);
    let mut leases = settings.leases;
    let named = settings.exchange.zip(settings.usd);
    let mut market = named.map(|(exchange, usd)| TradePolicy { exchange, usd });
    let (escrow, joule) = match (settings.escrow, settings.joule) {
        (Some(escrow), Some(joule)) => (escrow, joule),
        (None, None) if chain_id == dev::CHAIN_ID => {
            let development = Contracts::development(dev::key(0).address());
            if settings.leases.is_none() {
                leases = development.protocol.map(|at| at.leases);
            }
            let known = |at: ProtocolContracts| TradePolicy { exchange: at.exchange, usd: at.usd };
            market = market.or(development.protocol.map(known));
            (development.escrow, development.joule)
        }
        _ => {
            return Err(Error::Usage {
                message: format!("on chain {chain_id} the contracts are not known"),
                hint: Some("name them with --escrow ADDRESS and --joule ADDRESS".into()),
            });
        }
    };
    Ok(SignerPolicy { chain_id, escrow, joule, market, leases, fee_per_gas_max: FEE_PER_GAS_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_than_on_a_development_chain_contracts_are_named() {
        policy(&SignerSettings::default()).unwrap();
        let other = SignerSettings { chain_id: Some(10), ..SignerSettings::default() };
        assert_eq!(policy(&other).unwrap_err().code(), 2);
        let (escrow, joule) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let named = SignerSettings { escrow: Some(escrow), joule: Some(joule), ..other };
        let policy = policy(&named).unwrap();
        assert_eq!((policy.chain_id, policy.escrow, policy.joule), (10, escrow, joule));
        assert_eq!(policy.market, None, "nothing is traded where no market was named");
    }
}
