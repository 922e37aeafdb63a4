//! What the chain knows of an intent, and whether that can still change.

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::Address,
    providers::Provider as _,
    rpc::types::TransactionReceipt,
};

use super::{Finality, Sender};
use crate::{ChainError, client::unreachable_or_refused, journal::Intent};

/// What the chain knows of an intent.
pub(super) enum Seen {
    /// None of its transactions is in a block.
    Nowhere,
    /// One is, which may be taken back.
    Mined(Box<TransactionReceipt>),
    /// One is, for good.
    Final(Box<TransactionReceipt>),
    /// Its nonce is, for good, another's.
    Lost,
}

impl Sender {
    pub(super) async fn look(&self, intent: &Intent) -> Result<Seen, ChainError> {
        if let Some(seen) = self.receipt(intent).await? {
            return Ok(seen);
        }
        if self.mined_nonce(intent.sender, BlockId::latest()).await? <= intent.nonce {
            return Ok(Seen::Nowhere);
        }
        // Its own transaction may have been mined between the two looks.
        if let Some(seen) = self.receipt(intent).await? {
            return Ok(seen);
        }
        let Some(final_block) = self.final_block().await? else { return Ok(Seen::Nowhere) };
        if self.mined_nonce(intent.sender, final_block).await? <= intent.nonce {
            return Ok(Seen::Nowhere);
        }
        Ok(self.receipt(intent).await?.unwrap_or(Seen::Lost))
    }

    /// What the receipts of an intent's transactions say.
    async fn receipt(&self, intent: &Intent) -> Result<Option<Seen>, ChainError> {
        let provider = self.client.provider();
        for attempt in intent.attempts.iter().rev() {
            let found = provider.get_transaction_receipt(attempt.hash).await;
            let Some(receipt) = found.map_err(unreachable_or_refused)? else { continue };
            if receipt.transaction_hash != attempt.hash || receipt.from != intent.sender {
                return Err(ChainError::Nonsense("the receipt is another transaction's"));
            }
            let (Some(number), Some(hash)) = (receipt.block_number, receipt.block_hash) else {
                continue;
            };
            // A node behind a balancer may still tell of a block that was taken back.
            let block = provider.get_block_by_number(number.into()).await;
            let canonical = block.map_err(unreachable_or_refused)?;
            if canonical.is_none_or(|block| block.header.hash != hash) {
                continue;
            }
            let receipt = Box::new(receipt);
            let is_final = self.final_number().await?.is_some_and(|last| number <= last);
            return Ok(Some(if is_final { Seen::Final(receipt) } else { Seen::Mined(receipt) }));
        }
        Ok(None)
    }

    /// The newest block that cannot be taken back; `None` while there is none.
    pub(crate) async fn final_number(&self) -> Result<Option<u64>, ChainError> {
        let confirmed = |head: u64, depth: u64| head.checked_sub(depth.max(1) - 1);
        match self.policy.finality {
            Finality::Confirmations(depth) => {
                Ok(confirmed(self.client.block_number().await?, depth))
            }
            Finality::Finalized { otherwise } => {
                let tag = BlockNumberOrTag::Finalized;
                match self.client.provider().get_block_by_number(tag).await {
                    Ok(Some(block)) => Ok(Some(block.header.number)),
                    // Not every chain has one.
                    Ok(None) => Ok(confirmed(self.client.block_number().await?, otherwise)),
                    Err(error) if error.as_error_resp().is_some() => {
                        Ok(confirmed(self.client.block_number().await?, otherwise))
                    }
                    Err(error) => Err(unreachable_or_refused(error)),
                }
            }
        }
    }

    async fn final_block(&self) -> Result<Option<BlockId>, ChainError> {
        // Where the newest block is final its state is asked for by that name, since some chains
        // keep no other.
        if self.policy.finality == Finality::Confirmations(1) {
            return Ok(Some(BlockId::latest()));
        }
        Ok(self.final_number().await?.map(BlockId::number))
    }

    async fn mined_nonce(&self, of: Address, at: BlockId) -> Result<u64, ChainError> {
        let count = self.client.provider().get_transaction_count(of).block_id(at).await;
        count.map_err(unreachable_or_refused)
    }
}
