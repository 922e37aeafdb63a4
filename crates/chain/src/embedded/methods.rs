//! The JSON-RPC methods.
//!
//! State is kept for the newest block only: a query about an older one is refused rather than
//! answered wrongly. Blocks, transactions, receipts and logs are kept for ever.

use alloy::{
    consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _},
    eips::{BlockId, BlockNumberOrTag, Decodable2718 as _},
    primitives::{Address, B256, Bytes, U64, U256, keccak256},
    rpc::types::{FeeHistory, Filter, FilterBlockOption, Log, TransactionRequest},
};
use revm::{DatabaseRef as _, database::CacheDB};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    EmbeddedChain,
    execute::{self, Place},
    miner::{Order, now_s},
    record::{BASE_FEE_WEI, Record},
    rpc::RpcError,
    state::View,
};

/// The most blocks that one log query reads.
const LOG_BLOCKS_MAX: u64 = 100_000;
/// The most logs that one query returns.
const LOGS_MAX: usize = 20_000;
/// The most blocks of a fee history.
const FEE_BLOCKS_MAX: u64 = 1_024;
/// The most percentiles of a fee history.
const PERCENTILES_MAX: usize = 100;
/// The furthest that the clock is moved at once: a hundred years.
const ADVANCE_S_MAX: u64 = 100 * 365 * 24 * 60 * 60;

type Answer = Result<Value, RpcError>;

/// The parameters of a call, by position.
struct Params(Vec<Value>);

impl Params {
    fn optional<T: DeserializeOwned>(&mut self, index: usize) -> Result<Option<T>, RpcError> {
        match self.0.get_mut(index).map(Value::take) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| RpcError::params(format!("parameter {index}: {error}"))),
        }
    }

    fn required<T: DeserializeOwned>(&mut self, index: usize) -> Result<T, RpcError> {
        self.optional(index)?
            .ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
    }
}

