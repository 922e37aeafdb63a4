//! Starts that are slow: another is asked as well, and whoever is ready first stays.

use super::*;

#[test]
fn a_node_that_is_slow_to_start_holds_nobody_up() {
    let mut grid = grid();
    join(&mut grid, 1, 1, cheap(1, 1), &[]);
    join(&mut grid, 1, 2, cheap(2, 200), &[]);
    // A third has shown nothing yet, and is cheap.
    let shop = AppSpec { id: AppId::from_bytes([8; 16]), ..service("") };
    let early =
        AppSpec { id: AppId::from_bytes([7; 16]), ..service("[preferences]\nregion = \"eu\"\n") };
    let mut known = cheap(2, 200);
    known.region = "eu".into();
    join(&mut grid, 2, 3, known, &[]);
    grid.set_app(3, early, Vec::new());
    let proof = placed(grid.drain()).expect("a place");
    grid.placed(4, proof, Some(Epoch(1)));
    hear(&mut grid, 5, proof, LeaseState::Active, Counters::default(), None);
    join(&mut grid, 6, 4, cheap(4, 10), &[]);

    grid.set_app(7, shop.clone(), Vec::new());
    let slow = placed(grid.drain()).expect("a place");
    assert_eq!(grid.leases()[&slow].node, node(1).node);
    grid.placed(8, slow, Some(Epoch(1)));
    grid.granted(9, node(1).node, slow);
    // Some seconds later another is asked, one that has proven itself.
    let effects = pass(&mut grid, 50, 10_000);
    let second = all_placed(&effects);
    assert_eq!(second.len(), 1, "one beside it, not many");
    assert_eq!(grid.leases()[&second[0]].node, node(2).node);
    grid.placed(10_010, second[0], Some(Epoch(2)));
    hear(&mut grid, 10_020, second[0], LeaseState::Active, Counters::default(), None);
    assert_eq!(grid.state(shop.id), AppState::Running);
    let released = ToAgent::Release { lease: slow, notice_ms: 0 };
    assert!(grid.drain().contains(&Effect::Send(node(1).node, released)), "the slow one is let go");
}

#[test]
fn a_node_that_never_gets_ready_is_given_up_sooner_and_chosen_last_for_longer() {
    let mut grid = grid();
    join(&mut grid, 1, 1, cheap(1, 1), &[]);
    grid.set_app(2, service(""), Vec::new());
    let lease = placed(grid.drain()).expect("a place");
    grid.placed(3, lease, Some(Epoch(1)));
    grid.granted(4, node(1).node, lease);
    let effects = pass(&mut grid, 50, 30_000);
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Ended(over) if over.lease == lease)),
        "three minutes are not waited for so small a thing"
    );
    let late = grid.nodes()[&node(1).node].late_until_ms;
    assert!(late > 60_000, "{late}");
    // A dearer one is better now, for other apps as well.
    join(&mut grid, 30_100, 2, cheap(2, 100_000), &[]);
    let other = AppSpec { id: AppId::from_bytes([8; 16]), ..service("") };
    let quote = grid.snapshot(30_200, ACME).quote(&other);
    assert_eq!(quote.placements[0].node, Some(node(2).node));
    // And once it is long ago, the cheap one again.
    let quote = grid.snapshot(late + 1, ACME).quote(&other);
    assert_eq!(quote.placements[0].node, Some(node(1).node));
}

/// A job of one part, whose first node grants it and is slow, with a second attempt beside that.
fn a_slow_part() -> (Grid, AppSpec, LeaseId, LeaseId) {
    let mut grid = grid();
    join(&mut grid, 1, 1, cheap(1, 1), &[]);
    join(&mut grid, 1, 2, cheap(2, 200), &[]);
    let job = app("job", "[job]\nretries = 1\n");
    grid.set_app(2, job.clone(), vec![PartSlot::queued()]);
    let slow = placed(grid.drain()).expect("a place");
    grid.placed(3, slow, Some(Epoch(1)));
    grid.granted(4, node(1).node, slow);
    let second = all_placed(&pass(&mut grid, 50, 10_000));
    assert_eq!(second.len(), 1, "one beside it, not many");
    let second = second[0];
    assert_ne!(grid.leases()[&second].info.supplier, grid.leases()[&slow].info.supplier);
    assert!(grid.leases()[&second].hedge);
    grid.placed(10_010, second, Some(Epoch(2)));
    grid.granted(10_020, node(2).node, second);
    let _ = grid.drain();
    (grid, job, slow, second)
}

fn works(grid: &mut Grid, now: u64, lease: LeaseId) {
    hear(grid, now, lease, LeaseState::Active, Counters::default(), None);
}

fn completes(grid: &mut Grid, now: u64, lease: LeaseId) -> Option<PartOutcome> {
    hear(grid, now, lease, LeaseState::Ended, Counters::default(), None);
    outcome(grid, lease)
}

fn fails(grid: &mut Grid, now: u64, lease: LeaseId) -> Option<PartOutcome> {
    let held = grid.leases()[&lease].clone();
    let mut report = said(&held, LeaseState::Ended, Counters::default());
    report.ending = Some(Ending::Failed { reason: "exit 1".into() });
    let node = &grid.nodes()[&held.node];
    let (session, free) = (node.session, node.info.offered);
    grid.node_heard(now, held.node, session, now, free, None, &[report], &|_| None);
    outcome(grid, lease)
}

