//! What a customer does with the outlet, and what it is told when something is not possible.

use std::path::PathBuf;

use kinesis_tests::grid::{Grid, eventually};

/// A manifest of our own beside a copy of an example's component.
fn manifest(folder: &tempfile::TempDir, example: &str, text: &str) -> PathBuf {
    let name = format!("{example}.wasm");
    let to = folder.path().join(&name);
    std::fs::copy(crate::example(example).join(&name), to).unwrap();
    let path = folder.path().join("kinesis.toml");
    std::fs::write(&path, text).unwrap();
    path
}

async fn answers(grid: &Grid, app: &str) -> bool {
    grid.ask(app, "/").await.is_ok_and(|answer| answer.status().is_success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_why_and_a_quote_says_so_before() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<1>(&grid).await;
    grid.account("1.00").await.unwrap();
    let hello = "name = \"hello\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n";
    let large = manifest(&folder, "hello", &format!("{hello}[resources]\nmem_mib = 400000\n"));
    let quote = grid.try_cli(&["quote".as_ref(), large.as_os_str()]).await.unwrap();
    let said = format!("{}{}", quote.1, quote.2);
    assert!(said.contains("memory"), "{said}");
    let wrong = manifest(&folder, "hello", &format!("{hello}[resources]\nmem_mb = 4\n"));
    let (code, _, err) = grid.try_cli(&["deploy".as_ref(), wrong.as_os_str()]).await.unwrap();
    assert_ne!(code, 0);
    assert!(err.contains("line 5") && err.contains("mem_mib"), "{err}");
    let nobody = grid.ask("nobody", "/").await.unwrap();
    assert_eq!(nobody.status(), 404);
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_scales_to_zero_and_wakes_on_a_request() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    grid.account("1.00").await.unwrap();
    let text = "name = \"hello\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n\
                [scale]\nmin = 0\nmax = 1\nwarm = 0\nidle_ms = 1000\n";
    let path = manifest(&folder, "hello", text);
    grid.cli(&["deploy".as_ref(), path.as_os_str()]).await.unwrap();
    for _ in 0..2 {
        assert!(answers(&grid, "hello").await, "the first request must wake it");
        eventually("no replica", async || {
            let app = grid.app("hello").await?;
            Ok(app["replicas"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .await
        .unwrap();
    }
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_rolls_and_a_rollback_rolls_back() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    grid.account("1.00").await.unwrap();
    let text = |greeting: &str| {
        format!(
            "name = \"book\"\nkind = \"service\"\ncomponent = \"guestbook.wasm\"\n\
             [env]\nTITLE = \"{greeting}\"\n[scale]\nwarm = 0\n"
        )
    };
    let says = async |what: &str| {
        eventually(what, async || {
            let said = grid.ask("book", "/").await?.text().await?;
            Ok(said.contains(what).then_some(()))
        })
        .await
        .unwrap();
    };
    for greeting in ["first light", "second light"] {
        let path = manifest(&folder, "guestbook", &text(greeting));
        grid.cli(&["deploy".as_ref(), path.as_os_str()]).await.unwrap();
        says(greeting).await;
    }
    grid.cli(&["rollback", "book"]).await.unwrap();
    says("first light").await;
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_stops_an_app_before_it_is_exceeded_by_more_than_a_tick() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<1>(&grid).await;
    grid.account("1.00").await.unwrap();
    let text = "name = \"hello\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n\
                [scale]\nwarm = 0\n[budget]\nusd = \"0.000000001\"\n";
    let path = manifest(&folder, "hello", text);
    grid.cli(&["deploy".as_ref(), path.as_os_str()]).await.unwrap();
    eventually("a stop", async || {
        let _ = grid.ask("hello", "/").await?.bytes().await?;
        let app = grid.app("hello").await?;
        let stopped = app["state"] == "stopped" || app["state"] == "over_budget";
        Ok(stopped.then_some(()))
    })
    .await
    .unwrap();
    grid.stop().await.unwrap();
}
