//! Questions about blocks that are in the chain: which one, their logs, their fees.

use alloy::{
    consensus::Transaction as _,
    eips::{BlockId, BlockNumberOrTag},
    rpc::types::{FeeHistory, Filter, FilterBlockOption, Log},
};

use super::{
    record::{BASE_FEE_WEI, Record},
    rpc::RpcError,
    state::View,
};

/// The most blocks that one log query reads.
pub(super) const LOG_BLOCKS_MAX: u64 = 100_000;
/// The most logs that one query returns.
const LOGS_MAX: usize = 20_000;
/// The most data of logs that one query returns.
const LOG_BYTES_MAX: usize = 16 << 20;
/// The most addresses, and the most values of one topic, that a query names.
const ALTERNATIVES_MAX: usize = 1_000;
/// The most blocks of a fee history.
const FEE_BLOCKS_MAX: u64 = 1_024;
/// The most percentiles of a fee history.
const PERCENTILES_MAX: usize = 100;

/// The block that a parameter names.
pub(super) fn find(view: &View, block: BlockId) -> Result<Option<Record>, RpcError> {
    Ok(match block {
        BlockId::Hash(hash) => match view.block_number(hash.block_hash)? {
            Some(number) => view.block(number)?,
            None => None,
        },
        BlockId::Number(number) => match number {
            // A block is final as soon as it is on disk, and no transaction is ever pending.
            BlockNumberOrTag::Latest
            | BlockNumberOrTag::Safe
            | BlockNumberOrTag::Finalized
            | BlockNumberOrTag::Pending => Some(view.head()?),
            BlockNumberOrTag::Earliest => view.block(0)?,
            BlockNumberOrTag::Number(number) => view.block(number)?,
        },
    })
}

/// Refuses a filter that names more than is looked for at once.
pub(super) fn check(filter: &Filter) -> Result<(), RpcError> {
    let most = filter.topics.iter().map(|topic| topic.len()).max().unwrap_or_default();
    if most.max(filter.address.len()) > ALTERNATIVES_MAX {
        return Err(RpcError::limit(format!(
            "a query names at most {ALTERNATIVES_MAX} addresses, and as many values of a topic"
        )));
    }
    Ok(())
}

/// `eth_getLogs`.
pub(super) fn logs(view: &View, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    check(filter)?;
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
            let (from, to) = (number(*from_block), number(*to_block));
            if from > to {
                return Err(RpcError::params(format!(
                    "invalid block range: it begins at {from} and ends at {to}"
                )));
            }
            (from, to.min(head))
        }
    };
    if from <= to && to - from >= LOG_BLOCKS_MAX {
        return Err(RpcError::limit(format!("a query reads at most {LOG_BLOCKS_MAX} blocks")));
    }
    let (found, next) = scan(view, filter, from, to)?;
    if next <= to {
        return Err(RpcError::limit(format!(
            "more than {LOGS_MAX} logs, or {} MiB of them: narrow the query, for instance to \
             blocks {from} to {}",
            LOG_BYTES_MAX >> 20,
            next.saturating_sub(1).max(from)
        )));
    }
    Ok(found)
}

/// The logs of the blocks `from..=to`, and the block to go on from: beyond `to`, or the first whose
/// logs would have been too many. The first block with logs is always read.
pub(super) fn scan(
    view: &View,
    filter: &Filter,
    from: u64,
    to: u64,
) -> Result<(Vec<Log>, u64), RpcError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for number in from..=to {
        let Some(record) = view.block(number)? else { continue };
        let before = found.len();
        found.extend(record.logs().into_iter().filter(|log| filter.matches(&log.inner)));
        bytes += found[before..].iter().map(|log| log.inner.data.data.len()).sum::<usize>();
        if before > 0 && (found.len() > LOGS_MAX || bytes > LOG_BYTES_MAX) {
            found.truncate(before);
            return Ok((found, number));
        }
    }
    Ok((found, to.saturating_add(1).max(from)))
}

/// `eth_feeHistory` of `count` blocks up to `newest`.
pub(super) fn fee_history(
    view: &View,
    count: u64,
    newest: BlockNumberOrTag,
    percentiles: Option<&[f64]>,
) -> Result<FeeHistory, RpcError> {
    let count = count.min(FEE_BLOCKS_MAX);
    if let Some(percentiles) = percentiles {
        if percentiles.len() > PERCENTILES_MAX {
            return Err(RpcError::limit(format!("at most {PERCENTILES_MAX} percentiles")));
        }
        if !percentiles.iter().all(|p| (0.0..=100.0).contains(p)) || !percentiles.is_sorted() {
            return Err(RpcError::params("percentiles ascend from 0 to 100"));
        }
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
        let header = &record.header;
        history.base_fee_per_gas.push(BASE_FEE_WEI.into());
        history.base_fee_per_blob_gas.push(0);
        history.blob_gas_used_ratio.push(0.0);
        history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit as f64);
        if let Some(percentiles) = percentiles {
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
