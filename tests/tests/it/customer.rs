//! What a customer does with the outlet, and what it is told when something is not possible.

use std::path::PathBuf;

use kinesis_tests::grid::{Grid, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
async fn a_budget_that_would_not_last_is_refused_before_anything_runs() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<1>(&grid).await;
    grid.account("1.00").await.unwrap();
    let text = |usd: &str| {
        format!(
            "name = \"hello\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n\
             [scale]\nwarm = 0\n[budget]\nusd = \"{usd}\"\n"
        )
    };
    let small = manifest(&folder, "hello", &text("0.000000001"));
    let (code, said, _) = grid.try_cli(&["quote".as_ref(), small.as_os_str()]).await.unwrap();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("left of its budget does not last"), "{said}");
    let deploy = ["deploy".as_ref(), small.as_os_str(), "--no-wait".as_ref()];
    grid.cli(&deploy).await.unwrap();
    eventually("the reason", async || {
        let app = grid.app("hello").await?;
        let why = app["reason"].as_str().unwrap_or_default();
        Ok(why.contains("left of its budget does not last").then_some(()))
    })
    .await
    .unwrap();
    let enough = manifest(&folder, "hello", &text("0.05"));
    grid.cli(&["deploy".as_ref(), enough.as_os_str()]).await.unwrap();
    assert!(answers(&grid, "hello").await);
    assert!(grid.app("hello").await.unwrap()["spent_nanousd"].as_i64().unwrap() < 50_000_000);
    grid.stop().await.unwrap();
}

/// One request in the words of HTTP/1.1, and all of the answer.
async fn said(grid: &Grid, request: &str) -> String {
    let ingress = grid.endpoints().unwrap().ingress;
    let mut stream =
        tokio::net::TcpStream::connect(ingress.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_answers_at_its_own_host_with_its_trailers() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<1>(&grid).await;
    grid.account("1.00").await.unwrap();
    let text = "name = \"probe\"\nkind = \"service\"\ncomponent = \"probe.wasm\"\n\
                hosts = [\"www.shop.example\"]\n[scale]\nwarm = 0\n";
    let path = manifest(&folder, "probe", text);
    grid.cli(&["deploy".as_ref(), path.as_os_str()]).await.unwrap();
    let ask = |host: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nTrailer: x-sum\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"
        )
    };
    for host in ["www.shop.example", "WWW.Shop.Example:8080", "probe.localhost"] {
        let answer = said(&grid, &ask(host)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(answer.contains("hello\r\n"), "{host}: {answer}");
        // Through client, ingress, agent and guest, and all the way back.
        let (_, last) = answer.rsplit_once("\r\n0\r\n").unwrap();
        assert!(last.to_lowercase().starts_with("x-sum: 7"), "{host}: {answer}");
    }
    let other = said(&grid, &ask("shop.example")).await;
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    grid.stop().await.unwrap();
}
