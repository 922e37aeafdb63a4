//! The JSON-RPC methods.
//!
//! Blocks, transactions, receipts and logs are kept for ever; state for the newest block and, in
//! memory, for those before it (see [`history`](super::history)): a query about an older one is
//! refused rather than answered wrongly.

use alloy::{
    consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _},
    eips::{BlockId, BlockNumberOrTag, Decodable2718 as _, Encodable2718 as _},
    primitives::{Address, B256, Bytes, U64, U128, U256, keccak256},
    rpc::types::{BlockOverrides, TransactionRequest, state::StateOverride},
};
use revm::{DatabaseRef as _, database::CacheDB};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    EmbeddedChain,
    execute::{self, Place},
    filters::Kind,
    miner::{BLOCKS_AT_ONCE_MAX, Order, now_s},
    overrides,
    query::{self, find},
    record::BASE_FEE_WEI,
    rpc::RpcError,
    state::View,
};

/// The furthest that the clock is moved at once: a hundred years.
const ADVANCE_S_MAX: u64 = 100 * 365 * 24 * 60 * 60;

type Answer = Result<Value, RpcError>;

/// The parameters of a call, by position.
pub(super) struct Params(pub(super) Vec<Value>);

impl Params {
    pub(super) fn optional<T: DeserializeOwned>(
        &mut self,
        index: usize,
    ) -> Result<Option<T>, RpcError> {
        match self.0.get_mut(index).map(Value::take) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| RpcError::params(format!("parameter {index}: {error}"))),
        }
    }

    pub(super) fn required<T: DeserializeOwned>(&mut self, index: usize) -> Result<T, RpcError> {
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
            "evm_setNextBlockTimestamp" => {
                let time_s = next_time(params.required(0)?)?;
                self.order(|reply| Order::SetNextTime(time_s, reply)).await?;
                Ok(json!(null))
            }
            "evm_mine" => {
                let wanted = params.optional::<Mine>(0)?.unwrap_or_default();
                if let Some(time) = wanted.timestamp {
                    let time_s = next_time(time)?;
                    self.order(|reply| Order::SetNextTime(time_s, reply)).await?;
                }
                let blocks = wanted.blocks.map_or(1, |blocks| blocks.0);
                if blocks > BLOCKS_AT_ONCE_MAX {
                    return Err(RpcError::limit(format!(
                        "at most {BLOCKS_AT_ONCE_MAX} blocks are mined at once"
                    )));
                }
                self.order(|reply| Order::Mine(blocks, reply)).await?;
                Ok(json!("0x0"))
            }
            "evm_snapshot" => {
                let id = self.order(Order::Snapshot).await?;
                Ok(json!(U64::from(id)))
            }
            "evm_revert" => {
                let id = params.required::<Quantity>(0)?.0;
                Ok(json!(self.order(|reply| Order::Revert(id, reply)).await?))
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
            "eth_uninstallFilter" => Ok(json!(self.filters().close(params.required::<U128>(0)?))),
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
                let (view, _) = self.state_at(view, params.optional(1)?)?;
                Ok(json!(view.account(address)?.balance))
            }
            "eth_getTransactionCount" => {
                let address = params.required(0)?;
                let (view, _) = self.state_at(view, params.optional(1)?)?;
                Ok(json!(U64::from(view.account(address)?.nonce)))
            }
            "eth_getCode" => {
                let address: Address = params.required(0)?;
                let (view, _) = self.state_at(view, params.optional(1)?)?;
                let code = view.code_by_hash_ref(view.account(address)?.code_hash)?;
                Ok(json!(code.original_bytes()))
            }
            "eth_getStorageAt" => {
                let (address, slot) = (params.required(0)?, params.required::<U256>(1)?);
                let (view, _) = self.state_at(view, params.optional(2)?)?;
                Ok(json!(B256::from(view.storage_ref(address, slot)?)))
            }
            "eth_call" | "eth_estimateGas" | "eth_createAccessList" => {
                self.simulate(view, method, &mut params)
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
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                let record = find(&view, params.required(0)?)?;
                let first = params.required::<Quantity>(1)?.0 == 0;
                Ok(json!(record.filter(|_| first).and_then(|record| record.transaction())))
            }
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => {
                Ok(json!(find(&view, params.required(0)?)?.map(|_| "0x0")))
            }
            "eth_getUncleByBlockNumberAndIndex" | "eth_getUncleByBlockHashAndIndex" => {
                Ok(json!(null))
            }
            "eth_getTransactionByHash" => {
                let record = view.block_of(params.required(0)?)?;
                Ok(json!(record.and_then(|record| record.transaction())))
            }
            "eth_getRawTransactionByHash" => {
                let record = view.block_of(params.required(0)?)?;
                let raw = record.and_then(|record| record.executed);
                Ok(json!(raw.map(|done| Bytes::from(done.transaction.encoded_2718()))))
            }
            "eth_getTransactionReceipt" => {
                let record = view.block_of(params.required(0)?)?;
                Ok(json!(record.and_then(|record| record.receipt())))
            }
            "eth_getLogs" => Ok(json!(query::logs(&view, &params.required(0)?)?)),
            "eth_newFilter" => {
                Ok(json!(self.filters().open(&view, Kind::Logs(params.required(0)?))?))
            }
            "eth_newBlockFilter" => Ok(json!(self.filters().open(&view, Kind::Blocks)?)),
            "eth_newPendingTransactionFilter" => {
                Ok(json!(self.filters().open(&view, Kind::Transactions)?))
            }
            "eth_getFilterChanges" => self.filters().changes(&view, params.required(0)?),
            "eth_getFilterLogs" => self.filters().logs(&view, params.required(0)?),
            "eth_feeHistory" => {
                let count = params.required::<Quantity>(0)?.0;
                let newest = params.required(1)?;
                let percentiles = params.optional::<Vec<f64>>(2)?;
                Ok(json!(query::fee_history(&view, count, newest, percentiles.as_deref())?))
            }
            other => Err(RpcError::no_method(other)),
        }
    }

    /// The methods that run a call: its block, what it pretends of accounts, and of the block.
    fn simulate(&self, view: View, method: &str, params: &mut Params) -> Answer {
        let request: TransactionRequest = params.required(0)?;
        let (view, mut place) = self.state_at(view, params.optional(1)?)?;
        let mut database = CacheDB::new(view);
        if let Some(accounts) = params.optional::<StateOverride>(2)? {
            overrides::state(&mut database, accounts)?;
        }
        if let Some(block) = params.optional::<BlockOverrides>(3)? {
            overrides::block(&mut database, &mut place, block)?;
        }
        match method {
            "eth_call" => Ok(json!(execute::call(database, &place, &request)?)),
            "eth_estimateGas" => {
                Ok(json!(U64::from(execute::estimate(database, &place, &request)?)))
            }
            _ => Ok(json!(execute::access_list(database, &place, request)?)),
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

    pub(super) async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, RpcError>>) -> Order,
    ) -> Result<T, RpcError> {
        let (reply, answer) = oneshot::channel();
        self.send_order(order(reply));
        answer.await.unwrap_or_else(|_| Err(RpcError::rejected("the chain cannot write")))
    }

    /// The state at `block` and where a call on it runs; an error where that state is not kept.
    fn state_at(&self, view: View, block: Option<BlockId>) -> Result<(View, Place), RpcError> {
        let head = view.head()?.header;
        let pending = match block {
            None | Some(BlockId::Number(BlockNumberOrTag::Pending)) => true,
            Some(block) => match find(&view, block)? {
                Some(record) if record.header.number == head.number => false,
                Some(record) => {
                    let (number, time_s) = (record.header.number, record.header.timestamp);
                    let view = self.past(number)?.ok_or_else(|| {
                        RpcError::rejected(format!(
                            "the state of block {number} is not kept: this development chain keeps \
                             that of the newest blocks since it was started"
                        ))
                    })?;
                    return Ok((view, Place::new(self.chain_id(), number, time_s)));
                }
                None => return Err(RpcError::rejected("header not found")),
            },
        };
        // The time is now even for the newest block, which may be old where blocks come only with
        // transactions: what waits for a time is then seen to be ready when it is.
        let time_s = head.timestamp.max(now_s().saturating_add(view.clock_offset_s()?));
        let number = head.number + u64::from(pending);
        Ok((view, Place::new(self.chain_id(), number, time_s)))
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

/// The parameter of `evm_mine`: a time, or an object.
#[derive(Default, serde::Deserialize)]
#[serde(from = "EitherMine")]
struct Mine {
    timestamp: Option<Quantity>,
    blocks: Option<Quantity>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum EitherMine {
    At(Quantity),
    Options { timestamp: Option<Quantity>, blocks: Option<Quantity> },
}

impl From<EitherMine> for Mine {
    fn from(either: EitherMine) -> Self {
        match either {
            EitherMine::At(time) => Self { timestamp: Some(time), blocks: None },
            EitherMine::Options { timestamp, blocks } => Self { timestamp, blocks },
        }
    }
}

fn next_time(time: Quantity) -> Result<u64, RpcError> {
    if time.0 > now_s().saturating_add(ADVANCE_S_MAX) {
        return Err(RpcError::params("that is too far"));
    }
    Ok(time.0)
}
