//! One run of a command, whose transactions are in a journal: whoever runs it again after a crash gets
//! the receipts of what was sent instead of sending it again.
//!
//! A run's calls are told apart by contract, function and how often this run has called it: their
//! data may differ the second time, since deadlines, bounds and terms of a grant are counted from
//! *now*, and the first one counts. The run's name stays the same until somebody has seen how the
//! command ended; giving runs their names, and remembering which is open, is the caller's part.

use std::{collections::HashMap, sync::Arc};

use alloy::{
    primitives::{Address, Bytes, Selector, U256},
    rpc::types::TransactionReceipt,
    sol_types::SolCall,
};
use parking_lot::Mutex;

use crate::{ChainError, Intent, Until, sender::Sender};

/// Whether a call that was sent before has to be the same to the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Same {
    /// The same function is enough: what it is called with is computed anew each time.
    Function,
    /// The same call: what it acts on may have been named by words that now mean something else.
    Call,
}

/// A run of a command.
#[derive(Debug)]
pub(super) struct Run {
    name: String,
    sender: Sender,
    /// How often this run has called a function, and had it happen.
    calls: Mutex<HashMap<(Address, Selector), u32>>,
}

impl Run {
    pub(super) fn new(name: String, sender: Sender) -> Arc<Self> {
        Arc::new(Self { name, sender, calls: Mutex::default() })
    }

    pub(super) const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The key of the `number`-th call of a function.
    fn key(&self, at: Address, function: Selector, number: u32) -> String {
        format!("{}:{at:#x}:{function}:{number}", self.name)
    }

    /// What an earlier process of this run did about its next call of a function. A call that ended
    /// without effect is as good as none.
    pub(super) async fn begun<C: SolCall>(
        &self,
        at: Address,
    ) -> Result<Option<Intent>, ChainError> {
        let function = Selector::from(C::SELECTOR);
        let number = self.calls.lock().get(&(at, function)).copied().unwrap_or(0);
        let known = self.sender.find(&self.key(at, function, number)).await?;
        Ok(known.filter(|known| known.receipt.as_ref().is_none_or(TransactionReceipt::status)))
    }

    /// Has a call happen, once for this run.
    pub(super) async fn send<C: SolCall>(
        &self,
        at: Address,
        call: &C,
        same: Same,
    ) -> Result<TransactionReceipt, ChainError> {
        let function = Selector::from(C::SELECTOR);
        let data = Bytes::from(call.abi_encode());
        let receipt = loop {
            match self.begun::<C>(at).await? {
                Some(other) if same == Same::Call && other.data != data => {
                    self.count(at, function);
                }
                Some(known) => match self.sender.follow(known.clone(), Until::Mined).await {
                    // Without effect: the call is free again once that is final.
                    Err(ChainError::Reverted(_)) => {
                        match self.sender.follow(known, Until::Final).await {
                            Err(ChainError::Reverted(_)) => {
                                break self.fresh(at, function, data).await?;
                            }
                            other => break other?,
                        }
                    }
                    other => break other?,
                },
                None => break self.fresh(at, function, data).await?,
            }
        };
        self.count(at, function);
        Ok(receipt)
    }

    async fn fresh(
        &self,
        at: Address,
        function: Selector,
        data: Bytes,
    ) -> Result<TransactionReceipt, ChainError> {
        let number = self.calls.lock().get(&(at, function)).copied().unwrap_or(0);
        let key = self.key(at, function, number);
        self.sender.execute(&key, at, data, U256::ZERO, Until::Mined).await
    }

    fn count(&self, at: Address, function: Selector) {
        *self.calls.lock().entry((at, function)).or_default() += 1;
    }
}