impl EmbeddedChain {
    pub(super) async fn dispatch(&self, method: &str, params: Vec<Value>) -> Answer {
        let mut params = Params(params);
        match method {
            // What goes through the miner.
            "eth_sendRawTransaction" => Ok(json!(self.send_raw(params.required(0)?).await?)),
            "eth_sendRawTransactionSync" => {
                let hash = self.send_raw(params.required(0)?).await?;
                let found = self.view()?.block_of(hash)?.and_then(|record| record.receipt());
                found.map(|receipt| json!(receipt)).ok_or_else(|| {
                    RpcError::rejected("the transaction waits for one with an earlier nonce")
                })
            }
            "evm_increaseTime" => {
                let seconds = params.required::<Quantity>(0)?.0;
                if seconds > ADVANCE_S_MAX {
                    return Err(RpcError::params("that is too far"));
                }
                let offset = self.order(|reply| Order::AdvanceClock(seconds, reply)).await?;
                Ok(json!(offset))
            }
            "evm_mine" => {
                self.order(Order::Mine).await?;
                Ok(json!("0x0"))
            }
            // What needs no state.
            "eth_chainId" => Ok(json!(U64::from(self.chain_id()))),
            "net_version" => Ok(json!(self.chain_id().to_string())),
            "net_listening" => Ok(json!(true)),
            "net_peerCount" => Ok(json!("0x0")),
            "web3_clientVersion" => Ok(json!(concat!("kinesis/v", env!("CARGO_PKG_VERSION")))),
            "web3_sha3" => Ok(json!(keccak256(params.required::<Bytes>(0)?))),
            "eth_syncing" => Ok(json!(false)),
            // No keys are kept here: transactions arrive signed.
            "eth_accounts" => Ok(json!([])),
            "eth_gasPrice" => Ok(json!(U64::from(BASE_FEE_WEI))),
            "eth_maxPriorityFeePerGas" | "eth_blobBaseFee" => Ok(json!("0x0")),
            _ => {
                let permit = self.readers().acquire_owned().await;
                let (chain, method) = (self.clone(), method.to_owned());
                tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    chain.read(&method, params)
                })
                .await
                .unwrap_or_else(|_| Err(RpcError::rejected("the call failed")))
            }
        }
    }

    fn read(&self, method: &str, mut params: Params) -> Answer {
        let view = self.view()?;
        match method {
            "eth_blockNumber" => Ok(json!(U64::from(view.head()?.header.number))),
            "eth_getBalance" => {
                let address = params.required(0)?;
                self.state_at(&view, params.optional(1)?)?;
                Ok(json!(view.account(address)?.balance))
            }
            "eth_getTransactionCount" => {
                let address = params.required(0)?;
                self.state_at(&view, params.optional(1)?)?;
                Ok(json!(U64::from(view.account(address)?.nonce)))
            }
            "eth_getCode" => {
                let address: Address = params.required(0)?;
                self.state_at(&view, params.optional(1)?)?;
                let code = view.code_by_hash_ref(view.account(address)?.code_hash)?;
                Ok(json!(code.original_bytes()))
            }
            "eth_getStorageAt" => {
                let (address, slot) = (params.required(0)?, params.required::<U256>(1)?);
                self.state_at(&view, params.optional(2)?)?;
                Ok(json!(B256::from(view.storage_ref(address, slot)?)))
            }
            "eth_call" | "eth_estimateGas" => {
                let request: TransactionRequest = params.required(0)?;
                let place = self.state_at(&view, params.optional(1)?)?;
                if params.optional::<Value>(2)?.is_some_and(|overrides| {
                    overrides.as_object().is_none_or(|overrides| !overrides.is_empty())
                }) {
                    return Err(RpcError::params("state overrides are not supported"));
                }
                let database = CacheDB::new(view);
                if method == "eth_call" {
                    execute::call(database, place, &request).map(|output| json!(output))
                } else {
                    execute::estimate(database, place, &request).map(|gas| json!(U64::from(gas)))
                }
            }
            "eth_getBlockByNumber" => {
                let number = params.required::<BlockNumberOrTag>(0)?;
                let full = params.optional(1)?.unwrap_or(false);
                Ok(json!(find(&view, number.into())?.map(|record| record.block(full))))
            }
            "eth_getBlockByHash" => {
                let hash = params.required::<B256>(0)?;
                let full = params.optional(1)?.unwrap_or(false);
                Ok(json!(find(&view, hash.into())?.map(|record| record.block(full))))
            }
            "eth_getBlockReceipts" => {
                let record = find(&view, params.required(0)?)?;
                Ok(json!(record.map(|record| Vec::from_iter(record.receipt()))))
            }
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                let record = find(&view, params.required(0)?)?;
                Ok(json!(record.map(|record| U64::from(u8::from(record.executed.is_some())))))
            }
            "eth_getTransactionByHash" => {
                let record = view.block_of(params.required(0)?)?;
                Ok(json!(record.and_then(|record| record.transaction())))
            }
            "eth_getTransactionReceipt" => {
                let record = view.block_of(params.required(0)?)?;
                Ok(json!(record.and_then(|record| record.receipt())))
            }
            "eth_getLogs" => logs(&view, &params.required(0)?).map(|logs| json!(logs)),
            "eth_feeHistory" => fee_history(&view, &mut params).map(|history| json!(history)),
            other => Err(RpcError::no_method(other)),
        }
    }

    async fn send_raw(&self, raw: Bytes) -> Result<B256, RpcError> {
        let mut bytes = raw.as_ref();
        let transaction = TxEnvelope::decode_2718(&mut bytes)
            .ok()
            .filter(|_| bytes.is_empty())
            .ok_or_else(|| RpcError::params("failed to decode signed transaction"))?;
        if transaction.gas_limit() > super::genesis::GAS_LIMIT {
            return Err(RpcError::rejected("exceeds block gas limit"));
        }
        let sender = transaction
            .recover_signer()
            .map_err(|_| RpcError::rejected("invalid sender: the signature does not hold"))?;
        let recovered =
            alloy::consensus::transaction::Recovered::new_unchecked(transaction, sender);
        self.order(|reply| Order::Submit(Box::new(recovered), reply)).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, RpcError>>) -> Order,
    ) -> Result<T, RpcError> {
        let (reply, answer) = oneshot::channel();
        self.send_order(order(reply));
        answer.await.unwrap_or_else(|_| Err(RpcError::rejected("the chain cannot write")))
    }

    /// Where a query about the state at `block` runs; an error where that state is not kept.
    fn state_at(&self, view: &View, block: Option<BlockId>) -> Result<Place, RpcError> {
        let head = view.head()?.header;
        let pending = match block {
            None | Some(BlockId::Number(BlockNumberOrTag::Pending)) => true,
            Some(block) => match find(view, block)? {
                Some(record) if record.header.number == head.number => false,
                Some(record) => {
                    return Err(RpcError::rejected(format!(
                        "the state of block {} is not kept: this development chain keeps that of \
                         the newest block",
                        record.header.number
                    )));
                }
                None => return Err(RpcError::rejected("header not found")),
            },
        };
        // The time is now even for the newest block, which may be old where blocks come only with
        // transactions: what waits for a time is then seen to be ready when it is.
        Ok(Place {
            chain_id: self.chain_id(),
            number: head.number + u64::from(pending),
            timestamp_s: head.timestamp.max(now_s().saturating_add(view.clock_offset_s()?)),
        })
    }
}

