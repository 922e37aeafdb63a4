//! The one writer: a thread that puts every transaction into a block of its own.
//!
//! Transactions that wait while one is written to disk share the next write, so that the rate is not
//! bounded by the disk's latency. Nothing is answered, and nothing can be read, before it is on disk.
//!
//! A transaction whose nonce lies ahead waits in memory for the gap to close, as in any node's pool;
//! like there, it is lost with the process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    consensus::{Header, Transaction as _, TxEnvelope, proofs, transaction::Recovered},
    primitives::{Address, B256, U256, keccak256},
};
use redb::{Database, WriteTransaction};
use revm::{
    Database as _, DatabaseCommit as _, context::result::ExecutionResult, database::CacheDB,
};
use tokio::sync::oneshot;

use super::{
    execute::{self, Place},
    genesis::empty_header,
    record::{Executed, Record},
    rpc::RpcError,
    state::{self, View, failed},
};
use crate::ChainError;

/// The most transactions that share a write.
const BATCH_MAX: usize = 128;
/// The most transactions of one sender that wait for a gap to close.
const WAITING_PER_SENDER_MAX: usize = 64;
/// The most senders with such transactions.
const WAITING_SENDERS_MAX: usize = 1_024;

/// What the miner is asked to do.
pub(super) enum Order {
    /// Mine a transaction; answered with its hash once it is on disk (or waits for an earlier one).
    Submit(Box<Recovered<TxEnvelope>>, oneshot::Sender<Result<B256, RpcError>>),
    /// Move the clock ahead by so many seconds; answered with the whole offset.
    AdvanceClock(u64, oneshot::Sender<Result<u64, RpcError>>),
    /// Mine an empty block; answered with its number.
    Mine(oneshot::Sender<Result<u64, RpcError>>),
}

/// An answer that is held back until the batch is on disk.
enum Answer {
    Hash(B256, oneshot::Sender<Result<B256, RpcError>>),
    Number(u64, oneshot::Sender<Result<u64, RpcError>>),
}

/// The seconds since 1970 by the machine's clock.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) struct Miner {
    database: Arc<Database>,
    chain_id: u64,
    waiting: HashMap<Address, BTreeMap<u64, Recovered<TxEnvelope>>>,
}

/// A batch in the making: a snapshot, what was executed on top of it, and the write that will make
/// it the chain.
struct Batch {
    cache: CacheDB<View>,
    write: WriteTransaction,
    head: Header,
    head_hash: B256,
    clock_offset_s: u64,
    answers: Vec<Answer>,
}

impl Miner {
    pub(super) fn new(database: Arc<Database>, chain_id: u64) -> Self {
        Self { database, chain_id, waiting: HashMap::new() }
    }

