//! What is read, what is refused, and in which words.

use super::*;
use proptest::prelude::*;

const SERVICE: &str = "name = \"hello\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n";
const JOB: &str = "name = \"render\"\nkind = \"job\"\ncomponent = \"render.wasm\"\n";

fn error(text: &str) -> String {
    Manifest::parse(text).unwrap_err().to_string()
}

#[test]
fn a_path_names_one_place_below() {
    for good in ["a.wasm", "models/weights.bin", "a b/é", "..a", "a/..b"] {
        assert!(relative_path(good), "{good:?}");
    }
    for bad in
        ["", "/a", "a/", "a//b", ".", "a/..", "../a", "a\\b", "a\0", "a\nb", "a\x7f", "\u{85}"]
    {
        assert!(!relative_path(bad), "{bad:?}");
    }
}

#[test]
fn the_documented_manifest_parses() {
    let doc = include_str!("../manifest.rs");
    let toml: String = doc
        .lines()
        .skip_while(|line| !line.contains("```toml"))
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
        .collect();
    let job = toml.find(" [job]").unwrap();
    let after = toml.find(" [preferences]").unwrap();
    let service = format!("{}{}", &toml[..job], &toml[after..]);
    let manifest = Manifest::parse(&service).unwrap();
    assert!(matches!(manifest.kind, Kind::Service(_)));
    assert_eq!(manifest.budget.usd, Some(NanoUsd(5_000_000_000)));
    let Kind::Service(service) = &manifest.kind else { panic!("not a service") };
    let sla = Sla { ack_interval_s: 120, penalty: NanoJoule(25_000_000_000) };
    assert_eq!(service.sla, Some(sla));
    assert!(Manifest::parse(&toml).unwrap_err().message.contains("belongs to a job"));
}

#[test]
fn little_is_needed() {
    let manifest = Manifest::parse(SERVICE).unwrap();
    let Kind::Service(service) = &manifest.kind else { panic!("not a service") };
    assert_eq!((service.min, service.max, service.warm), (1, 1, 1));
    assert_eq!(manifest.resources.mem_mib, 128);
}

#[test]
fn parts_carry_tiers_and_arguments() {
    let text = format!(
        "{JOB}[job]\nargs = [\"a\"]\n[[part]]\ntier = \"crowd\"\n[[part]]\nargs = [\"b\"]\n"
    );
    let Kind::Job(job) = Manifest::parse(&text).unwrap().kind else { panic!("not a job") };
    assert_eq!(job.parts[0], Part { tier: Some(Tier::Crowd), args: vec!["a".into()] });
    assert_eq!(job.parts[1], Part { tier: None, args: vec!["b".into()] });
    let Kind::Job(job) = Manifest::parse(&format!("{JOB}[job]\nparts = 3\n")).unwrap().kind else {
        panic!("not a job")
    };
    assert_eq!(job.parts.len(), 3);
}

