//! Bills: all that an app came to, a page of lines at a time.

use kinesis_protocol::{Ending, NanoUsd};
use kinesis_store::StoreError;

use crate::{Database, fixture::*};

pub(crate) async fn a_bill_is_the_sum_of_all_leases_however_many_are_shown(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let web = deploy(&store, acme, "web", 0).await.app;
    let other = deploy(&store, acme, "other", 0).await.app;
    let empty = store.bill(web.id, None, 5).await.unwrap();
    assert_eq!((empty.customer_nanousd, empty.leases.len(), empty.more), (NanoUsd(0), 0, false));
    for n in 0..13_u64 {
        let lease = lease(&store, &web, 0, 1).await;
        tick(&store, &[(lease.id(), worked(10 + n))]).await;
        store.end_lease(lease.id(), &worked(12 + n), &Ending::Released, 9).await.unwrap();
    }
    let beside = lease(&store, &other, 0, 2).await;
    tick(&store, &[(beside.id(), worked(1_000))]).await;

    let all = store.leases_of(web.id).await.unwrap();
    let sum = |of: fn(&kinesis_store::Amounts) -> NanoUsd| -> NanoUsd {
        all.iter().map(|lease| of(&lease.posted)).sum()
    };
    let bill = store.bill(web.id, None, 5).await.unwrap();
    assert_eq!(bill.customer_nanousd, sum(|posted| posted.customer_nanousd()));
    assert_eq!(bill.suppliers_nanousd, sum(|posted| posted.supplier_nanousd));
    assert_eq!(bill.margin_nanousd, sum(|posted| posted.margin_nanousd));
    assert_eq!(bill.fee_nanousd, sum(|posted| posted.fee_nanousd));
    assert!(bill.fee_nanousd > NanoUsd(0) && bill.more);
    // Page by page, the same lines.
    let (mut lines, mut page) = (bill.leases.clone(), bill);
    while page.more {
        assert_eq!(page.leases.len(), 5);
        page = store.bill(web.id, Some(lines[0].id()), 5).await.unwrap();
        lines = [page.leases.clone(), lines].concat();
    }
    assert_eq!(lines, all);
    let nobody = store.bill(kinesis_protocol::AppId::random(), None, 5).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
    assert_exact(&store).await;
}
