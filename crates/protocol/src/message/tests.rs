//! What one version writes and another reads.

use super::*;
use crate::{lease::*, usage::Counters};
use proptest::prelude::*;

/// A hello and a heartbeat as version 1 wrote them: no `version_min`, no attributes, no
/// `paused`, no `in_flight`, counters without energy.
const HELLO_V1: &str = r#"{"type":"hello","version":1,"info":{"node":"0707070707070707070707070707070707070707070707070707070707070707","name":"den","supplier":"0x0909090909090909090909090909090909090909","tier":"crowd","offered":{"cpu_millis":2000,"mem_mib":1024},"prices":{"wall_ms":5}}}"#;
const HEARTBEAT_V1: &str = r#"{"type":"heartbeat","seq":3,"free":{"cpu_millis":2000,"mem_mib":1024},"leases":[{"lease":"lse_00000000000000000000000000000001","app":"app_00000000000000000000000000000002","replica":0,"epoch":4,"state":"active","counters":{"wall_ms":12,"cpu_ms":3,"requests":1}}]}"#;
/// A welcome as version 1 wrote it: no lifeline.
const WELCOME_V1: &str = r#"{"type":"welcome","version":1,"utility":"0x0909090909090909090909090909090909090909","series":1,"chain_id":31337,"escrow":"0x0808080808080808080808080808080808080808","joule_price":10000000}"#;

#[test]
fn a_newer_utility_reads_an_older_agent() {
    let ToUtility::Hello { version, version_min, info, leases } =
        decode(HELLO_V1.as_bytes()).unwrap()
    else {
        panic!("not a hello")
    };
    assert_eq!((version, version_min, leases.len()), (1, 1, 0));
    assert_eq!(common_version(version, version_min), Some(1));
    assert_eq!(info.validate(), Ok(()));
    let ToUtility::Heartbeat { leases, paused, .. } = decode(HEARTBEAT_V1.as_bytes()).unwrap()
    else {
        panic!("not a heartbeat")
    };
    assert_eq!(paused, None);
    let used = Counters { wall_ms: 12, cpu_ms: 3, requests: 1, ..Counters::default() };
    assert_eq!(leases[0].counters, used);
    assert_eq!(leases[0].key.epoch, Epoch(4));
}

#[test]
fn a_newer_agent_reads_an_older_utility() {
    let ToAgent::Welcome { lifeline, joule_price, .. } = decode(WELCOME_V1.as_bytes()).unwrap()
    else {
        panic!("not a welcome")
    };
    assert_eq!((lifeline, joule_price.nanousd()), (None, 10_000_000));
}

/// A grant of a service and one of a job, as version 1 wrote them: nothing of terms or results.
const GRANT_V1: &str = r#"{"type":"grant","spec":{"lease":"lse_00000000000000000000000000000001","app":"app_00000000000000000000000000000002","replica":1,"epoch":2,"app_name":"hello","standby":true,"workload":{"kind":"service","component":"0101010101010101010101010101010101010101010101010101010101010101","component_bytes":10,"env":{"A":"b"},"files":[{"path":"in","hash":"0202020202020202020202020202020202020202020202020202020202020202","bytes":3}],"network":["example.com:443"],"instance":"kept","concurrency":8,"request_ms_max":1000},"granted":{"cpu_millis":100,"mem_mib":64,"disk_mib":5,"gpus":0,"vram_mib":0},"prices":{"wall_ms":5},"term_ms":60000}}"#;
const JOB_V1: &str = r#"{"type":"grant","spec":{"lease":"lse_00000000000000000000000000000001","app":"app_00000000000000000000000000000002","replica":0,"epoch":1,"app_name":"work","workload":{"kind":"job","component":"0101010101010101010101010101010101010101010101010101010101010101","component_bytes":10,"args":["--n","1"],"wall_ms_max":600000,"seed":42},"granted":{"cpu_millis":100,"mem_mib":64},"prices":{"cpu_ms":5},"term_ms":60000}}"#;
const ACTIVATE_V1: &str = r#"{"type":"activate","lease":"lse_00000000000000000000000000000001"}"#;
const PAYMENT_V1: &str = r#"{"type":"payment","payment":{"signed":{"root":{"utility":"0x0909090909090909090909090909090909090909","series":1,"tick":9,"root":"0x0707070707070707070707070707070707070707070707070707070707070707","total":"0x64"},"signature":{"r":"0x1","s":"0x2","yParity":"0x1","v":"0x1"}},"supplier":"0x0808080808080808080808080808080808080808","cumulative_wei":"0x5","proof":["0x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"]},"joule_price":10000000}"#;
const STREAMS_V1: [&str; 4] = [
    r#"{"type":"http","lease":"lse_00000000000000000000000000000001","epoch":4}"#,
    r#"{"type":"logs","lease":"lse_00000000000000000000000000000001","offset":7}"#,
    r#"{"type":"artifact","hash":"0101010101010101010101010101010101010101010101010101010101010101"}"#,
    r#"{"type":"output","lease":"lse_00000000000000000000000000000001","hash":"0101010101010101010101010101010101010101010101010101010101010101","bytes":3}"#,
];

