//! The desk's trades with the market of USD and JOULE.
//!
//! ```text
//! begin_trade: planned --(its transaction is final)--> finish_trade: posted, once
//!                 '-----(it had and will have no effect)--> refuse_trade: nothing moved
//! ```
//!
//! A trade is planned before anything is sent, one at a time, and a day's bound is checked as it is
//! planned: who crashes in between finds it open, and asks the chain for it by its number. It is one
//! ledger transaction between purse and market that sums to zero in each currency. Tokens have more
//! decimals than the ledger: what the purse holds beyond its billionths is carried from trade to trade
//! as *dust*, floored once and never lost.

use kinesis_protocol::{Address, JoulePrice, NanoJoule, NanoUsd, money::NANO};
use serde::{Deserialize, Serialize};

use crate::{
    LedgerAccount, Store, StoreError,
    db::{Row, Tx, args},
    ledger::Entry,
    prices::price,
};

/// How far back a day's bound looks.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The longest reason that is kept.
const REASON_CHARS_MAX: usize = 300;
/// The most trades that are read at once.
pub const TRADES_MAX: u32 = 1_000;

/// What a trade gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeSide {
    /// USD for JOULE.
    Buy,
    /// JOULE for USD.
    Sell,
}

word!(TradeSide, "side of a trade", { Buy => "buy", Sell => "sell" });

/// A trade as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTrade {
    /// What is given.
    pub side: TradeSide,
    /// How much of it, in the token's smallest unit.
    pub amount_in: u128,
    /// The least that is accepted for it, in the other token's smallest unit.
    pub min_out: u128,
    /// The latest time it may happen, in seconds since 1970.
    pub deadline_s: u64,
    /// What is given, in USD at `price`.
    pub worth_nanousd: NanoUsd,
    /// The price that it was planned at.
    pub price: JoulePrice,
}

/// Who trades, and where. Only the same one there can say what became of a trade, or send it again
/// without its happening twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradePlace {
    /// The chain.
    pub chain_id: u64,
    /// Who sends.
    pub sender: Address,
    /// The market.
    pub market: Address,
}

/// A trade, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskTrade {
    /// Its number: counts up from 1, and is its key on chain.
    pub number: u64,
    /// Who trades, and where.
    pub place: TradePlace,
    /// As it was planned.
    pub plan: NewTrade,
    /// When it was planned.
    pub planned_at_ms: u64,
    /// When it was known what became of it; `None` while it is not.
    pub ended_at_ms: Option<u64>,
    /// What was received, in the token's smallest unit; `None` where nothing moved yet, or ever.
    pub amount_out: Option<u128>,
    /// How the purse's USD changed.
    pub purse_nanousd: Option<NanoUsd>,
    /// How the purse's JOULE changed.
    pub purse_nanojoule: Option<NanoJoule>,
    /// The transaction on chain, as hex.
    pub transaction: Option<String>,
    /// Why nothing came of it; `None` unless that is so.
    pub reason: Option<String>,
}

impl DeskTrade {
    /// Whether it is not known yet what becomes of it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended_at_ms.is_none()
    }
}

/// What planning a trade came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TradeBegun {
    /// It is planned.
    Planned(DeskTrade),
    /// Another is under way: nothing was planned.
    Another(DeskTrade),
    /// With it, a day's trades would exceed their bound: nothing was planned.
    OverDay {
        /// What was traded within the last day.
        spent: NanoUsd,
    },
}

/// What a trade moved, as its receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeMoved {
    /// USD, in the stablecoin's smallest unit.
    pub usd_units: u128,
    /// JOULE, in wei.
    pub joule_wei: u128,
    /// What the stablecoin's smallest unit is worth, in atto-USD.
    pub unit_attousd: u64,
}

/// The desk in the ledger. All of it are balances, positive where the account holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeskBooks {
    /// What it took for suppliers and the protocol, of which customers' bills speak.
    pub taken_nanousd: NanoUsd,
    /// What it gave suppliers and the protocol for that; negative.
    pub given_nanojoule: NanoJoule,
    /// USD in the purse: what trades and withdrawals brought, or, negative, cost.
    pub purse_nanousd: NanoUsd,
    /// JOULE in the purse: what was bought, or came back, and was not sold.
    pub purse_nanojoule: NanoJoule,
}

impl DeskBooks {
    /// How much more JOULE it has by its conversions than it gave; negative where it gave from what it
    /// had at first, or still has to buy.
    #[must_use]
    pub fn position_nanojoule(&self) -> NanoJoule {
        NanoJoule(self.given_nanojoule.0.saturating_add(self.purse_nanojoule.0))
    }

