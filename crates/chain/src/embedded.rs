//! The embedded development chain: revm over state on disk, one block for every transaction,
//! standard JSON-RPC.

use std::{path::PathBuf, sync::Arc};

use crate::ChainError;

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

/// An open chain; clones share it. The last clone closes the database.
#[derive(Debug, Clone)]
pub struct EmbeddedChain {
    inner: Arc<()>,
}

impl EmbeddedChain {
    /// Opens the chain in `config.dir`, or makes one whose genesis funds the accounts of
    /// [`crate::dev`]. One process at a time can hold it open.
    ///
    /// # Errors
    /// Where the directory cannot be used, another process has it open, or it holds another chain.
    pub fn open(config: ChainConfig) -> Result<Self, ChainError> {
        let _ = config;
        unimplemented!()
    }

    /// `POST /rpc` (and `POST /`): JSON-RPC 2.0, single and batch.
    pub fn router(&self) -> axum::Router {
        let _ = &self.inner;
        unimplemented!()
    }

    /// The number of the newest block.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn block_number(&self) -> Result<u64, ChainError> {
        unimplemented!()
    }
}
