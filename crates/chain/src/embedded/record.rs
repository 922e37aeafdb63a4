//! What is kept of a block: its header and, since there is at most one, its transaction. All that
//! JSON-RPC shows of blocks, transactions and receipts follows from it.

use alloy::{
    consensus::{
        Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _,
        TxEnvelope, TxType, transaction::Recovered,
    },
    eips::{Decodable2718 as _, Encodable2718 as _},
    primitives::{Address, B256, Bloom, Bytes, Log, U256},
    rlp::{Decodable as _, Encodable as _},
    rpc::types as rpc,
};

use super::{execute::prevrandao, genesis::empty_header};
use crate::ChainError;

/// The price of gas per unit in wei; it never moves, and goes to nobody.
pub(super) const BASE_FEE_WEI: u64 = 1_000_000_000;

/// A block of the chain.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) header: Header,
    pub(super) hash: B256,
    pub(super) executed: Option<Executed>,
}

/// The transaction of a block and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Executed {
    pub(super) transaction: TxEnvelope,
    pub(super) sender: Address,
    pub(super) success: bool,
    pub(super) logs: Vec<Log>,
}

impl Record {
    pub(super) fn new(header: Header, executed: Option<Executed>) -> Self {
        Self { hash: header.hash_slow(), header, executed }
    }

    /// Only what cannot be known otherwise is kept: the bloom follows from the logs, the randomness
    /// from the number, and most other fields are the same in every header.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let header = &self.header;
        header.number.encode(&mut out);
        header.timestamp.encode(&mut out);
        header.parent_hash.encode(&mut out);
        header.state_root.encode(&mut out);
        if let Some(executed) = &self.executed {
            header.gas_used.encode(&mut out);
            header.transactions_root.encode(&mut out);
            header.receipts_root.encode(&mut out);
            executed.sender.encode(&mut out);
            Bytes::from(executed.transaction.encoded_2718()).encode(&mut out);
            executed.success.encode(&mut out);
            executed.logs.encode(&mut out);
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, ChainError> {
        const DAMAGED: ChainError = ChainError::Damaged("a block does not decode");
        Self::decode_from(&mut bytes).map_err(|_| DAMAGED)
    }

    fn decode_from(from: &mut &[u8]) -> alloy::rlp::Result<Self> {
        let number = u64::decode(from)?;
        let mut header = Header {
            number,
            timestamp: u64::decode(from)?,
            parent_hash: B256::decode(from)?,
            state_root: B256::decode(from)?,
            mix_hash: prevrandao(number),
            ..empty_header()
        };
        if from.is_empty() {
            return Ok(Self::new(header, None));
        }
        header.gas_used = u64::decode(from)?;
        header.transactions_root = B256::decode(from)?;
        header.receipts_root = B256::decode(from)?;
        let sender = Address::decode(from)?;
        let raw = Bytes::decode(from)?;
        let transaction = TxEnvelope::decode_2718(&mut raw.as_ref())
            .map_err(|_| alloy::rlp::Error::Custom("a transaction does not decode"))?;
        let success = bool::decode(from)?;
        let logs: Vec<Log> = Vec::decode(from)?;
        header.logs_bloom = alloy::primitives::logs_bloom(&logs);
        Ok(Self::new(header, Some(Executed { transaction, sender, success, logs })))
    }

    /// The block as `eth_getBlockBy…` shows it.
    pub(super) fn block(&self, full: bool) -> rpc::Block {
        let transactions = if full {
            rpc::BlockTransactions::Full(self.transaction().into_iter().collect())
        } else {
            let hashes = self.executed.iter().map(|executed| *executed.transaction.tx_hash());
            rpc::BlockTransactions::Hashes(hashes.collect())
        };
        let transaction = self.executed.as_ref();
        let size = self.header.length()
            + transaction.map_or(0, |executed| executed.transaction.encode_2718_len());
        rpc::Block {
            header: rpc::Header {
                hash: self.hash,
                inner: self.header.clone(),
                // Long since meaningless, and still looked for.
                total_difficulty: Some(U256::ZERO),
                size: Some(U256::from(size)),
            },
            uncles: Vec::new(),
            transactions,
            withdrawals: Some(Default::default()),
        }
    }

    /// Its transaction as `eth_getTransactionByHash` shows it.
    pub(super) fn transaction(&self) -> Option<rpc::Transaction> {
        let executed = self.executed.as_ref()?;
        let price = executed.transaction.effective_gas_price(self.header.base_fee_per_gas);
        Some(rpc::Transaction {
            inner: Recovered::new_unchecked(executed.transaction.clone(), executed.sender),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            transaction_index: Some(0),
            effective_gas_price: Some(price),
            block_timestamp: Some(self.header.timestamp),
        })
    }

    /// Its transaction's receipt.
    pub(super) fn receipt(&self) -> Option<rpc::TransactionReceipt> {
        let executed = self.executed.as_ref()?;
        let transaction = &executed.transaction;
        let receipt = ReceiptWithBloom {
            receipt: Receipt {
                status: Eip658Value::Eip658(executed.success),
                cumulative_gas_used: self.header.gas_used,
                logs: self.logs(),
            },
            logs_bloom: self.header.logs_bloom,
        };
        Some(rpc::TransactionReceipt {
            inner: envelope(transaction.tx_type(), receipt),
            transaction_hash: *transaction.tx_hash(),
            transaction_index: Some(0),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            gas_used: self.header.gas_used,
            effective_gas_price: transaction.effective_gas_price(self.header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: None,
            from: executed.sender,
            to: transaction.to(),
            contract_address: transaction
                .is_create()
                .then(|| executed.sender.create(transaction.nonce())),
        })
    }

    /// Its logs with where they were emitted.
    pub(super) fn logs(&self) -> Vec<rpc::Log> {
        let Some(executed) = &self.executed else { return Vec::new() };
        let place = |(index, log): (usize, &Log)| rpc::Log {
            inner: log.clone(),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            block_timestamp: Some(self.header.timestamp),
            transaction_hash: Some(*executed.transaction.tx_hash()),
            transaction_index: Some(0),
            log_index: u64::try_from(index).ok(),
            removed: false,
        };
        executed.logs.iter().enumerate().map(place).collect()
    }
}

impl Executed {
    /// The receipt as the header's receipts root commits to it, and its bloom.
    pub(super) fn consensus_receipt(&self, gas_used: u64) -> (ReceiptEnvelope, Bloom) {
        let bloom = alloy::primitives::logs_bloom(&self.logs);
        let receipt = ReceiptWithBloom {
            receipt: Receipt {
                status: Eip658Value::Eip658(self.success),
                cumulative_gas_used: gas_used,
                logs: self.logs.clone(),
            },
            logs_bloom: bloom,
        };
        (envelope(self.transaction.tx_type(), receipt), bloom)
    }
}

fn envelope<T>(kind: TxType, receipt: ReceiptWithBloom<Receipt<T>>) -> ReceiptEnvelope<T> {
    match kind {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    }
}
