//! The newest payment of each series, in plain files: `payments/CHAIN-ESCROW-UTILITY-SERIES.json`.
//!
//! A file and the supplier's key are all that redeeming needs. Files are replaced in one step, so
//! any process may read them at any time, whether the agent runs or not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use kinesis_chain::{FileJournal, Journal, Key, Redeemed, Settlement, dev};
use kinesis_protocol::{Address, JoulePrice, NanoJoule, Signature, U256, root::PaymentProof};
use serde::{Deserialize, Serialize};

use super::Terms;
use crate::{AgentError, book::Payer, files};

/// The longest file that is read: far more than a proof of 32 hashes needs.
const BYTES_MAX: u64 = 64 << 10;
/// Where transactions are kept until they are final.
const TRANSACTIONS: &str = "transactions";
/// The most series of one data directory that are listed.
const SERIES_MAX: usize = 1_000;

/// A payment and where it can be redeemed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPayment {
    /// The chain.
    pub chain_id: u64,
    /// The escrow contract.
    pub escrow: Address,
    /// What one JOULE cost when it came.
    pub joule_price: JoulePrice,
    /// What can be redeemed.
    pub payment: PaymentProof,
}

impl StoredPayment {
    pub(super) fn new(terms: Terms, payment: PaymentProof, joule_price: JoulePrice) -> Self {
        Self { chain_id: terms.chain_id, escrow: terms.escrow, joule_price, payment }
    }

    /// Who pays it.
    #[must_use]
    pub fn payer(&self) -> Payer {
        let root = &self.payment.signed.root;
        Payer { utility: root.utility, series: root.series }
    }

    /// Everything this series ever paid, redeemed or not.
    #[must_use]
    pub fn cumulative_nanojoule(&self) -> NanoJoule {
        super::floor(self.payment.cumulative_wei)
    }
}

/// Where the supplier's key lies below a data directory.
#[must_use]
pub fn key_path(data_dir: &Path) -> PathBuf {
    data_dir.join("supplier.key")
}

fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("payments")
}

fn path(data_dir: &Path, terms: &Terms) -> PathBuf {
    dir(data_dir).join(format!(
        "{}-{:x}-{:x}-{}.json",
        terms.chain_id, terms.escrow, terms.payer.utility, terms.payer.series
    ))
}

fn read(path: &Path) -> Result<Option<StoredPayment>, AgentError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AgentError::file("read", path)(error)),
        Ok(meta) if meta.len() > BYTES_MAX => {
            let reason = format!("the file is longer than {BYTES_MAX} bytes");
            return Err(AgentError::BadPayment { path: path.into(), reason });
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(AgentError::file("read", path))?;
    let stored: StoredPayment = serde_json::from_slice(&bytes)
        .map_err(|source| AgentError::Damaged { path: path.into(), source })?;
    if !stored.payment.verify(stored.chain_id, stored.escrow) {
        let reason = "its signature or its proof does not hold".into();
        return Err(AgentError::BadPayment { path: path.into(), reason });
    }
    Ok(Some(stored))
}

pub(super) fn load(data_dir: &Path, terms: &Terms) -> Result<Option<StoredPayment>, AgentError> {
    read(&path(data_dir, terms))
}

pub(super) fn save(data_dir: &Path, stored: &StoredPayment) -> Result<(), AgentError> {
    let terms = Terms { payer: stored.payer(), chain_id: stored.chain_id, escrow: stored.escrow };
    files::make_dir(&dir(data_dir))?;
    let json = serde_json::to_vec_pretty(stored).map_err(AgentError::Record)?;
    files::replace(&path(data_dir, &terms), &json)
}

/// The newest payment of every series that ever paid into this data directory, verified.
///
/// # Errors
/// Where a file cannot be read or does not verify.
pub fn stored(data_dir: &Path) -> Result<Vec<StoredPayment>, AgentError> {
    let dir = dir(data_dir);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(AgentError::file("read", &dir))?,
    };
    let mut all = Vec::new();
    for entry in entries.take(SERIES_MAX) {
        let path = entry.map_err(AgentError::file("read", &dir))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            all.extend(read(&path)?);
        }
    }
    all.sort_by_key(|stored| stored.payer());
    Ok(all)
}

/// The supplier's key of a data directory.
///
/// # Errors
/// Where there is none, or it cannot be read.
pub fn supplier_key(data_dir: &Path) -> Result<Key, AgentError> {
    Key::load(&key_path(data_dir)).map_err(AgentError::chain)
}

/// What one series owes and paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earnings {
    /// The payment.
    pub stored: StoredPayment,
    /// Everything the series ever paid.
    pub cumulative_nanojoule: NanoJoule,
    /// What of it was redeemed on chain; `None` where the chain was not asked.
    pub redeemed_nanojoule: Option<NanoJoule>,
    /// What can be redeemed now: what is signed and not redeemed, as far as the escrow holds it.
    /// `None` where the chain was not asked.
    pub redeemable_nanojoule: Option<NanoJoule>,
}

