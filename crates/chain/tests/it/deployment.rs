//! Deployments as anybody makes and checks them: planned before, finished after a crash, verified by
//! whoever wants to know.

use std::sync::Arc;

use alloy::primitives::{Address, U256, hex};
use kinesis_chain::{
    ChainError, Contracts, DeployConfig, FileJournal, Key, Settlement, Until,
    contracts::{DevDollar, IUniswapV2Factory, Joule},
    deploy,
    deploy::{Check, Deployment, UniswapConfig, verify},
    dev, intent_key,
    settlement::{MarketPrice, Order, Side},
};
use serde_json::{Value, json};

use crate::support::{anvil, anvil_with, embedded, joule, result};

fn wrong(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| !check.holds).map(|check| check.what.as_str()).collect()
}

/// An account with the chain's coin on an anvil.
async fn rich(url: &str) -> Key {
    let key = Key::random();
    let wei = format!("{:#x}", joule(1_000));
    result(url, "anvil_setBalance", json!([key.address(), wei])).await;
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deployed_is_verified_by_anybody() {
    let chain = embedded().await;
    let key = dev::key(0);
    let config = DeployConfig::development(key.address());
    let planned = Deployment::new(&chain.url, key.clone(), config.clone()).await.unwrap();
    let before = planned.preview().await.unwrap();
    assert!(before.steps.iter().all(|step| !step.done) && before.gas > 10_000_000);
    let contracts = deploy(&chain.url, &key).await.unwrap();
    assert_eq!(contracts, before.contracts);
    let after = planned.preview().await.unwrap();
    assert!(after.steps.iter().all(|step| step.done), "{after:?}");
    assert_eq!((after.gas, after.cost_wei), (0, U256::ZERO));

    let checks = verify(&chain.url, &contracts, Some(&config)).await.unwrap();
    assert_eq!(wrong(&checks), [""; 0], "{checks:?}");
    assert!(checks.len() > 50, "{}", checks.len());
    // Parameters that somebody says otherwise.
    let other = DeployConfig { fee_bp: 77, ..config };
    let checks = verify(&chain.url, &contracts, Some(&other)).await.unwrap();
    assert_eq!(wrong(&checks), ["protocol fee"]);
    // Another contract of the protocol, and one that is none, in the place of one.
    let at = contracts.protocol().unwrap();
    for stranger in [at.pool, Address::repeat_byte(9)] {
        let mut forged = contracts;
        forged.protocol.as_mut().unwrap().registry = stranger;
        let checks = verify(&chain.url, &forged, None).await.unwrap();
        assert!(wrong(&checks).contains(&"code of registry"), "{:?}", wrong(&checks));
    }
    // A timelock to which somebody else may propose, with the same code.
    let forged = Contracts { escrow: contracts.joule, ..contracts };
    assert!(!wrong(&verify(&chain.url, &forged, None).await.unwrap()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_chain_with_money_nothing_is_left_to_chance() {
    let Some(chain) = anvil_with(&["--chain-id", "4242"]).await else { return };
    let key = rich(&chain.url).await;
    // Nothing for anybody whose key everybody knows.
    let by_dev = Deployment::new(&chain.url, dev::key(3), DeployConfig::default()).await;
    assert!(matches!(by_dev, Err(ChainError::DevelopmentKey(_))));
    let mut guarded = DeployConfig::default();
    guarded.governance.guardian = Some(dev::key(4).address());
    let guarded = Deployment::new(&chain.url, key.clone(), guarded).await;
    assert!(matches!(guarded, Err(ChainError::DevelopmentKey(_))));
    let no_usd = Deployment::new(&chain.url, key.clone(), DeployConfig::default()).await;
    assert!(matches!(no_usd, Err(ChainError::NoStablecoin)));
    let nowhere = DeployConfig::parse(&config(Address::repeat_byte(7))).unwrap();
    let nowhere = Deployment::new(&chain.url, key.clone(), nowhere).await.unwrap();
    let said = nowhere.preview().await.unwrap_err();
    assert!(matches!(said, ChainError::NoContract { what: "stablecoin", .. }), "{said}");

    let usd = stablecoin(&chain.url).await;
    let config = DeployConfig::parse(&config(usd)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let deployment = || async {
        let journal = Arc::new(FileJournal::open(dir.path()).unwrap());
        let made = Deployment::new(&chain.url, key.clone(), config.clone()).await.unwrap();
        made.journalled(journal)
    };
    let cost = deployment().await.preview().await.unwrap();
    // Cut off in the middle, as by a crash, and run again.
    let cut = deployment().await;
    let halfway = async {
        let enough = Arc::new(tokio::sync::Notify::new());
        let (count, notify) = (std::sync::atomic::AtomicUsize::new(0), Arc::clone(&enough));
        let says = move |_: &str, _: Address| {
            if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 7 {
                notify.notify_one();
            }
        };
        tokio::select! {
            done = cut.run(&says) => panic!("it was not cut off: {done:?}"),
            () = enough.notified() => {}
        }
    };
    halfway.await;
    let begun = deployment().await.preview().await.unwrap();
    assert!(begun.steps.iter().any(|step| step.done) && begun.gas > 0);
    let contracts = deployment().await.run(&|_, _| {}).await.unwrap();
    let again = deployment().await.run(&|_, _| {}).await.unwrap();
    assert_eq!(again, contracts);
    let checks = verify(&chain.url, &contracts, Some(&config)).await.unwrap();
    assert_eq!(wrong(&checks), [""; 0], "{checks:?}");
    // The estimate was above what it took.
    let left = result(&chain.url, "eth_getBalance", json!([key.address(), "latest"])).await;
    let left: U256 = left.as_str().unwrap().parse().unwrap();
    assert!(joule(1_000) - left <= cost.cost_wei, "{} of {}", joule(1_000) - left, cost.cost_wei);
    // Whom the file names, has; the rest is the treasury's.
    let token = Settlement::new(&chain.url, 4242, contracts.escrow, key.clone()).unwrap();
    let holder = Address::repeat_byte(0x31);
    assert_eq!(token.joule_balance(holder).await.unwrap(), joule(5));
    assert_eq!(token.joule_balance(key.address()).await.unwrap(), U256::ZERO);
}

fn config(usd: Address) -> String {
    let holder = Address::repeat_byte(0x31);
    format!(
        "fee_bp = 80\n[[allocation]]\nto = \"{holder}\"\namount = \"5\"\n[exchange]\nusd = \"{usd}\"\n"
    )
}

/// Creates a contract as an account that anvil holds, and gives its address.
async fn create(url: &str, code: &[u8]) -> Address {
    let data = format!("0x{}", hex::encode(code));
    let sent = json!([{"from": dev::key(9).address(), "data": data, "gas": "0xffffff"}]);
    let hash = result(url, "eth_sendTransaction", sent).await;
    loop {
        let receipt: Value = result(url, "eth_getTransactionReceipt", json!([hash])).await;
        if !receipt.is_null() {
            assert_eq!(receipt["status"], "0x1", "{receipt}");
            return receipt["contractAddress"].as_str().unwrap().parse().unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A stablecoin that the protocol did not make.
async fn stablecoin(url: &str) -> Address {
    let owner = dev::key(9).address().into_word();
    create(url, &[DevDollar::BYTECODE.as_ref(), owner.as_slice()].concat()).await
}

/// What npm installed of Uniswap.
fn uniswap(file: &str) -> Vec<u8> {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../contracts/node_modules/@uniswap")
        .join(file);
    let built: Value = serde_json::from_slice(&std::fs::read(place).unwrap()).unwrap();
    let code = built["bytecode"].as_str().unwrap();
    hex::decode(code.trim_start_matches("0x")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_of_uniswap_stands_in_place_of_the_exchange() {
    let Some(chain) = anvil().await else { return };
    let key = dev::key(0);
    let nobody = Address::ZERO.into_word();
    let code = uniswap("v2-core/build/UniswapV2Factory.json");
    let factory = create(&chain.url, &[code.as_slice(), nobody.as_slice()].concat()).await;
    let code = uniswap("v2-periphery/build/UniswapV2Router02.json");
    let of_factory = factory.into_word();
    let code = [code.as_slice(), of_factory.as_slice(), nobody.as_slice()].concat();
    let router = create(&chain.url, &code).await;

    let mut config = DeployConfig::development(key.address());
    config.exchange.uniswap = Some(UniswapConfig { router, slip_bp: 300 });
    let deployment = Deployment::new(&chain.url, key.clone(), config.clone()).await.unwrap();
    let planned = deployment.preview().await.unwrap();
    assert!(planned.steps.iter().any(|step| step.what.starts_with("pair")), "{planned:?}");
    let contracts = deployment.run(&|_, _| {}).await.unwrap();
    let checks = verify(&chain.url, &contracts, Some(&config)).await.unwrap();
    assert_eq!(wrong(&checks), [""; 0], "{checks:?}");

    // Whoever puts both into the pair gives it a price.
    let at = contracts.protocol().unwrap();
    let client = Settlement::new(&chain.url, contracts.chain_id, contracts.escrow, key).unwrap();
    let call = IUniswapV2Factory::getPairCall { a: at.usd, b: contracts.joule };
    let pair = client.read(factory, &call).await.unwrap();
    let usd = DevDollar::mintCall { to: pair, amount: U256::from(1_000_000_000_u64) };
    client.submit(&intent_key("usd"), at.usd, &usd, Until::Mined).await.unwrap();
    let in_joule = Joule::transferCall { to: pair, value: joule(100_000) };
    client.submit(&intent_key("joule"), contracts.joule, &in_joule, Until::Mined).await.unwrap();
    alloy::sol! {
        function mint(address to) external returns (uint256);
    }
    let minted = mintCall { to: Address::repeat_byte(1) };
    client.submit(&intent_key("pair"), pair, &minted, Until::Mined).await.unwrap();
    let reader = kinesis_chain::Protocol::new(&chain.url, contracts, dev::key(0)).unwrap();
    let market = reader.market().await.unwrap();
    assert_eq!(market.spot_attousd, 10_000_000_000_000_000);
    assert_eq!((market.fee_bp, market.joule.0), (0, U256::ZERO), "it holds nothing itself");

    // A desk trades there as it does on the exchange, once it was told now and then to note its price.
    let tokens = client.market_tokens(at.exchange).await.unwrap();
    assert_eq!((tokens.usd, tokens.poke_s), (at.usd, Some(config.exchange.window_s)));
    let young = client.market_price(at.exchange).await.unwrap();
    assert!(matches!(young, MarketPrice::Young { .. }), "{young:?}");
    let mut price = None;
    for _ in 0..10 {
        result(&chain.url, "evm_increaseTime", json!([6])).await;
        client.poke_market(at.exchange).await.unwrap();
        // Older points know of the time before there was a price.
        if let MarketPrice::Mean(mean) = client.market_price(at.exchange).await.unwrap()
            && mean > U256::from(9_999_999_999_000_000_u64)
        {
            price = Some(mean);
            break;
        }
    }
    assert!(price.is_some_and(|mean| mean <= U256::from(10_000_000_000_000_000_u64)), "{price:?}");
    let own = client.address();
    let usd = DevDollar::mintCall { to: own, amount: U256::from(5_000_000) };
    client.submit(&intent_key("usd"), at.usd, &usd, Until::Mined).await.unwrap();
    let before = client.joule_balance(own).await.unwrap();
    let deadline_s = client.now_s().await.unwrap() + 600;
    let order = Order {
        side: Side::Buy,
        amount_in: U256::from(5_000_000),
        min_out: joule(490),
        deadline_s,
    };
    let trade = async || client.trade_once("desk:1", &tokens, &order, Until::Final).await.unwrap();
    let traded = trade().await;
    assert_eq!(traded.usd_units, order.amount_in);
    assert!(traded.joule_wei > joule(490) && traded.joule_wei < joule(500), "{traded:?}");
    assert_eq!(trade().await, traded, "asked for again it is the same one");
    assert_eq!(client.joule_balance(own).await.unwrap(), before + traded.joule_wei);
}
