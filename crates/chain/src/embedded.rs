//! The embedded development chain: revm over state on disk, one block for every transaction,
//! standard JSON-RPC.
//!
//! What it promises: a transaction whose hash was returned is on disk, survives `kill -9`, and is
//! final; reads see whole blocks only. What it leaves out: peers, reorganisations, state tries
//! (the state root of a header commits to the history, not to the state), the state of past blocks,
//! blobs, and a fee market: the base fee never moves.

mod execute;
mod genesis;
mod methods;
mod miner;
mod record;
mod rpc;
mod state;

use std::{
    fmt, fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use parking_lot::Mutex;
use redb::{Database, DatabaseError};
use tokio::sync::Semaphore;

pub(crate) use genesis::FACTORY;
use miner::{Miner, Order};
use state::{View, failed};

use crate::ChainError;

/// The most reads and calls that run at once; further ones wait.
const READERS_MAX: usize = 16;
/// How much of the state redb keeps in memory.
const CACHE_BYTES: usize = 32 << 20;

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
    database: Arc<Database>,
    readers: Arc<Semaphore>,
    /// The miner's queue and thread; taken when the chain is closed.
    miner: Mutex<Option<(mpsc::Sender<Order>, JoinHandle<()>)>>,
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
            other => Arc::new(other.map_err(failed)?),
        };
        state::prepare(&database, config.chain_id, || genesis::genesis(miner::now_s()))?;
        let (orders, queue) = mpsc::channel();
        let miner = Miner::new(Arc::clone(&database), config.chain_id);
        let thread = std::thread::Builder::new()
            .name("chain-miner".to_owned())
            .spawn(move || miner.run(&queue))
            .map_err(file)?;
        let inner = Inner {
            chain_id: config.chain_id,
            database,
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            miner: Mutex::new(Some((orders, thread))),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `POST /rpc` (and `POST /`): JSON-RPC 2.0, single and batch.
    pub fn router(&self) -> axum::Router {
        rpc::router(self.clone())
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

    fn view(&self) -> Result<View, ChainError> {
        View::open(&self.inner.database)
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