/// What followed from the end of this lease.
fn outcome(grid: &mut Grid, lease: LeaseId) -> Option<PartOutcome> {
    let effects = grid.drain();
    let over = effects.into_iter().find_map(|effect| match effect {
        Effect::Ended(over) if over.lease == lease => Some(over),
        _ => None,
    });
    over.expect("it is over").part
}

fn released(grid: &mut Grid, lease: LeaseId) -> bool {
    grid.drain().into_iter().any(
        |effect| matches!(effect, Effect::Send(_, ToAgent::Release { lease: l, .. }) if l == lease),
    )
}

#[test]
fn a_part_that_is_slow_to_start_is_tried_beside_and_completed_once() {
    // Whichever works first, and whichever completes first after all, once is enough.
    for (first, completed) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (mut grid, job, slow, second) = a_slow_part();
        let two = [slow, second];
        works(&mut grid, 10_100, two[first]);
        assert!(released(&mut grid, two[1 - first]), "who is later is let go");
        let done = completes(&mut grid, 10_200, two[completed]);
        assert_eq!(done, Some(PartOutcome::Completed));
        let late = completes(&mut grid, 10_300, two[1 - completed]);
        assert_eq!(late, None, "it is nobody's any more");
        for lease in two {
            grid.recorded(lease);
        }
        let over = Effect::State(job.id, AppState::Completed, None);
        assert_eq!(grid.drain().into_iter().filter(|effect| *effect == over).count(), 1);
        assert!(grid.apps().is_empty() && grid.leases().is_empty());
    }
}

#[test]
fn of_two_attempts_one_failure_is_not_the_parts() {
    let (mut grid, job, slow, second) = a_slow_part();
    assert_eq!(fails(&mut grid, 10_100, slow), Some(PartOutcome::Other));
    // Both failed: that was one try, and one is left.
    let again = fails(&mut grid, 10_200, second);
    assert!(matches!(again, Some(PartOutcome::Again { counts: true, .. })), "{again:?}");
    assert_eq!(grid.apps()[&job.id].parts[0].attempts, 1);
    for lease in [slow, second] {
        grid.recorded(lease);
    }
    let third = all_placed(&pass(&mut grid, 10_250, 12_000));
    assert_eq!(third.len(), 1, "tried again");
}

#[test]
fn a_second_attempt_that_comes_to_nothing_takes_nothing_with_it() {
    let (mut grid, job, slow, second) = a_slow_part();
    assert_eq!(fails(&mut grid, 10_100, second), Some(PartOutcome::Other));
    grid.recorded(second);
    let third = all_placed(&pass(&mut grid, 10_150, 10_300));
    assert_eq!(third, [], "the only other node has just failed at it");
    assert!(grid.apps()[&job.id].parts[0].phase == PartPhase::Running(slow));
    let (mut grid, job, slow, second) = {
        let mut scene = a_slow_part();
        scene.0.node_lost(10_030, node(2).node, 2, "gone");
        let _ = scene.0.drain();
        scene
    };
    // Its node is lost: the first goes on, and when it works the second is nobody's.
    works(&mut grid, 10_100, slow);
    let _ = pass(&mut grid, 10_150, 20_000);
    let part = &grid.apps()[&job.id].parts[0];
    assert_eq!((&part.phase, part.beside), (&PartPhase::Running(slow), None));
    assert!(grid.leases().get(&second).is_none_or(|lease| lease.phase == Phase::Ended));
    assert_eq!(completes(&mut grid, 20_100, slow), Some(PartOutcome::Completed));
}

#[test]
fn a_standby_that_is_slow_to_start_has_another_beside_it() {
    for first in [0, 1] {
        let mut grid = grid();
        for n in 1..=3 {
            join(&mut grid, 1, u64::from(n), cheap(n, u64::from(n)), &[]);
        }
        let spec = app("service", "[scale]\nwarm = 1\n");
        grid.set_app(2, spec.clone(), Vec::new());
        let serves = placed(grid.drain()).expect("a place");
        grid.placed(3, serves, Some(Epoch(1)));
        works(&mut grid, 4, serves);
        let slow = placed(grid.drain()).expect("a standby");
        grid.placed(5, slow, Some(Epoch(2)));
        let second = all_placed(&pass(&mut grid, 50, 12_000));
        assert_eq!(second.len(), 1, "one beside it, not many");
        let two = [slow, second[0]];
        grid.placed(12_010, two[1], Some(Epoch(3)));
        let suppliers = [serves, two[0], two[1]].map(|l| grid.leases()[&l].info.supplier);
        assert!(suppliers[0] != suppliers[1] && suppliers[1] != suppliers[2]);
        let _ = pass(&mut grid, 12_050, 12_300);
        assert!(two.iter().all(|l| grid.leases()[l].is_live()), "neither is ready yet");
        hear(&mut grid, 12_400, two[first], LeaseState::Warm, Counters::default(), None);
        assert!(released(&mut grid, two[1 - first]), "one standby was wanted");
        assert!(grid.leases()[&two[first]].is_live());
        assert_eq!(all_placed(&pass(&mut grid, 12_450, 13_000)), []);
    }
}