    /// Works until every sender of orders is gone.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let more = orders.try_iter().take(BATCH_MAX - 1);
            let batch: Vec<_> = std::iter::once(first).chain(more).collect();
            if let Err(error) = self.mine(batch) {
                // The orders were dropped, which their senders see as a failure.
                tracing::error!(error = &error as &dyn std::error::Error, "the chain cannot write");
            }
        }
    }

    fn mine(&mut self, orders: Vec<Order>) -> Result<(), ChainError> {
        let view = View::open(&self.database)?;
        let head = view.head()?;
        let mut batch = Batch {
            clock_offset_s: view.clock_offset_s()?,
            cache: CacheDB::new(view),
            write: self.database.begin_write().map_err(failed)?,
            head: head.header,
            head_hash: head.hash,
            answers: Vec::new(),
        };
        for order in orders {
            match order {
                Order::Submit(transaction, reply) => match self.submit(&mut batch, *transaction)? {
                    Ok(hash) => batch.answers.push(Answer::Hash(hash, reply)),
                    Err(error) => drop(reply.send(Err(error))),
                },
                Order::AdvanceClock(seconds, reply) => {
                    batch.clock_offset_s = batch.clock_offset_s.saturating_add(seconds);
                    state::write_clock_offset(&batch.write, batch.clock_offset_s)?;
                    batch.answers.push(Answer::Number(batch.clock_offset_s, reply));
                }
                Order::Mine(reply) => {
                    batch.append(None, 0)?;
                    batch.answers.push(Answer::Number(batch.head.number, reply));
                }
            }
        }
        let Batch { write, answers, .. } = batch;
        write.commit().map_err(failed)?;
        for answer in answers {
            // Whoever no longer waits will find the block all the same.
            match answer {
                Answer::Hash(hash, reply) => drop(reply.send(Ok(hash))),
                Answer::Number(number, reply) => drop(reply.send(Ok(number))),
            }
        }
        Ok(())
    }

    /// Mines a transaction and those that waited for it. The outer error ends the batch.
    fn submit(
        &mut self,
        batch: &mut Batch,
        transaction: Recovered<TxEnvelope>,
    ) -> Result<Result<B256, RpcError>, ChainError> {
        let sender = transaction.signer();
        let hash = *transaction.inner().tx_hash();
        if batch.cache.db.block_of(hash)?.is_some() {
            return Ok(Err(RpcError::rejected("already known")));
        }
        let next = batch.cache.basic(sender)?.unwrap_or_default().nonce;
        if transaction.nonce() > next {
            return Ok(self.wait(transaction).map(|()| hash));
        }
        if let Err(error) = batch.execute(self.chain_id, transaction)? {
            return Ok(Err(error));
        }
        let mut next = next + 1;
        while let Some(follower) = self.take_waiting(sender, next) {
            // A follower that is refused was answered long ago: it is as if it had been replaced.
            if batch.execute(self.chain_id, follower)?.is_err() {
                break;
            }
            next += 1;
        }
        Ok(Ok(hash))
    }

    fn wait(&mut self, transaction: Recovered<TxEnvelope>) -> Result<(), RpcError> {
        let sender = transaction.signer();
        if transaction.chain_id().is_some_and(|chain| chain != self.chain_id) {
            return Err(RpcError::rejected("invalid chain id for signer"));
        }
        if self.waiting.len() >= WAITING_SENDERS_MAX && !self.waiting.contains_key(&sender) {
            return Err(RpcError::rejected("txpool is full"));
        }
        let queue = self.waiting.entry(sender).or_default();
        if queue.len() >= WAITING_PER_SENDER_MAX {
            return Err(RpcError::rejected("nonce too high: too many transactions wait already"));
        }
        queue.insert(transaction.nonce(), transaction);
        Ok(())
    }

    fn take_waiting(&mut self, sender: Address, nonce: u64) -> Option<Recovered<TxEnvelope>> {
        let queue = self.waiting.get_mut(&sender)?;
        let found = queue.remove(&nonce);
        // What lies behind can never be mined any more.
        queue.retain(|waiting, _| *waiting > nonce);
        if queue.is_empty() {
            self.waiting.remove(&sender);
        }
        found
    }
}

impl Batch {
    fn timestamp_s(&self) -> u64 {
        // Blocks may share a second; the clock never runs backwards.
        self.head.timestamp.max(now_s().saturating_add(self.clock_offset_s))
    }

    /// Executes a transaction on top of the batch and appends its block.
    fn execute(
        &mut self,
        chain_id: u64,
        transaction: Recovered<TxEnvelope>,
    ) -> Result<Result<(), RpcError>, ChainError> {
        let place =
            Place { chain_id, number: self.head.number + 1, timestamp_s: self.timestamp_s() };
        let (transaction, sender) = transaction.into_parts();
        let done = match execute::transact(&mut self.cache, place, sender, &transaction) {
            Ok(done) => done,
            Err(error) => return Ok(Err(error)),
        };
        state::write_changes(&self.write, &done.state)?;
        self.cache.commit(done.state);
        let gas_used = done.result.gas().tx_gas_used();
        let success = done.result.is_success();
        let logs = match done.result {
            ExecutionResult::Success { logs, .. } => logs,
            ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => Vec::new(),
        };
        self.append(Some(Executed { transaction, sender, success, logs }), gas_used)?;
        Ok(Ok(()))
    }

    /// Appends a block.
    fn append(&mut self, executed: Option<Executed>, gas_used: u64) -> Result<(), ChainError> {
        let mut header = Header {
            parent_hash: self.head_hash,
            number: self.head.number + 1,
            timestamp: self.timestamp_s(),
            gas_used,
            ..empty_header()
        };
        header.mix_hash = execute::prevrandao(header.number);
        if let Some(executed) = &executed {
            let (receipt, bloom) = executed.consensus_receipt(gas_used);
            header.logs_bloom = bloom;
            header.transactions_root =
                proofs::calculate_transaction_root(std::slice::from_ref(&executed.transaction));
            header.receipts_root = proofs::calculate_receipt_root(&[receipt]);
        }
        // Not the root of a state trie, which nobody would ask a development chain for, but it
        // still commits to everything that led to the state.
        header.state_root = keccak256(
            [self.head.state_root, header.transactions_root, header.receipts_root].concat(),
        );
        let record = Record::new(header, executed);
        state::write_block(&self.write, &record)?;
        let number = U256::from(record.header.number);
        self.cache.cache.block_hashes.insert(number, record.hash);
        self.head_hash = record.hash;
        self.head = record.header;
        Ok(())
    }
}
