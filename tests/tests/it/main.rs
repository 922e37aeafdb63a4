//! End-to-end tests: real processes, sockets, database, chain and browser.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod anvil;
mod browser;
mod crash;
mod customer;
mod demo;
mod examples;
mod hostile;
mod leases;
mod protocol;
mod results;
mod story;

use std::path::PathBuf;

use kinesis_tests::grid::{Grid, GridConfig, SupplierConfig};

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder cargo builds into: this test's binary lies in its `debug/deps`.
fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().to_owned()
}

/// The binary under test.
fn kinesis() -> PathBuf {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("kinesis");
    assert!(path.is_file(), "{} is missing: run `cargo xtask test`", path.display());
    path
}

/// A built example's folder.
fn example(name: &str) -> PathBuf {
    let path = target().join("examples").join(name);
    let why = "is missing: run `cargo xtask examples`";
    assert!(path.join("kinesis.toml").is_file(), "{} {why}", path.display());
    path
}

/// A folder for one test, removed after it.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("kinesis-test-").tempdir().unwrap()
}

/// A grid on free ports and the embedded chain.
async fn grid(folder: &tempfile::TempDir) -> Grid {
    Grid::start(GridConfig::new(kinesis(), folder.path().to_owned())).await.unwrap()
}

/// One supplier of each name, tiers taking turns.
async fn suppliers<const N: usize>(grid: &Grid) -> [kinesis_tests::grid::Supplier; N] {
    let mut all = Vec::new();
    for i in 0..N {
        let tier = if i % 2 == 0 { "crowd" } else { "datacenter" };
        all.push(grid.supplier(&SupplierConfig::new(&format!("node-{i}"), tier)).await.unwrap());
    }
    all.try_into().unwrap()
}