    /// What converting has brought so far, with its position at this price: what the price's moves, the
    /// market's fee and the spread cost, or gained.
    #[must_use]
    pub fn result_nanousd(&self, price: JoulePrice) -> NanoUsd {
        let cash = self.taken_nanousd.0.saturating_add(self.purse_nanousd.0);
        NanoUsd(cash.saturating_add(price.to_usd(self.position_nanojoule()).0))
    }
}

macro_rules! trade_columns {
    () => {
        "SELECT number, side, amount_in, min_out, deadline_s, worth_nanousd, price_nanousd, \
         planned_at_ms, ended_at_ms, amount_out, purse_nanousd, purse_nanojoule, txn, reason, \
         chain_id, sender, market FROM desk_trades"
    };
}

fn read(row: &Row) -> Result<DeskTrade, StoreError> {
    let amount_out = row.opt_text(9)?;
    let amount_out = amount_out.map(|text| text.parse::<u128>()).transpose();
    Ok(DeskTrade {
        number: row.uint(0)?,
        place: TradePlace {
            chain_id: row.uint(14)?,
            sender: row.parse(15, "address")?,
            market: row.parse(16, "address")?,
        },
        plan: NewTrade {
            side: row.parse(1, "side of a trade")?,
            amount_in: row.parse(2, "amount")?,
            min_out: row.parse(3, "amount")?,
            deadline_s: row.uint(4)?,
            worth_nanousd: NanoUsd(row.int(5)?),
            price: price(row.int(6)?)?,
        },
        planned_at_ms: row.uint(7)?,
        ended_at_ms: row.opt_uint(8)?,
        amount_out: amount_out.map_err(|error| StoreError::corrupt("amount", error))?,
        purse_nanousd: row.opt_int(10)?.map(NanoUsd),
        purse_nanojoule: row.opt_int(11)?.map(NanoJoule),
        transaction: row.opt_text(12)?,
        reason: row.opt_text(13)?,
    })
}

async fn numbered(tx: &mut Tx, number: u64) -> Result<DeskTrade, StoreError> {
    let sql = concat!(trade_columns!(), " WHERE number = $1");
    let row = tx.one(sql, args![number]).await?;
    read(&row.ok_or_else(|| StoreError::not_found("trade", number))?)
}

/// Adds a change in 1e-18 to the dust: what is posted in billionths, and the dust that stays.
fn settle(change_atto: i128, dust: i64) -> Result<(i64, i64), StoreError> {
    let sum = change_atto.checked_add(i128::from(dust)).ok_or(StoreError::Overflow)?;
    let fits = |v: i128| i64::try_from(v).map_err(|_| StoreError::Overflow);
    Ok((fits(sum.div_euclid(i128::from(NANO)))?, fits(sum.rem_euclid(i128::from(NANO)))?))
}

/// How the purse changes, in 1e-18 of USD and of JOULE.
fn change(side: TradeSide, moved: &TradeMoved) -> Result<(i128, i128), StoreError> {
    let signed = |v: u128| i128::try_from(v).map_err(|_| StoreError::Overflow);
    let usd = signed(moved.usd_units)?.checked_mul(i128::from(moved.unit_attousd));
    let (usd, joule) = (usd.ok_or(StoreError::Overflow)?, signed(moved.joule_wei)?);
    Ok(match side {
        TradeSide::Buy => (-usd, joule),
        TradeSide::Sell => (usd, -joule),
    })
}

impl Store {
    /// Plans a trade, unless another is under way or the trades of the last day, with it, would be
    /// worth more than `day_max`.
    ///
    /// # Errors
    /// Where it makes no sense or the database fails.
    pub async fn begin_trade(
        &self,
        plan: &NewTrade,
        place: &TradePlace,
        day_max: NanoUsd,
        at_ms: u64,
    ) -> Result<TradeBegun, StoreError> {
        if plan.amount_in == 0 || plan.min_out == 0 || plan.worth_nanousd <= NanoUsd::ZERO {
            return Err(StoreError::Invalid("a trade gives and takes something".into()));
        }
        let mut tx = self.db.begin().await?;
        let sql = concat!(trade_columns!(), " WHERE open = 1");
        if let Some(row) = tx.one(sql, args![]).await? {
            return Ok(TradeBegun::Another(read(&row)?));
        }
        let spent = spent(&mut tx, at_ms).await?;
        if spent.0.saturating_add(plan.worth_nanousd.0) > day_max.0 {
            return Ok(TradeBegun::OverDay { spent });
        }
        let row = tx.one("SELECT COALESCE(MAX(number), 0) FROM desk_trades", args![]).await?;
        let number = row.map_or(Ok(0), |row| row.uint(0))? + 1;
        tx.run(
            "INSERT INTO desk_trades (number, side, amount_in, min_out, deadline_s, \
             worth_nanousd, price_nanousd, planned_at_ms, open, \
             chain_id, sender, market) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11)",
            args![
                number,
                plan.side.as_str(),
                plan.amount_in.to_string(),
                plan.min_out.to_string(),
                plan.deadline_s,
                plan.worth_nanousd.0,
                plan.price.nanousd(),
                at_ms,
                place.chain_id,
                place.sender.to_string(),
                place.market.to_string()
            ],
        )
        .await?;
        let planned = numbered(&mut tx, number).await?;
        tx.commit().await?;
        Ok(TradeBegun::Planned(planned))
    }

