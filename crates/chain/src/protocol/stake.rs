//! Stake: what an operator has bonded, what thaws of it, which nodes it claims, what it offers.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::{Eip712Domain, SolStruct as _, eip712_domain},
};
use kinesis_protocol::{NodeId, Signature};
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules, Key,
    contracts::{ClaimNode, IRegistry, Registry},
};

/// The most entries of a list that are asked for at once.
const PAGE: u64 = 256;

/// The stake of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stake {
    /// Whose it is.
    pub operator: Address,
    /// What backs its promises, its lender's part with it.
    pub active: Joules,
    /// What thaws, of both; can still be slashed.
    pub thawing: Joules,
    /// From when the operator may take its own part of that, in seconds since 1970.
    pub thawed_at_s: Option<u64>,
    /// What of all of it is the operator's own. It is lost first.
    pub own: Joules,
    /// What a lender has put beside it.
    pub lent: Joules,
    /// The lender, where there is a loan.
    pub lender: Option<Address>,
    /// What claims and an offer need.
    pub required: Joules,
    /// How many open cases hold it.
    pub locks: u64,
    /// How long stake thaws, in seconds.
    pub thaw_s: u32,
    /// The nodes it claims.
    pub nodes: Vec<Claim>,
    /// What it offers, if it is a utility.
    pub offer: Option<Offer>,
}

/// An operator's claim on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// Who claims it.
    pub supplier: Address,
    /// The number that was signed; of the claims whose node signature holds, the highest binds.
    pub sequence: u64,
    /// Until when the signatures could be used, in seconds since 1970.
    pub deadline_s: u64,
    /// When it was claimed, in seconds since 1970.
    pub claimed_at_s: u64,
    /// What the node's key has to have signed.
    pub digest: B256,
    /// The node's Ed25519 signature over `digest`; whoever relies on the claim checks it.
    #[serde(with = "alloy::hex")]
    pub node_signature: [u8; 64],
}

/// What a utility offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The utility.
    pub utility: Address,
    /// Where it is reached.
    pub endpoint: String,
    /// What it adds to a supplier's price, in basis points.
    pub margin_bp: u16,
    /// The share of requests it promises to answer, in basis points.
    pub availability_bp: u16,
    /// The longest interruption it promises when a node dies, in milliseconds.
    pub failover_ms: u32,
    /// What a customer is credited of its bill when a promise is broken, in basis points.
    pub credit_bp: u16,
}

/// A claim on a node that its supplier has signed, and that its node has yet to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who claims it.
    pub supplier: Address,
    /// The node.
    pub node: NodeId,
    /// Higher than that of any claim of this supplier on this node before.
    pub sequence: u64,
    /// Until when it may be sent, in seconds since 1970.
    pub deadline_s: u64,
    /// The supplier's signature.
    pub supplier_signature: Signature,
    /// What the node's key has to sign: these 32 bytes.
    pub digest: B256,
}

/// The hash that both keys sign to bind a node.
#[must_use]
pub fn claim_digest(
    chain_id: u64,
    registry: Address,
    supplier: Address,
    node: NodeId,
    sequence: u64,
    deadline_s: u64,
) -> B256 {
    let claim = ClaimNode { supplier, nodeKey: B256::from(node.0), sequence, deadline: deadline_s };
    claim.eip712_signing_hash(&domain(chain_id, registry))
}

fn domain(chain_id: u64, registry: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Kinesis Registry",
        version: "1",
        chain_id: chain_id,
        verifying_contract: registry,
    }
}

