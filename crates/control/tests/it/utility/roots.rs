//! What is signed against what everybody earned.

use super::*;

/// Waits until the newest root is over exactly what everybody earned so far, with a proof for each.
/// Says how many they are.
async fn all_signed(utility: &Utility) -> usize {
    let deadline = Instant::now() + LONG;
    loop {
        let mut earnings = utility.store.earnings_all(1).await.unwrap();
        earnings.retain(|earning| !earning.cumulative_nanojoule.to_wei().is_zero());
        let amounts = earnings.iter().map(|earning| earning.cumulative_nanojoule.to_wei());
        let total = amounts.fold(U256::ZERO, |sum, wei| sum + wei);
        let newest = utility.store.newest_root(1).await.unwrap();
        let mut proven = 0;
        for earning in &earnings {
            let payment = utility.control.supplier(earning.supplier).await.unwrap().payment;
            let newest = newest.as_ref().map(|(signed, _)| signed);
            let Some(payment) = payment.filter(|payment| Some(&payment.signed) == newest) else {
                continue;
            };
            assert!(payment.verify(31337, ESCROW));
            // Amounts only grow: those of a root with the same total are the same.
            if payment.signed.root.total == total {
                assert_eq!(payment.cumulative_wei, earning.cumulative_nanojoule.to_wei());
                proven += 1;
            }
        }
        if proven == earnings.len() && proven > 0 {
            return proven;
        }
        assert!(Instant::now() < deadline, "never signed: {earnings:?}, {newest:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a job of its own to its end.
async fn job(utility: &Utility, name: &str) {
    utility.deploy(&format!("name = \"{name}\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n")).await;
    utility.until(name, "completed", |app| app.state == AppState::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kept_tree_is_over_what_everybody_earned() {
    let mut utility = Utility::start().await;
    let completes =
        || JobScript::Completes { after: Duration::from_millis(150), outputs: Vec::new() };
    let agents = utility.suppliers(2).await;
    for agent in &agents {
        agent.behave(|agent| {
            agent.job = completes();
            agent.answers_in = Duration::from_millis(20);
        });
    }
    // By the tick, and by an attempt's end between two ticks.
    let app = utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
    utility.get(app.id).await.unwrap();
    utility.control.stop(utility.account, "web").await.unwrap();
    job(&utility, "one").await;
    let before = all_signed(&utility).await;
    // By somebody new, while the tree is kept.
    for agent in &agents {
        agent.kill();
    }
    let later = utility.supplier("later", Tier::Crowd).await;
    later.behave(|agent| agent.job = completes());
    job(&utility, "two").await;
    assert_eq!(all_signed(&utility).await, before + 1);
    // And from the store alone.
    utility.restart().await;
    assert_eq!(all_signed(&utility).await, before + 1);
    utility.exact().await;
}
