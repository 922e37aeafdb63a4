//! Settlement over a chain's JSON-RPC endpoint.

mod journal;
mod market;
mod trust;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use kinesis_chain::{ChainError, EventReader, Protocol, Settlement};
use kinesis_protocol::{
    Address, B256, LeaseTerms, NodeId, PaymentRoot, Signature, SignedAck, SignedRoot, SlaOffer,
    U256, root::PaymentProof, sla::Ack,
};
use kinesis_store::{EventFilter, Store, StoredChainEvent, chain_events::EVENTS_MAX};

pub use self::journal::StoreJournal;
use self::market::ChainMarket;
use crate::{
    Indexer,
    market::Market,
    settle::{Cover, Payer, Redemption, Settle, SettleError, Standing},
};

/// A utility's side of settlement on a chain.
#[derive(Debug, Clone)]
pub struct ChainSettle {
    utility: Settlement,
    funder: Settlement,
    series: u64,
    store: Store,
    /// Reads the registry; `None` where only the escrow is known.
    protocol: Option<Protocol>,
    market: Option<Arc<ChainMarket>>,
}

impl ChainSettle {
    /// Signs and pays as the key of `utility`, in this series. Its transactions are kept in `store`
    /// until they are final.
    #[must_use]
    pub fn new(utility: Settlement, series: u64, store: Store) -> Self {
        let utility = utility.with_journal(Arc::new(StoreJournal::new(store.clone())));
        Self { funder: utility.clone(), utility, series, store, protocol: None, market: None }
    }

    /// Trades USD and JOULE on this market.
    #[must_use]
    pub fn with_market(mut self, market: Address) -> Self {
        self.market = Some(Arc::new(ChainMarket::new(self.utility.clone(), market)));
        self
    }

    /// What reads the escrow's events into the store, from block `first` on.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn indexer(&self, rpc_url: &str, first: u64) -> Result<Indexer, ChainError> {
        let escrow = self.utility.escrow_address();
        let reader = EventReader::new(rpc_url, self.utility.chain_id())?;
        Ok(Indexer::new(reader, self.store.clone(), source(escrow), vec![escrow], first))
    }

    /// What reads the events of the protocol's other contracts into the store, from block `first` on;
    /// `None` where they are not known. The tokens are left out: every payment is an event of theirs.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn protocol_indexer(
        &self,
        rpc_url: &str,
        first: u64,
    ) -> Result<Option<Indexer>, ChainError> {
        let Some(protocol) = &self.protocol else { return Ok(None) };
        let escrow = self.utility.escrow_address();
        let named = protocol.contracts().named();
        let others = named.into_iter().map(|(_, at)| at).filter(|at| *at != escrow).collect();
        let reader = EventReader::new(rpc_url, self.utility.chain_id())?;
        let source = protocol_source(escrow);
        Ok(Some(Indexer::new(reader, self.store.clone(), source, others, first)))
    }

    /// The same, with the rest of the protocol: the registry to read, the court to sign for.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Deposits come from another key's JOULE: on a development chain, that of who owns the supply.
    #[must_use]
    pub fn funded_by(mut self, funder: Settlement) -> Self {
        self.funder = funder;
        self
    }
}

impl ChainSettle {
    /// The escrow's events of this name and these indexed values, as far as they were read.
    async fn told(
        &self,
        name: &str,
        indexed: [Option<B256>; 3],
    ) -> Result<Vec<StoredChainEvent>, SettleError> {
        let escrow = self.utility.escrow_address();
        let mut filter = EventFilter {
            name: Some(name.to_owned()),
            address: Some(escrow),
            indexed,
            after: None,
            limit: EVENTS_MAX,
        };
        let mut all = Vec::new();
        loop {
            let page = self
                .store
                .chain_events(self.utility.chain_id(), &source(escrow), &filter)
                .await
                .map_err(|error| SettleError::Chain(Box::new(error)))?;
            filter.after = page.last().map(|last| (last.block, last.log_index));
            let full = page.len() >= EVENTS_MAX as usize;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }
}

fn values<T: serde::de::DeserializeOwned>(event: &StoredChainEvent) -> Result<T, SettleError> {
    serde_json::from_str(&event.body).map_err(|error| SettleError::Chain(Box::new(error)))
}

/// The name under which the events of the other contracts of an escrow's protocol are stored.
pub(crate) fn protocol_source(escrow: Address) -> String {
    format!("protocol:{escrow:#x}")
}

/// The name under which an escrow's events are stored.
pub(crate) fn source(escrow: Address) -> String {
    format!("escrow:{escrow:#x}")
}

fn chain(error: ChainError) -> SettleError {
    match error {
        ChainError::NoReceipt(_) => SettleError::Pending(Box::new(error)),
        ChainError::Reverted(why) => SettleError::Refused(why),
        error => SettleError::Chain(Box::new(error)),
    }
}

/// What is needed of a redemption's event.
#[derive(serde::Deserialize)]
struct RedeemedValues {
    to: Address,
    /// Decimal text.
    #[serde(deserialize_with = "decimal")]
    paid: U256,
}

/// What is needed of the event that says where else earnings went.
#[derive(serde::Deserialize)]
struct SharedValues {
    #[serde(rename = "toLender", deserialize_with = "decimal")]
    to_lender: U256,
    #[serde(rename = "toStake", deserialize_with = "decimal")]
    to_stake: U256,
}

fn decimal<'de, D: serde::Deserializer<'de>>(d: D) -> Result<U256, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(d)?;
    U256::from_str_radix(&text, 10).map_err(serde::de::Error::custom)
}

