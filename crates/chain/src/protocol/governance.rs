//! The DAO: proposals from a word to their calls, and their way through the vote and the timelock.
//!
//! ```text
//!  propose -> pending -> active -> succeeded -> queued -> executed
//!                             \--> defeated
//! ```

mod action;

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    rpc::types::Filter,
    sol_types::SolEvent as _,
};
use serde::{Deserialize, Serialize};

pub use action::{Action, Call, Upgradeable};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules,
    contracts::{Grants, Joule, KinesisGovernor},
    refusal::PROPOSAL_STATES,
};

/// The longest description that is proposed.
const WHY_BYTES_MAX: usize = 4_096;
/// What OpenZeppelin's governor takes as "nobody but this account proposes this".
const PROPOSER_MARK: &str = "#proposer=";

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vote {
    /// No.
    Against,
    /// Yes.
    For,
    /// Counts for the quorum only.
    Abstain,
}

/// A proposal and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its number: a hash of its calls and its description.
    #[serde(with = "text")]
    pub id: U256,
    /// Who proposed it.
    pub proposer: Address,
    /// Why.
    pub why: String,
    /// What happens when it is executed, in words.
    pub effects: Vec<String>,
    /// The calls themselves.
    pub calls: Vec<Call>,
    /// `pending`, `active`, `canceled`, `defeated`, `succeeded`, `queued`, `expired` or `executed`.
    pub state: String,
    /// Votes for it.
    pub votes_for: Joules,
    /// Votes against it.
    pub votes_against: Joules,
    /// Votes that count for the quorum only.
    pub votes_abstain: Joules,
    /// What for and abstain have to reach together; `None` before the vote begins.
    pub quorum: Option<Joules>,
    /// The moment whose balances vote, in seconds since 1970.
    pub vote_starts_s: u64,
    /// When the vote ends, in seconds since 1970.
    pub vote_ends_s: u64,
    /// From when it may be executed, in seconds since 1970; `None` before it is queued.
    pub executable_at_s: Option<u64>,
    /// The description as it was proposed, with its mark.
    #[serde(skip)]
    description: String,
}

/// A grant of the DAO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its number.
    pub id: u64,
    /// Who is paid.
    pub grantee: Address,
    /// All of it.
    pub amount: Joules,
    /// What has vested, paid or not.
    pub vested: Joules,
    /// What was paid.
    pub paid: Joules,
    /// Before when nothing is paid, in seconds since 1970.
    pub cliff_s: u64,
    /// When all of it has vested, in seconds since 1970.
    pub ends_s: u64,
    /// Whether the DAO has ended it.
    pub revoked: bool,
}

/// What an account may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotingPower {
    /// The account.
    pub address: Address,
    /// What it holds.
    pub holds: Joules,
    /// Whose votes that is; `None`: nobody's, it does not vote.
    pub delegated_to: Option<Address>,
    /// What it may vote with, its own and others'.
    pub votes: Joules,
    /// What it needs to propose.
    pub to_propose: Joules,
}

