use super::*;
use crate::{AppId, Epoch, LeaseId, LeaseKey, Prices, Replica, lease::Program, money::AttoUsd};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use proptest::prelude::*;

const AUDITS: Address = Address::repeat_byte(0xa0);
const UTILITY: Address = Address::repeat_byte(0xb0);

fn file(path: &str, n: u8) -> GuestFile {
    GuestFile { path: path.into(), hash: ContentHash([n; 32]), bytes: u64::from(n) }
}

fn spec() -> LeaseSpec {
    LeaseSpec {
        lease: LeaseId::from_bytes([7; 16]),
        key: LeaseKey { app: AppId::from_bytes([1; 16]), replica: Replica(0), epoch: Epoch(1) },
        app_name: "render".into(),
        standby: false,
        workload: Workload::Job(JobWorkload {
            program: Program {
                component: ContentHash([1; 32]),
                component_bytes: 1_000,
                env: [("B".to_owned(), "2".to_owned()), ("A".to_owned(), "1".to_owned())].into(),
                files: vec![file("z", 2), file("a/b", 3)],
                network: vec![],
            },
            args: vec!["--width".into(), "4".into()],
            wall_ms_max: 60_000,
            seed: Some(7),
        }),
        granted: Resources { cpu_millis: 500, mem_mib: 64, ..Resources::default() },
        prices: Prices { wall_ms: AttoUsd(1_000_000_000), ..Prices::default() },
        term_ms: 60_000,
        audit: Some(AuditTerms {
            engine: ENGINE.to_owned(),
            chain_id: 31_337,
            audits: AUDITS,
            joule_price: JoulePrice::new(10_000_000).unwrap(),
        }),
        sla: None,
    }
}

fn job(change: impl FnOnce(&mut JobSpec)) -> B256 {
    let mut job = JobSpec::of(&spec()).unwrap();
    change(&mut job);
    job.hash()
}

/// What the hashes are, for good: a change of any is a change of the protocol. Made with ethers:
/// `TypedDataEncoder.hashStruct` of the types in `docs/protocol/courts.md`.
#[test]
fn the_hashes_are_those_that_were_published() {
    let engine = |job: &mut JobSpec| job.engine = "wasmtime 48.0.8, kinesis 1".into();
    let hashes = [
        job(engine),
        output_hash(&[file("frame", 9), file("a", 1)]),
        output_hash(&[]),
        failed_output_hash(),
        finding(B256::repeat_byte(1), 2),
        commitment(3, UTILITY, B256::repeat_byte(1), B256::repeat_byte(2)),
        lease_hash(LeaseId::from_bytes([7; 16])),
    ];
    insta::assert_debug_snapshot!(hashes);
}

#[test]
fn the_order_of_files_does_not_matter_and_everything_else_does() {
    let same = job(|_| {});
    assert_eq!(job(|job| job.workload.program.files.reverse()), same);
    let changes: [fn(&mut JobSpec); 10] = [
        |job| job.engine.push('!'),
        |job| job.workload.program.component = ContentHash([2; 32]),
        |job| job.workload.args.reverse(),
        |job| job.workload.args[0].push(' '),
        |job| drop(job.workload.program.env.insert("A".into(), "2".into())),
        |job| job.workload.program.files[0].path.push('z'),
        |job| job.workload.program.files[0].hash = ContentHash([9; 32]),
        |job| job.workload.seed = Some(8),
        |job| job.workload.wall_ms_max += 1,
        |job| job.mem_mib += 1,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        assert_ne!(job(change), same, "change {n}");
    }
    let files = [file("b", 1), file("a", 2)];
    assert_eq!(output_hash(&files), output_hash(&[file("a", 2), file("b", 1)]));
    assert_ne!(output_hash(&files), output_hash(&[file("a", 1), file("b", 2)]));
    assert_ne!(output_hash(&[]), failed_output_hash());
}

#[test]
fn the_engine_is_the_one_that_is_built_in() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    let lock: toml::Table = std::fs::read_to_string(lock).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let wasmtime = packages.iter().find(|package| package["name"].as_str() == Some("wasmtime"));
    let version = wasmtime.unwrap()["version"].as_str().unwrap();
    assert!(
        ENGINE.starts_with(&format!("wasmtime {version},")),
        "fuel may be counted differently by wasmtime {version}: name it in ENGINE, not {ENGINE}"
    );
}

#[test]
fn only_what_is_the_same_everywhere_is_signed() {
    let mut spec = spec();
    let of = JobSpec::of;
    assert!(of(&spec).is_some());
    spec.granted.gpus = 1;
    assert!(of(&spec).is_none());
    spec.granted.gpus = 0;
    let Workload::Job(job) = &mut spec.workload else { unreachable!() };
    job.program.network = vec!["example.org:443".into()];
    assert!(of(&spec).is_none());
    let Workload::Job(job) = &mut spec.workload else { unreachable!() };
    (job.program.network, job.seed) = (vec![], None);
    assert!(of(&spec).is_none());
    let unasked = LeaseSpec { audit: None, ..self::spec() };
    assert!(of(&unasked).is_none());
}

