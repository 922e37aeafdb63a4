//! What the protocol's people do: stake, pool, DAO, audits. Here is what they share: which chain,
//! which contracts, on whose behalf, and what a refusal says.

pub(crate) mod audit;
pub(crate) mod auditor;
pub(crate) mod deploy;
pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod gov;
pub(crate) mod lease;
pub(crate) mod pool;
pub(crate) mod redeem;
pub(crate) mod results;
pub(crate) mod runs;
pub(crate) mod stake;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use kinesis_chain::{
    ChainError, Contracts, Key, Protocol, amount::moment, dev, refusal::next_step,
};
use kinesis_protocol::{Address, B256, U256};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    cli::protocol::{Acting, OnChain},
    config, endpoints,
    error::{Error, Result},
    files,
    output::{Output, safe},
    passphrase,
    profile::Profile,
};

/// Where a chain answers unless somebody says otherwise.
pub(crate) const RPC_DEFAULT: &str = "http://127.0.0.1:8545/rpc";
/// The file of a person's own key, beside the profile.
const WALLET: &str = "wallet.key";
/// What a wallet is given for gas on a development chain: one of the native coin.
const DEV_GAS_WEI: u128 = 1_000_000_000_000_000_000;

/// What a grid or a utility has written about its chain.
#[derive(Deserialize)]
struct Known {
    rpc: Option<String>,
    contracts: Option<Contracts>,
}

impl OnChain {
    /// The grid's own word, where there is a grid.
    fn known(&self) -> Option<Known> {
        let named = self.data.as_deref();
        let grid = config::data_dir(named, None).ok();
        let utility = config::data_dir(named, Some("utility")).ok();
        [grid, utility].into_iter().flatten().find_map(|dir| endpoints::read::<Known>(&dir))
    }

    pub(super) fn rpc(&self) -> String {
        let known = || self.known().and_then(|known| known.rpc);
        self.rpc.clone().or_else(known).unwrap_or_else(|| RPC_DEFAULT.to_owned())
    }

    fn contracts(&self) -> Result<Contracts> {
        if let Some(path) = &self.contracts {
            return read_json(path, "a file of contracts");
        }
        let known = self.known().and_then(|known| known.contracts);
        Ok(known.unwrap_or_else(|| Contracts::development(dev::key(0).address())))
    }

    /// Where the wallet is.
    fn wallet() -> Result<PathBuf> {
        Ok(Profile::path()?.with_file_name(WALLET))
    }

    /// Whom it concerns where nobody is named, without making a key.
    fn me(&self) -> Result<Option<Address>> {
        let there = self.acting.is_some() || Self::wallet()?.exists();
        if there { self.key().map(|key| Some(key.address())) } else { Ok(None) }
    }

    /// Whoever acts.
    pub(super) fn key(&self) -> Result<Key> {
        let path = match &self.acting {
            Some(Acting::Dev(index)) => return Ok(dev::key(*index)),
            Some(Acting::File(path)) => path.clone(),
            None => {
                let wallet = Self::wallet()?;
                if !wallet.exists() {
                    return Key::load_or_create(&wallet).map_err(chain);
                }
                wallet
            }
        };
        passphrase::open_key(&path, self.passphrase_file.as_deref())
    }

    /// A client that only looks.
    pub(super) async fn look(&self) -> Result<Protocol> {
        // Reading asks for no key; one that holds nothing will do.
        self.client(Key::random()).await
    }

    /// A client that acts as the one who was named.
    pub(super) async fn act(&self) -> Result<Protocol> {
        self.act_as(self.key()?).await
    }

    /// A client that acts as the holder of `key`. On a development chain gas is no concern.
    ///
    /// What it sends is journalled: where the same command was cut off before, it is gone on with
    /// ([`runs`]).
    pub(super) async fn act_as(&self, key: Key) -> Result<Protocol> {
        let client = self.client(key).await?;
        dev::fund(&self.rpc(), client.address(), U256::from(DEV_GAS_WEI)).await.map_err(chain)?;
        runs::begin(client).await
    }

    /// A client for a process that goes on by itself. What it sends is in no journal: it reads from the
    /// chain what it has done. What must not happen twice it journals itself.
    pub(super) async fn serve_as(&self, key: Key) -> Result<Protocol> {
        let client = self.client(key).await?;
        dev::fund(&self.rpc(), client.address(), U256::from(DEV_GAS_WEI)).await.map_err(chain)?;
        Ok(client)
    }

    async fn client(&self, key: Key) -> Result<Protocol> {
        let client = Protocol::new(&self.rpc(), self.contracts()?, key).map_err(chain)?;
        client.check().await.map_err(chain)?;
        if self.acting_on_play_money() && client.contracts().chain_id != dev::CHAIN_ID {
            return Err(Error::Usage {
                message: "everybody knows the keys of development accounts".into(),
                hint: Some("name a key file with --as FILE".into()),
            });
        }
        Ok(client)
    }

