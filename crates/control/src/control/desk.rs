//! The shell's side of the desk: looks at the inventory now and then, and shows it.

use std::sync::Arc;

use kinesis_protocol::{NanoJoule, U256};
use kinesis_store::DeskTrade;
use tracing::warn;

use super::{Control, ledger::owed};
use crate::{
    ControlError,
    api::{DeskView, StockView, TradeView},
    desk::{Desk, Round, Stock},
};

/// How many trades are shown on the grid's page.
const PAGE_TRADES: u32 = 5;
/// How many trades are shown to whoever asks for the desk.
const TRADES: u32 = 50;

/// What the desk had when it looked last.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    stock: Stock,
    held: Option<String>,
    at_ms: u64,
}

impl Control {
    /// Keeps the inventory between its marks.
    pub(super) async fn keep_desk(self: Arc<Self>, mut desk: Desk) {
        let mut said: Option<String> = None;
        loop {
            // A trade that is cut off is found again by the next start.
            let looked = tokio::select! {
                looked = self.look(&mut desk) => looked,
                () = self.stopping.cancelled() => return,
            };
            let looked = match looked {
                Ok(looked) => looked,
                Err(problem) => {
                    warn!(error = ?problem, "the desk looks again in a moment");
                    None
                }
            };
            let held = match looked {
                Some(Round::Held(why)) => Some(why),
                Some(Round::Refused(trade)) => trade.reason,
                Some(Round::Traded(_)) => {
                    // What was bought may be what the escrow waits for.
                    self.fund.notify_one();
                    None
                }
                // After a trade that did not come about it waits a moment: for the same reason.
                Some(Round::Rest) if desk.pauses(self.clock.now_ms()) => said.clone(),
                Some(Round::Rest | Round::Pending(_)) => None,
                None => said.clone(),
            };
            if held.is_some() && held != said {
                warn!(why = held, "the desk does not trade");
            }
            if let Some(seen) = self.seen.lock().as_mut() {
                seen.held.clone_from(&held);
            }
            said = held;
            tokio::select! {
                () = tokio::time::sleep(self.config.desk.every) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Looks once, and trades where that is due; `None` before the escrow is known.
    async fn look(&self, desk: &mut Desk) -> Result<Option<Round>, ControlError> {
        let stock = {
            // A deposit in between would be seen twice, or not at all.
            let _no_deposit = self.depositing.lock().await;
            let cover = self.settle.cover().await?;
            let owed = owed(&cover, *self.owed_total.lock(), self.terms.fee_bp);
            let (usd, wallet) = desk.holdings().await?;
            Stock { usd, wallet, spare: less(cover.available_wei, owed) }
        };
        let now_ms = self.clock.now_ms();
        {
            let mut seen = self.seen.lock();
            let held = seen.take().and_then(|seen| seen.held);
            *seen = Some(Seen { stock, held, at_ms: now_ms });
        }
        let price = {
            let prices = self.prices.lock();
            let last = prices.market().filter(|_| !prices.is_market_stale(now_ms));
            last.map(|last| last.price)
        };
        desk.round(&stock, price, now_ms).await.map(Some)
    }

    /// The price, the inventory and the newest trades.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn desk(&self) -> Result<DeskView, ControlError> {
        self.view_desk(TRADES).await
    }

    /// As [`Self::desk`], for the grid's page.
    pub(super) async fn page_desk(&self) -> Result<DeskView, ControlError> {
        self.view_desk(PAGE_TRADES).await
    }

    async fn view_desk(&self, trades: u32) -> Result<DeskView, ControlError> {
        let (config, now_ms) = (&self.config.desk, self.clock.now_ms());
        let books = self.store.desk_books().await?;
        let day_nanousd = self.store.traded_today(now_ms).await?;
        let seen = self.seen.lock().clone();
        let stock = seen.map(|seen| StockView {
            usd_nanousd: seen.stock.usd,
            wallet_nanojoule: seen.stock.wallet,
            spare_nanojoule: seen.stock.spare,
            low_nanojoule: config.low,
            high_nanojoule: config.high,
            sell_above_nanojoule: config.sell_above,
            day_nanousd,
            day_max_nanousd: config.day_max,
            held: seen.held,
            at_ms: seen.at_ms,
        });
        Ok(DeskView {
            price: self.view_price(),
            stock,
            result_nanousd: books.result_nanousd(self.price()),
            position_nanojoule: books.position_nanojoule(),
            trades: self.store.trades(trades).await?.into_iter().map(view).collect(),
        })
    }
}

/// `a - b` in billionths, floored.
fn less(a: U256, b: U256) -> NanoJoule {
    let nano = |wei: U256| NanoJoule::from_wei(wei).unwrap_or(NanoJoule(i64::MAX)).0;
    match a.checked_sub(b) {
        Some(more) => NanoJoule(nano(more)),
        None => NanoJoule(nano(b - a).saturating_add(1).saturating_neg()),
    }
}

fn view(trade: DeskTrade) -> TradeView {
    let state = match (&trade.amount_out, trade.is_open()) {
        (_, true) => "open",
        (Some(_), false) => "done",
        (None, false) => "refused",
    };
    TradeView {
        number: trade.number,
        side: trade.plan.side.as_str().to_owned(),
        state: state.to_owned(),
        usd_nanousd: trade.purse_nanousd,
        joule_nanojoule: trade.purse_nanojoule,
        price_nanousd: trade.plan.price,
        planned_at_ms: trade.planned_at_ms,
        transaction: trade.transaction.and_then(|hash| hash.parse().ok()),
        reason: trade.reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spare_is_never_rounded_up() {
        let wei = U256::from;
        assert_eq!(less(wei(2_999_999_999_u64), wei(0)), NanoJoule(2));
        assert_eq!(less(wei(0), wei(2_999_999_999_u64)), NanoJoule(-3));
        assert_eq!(less(U256::MAX, wei(0)), NanoJoule(i64::MAX));
        assert_eq!(less(wei(0), U256::MAX), NanoJoule(-i64::MAX));
    }
}