/// What a utility knows of a job that took a second, and its supplier's word.
fn signed(signer: &PrivateKeySigner, spec: &LeaseSpec, outputs: &[GuestFile]) -> SignedResult {
    let counters = Counters { wall_ms: 1_000, ..Counters::default() };
    let result = JobResult::of(&done(spec, signer.address(), outputs, &counters)).unwrap();
    let hash = result.signing_hash(31_337, AUDITS);
    SignedResult { result, signature: signer.sign_hash_sync(&hash).unwrap() }
}

fn done<'a>(
    spec: &'a LeaseSpec,
    supplier: Address,
    outputs: &'a [GuestFile],
    counters: &'a Counters,
) -> Completed<'a> {
    Completed {
        spec,
        supplier,
        utility: UTILITY,
        outputs,
        fuel: Some(42),
        counters,
        finished_at_s: 1_000_000,
    }
}

#[test]
fn a_utility_takes_what_it_ordered_and_nothing_else() {
    let (signer, spec) = (PrivateKeySigner::random(), spec());
    let outputs = [file("frame", 9)];
    let counters = Counters { wall_ms: 1_000, ..Counters::default() };
    let good = signed(&signer, &spec, &outputs);
    // A thousand nano-USD are a ten-thousandth of a JOULE at a cent for each.
    assert_eq!(good.result.price.to::<U256>(), U256::from(100_000_000_000_000_u64));
    let known = done(&spec, signer.address(), &outputs, &counters);
    let check = |signed: &SignedResult| signed.check(&known, 999_990, &counters);
    assert_eq!(check(&good), Ok(()));

    let stranger = PrivateKeySigner::random();
    let foreign = signed(&stranger, &spec, &outputs);
    assert_eq!(check(&foreign), Err(ResultError::Other("supplier")));
    let mut forged = foreign;
    forged.result.supplier = signer.address();
    assert_eq!(check(&forged), Err(ResultError::Signature));

    let change = |change: fn(&mut JobResult)| {
        let mut signed = good.clone();
        change(&mut signed.result);
        let hash = signed.result.signing_hash(31_337, AUDITS);
        signed.signature = signer.sign_hash_sync(&hash).unwrap();
        check(&signed).unwrap_err()
    };
    assert_eq!(change(|r| r.utility = AUDITS), ResultError::Other("utility"));
    assert_eq!(change(|r| r.lease = B256::ZERO), ResultError::Other("lease"));
    assert_eq!(change(|r| r.output = B256::ZERO), ResultError::Other("output"));
    assert_eq!(change(|r| r.fuel += 1), ResultError::Other("fuel"));
    assert_eq!(change(|r| r.job = B256::ZERO), ResultError::Job);
    assert_eq!(change(|r| r.finishedAt = 1), ResultError::Time(1));
    assert_eq!(change(|r| r.finishedAt = 2_000_000), ResultError::Time(2_000_000));
    let price = change(|r| r.price = alloy::primitives::Uint::from(1));
    assert_eq!(price, ResultError::Price(U256::ONE));
    // For another court it is another signature.
    let mut elsewhere = good.clone();
    let hash = good.result.signing_hash(1, AUDITS);
    elsewhere.signature = signer.sign_hash_sync(&hash).unwrap();
    assert_eq!(check(&elsewhere), Err(ResultError::Signature));
}

#[test]
fn a_price_lies_between_what_is_believed_and_what_was_reported() {
    let (signer, spec) = (PrivateKeySigner::random(), spec());
    let believed = Counters { wall_ms: 900, ..Counters::default() };
    let reported = Counters { wall_ms: 1_000, ..Counters::default() };
    let good = signed(&signer, &spec, &[]);
    let known = done(&spec, signer.address(), &[], &believed);
    assert_eq!(good.check(&known, 999_990, &reported), Ok(()));
    assert!(matches!(good.check(&known, 999_990, &believed), Err(ResultError::Price(_))));
}

#[test]
fn a_dossier_holds_together_or_is_none() {
    let (signer, spec) = (PrivateKeySigner::random(), spec());
    let outputs = vec![file("frame", 9)];
    let good = Dossier {
        version: Dossier::VERSION,
        chain_id: 31_337,
        audits: AUDITS,
        job: JobSpec::of(&spec).unwrap(),
        signed: signed(&signer, &spec, &outputs),
        outputs,
    };
    assert_eq!(good.check(), Ok(()));
    let json = serde_json::to_string(&good).unwrap();
    assert_eq!(serde_json::from_str::<Dossier>(&json).unwrap(), good);
    let change = |change: fn(&mut Dossier)| {
        let mut dossier = good.clone();
        change(&mut dossier);
        dossier.check().unwrap_err()
    };
    assert_eq!(change(|d| d.version = 2), DossierError::Version(2));
    assert_eq!(change(|d| d.chain_id = 1), DossierError::Signature);
    assert_eq!(change(|d| d.outputs.clear()), DossierError::OtherOutput);
    assert_eq!(change(|d| d.job.mem_mib += 1), DossierError::OtherJob);
    let leads_out = change(|d| d.job.workload.program.files[0].path = "../x".into());
    assert!(matches!(leads_out, DossierError::Job(_)));
    let random = change(|d| d.job.workload.seed = None);
    assert!(matches!(random, DossierError::Job(_)));
}

proptest! {
    #[test]
    fn a_damaged_dossier_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(dossier) = serde_json::from_slice::<Dossier>(&bytes) {
            let _ = dossier.check();
        }
    }
}