    /// The trade that is under way.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn open_trade(&self) -> Result<Option<DeskTrade>, StoreError> {
        let sql = concat!(trade_columns!(), " WHERE open = 1");
        self.db.one(sql, args![]).await?.map(|row| read(&row)).transpose()
    }

    /// The newest trade on a market that happened, whoever sent it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn last_traded(&self, place: &TradePlace) -> Result<Option<DeskTrade>, StoreError> {
        let sql = concat!(
            trade_columns!(),
            " WHERE chain_id = $1 AND market = $2 AND amount_out IS NOT NULL \
             ORDER BY number DESC LIMIT 1"
        );
        let row = self.db.one(sql, args![place.chain_id, place.market.to_string()]).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Posts what a trade moved, once; finished again it returns what was recorded first.
    ///
    /// # Errors
    /// Where there is none, it was refused before, or the amounts do not fit.
    pub async fn finish_trade(
        &self,
        number: u64,
        moved: &TradeMoved,
        transaction: &str,
        at_ms: u64,
    ) -> Result<DeskTrade, StoreError> {
        let mut tx = self.db.begin().await?;
        let known = numbered(&mut tx, number).await?;
        if !known.is_open() {
            return match known.amount_out {
                Some(_) => Ok(known),
                None => Err(StoreError::Invalid(format!("trade {number} was refused before"))),
            };
        }
        let sql = "SELECT dust_attousd, dust_wei FROM desk_trades WHERE dust_wei IS NOT NULL \
                   ORDER BY number DESC LIMIT 1";
        let (dust_attousd, dust_wei) = match tx.one(sql, args![]).await? {
            Some(row) => (row.int(0)?, row.int(1)?),
            None => (0, 0),
        };
        let (usd, joule) = change(known.plan.side, moved)?;
        let (usd, dust_attousd) = settle(usd, dust_attousd)?;
        let (joule, dust_wei) = settle(joule, dust_wei)?;
        let mut entry = Entry::default();
        entry.usd(LedgerAccount::Purse, NanoUsd(usd))?;
        entry.usd(LedgerAccount::Market, -NanoUsd(usd))?;
        entry.joule(LedgerAccount::Purse, NanoJoule(joule))?;
        entry.joule(LedgerAccount::Market, -NanoJoule(joule))?;
        let id = format!("trade:{number}");
        entry.post_at(&mut tx, &id, "trade", Some(known.plan.price), at_ms).await?;
        let received = match known.plan.side {
            TradeSide::Buy => moved.joule_wei,
            TradeSide::Sell => moved.usd_units,
        };
        tx.run(
            "UPDATE desk_trades SET open = 0, ended_at_ms = $2, amount_out = $3, \
             purse_nanousd = $4, purse_nanojoule = $5, dust_attousd = $6, dust_wei = $7, txn = $8 \
             WHERE number = $1",
            args![
                number,
                at_ms,
                received.to_string(),
                usd,
                joule,
                dust_attousd,
                dust_wei,
                transaction
            ],
        )
        .await?;
        let finished = numbered(&mut tx, number).await?;
        tx.commit().await?;
        Ok(finished)
    }

    /// Records that a trade had no effect and never will. One that ended before stays as it is.
    ///
    /// # Errors
    /// Where there is none or the database fails.
    pub async fn refuse_trade(
        &self,
        number: u64,
        reason: &str,
        at_ms: u64,
    ) -> Result<DeskTrade, StoreError> {
        let mut tx = self.db.begin().await?;
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        tx.run(
            "UPDATE desk_trades SET open = 0, ended_at_ms = $2, reason = $3 \
             WHERE number = $1 AND open = 1",
            args![number, at_ms, reason],
        )
        .await?;
        let known = numbered(&mut tx, number).await?;
        tx.commit().await?;
        Ok(known)
    }

    /// The newest trades, newest first; at most [`TRADES_MAX`].
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn trades(&self, limit: u32) -> Result<Vec<DeskTrade>, StoreError> {
        let sql = concat!(trade_columns!(), " ORDER BY number DESC LIMIT $1");
        let rows = self.db.all(sql, args![limit.min(TRADES_MAX)]).await?;
        rows.iter().map(read).collect()
    }

    /// What was traded, or is being traded, within the last day.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn traded_today(&self, at_ms: u64) -> Result<NanoUsd, StoreError> {
        let row = self.db.one(SPENT, args![at_ms.saturating_sub(DAY_MS)]).await?;
        row.map_or(Ok(NanoUsd::ZERO), |row| Ok(NanoUsd(row.int(0)?)))
    }

    /// The desk's accounts.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn desk_books(&self) -> Result<DeskBooks, StoreError> {
        let sql = "SELECT account, currency, balance FROM ledger_balances \
                   WHERE account IN ('utility:desk', 'utility:purse', 'protocol:fee')";
        let mut books = DeskBooks::default();
        let usd = |sum: &mut NanoUsd, more: i64| sum.0 = sum.0.saturating_add(more);
        for row in &self.db.all(sql, args![]).await? {
            let balance = row.int(2)?;
            match (row.text(0)?.as_str(), row.text(1)?.as_str()) {
                // The contract takes the protocol's fee out of the desk's JOULE.
                ("utility:desk" | "protocol:fee", "USD") => usd(&mut books.taken_nanousd, balance),
                ("utility:purse", "USD") => usd(&mut books.purse_nanousd, balance),
                ("utility:desk", "JOULE") => books.given_nanojoule = NanoJoule(balance),
                ("utility:purse", "JOULE") => books.purse_nanojoule = NanoJoule(balance),
                _ => {}
            }
        }
        Ok(books)
    }
}

