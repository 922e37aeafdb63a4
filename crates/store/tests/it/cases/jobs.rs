//! Jobs: parts that are queued, tried again, billed for the attempt that ended them, or not at all.

use kinesis_protocol::{Counters, Ending, LeaseId, NanoJoule, NanoUsd, Replica};
use kinesis_store::{AppState, AttemptEnd, AttemptEnded, PartState, Then};

use crate::{Database, fixture::*};

fn end(lease: LeaseId, wall_ms: u64, ending: Ending, then: Then) -> AttemptEnd {
    AttemptEnd { lease, counters: worked(wall_ms), ending, then, joule_price: cent() }
}

fn failed() -> Ending {
    Ending::Failed { reason: "exit code 1".to_owned() }
}

fn lost() -> Ending {
    Ending::NodeFailed { reason: "gone".to_owned() }
}

fn again() -> Then {
    Then::Again { counts: true, not_before_ms: 9 }
}

pub(crate) async fn a_part_is_billed_for_the_attempt_that_ended_it(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let job = deploy(&store, acme, "frames", 2).await;
    let (app, version) = (job.app, job.version.id);
    assert_eq!(store.open_parts().await.unwrap().len(), 2);
    let part = Replica(1);

    let first = lease(&store, &app, 1, 1).await;
    assert!(store.start_part(version, part, first.id()).await.unwrap());
    assert!(store.start_part(version, part, first.id()).await.unwrap());
    // While it runs, ticks record and do not post.
    assert_eq!(tick(&store, &[(first.id(), worked(8))]).await.leases, []);
    assert_eq!(store.lease(first.id()).await.unwrap().unwrap().counters, worked(8));
    // What fails is tried elsewhere, and costs nothing, whatever its supplier says of the guest.
    let tried = store.end_attempt(&end(first.id(), 9, failed(), again()), 5).await.unwrap();
    assert_eq!(tried, AttemptEnded::Free);
    let parts = store.job_parts(version).await.unwrap();
    assert_eq!((parts[1].state, parts[1].attempts), (PartState::Queued, 1));
    assert_eq!(parts[1].reason.as_deref(), Some("failed: exit code 1"));

    let second = lease(&store, &app, 1, 2).await;
    assert!(store.start_part(version, part, second.id()).await.unwrap());
    assert!(!store.start_part(version, part, first.id()).await.unwrap());
    // The first attempt comes back, after all, with a result nobody wants.
    let late = end(first.id(), 9, completed(), Then::Nothing);
    assert_eq!(
        store.end_attempt(&late, 6).await.unwrap(),
        AttemptEnded::Already(Default::default())
    );
    let done = end(second.id(), 2_320, completed(), Then::Nothing);
    let ended = store.end_attempt(&done, 7).await.unwrap();
    let AttemptEnded::Billed(line) = ended else { panic!("{ended:?}") };
    assert_eq!(line.posted.customer_nanousd(), NanoUsd(2_320 * 1_160));
    for wall in [2_320, 5_000] {
        let again = end(second.id(), wall, completed(), Then::Nothing);
        let ended = store.end_attempt(&again, 8).await.unwrap();
        assert_eq!(ended, AttemptEnded::Already(line.posted));
    }
    assert_eq!(tick(&store, &[(second.id(), worked(9_000))]).await.leases, []);

    let parts = store.job_parts(version).await.unwrap();
    let states: Vec<_> = parts.iter().map(|p| (p.state, p.attempts)).collect();
    assert_eq!(states, [(PartState::Queued, 0), (PartState::Completed, 2)]);
    assert_eq!(parts[1].lease, Some(second.id()));
    assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(2_320 * 1_160));
    assert_eq!(store.earned(SERIES, supplier(1)).await.unwrap(), NanoJoule(0));
    // A refusal uses up no try.
    let refused = lease(&store, &app, 0, 3).await;
    assert!(store.start_part(version, Replica(0), refused.id()).await.unwrap());
    let then = Then::Again { counts: false, not_before_ms: 0 };
    store.end_attempt(&end(refused.id(), 0, lost(), then), 9).await.unwrap();
    assert_eq!(store.job_parts(version).await.unwrap()[0].attempts, 0);

    assert!(store.end_part(version, Replica(0), PartState::Completed, "").await.is_err());
    assert!(store.end_part(version, Replica(0), PartState::Failed, "bad").await.unwrap());
    assert!(!store.end_part(version, Replica(0), PartState::Failed, "bad").await.unwrap());
    assert_eq!(store.open_parts().await.unwrap(), []);
    assert_exact(&store).await;
}