    const fn acting_on_play_money(&self) -> bool {
        matches!(self.acting, Some(Acting::Dev(_)))
    }

    /// Who is looked at: the one named, or whoever acts.
    pub(super) fn subject(&self, named: Option<Address>) -> Result<Address> {
        let me = || self.me().transpose();
        named.map(Ok).or_else(me).unwrap_or_else(|| {
            Err(Error::Usage {
                message: "nobody was named, and there is no wallet yet".into(),
                hint: Some("name an address, or whoever acts with --as FILE".into()),
            })
        })
    }
}

/// What a file of ours holds, as JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let text = files::read_text(path)?.ok_or_else(|| Error::Usage {
        message: format!("there is no file {}", path.display()),
        hint: None,
    })?;
    serde_json::from_str(&text).map_err(|e| Error::Usage {
        message: format!("{} does not hold {what}: {e}", path.display()),
        hint: Some("give the file as it was written; it may have been cut off".to_owned()),
    })
}

/// A failure of the chain, with the exit code and the hint that fit it.
pub(crate) fn chain(error: ChainError) -> Error {
    match error {
        ChainError::Reverted(why) => {
            let hint = next_step(&why).map(str::to_owned);
            // The error's name is for whoever looks it up.
            let message = match why.split_once(": ") {
                Some((name, words)) if !name.contains(' ') => {
                    format!("refused: {} ({name})", safe(words))
                }
                _ => format!("refused: {}", safe(&why)),
            };
            Error::Refused { message, hint }
        }
        ChainError::Senseless(why) => Error::Usage { message: why, hint: None },
        ChainError::DevelopmentKey(_) => Error::Usage {
            message: error.to_string(),
            hint: Some("name a key file of your own with --as FILE".into()),
        },
        ChainError::NoStablecoin => Error::Usage {
            message: error.to_string(),
            hint: Some("write its address into --config FILE: [exchange] usd = \"0x…\"".into()),
        },
        ChainError::BadProof => Error::Refused { message: error.to_string(), hint: None },
        ChainError::NoGas(_) => Error::Refused { message: error.to_string(), hint: None },
        ChainError::NoContract { .. } | ChainError::NoProtocol | ChainError::WrongChain { .. } => {
            Error::Failed {
                message: error.to_string(),
                hint: Some(
                    "name the chain with --rpc URL and its contracts with --contracts FILE".into(),
                ),
            }
        }
        ChainError::NoReceipt(_) => Error::Unreachable {
            what: "the end of it: the transaction is sent and not in a block yet".into(),
            hint: Some("run the same command again: it is followed, not sent twice".into()),
            source: error.into(),
        },
        error if error.is_unreachable() => Error::Unreachable {
            what: "the chain".into(),
            hint: Some("start a grid with `kinesis up`, or name a chain with --rpc URL".into()),
            source: error.into(),
        },
        error => Error::Role { what: "chain", source: error.into() },
    }
}

/// What a transaction did.
fn done(out: Output, transaction: B256, did: &str) -> Result<()> {
    let value = serde_json::json!({"done": did, "transaction": transaction});
    out.result(&value, |w| writeln!(w, "{did}\n  transaction {transaction}"))
}

/// Lines of a name and what is known of it, side by side.
fn lines(w: &mut dyn Write, rows: &[(&str, String)]) -> io::Result<()> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().try_for_each(|(name, value)| writeln!(w, "{name:width$}  {value}"))
}

/// A moment on chain, and how far it is from now.
fn when(at_s: u64, now_s: u64) -> String {
    if at_s > now_s && at_s - now_s < 86_400 {
        return format!("{} (in {} s)", moment(at_s), at_s - now_s);
    }
    moment(at_s)
}

/// Ten-thousandths as a percentage.
fn percent(bp: u16) -> String {
    format!("{}.{:02} %", bp / 100, bp % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_and_what_next() {
        let error = chain(ChainError::Reverted("NoUnbonding: nothing thaws".into()));
        assert_eq!(error.to_string(), "refused: nothing thaws (NoUnbonding)");
        assert!(error.hint().unwrap().contains("kinesis stake thaw"));
        assert_eq!(error.code(), 3);
        let other = chain(ChainError::Reverted("execution reverted: no".into()));
        assert_eq!(other.to_string(), "refused: execution reverted: no");
    }

    #[test]
    fn shares_and_moments_read_well() {
        assert_eq!(percent(120), "1.20 %");
        assert_eq!(percent(5), "0.05 %");
        assert_eq!(when(100, 90), "1970-01-01 00:01:40 UTC (in 10 s)");
        assert_eq!(when(100, 100), "1970-01-01 00:01:40 UTC");
    }
}
