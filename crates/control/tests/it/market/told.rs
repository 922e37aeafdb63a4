//! A utility whose market lies, is away, or comes back.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kinesis_chain::Key;
use kinesis_control::{
    ControlError, Cover, Payer, Redemption, Settle, SettleError,
    api::{ArtifactRef, DeployRequest, PriceSource},
    market::{Holdings, Market, Order, Reading, TradePlace, TradeSide, Traded},
    price::Believed,
};
use kinesis_protocol::{
    Address, ContentHash, JoulePrice, NanoUsd, PaymentRoot, Signature, SignedRoot, U256,
    money::NANO, root::PaymentProof,
};
use kinesis_store::Store;
use parking_lot::Mutex;

use super::{SERIES, quick, start, try_start, until};
use crate::chain::joule;

/// A chain that is a few numbers, with a market that says what it is told to.
#[derive(Debug)]
struct Told {
    key: Key,
    says: Mutex<Option<Reading>>,
}

#[derive(Debug)]
struct ToldMarket(Arc<Told>);

#[derive(Debug)]
struct ToldSettle(Arc<Told>);

#[async_trait]
impl Market for ToldMarket {
    fn place(&self) -> TradePlace {
        let Payer { utility: sender, chain_id, .. } = ToldSettle(Arc::clone(&self.0)).payer();
        TradePlace { chain_id, sender, market: Address::repeat_byte(6) }
    }
    /// No transaction is ever mined: the price is followed all the same.
    async fn poke(&self) -> Result<(), SettleError> {
        std::future::pending().await
    }
    async fn price(&self) -> Result<Reading, SettleError> {
        self.0.says.lock().ok_or(SettleError::Chain("nobody answers".into()))
    }
    async fn unit_attousd(&self) -> Result<u64, SettleError> {
        Ok(1_000_000_000_000)
    }
    async fn now_s(&self) -> Result<u64, SettleError> {
        Ok(1)
    }
    async fn holdings(&self) -> Result<Holdings, SettleError> {
        Ok(Holdings { usd_units: 0, joule_wei: 3_000 * 10_u128.pow(18) })
    }
    async fn quote(&self, _: TradeSide, _: u128) -> Result<u128, SettleError> {
        Ok(0)
    }
    async fn trade(&self, _: &str, _: &Order) -> Result<Traded, SettleError> {
        Err(SettleError::Refused("nobody trades here".into()))
    }
}

#[async_trait]
impl Settle for ToldSettle {
    fn payer(&self) -> Payer {
        let utility = self.0.key.address();
        Payer { utility, series: SERIES, chain_id: 31_337, escrow: Address::repeat_byte(5) }
    }
    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        let hash = root.signing_hash(31_337, Address::repeat_byte(5));
        Ok(SignedRoot { signature: self.0.key.sign_hash(&hash), root })
    }
    async fn fee_bp(&self) -> Result<u32, SettleError> {
        Ok(100)
    }
    async fn cover(&self) -> Result<Cover, SettleError> {
        Ok(Cover { redeemed_wei: U256::ZERO, available_wei: joule(1_000) })
    }
    async fn balance(&self) -> Result<U256, SettleError> {
        Ok(U256::ZERO)
    }
    async fn deposit(&self, _: U256) -> Result<(), SettleError> {
        Ok(())
    }
    fn market(&self) -> Option<Arc<dyn Market>> {
        Some(Arc::new(ToldMarket(Arc::clone(&self.0))))
    }
    async fn redeem_to_payer(
        &self,
        _: &str,
        _: &PaymentProof,
        _: u64,
        _: &Signature,
    ) -> Result<Redemption, SettleError> {
        Err(SettleError::Consent)
    }
}