const SPENT: &str = "SELECT COALESCE(CAST(SUM(worth_nanousd) AS BIGINT), 0) FROM desk_trades \
                     WHERE planned_at_ms > $1 AND reason IS NULL";

async fn spent(tx: &mut Tx, at_ms: u64) -> Result<NanoUsd, StoreError> {
    let row = tx.one(SPENT, args![at_ms.saturating_sub(DAY_MS)]).await?;
    row.map_or(Ok(NanoUsd::ZERO), |row| Ok(NanoUsd(row.int(0)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dust_is_floored_once(
            trades in prop::collection::vec((any::<bool>(), any::<u64>(), any::<u64>()), 1..40),
        ) {
            let (mut usd, mut joule, mut dust_usd, mut dust_joule) = (0_i128, 0_i128, 0, 0);
            let (mut exact_usd, mut exact_joule) = (0_i128, 0_i128);
            for (buy, usd_units, joule_wei) in trades {
                let side = if buy { TradeSide::Buy } else { TradeSide::Sell };
                let (usd_units, joule_wei) = (usd_units.into(), joule_wei.into());
                let moved = TradeMoved { usd_units, joule_wei, unit_attousd: 1 };
                let (more_usd, more_joule) = change(side, &moved).unwrap();
                exact_usd += more_usd;
                exact_joule += more_joule;
                let posted = settle(more_usd, dust_usd).unwrap();
                usd += i128::from(posted.0);
                dust_usd = posted.1;
                let posted = settle(more_joule, dust_joule).unwrap();
                joule += i128::from(posted.0);
                dust_joule = posted.1;
                prop_assert!((0..NANO).contains(&dust_usd) && (0..NANO).contains(&dust_joule));
                prop_assert_eq!(usd * i128::from(NANO) + i128::from(dust_usd), exact_usd);
                prop_assert_eq!(joule * i128::from(NANO) + i128::from(dust_joule), exact_joule);
            }
        }
    }

    #[test]
    fn a_conversion_at_one_price_is_worth_nothing_and_a_move_is_worth_its_share() {
        let cent = JoulePrice::new(10_000_000).unwrap();
        // $1 taken, 100 JOULE given, bought back for $1.
        let mut books = DeskBooks {
            taken_nanousd: NanoUsd(NANO),
            given_nanojoule: NanoJoule(-100 * NANO),
            ..DeskBooks::default()
        };
        assert_eq!(books.result_nanousd(cent), NanoUsd::ZERO);
        let dear = JoulePrice::new(12_000_000).unwrap();
        assert_eq!(books.result_nanousd(dear), NanoUsd(-NANO / 5));
        books.purse_nanojoule = NanoJoule(100 * NANO);
        books.purse_nanousd = NanoUsd(-NANO);
        assert_eq!(books.result_nanousd(dear), NanoUsd::ZERO);
        assert_eq!(books.position_nanojoule(), NanoJoule::ZERO);
    }

    #[test]
    fn absurd_amounts_are_refused() {
        let moved = TradeMoved { usd_units: u128::MAX, joule_wei: 1, unit_attousd: 1 };
        assert!(matches!(change(TradeSide::Buy, &moved), Err(StoreError::Overflow)));
        let moved = TradeMoved { usd_units: u128::MAX / 4, joule_wei: 1, unit_attousd: u64::MAX };
        assert!(matches!(change(TradeSide::Sell, &moved), Err(StoreError::Overflow)));
        assert!(matches!(settle(i128::MAX, 5), Err(StoreError::Overflow)));
    }
}
