//! What the protocol's contracts told, as far as it was read from the chain.

use kinesis_chain::LogPlace;
use kinesis_protocol::Address;
use kinesis_store::NewestEvents;

use super::Control;
use crate::{
    ControlError,
    api::{ChainEventView, ChainEventsView},
    chain_settle::{protocol_source, source},
};

/// The most events of one answer.
pub const CHAIN_EVENTS_MAX: u32 = 200;

/// Which events are asked for. `None` is any.
#[derive(Debug, Clone, Default)]
pub struct ChainEventsQuery {
    /// The contract, by its name or address.
    pub contract: Option<String>,
    /// The event's name.
    pub name: Option<String>,
    /// Who is named in it.
    pub address: Option<Address>,
    /// Older than this one.
    pub before: Option<LogPlace>,
    /// How many at most.
    pub limit: u32,
}

impl Control {
    /// What the protocol's contracts told, newest first. `None` where nobody knows the contract.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn chain_events(
        &self,
        asked: &ChainEventsQuery,
    ) -> Result<Option<ChainEventsView>, ControlError> {
        let contracts = self.settle.contracts();
        let payer = self.settle.payer();
        let address = match &asked.contract {
            None => None,
            Some(text) => {
                let named = contracts.iter().find(|(name, at)| {
                    name == text || text.parse::<Address>().is_ok_and(|asked| asked == *at)
                });
                let Some((_, address)) = named else { return Ok(None) };
                Some(*address)
            }
        };
        let limit = asked.limit.clamp(1, CHAIN_EVENTS_MAX);
        let newest = NewestEvents {
            name: asked.name.clone(),
            address,
            party: asked.address.map(|party| party.into_word()),
            before: asked.before.map(|place| (place.block, place.index)),
            // One more says whether there are older ones.
            limit: limit + 1,
        };
        let (escrow, others) = (source(payer.escrow), protocol_source(payer.escrow));
        let sources = [escrow.as_str(), others.as_str()];
        let mut found = self.store.newest_chain_events(payer.chain_id, sources, &newest).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > most;
        found.truncate(most);
        let next = found
            .last()
            .filter(|_| more)
            .map(|last| LogPlace { block: last.block, index: last.log_index }.to_string());
        let events = found
            .into_iter()
            .map(|event| ChainEventView {
                block: event.block,
                log_index: event.log_index,
                transaction: event.transaction,
                contract: contracts
                    .iter()
                    .find(|(_, at)| *at == event.address)
                    .map(|(name, _)| (*name).to_owned()),
                address: event.address,
                name: event.name,
                values: serde_json::from_str(&event.body).unwrap_or_default(),
            })
            .collect();
        Ok(Some(ChainEventsView { events, next }))
    }
}
