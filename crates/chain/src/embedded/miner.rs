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
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    consensus::{Header, Transaction as _, TxEnvelope, proofs, transaction::Recovered},
    primitives::{Address, B256, U256, keccak256},
};
use redb::WriteTransaction;
use revm::{
    Database as _, DatabaseCommit as _,
    context::result::ExecutionResult,
    database::CacheDB,
    state::{AccountInfo, EvmState},
};
use tokio::sync::oneshot;

use super::{
    Event, Shared,
    archive::Loose,
    execute::{self, Place},
    genesis::empty_header,
    history::Undo,
    record::{Executed, Record},
    rpc::RpcError,
    snapshots::Snapshots,
    state::{self, View, failed},
};
use crate::ChainError;

/// The most transactions that share a write.
const BATCH_MAX: usize = 128;
/// The most transactions of one sender that wait for a gap to close.
const WAITING_PER_SENDER_MAX: usize = 64;
/// The most senders with such transactions.
const WAITING_SENDERS_MAX: usize = 1_024;
/// The most empty blocks that one order mines.
pub(super) const BLOCKS_AT_ONCE_MAX: u64 = 1_000;
/// How long nothing is asked for before the file is made quick to open after a crash.
const IDLE: Duration = Duration::from_millis(200);

type Reply<T> = oneshot::Sender<Result<T, RpcError>>;

/// What the miner is asked to do.
pub(super) enum Order {
    /// Mine a transaction; answered with its hash once it is on disk (or waits for an earlier one).
    Submit(Box<Recovered<TxEnvelope>>, Reply<B256>),
    /// Move the clock ahead by so many seconds; answered with the whole offset.
    AdvanceClock(u64, Reply<u64>),
    /// Give the next block this time; answered with it.
    SetNextTime(u64, Reply<u64>),
    /// Mine empty blocks; answered with the last one's number.
    Mine(u64, Reply<u64>),
    /// Remember the chain as it is; answered with what to call it.
    Snapshot(Reply<u64>),
    /// Go back to a snapshot; answered with whether there was one.
    Revert(u64, Reply<bool>),
}

/// An answer that is held back until the batch is on disk.
enum Answer {
    Hash(B256, Reply<B256>),
    Number(u64, Reply<u64>),
}

/// The seconds since 1970 by the machine's clock.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) struct Miner {
    shared: Arc<Shared>,
    chain_id: u64,
    waiting: HashMap<Address, BTreeMap<u64, Recovered<TxEnvelope>>>,
    snapshots: Snapshots,
    /// The time of the next block, where it was set.
    next_time_s: Option<u64>,
}

/// A batch in the making: a snapshot, what was executed on top of it, and the write that will make
/// it the chain.
struct Batch {
    cache: CacheDB<View>,
    write: WriteTransaction,
    head: Header,
    head_hash: B256,
    clock_offset_s: u64,
    next_time_s: Option<u64>,
    loose: Loose,
    undos: Vec<Undo>,
    answers: Vec<Answer>,
    events: Vec<Event>,
}

impl Miner {
    pub(super) fn new(shared: Arc<Shared>, chain_id: u64) -> Self {
        Self {
            shared,
            chain_id,
            waiting: HashMap::new(),
            snapshots: Snapshots::default(),
            next_time_s: None,
        }
    }

