//! The demo's whole story, with a browser watching it.

use std::sync::Mutex;

use kinesis_tests::demo::{Options, tell};

use crate::browser::Browser;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_holds_what_it_promises_and_a_browser_sees_the_takeover() {
    let folder = crate::folder();
    let options = Options {
        kinesis: crate::kinesis(),
        examples: crate::target().join("examples"),
        prices: crate::root().join("docs/prices.toml"),
        data: folder.path().to_owned(),
        chain: None,
        documented_ports: false,
        requests_per_second: 100,
    };
    let browser = Browser::start().await;
    let (killed, mut was_killed) = tokio::sync::watch::channel(None::<String>);
    let portal = Mutex::new(String::new());
    let say = |line: String| {
        eprintln!("{line}");
        if let Some(at) = line.find("page and API ") {
            let url = line[at + "page and API ".len()..].split_whitespace().next().unwrap();
            *portal.lock().unwrap() = url.to_owned();
        }
        if line.contains("got SIGKILL") {
            let name = line.split_whitespace().next().unwrap().to_owned();
            let _ = killed.send(Some(name));
        }
    };
    let watching = async {
        was_killed.wait_for(Option::is_some).await.unwrap();
        let dead = was_killed.borrow().clone().unwrap();
        let url = portal.lock().unwrap().clone();
        browser.sees_the_takeover(&url, &dead).await
    };
    // Where the story breaks off, nobody watches for what will not come.
    let telling = async { tell(&options, &say).await };
    let both = tokio::try_join!(telling, async { Ok(watching.await) });
    let (told, seen) = both.unwrap();
    assert_ne!(seen, "", "the page never showed another node as active");
    assert_eq!(seen, told.report.service.took_over_by);
    told.report.check().unwrap();
    told.grid.stop().await.unwrap();
    browser.close().await;
}
