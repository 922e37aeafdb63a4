//! Trades on a market of USD and JOULE, whatever is behind it: `contracts/src/interfaces/IMarket.sol`.
//!
//! A trade names the least it accepts and the latest it may happen, and happens once for each
//! idempotency key. What it moved is read from the tokens' own transfers in its receipt: a market that
//! says something else is believed in nothing.

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::TransactionReceipt,
    sol,
    sol_types::SolEvent as _,
};

use super::Settlement;
use crate::{
    ChainError, Until,
    contracts::{DevDollar, Exchange, Joule},
    journal::intent_key,
};

sol! {
    /// What only a market over a pair has: it must be told now and then to note its price.
    interface IPairMarket {
        function pair() external view returns (address);
        function window() external view returns (uint32);
    }
}

/// What is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// USD for JOULE.
    Buy,
    /// JOULE for USD.
    Sell,
}

/// A trade as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What is given.
    pub side: Side,
    /// How much of it, in the token's smallest unit.
    pub amount_in: U256,
    /// The least that is accepted, in the other token's smallest unit.
    pub min_out: U256,
    /// The latest time, in seconds since 1970.
    pub deadline_s: u64,
}

/// What a trade moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traded {
    /// USD, in the stablecoin's smallest unit.
    pub usd_units: U256,
    /// JOULE, in wei.
    pub joule_wei: U256,
    /// The transaction.
    pub transaction: B256,
}

/// What a market says one JOULE costs, in atto-USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarketPrice {
    /// Its time-weighted price.
    Mean(U256),
    /// It is younger than its window and has none yet: the price of this moment, which anybody may have
    /// moved.
    Young {
        /// That price.
        spot: U256,
    },
}

/// A market that is known to trade our JOULE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketTokens {
    /// The market.
    pub market: Address,
    /// The stablecoin.
    pub usd: Address,
    /// What the stablecoin's smallest unit is worth, in atto-USD.
    pub unit_attousd: u64,
    /// After how many seconds it wants to note its price; `None`: it does so by itself.
    pub poke_s: Option<u32>,
}

impl Settlement {
    /// What a market trades.
    ///
    /// # Errors
    /// Where it trades another token than the escrow's, its stablecoin has more than 18 decimals, or
    /// the endpoint fails.
    pub async fn market_tokens(&self, market: Address) -> Result<MarketTokens, ChainError> {
        let traded = self.read(market, &Exchange::jouleCall {}).await?;
        if traded != self.joule().await? {
            return Err(ChainError::NoContract { what: "market of this JOULE", address: market });
        }
        let usd = self.read(market, &Exchange::usdCall {}).await?;
        let decimals = self.read(usd, &DevDollar::decimalsCall {}).await?;
        let unit_attousd =
            18_u32.checked_sub(decimals.into()).map(|zeros| 10_u64.pow(zeros)).ok_or(
                ChainError::NoContract { what: "stablecoin of at most 18 decimals", address: usd },
            )?;
        // Of the two that there are, only the one over a pair has one.
        let poke_s = match self.read(market, &IPairMarket::pairCall {}).await {
            Ok(_) => Some(self.read(market, &IPairMarket::windowCall {}).await?),
            Err(ChainError::Reverted(_) | ChainError::NoContract { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(MarketTokens { market, usd, unit_attousd, poke_s })
    }

    /// What a market says one JOULE costs.
    ///
    /// # Errors
    /// Where it is not open or the endpoint fails.
    pub async fn market_price(&self, market: Address) -> Result<MarketPrice, ChainError> {
        match self.read(market, &Exchange::priceCall {}).await {
            Ok(price) => Ok(MarketPrice::Mean(price)),
            Err(ChainError::Reverted(why)) if why.starts_with("TooYoung") => {
                let spot = self.read(market, &Exchange::spotCall {}).await?;
                Ok(MarketPrice::Young { spot })
            }
            Err(error) => Err(error),
        }
    }

    /// What a trade would bring now.
    ///
    /// # Errors
    /// Where the market is not open or the endpoint fails.
    pub async fn market_quote(
        &self,
        market: Address,
        side: Side,
        amount_in: U256,
    ) -> Result<U256, ChainError> {
        match side {
            Side::Buy => self.read(market, &Exchange::quoteBuyCall { usdIn: amount_in }).await,
            Side::Sell => self.read(market, &Exchange::quoteSellCall { jouleIn: amount_in }).await,
        }
    }

    /// Has a market note its price. One that was begun before, by a call that did not see it mined or
    /// before a restart, is finished instead, and `None` returned: it noted a price of now.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn poke_market(&self, market: Address) -> Result<Option<B256>, ChainError> {
        self.client().await?;
        let kind = format!("poke:{market:#x}");
        if self.sender.finish(&format!("{kind}:")).await? {
            return Ok(None);
        }
        self.send(&kind, market, &Exchange::pokeCall {}).await.map(Some)
    }

    /// How much of a token an address holds, in the token's smallest unit.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn token_balance(&self, token: Address, of: Address) -> Result<U256, ChainError> {
        self.read(token, &DevDollar::balanceOfCall { account: of }).await
    }

    /// As the owner of a development chain's play money: makes some.
    ///
    /// # Errors
    /// Where the contract refuses (not the owner) or the endpoint fails.
    pub async fn mint_play(
        &self,
        usd: Address,
        to: Address,
        amount: U256,
    ) -> Result<B256, ChainError> {
        self.send("mint-play", usd, &DevDollar::mintCall { to, amount }).await
    }

    /// The time on chain, by which deadlines are judged, in seconds since 1970.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn now_s(&self) -> Result<u64, ChainError> {
        // By the clock that votes are counted by: a chain without transactions has an old block.
        let joule = self.joule().await?;
        Ok(self.read(joule, &Joule::clockCall {}).await?.to())
    }