    /// Works until every sender of orders is gone.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>) {
        let mut settled = true;
        loop {
            let first = if settled {
                orders.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                orders.recv_timeout(IDLE)
            };
            let done = match first {
                Ok(first) => {
                    settled = false;
                    let more = orders.try_iter().take(BATCH_MAX - 1);
                    let batch: Vec<_> = std::iter::once(first).chain(more).collect();
                    self.work(batch)
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    settled = true;
                    state::settle(&self.shared.database)
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = done {
                // The orders were dropped, which their senders see as a failure.
                tracing::error!(error = &error as &dyn std::error::Error, "the chain cannot write");
            }
        }
    }

    /// Works off orders in their order; those that change which chain it is stand by themselves.
    fn work(&mut self, orders: Vec<Order>) -> Result<(), ChainError> {
        let mut batch = Vec::new();
        for order in orders {
            match order {
                Order::Snapshot(reply) => {
                    self.mine(std::mem::take(&mut batch))?;
                    let id = self.snapshots.take(&self.shared.database)?;
                    drop(reply.send(Ok(id)));
                }
                Order::Revert(id, reply) => {
                    self.mine(std::mem::take(&mut batch))?;
                    drop(reply.send(Ok(self.revert(id)?)));
                }
                order => batch.push(order),
            }
        }
        self.mine(batch)
    }

    fn revert(&mut self, id: u64) -> Result<bool, ChainError> {
        let mut history = self.shared.history.write();
        if !self.snapshots.restore(&self.shared.database, id)? {
            return Ok(false);
        }
        history.truncate(View::open(&self.shared.database)?.head()?.header.number);
        drop(history);
        // They were signed for a chain that is gone.
        self.waiting.clear();
        self.next_time_s = None;
        Ok(true)
    }

    fn mine(&mut self, orders: Vec<Order>) -> Result<(), ChainError> {
        if orders.is_empty() {
            return Ok(());
        }
        let view = View::open(&self.shared.database)?;
        let head = view.head()?;
        let mut batch = Batch {
            clock_offset_s: view.clock_offset_s()?,
            cache: CacheDB::new(view),
            write: self.shared.database.begin_write().map_err(failed)?,
            head: head.header,
            head_hash: head.hash,
            next_time_s: self.next_time_s,
            loose: Loose::of(&self.shared.database)?,
            undos: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
        };
        for order in orders {
            match order {
                Order::Submit(transaction, reply) => match self.submit(&mut batch, *transaction)? {
                    Ok(hash) => batch.answers.push(Answer::Hash(hash, reply)),
                    Err(error) => drop(reply.send(Err(error))),
                },
                Order::AdvanceClock(seconds, reply) => {
                    batch.set_clock_offset(batch.clock_offset_s.saturating_add(seconds))?;
                    batch.answers.push(Answer::Number(batch.clock_offset_s, reply));
                }
                Order::SetNextTime(time_s, reply) => {
                    if time_s < batch.head.timestamp {
                        let why = format!("the newest block is of {}", batch.head.timestamp);
                        drop(reply.send(Err(RpcError::params(why))));
                        continue;
                    }
                    batch.next_time_s = Some(time_s);
                    // And the clock goes on from there.
                    batch.set_clock_offset(time_s.saturating_sub(now_s()))?;
                    batch.answers.push(Answer::Number(time_s, reply));
                }
                Order::Mine(blocks, reply) => {
                    for _ in 0..blocks.min(BLOCKS_AT_ONCE_MAX) {
                        batch.append(None, 0, Undo::default())?;
                    }
                    batch.answers.push(Answer::Number(batch.head.number, reply));
                }
                // Taken out before.
                Order::Snapshot(_) | Order::Revert(..) => {}
            }
        }
        self.snapshots.forget_before(batch.head.number);
        let Batch { write, answers, events, undos, next_time_s, .. } = batch;
        {
            // Whoever reads an older state sees what was changed since together with the changes.
            let mut history = self.shared.history.write();
            write.commit().map_err(failed)?;
            history.extend(undos);
        }
        self.next_time_s = next_time_s;
        for answer in answers {
            // Whoever no longer waits will find the block all the same.
            match answer {
                Answer::Hash(hash, reply) => drop(reply.send(Ok(hash))),
                Answer::Number(number, reply) => drop(reply.send(Ok(number))),
            }
        }
        for event in events {
            // Nobody may be listening.
            drop(self.shared.events.send(event));
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
            let waits = Event::Transaction(Arc::new(transaction.clone()));
            return Ok(self.wait(transaction).map(|()| {
                batch.events.push(waits);
                hash
            }));
        }
        let known = Event::Transaction(Arc::new(transaction.clone()));
        let told = batch.events.len();
        if let Err(error) = batch.execute(self.chain_id, transaction)? {
            return Ok(Err(error));
        }
        batch.events.insert(told, known);
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
        let now_s = || now_s().saturating_add(self.clock_offset_s);
        self.head.timestamp.max(self.next_time_s.unwrap_or_else(now_s))
    }

    fn set_clock_offset(&mut self, offset_s: u64) -> Result<(), ChainError> {
        self.clock_offset_s = offset_s;
        state::write_clock_offset(&self.write, offset_s)
    }

    /// Executes a transaction on top of the batch and appends its block.
    fn execute(
        &mut self,
        chain_id: u64,
        transaction: Recovered<TxEnvelope>,
    ) -> Result<Result<(), RpcError>, ChainError> {
        let place = Place::new(chain_id, self.head.number + 1, self.timestamp_s());
        let (transaction, sender) = transaction.into_parts();
        let done = match execute::transact(&mut self.cache, &place, sender, &transaction) {
            Ok(done) => done,
            Err(error) => return Ok(Err(error)),
        };
        let undo = self.undo(&done.state)?;
        state::write_changes(&self.write, &done.state)?;
        self.cache.commit(done.state);
        let gas_used = done.result.gas().tx_gas_used();
        let success = done.result.is_success();
        let logs = match done.result {
            ExecutionResult::Success { logs, .. } => logs,
            ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => Vec::new(),
        };
        self.append(Some(Executed { transaction, sender, success, logs }), gas_used, undo)?;
        Ok(Ok(()))
    }

    /// What is there before `changes`.
    fn undo(&mut self, changes: &EvmState) -> Result<Undo, ChainError> {
        let mut undo = Undo::default();
        for (address, account) in changes.iter().filter(|(_, account)| account.is_touched()) {
            let info = self.cache.basic(*address)?;
            undo.accounts.push((*address, info.map(|info| AccountInfo { code: None, ..info })));
            let slots = account.changed_storage_slots();
            undo.slots
                .extend(slots.map(|(slot, value)| ((*address, *slot), value.original_value())));
        }
        Ok(undo)
    }

    /// Appends a block.
    fn append(
        &mut self,
        executed: Option<Executed>,
        gas_used: u64,
        mut undo: Undo,
    ) -> Result<(), ChainError> {
        let mut header = Header {
            parent_hash: self.head_hash,
            number: self.head.number + 1,
            timestamp: self.timestamp_s(),
            gas_used,
            ..empty_header()
        };
        self.next_time_s = None;
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
        state::write_block(&self.write, &mut self.loose, &record)?;
        let number = U256::from(record.header.number);
        self.cache.cache.block_hashes.insert(number, record.hash);
        undo.number = record.header.number;
        self.undos.push(undo);
        self.head_hash = record.hash;
        self.head = record.header.clone();
        self.events.push(Event::Block(Arc::new(record)));
        Ok(())
    }
}