#[test]
fn problems_name_line_key_expectation_and_guess() {
    insta::assert_snapshot!(
        [
            format!("{SERVICE}componnent = \"x\"\n"),
            format!("{SERVICE}[resources]\nmem_mb = 12\n"),
            format!("{SERVICE}[resources]\nmem_mib = \"12\"\n"),
            format!("{SERVICE}[resources]\nmem_mib = 4\n"),
            format!("{SERVICE}[scale]\nmin = 3\nmax = 2\n"),
            format!("{SERVICE}[preferences]\ntier = \"crowed\"\n"),
            format!("{SERVICE}[budget]\nusd = 5.0\n"),
            format!("{SERVICE}[sla]\nack_interval = 30\npenalty_joule = \"1\"\n"),
            format!("{SERVICE}[sla]\nack_interval_s = 4\npenalty_joule = \"1\"\n"),
            format!("{SERVICE}[sla]\npenalty_joule = \"0\"\n"),
            format!("{SERVICE}[sla]\nack_interval_s = 30\n"),
            format!("{JOB}[sla]\npenalty_joule = \"1\"\n"),
            format!("{SERVICE}[files]\n\"../x\" = \"y\"\n"),
            format!("{SERVICE}[job]\nparts = 2\n"),
            format!("{JOB}[job]\nparts = 3\n[[part]]\ntier = \"crowd\"\n"),
            "name = \"Hello\"\n".to_owned(),
            "kind = \"service\"\n".to_owned(),
            "name = \n".to_owned(),
            format!("{SERVICE}network = [\"localhost\"]\n"),
            "name = \"x\"\nkind = \"gang\"\n".to_owned(),
        ]
        .map(|text| error(&text))
        .join("\n"),
        @r#"
            line 4: componnent: unknown key, did you mean "component"?
            line 5: resources.mem_mb: unknown key, did you mean "mem_mib"?
            line 5: resources.mem_mib: expected an integer from 16 to 4194304, got "12"
            line 5: resources.mem_mib: expected an integer from 16 to 4194304, got 4
            line 6: scale.max: expected an integer from 3 to 100, got 2
            line 5: preferences.tier: expected "crowd" or "datacenter", got "crowed"
            line 5: budget.usd: expected US dollars in quotes, such as "5.00", got 5.0
            line 5: sla.ack_interval: unknown key, did you mean "ack_interval_s"?
            line 5: sla.ack_interval_s: expected an integer from 5 to 86400, got 4
            line 5: sla.penalty_joule: expected JOULE in quotes, more than none, such as "25.00", got "0"
            line 4: sla.penalty_joule: is missing
            line 4: sla: belongs to a service; this is a job
            line 4: files: "../x" cannot be a key here
            line 4: job: belongs to a job; this is a service
            line 6: part: job.parts says 3, and the number of [[part]] tables is 1
            line 1: name: expected 1 to 40 of a-z, 0-9 and -, a letter first, no - at the end, got "Hello"
            line 1: name: is missing
            line 1: not TOML: string values must be quoted, expected literal string
            line 4: network[0]: expected a host name and a port, such as "api.example.com:443", got "localhost"
            line 2: kind: expected "service" or "job", got "gang"
            "#
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let tables = |n: u32| {
        let part = "[[part]]\nargs = [\"a\"]\n".repeat(n as usize);
        Manifest::parse(&format!("{JOB}{part}"))
    };
    let count = |n: u32| Manifest::parse(&format!("{JOB}[job]\nparts = {n}\n"));
    for parts in [tables(PARTS_MAX), count(PARTS_MAX)] {
        let Kind::Job(job) = parts.unwrap().kind else { panic!("not a job") };
        assert_eq!(job.parts.len(), PARTS_MAX as usize);
    }
    assert!(tables(PARTS_MAX + 1).unwrap_err().to_string().contains("part"));
    assert!(count(PARTS_MAX + 1).unwrap_err().message.contains("1 to 1000"));
    let replicas = |n: u32| Manifest::parse(&format!("{SERVICE}[scale]\nmax = {n}\n"));
    assert!(replicas(REPLICAS_MAX).is_ok());
    assert!(replicas(REPLICAS_MAX + 1).unwrap_err().message.contains("1 to 100"));
    let padded = |bytes: usize| format!("{SERVICE}{}", "#".repeat(bytes - SERVICE.len()));
    assert!(Manifest::parse(&padded(MANIFEST_BYTES_MAX)).is_ok());
    let error = Manifest::parse(&padded(MANIFEST_BYTES_MAX + 1)).unwrap_err();
    assert!(error.message.contains("65536"), "{error}");
}

proptest! {
    #[test]
    fn nonsense_never_panics(text in "(?s).{0,200}") {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn a_damaged_manifest_never_panics(at in 0..SERVICE.len(), s in "[\\[\\]=\"a\n{}.]{0,3}") {
        let mut text = SERVICE.to_owned();
        text.insert_str(at, &s);
        let _ = Manifest::parse(&text);
    }
}
