//! The house keeps its direction: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every crate of ours, and the crates of ours it may use. A dependency that is not here is a
/// decision, and belongs into ARCHITECTURE.md first.
const MAY: [(&str, &[&str]); 10] = [
    ("protocol", &[]),
    ("wire", &["protocol"]),
    ("store", &["protocol"]),
    ("chain", &["protocol"]),
    ("runtime", &["protocol"]),
    ("agent", &["protocol", "wire", "chain", "runtime"]),
    ("control", &["protocol", "wire", "store", "chain"]),
    ("ingress", &["protocol", "wire", "control"]),
    ("portal", &["protocol", "wire", "store", "chain", "control"]),
    (
        "kinesis",
        &["protocol", "wire", "store", "chain", "runtime", "agent", "control", "ingress", "portal"],
    ),
];

#[test]
fn nothing_depends_upwards() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let may: BTreeMap<_, BTreeSet<_>> =
        MAY.iter().map(|(name, may)| (*name, may.iter().copied().collect())).collect();
    let mut seen = 0;
    for package in metadata.packages {
        let name = package.name.as_str();
        let name = name.strip_prefix("kinesis-").unwrap_or(name);
        let Some(may) = may.get(name) else {
            assert!(matches!(name, "tests" | "xtask"), "{name} has no place in the house");
            continue;
        };
        seen += 1;
        for dependency in package.dependencies {
            // Tests of a crate may use what stands above it.
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            if let Some(ours) = dependency.name.strip_prefix("kinesis-") {
                assert!(may.contains(ours), "{name} must not depend on {ours}");
            }
        }
    }
    assert_eq!(seen, MAY.len(), "a crate of the house is missing");
}