/// Whether all that `older` says is said by `newer` in the same words: who knows the older reads it.
fn says_all(newer: &serde_json::Value, older: &serde_json::Value) -> bool {
    match (newer, older) {
        (serde_json::Value::Object(newer), serde_json::Value::Object(older)) => {
            older.iter().all(|(key, was)| newer.get(key).is_some_and(|is| says_all(is, was)))
        }
        _ => newer == older,
    }
}

/// Reads what an older version wrote; what this version writes of it, the older one reads.
fn both_ways<T: Serialize + for<'a> Deserialize<'a>>(older: &str) -> T {
    let read: T = decode(older.as_bytes()).unwrap_or_else(|error| panic!("{error}: {older}"));
    let written: serde_json::Value = decode(&encode(&read)).unwrap();
    let older: serde_json::Value = decode(older.as_bytes()).unwrap();
    assert!(says_all(&written, &older), "{written}\n{older}");
    read
}

#[test]
fn work_and_payment_are_read_and_written_as_version_1_did() {
    let ToAgent::Grant { spec } = both_ways(GRANT_V1) else { panic!("not a grant") };
    let Workload::Service(service) = &spec.workload else { panic!("{spec:?}") };
    assert_eq!((service.instance, service.concurrency), (Instance::Kept, 8));
    assert_eq!(service.program.files[0].path, "in");
    assert_eq!((spec.key.epoch, spec.standby, spec.granted.disk_mib), (Epoch(2), true, 5));
    assert_eq!((&spec.sla, &spec.audit), (&None, &None));
    let ToAgent::Grant { spec } = both_ways(JOB_V1) else { panic!("not a grant") };
    let Workload::Job(job) = &spec.workload else { panic!("{spec:?}") };
    assert_eq!((job.seed, job.wall_ms_max, spec.standby), (Some(42), 600_000, false));
    let ToAgent::Activate { lease } = both_ways(ACTIVATE_V1) else { panic!("no activation") };
    assert_eq!(lease, spec.lease);
    let ToAgent::Payment { payment, .. } = both_ways(PAYMENT_V1) else { panic!("no payment") };
    assert_eq!(payment.signed.root.total, U256::from(100));
    assert_eq!((payment.signed.root.tick, payment.cumulative_wei), (9, U256::from(5)));
    assert_eq!(payment.proof.0.len(), 1);
    let streams = STREAMS_V1.map(both_ways::<StreamOpen>);
    assert!(matches!(streams[0], StreamOpen::Http { epoch: Epoch(4), .. }));
    assert!(matches!(streams[1], StreamOpen::Logs { offset: 7, .. }));
    assert!(matches!(streams[2], StreamOpen::Artifact { .. }));
    assert!(matches!(streams[3], StreamOpen::Output { bytes: 3, .. }));
    for answer in [r#"{"answer":"ready","bytes":7}"#, r#"{"answer":"refused","reason":"no"}"#] {
        both_ways::<StreamAnswer>(answer);
    }
}

