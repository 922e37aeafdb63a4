//! The embedded development chain: revm over state on disk, one block for every transaction,
//! standard JSON-RPC.
//!
//! What it promises: a transaction whose hash was returned is on disk, survives `kill -9`, and is
//! final unless somebody asks to go back (`evm_revert`); reads see whole blocks only. What it leaves
//! out: peers, reorganisations, state tries (the state root of a header commits to the history, not
//! to the state), the state of long past blocks, blobs, and a fee market: the base fee never moves.
//!
//! | module | is |
//! | --- | --- |
//! | `rpc`, `socket` | JSON-RPC over HTTP and over WebSocket, with subscriptions |
//! | `methods` | what each method takes and answers |
//! | `query`, `filters` | blocks, logs and fees; filters that are polled |
//! | `execute`, `overrides` | transactions and calls in revm; what a call may pretend |
//! | `miner` | the one writer |
//! | `state`, `archive`, `record`, `genesis` | what is on disk |
//! | `history`, `snapshots` | the state of recent blocks; going back |

mod archive;
mod execute;
mod filters;
mod genesis;
mod history;
mod methods;
mod miner;
mod overrides;
mod query;
mod record;
mod rpc;
mod snapshots;
mod socket;
mod state;

use std::{
    fmt, fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use alloy::{
    consensus::{TxEnvelope, transaction::Recovered},
    primitives::B256,
};
use filters::Filters;
pub(crate) use genesis::FACTORY;
use history::History;
use miner::{Miner, Order};
use parking_lot::{Mutex, RwLock};
use record::Record;
use redb::{Database, DatabaseError};
use state::{View, failed};
use tokio::sync::{Semaphore, broadcast};

use crate::ChainError;

/// The most reads and calls that run at once; further ones wait.
const READERS_MAX: usize = 16;
/// How much of the state redb keeps in memory.
const CACHE_BYTES: usize = 32 << 20;

/// How many events a subscriber may lag behind.
const EVENTS_MAX: usize = 4_096;
/// The most WebSocket connections at once.
const SOCKETS_MAX: usize = 256;

/// How the chain is opened.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// Where the state lives; made (0700) where it is missing.
    pub dir: PathBuf,
    /// The chain's id; must be the one it was made with.
    pub chain_id: u64,
}

impl ChainConfig {
    /// A development chain (id 31337) in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), chain_id: crate::dev::CHAIN_ID }
    }
}

/// An open chain; clones share it. When the last clone (and router) is gone, the miner ends and the
/// database is closed.
#[derive(Clone)]
pub struct EmbeddedChain {
    inner: Arc<Inner>,
}

struct Inner {
    chain_id: u64,
    shared: Arc<Shared>,
    readers: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    filters: Filters,
    /// The miner's queue and thread; taken when the chain is closed.
    miner: Mutex<Option<(mpsc::Sender<Order>, JoinHandle<()>)>>,
}

/// What the miner and its readers share.
struct Shared {
    database: Database,
    history: RwLock<History>,
    events: broadcast::Sender<Event>,
}

/// What subscribers hear of, in the order of the chain.
#[derive(Clone)]
enum Event {
    /// A transaction was taken. Unless it waits for an earlier one, its block follows.
    Transaction(Arc<Recovered<TxEnvelope>>),
    /// A block is on disk.
    Block(Arc<Record>),
}

impl fmt::Debug for EmbeddedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedChain").field("chain_id", &self.inner.chain_id).finish()
    }
}

impl EmbeddedChain {
    /// Opens the chain in `config.dir`, or makes one whose genesis funds the accounts of
    /// [`crate::dev`]. One process at a time can hold it open.
    ///
    /// # Errors
    /// Where the directory cannot be used, another process has it open, or it holds another chain.
    pub fn open(config: ChainConfig) -> Result<Self, ChainError> {
        let file = |source| ChainError::File { path: config.dir.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.dir).map_err(file)?;
        let path = config.dir.join("chain.redb");
        // Made here rather than by redb, for its mode.
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(file(error)),
            _ => {}
        }
        let database = match Database::builder().set_cache_size(CACHE_BYTES).create(&path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(file(std::io::Error::new(
                    ErrorKind::WouldBlock,
                    "another process has this chain open",
                )));
            }
            other => other.map_err(failed)?,
        };
        state::prepare(&database, config.chain_id, || genesis::genesis(miner::now_s()))?;
        let (orders, queue) = mpsc::channel();
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let shared = Arc::new(Shared { database, history: RwLock::default(), events });
        let miner = Miner::new(Arc::clone(&shared), config.chain_id);
        let thread = std::thread::Builder::new()
            .name("chain-miner".to_owned())
            .spawn(move || miner.run(&queue))
            .map_err(file)?;
        let inner = Inner {
            chain_id: config.chain_id,
            shared,
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX)),
            filters: Filters::default(),
            miner: Mutex::new(Some((orders, thread))),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `POST /rpc` (and `POST /`): JSON-RPC 2.0, single and batch. A WebSocket at the same paths
    /// takes the same calls, and subscriptions.
    pub fn router(&self) -> axum::Router {
        rpc::router(self.clone())
    }

    /// Mines a transaction whose sender is known already, without a request: for programs that hold
    /// the chain themselves. Its hash, once it is on disk.
    ///
    /// # Errors
    /// Where the chain refuses it or cannot write.
    pub async fn submit(&self, transaction: Recovered<TxEnvelope>) -> Result<B256, ChainError> {
        let sent = self.order(|reply| Order::Submit(Box::new(transaction), reply)).await;
        sent.map_err(|refusal| ChainError::Rpc(refusal.into_message().into()))
    }

    /// The number of the newest block.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn block_number(&self) -> Result<u64, ChainError> {
        Ok(self.view()?.head()?.header.number)
    }

    fn chain_id(&self) -> u64 {
        self.inner.chain_id
    }

    fn readers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.readers)
    }

    fn sockets(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.sockets)
    }

    fn filters(&self) -> &Filters {
        &self.inner.filters
    }

    fn view(&self) -> Result<View, ChainError> {
        View::open(&self.inner.shared.database)
    }

    /// The chain with the state after `block`; `None` where that is not kept.
    fn past(&self, block: u64) -> Result<Option<View>, ChainError> {
        let history = self.inner.shared.history.read();
        let view = self.view()?;
        let head = view.head()?.header.number;
        Ok(history.past(block, head).map(|past| view.with_past(past)))
    }

    /// Hands an order to the miner. Where it is gone the order is dropped, and so its reply.
    fn send_order(&self, order: Order) {
        if let Some((orders, _)) = &*self.inner.miner.lock() {
            drop(orders.send(order));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((orders, thread)) = self.miner.get_mut().take() {
            drop(orders);
            // So that whoever opens the chain next finds the database closed.
            drop(thread.join());
        }
    }
}