/// A number that tools send as a number or as hexadecimal digits.
#[derive(serde::Deserialize)]
#[serde(from = "EitherNumber")]
struct Quantity(u64);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum EitherNumber {
    Plain(u64),
    Hex(U64),
}

impl From<EitherNumber> for Quantity {
    fn from(either: EitherNumber) -> Self {
        match either {
            EitherNumber::Plain(number) => Self(number),
            EitherNumber::Hex(number) => Self(number.to()),
        }
    }
}

fn find(view: &View, block: BlockId) -> Result<Option<Record>, RpcError> {
    Ok(match block {
        BlockId::Hash(hash) => match view.block_number(hash.block_hash)? {
            Some(number) => view.block(number)?,
            None => None,
        },
        BlockId::Number(number) => match number {
            // A block is final as soon as it is on disk.
            BlockNumberOrTag::Latest
            | BlockNumberOrTag::Safe
            | BlockNumberOrTag::Finalized
            | BlockNumberOrTag::Pending => Some(view.head()?),
            BlockNumberOrTag::Earliest => view.block(0)?,
            BlockNumberOrTag::Number(number) => view.block(number)?,
        },
    })
}

fn logs(view: &View, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    let head = view.head()?.header.number;
    let number = |tag: Option<BlockNumberOrTag>| match tag {
        Some(BlockNumberOrTag::Number(number)) => number,
        Some(BlockNumberOrTag::Earliest) => 0,
        _ => head,
    };
    let (from, to) = match &filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = view.block_number(*hash)?;
            let number = number.ok_or_else(|| RpcError::rejected("unknown block"))?;
            (number, number)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            (number(*from_block), number(*to_block).min(head))
        }
    };
    if from <= to && to - from >= LOG_BLOCKS_MAX {
        return Err(RpcError::limit(format!("a query reads at most {LOG_BLOCKS_MAX} blocks")));
    }
    let mut found = Vec::new();
    for number in from..=to {
        let Some(record) = view.block(number)? else { continue };
        if !filter.matches_bloom(record.header.logs_bloom) {
            continue;
        }
        found.extend(record.logs().into_iter().filter(|log| filter.matches(&log.inner)));
        if found.len() > LOGS_MAX {
            return Err(RpcError::limit(format!("more than {LOGS_MAX} logs: narrow the query")));
        }
    }
    Ok(found)
}

fn fee_history(view: &View, params: &mut Params) -> Result<FeeHistory, RpcError> {
    let count = params.required::<Quantity>(0)?.0.min(FEE_BLOCKS_MAX);
    let newest = params.required::<BlockNumberOrTag>(1)?;
    let percentiles = params.optional::<Vec<f64>>(2)?;
    if percentiles.as_ref().is_some_and(|percentiles| percentiles.len() > PERCENTILES_MAX) {
        return Err(RpcError::limit(format!("at most {PERCENTILES_MAX} percentiles")));
    }
    let newest = find(view, newest.into())?
        .ok_or_else(|| RpcError::rejected("header not found"))?
        .header
        .number;
    let oldest = (newest + 1).saturating_sub(count);
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    for number in oldest..=newest {
        let Some(record) = view.block(number)? else { continue };
        if count == 0 {
            break;
        }
        let header = &record.header;
        history.base_fee_per_gas.push(BASE_FEE_WEI.into());
        history.base_fee_per_blob_gas.push(0);
        history.blob_gas_used_ratio.push(0.0);
        history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit as f64);
        if let Some(percentiles) = &percentiles {
            let tip = record
                .executed
                .as_ref()
                .and_then(|executed| executed.transaction.effective_tip_per_gas(BASE_FEE_WEI));
            rewards.push(vec![tip.unwrap_or_default(); percentiles.len()]);
        }
    }
    history.base_fee_per_gas.push(BASE_FEE_WEI.into());
    history.base_fee_per_blob_gas.push(0);
    history.reward = percentiles.map(|_| rewards);
    Ok(history)
}
