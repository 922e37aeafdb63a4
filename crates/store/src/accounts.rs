//! Customers: accounts, the keys they prove themselves with, and their deposits.

use std::fmt;

use kinesis_protocol::{AccountId, ContentHash, NanoUsd};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    LedgerAccount, Store, StoreError,
    db::{Row, Tx, args},
    idempotency,
    ledger::Entry,
};

/// The longest name of an account.
const NAME_CHARS_MAX: usize = 100;
/// The most that is deposited at once: keeps every sum of deposits far from overflow.
const DEPOSIT_MAX: NanoUsd = NanoUsd(100_000_000 * 1_000_000_000);
/// How much of a key's hash finds it; all of it is compared.
const LOOKUP_DIGITS: usize = 32;
const KEY_PREFIX: &str = "kin_";
const SCOPE: &str = "accounts";

macro_rules! account_columns {
    () => {
        "SELECT a.id, a.name, a.created_at_ms, COALESCE(b.balance, 0) FROM accounts a \
         LEFT JOIN ledger_balances b \
         ON b.account = 'customer:' || a.id AND b.currency = 'USD'"
    };
}

/// A customer's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub account: AccountId,
    /// The name it was opened under, 1 to 100 printable characters.
    pub name: String,
    /// What is left. Negative where usage ran past it before it was stopped.
    pub balance_nanousd: NanoUsd,
    /// When it was opened.
    pub created_at_ms: u64,
}

/// A customer's key: `kin_` and 64 hexadecimal digits. Only its hash is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// The key a client gives to a request so that repeating it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// An idempotency key with the fingerprint of the request it was given for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: IdempotencyKey,
    /// A hash over what was asked: the same key for something else is refused.
    pub fingerprint: ContentHash,
}

impl ApiKey {
    fn random() -> Self {
        Self(format!("{KEY_PREFIX}{}", hex::encode(rand::random::<[u8; 32]>())))
    }

    /// What looks like a key.
    fn parse(s: &str) -> Option<Self> {
        let digits = s.strip_prefix(KEY_PREFIX)?;
        let fits = digits.len() == 64
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        fits.then(|| Self(s.to_owned()))
    }

    /// 256 random bits need no salt and no slow hash.
    fn hash(&self) -> String {
        ContentHash::of(self.0.as_bytes()).to_string()
    }

    /// The key as the customer keeps it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

impl IdempotencyKey {
    /// A key a client sent.
    ///
    /// # Errors
    /// Unless it is 1 to 128 visible ASCII characters.
    pub fn new(key: impl Into<String>) -> Result<Self, StoreError> {
        let key = key.into();
        if (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(key))
        } else {
            Err(StoreError::KeyMalformed)
        }
    }

