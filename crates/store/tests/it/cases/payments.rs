//! Payments: roots, withdrawals, and that everything adds up.

use kinesis_protocol::{B256, NanoJoule, NanoUsd, PaymentRoot, Signature, SignedRoot, U256};
use kinesis_store::StoreError;

use crate::{Database, fixture::*};

fn signed(tick: u64, root: u8) -> SignedRoot {
    SignedRoot {
        root: PaymentRoot {
            utility: supplier(9),
            series: SERIES,
            tick,
            root: B256::repeat_byte(root),
            total: U256::from(5),
        },
        signature: Signature::new(U256::from(1), U256::from(2), false),
    }
}

pub(crate) async fn roots_cannot_equivocate(db: Database) {
    let store = db.open().await;
    assert_eq!(store.newest_root(SERIES).await.unwrap(), None);
    let unreserved = store.save_root(&signed(1, 1), 1).await;
    assert!(matches!(unreserved, Err(StoreError::NotReserved { .. })));
    for _ in 0..3 {
        store.reserve_tick(SERIES).await.unwrap();
    }
    store.save_root(&signed(2, 2), 5).await.unwrap();
    store.save_root(&signed(2, 2), 6).await.unwrap();
    let other = store.save_root(&signed(2, 3), 6).await;
    assert!(matches!(other, Err(StoreError::Equivocation { tick: 2, .. })));
    let earlier = store.save_root(&signed(1, 1), 6).await;
    assert!(matches!(earlier, Err(StoreError::Equivocation { tick: 1, .. })));
    assert_eq!(store.newest_root(SERIES).await.unwrap(), Some((signed(2, 2), 5)));
    store.save_root(&signed(3, 4), 7).await.unwrap();
    assert_eq!(store.newest_root(SERIES).await.unwrap(), Some((signed(3, 4), 7)));
}

pub(crate) async fn withdrawals_are_paid_once(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    tick(&store, &[(one.id(), worked(10))]).await;
    let (who, all) = (supplier(1), NanoJoule(1_000_000));

    let more = store.begin_withdrawal(SERIES, who, NanoJoule(all.0 + 1), 5).await;
    assert!(matches!(more, Err(StoreError::Invalid(_))));
    assert!(store.begin_withdrawal(SERIES, supplier(2), all, 5).await.is_err());
    let unbegun = store.finish_withdrawal(SERIES, who, all, all, NanoUsd(1), None, 5).await;
    assert!(matches!(unbegun, Err(StoreError::NotFound { .. })));

    let begun = store.begin_withdrawal(SERIES, who, all, 5).await.unwrap();
    assert_eq!((begun.paid_nanousd, begun.created_at_ms), (None, 5));
    assert_eq!(store.begin_withdrawal(SERIES, who, all, 6).await.unwrap(), begun);
    let paid = NanoUsd(10_000);
    let done =
        store.finish_withdrawal(SERIES, who, all, all, paid, Some("0xabc"), 7).await.unwrap();
    assert_eq!((done.paid_nanousd, done.redeemed_nanojoule), (Some(paid), Some(all)));
    // Finished again, with whatever figures, it stays what it was.
    let again =
        store.finish_withdrawal(SERIES, who, all, NanoJoule(5), NanoUsd(9), None, 8).await.unwrap();
    assert_eq!(again, done);
    assert_eq!(store.begin_withdrawal(SERIES, who, all, 9).await.unwrap(), done);
    assert_eq!(store.withdrawals(SERIES, who).await.unwrap(), [done]);
    // It is no usage: what was earned and what was paid for it stay as they were.
    assert_eq!(store.earned(SERIES, who).await.unwrap(), all);
    assert_eq!(store.totals().await.unwrap().suppliers_nanojoule, all);
    assert_exact(&store).await;
}

pub(crate) async fn totals_add_up_to_the_last_unit(db: Database) {
    let store = db.open().await;
    assert_eq!(store.totals().await.unwrap(), kinesis_store::Totals::default());
    let acme = account(&store).await;
    store.deposit(acme, NanoUsd(777), &key("k"), 2).await.unwrap();
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    for wall in [1, 7, 8, 100, 1_001] {
        tick(&store, &[(one.id(), worked(wall))]).await;
    }
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.customer_nanousd, NanoUsd(1_001 * 1_160));
    assert_eq!(totals.suppliers_nanousd, NanoUsd(1_001_000));
    assert_eq!(totals.margin_nanousd, NanoUsd(150_150));
    assert_eq!(totals.fee_nanousd, NanoUsd(10_010));
    assert_eq!(totals.desk_nanojoule, NanoJoule(1_001 * 101_000));
    assert_eq!(totals.difference_nanousd, NanoUsd(0));
    let left = store.account(acme).await.unwrap().balance_nanousd;
    assert_eq!(left, NanoUsd(777 - 1_001 * 1_160));
    assert_exact(&store).await;
}