impl Protocol {
    /// Everything about an operator's stake.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn stake(&self, operator: Address) -> Result<Stake, ChainError> {
        let at = self.at.registry;
        let bond = self.read(at, &Registry::bondOfCall { operator }).await?;
        let own = self.read(at, &Registry::ownStakeCall { supplier: operator }).await?;
        let lender = self.read(at, &Registry::lenderOfCall { supplier: operator }).await?;
        let required = self.read(at, &Registry::requiredBondCall { operator }).await?;
        let locks = self.read(at, &Registry::locksCall { operator }).await?;
        let thaw_s = self.read(at, &Registry::thawCall {}).await?;
        let all = bond.active + bond.thawing;
        Ok(Stake {
            operator,
            active: Joules(bond.active),
            thawing: Joules(bond.thawing),
            thawed_at_s: (!bond.thawedAt.is_zero()).then(|| bond.thawedAt.saturating_to()),
            own: Joules(own),
            lent: Joules(all.saturating_sub(own)),
            lender: (!lender.is_zero()).then_some(lender),
            required: Joules(required),
            locks: locks.saturating_to(),
            thaw_s,
            nodes: self.nodes_of(operator).await?,
            offer: self.offer(operator).await?,
        })
    }

    /// Puts JOULE of this account into an operator's own stake.
    ///
    /// # Errors
    /// Where the contract refuses or the endpoint fails.
    pub async fn bond(&self, operator: Address, amount: Joules) -> Result<B256, ChainError> {
        self.allow::<Registry::bondCall>(self.at.registry, amount.0).await?;
        let call = Registry::bondCall { operator, amount: amount.0 };
        Ok(hash(&self.send(self.at.registry, &call).await?))
    }

    /// Starts the thaw of stake, in place of an earlier one; zero cancels it. Returns from when it
    /// may be taken, in seconds since 1970.
    ///
    /// # Errors
    /// Where claims, an offer or a loan need the stake, or the endpoint fails.
    pub async fn thaw(&self, amount: Joules) -> Result<u64, ChainError> {
        let call = Registry::requestUnbondingCall { amount: amount.0 };
        let receipt = self.send(self.at.registry, &call).await?;
        let event = event::<Registry::UnbondingRequested>(&receipt, self.at.registry)?;
        Ok(event.thawedAt.saturating_to())
    }

    /// Takes what has thawed; returns the amount.
    ///
    /// # Errors
    /// Where nothing has thawed, a case is open or a loan stands, or the endpoint fails.
    pub async fn unbond(&self, to: Address) -> Result<Joules, ChainError> {
        let receipt = self.send(self.at.registry, &Registry::unbondCall { to }).await?;
        Ok(Joules(event::<Registry::Unbonded>(&receipt, self.at.registry)?.amount))
    }

    /// As the supplier: signs a claim on a node. The node signs [`ClaimRequest::digest`] next.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn request_claim(
        &self,
        supplier: &Key,
        node: NodeId,
        valid_s: u64,
    ) -> Result<ClaimRequest, ChainError> {
        let last = self.last_sequence(node, supplier.address()).await?;
        let sequence = last.checked_add(1).ok_or_else(|| {
            ChainError::Senseless("the last claim has the highest number there is".to_owned())
        })?;
        let deadline_s = self.now_s().await?.saturating_add(valid_s);
        let (chain_id, registry) = (self.contracts.chain_id, self.at.registry);
        let digest =
            claim_digest(chain_id, registry, supplier.address(), node, sequence, deadline_s);
        Ok(ClaimRequest {
            supplier: supplier.address(),
            node,
            sequence,
            deadline_s,
            supplier_signature: supplier.sign_hash(&digest),
            digest,
        })
    }

    /// Publishes a claim that both have signed. Anyone may send it.
    ///
    /// # Errors
    /// Where the contract refuses (too little stake, an old number) or the endpoint fails.
    pub async fn claim_node(
        &self,
        claim: &ClaimRequest,
        node_signature: &[u8; 64],
    ) -> Result<B256, ChainError> {
        let (r, s) = node_signature.split_at(32);
        let call = Registry::claimNodeCall {
            supplier: claim.supplier,
            nodeKey: B256::from(claim.node.0),
            sequence: claim.sequence,
            deadline: claim.deadline_s,
            supplierSignature: Bytes::from(claim.supplier_signature.as_bytes()),
            nodeSignature: [B256::from_slice(r), B256::from_slice(s)],
        };
        Ok(hash(&self.send(self.at.registry, &call).await?))
    }

    /// As the supplier: ends a claim.
    ///
    /// # Errors
    /// Where there is none or the endpoint fails.
    pub async fn release_node(&self, node: NodeId) -> Result<B256, ChainError> {
        let call = Registry::releaseNodeCall { nodeKey: B256::from(node.0) };
        Ok(hash(&self.send(self.at.registry, &call).await?))
    }

    /// All claims on a node. The binding is the one with the highest sequence whose node signature
    /// holds over its digest.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn claims_on(&self, node: NodeId) -> Result<Vec<Claim>, ChainError> {
        let mut all = Vec::new();
        let claimants = self
            .pages(|from, to| Registry::claimantsCall { nodeKey: B256::from(node.0), from, to })
            .await?;
        for supplier in claimants {
            all.push(self.claim(node, supplier).await?);
        }
        Ok(all)
    }

    /// As a utility: publishes an offer, in place of an earlier one. Its `utility` is this account.
    ///
    /// # Errors
    /// Where the contract refuses (too little stake) or the endpoint fails.
    pub async fn publish_offer(&self, offer: &Offer) -> Result<B256, ChainError> {
        let call = Registry::publishOfferCall {
            endpoint: offer.endpoint.clone(),
            marginBp: offer.margin_bp,
            sla: IRegistry::Sla {
                availabilityBp: offer.availability_bp,
                failoverMs: offer.failover_ms,
                creditBp: offer.credit_bp,
            },
        };
        Ok(hash(&self.send(self.at.registry, &call).await?))
    }

    /// As a utility: ends its offer.
    ///
    /// # Errors
    /// Where there is none or the endpoint fails.
    pub async fn retire_offer(&self) -> Result<B256, ChainError> {
        Ok(hash(&self.send(self.at.registry, &Registry::retireOfferCall {}).await?))
    }

    /// The utilities that can be found on this chain.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn offers(&self) -> Result<Vec<Offer>, ChainError> {
        let mut all = Vec::new();
        for utility in self.pages(|from, to| Registry::utilitiesCall { from, to }).await? {
            all.extend(self.offer(utility).await?);
        }
        Ok(all)
    }

    /// Utilities that can be found on this chain, from the `from`-th on, at most `most`; and from where
    /// to go on, where there may be more.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn offers_from(
        &self,
        from: u64,
        most: u64,
    ) -> Result<(Vec<Offer>, Option<u64>), ChainError> {
        let to = from.saturating_add(most.min(PAGE));
        let call = Registry::utilitiesCall { from: U256::from(from), to: U256::from(to) };
        let page = self.read(self.at.registry, &call).await?;
        let full = u64::try_from(page.len()).is_ok_and(|read| read > 0 && read >= to - from);
        let mut all = Vec::new();
        for utility in page {
            all.extend(self.offer(utility).await?);
        }
        Ok((all, full.then_some(to)))
    }

    /// What a utility offers; `None` where it offers nothing.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn offer(&self, utility: Address) -> Result<Option<Offer>, ChainError> {
        let offer = self.read(self.at.registry, &Registry::offerOfCall { utility }).await?;
        Ok((offer.publishedAt > 0).then_some(Offer {
            utility,
            endpoint: offer.endpoint,
            margin_bp: offer.marginBp,
            availability_bp: offer.sla.availabilityBp,
            failover_ms: offer.sla.failoverMs,
            credit_bp: offer.sla.creditBp,
        }))
    }

    async fn nodes_of(&self, supplier: Address) -> Result<Vec<Claim>, ChainError> {
        let mut all = Vec::new();
        let nodes = self.pages(|from, to| Registry::nodesOfCall { supplier, from, to }).await?;
        for node in nodes {
            all.push(self.claim(NodeId(node.0), supplier).await?);
        }
        Ok(all)
    }

    pub(super) async fn claim(&self, node: NodeId, supplier: Address) -> Result<Claim, ChainError> {
        let call = Registry::nodeClaimCall { nodeKey: B256::from(node.0), supplier };
        let claim = self.read(self.at.registry, &call).await?;
        let (chain_id, registry) = (self.contracts.chain_id, self.at.registry);
        let mut node_signature = [0; 64];
        node_signature[..32].copy_from_slice(claim.nodeSignature[0].as_slice());
        node_signature[32..].copy_from_slice(claim.nodeSignature[1].as_slice());
        Ok(Claim {
            node,
            supplier,
            sequence: claim.sequence,
            deadline_s: claim.deadline,
            claimed_at_s: claim.claimedAt,
            digest: claim_digest(
                chain_id,
                registry,
                supplier,
                node,
                claim.sequence,
                claim.deadline,
            ),
            node_signature,
        })
    }

    async fn last_sequence(&self, node: NodeId, supplier: Address) -> Result<u64, ChainError> {
        let call = Registry::nodeClaimCall { nodeKey: B256::from(node.0), supplier };
        Ok(self.read(self.at.registry, &call).await?.sequence)
    }

    /// A whole list of the registry, a page at a time.
    async fn pages<C, T>(&self, call: impl Fn(U256, U256) -> C) -> Result<Vec<T>, ChainError>
    where
        C: alloy::sol_types::SolCall<Return = Vec<T>>,
    {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let call = call(U256::from(from), U256::from(from + PAGE));
            let page = self.read(self.at.registry, &call).await?;
            let last = page.len() < usize::try_from(PAGE).expect("a page is small");
            all.extend(page);
            if last {
                return Ok(all);
            }
            from += PAGE;
        }
    }
}