    /// The key as the client sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Opens an account and gives it a key. Repeated with the same idempotency key it returns the
    /// same account with a *new* key, which replaces the one that was evidently lost.
    ///
    /// # Errors
    /// Where the name is out of bounds or the idempotency key was used for another request.
    pub async fn create_account(
        &self,
        name: &str,
        idempotency: Option<&Idempotency>,
        at_ms: u64,
    ) -> Result<(Account, ApiKey), StoreError> {
        let chars = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&chars) || name.chars().any(char::is_control) {
            return Err(StoreError::Invalid(
                "an account's name is 1 to 100 printable characters".to_owned(),
            ));
        }
        let mut tx = self.db.begin().await?;
        let replayed = idempotency::replay(&mut tx, SCOPE, idempotency).await?;
        let account = if let Some(id) = replayed {
            let id = id.parse().map_err(|e| StoreError::corrupt("account id", e))?;
            tx.run("DELETE FROM api_keys WHERE account = $1", args![id_text(id)]).await?;
            load(&mut tx, id).await?
        } else {
            let account = Account {
                account: AccountId::random(),
                name: name.to_owned(),
                balance_nanousd: NanoUsd::ZERO,
                created_at_ms: at_ms,
            };
            let id = id_text(account.account);
            tx.run(
                "INSERT INTO accounts (id, name, created_at_ms) VALUES ($1, $2, $3)",
                args![id.as_str(), name, at_ms],
            )
            .await?;
            idempotency::remember(&mut tx, SCOPE, idempotency, id, at_ms).await?;
            account
        };
        let key = ApiKey::random();
        let hash = key.hash();
        tx.run(
            "INSERT INTO api_keys (lookup, hash, account, created_at_ms) VALUES ($1, $2, $3, $4)",
            args![&hash[..LOOKUP_DIGITS], hash.as_str(), id_text(account.account), at_ms],
        )
        .await?;
        tx.commit().await?;
        Ok((account, key))
    }

    /// Whose key this is; `None` for anything that is no valid key. Constant time in the secret.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn authenticate(&self, api_key: &str) -> Result<Option<AccountId>, StoreError> {
        let Some(key) = ApiKey::parse(api_key) else { return Ok(None) };
        let hash = key.hash();
        let row = self
            .db
            .one(
                "SELECT hash, account FROM api_keys WHERE lookup = $1",
                args![&hash[..LOOKUP_DIGITS]],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        if row.text(0)?.as_bytes().ct_eq(hash.as_bytes()).into() {
            row.parse(1, "account id").map(Some)
        } else {
            Ok(None)
        }
    }

    /// An account with its balance.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn account(&self, account: AccountId) -> Result<Account, StoreError> {
        self.db
            .one(concat!(account_columns!(), " WHERE a.id = $1"), args![id_text(account)])
            .await?
            .map(|row| read(&row))
            .transpose()?
            .ok_or_else(|| StoreError::not_found("account", account))
    }

    /// All accounts, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let sql = concat!(account_columns!(), " ORDER BY a.id");
        self.db.all(sql, args![]).await?.iter().map(read).collect()
    }

    /// Puts money on an account, once for each idempotency key of that account.
    ///
    /// # Errors
    /// Where there is no such account, the amount is not positive or too large, or the key was used
    /// for another amount.
    pub async fn deposit(
        &self,
        account: AccountId,
        amount: NanoUsd,
        key: &IdempotencyKey,
        at_ms: u64,
    ) -> Result<Account, StoreError> {
        if amount <= NanoUsd::ZERO || amount > DEPOSIT_MAX {
            return Err(StoreError::Invalid(format!(
                "a deposit is more than nothing and at most {DEPOSIT_MAX}"
            )));
        }
        let scope = format!("deposit:{account}");
        let idempotency = Some(Idempotency {
            key: key.clone(),
            fingerprint: ContentHash::of(&amount.0.to_be_bytes()),
        });
        let mut tx = self.db.begin().await?;
        load(&mut tx, account).await?;
        if idempotency::replay(&mut tx, &scope, idempotency.as_ref()).await?.is_none() {
            let mut entry = Entry::default();
            entry.usd(LedgerAccount::World, -amount)?;
            entry.usd(LedgerAccount::Customer(account), amount)?;
            entry.post(&mut tx, &format!("{scope}:{}", key.as_str()), "deposit", at_ms).await?;
            idempotency::remember(&mut tx, &scope, idempotency.as_ref(), amount.0, at_ms).await?;
        }
        let account = load(&mut tx, account).await?;
        tx.commit().await?;
        Ok(account)
    }
}

fn read(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        account: row.parse(0, "account id")?,
        name: row.text(1)?,
        created_at_ms: row.uint(2)?,
        balance_nanousd: NanoUsd(row.int(3)?),
    })
}

fn id_text(account: AccountId) -> String {
    account.to_string()
}

async fn load(tx: &mut Tx, account: AccountId) -> Result<Account, StoreError> {
    tx.one(concat!(account_columns!(), " WHERE a.id = $1"), args![id_text(account)])
        .await?
        .map(|row| read(&row))
        .transpose()?
        .ok_or_else(|| StoreError::not_found("account", account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_parsed_strictly_and_never_shown() {
        let key = ApiKey::random();
        assert_eq!(ApiKey::parse(key.reveal()), Some(key.clone()));
        assert_eq!(ApiKey::parse(&key.reveal().to_uppercase()), None);
        assert_eq!(ApiKey::parse("kin_"), None);
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
    }

    #[test]
    fn idempotency_keys_are_visible_ascii() {
        assert!(IdempotencyKey::new("order-17").is_ok());
        for bad in ["", "a b", "é", &"x".repeat(129)] {
            assert!(IdempotencyKey::new(bad).is_err(), "{bad}");
        }
    }
}
