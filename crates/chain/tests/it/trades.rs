//! Trades with the exchange and a utility's escrow, as their commands make them; and runs of commands,
//! which happen once.

use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, U256};
use kinesis_chain::{
    ChainError, FileJournal, Finality, Joules, Journal as _, Key, MemoryJournal, Protocol,
    SendPolicy, Settlement, Until, deploy, dev,
    protocol::exchange::{Give, TradeBounds, usd_units},
    settlement::{Order, Side},
};
use serde_json::json;

use crate::support::{Chain, anvil_with, embedded, joule, result};

struct World {
    chain: Chain,
    contracts: kinesis_chain::Contracts,
}

impl World {
    async fn new() -> Self {
        let chain = embedded().await;
        let contracts = deploy(&chain.url, &dev::key(0)).await.unwrap();
        let world = Self { chain, contracts };
        // The window of the time-weighted price is filled.
        world.later(20).await;
        world
    }

    fn acts(&self, key: Key) -> Protocol {
        Protocol::new(&self.chain.url, self.contracts, key).unwrap()
    }

    async fn later(&self, seconds: u64) {
        result(&self.chain.url, "evm_increaseTime", json!([seconds])).await;
        result(&self.chain.url, "evm_mine", json!([])).await;
    }
}

fn amount(whole: u64) -> Joules {
    Joules(joule(whole))
}

fn usd(text: &str) -> U256 {
    usd_units(text, 6).unwrap()
}