fn mean(nanousd: u64) -> Option<Reading> {
    Some(Reading::Mean(U256::from(nanousd) * U256::from(NANO)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_lies_or_is_away_changes_nothing_and_in_the_end_no_new_work_is_taken() {
    let told = Arc::new(Told { key: Key::random(), says: Mutex::new(mean(10_000_000)) });
    let store = Store::open("sqlite::memory:").await.unwrap();
    let mut config = quick();
    config.price.stale_after = Duration::from_millis(800);
    let control = start(Arc::new(ToldSettle(Arc::clone(&told))), &store, config.clone()).await;
    let cent = JoulePrice::new(10_000_000).unwrap();
    assert_eq!(control.price(), cent);
    let opened = control.create_account("acme", None).await.unwrap();
    let key = kinesis_store::IdempotencyKey::new("first").unwrap();
    control.deposit(opened.account, NanoUsd(NANO), &key).await.unwrap();
    let request = DeployRequest {
        manifest: "name = \"web\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n".into(),
        artifacts: [("a.wasm".to_owned(), ArtifactRef { hash: ContentHash([7; 32]), bytes: 3 })]
            .into(),
    };
    let deploy = async || control.deploy(opened.account, &request, None).await.unwrap_err();
    // Nobody sent its component: with a price that is what is wrong.
    assert!(!matches!(deploy().await, ControlError::Unavailable(_)));
    for lie in [mean(0), mean(1), Some(Reading::Mean(U256::MAX)), mean(500_000_000), None] {
        *told.says.lock() = lie;
        let desk = until(&control, "said", |desk| desk.price.problem.is_some()).await;
        assert_eq!(desk.price.price_nanousd, cent, "{lie:?}");
        let refused = until(&control, "stale", |desk| desk.price.stale).await;
        assert_eq!(refused.price.price_nanousd, cent, "{lie:?}");
        let refused = deploy().await;
        assert!(matches!(refused, ControlError::Unavailable(_)), "{lie:?}: {refused:?}");
        assert_eq!(control.price(), cent);
        *told.says.lock() = mean(10_000_000);
        until(&control, "back", |desk| !desk.price.stale && desk.price.problem.is_none()).await;
        assert!(!matches!(deploy().await, ControlError::Unavailable(_)));
    }
    control.shutdown().await;

    // Restarted while the market is away it goes on with the price of before.
    *told.says.lock() = None;
    let again = start(Arc::new(ToldSettle(Arc::clone(&told))), &store, config.clone()).await;
    assert_eq!(again.price(), cent);
    again.shutdown().await;
    // A fixed price wins over whatever the market says.
    *told.says.lock() = mean(10_100_000);
    config.joule_price = JoulePrice::new(7);
    let fixed = start(Arc::new(ToldSettle(Arc::clone(&told))), &store, config).await;
    assert_eq!(fixed.price().nanousd(), 7);
    let desk = until(&fixed, "looked at", |desk| desk.stock.is_some()).await;
    assert_eq!((desk.price.source, desk.price.age_ms), (PriceSource::Fixed, None));
    fixed.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_kept_by_a_clock_that_was_ahead_grows_old() {
    let told = Arc::new(Told { key: Key::random(), says: Mutex::new(None) });
    let store = Store::open("sqlite::memory:").await.unwrap();
    let (price, ahead) = (JoulePrice::new(10_000_000).unwrap(), 100_000_000_000_000);
    let kept = Believed { price, at_ms: ahead, low: price, high: price, since_ms: ahead };
    store.save_price(SERIES, &kept).await.unwrap();
    let mut config = quick();
    config.price.stale_after = Duration::from_millis(800);
    let control = start(Arc::new(ToldSettle(told)), &store, config).await;
    assert_eq!(control.price(), price);
    until(&control, "stale", |desk| desk.price.stale).await;
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_market_and_price_nothing_starts() {
    let told = Arc::new(Told { key: Key::random(), says: Mutex::new(None) });
    let store = Store::open("sqlite::memory:").await.unwrap();
    let settle = NoMarket(ToldSettle(told));
    let refused = try_start(Arc::new(settle), &store, quick()).await.unwrap_err();
    assert!(refused.to_string().contains("--joule-price"), "{refused}");
}

#[derive(Debug)]
struct NoMarket(ToldSettle);

#[async_trait]
impl Settle for NoMarket {
    fn payer(&self) -> Payer {
        self.0.payer()
    }
    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        self.0.sign(root).await
    }
    async fn fee_bp(&self) -> Result<u32, SettleError> {
        self.0.fee_bp().await
    }
    async fn cover(&self) -> Result<Cover, SettleError> {
        self.0.cover().await
    }
    async fn balance(&self) -> Result<U256, SettleError> {
        self.0.balance().await
    }
    async fn deposit(&self, wei: U256) -> Result<(), SettleError> {
        self.0.deposit(wei).await
    }
    async fn redeem_to_payer(
        &self,
        key: &str,
        payment: &PaymentProof,
        deadline: u64,
        signature: &Signature,
    ) -> Result<Redemption, SettleError> {
        self.0.redeem_to_payer(key, payment, deadline, signature).await
    }
}