    /// Trades, once for each idempotency `key`, to this account's own address. Asked again with the
    /// same key and order, after whatever crash, it says what that one trade moved.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] where the market refuses (its price moved, the deadline has passed): it
    /// had no effect, and under this key and order never will once the deadline has passed.
    /// [`ChainError::NoReceipt`] where it is not as far as `until` in time: ask again.
    pub async fn trade_once(
        &self,
        key: &str,
        tokens: &MarketTokens,
        order: &Order,
        until: Until,
    ) -> Result<Traded, ChainError> {
        let (own, market) = (self.address(), tokens.market);
        let (deadline, joule) = (U256::from(order.deadline_s), self.joule().await?);
        let known = {
            self.client().await?;
            self.sender.find(key).await?
        };
        if known.is_none() {
            let token = if order.side == Side::Buy { tokens.usd } else { joule };
            self.allow(token, market, order.amount_in).await?;
        }
        let (amount_in, min_out) = (order.amount_in, order.min_out);
        let receipt = match order.side {
            Side::Buy => {
                let call =
                    Exchange::buyCall { usdIn: amount_in, minOut: min_out, to: own, deadline };
                self.submit(key, market, &call, until).await?
            }
            Side::Sell => {
                let call =
                    Exchange::sellCall { jouleIn: amount_in, minOut: min_out, to: own, deadline };
                self.submit(key, market, &call, until).await?
            }
        };
        let (usd_units, joule_wei) = match order.side {
            Side::Buy => (left(&receipt, tokens.usd, own), came(&receipt, joule, own)),
            Side::Sell => (came(&receipt, tokens.usd, own), left(&receipt, joule, own)),
        };
        Ok(Traded { usd_units, joule_wei, transaction: receipt.transaction_hash })
    }

    /// Lets `spender` take this much, where it may not yet. What was begun before is finished first:
    /// while nothing is mined, no call adds another transaction.
    async fn allow(&self, token: Address, spender: Address, value: U256) -> Result<(), ChainError> {
        let kind = format!("allow:{token:#x}:{spender:#x}");
        self.sender.finish(&format!("{kind}:")).await?;
        let allowance = Joule::allowanceCall { owner: self.address(), spender };
        let allowed = self.read(token, &allowance).await?;
        if allowed >= value {
            return Ok(());
        }
        if !allowed.is_zero() {
            // Some stablecoins change an allowance only from or to nothing.
            let none = Joule::approveCall { spender, value: U256::ZERO };
            self.submit(&intent_key(&kind), token, &none, Until::Mined).await?;
        }
        let approve = Joule::approveCall { spender, value };
        self.submit(&intent_key(&kind), token, &approve, Until::Mined).await.map(drop)
    }
}

/// The transfers of a token in a receipt.
fn transfers(
    receipt: &TransactionReceipt,
    token: Address,
) -> impl Iterator<Item = Joule::Transfer> + '_ {
    let logs = receipt.logs().iter().filter(move |log| log.address() == token);
    logs.filter_map(|log| Joule::Transfer::decode_log(&log.inner).ok().map(|log| log.data))
}

fn came(receipt: &TransactionReceipt, token: Address, own: Address) -> U256 {
    let to_us = transfers(receipt, token).filter(|moved| moved.to == own && moved.from != own);
    to_us.fold(U256::ZERO, |sum, moved| sum.saturating_add(moved.value))
}

fn left(receipt: &TransactionReceipt, token: Address, own: Address) -> U256 {
    let of_ours = transfers(receipt, token).filter(|moved| moved.from == own && moved.to != own);
    of_ours.fold(U256::ZERO, |sum, moved| sum.saturating_add(moved.value))
}
