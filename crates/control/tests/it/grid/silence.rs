//! Machines that fall silent, by the clock.

use kinesis_protocol::message::HEARTBEAT_MS;

use super::*;

/// The most time from the last frame of a machine to the standby that takes over from it.
const NOTICED_MS: u64 = 1_000;

#[test]
fn silence_is_noticed_within_a_second() {
    let mut grid = grid();
    join(&mut grid, 1, 1, node(1), &[]);
    join(&mut grid, 1, 2, node(2), &[]);
    let app = app("service", "[scale]\nwarm = 1\n");
    grid.set_app(2, app.clone(), Vec::new());
    let mut now = 2;
    while grid.leases().values().filter(|l| matches!(l.phase, Phase::Active | Phase::Warm)).count()
        < 2
    {
        now += 50;
        assert!(now < 5_000, "one serves and one waits: {:?}", grid.leases());
        for (epoch, id) in (1..).zip(all_placed(&grid.drain())) {
            let standby = grid.leases()[&id].standby;
            grid.placed(now, id, Some(Epoch(now * 10 + epoch)));
            grid.granted(now, grid.leases()[&id].node, id);
            let state = if standby { LeaseState::Warm } else { LeaseState::Active };
            hear(&mut grid, now, id, state, Counters::default(), None);
        }
        grid.passed(now);
    }
    let _ = grid.drain();
    let find = |standby: bool| {
        grid.leases().values().find(|lease| lease.standby == standby).expect("both").clone()
    };
    let (serving, waiting) = (find(false), find(true));
    // Both speak a last time together; from then on only the standby does.
    hear(&mut grid, now, serving.spec.lease, LeaseState::Active, Counters::default(), None);
    let wanted = Effect::Send(waiting.node, ToAgent::Activate { lease: waiting.spec.lease });
    let silent_since = now;
    loop {
        hear(&mut grid, now, waiting.spec.lease, LeaseState::Warm, Counters::default(), None);
        grid.passed(now);
        if grid.drain().contains(&wanted) {
            break;
        }
        now += 50;
        assert!(now <= silent_since + NOTICED_MS, "nobody noticed: {:?}", grid.leases());
    }
    let took_ms = now - silent_since;
    assert!(took_ms > HEARTBEAT_MS, "one heartbeat may be late: {took_ms} ms");
    assert_eq!(grid.leases()[&serving.spec.lease].phase, Phase::Lost);
}
