//! The chain's state on disk: accounts, storage, code and blocks in redb.
//!
//! Readers open a [`View`], a consistent snapshot that later blocks do not touch. Only the miner
//! writes, and what it commits is on disk before anyone can see it.

use alloy::{
    consensus::Header,
    primitives::{Address, B256, KECCAK256_EMPTY, U256},
};
use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
    WriteTransaction,
};
use revm::{
    DatabaseRef,
    bytecode::Bytecode,
    database_interface::DBErrorMarker,
    state::{AccountInfo, EvmState},
};

use super::{
    archive::{self, Blocks, Loose},
    history::Past,
    record::Record,
};
use crate::ChainError;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ACCOUNTS: TableDefinition<'_, &[u8; 20], &[u8; 72]> = TableDefinition::new("accounts");
const STORAGE: TableDefinition<'_, &[u8; 52], &[u8; 32]> = TableDefinition::new("storage");
const CODES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("codes");
const BLOCK_NUMBERS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("block_numbers");
const TRANSACTIONS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("transactions");

/// What this version writes.
const FORMAT: u64 = 2;

impl DBErrorMarker for ChainError {}

pub(super) fn failed(error: impl Into<redb::Error>) -> ChainError {
    ChainError::Database(Box::new(error.into()))
}

fn account_key(address: &Address) -> &[u8; 20] {
    &address.0.0
}

fn storage_key(address: Address, slot: U256) -> [u8; 52] {
    let mut key = [0; 52];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&slot.to_be_bytes::<32>());
    key
}

fn encode_account(info: &AccountInfo) -> [u8; 72] {
    let mut bytes = [0; 72];
    bytes[..8].copy_from_slice(&info.nonce.to_be_bytes());
    bytes[8..40].copy_from_slice(&info.balance.to_be_bytes::<32>());
    bytes[40..].copy_from_slice(info.code_hash.as_slice());
    bytes
}

fn decode_account(bytes: &[u8; 72]) -> AccountInfo {
    let mut nonce = [0; 8];
    nonce.copy_from_slice(&bytes[..8]);
    AccountInfo {
        nonce: u64::from_be_bytes(nonce),
        balance: U256::from_be_slice(&bytes[8..40]),
        code_hash: B256::from_slice(&bytes[40..]),
        code: None,
        ..AccountInfo::default()
    }
}

/// A snapshot of the chain.
pub(super) struct View {
    meta: ReadOnlyTable<&'static str, u64>,
    accounts: ReadOnlyTable<&'static [u8; 20], &'static [u8; 72]>,
    storage: ReadOnlyTable<&'static [u8; 52], &'static [u8; 32]>,
    codes: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    blocks: Blocks,
    block_numbers: ReadOnlyTable<&'static [u8; 32], u64>,
    transactions: ReadOnlyTable<&'static [u8; 32], u64>,
    /// Where the state that is read differs from that of the newest block.
    past: Past,
}

impl View {
    pub(super) fn open(database: &Database) -> Result<Self, ChainError> {
        let read = database.begin_read().map_err(failed)?;
        Ok(Self {
            meta: read.open_table(META).map_err(failed)?,
            accounts: read.open_table(ACCOUNTS).map_err(failed)?,
            storage: read.open_table(STORAGE).map_err(failed)?,
            codes: read.open_table(CODES).map_err(failed)?,
            blocks: Blocks::open(&read)?,
            block_numbers: read.open_table(BLOCK_NUMBERS).map_err(failed)?,
            transactions: read.open_table(TRANSACTIONS).map_err(failed)?,
            past: Past::default(),
        })
    }

    /// The same chain with an older state.
    pub(super) fn with_past(self, past: Past) -> Self {
        Self { past, ..self }
    }

    pub(super) fn head(&self) -> Result<Record, ChainError> {
        self.blocks.head()
    }

    pub(super) fn block(&self, number: u64) -> Result<Option<Record>, ChainError> {
        self.blocks.get(number)
    }

    pub(super) fn block_number(&self, hash: B256) -> Result<Option<u64>, ChainError> {
        Ok(self.block_numbers.get(&hash.0).map_err(failed)?.map(|number| number.value()))
    }

    pub(super) fn block_of(&self, transaction: B256) -> Result<Option<Record>, ChainError> {
        let number = self.transactions.get(&transaction.0).map_err(failed)?;
        number.map_or(Ok(None), |number| self.block(number.value()))
    }

    pub(super) fn account(&self, address: Address) -> Result<AccountInfo, ChainError> {
        Ok(self.basic_ref(address)?.unwrap_or_default())
    }

    /// How far the chain's clock runs ahead of the machine's (`evm_increaseTime`), in seconds.
    pub(super) fn clock_offset_s(&self) -> Result<u64, ChainError> {
        Ok(self.meta.get("clock_offset_s").map_err(failed)?.map_or(0, |value| value.value()))
    }
}