/// One word of a newer version costs its own meaning, and not the frame it stands in.
#[test]
fn one_new_word_fails_no_frame() {
    let hello = HELLO_V1.replace("crowd", "orbital");
    let ToUtility::Hello { info, .. } = decode(hello.as_bytes()).unwrap() else {
        panic!("{hello}")
    };
    assert_eq!(info.tier, crate::Tier::Crowd);
    let beat = HEARTBEAT_V1
        .replace("active", "teleporting")
        .replace(r#""wall_ms":12"#, r#""wall_ms":12,"energy_mj":5,"energy_source":"divined""#);
    let ToUtility::Heartbeat { leases, .. } = decode(beat.as_bytes()).unwrap() else {
        panic!("{beat}")
    };
    assert_eq!(leases[0].state, LeaseState::Unknown);
    assert_eq!((leases[0].counters.wall_ms, leases[0].counters.energy_mj), (12, 5));
    assert_eq!(leases[0].counters.energy_source, crate::EnergySource::Estimated);
    let grant = GRANT_V1.replace(r#""kind":"service""#, r#""kind":"spell""#);
    let ToAgent::Grant { spec } = decode(grant.as_bytes()).unwrap() else { panic!("{grant}") };
    assert_eq!(spec.workload, Workload::Unknown);
    assert!(spec.workload.program().files.is_empty());
    // What customers write is read strictly all the same.
    assert!("orbital".parse::<crate::Tier>().is_err());
    assert!(decode::<crate::Tier>(br#""orbital""#).is_err());
}

#[test]
fn what_nobody_signs_is_written_as_before_results_were() {
    let before = r#"{"ending":"completed","outputs":[],"fuel":5}"#;
    let ending: Ending = decode(before.as_bytes()).unwrap();
    let Ending::Completed { signed: None, fuel: Some(5), .. } = &ending else {
        panic!("{ending:?}")
    };
    assert_eq!(encode(&ending), before.as_bytes());
    assert!(!String::from_utf8(encode(&grant())).unwrap().contains("audit"));
}

#[test]
fn a_grant_without_terms_is_answered_as_before() {
    let before = r#"{"type":"granted","lease":"lse_00000000000000000000000000000001"}"#;
    let answer: ToUtility = decode(before.as_bytes()).unwrap();
    assert!(matches!(answer, ToUtility::Granted { signature: None, .. }));
    assert_eq!(encode(&answer), before.as_bytes());
    let bare: ToAgent = decode(br#"{"type":"standing"}"#).unwrap();
    assert_eq!(bare, ToAgent::Standing { stake_wei: U256::ZERO, withheld: None });
}

#[test]
fn what_is_newer_still_is_passed_over() {
    let newer = r#"{"type":"teleport","where":"mars"}"#;
    assert_eq!(decode::<ToAgent>(newer.as_bytes()).unwrap(), ToAgent::Unknown);
    assert_eq!(decode::<ToUtility>(newer.as_bytes()).unwrap(), ToUtility::Unknown);
    let wider = r#"{"type":"alive","seq":1,"mood":"good"}"#;
    assert_eq!(decode::<ToAgent>(wider.as_bytes()).unwrap(), ToAgent::Alive { seq: 1 });
    let ending: Ending = decode(br#"{"ending":"abducted","by":"owls"}"#).unwrap();
    assert_eq!(ending, Ending::Unknown);
    assert_eq!(common_version(9, 1), Some(VERSION));
    assert_eq!(common_version(9, 9), None);
}

fn grant() -> ToAgent {
    let spec = LeaseSpec {
        lease: LeaseId::random(),
        key: LeaseKey { app: crate::AppId::random(), replica: crate::Replica(1), epoch: Epoch(2) },
        app_name: "hello".into(),
        standby: true,
        workload: Workload::Service(ServiceWorkload {
            program: Program {
                component: ContentHash([1; 32]),
                component_bytes: 10,
                env: [("A".to_owned(), "b".to_owned())].into(),
                files: vec![],
                network: vec![],
            },
            instance: Instance::Kept,
            concurrency: 8,
            request_ms_max: 1000,
        }),
        granted: Resources { cpu_millis: 100, ..Resources::default() },
        prices: crate::Prices::default(),
        term_ms: 60_000,
        audit: None,
        sla: None,
    };
    ToAgent::Grant { spec }
}

#[test]
fn a_grant_round_trips() {
    let grant = grant();
    assert_eq!(decode::<ToAgent>(&encode(&grant)).unwrap(), grant);
}

proptest! {
    #[test]
    fn nonsense_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<ToUtility>(&bytes);
        let _ = decode::<ToAgent>(&bytes);
        let _ = decode::<StreamOpen>(&bytes);
        let _ = decode::<StreamAnswer>(&bytes);
    }

    #[test]
    fn a_damaged_hello_never_panics(at in 0..HELLO_V1.len(), byte in any::<u8>()) {
        let mut bytes = HELLO_V1.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = decode::<ToUtility>(&bytes);
    }
}
