//! The utility's money: its key, the contracts, and on a development chain something to pay with.

use std::{path::Path, time::Duration};

use kinesis_chain::{
    ChainError, Contracts, Key, Settlement, Signer, deploy, dev, signer::remote::RemoteSigner,
};
use kinesis_protocol::{Address, U256};

use crate::{
    cli::role::UtilitySettings,
    error::{Error, Result},
    files, passphrase,
};

/// What a utility owns on a development chain: play dollars, ten thousand of them, topped up at each
/// start. Its desk buys JOULE with them.
const DEV_USD_UNITS: u64 = 10_000_000_000;
/// What it owns for gas there: ten of the native coin.
const DEV_GAS_WEI: u128 = 10_000_000_000_000_000_000;
/// How long the chain may take to answer: it may have been started a moment ago.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client that the utility signs and pays with, and where the contracts are.
pub(super) async fn settle(
    dir: &Path,
    settings: &UtilitySettings,
    rpc: &str,
) -> Result<(Settlement, Contracts)> {
    let signer = signer(dir, settings).await?;
    let chain_id = patiently(rpc).await?;
    let contracts = match settings.escrow {
        escrow if settings.contracts.is_some() => named(settings, escrow, chain_id)?,
        Some(escrow) => {
            let settlement = client(rpc, chain_id, escrow, signer.clone())?;
            settlement.check().await.map_err(Error::role("chain"))?
        }
        None if chain_id == dev::CHAIN_ID => develop(rpc, signer.address()).await?,
        None => {
            return Err(Error::Usage {
                message: format!(
                    "chain {chain_id} is no development chain: nothing is deployed there"
                ),
                hint: Some("name the escrow contract with --escrow ADDRESS".into()),
            });
        }
    };
    Ok((client(rpc, chain_id, contracts.escrow, signer)?, contracts))
}

/// The contracts of the file that was named.
fn named(settings: &UtilitySettings, escrow: Option<Address>, chain_id: u64) -> Result<Contracts> {
    let wrong = |message: String| Error::Usage { message, hint: None };
    let path = settings.contracts.as_deref().unwrap_or_else(|| Path::new(""));
    let text = files::read_text(path)?
        .ok_or_else(|| wrong(format!("--contracts: there is no file {}", path.display())))?;
    let contracts: Contracts = serde_json::from_str(&text)
        .map_err(|e| wrong(format!("--contracts: {} holds none: {e}", path.display())))?;
    if contracts.chain_id != chain_id {
        return Err(wrong(format!(
            "--contracts: they are on chain {}, this is chain {chain_id}",
            contracts.chain_id
        )));
    }
    if escrow.is_some_and(|escrow| escrow != contracts.escrow) {
        return Err(wrong("--escrow is another one than that of --contracts".into()));
    }
    Ok(contracts)
}

/// Where USD and JOULE are exchanged; `None`: nowhere, and a price was named.
pub(super) fn market(settings: &UtilitySettings, contracts: &Contracts) -> Result<Option<Address>> {
    let market = settings.exchange.or(contracts.protocol.map(|protocol| protocol.exchange));
    if market.is_none() && settings.joule_price.is_none() {
        return Err(Error::Usage {
            message: "nobody says what a JOULE costs".into(),
            hint: Some(
                "name the exchange with --exchange ADDRESS, or a price with --joule-price USD"
                    .into(),
            ),
        });
    }
    Ok(market)
}

/// Who signs for the utility: the process that was named, or a key in its own directory.
async fn signer(dir: &Path, settings: &UtilitySettings) -> Result<Signer> {
    if let Some(socket) = &settings.signer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match RemoteSigner::connect(socket).await {
                Ok(remote) => return Ok(remote.into()),
                Err(e) if e.is_unreachable() && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(e) => return Err(Error::role("signer")(e)),
            }
        }
    }
    let path = dir.join("utility.key");
    match Key::load_or_create(&path) {
        Err(ChainError::KeyEncrypted(_)) => {
            passphrase::open_key(&path, settings.passphrase_file.as_deref()).map(Into::into)
        }
        made => made.map(Into::into).map_err(Error::role("key file")),
    }
}

/// Contracts and play money, where everything is play money.
async fn develop(rpc: &str, utility: Address) -> Result<Contracts> {
    let failed = Error::role("chain");
    let rich = dev::key(0);
    let contracts = deploy(rpc, &rich).await.map_err(&failed)?;
    dev::fund(rpc, utility, U256::from(DEV_GAS_WEI)).await.map_err(&failed)?;
    let bank = client(rpc, contracts.chain_id, contracts.escrow, rich)?;
    if let Some(protocol) = contracts.protocol {
        let has = bank.token_balance(protocol.usd, utility).await.map_err(&failed)?;
        let missing = U256::from(DEV_USD_UNITS).saturating_sub(has);
        if !missing.is_zero() {
            bank.mint_play(protocol.usd, utility, missing).await.map_err(&failed)?;
            tracing::info!(%utility, "was given dollars of the development chain");
        }
    }
    Ok(contracts)
}

fn client(
    rpc: &str,
    chain_id: u64,
    escrow: Address,
    signer: impl Into<Signer>,
) -> Result<Settlement> {
    Settlement::new(rpc, chain_id, escrow, signer)
        .map_err(|e| Error::Usage { message: format!("--chain: {e}"), hint: None })
}

async fn patiently(rpc: &str) -> Result<u64> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match chain_id(rpc).await {
            Ok(id) => return Ok(id),
            Err(e) if tokio::time::Instant::now() >= deadline => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Which chain answers.
async fn chain_id(rpc: &str) -> Result<u64> {
    let unreachable = |e: reqwest::Error| Error::Unreachable {
        what: format!("the chain at {rpc}"),
        hint: Some("start one with `kinesis chain`, or name another with --chain URL".into()),
        source: e.without_url().into(),
    };
    let ask = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []});
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
    let http = http.map_err(unreachable)?;
    let answer = http.post(rpc).json(&ask).send().await.map_err(unreachable)?;
    let answer: serde_json::Value = answer.json().await.map_err(unreachable)?;
    answer["result"]
        .as_str()
        .and_then(|id| u64::from_str_radix(id.strip_prefix("0x")?, 16).ok())
        .ok_or_else(|| Error::Failed {
            message: format!("{rpc} does not say which chain it serves"),
            hint: Some("name a chain's JSON-RPC with --chain URL".into()),
        })
}