pub(crate) async fn a_part_that_failed_for_good_is_billed_once_where_its_guest_failed(
    db: Database,
) {
    let store = db.open().await;
    let acme = account(&store).await;
    let job = deploy(&store, acme, "frames", 2).await;
    let (app, version) = (job.app, job.version.id);
    for (part, ending, cost) in [(0, failed(), 7 * 1_160), (1, lost(), 0)] {
        let before = store.spent(app.id).await.unwrap();
        let first = lease(&store, &app, part, 1).await;
        assert!(store.start_part(version, Replica(part), first.id()).await.unwrap());
        store.end_attempt(&end(first.id(), 5, failed(), again()), 5).await.unwrap();
        let last = lease(&store, &app, part, 2).await;
        assert!(store.start_part(version, Replica(part), last.id()).await.unwrap());
        let over = end(last.id(), 7, ending.clone(), Then::Failed);
        let ended = store.end_attempt(&over, 6).await.unwrap();
        assert_eq!(matches!(ended, AttemptEnded::Billed(_)), cost > 0, "{ended:?}");
        store.end_attempt(&over, 7).await.unwrap();
        assert_eq!(store.spent(app.id).await.unwrap() - before, NanoUsd(cost));
        let now = store.job_parts(version).await.unwrap().remove(part as usize);
        assert_eq!((now.state, now.reason), (PartState::Failed, Some(ending.to_string())));
        assert_eq!(store.lease(last.id()).await.unwrap().unwrap().ending, Some(ending));
    }
    assert_eq!(store.spent_version(version).await.unwrap(), NanoUsd(7 * 1_160));
    assert_exact(&store).await;
}

pub(crate) async fn a_stopped_job_is_billed_for_what_it_used(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let mut spent = 0;
    // Its node's fault costs nothing, its customer's will what was used by then.
    let endings = [
        (Ending::Released, true),
        (failed(), true),
        (completed(), true),
        (lost(), false),
        (Ending::Expired, false),
        (Ending::Fenced, false),
        (Ending::Unknown, false),
    ];
    for (ending, billed) in endings {
        let job = deploy(&store, acme, "frames", 1).await;
        let (app, version) = (job.app, job.version.id);
        let attempt = lease(&store, &app, 0, 1).await;
        assert!(store.start_part(version, Replica(0), attempt.id()).await.unwrap());
        store.set_app_state(app.id, AppState::Stopped, None, 5).await.unwrap();
        let part = store.job_parts(version).await.unwrap().remove(0);
        let reason = part.reason.as_deref();
        assert_eq!((part.state, reason), (PartState::Cancelled, Some("stopped by its owner")));
        let over = end(attempt.id(), 7, ending.clone(), Then::Nothing);
        let ended = store.end_attempt(&over, 6).await.unwrap();
        assert_eq!(matches!(ended, AttemptEnded::Billed(_)), billed, "{ending:?}: {ended:?}");
        spent += if billed { 7 * 1_160 } else { 0 };
        assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(spent));
        let recorded = store.lease(attempt.id()).await.unwrap().unwrap();
        assert_eq!((recorded.ending, recorded.counters), (Some(ending), worked(7)));
        let part = store.job_parts(version).await.unwrap().remove(0);
        assert_eq!(part.state, PartState::Cancelled);
        assert!(store.rollback(app.id, None, 7).await.is_err());
    }
    // A newer version is a customer's will, too.
    let job = deploy(&store, acme, "frames", 1).await;
    let attempt = lease(&store, &job.app, 0, 1).await;
    assert!(store.start_part(job.version.id, Replica(0), attempt.id()).await.unwrap());
    let again = deploy(&store, acme, "frames", 3).await;
    assert_eq!((again.app.id, again.version.number), (job.app.id, 9));
    assert_eq!(store.open_parts().await.unwrap().len(), 3);
    let over = end(attempt.id(), 11, Ending::Released, Then::Nothing);
    let ended = store.end_attempt(&over, 8).await.unwrap();
    assert!(matches!(ended, AttemptEnded::Billed(_)), "{ended:?}");
    deploy(&store, acme, "frames", 1).await;
    assert_eq!(store.open_parts().await.unwrap().len(), 1);
    assert_exact(&store).await;
}

pub(crate) async fn a_superseded_attempt_costs_nothing(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let job = deploy(&store, acme, "frames", 1).await;
    let (app, version) = (job.app, job.version.id);
    let first = lease(&store, &app, 0, 1).await;
    assert!(store.start_part(version, Replica(0), first.id()).await.unwrap());
    assert!(store.requeue_part(version, Replica(0), first.id(), "gone", true, 9).await.unwrap());
    assert!(!store.requeue_part(version, Replica(0), first.id(), "gone", true, 9).await.unwrap());
    let second = lease(&store, &app, 0, 2).await;
    assert!(store.start_part(version, Replica(0), second.id()).await.unwrap());
    let late = end(first.id(), 9, completed(), Then::Nothing);
    assert_eq!(store.end_attempt(&late, 6).await.unwrap(), AttemptEnded::Superseded);
    assert_eq!(store.lease(first.id()).await.unwrap().unwrap().ending, Some(Ending::Fenced));
    // Not a job's.
    let web = deploy(&store, acme, "web", 0).await.app;
    let serves = lease(&store, &web, 0, 1).await;
    let wrong = end(serves.id(), 1, Ending::Released, Then::Nothing);
    assert!(store.end_attempt(&wrong, 9).await.is_err());
    let done = AttemptEnd {
        counters: Counters::default(),
        ..end(second.id(), 0, completed(), Then::Nothing)
    };
    assert_eq!(store.end_attempt(&done, 9).await.unwrap(), AttemptEnded::Free);
    assert_eq!(store.job_parts(version).await.unwrap()[0].state, PartState::Completed);
    assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(0));
    assert_exact(&store).await;
}