#[async_trait]
impl Settle for ChainSettle {
    fn payer(&self) -> Payer {
        Payer {
            utility: self.utility.address(),
            series: self.series,
            chain_id: self.utility.chain_id(),
            escrow: self.utility.escrow_address(),
        }
    }

    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        self.utility.sign_root(root).await.map_err(|error| SettleError::Sign(Box::new(error)))
    }

    async fn fee_bp(&self) -> Result<u32, SettleError> {
        self.utility.fee_bp().await.map_err(chain)
    }

    async fn cover(&self) -> Result<Cover, SettleError> {
        let escrow = self.utility.escrow(self.utility.address(), self.series).await;
        let escrow = escrow.map_err(chain)?;
        Ok(Cover { redeemed_wei: escrow.redeemed_wei, available_wei: escrow.available_wei })
    }

    async fn balance(&self) -> Result<U256, SettleError> {
        self.funder.joule_balance(self.funder.address()).await.map_err(chain)
    }

    async fn deposit(&self, wei: U256) -> Result<(), SettleError> {
        let utility = self.utility.address();
        self.funder.deposit(utility, self.series, wei).await.map(|_| ()).map_err(chain)
    }

    fn contracts(&self) -> Vec<(&'static str, Address)> {
        self.protocol.as_ref().map_or_else(
            || vec![("escrow", self.utility.escrow_address())],
            |protocol| protocol.contracts().named(),
        )
    }

    fn market(&self) -> Option<Arc<dyn Market>> {
        self.market.clone().map(|market| market as Arc<dyn Market>)
    }

    async fn settle(&self) -> Result<usize, SettleError> {
        self.utility.settle().await.map_err(chain)
    }

    async fn redeemed_to_payer(&self, supplier: Address) -> Result<U256, SettleError> {
        let own = self.utility.address();
        let Some(last) = self.utility.final_block().await.map_err(chain)? else {
            return Ok(U256::ZERO);
        };
        let of_series = [
            Some(own.into_word()),
            Some(B256::from(U256::from(self.series))),
            Some(supplier.into_word()),
        ];
        let mut sum = U256::ZERO;
        let mut transactions = HashSet::new();
        for event in self.told("Redeemed", of_series).await? {
            let values: RedeemedValues = values(&event)?;
            if values.to == own && event.block <= last {
                sum = sum.saturating_add(values.paid);
                transactions.insert(event.transaction);
            }
        }
        // A part may have gone to the supplier's lender, or into its stake.
        for event in self.told("EarningsShared", [Some(supplier.into_word()), None, None]).await? {
            if transactions.contains(&event.transaction) {
                let shared: SharedValues = values(&event)?;
                sum = sum.saturating_sub(shared.to_lender).saturating_sub(shared.to_stake);
            }
        }
        Ok(sum)
    }

    async fn standing(
        &self,
        supplier: Address,
        node: NodeId,
        bound: bool,
    ) -> Result<Option<Standing>, SettleError> {
        let Some(protocol) = &self.protocol else { return Ok(None) };
        trust::standing(protocol, supplier, node, bound).await.map(Some)
    }

    fn court(&self) -> Option<Address> {
        self.protocol.as_ref()?.contracts().protocol.map(|at| at.leases)
    }

    async fn sign_terms(&self, terms: LeaseTerms) -> Result<SlaOffer, SettleError> {
        let court = self.court().ok_or(SettleError::NoCourt)?;
        trust::sign_terms(&self.utility, court, terms).await
    }

    async fn sign_ack(&self, ack: Ack) -> Result<SignedAck, SettleError> {
        let court = self.court().ok_or(SettleError::NoCourt)?;
        trust::sign_ack(&self.utility, court, ack).await
    }

    async fn redeem_to_payer(
        &self,
        key: &str,
        payment: &PaymentProof,
        deadline: u64,
        signature: &Signature,
    ) -> Result<Redemption, SettleError> {
        let to = self.utility.address();
        if !self.utility.verify_redeem_to(payment, to, deadline, signature) {
            return Err(SettleError::Consent);
        }
        let redeemed = self.utility.redeem_to_once(key, payment, to, deadline, signature).await;
        let redeemed = redeemed.map_err(chain)?;
        Ok(redeemed.map_or_else(Redemption::default, |redeemed| Redemption {
            paid_wei: redeemed.received_wei,
            transaction: redeemed.transaction,
        }))
    }
}

/// The transaction's hash as the ledger keeps it.
pub(crate) fn hash_text(transaction: Option<B256>) -> Option<String> {
    transaction.map(|hash| hash.to_string())
}

/// The payee of a proof is who it says.
pub(crate) fn is_ours(payment: &PaymentProof, payer: &Payer, supplier: Address) -> bool {
    payment.supplier == supplier
        && payment.signed.root.utility == payer.utility
        && payment.signed.root.series == payer.series
        && payment.verify(payer.chain_id, payer.escrow)
}
