//! What most cases start from: an account, an app, leases with plain prices.

use std::collections::BTreeMap;

use kinesis_protocol::{
    AccountId, Address, AttoUsd, ContentHash, Counters, Ending, JoulePrice, LeaseId, LeaseSpec,
    NodeId, Prices, Replica, Resources, Tier, Workload,
    lease::{Instance, JobWorkload, LeaseKey, Program, ServiceWorkload},
};
use kinesis_store::{
    App, AppKind, Deployed, Idempotency, IdempotencyKey, Lease, NewLease, NewVersion, Store, Terms,
    TickPosted, TickPosting,
};

pub(crate) const SERIES: u64 = 7;
pub(crate) const TERMS: Terms = Terms { margin_bp: 1_500, fee_bp: 100 };

/// A millisecond of work costs 1,000 nano-USD: figures that can be checked by hand.
pub(crate) fn prices() -> Prices {
    Prices { wall_ms: AttoUsd(1_000_000_000_000), ..Prices::default() }
}

/// One cent for a JOULE.
pub(crate) fn cent() -> JoulePrice {
    JoulePrice::new(10_000_000).unwrap()
}

pub(crate) fn worked(wall_ms: u64) -> Counters {
    Counters { wall_ms, ..Counters::default() }
}

pub(crate) fn completed() -> Ending {
    Ending::Completed { outputs: vec![], fuel: Some(9), signed: None }
}

pub(crate) fn supplier(n: u8) -> Address {
    Address::repeat_byte(n)
}

pub(crate) fn key(s: &str) -> IdempotencyKey {
    IdempotencyKey::new(s).unwrap()
}

pub(crate) fn idempotency(name: &str, request: &str) -> Idempotency {
    Idempotency { key: key(name), fingerprint: ContentHash::of(request.as_bytes()) }
}

pub(crate) async fn account(store: &Store) -> AccountId {
    store.create_account("acme", None, 1).await.unwrap().0.account
}

pub(crate) fn new_version(account: AccountId, name: &str, parts: u32) -> NewVersion {
    NewVersion {
        account,
        name: name.to_owned(),
        kind: if parts == 0 { AppKind::Service } else { AppKind::Job },
        manifest: format!("name = \"{name}\""),
        artifacts: BTreeMap::new(),
        parts,
        hosts: vec![],
    }
}

/// A service, or a job of so many parts.
pub(crate) async fn deploy(store: &Store, account: AccountId, name: &str, parts: u32) -> Deployed {
    store.deploy(&new_version(account, name, parts), None, 2).await.unwrap()
}

pub(crate) async fn new_lease(store: &Store, app: &App, replica: u32, who: u8) -> NewLease {
    let replica = Replica(replica);
    let epoch = store.next_epoch(app.id, replica).await.unwrap();
    let program = Program {
        component: ContentHash([1; 32]),
        component_bytes: 3,
        env: BTreeMap::new(),
        files: vec![],
        network: vec![],
    };
    let workload = match app.kind {
        AppKind::Service => Workload::Service(ServiceWorkload {
            program,
            instance: Instance::Fresh,
            concurrency: 8,
            request_ms_max: 1_000,
        }),
        AppKind::Job => {
            Workload::Job(JobWorkload { program, args: vec![], wall_ms_max: 9_000, seed: None })
        }
    };
    NewLease {
        spec: LeaseSpec {
            lease: LeaseId::random(),
            key: LeaseKey { app: app.id, replica, epoch },
            app_name: app.name.clone(),
            standby: false,
            workload,
            granted: Resources { cpu_millis: 500, mem_mib: 64, ..Resources::default() },
            prices: prices(),
            term_ms: 60_000,
            sla: None,
            audit: None,
        },
        version: app.version,
        series: SERIES,
        node: NodeId([who; 32]),
        node_name: format!("node-{who}"),
        supplier: supplier(who),
        tier: Tier::Crowd,
        terms: TERMS,
    }
}

/// A recorded lease of this app on the node of supplier `who`.
pub(crate) async fn lease(store: &Store, app: &App, replica: u32, who: u8) -> Lease {
    let new = new_lease(store, app, replica, who).await;
    store.insert_lease(&new, 3).await.unwrap()
}

/// Reserves and posts a tick.
pub(crate) async fn tick(store: &Store, leases: &[(LeaseId, Counters)]) -> TickPosted {
    let tick = store.reserve_tick(SERIES).await.unwrap();
    let posting =
        TickPosting { series: SERIES, tick, joule_price: cent(), leases: leases.to_vec() };
    store.post_tick(&posting, 4).await.unwrap()
}

/// The ledger is exact: the audit finds nothing, and both differences are zero.
pub(crate) async fn assert_exact(store: &Store) {
    let audit = store.audit().await.unwrap();
    assert_eq!(audit.findings, Vec::<String>::new());
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.difference_nanousd.0, totals.difference_nanojoule.0), (0, 0));
}
