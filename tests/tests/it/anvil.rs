//! The same story, told by the demo's program, settled on anvil; the grid is kept for a while.

use std::process::Stdio;

use kinesis_tests::grid::eventually;
use tokio::process::Command;

use crate::demo::Demo;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_settles_on_anvil_too() {
    let anvil = crate::root().join("contracts/node_modules/.bin/anvil");
    assert!(anvil.exists(), "{} is missing: run `cargo xtask test`", anvil.display());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _anvil = Command::new(anvil)
        .args(["--port", &port.to_string(), "--chain-id", "31337", "--silent"])
        // Blocks come by themselves, as elsewhere: without them no time passes on the chain.
        .args(["--block-time", "1", "--mixed-mining"])
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
    let json = folder.path().join("out.json");
    let chain = format!("http://127.0.0.1:{port}");
    let args = ["--chain", &chain, "--json", json.to_str().unwrap(), "--rate", "50"];
    let demo = Demo::start(folder.path(), &[&args[..], &["--keep", "--free-ports"]].concat());
    crate::demo::is_kept_until_it_is_stopped(demo).await;
    let report = std::fs::read_to_string(&json).unwrap();
    crate::story::has_every_key(&serde_json::from_str(&report).unwrap());
}
