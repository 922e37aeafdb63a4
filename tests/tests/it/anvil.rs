//! The same story, settled on anvil.

use std::process::Stdio;

use kinesis_tests::{
    demo::{Options, tell},
    grid::eventually,
};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_settles_on_anvil_too() {
    let anvil = crate::root().join("contracts/node_modules/.bin/anvil");
    assert!(anvil.exists(), "{} is missing: run `cargo xtask test`", anvil.display());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _anvil = Command::new(anvil)
        .args(["--port", &port.to_string(), "--chain-id", "31337", "--silent"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("anvil answers", async || {
        Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop))
    })
    .await
    .unwrap();
    let folder = crate::folder();
    let options = Options {
        kinesis: crate::kinesis(),
        examples: crate::target().join("examples"),
        prices: crate::root().join("docs/prices.toml"),
        data: folder.path().to_owned(),
        chain: Some(format!("http://127.0.0.1:{port}")),
        documented_ports: false,
        requests_per_second: 50,
    };
    let told = tell(&options, &|line| eprintln!("{line}")).await.unwrap();
    told.report.check().unwrap();
    told.grid.stop().await.unwrap();
}
