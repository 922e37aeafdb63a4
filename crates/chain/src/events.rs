//! What happened on a chain: the events of given contracts, decoded by their topics, and the blocks
//! they stand in. Reads only; who keeps them is another's business.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::OnceLock,
};

use alloy::{
    dyn_abi::{DynSolValue, EventExt as _},
    eips::BlockNumberOrTag,
    json_abi::Event,
    primitives::{Address, B256, hex},
    providers::{DynProvider, Provider as _},
    rpc::types::{Filter, Log},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ChainError,
    client::{provider, unreachable_or_refused},
    contracts::interfaces,
};

/// The most events that one range may hold; a range with more is to be asked for in parts.
const EVENTS_MAX: usize = 20_000;
/// The longest data of an event that is kept.
const DATA_BYTES_MAX: usize = 64 << 10;

/// A block, as far as following a chain needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its parent's hash.
    pub parent: B256,
    /// Its time, in seconds since 1970.
    pub at_s: u64,
}

/// Something that a contract told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainEvent {
    /// The block it stands in.
    pub block: u64,
    /// That block's hash.
    pub block_hash: B256,
    /// Its place among the block's events.
    pub log_index: u64,
    /// The transaction.
    pub transaction: B256,
    /// The contract.
    pub address: Address,
    /// What the event is called; `None` where it is none of ours.
    pub name: Option<String>,
    /// Its topics: the event's hash, then what is indexed.
    pub topics: Vec<B256>,
    /// Its values by name, numbers as decimal text; `{"data": "0x…"}` where it is none of ours.
    pub values: Value,
}

/// Where events are read.
#[derive(Debug, Clone)]
pub struct EventReader {
    provider: DynProvider,
    chain_id: u64,
}

impl EventReader {
    /// A reader; contacts nothing.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn new(rpc_url: &str, chain_id: u64) -> Result<Self, ChainError> {
        Ok(Self { provider: provider(rpc_url)?, chain_id })
    }

    /// The chain that is read.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Refuses an endpoint that serves another chain.
    ///
    /// # Errors
    /// Where it does, or does not answer.
    pub async fn check(&self) -> Result<(), ChainError> {
        match self.provider.get_chain_id().await.map_err(unreachable_or_refused)? {
            got if got == self.chain_id => Ok(()),
            got => Err(ChainError::WrongChain { expected: self.chain_id, got }),
        }
    }

    /// The newest block.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn head(&self) -> Result<BlockRef, ChainError> {
        let head = self.at(BlockNumberOrTag::Latest).await?;
        head.ok_or(ChainError::Nonsense("there is no block"))
    }

    /// The block of this number; `None` where the chain has none.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn block(&self, number: u64) -> Result<Option<BlockRef>, ChainError> {
        match self.at(number.into()).await? {
            Some(block) if block.number != number => {
                Err(ChainError::Nonsense("the block has another number"))
            }
            block => Ok(block),
        }
    }

    async fn at(&self, at: BlockNumberOrTag) -> Result<Option<BlockRef>, ChainError> {
        let block = self.provider.get_block_by_number(at).await.map_err(unreachable_or_refused)?;
        Ok(block.map(|block| BlockRef {
            number: block.header.number,
            hash: block.header.hash,
            parent: block.header.parent_hash,
            at_s: block.header.timestamp,
        }))
    }

    /// What these contracts told in the blocks `from..=to`, in order.
    ///
    /// # Errors
    /// Where the endpoint fails, or finds the range too large.
    pub async fn events(
        &self,
        addresses: &[Address],
        from: u64,
        to: u64,
    ) -> Result<Vec<ChainEvent>, ChainError> {
        let wanted: HashSet<Address> = addresses.iter().copied().collect();
        let filter = Filter::new().address(addresses.to_vec()).from_block(from).to_block(to);
        let logs = self.provider.get_logs(&filter).await.map_err(unreachable_or_refused)?;
        if logs.len() > EVENTS_MAX {
            return Err(ChainError::Nonsense("there are more events than are asked for at once"));
        }
        let mut events = Vec::with_capacity(logs.len());
        for log in logs.into_iter().filter(|log| !log.removed) {
            let event = event(&log).ok_or(ChainError::Nonsense("an event stands in no block"))?;
            if !wanted.contains(&event.address) || !(from..=to).contains(&event.block) {
                return Err(ChainError::Nonsense("an event was not asked for"));
            }
            events.push(event);
        }
        events.sort_by_key(|event| (event.block, event.log_index));
        Ok(events)
    }
}

fn event(log: &Log) -> Option<ChainEvent> {
    let topics = log.topics().to_vec();
    if topics.len() > 4 || log.data().data.len() > DATA_BYTES_MAX {
        return None;
    }
    let decoded = decode(log);
    let raw = || json!({"data": format!("0x{}", hex::encode(&log.data().data))});
    let (name, values) = match decoded {
        Some((name, values)) => (Some(name), values),
        None => (None, raw()),
    };
    Some(ChainEvent {
        block: log.block_number?,
        block_hash: log.block_hash?,
        log_index: log.log_index?,
        transaction: log.transaction_hash?,
        address: log.address(),
        name,
        topics,
        values,
    })
}

/// Name and values of an event of ours.
fn decode(log: &Log) -> Option<(String, Value)> {
    let candidates = events().get(log.topics().first()?)?;
    candidates.iter().find_map(|event| {
        let decoded = event.decode_log(log.data()).ok()?;
        let (mut indexed, mut body) = (decoded.indexed.iter(), decoded.body.iter());
        let values = event.inputs.iter().enumerate().map(|(i, input)| {
            let value = if input.indexed { indexed.next() } else { body.next() };
            let name = if input.name.is_empty() { i.to_string() } else { input.name.clone() };
            Some((name, plain(value?)))
        });
        let values: BTreeMap<String, Value> = values.collect::<Option<_>>()?;
        Some((event.name.clone(), json!(values)))
    })
}

/// The events of all contracts by topic. Two contracts may index the same event differently.
fn events() -> &'static HashMap<B256, Vec<Event>> {
    static EVENTS: OnceLock<HashMap<B256, Vec<Event>>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let mut all: HashMap<B256, Vec<Event>> = HashMap::new();
        for contract in interfaces().values() {
            for event in contract.events().filter(|event| !event.anonymous) {
                let known = all.entry(event.selector()).or_default();
                if !known.contains(event) {
                    known.push(event.clone());
                }
            }
        }
        all
    })
}

fn plain(value: &DynSolValue) -> Value {
    let hexed = |bytes: &[u8]| Value::String(format!("0x{}", hex::encode(bytes)));
    match value {
        DynSolValue::Bool(value) => json!(value),
        DynSolValue::Int(value, _) => json!(value.to_string()),
        DynSolValue::Uint(value, _) => json!(value.to_string()),
        DynSolValue::Address(value) => json!(format!("{value:#x}")),
        DynSolValue::String(value) => json!(value),
        DynSolValue::FixedBytes(value, size) => {
            hexed(value.get(..*size).unwrap_or(value.as_slice()))
        }
        DynSolValue::Bytes(value) => hexed(value),
        DynSolValue::Function(value) => hexed(value.as_slice()),
        DynSolValue::Array(values)
        | DynSolValue::FixedArray(values)
        | DynSolValue::Tuple(values) => values.iter().map(plain).collect(),
    }
}