impl DatabaseRef for View {
    type Error = ChainError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ChainError> {
        if let Some(info) = self.past.accounts.get(&address) {
            return Ok(info.clone());
        }
        let bytes = self.accounts.get(account_key(&address)).map_err(failed)?;
        Ok(bytes.map(|bytes| decode_account(bytes.value())))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, ChainError> {
        if code_hash == KECCAK256_EMPTY || code_hash.is_zero() {
            return Ok(Bytecode::default());
        }
        let bytes = self
            .codes
            .get(&code_hash.0)
            .map_err(failed)?
            .ok_or(ChainError::Damaged("the code of a contract is missing"))?;
        Bytecode::new_raw_checked(bytes.value().to_vec().into())
            .map_err(|_| ChainError::Damaged("the code of a contract does not decode"))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ChainError> {
        if let Some(value) = self.past.slots.get(&(address, slot)) {
            return Ok(*value);
        }
        let value = self.storage.get(&storage_key(address, slot)).map_err(failed)?;
        Ok(value.map_or(U256::ZERO, |value| U256::from_be_bytes(*value.value())))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ChainError> {
        Ok(self.block(number)?.map_or(B256::ZERO, |record| record.hash))
    }
}

/// Makes the tables and checks that they are of this version and chain. A database that is new gets
/// `genesis`: its block and its accounts (with their code).
pub(super) fn prepare(
    database: &Database,
    chain_id: u64,
    genesis: impl FnOnce() -> (Header, Vec<(Address, AccountInfo)>),
) -> Result<(), ChainError> {
    let write = database.begin_write().map_err(failed)?;
    let made_with = {
        let mut meta = write.open_table(META).map_err(failed)?;
        let format = meta.get("format").map_err(failed)?.map(|value| value.value());
        if format.is_some_and(|format| format != FORMAT) {
            return Err(ChainError::Damaged(
                "another version wrote it; with its directory moved away, a new one is made",
            ));
        }
        let made_with = meta.get("chain_id").map_err(failed)?.map(|value| value.value());
        if made_with.is_none() {
            meta.insert("format", FORMAT).map_err(failed)?;
            meta.insert("chain_id", chain_id).map_err(failed)?;
        }
        made_with
    };
    if let Some(got) = made_with {
        if got != chain_id {
            return Err(ChainError::WrongChain { expected: chain_id, got });
        }
        return write.abort().map_err(failed);
    }
    let (header, accounts) = genesis();
    write.open_table(TRANSACTIONS).map_err(failed)?;
    archive::prepare(&write)?;
    write_block(&write, &mut Loose::default(), &Record::new(header, None))?;
    let mut tables = Tables::open(&write)?;
    for (address, info) in accounts {
        tables.write_account(address, &info)?;
    }
    drop(tables);
    write.commit().map_err(failed)
}

/// The tables that a transaction changes, opened once for all of its changes.
struct Tables<'a> {
    accounts: Table<'a, &'static [u8; 20], &'static [u8; 72]>,
    storage: Table<'a, &'static [u8; 52], &'static [u8; 32]>,
    codes: Table<'a, &'static [u8; 32], &'static [u8]>,
}

impl<'a> Tables<'a> {
    fn open(write: &'a WriteTransaction) -> Result<Self, ChainError> {
        Ok(Self {
            accounts: write.open_table(ACCOUNTS).map_err(failed)?,
            storage: write.open_table(STORAGE).map_err(failed)?,
            codes: write.open_table(CODES).map_err(failed)?,
        })
    }

    fn write_account(&mut self, address: Address, info: &AccountInfo) -> Result<(), ChainError> {
        if let Some(code) = info.code.as_ref().filter(|code| !code.is_empty()) {
            // Code travels with every account that was called; it is written once.
            if self.codes.get(&info.code_hash.0).map_err(failed)?.is_none() {
                let code = code.original_byte_slice();
                self.codes.insert(&info.code_hash.0, code).map_err(failed)?;
            }
        }
        self.accounts.insert(account_key(&address), &encode_account(info)).map_err(failed)?;
        Ok(())
    }
}

/// Writes what a transaction changed.
pub(super) fn write_changes(
    write: &WriteTransaction,
    changes: &EvmState,
) -> Result<(), ChainError> {
    let mut tables = Tables::open(write)?;
    for (address, account) in changes {
        if !account.is_touched() {
            continue;
        }
        if account.is_selfdestructed() || account.is_empty() {
            // Since Cancun only what was made by the same transaction can go, so that no storage
            // of it was ever written.
            tables.accounts.remove(account_key(address)).map_err(failed)?;
            continue;
        }
        tables.write_account(*address, &account.info)?;
        for (slot, value) in account.changed_storage_slots() {
            let key = storage_key(*address, *slot);
            if value.present_value().is_zero() {
                tables.storage.remove(&key).map_err(failed)?;
            } else {
                let value = value.present_value().to_be_bytes();
                tables.storage.insert(&key, &value).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Notes in the file which of its pages are in use, so that it opens without a look at all of them
/// after a crash. Worth its two writes only while nothing else is to do.
pub(super) fn settle(database: &Database) -> Result<(), ChainError> {
    let mut write = database.begin_write().map_err(failed)?;
    write.set_quick_repair(true);
    write.commit().map_err(failed)
}

/// Appends a block.
pub(super) fn write_block(
    write: &WriteTransaction,
    loose: &mut Loose,
    record: &Record,
) -> Result<(), ChainError> {
    let number = record.header.number;
    loose.append(write, record)?;
    let mut numbers = write.open_table(BLOCK_NUMBERS).map_err(failed)?;
    numbers.insert(&record.hash.0, number).map_err(failed)?;
    if let Some(executed) = &record.executed {
        let mut transactions = write.open_table(TRANSACTIONS).map_err(failed)?;
        transactions.insert(&executed.transaction.tx_hash().0, number).map_err(failed)?;
    }
    Ok(())
}

/// Sets how far the chain's clock runs ahead.
pub(super) fn write_clock_offset(
    write: &WriteTransaction,
    offset_s: u64,
) -> Result<(), ChainError> {
    let mut meta = write.open_table(META).map_err(failed)?;
    meta.insert("clock_offset_s", offset_s).map_err(failed)?;
    Ok(())
}