/// What every series owes and paid, from the stored payments alone and, where `rpc_url` names one,
/// the chain.
///
/// # Errors
/// Where a file or the chain cannot be read.
pub async fn earnings(data_dir: &Path, rpc_url: Option<&str>) -> Result<Vec<Earnings>, AgentError> {
    let mut all = Vec::new();
    for stored in stored(data_dir)? {
        let mut earnings = Earnings {
            cumulative_nanojoule: stored.cumulative_nanojoule(),
            redeemed_nanojoule: None,
            redeemable_nanojoule: None,
            stored,
        };
        if let Some(rpc_url) = rpc_url {
            // Looking asks for no key; one that holds nothing will do.
            let settlement = client(rpc_url, &earnings.stored, Key::random())?;
            let Payer { utility, series } = earnings.stored.payer();
            let supplier = earnings.stored.payment.supplier;
            let redeemed =
                settlement.redeemed(utility, series, supplier).await.map_err(AgentError::chain)?;
            let escrow = settlement.escrow(utility, series).await.map_err(AgentError::chain)?;
            let owed = earnings.stored.payment.cumulative_wei.saturating_sub(redeemed);
            earnings.redeemed_nanojoule = Some(super::floor(redeemed));
            earnings.redeemable_nanojoule = Some(super::floor(owed.min(escrow.balance_wei)));
        }
        all.push(earnings);
    }
    Ok(all)
}

/// One redemption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// Who paid.
    pub payer: Payer,
    /// What was paid now, in nano-JOULE.
    pub paid_nanojoule: NanoJoule,
    /// The client's answer, with the transaction.
    pub redeemed: Redeemed,
}

/// Redeems every stored payment on chain, to the supplier's address. Needs nothing but the data
/// directory, the supplier's key and an RPC: no agent, no utility. Safe to repeat.
///
/// # Errors
/// [`AgentError::NothingEarned`] where no payment is stored; otherwise where a file or the chain
/// fails.
pub async fn redeem(
    data_dir: &Path,
    rpc_url: &str,
    key: &Key,
) -> Result<Vec<Redemption>, AgentError> {
    let all = stored(data_dir)?;
    if all.is_empty() {
        return Err(AgentError::NothingEarned { path: data_dir.to_owned() });
    }
    // A transaction that was sent and not seen mined is found again by the next call.
    let journal = FileJournal::open(&data_dir.join(TRANSACTIONS));
    let journal: Arc<dyn Journal> = Arc::new(journal.map_err(AgentError::chain)?);
    let mut done = Vec::new();
    for stored in all {
        let settlement = client(rpc_url, &stored, key.clone())?.with_journal(journal.clone());
        ensure_gas(rpc_url, &settlement, &stored).await?;
        let redeemed = settlement.redeem(&stored.payment).await.map_err(AgentError::chain)?;
        let paid_nanojoule = super::floor(redeemed.paid_wei);
        done.push(Redemption { payer: stored.payer(), paid_nanojoule, redeemed });
    }
    Ok(done)
}

/// A supplier's consent that its utility redeems a payment to itself, and pays USD for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalRequest {
    /// What is redeemed.
    pub payment: PaymentProof,
    /// Until when the consent holds, in seconds since 1970.
    pub deadline: u64,
    /// The supplier's signature for redeeming to the utility's address.
    pub signature: Signature,
}

/// Signs, for every stored payment, what `POST /v1/suppliers/{address}/withdrawals` takes.
/// Contacts nobody.
///
/// # Errors
/// [`AgentError::NothingEarned`] where no payment is stored; otherwise where a file cannot be read.
pub fn withdrawals(
    data_dir: &Path,
    deadline_s: u64,
    key: &Key,
) -> Result<Vec<WithdrawalRequest>, AgentError> {
    let all = stored(data_dir)?;
    if all.is_empty() {
        return Err(AgentError::NothingEarned { path: data_dir.to_owned() });
    }
    all.into_iter()
        .map(|stored| {
            // Signing is pure; the URL is never dialled.
            let settlement = client("http://127.0.0.1:0", &stored, key.clone())?;
            let to = stored.payment.signed.root.utility;
            let signature = settlement.sign_redeem_to(&stored.payment, to, deadline_s);
            let signature = signature.map_err(AgentError::chain)?;
            Ok(WithdrawalRequest { payment: stored.payment, deadline: deadline_s, signature })
        })
        .collect()
}

fn client(rpc_url: &str, stored: &StoredPayment, key: Key) -> Result<Settlement, AgentError> {
    Settlement::new(rpc_url, stored.chain_id, stored.escrow, key).map_err(AgentError::chain)
}

/// A redemption costs gas. Development chains hand it out; elsewhere the owner must have some.
async fn ensure_gas(
    rpc_url: &str,
    settlement: &Settlement,
    stored: &StoredPayment,
) -> Result<(), AgentError> {
    if stored.chain_id != dev::CHAIN_ID {
        return Ok(());
    }
    let wanted = U256::from(10_u64).pow(U256::from(17));
    let has = settlement.gas_balance(settlement.address()).await.map_err(AgentError::chain)?;
    if has < wanted / U256::from(2) {
        dev::fund(rpc_url, settlement.address(), wanted).await.map_err(AgentError::chain)?;
    }
    Ok(())
}
