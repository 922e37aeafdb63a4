//! The stake pool: investors put JOULE in, suppliers without stake borrow their bond from it.

use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules,
    contracts::{Registry, StakePool},
};

/// The most places of the queue that one transaction pays.
const SETTLE_MAX: u64 = 50;
/// The most places of the queue that are listed.
const QUEUE_MAX: u64 = 100;

/// The pool, and what an account has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    /// What all shares together are worth.
    pub assets: Joules,
    /// What is there and not on loan.
    pub cash: Joules,
    /// What is on loan.
    pub lent: Joules,
    /// What the investors in the queue wait for, at today's price.
    pub queued: Joules,
    /// How much of the assets may be on loan, in basis points.
    pub pool_cap_bp: u16,
    /// How much of them to one supplier, in basis points.
    pub supplier_cap_bp: u16,
    /// What the pool takes of a borrower's earnings, in basis points.
    pub earnings_bp: u16,
    /// What of them becomes the borrower's own stake, in basis points.
    pub growth_bp: u16,
    /// How long the queue takes at least, in seconds.
    pub delay_s: u32,
    /// Who gives credit.
    pub underwriter: Address,
    /// Who waits, in order.
    pub queue: Vec<QueuePlace>,
    /// The account that is looked at.
    pub account: PoolAccount,
}

/// What an account has to do with the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAccount {
    /// Whose it is.
    pub address: Address,
    /// Its shares.
    pub shares: U256,
    /// What they are worth.
    pub worth: Joules,
    /// What it may have on loan by the underwriter's word.
    pub credit: Joules,
    /// What it has on loan.
    pub loan: Joules,
    /// What of that is being paid back.
    pub thawing: Joules,
    /// Its own stake, which is lost before the loan.
    pub own: Joules,
}

/// A place in the queue of investors who leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlace {
    /// Its number.
    pub id: u64,
    /// Whose shares they were.
    pub owner: Address,
    /// Who is paid.
    pub receiver: Address,
    /// From when, in seconds since 1970.
    pub ready_at_s: u64,
    /// What it is worth now.
    pub worth: Joules,
}