impl Protocol {
    /// What an account may say.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn voting_power(&self, of: Address) -> Result<VotingPower, ChainError> {
        let joule = self.contracts.joule;
        let delegate = self.read(joule, &Joule::delegatesCall { account: of }).await?;
        let threshold = KinesisGovernor::proposalThresholdCall {};
        Ok(VotingPower {
            address: of,
            holds: Joules(self.balance(of).await?),
            delegated_to: (!delegate.is_zero()).then_some(delegate),
            votes: Joules(self.read(joule, &Joule::getVotesCall { account: of }).await?),
            to_propose: Joules(self.read(self.at.governor, &threshold).await?),
        })
    }

    /// Lets an account vote with what this one holds, from now on.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn delegate(&self, delegatee: Address) -> Result<B256, ChainError> {
        let call = Joule::delegateCall { delegatee };
        Ok(hash(&self.send(self.contracts.joule, &call).await?))
    }

    /// The calls of an action, with what they do in words.
    ///
    /// # Errors
    /// Where a value of it makes no sense, or the endpoint fails.
    pub async fn calls_of(&self, action: &Action) -> Result<Vec<Call>, ChainError> {
        let now_s = self.now_s().await?;
        let calls = action.calls(&self.contracts, now_s)?;
        let mut needed: Vec<Address> = calls.iter().map(|call| call.target).collect();
        if let Action::Upgrade { implementation, .. } = action {
            needed.push(*implementation);
        }
        for address in needed {
            if !self.client.has_code(address).await? {
                return Err(ChainError::Senseless(format!(
                    "there is no contract at {address}: deploy it first"
                )));
            }
        }
        Ok(calls)
    }

    /// Proposes an action; returns the proposal's number.
    ///
    /// # Errors
    /// Where this account has too few votes, the same was proposed before with the same words, or
    /// the endpoint fails.
    pub async fn propose(&self, action: &Action, why: Option<&str>) -> Result<U256, ChainError> {
        let calls = self.calls_of(action).await?;
        let why = why.map_or_else(|| action.to_string(), str::to_owned);
        if why.len() > WHY_BYTES_MAX || why.contains(PROPOSER_MARK) {
            return Err(ChainError::Senseless(format!(
                "a description has at most {WHY_BYTES_MAX} bytes and no \"{PROPOSER_MARK}\" in it"
            )));
        }
        // So that nobody who sees it coming proposes it first, to cancel it then.
        let description = format!("{why}\n\n{PROPOSER_MARK}{:#x}", self.address());
        let (targets, values, calldatas) = parts(&calls);
        let call = KinesisGovernor::proposeCall { targets, values, calldatas, description };
        let receipt = self.send(self.at.governor, &call).await?;
        let created = event::<KinesisGovernor::ProposalCreated>(&receipt, self.at.governor)?;
        Ok(created.proposalId)
    }

    /// All proposals there were, the newest last.
    ///
    /// # Errors
    /// Where the endpoint fails or keeps no logs.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, ChainError> {
        let mut all = Vec::new();
        for created in self.created().await? {
            all.push(self.shown(created).await?);
        }
        Ok(all)
    }

    /// One proposal.
    ///
    /// # Errors
    /// Where there is none or the endpoint fails.
    pub async fn proposal(&self, id: U256) -> Result<Proposal, ChainError> {
        let created = self.created().await?.into_iter().find(|created| created.proposalId == id);
        match created {
            Some(created) => self.shown(created).await,
            None => Err(ChainError::Reverted(format!(
                "GovernorNonexistentProposal: there is no proposal {id}"
            ))),
        }
    }

    /// Votes with everything that is delegated to this account.
    ///
    /// # Errors
    /// Where the vote is not open, this account has no votes in it or has cast them, or the endpoint
    /// fails.
    pub async fn vote(&self, id: U256, vote: Vote) -> Result<Joules, ChainError> {
        let at = self.at.governor;
        let snapshot = KinesisGovernor::proposalSnapshotCall { proposalId: id };
        let timepoint = self.read(at, &snapshot).await?;
        let votes = KinesisGovernor::getVotesCall { account: self.address(), timepoint };
        // Before the snapshot nobody knows; then the governor says that it is pending.
        if let Ok(votes) = self.read(at, &votes).await
            && votes.is_zero()
            && !timepoint.is_zero()
        {
            return Err(ChainError::Senseless(format!(
                "{} had no votes when this vote began: only JOULE that was delegated by then counts",
                self.address()
            )));
        }
        let support = match vote {
            Vote::Against => 0,
            Vote::For => 1,
            Vote::Abstain => 2,
        };
        let receipt =
            self.send_same(at, &KinesisGovernor::castVoteCall { proposalId: id, support }).await?;
        Ok(Joules(event::<KinesisGovernor::VoteCast>(&receipt, at)?.weight))
    }

    /// Puts a proposal that has passed into the timelock. Anyone may. Returns from when it may be
    /// executed, in seconds since 1970.
    ///
    /// # Errors
    /// Where it has not passed or the endpoint fails.
    pub async fn queue_proposal(&self, id: U256) -> Result<u64, ChainError> {
        let proposal = self.proposal(id).await?;
        let (targets, values, calldatas) = parts(&proposal.calls);
        let call = KinesisGovernor::queueCall {
            targets,
            values,
            calldatas,
            descriptionHash: keccak256(&proposal.description),
        };
        let receipt = self.send_same(self.at.governor, &call).await?;
        let queued = event::<KinesisGovernor::ProposalQueued>(&receipt, self.at.governor)?;
        Ok(queued.etaSeconds.saturating_to())
    }

    /// Carries a proposal out, once the timelock's delay is over. Anyone may.
    ///
    /// # Errors
    /// Where it is too early, a call fails, or the endpoint fails.
    pub async fn execute_proposal(&self, id: U256) -> Result<B256, ChainError> {
        let proposal = self.proposal(id).await?;
        let (targets, values, calldatas) = parts(&proposal.calls);
        let call = KinesisGovernor::executeCall {
            targets,
            values,
            calldatas,
            descriptionHash: keccak256(&proposal.description),
        };
        Ok(hash(&self.send_same(self.at.governor, &call).await?))
    }

    /// As its proposer, before the vote begins: takes a proposal back.
    ///
    /// # Errors
    /// Where this account may not or the endpoint fails.
    pub async fn cancel_proposal(&self, id: U256) -> Result<B256, ChainError> {
        let proposal = self.proposal(id).await?;
        let (targets, values, calldatas) = parts(&proposal.calls);
        let call = KinesisGovernor::cancelCall {
            targets,
            values,
            calldatas,
            descriptionHash: keccak256(&proposal.description),
        };
        Ok(hash(&self.send_same(self.at.governor, &call).await?))
    }

    /// The grants that were made.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn grants(&self) -> Result<Vec<Grant>, ChainError> {
        let at = self.at.grants;
        let count: u64 = self.read(at, &Grants::countCall {}).await?.saturating_to();
        let time = self.now_s().await?;
        let mut all = Vec::new();
        for number in 0..count {
            let id = U256::from(number);
            let grant = self.read(at, &Grants::grantCall { id }).await?;
            let vested = self.read(at, &Grants::vestedCall { id, time }).await?;
            all.push(Grant {
                id: number,
                grantee: grant.grantee,
                amount: Joules(grant.amount.to()),
                vested: Joules(vested),
                paid: Joules(grant.paid.to()),
                cliff_s: grant.cliff,
                ends_s: grant.end,
                revoked: grant.revokedAt > 0,
            });
        }
        Ok(all)
    }

    /// Pays a grantee what has vested; anyone may. Zero where nothing more has.
    ///
    /// # Errors
    /// Where there is no such grant or the endpoint fails.
    pub async fn release_grant(&self, id: u64) -> Result<Joules, ChainError> {
        let call = Grants::releaseCall { id: U256::from(id) };
        let receipt = self.send(self.at.grants, &call).await?;
        let released = event::<Grants::Released>(&receipt, self.at.grants);
        Ok(Joules(released.map_or(U256::ZERO, |released| released.amount)))
    }

    async fn created(&self) -> Result<Vec<KinesisGovernor::ProposalCreated>, ChainError> {
        let filter = Filter::new()
            .address(self.at.governor)
            .event_signature(KinesisGovernor::ProposalCreated::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.logs(&filter).await?;
        // By number: a log that an endpoint gives twice is one proposal.
        let mut all = BTreeMap::new();
        for (at, log) in logs.iter().enumerate() {
            if let Ok(created) = KinesisGovernor::ProposalCreated::decode_log(&log.inner) {
                all.entry(created.proposalId).or_insert((at, created.data));
            }
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, created)| created).collect())
    }

    async fn shown(
        &self,
        created: KinesisGovernor::ProposalCreated,
    ) -> Result<Proposal, ChainError> {
        let at = self.at.governor;
        let id = created.proposalId;
        let state = self.read(at, &KinesisGovernor::stateCall { proposalId: id }).await?;
        let votes = self.read(at, &KinesisGovernor::proposalVotesCall { proposalId: id }).await?;
        let eta = self.read(at, &KinesisGovernor::proposalEtaCall { proposalId: id }).await?;
        let begun = self.now_s().await? > created.voteStart.saturating_to::<u64>();
        let quorum = KinesisGovernor::quorumCall { timepoint: created.voteStart };
        let quorum = if begun { Some(Joules(self.read(at, &quorum).await?)) } else { None };
        let calls: Vec<Call> = created
            .targets
            .iter()
            .zip(&created.values)
            .zip(&created.calldatas)
            .map(|((target, value), data)| Call {
                target: *target,
                value: *value,
                data: data.clone(),
            })
            .collect();
        let why = created.description.split(PROPOSER_MARK).next().unwrap_or_default();
        Ok(Proposal {
            id,
            proposer: created.proposer,
            why: why.trim().to_owned(),
            effects: calls.iter().map(|call| call.in_words(&self.contracts)).collect(),
            calls,
            state: PROPOSAL_STATES
                .get(usize::from(state))
                .map_or_else(|| state.to_string(), |name| (*name).to_owned()),
            votes_for: Joules(votes.forVotes),
            votes_against: Joules(votes.againstVotes),
            votes_abstain: Joules(votes.abstainVotes),
            quorum,
            vote_starts_s: created.voteStart.saturating_to(),
            vote_ends_s: created.voteEnd.saturating_to(),
            executable_at_s: (!eta.is_zero()).then(|| eta.saturating_to()),
            description: created.description,
        })
    }
}

/// The three lists that a governor takes calls as.
fn parts(calls: &[Call]) -> (Vec<Address>, Vec<U256>, Vec<Bytes>) {
    (
        calls.iter().map(|call| call.target).collect(),
        calls.iter().map(|call| call.value).collect(),
        calls.iter().map(|call| call.data.clone()).collect(),
    )
}

/// A number of 256 bits is text in JSON.
mod text {
    use alloy::primitives::U256;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(number: &U256, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<U256, D::Error> {
        U256::from_str_radix(&String::deserialize(d)?, 10).map_err(D::Error::custom)
    }
}
