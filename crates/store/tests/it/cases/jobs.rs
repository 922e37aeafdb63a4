//! Jobs: parts that are queued, tried again, billed once, or not at all.

use kinesis_protocol::{Ending, LeaseId, NanoJoule, NanoUsd, Replica};
use kinesis_store::{AppState, JobCompletion, JobPosted, PartState};

use crate::{Database, fixture::*};

pub(crate) async fn a_part_is_billed_once_and_only_if_it_completed(db: Database) {
    let store = db.open().await;
    let ada = account(&store).await;
    let job = deploy(&store, ada, "frames", 2).await;
    let (app, version) = (job.app, job.version.id);
    assert_eq!(store.open_parts().await.unwrap().len(), 2);
    let part = Replica(1);

    let first = lease(&store, &app, 1, 1).await;
    assert!(store.start_part(version, part, first.id()).await.unwrap());
    assert!(store.start_part(version, part, first.id()).await.unwrap());
    // While it runs, ticks record and do not post.
    assert_eq!(tick(&store, &[(first.id(), worked(8))]).await.leases, []);
    assert_eq!(store.lease(first.id()).await.unwrap().unwrap().counters, worked(8));
    let failed = Ending::NodeFailed { reason: "gone".to_owned() };
    assert!(store.end_lease(first.id(), &worked(8), &failed, 5).await.unwrap());
    assert!(store.requeue_part(version, part, first.id(), "gone", true, 9).await.unwrap());
    assert!(!store.requeue_part(version, part, first.id(), "gone", true, 9).await.unwrap());

    let second = lease(&store, &app, 1, 2).await;
    assert!(store.start_part(version, part, second.id()).await.unwrap());
    assert!(!store.start_part(version, part, first.id()).await.unwrap());
    let completion = |lease: LeaseId, wall| JobCompletion {
        lease,
        counters: worked(wall),
        ending: completed(),
        joule_price: cent(),
    };
    // The first attempt comes back, after all, with a result nobody wants.
    let late = store.post_job_completion(&completion(first.id(), 9), 6).await.unwrap();
    assert_eq!(late, JobPosted::Superseded);
    let billed = store.post_job_completion(&completion(second.id(), 2_320), 7).await.unwrap();
    let JobPosted::Billed(line) = billed else { panic!("{billed:?}") };
    assert_eq!(line.posted.customer_nanousd(), NanoUsd(2_320 * 1_160));
    for wall in [2_320, 5_000] {
        let again = store.post_job_completion(&completion(second.id(), wall), 8).await.unwrap();
        let JobPosted::Already(same) = again else { panic!("{again:?}") };
        assert_eq!(same.posted, line.posted);
    }
    assert_eq!(tick(&store, &[(second.id(), worked(9_000))]).await.leases, []);

    let parts = store.job_parts(version).await.unwrap();
    let states: Vec<_> = parts.iter().map(|p| (p.state, p.attempts)).collect();
    assert_eq!(states, [(PartState::Queued, 0), (PartState::Completed, 2)]);
    assert_eq!(parts[1].lease, Some(second.id()));
    assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(2_320 * 1_160));
    assert_eq!(store.earned(SERIES, supplier(1)).await.unwrap(), NanoJoule(0));

    let mut wrong = completion(second.id(), 1);
    wrong.ending = Ending::Released;
    assert!(store.post_job_completion(&wrong, 9).await.is_err());
    assert!(store.end_part(version, Replica(0), PartState::Completed, "").await.is_err());
    assert!(store.end_part(version, Replica(0), PartState::Failed, "bad").await.unwrap());
    assert!(!store.end_part(version, Replica(0), PartState::Failed, "bad").await.unwrap());
    assert_eq!(store.open_parts().await.unwrap(), []);
    assert_exact(&store).await;
}

pub(crate) async fn a_stopped_job_is_not_billed(db: Database) {
    let store = db.open().await;
    let ada = account(&store).await;
    let job = deploy(&store, ada, "frames", 1).await;
    let attempt = lease(&store, &job.app, 0, 1).await;
    assert!(store.start_part(job.version.id, Replica(0), attempt.id()).await.unwrap());
    store.set_app_state(job.app.id, AppState::Stopped, Some("by its owner"), 5).await.unwrap();
    let part = store.job_parts(job.version.id).await.unwrap().remove(0);
    assert_eq!((part.state, part.reason.as_deref()), (PartState::Cancelled, Some("by its owner")));
    let completion = JobCompletion {
        lease: attempt.id(),
        counters: worked(7),
        ending: completed(),
        joule_price: cent(),
    };
    let late = store.post_job_completion(&completion, 6).await.unwrap();
    assert_eq!(late, JobPosted::Superseded);
    let ended = store.lease(attempt.id()).await.unwrap().unwrap();
    assert_eq!(ended.ending, Some(Ending::Fenced));
    assert!(store.rollback(job.app.id, None, 7).await.is_err());

    // Run again, it is a new version with parts of its own.
    let again = deploy(&store, ada, "frames", 3).await;
    assert_eq!((again.app.id, again.version.number), (job.app.id, 2));
    assert_eq!(store.open_parts().await.unwrap().len(), 3);
    deploy(&store, ada, "frames", 1).await;
    assert_eq!(store.open_parts().await.unwrap().len(), 1);
    assert_eq!(store.spent(job.app.id).await.unwrap(), NanoUsd(0));
    assert_exact(&store).await;
}