pub(crate) async fn of_two_attempts_at_a_part_one_is_billed(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    // In the order in which their ends are recorded: which of the two, how, what follows of it; and
    // which of them is billed in the end, with how many tries used up.
    let (first, second) = (0, 1);
    let other = || Then::Other;
    let nothing = || Then::Nothing;
    let cases = [
        // The first is ready first, and the second is released.
        ([(second, Ending::Released, nothing()), (first, completed(), nothing())], Some(first), 1),
        // The other way round.
        ([(first, Ending::Released, nothing()), (second, completed(), nothing())], Some(second), 1),
        // Both completed before they heard of it: the first that is recorded.
        ([(second, completed(), nothing()), (first, completed(), nothing())], Some(second), 1),
        ([(first, completed(), nothing()), (second, completed(), nothing())], Some(first), 1),
        // One fails, the other goes on.
        ([(first, lost(), other()), (second, completed(), nothing())], Some(second), 1),
        ([(second, failed(), other()), (first, completed(), nothing())], Some(first), 1),
        // Both fail: one try is used up, whichever is recorded first.
        ([(first, failed(), other()), (second, failed(), again())], None, 1),
        ([(second, failed(), again()), (first, failed(), other())], None, 1),
        ([(first, lost(), other()), (second, failed(), Then::Failed)], Some(second), 1),
        // What the grid saw too late counts for nothing, in whatever order that is recorded.
        ([(second, completed(), Then::TooLate), (first, failed(), again())], None, 1),
        ([(first, failed(), again()), (second, completed(), Then::TooLate)], None, 1),
    ];
    for (number, (ends, billed, attempts)) in cases.into_iter().enumerate() {
        let job = deploy(&store, acme, "frames", 1).await;
        let (app, version, part) = (job.app, job.version.id, Replica(0));
        let before = store.spent(app.id).await.unwrap();
        let two = [lease(&store, &app, 0, 1).await, lease(&store, &app, 0, 2).await];
        assert!(store.start_part(version, part, two[0].id()).await.unwrap());
        for _ in 0..2 {
            assert!(store.start_beside(version, part, two[1].id()).await.unwrap());
        }
        let third = lease(&store, &app, 0, 3).await;
        assert!(!store.start_beside(version, part, third.id()).await.unwrap(), "two are enough");
        for (which, ending, then) in ends {
            let over = end(two[which].id(), 7, ending, then);
            store.end_attempt(&over, 6).await.unwrap();
            store.end_attempt(&over, 7).await.unwrap();
        }
        let spent = store.spent(app.id).await.unwrap() - before;
        assert_eq!(spent, NanoUsd(if billed.is_some() { 7 * 1_160 } else { 0 }), "{number}");
        let now = store.job_parts(version).await.unwrap().remove(0);
        assert_eq!((now.attempts, now.beside), (attempts, None), "{number}");
        let Some(billed) = billed else {
            assert_eq!(now.state, PartState::Queued, "{number}");
            continue;
        };
        assert_eq!(now.lease, Some(two[billed].id()), "{number}");
        assert!(matches!(now.state, PartState::Completed | PartState::Failed), "{number}");
        let other = store.lease(two[1 - billed].id()).await.unwrap().unwrap();
        assert!(!matches!(other.ending, None | Some(Ending::Completed { .. })), "{number}");
    }
    // Where the first is over before the second is recorded, that one is all there is.
    let job = deploy(&store, acme, "frames", 1).await;
    let (app, version, part) = (job.app, job.version.id, Replica(0));
    let two = [lease(&store, &app, 0, 1).await, lease(&store, &app, 0, 2).await];
    store.start_part(version, part, two[0].id()).await.unwrap();
    store.end_attempt(&end(two[0].id(), 7, lost(), other()), 6).await.unwrap();
    assert!(store.start_beside(version, part, two[1].id()).await.unwrap());
    let now = store.job_parts(version).await.unwrap().remove(0);
    assert_eq!((now.state, now.lease, now.attempts), (PartState::Running, Some(two[1].id()), 1));
    // Stopped while both work: its customer pays for one.
    let job = deploy(&store, acme, "frames", 1).await;
    let (app, version, part) = (job.app, job.version.id, Replica(0));
    let two = [lease(&store, &app, 0, 1).await, lease(&store, &app, 0, 2).await];
    store.start_part(version, part, two[0].id()).await.unwrap();
    store.start_beside(version, part, two[1].id()).await.unwrap();
    let before = store.spent(app.id).await.unwrap();
    store.set_app_state(app.id, AppState::Stopped, None, 5).await.unwrap();
    for (which, wall_ms) in [(0, 0), (1, 7)] {
        let over = end(two[which].id(), wall_ms, Ending::Released, Then::Nothing);
        store.end_attempt(&over, 6).await.unwrap();
    }
    assert_eq!(store.spent(app.id).await.unwrap() - before, NanoUsd(7 * 1_160));
    assert_exact(&store).await;
}
