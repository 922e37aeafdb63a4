//! A heartbeat's counters on their way to the bill: never less than before, never more than time,
//! grant and ingress allow.
#![no_main]

use kinesis_control::meter::{Bounds, Observed, accept};
use kinesis_protocol::{
    Counters, Resources,
    message::{ToUtility, decode},
    usage::Traffic,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(ToUtility::Heartbeat { leases, .. }) = decode(bytes) else { return };
    let granted = Resources { cpu_millis: 1_500, mem_mib: 64, ..Resources::default() };
    let traffic = Traffic { rx_bytes: 10_000, tx_bytes: 20_000, requests: 30 };
    let observed = Observed { traffic, busy_ms: 5_000 };
    let mut believed = Counters::default();
    for report in leases {
        let bounds = Bounds {
            granted: &granted,
            held_ms: 10_000,
            wall_ms_max: None,
            observed: Some(observed),
        };
        let Ok(next) = accept(&believed, &report.counters, &bounds) else { continue };
        assert!(next.covers(&believed));
        assert!(
            next.wall_ms <= 5_200 && next.requests <= 30 && next.tx_bytes <= 20_000,
            "{next:?}"
        );
        believed = next;
    }
});
