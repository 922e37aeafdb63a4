//! The shell's side of the price: asks the market, keeps what is believed, uses it from the next tick.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kinesis_protocol::JoulePrice;
use kinesis_store::Store;
use tracing::{error, info, warn};

use super::{CHAIN_TIMEOUT, Control, clock::Clock};
use crate::{
    ControlConfig, ControlError,
    api::{PriceSource, PriceView},
    market::Market,
    price::{Believed, PriceBook, not_ahead},
    settle::Settle,
};

/// How long the market may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a start waits for the market where an earlier run knew a price.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// A price that does not change is written at most so often.
const SAVE_EVERY_MS: u64 = 30_000;

/// Asks the market once. Says what is to be believed, or why nothing is.
async fn ask(market: &dyn Market, book: &PriceBook, clock: Clock) -> Result<Believed, String> {
    let reading = match tokio::time::timeout(ASK_TIMEOUT, market.price()).await {
        Ok(Ok(reading)) => reading,
        Ok(Err(problem)) => return Err(with_cause(&problem)),
        Err(_) => return Err("the market did not answer in time".to_owned()),
    };
    book.check(reading, clock.now_ms()).map_err(|refused| refused.to_string())
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The price that a utility starts with: the fixed one, the market's, or, where that does not answer,
/// the one that was settled by last. None is invented.
pub(super) async fn open_book(
    config: &ControlConfig,
    store: &Store,
    settle: &dyn Settle,
    clock: Clock,
) -> Result<(PriceBook, JoulePrice), ControlError> {
    config.desk.validate().map_err(ControlError::Invalid)?;
    let series = settle.payer().series;
    let last = store.last_price(series).await?.map(|kept| not_ahead(kept, clock.now_ms()));
    let mut book = PriceBook::new(config.price, config.joule_price, last);
    if let Some(market) = settle.market() {
        let patience = if book.in_use().is_some() { FIRST_LOOK } else { CHAIN_TIMEOUT };
        let deadline = Instant::now() + patience;
        loop {
            match ask(market.as_ref(), &book, clock).await {
                Ok(believed) => {
                    store.save_price(series, &believed).await?;
                    book.believe(believed);
                    break;
                }
                Err(why) if Instant::now() >= deadline => {
                    warn!(why, "the market says no price that is believed");
                    book.missed(why);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }
    book.turn();
    match book.in_use() {
        Some(price) if settle.market().is_some() || book.is_fixed() => Ok((book, price)),
        _ => Err(ControlError::Unavailable(format!(
            "nobody says what a JOULE costs{}: name a market with --exchange, or a price with \
             --joule-price",
            book.problem().map(|why| format!(" ({why})")).unwrap_or_default()
        ))),
    }
}

impl Control {
    /// What one JOULE costs: the price of everything that is posted until the next tick.
    #[must_use]
    pub fn price(&self) -> JoulePrice {
        *self.price.lock()
    }

    /// A tick begins, and with it the price that was believed last.
    pub(super) fn turn_price(&self) {
        let turned = {
            let mut prices = self.prices.lock();
            prices.turn().then(|| prices.in_use()).flatten()
        };
        if let Some(price) = turned {
            *self.price.lock() = price;
        }
    }

    /// Refuses what would be new work at a price that nobody has confirmed for long.
    pub(super) fn check_price(&self) -> Result<(), ControlError> {
        let prices = self.prices.lock();
        let now_ms = self.clock.now_ms();
        if !prices.is_stale(now_ms) {
            return Ok(());
        }
        let minutes = prices.age_ms(now_ms).unwrap_or_default() / 60_000;
        Err(ControlError::Unavailable(format!(
            "the market has not said what a JOULE costs for {minutes} min: what runs goes on, and \
             nothing new is taken; try again once it does"
        )))
    }

    pub(super) fn view_price(&self) -> PriceView {
        let prices = self.prices.lock();
        let now_ms = self.clock.now_ms();
        PriceView {
            price_nanousd: self.price(),
            source: if prices.is_fixed() { PriceSource::Fixed } else { PriceSource::Market },
            age_ms: prices.age_ms(now_ms),
            stale: prices.is_stale(now_ms),
            problem: prices.problem().map(str::to_owned),
        }
    }

    /// Has the market note its price. In a task of its own: a transaction that is not mined keeps
    /// nobody from reading.
    pub(super) async fn keep_poking(self: Arc<Self>, market: Arc<dyn Market>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.price.every) => {}
                () = self.stopping.cancelled() => return,
            }
            let poked = tokio::select! {
                poked = market.poke() => poked,
                () = self.stopping.cancelled() => return,
            };
            if let Err(problem) = poked {
                warn!(error = ?problem, "the market could not be told to note its price");
            }
        }
    }

    /// Follows the market's price.
    pub(super) async fn keep_price(self: Arc<Self>, market: Arc<dyn Market>) {
        let mut saved = self.prices.lock().market();
        let (mut said, mut too_old): (Option<String>, bool) = (None, false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.price.every) => {}
                () = self.stopping.cancelled() => return,
            }
            let book = self.prices.lock().clone();
            let asked = tokio::select! {
                asked = ask(market.as_ref(), &book, self.clock) => asked,
                () = self.stopping.cancelled() => return,
            };
            match asked {
                Ok(believed) => {
                    let due = saved.is_none_or(|saved| {
                        saved.price != believed.price
                            || saved.since_ms != believed.since_ms
                            || believed.at_ms.saturating_sub(saved.at_ms) >= SAVE_EVERY_MS
                    });
                    // A price is in the store before it is used.
                    if due {
                        let series = self.payer.series;
                        if let Err(problem) = self.store.save_price(series, &believed).await {
                            warn!(error = ?problem, "a price could not be kept: it is not used");
                            continue;
                        }
                        saved = Some(believed);
                    }
                    self.prices.lock().believe(believed);
                    too_old = false;
                    if said.take().is_some() {
                        info!(nanousd = believed.price.nanousd(), "the market's price is back");
                    }
                }
                Err(why) => {
                    if said.as_ref() != Some(&why) {
                        warn!(why, "the price of a JOULE stays as it is");
                    }
                    let is_stale = {
                        let mut prices = self.prices.lock();
                        prices.missed(&why);
                        prices.is_stale(self.clock.now_ms())
                    };
                    if is_stale && !too_old {
                        error!("the price of a JOULE is too old: nothing new is taken");
                    }
                    (said, too_old) = (Some(why), is_stale);
                }
            }
        }
    }
}