fn refused(error: ChainError) -> String {
    match error {
        ChainError::Reverted(why) => why,
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_gives_what_it_was_quoted_at_or_nothing_happens() {
    let world = World::new().await;
    let trader = world.acts(dev::key(4));
    let to = Address::repeat_byte(0x44);
    let give = Give::Usd(usd("1000"));
    let poor = trader.trade(give, TradeBounds::default(), to).await.unwrap_err();
    assert!(refused(poor).contains("needs 1000"));
    world.acts(dev::key(0)).make_play_usd(trader.address(), usd("200000")).await.unwrap();

    let quote = trader.quote(give).await.unwrap();
    let trade = trader.trade(give, TradeBounds::default(), to).await.unwrap();
    let Give::Joule(received) = trade.received else { panic!("JOULE was bought") };
    assert_eq!((trade.received, trade.at_attousd), (quote.receive, quote.at_attousd));
    assert_eq!(trader.balance(to).await.unwrap(), received.0);
    assert_eq!(trader.usd_balance(trader.address()).await.unwrap(), usd("199000"));
    assert!(trade.after_attousd > trade.before_attousd, "buying makes it dearer");

    let sold = trader.trade(Give::Joule(amount(100)), TradeBounds::default(), to).await.unwrap();
    let Give::Usd(units) = sold.received else { panic!("USD was bought") };
    assert_eq!(trader.usd_balance(to).await.unwrap(), units);
    assert!(sold.after_attousd < sold.before_attousd, "selling makes it cheaper");

    // A trade that moves the price far is not what anybody means by default.
    let whole = Give::Usd(usd("100000"));
    let far = trader.trade(whole, TradeBounds::default(), to).await.unwrap_err();
    assert!(refused(far).starts_with("ImpactTooHigh"));
    let nothing = trader.trade(Give::Joule(Joules(U256::ONE)), TradeBounds::default(), to).await;
    assert!(nothing.is_err());
    let too_long = TradeBounds { valid_s: 0, ..TradeBounds::default() };
    // A deadline of now is met by a block of now, and by none later.
    let _ = trader.trade(Give::Joule(amount(1)), too_long, to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escrow_leaves_slower_than_it_came() {
    let world = World::new().await;
    let utility = world.acts(dev::key(5));
    let of = utility.address();
    utility.escrow_deposit(of, 3, amount(50)).await.unwrap();
    // Anyone may put JOULE in for a utility.
    world.acts(dev::key(6)).escrow_deposit(of, 3, amount(10)).await.unwrap();
    let account = utility.escrow(of, 3).await.unwrap();
    assert_eq!((account.balance, account.cover, account.thawing), (amount(60), amount(60), None));
    assert_eq!(account.anchored_tick, None);
    utility.escrow_thaw(3, amount(20)).await.unwrap();
    let thawing = utility.escrow(of, 3).await.unwrap();
    assert_eq!((thawing.available, thawing.cover), (amount(40), amount(40)));
    let early = utility.escrow_withdraw(3, of).await.unwrap_err();
    assert!(refused(early).starts_with("StillThawing"));
    world.later(u64::from(thawing.withdrawal_delay_s) + 1).await;
    assert_eq!(utility.escrow_withdraw(3, of).await.unwrap(), amount(20));
    let left = utility.escrow(of, 3).await.unwrap();
    assert_eq!((left.balance, left.withdrawn, left.cover), (amount(40), amount(20), amount(40)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_gone_on_with_gets_what_it_sent() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let key = dev::key(7);
    let operator = key.address();
    // Each time as after a crash: another process, the same folder.
    let run = |name: &str| {
        let journal = Arc::new(FileJournal::open(dir.path()).unwrap());
        world.acts(key.clone()).journalled(journal, name)
    };
    let all = run("first").balance(operator).await.unwrap();
    // All of it: the second time there would be nothing left to bond.
    let first = run("first").bond(operator, Joules(all)).await.unwrap();
    assert_eq!(run("first").bond(operator, Joules(all)).await.unwrap(), first);
    assert_eq!(run("first").stake(operator).await.unwrap().own, Joules(all));
    // Another run is another bond.
    let poor = run("second").bond(operator, amount(1)).await.unwrap_err();
    assert!(refused(poor).starts_with("ERC20InsufficientBalance"));
    // Thawing computes nothing anew: the same moment is told again.
    let thawed_at = run("third").thaw(amount(5)).await.unwrap();
    world.later(3).await;
    assert_eq!(run("third").thaw(amount(5)).await.unwrap(), thawed_at);
    assert_ne!(run("fourth").thaw(amount(5)).await.unwrap(), thawed_at);
    // Twice in one run is twice.
    let twice = run("fifth");
    let one = twice.thaw(amount(6)).await.unwrap();
    world.later(3).await;
    assert_ne!(twice.thaw(amount(6)).await.unwrap(), one);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_named_by_a_word_must_mean_the_same() {
    use kinesis_chain::protocol::governance::{Action, Vote};
    let world = World::new().await;
    let journal = Arc::new(MemoryJournal::default());
    let dao = || world.acts(dev::key(0)).journalled(journal.clone(), "vote");
    let first = world.acts(dev::key(0)).propose(&Action::SetFee(110), None).await.unwrap();
    world.later(2).await;
    dao().vote(first, Vote::For).await.unwrap();
    let second = world.acts(dev::key(0)).propose(&Action::SetFee(120), None).await.unwrap();
    world.later(2).await;
    // The run is gone on with, but "latest" is another by now.
    dao().vote(second, Vote::For).await.unwrap();
    for id in [first, second] {
        let votes = dao().proposal(id).await.unwrap().votes_for;
        assert!(votes.0 > U256::ZERO, "{id} has no vote");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_that_is_gone_on_with_is_not_made_twice() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let key = dev::key(8);
    let run = || {
        let journal = Arc::new(FileJournal::open(dir.path()).unwrap());
        world.acts(key.clone()).journalled(journal, "trade")
    };
    let (give, to) = (Give::Joule(amount(250)), Address::repeat_byte(0x88));
    let first = run().trade(give, TradeBounds::default(), to).await.unwrap();
    world.later(5).await;
    // Deadline and bound are counted from now, and are others than the first time.
    let again = run().trade(give, TradeBounds::default(), to).await.unwrap();
    assert_eq!((again.transaction, again.received), (first.transaction, first.received));
    let Give::Usd(units) = first.received else { panic!("USD was bought") };
    assert_eq!(run().usd_balance(to).await.unwrap(), units);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_is_mined_a_desk_adds_no_transaction() {
    let Some(chain) = anvil_with(&[]).await else { return };
    let contracts = deploy(&chain.url, &dev::key(0)).await.unwrap();
    let at = contracts.protocol().unwrap();
    let acts =
        |key: Key| Settlement::new(&chain.url, contracts.chain_id, contracts.escrow, key).unwrap();
    let journal = Arc::new(MemoryJournal::default());
    let policy = SendPolicy {
        finality: Finality::Confirmations(1),
        wait_max: Duration::from_millis(500),
        ..SendPolicy::default()
    };
    let desk = acts(dev::key(4)).with_journal(journal.clone()).with_policy(policy.clone());
    let own = desk.address();
    acts(dev::key(0)).mint_play(at.usd, own, usd("100")).await.unwrap();
    let tokens = desk.market_tokens(at.exchange).await.unwrap();
    let order = Order {
        side: Side::Buy,
        amount_in: usd("20"),
        min_out: U256::ONE,
        deadline_s: desk.now_s().await.unwrap() + 100_000,
    };
    let open = async || journal.open(contracts.chain_id, own).await.unwrap().len();
    result(&chain.url, "evm_setAutomine", json!([false])).await;
    for _ in 0..3 {
        let poked = desk.poke_market(at.exchange).await;
        assert!(matches!(poked, Err(ChainError::NoReceipt(_))), "{poked:?}");
        assert_eq!(open().await, 1);
    }
    // Nor does the next trade ask again for what one before it asked for.
    for key in ["desk:1", "desk:1", "desk:2"] {
        let traded = desk.trade_once(key, &tokens, &order, Until::Final).await;
        assert!(matches!(traded, Err(ChainError::NoReceipt(_))), "{traded:?}");
        assert_eq!(open().await, 2);
    }
    result(&chain.url, "evm_setAutomine", json!([true])).await;
    result(&chain.url, "evm_mine", json!([])).await;
    let patient = SendPolicy { wait_max: Duration::from_secs(30), ..policy };
    let desk = desk.with_policy(patient);
    assert_eq!(desk.poke_market(at.exchange).await.unwrap(), None, "it was poked by then");
    assert!(desk.poke_market(at.exchange).await.unwrap().is_some());
    let traded = desk.trade_once("desk:2", &tokens, &order, Until::Final).await.unwrap();
    assert_eq!(traded.usd_units, usd("20"));
    // Two pokes, one allowance, one trade.
    let sent = result(&chain.url, "eth_getTransactionCount", json!([own, "latest"])).await;
    assert_eq!(sent, "0x4");
}
