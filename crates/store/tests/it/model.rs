//! Random histories, compared with plain arithmetic: whatever the order of reports, ticks, endings
//! and completions, what is posted in the end is what the largest counters cost.

use kinesis_protocol::{Counters, Ending, NanoJoule, NanoUsd};
use kinesis_store::{AttemptEnd, AttemptEnded, Lease, Store, Then};
use proptest::prelude::*;

use crate::fixture::*;

#[derive(Debug, Clone)]
enum Step {
    /// A report reaches the store, in or out of order.
    Report { lease: usize, counters: Counters },
    /// A tick with a report for one lease.
    Tick { lease: usize, counters: Counters },
    /// A lease ends.
    End { lease: usize, counters: Counters },
    /// The job's attempt completes, once more.
    Complete { counters: Counters },
}

fn counters() -> impl Strategy<Value = Counters> {
    (0..50_000_u64, 0..50_000_u64, 0..1_000_u64).prop_map(|(wall_ms, cpu_ms, requests)| Counters {
        wall_ms,
        cpu_ms,
        requests,
        ..Counters::default()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, counters()).prop_map(|(lease, counters)| Step::Report { lease, counters }),
        4 => (0..3_usize, counters()).prop_map(|(lease, counters)| Step::Tick { lease, counters }),
        1 => (0..3_usize, counters()).prop_map(|(lease, counters)| Step::End { lease, counters }),
        1 => counters().prop_map(|counters| Step::Complete { counters }),
    ]
}

async fn run(steps: Vec<Step>) {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let customer = account(&store).await;
    let service = deploy(&store, customer, "web", 0).await.app;
    let job = deploy(&store, customer, "job", 1).await;
    let mut leases: Vec<Lease> = Vec::new();
    for n in 0..3_u8 {
        leases.push(lease(&store, &service, u32::from(n), 1 + n % 2).await);
    }
    let attempt = lease(&store, &job.app, 0, 1).await;
    store.start_part(job.version.id, attempt.spec.key.replica, attempt.id()).await.unwrap();

    let mut largest = [Counters::default(); 3];
    let mut billed: Option<Counters> = None;
    for step in steps {
        match step {
            Step::Report { lease, counters } => {
                largest[lease] = largest[lease].max(&counters);
                store.record_counters(&[(leases[lease].id(), counters)]).await.unwrap();
            }
            Step::Tick { lease, counters } => {
                largest[lease] = largest[lease].max(&counters);
                tick(&store, &[(leases[lease].id(), counters)]).await;
            }
            Step::End { lease, counters } => {
                largest[lease] = largest[lease].max(&counters);
                let id = leases[lease].id();
                store.end_lease(id, &counters, &Ending::Released, 9).await.unwrap();
            }
            Step::Complete { counters } => {
                let end = AttemptEnd {
                    lease: attempt.id(),
                    counters,
                    ending: completed(),
                    then: Then::Nothing,
                    joule_price: cent(),
                };
                let ended = store.end_attempt(&end, 9).await.unwrap();
                let first = !matches!(ended, AttemptEnded::Already(_));
                assert_eq!(first, billed.is_none());
                billed.get_or_insert(counters);
            }
        }
    }
    tick(&store, &[]).await;

    let cost = |counters: &Counters| {
        let share = prices().cost(counters);
        share + share.share(TERMS.margin_bp) + share.share(TERMS.fee_bp)
    };
    let expected: NanoUsd = largest.iter().chain(&billed).map(cost).sum();
    assert_eq!(store.totals().await.unwrap().customer_nanousd, expected);
    assert_eq!(store.account(customer).await.unwrap().balance_nanousd, -expected);
    let mut earned = NanoJoule::ZERO;
    for n in 1..=2 {
        earned += store.earned(SERIES, supplier(n)).await.unwrap();
    }
    assert_eq!(earned, store.totals().await.unwrap().suppliers_nanojoule);
    assert_exact(&store).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_history_bills_the_largest_counters_once(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
