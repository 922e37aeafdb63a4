//! Trust runs out, payments restore it, forged ones do not.

use kinesis_agent::wallet::stored;
use kinesis_protocol::{Counters, LeaseState, NanoJoule, NanoUsd, message::ToAgent};

use crate::utility::{grid_with, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpaid_work_stops_grants_until_it_is_paid() {
    let grid = grid_with(|config| config.exposure_max = NanoUsd(1_000)).await;
    let data = grid.house.config.data_dir.clone();
    let supplier = grid.agent.supplier();
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session
        .report(spec.lease, "it is active", |report| report.state == LeaseState::Active)
        .await;
    // 1,500 ms at 1 nano-USD each.
    let used = Counters { wall_ms: 1_500, ..Counters::default() };
    assert_eq!(spec.prices.cost(&used), NanoUsd(1_500));
    *grid.sandboxes.guest(spec.lease).counters.lock() = used;
    let beat = grid.session.beat("it stops taking leases", |beat| beat.paused.is_some()).await;
    assert!(beat.paused.unwrap().contains("not paid"));
    let other = grid.house.service(1, 1);
    assert!(grid.session.refused(&other).await.contains("not paid"));
    // What runs goes on, and a forged payment changes nothing.
    grid.session.echo(&spec).await;
    let ToAgent::Payment { mut payment, joule_price } = grid.utility.pays(supplier, 1, 1_500)
    else {
        panic!()
    };
    payment.signed.root.tick = 2;
    grid.session.send(ToAgent::Payment { payment, joule_price });
    let alerted = async {
        while grid.agent.status().accounts[0].alert.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    soon("the owner is alerted", alerted).await;
    assert_eq!(stored::stored(&data).unwrap(), []);
    grid.session.send(grid.utility.pays(supplier, 3, 1_400));
    grid.session.beat("it takes leases again", |beat| beat.paused.is_none()).await;
    grid.session.grant(&other).await;
    let kept = stored::stored(&data).unwrap();
    assert_eq!(kept[0].cumulative_nanojoule(), NanoJoule(1_400));
    let account = &grid.agent.status().accounts[0];
    assert_eq!(account.earned_nanojoule, NanoJoule(1_500));
    assert_eq!(account.exposure_nanousd, NanoUsd(100));
    // Sums and payments outlive the process.
    grid.agent.abort().await;
    drop(grid.session);
    let agent = grid.house.start(&grid.sandboxes).await;
    let account = &agent.status().accounts[0];
    assert_eq!(account.earned_nanojoule, NanoJoule(1_500));
    assert_eq!((account.paid_nanojoule, account.tick), (NanoJoule(1_400), 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_earns_only_when_it_completes() {
    let grid = grid_with(|_| {}).await;
    let used = Counters { wall_ms: 1_500, ..Counters::default() };
    for (exit, earned) in [
        (kinesis_runtime::Exit::Failed { reason: "exit code 1".into() }, 0),
        (kinesis_runtime::Exit::Completed { outputs: vec![], fuel: None }, 1_500),
    ] {
        let mut spec = grid.house.job();
        spec.key.epoch = kinesis_protocol::Epoch(u64::from(earned > 0) + 1);
        grid.session.grant(&spec).await;
        grid.session
            .report(spec.lease, "it runs", |report| report.state == LeaseState::Active)
            .await;
        *grid.sandboxes.guest(spec.lease).counters.lock() = used;
        grid.session.report(spec.lease, "it is counted", |report| report.counters == used).await;
        assert_eq!(grid.agent.status().accounts[0].earned_nanojoule, NanoJoule(0));
        grid.sandboxes.guest(spec.lease).exit(exit);
        grid.session.report(spec.lease, "it has ended", |report| report.ending.is_some()).await;
        assert_eq!(grid.agent.status().accounts[0].earned_nanojoule, NanoJoule(earned));
    }
}
