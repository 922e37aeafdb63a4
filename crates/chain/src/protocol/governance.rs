//! The DAO: proposals from a word to their calls, and their way through the vote and the timelock.
//!
//! ```text
//!  propose -> pending -> active -> succeeded -> queued -> executed
//!                             \--> defeated
//! ```

mod action;

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    rpc::types::Filter,
    sol_types::SolEvent as _,
};
use serde::{Deserialize, Serialize};

pub use action::{Action, Call, Upgradeable};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules, LogPlace,
    contracts::{Exchange, Grants, Joule, KinesisGovernor, PaymentEscrow, Registry},
    logs::Backwards,
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
    #[serde(with = "crate::amount::text")]
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

/// Some proposals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalPage {
    /// The newest first.
    pub proposals: Vec<Proposal>,
    /// Where to go on; `None`: there are no older ones.
    pub next: Option<LogPlace>,
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
        self.within_bounds(action).await?;
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

    /// Refuses what a contract has a bound against in its code, by that contract's own word.
    async fn within_bounds(&self, action: &Action) -> Result<(), ChainError> {
        let (joule, escrow, at) = (self.contracts.joule, self.contracts.escrow, self.at);
        let bounds = match action {
            Action::SetFee(_) => {
                (0, u64::from(self.read(escrow, &PaymentEscrow::FEE_BP_CAPCall {}).await?))
            }
            Action::SetEmission(_) => {
                (0, u64::from(self.read(joule, &Joule::YEARLY_EMISSION_BP_CAPCall {}).await?))
            }
            Action::SetExchangeFee(_) => {
                // An adapter of another market takes no fee.
                match self.read(at.exchange, &Exchange::FEE_BP_CAPCall {}).await {
                    Ok(cap) => (0, u64::from(cap)),
                    Err(_) => {
                        return Err(ChainError::Senseless(
                            "the exchange of this chain has no fee of its own".to_owned(),
                        ));
                    }
                }
            }
            Action::SetThaw(_) => (
                u64::from(self.read(at.registry, &Registry::THAW_MINCall {}).await?),
                u64::from(self.read(at.registry, &Registry::THAW_MAXCall {}).await?),
            ),
            Action::SetWithdrawalDelay(_) => (
                u64::from(self.read(escrow, &PaymentEscrow::WITHDRAWAL_DELAY_MINCall {}).await?),
                u64::from(self.read(escrow, &PaymentEscrow::WITHDRAWAL_DELAY_MAXCall {}).await?),
            ),
            _ => return Ok(()),
        };
        action.check_bounds(bounds.0, bounds.1)
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

    /// Proposals, the newest first, at most `most` of them: those older than `before`, or the newest
    /// there are.
    ///
    /// # Errors
    /// Where the endpoint fails or keeps no logs.
    pub async fn proposals(
        &self,
        before: Option<LogPlace>,
        most: usize,
    ) -> Result<ProposalPage, ChainError> {
        let mut logs = self.created(before).await?;
        let mut page = ProposalPage { proposals: Vec::new(), next: None };
        let mut last = None;
        while let Some((place, created)) = next_created(&mut logs).await? {
            if before.is_some_and(|before| place >= before) {
                continue;
            }
            if page.proposals.len() >= most {
                page.next = last;
                break;
            }
            last = Some(place);
            page.proposals.push(self.shown(created).await?);
        }
        Ok(page)
    }

    /// The newest proposals whose numbers begin with these digits, at most two of them: of a whole
    /// number there is one.
    ///
    /// # Errors
    /// Where the endpoint fails or keeps no logs.
    pub async fn proposals_named(&self, digits: &str) -> Result<Vec<Proposal>, ChainError> {
        let mut logs = self.created(None).await?;
        let mut found: Vec<Proposal> = Vec::new();
        while let Some((_, created)) = next_created(&mut logs).await? {
            let number = created.proposalId.to_string();
            if !number.starts_with(digits) || found.iter().any(|one| one.id == created.proposalId) {
                continue;
            }
            found.push(self.shown(created).await?);
            if number == digits || found.len() > 1 {
                break;
            }
        }
        Ok(found)
    }

    /// One proposal.
    ///
    /// # Errors
    /// Where there is none or the endpoint fails.
    pub async fn proposal(&self, id: U256) -> Result<Proposal, ChainError> {
        self.proposals_named(&id.to_string()).await?.pop().ok_or_else(|| {
            ChainError::Reverted(format!("GovernorNonexistentProposal: there is no proposal {id}"))
        })
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

    /// What the governor told of proposals, the newest first.
    async fn created(&self, before: Option<LogPlace>) -> Result<Backwards, ChainError> {
        let filter = Filter::new()
            .address(self.at.governor)
            .event_signature(KinesisGovernor::ProposalCreated::SIGNATURE_HASH);
        let from = before.map(|before| before.block);
        self.logs_back(filter, from).await
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

/// The next older proposal and where it was told of.
async fn next_created(
    logs: &mut Backwards,
) -> Result<Option<(LogPlace, KinesisGovernor::ProposalCreated)>, ChainError> {
    while let Some(log) = logs.next().await? {
        let (Some(block), Some(index)) = (log.block_number, log.log_index) else { continue };
        if let Ok(created) = KinesisGovernor::ProposalCreated::decode_log(&log.inner) {
            return Ok(Some((LogPlace { block, index }, created.data)));
        }
    }
    Ok(None)
}