impl Protocol {
    /// The pool, and what `of` has to do with it.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn pool(&self, of: Address) -> Result<PoolState, ChainError> {
        let at = self.at.pool;
        let terms = self.read(at, &StakePool::termsCall {}).await?;
        let queued = self.read(at, &StakePool::queuedSharesCall {}).await?;
        let lent = Registry::lentByCall { lender: at };
        Ok(PoolState {
            assets: Joules(self.read(at, &StakePool::totalAssetsCall {}).await?),
            cash: Joules(self.read(at, &StakePool::cashCall {}).await?),
            lent: Joules(self.read(self.at.registry, &lent).await?),
            queued: self.worth(queued).await?,
            pool_cap_bp: terms.poolCapBp,
            supplier_cap_bp: terms.supplierCapBp,
            earnings_bp: terms.earningsBp,
            growth_bp: terms.growthBp,
            delay_s: self.read(at, &StakePool::delayCall {}).await?,
            underwriter: self.read(at, &StakePool::underwriterCall {}).await?,
            queue: self.queue().await?,
            account: self.pool_account(of).await?,
        })
    }

    async fn pool_account(&self, address: Address) -> Result<PoolAccount, ChainError> {
        let (pool, registry) = (self.at.pool, self.at.registry);
        let shares = self.read(pool, &StakePool::balanceOfCall { account: address }).await?;
        let credit = self.read(pool, &StakePool::creditOfCall { supplier: address }).await?;
        let loan = Registry::lentToCall { lender: pool, supplier: address };
        let thawing = Registry::thawingCall { lender: pool, supplier: address };
        let own = Registry::ownStakeCall { supplier: address };
        Ok(PoolAccount {
            address,
            shares,
            worth: self.worth(shares).await?,
            credit: Joules(credit),
            loan: Joules(self.read(registry, &loan).await?),
            thawing: Joules(self.read(registry, &thawing).await?),
            own: Joules(self.read(registry, &own).await?),
        })
    }

    async fn queue(&self) -> Result<Vec<QueuePlace>, ChainError> {
        let at = self.at.pool;
        let ends = self.read(at, &StakePool::queueCall {}).await?;
        let (head, tail): (u64, u64) = (ends.head.saturating_to(), ends.tail.saturating_to());
        let mut all = Vec::new();
        for id in head..tail.min(head.saturating_add(QUEUE_MAX)) {
            let place = self.read(at, &StakePool::requestCall { id: U256::from(id) }).await?;
            all.push(QueuePlace {
                id,
                owner: place.owner,
                receiver: place.receiver,
                ready_at_s: place.readyAt,
                worth: self.worth(place.shares).await?,
            });
        }
        Ok(all)
    }

    async fn worth(&self, shares: U256) -> Result<Joules, ChainError> {
        let call = StakePool::convertToAssetsCall { shares };
        Ok(Joules(self.read(self.at.pool, &call).await?))
    }

    /// As an investor: puts JOULE into the pool; returns the shares.
    ///
    /// # Errors
    /// Where the contract refuses or the endpoint fails.
    pub async fn pool_deposit(&self, amount: Joules) -> Result<U256, ChainError> {
        self.allow::<StakePool::depositCall>(self.at.pool, amount.0).await?;
        let call = StakePool::depositCall { assets: amount.0, receiver: self.address() };
        let receipt = self.send(self.at.pool, &call).await?;
        Ok(event::<StakePool::Deposit>(&receipt, self.at.pool)?.shares)
    }

    /// As an investor: puts shares of this worth into the queue, or all of them; returns the place
    /// and from when it may be paid, in seconds since 1970.
    ///
    /// # Errors
    /// Where there are fewer shares, it is too little for a place, or the endpoint fails.
    pub async fn pool_leave(&self, amount: Option<Joules>) -> Result<(u64, u64), ChainError> {
        let at = self.at.pool;
        let all = self.read(at, &StakePool::balanceOfCall { account: self.address() }).await?;
        let shares = match amount {
            None => all,
            Some(amount) => {
                let call = StakePool::convertToSharesCall { assets: amount.0 };
                self.read(at, &call).await?
            }
        };
        let begun = self.begun::<StakePool::requestRedeemCall>(at).await?;
        if !begun && (shares > all || shares.is_zero()) {
            let worth = self.worth(all).await?;
            return Err(ChainError::Senseless(format!(
                "the shares of {} are worth {worth} JOULE",
                self.address()
            )));
        }
        let call = StakePool::requestRedeemCall { shares, receiver: self.address() };
        let receipt = self.send(at, &call).await?;
        let event = event::<StakePool::RedeemRequested>(&receipt, at)?;
        Ok((event.id.saturating_to(), event.readyAt))
    }

    /// Pays the queue, as far as it is ready and there is money; takes what redemptions have put
    /// aside for the pool first. Anyone may. Returns what was paid.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn pool_settle(&self) -> Result<Joules, ChainError> {
        let at = self.at.pool;
        let receipt = self.send(at, &StakePool::settleCall { max: U256::from(SETTLE_MAX) }).await?;
        let paid = receipt.logs().iter().filter(|log| log.address() == at).filter_map(|log| {
            log.log_decode::<StakePool::RequestPaid>().ok().map(|log| log.inner.data.assets)
        });
        Ok(Joules(paid.fold(U256::ZERO, U256::saturating_add)))
    }

    /// As a supplier with credit: borrows bond. Agrees first to what the pool and the growing stake
    /// take of the earnings, `share_max_bp` at most.
    ///
    /// # Errors
    /// Where the terms ask for more than `share_max_bp`, there is no credit for it, a cap is
    /// reached, or the endpoint fails.
    pub async fn borrow(&self, amount: Joules, share_max_bp: u16) -> Result<B256, ChainError> {
        let terms = self.read(self.at.pool, &StakePool::termsCall {}).await?;
        let asked = terms.earningsBp.saturating_add(terms.growthBp);
        if asked > share_max_bp {
            return Err(ChainError::Senseless(format!(
                "the pool asks for {asked} basis points of the earnings, more than {share_max_bp}"
            )));
        }
        let choice = Registry::lenderChoiceCall { supplier: self.address() };
        let agreed = self.read(self.at.registry, &choice).await?;
        if agreed.lender != self.at.pool || agreed.shareBp < asked {
            let call = Registry::setLenderCall { lender: self.at.pool, shareBp: asked };
            self.send(self.at.registry, &call).await?;
        }
        let call = StakePool::borrowCall { amount: amount.0 };
        Ok(hash(&self.send(self.at.pool, &call).await?))
    }

    /// Starts to pay a supplier's loan back: it thaws, and can be slashed until it is back.
    ///
    /// # Errors
    /// Where this account may not, or not so much, or the endpoint fails.
    pub async fn repay(&self, supplier: Address, amount: Joules) -> Result<B256, ChainError> {
        let call = StakePool::recallCall { supplier, amount: amount.0 };
        Ok(hash(&self.send(self.at.pool, &call).await?))
    }

    /// Takes back to the pool what has thawed of a loan; anyone may. Zero where nothing has.
    ///
    /// # Errors
    /// Where a case against the supplier is open or the endpoint fails.
    pub async fn reclaim(&self, supplier: Address) -> Result<Joules, ChainError> {
        let receipt = self.send(self.at.pool, &StakePool::reclaimCall { supplier }).await?;
        Ok(Joules(event::<StakePool::Reclaimed>(&receipt, self.at.pool)?.amount))
    }

    /// As the underwriter: says how much a supplier may have on loan.
    ///
    /// # Errors
    /// Where this account does not underwrite or the endpoint fails.
    pub async fn set_credit(&self, supplier: Address, credit: Joules) -> Result<B256, ChainError> {
        let call = StakePool::setCreditCall { supplier, credit: credit.0 };
        Ok(hash(&self.send(self.at.pool, &call).await?))
    }
}
