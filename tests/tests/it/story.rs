//! The demo's whole story, with browsers watching it.

use std::{sync::mpsc, time::Duration};

use anyhow::{Context as _, Result};
use kinesis_tests::{
    demo::{Options, Report, tell},
    grid::PATIENCE,
};
use serde_json::Value;
use tokio::sync::watch;

use crate::browser::Browser;

/// What has been told so far, as far as the browsers have to know it.
#[derive(Debug, Clone, Default)]
struct Heard {
    portal: Option<String>,
    /// The node that serves, and will be killed.
    doomed: Option<String>,
    killed: bool,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let word_after = |mark: &str| {
            let (_, rest) = line.split_once(mark)?;
            rest.split([' ', ',']).next().map(str::to_owned)
        };
        self.portal = self.portal.take().or_else(|| word_after("page and API "));
        self.doomed = self.doomed.take().or_else(|| word_after("   active on "));
        self.killed |= line.contains("got SIGKILL");
    }
}

/// Watches from before the kill until after the takeover, and says who took over.
async fn watch_the_takeover(
    mut heard: watch::Receiver<Heard>,
    ready: mpsc::Sender<()>,
) -> Result<String> {
    let (live, still) = (Browser::start(true).await?, Browser::start(false).await?);
    let before = heard.wait_for(|heard| heard.doomed.is_some()).await?.clone();
    let url = before.portal.context("the page's address was not told")?;
    let doomed = before.doomed.context("nobody serves")?;
    live.open(&url, "guestbook", &doomed).await?;
    still.open(&url, "guestbook", &doomed).await?;
    ready.send(())?;
    heard.wait_for(|heard| heard.killed).await?;
    // Nobody loads the page: what changes on it came by itself.
    let seen = live.sees("guestbook", |shown| shown.active != doomed).await?;
    let after = live.sees("guestbook", |shown| shown.requests > seen.requests).await?;
    assert_eq!(after.status, "live");
    live.is_the_same_page().await?;
    // Without scripts the page comes again every two seconds, and shows the same.
    let same = still.sees("guestbook", |shown| shown.active == after.active).await?;
    assert_eq!(same.status, "still");
    live.close().await;
    still.close().await;
    Ok(after.active)
}

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
    let (heard, hearing) = watch::channel(Heard::default());
    let (ready, is_ready) = mpsc::channel();
    let watching = tokio::spawn(watch_the_takeover(hearing, ready));
    let is_ready = std::sync::Mutex::new(is_ready);
    let say = |line: String| {
        eprintln!("{line}");
        heard.send_modify(|heard| heard.hear(&line));
        if line.starts_with("3. ") {
            // Nobody is killed before the browsers look. Where they cannot, that is said below.
            let wait = || is_ready.lock().unwrap().recv_timeout(PATIENCE).ok();
            tokio::task::block_in_place(wait);
        }
    };
    let told = tell(&options, &say).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(5), watching)
        .await
        .expect("the page never showed the takeover")
        .unwrap()
        .unwrap();
    assert_eq!(seen, told.report.service.took_over_by);
    told.report.check().unwrap();
    whoever_breaks_a_promise_is_found(&told.report);
    has_every_key(&serde_json::to_value(&told.report).unwrap());
    told.grid.stop().await.unwrap();
}

/// Makes a report wrong.
type Break = fn(&mut Report);

/// A report that was right, made wrong in one place at a time: each is found.
fn whoever_breaks_a_promise_is_found(report: &Report) {
    let breaks: [(&str, Break); 9] = [
        ("a request failed", |r| r.service.failed_idempotent = 1),
        ("the books are off by one", |r| r.money.difference = 1),
        ("a line is on no bill", |r| r.money.billed_nanousd -= 1),
        ("nobody earned anything", |r| r.chain.earned_nanojoule = vec![7; 4]),
        ("earnings fell", |r| r.chain.earned_nanojoule = vec![1, 3, 2, 4]),
        ("nothing was redeemed", |r| r.chain.redeemed_while_utility_down = false),
        ("energy was guessed", |r| r.job.parts[1].energy_source = "guessed".into()),
        ("too much was billed", |r| r.job.parts[0].billed_ms += 5),
        ("too little was billed", |r| r.job.parts[1].billed_ms -= 5),
    ];
    for (what, breaks) in breaks {
        let mut report = report.clone();
        breaks(&mut report);
        assert!(report.check().is_err(), "{what}, and nobody noticed");
    }
}

/// What machines read out of `out.json` is there, under the names it was promised under.
pub(crate) fn has_every_key(report: &Value) {
    let number: fn(&Value) -> bool = Value::is_number;
    let text: fn(&Value) -> bool = |value| value.as_str().is_some_and(|text| !text.is_empty());
    let of_service = [
        ("requests", number),
        ("failed_idempotent", number),
        ("longest_gap_ms", number),
        ("took_over_by", text),
    ];
    let of_a_part = [
        ("tier", text),
        ("guest_ms", number),
        ("billed_ms", number),
        ("supplier_nanojoule", number),
        ("energy_mj", number),
        ("energy_source", text),
    ];
    let of_money = [
        ("customer_nanousd", number),
        ("suppliers_nanousd", number),
        ("margin_nanousd", number),
        ("fee_nanousd", number),
        ("difference", number),
    ];
    let of_chain = [
        ("redeemed_nanojoule", number),
        ("redeemed_while_utility_down", Value::is_boolean as fn(&Value) -> bool),
    ];
    let of_savings = [("reference", text), ("reference_nanousd", number), ("percent", number)];
    let parts = report["job"]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2, "{report:#}");
    let mut sections = vec![
        (&report["service"], &of_service[..]),
        (&report["money"], &of_money[..]),
        (&report["chain"], &of_chain[..]),
        (&report["savings"], &of_savings[..]),
    ];
    sections.extend(parts.iter().map(|part| (part, &of_a_part[..])));
    for (section, keys) in sections {
        for (key, is_right) in keys {
            assert!(is_right(&section[*key]), "{key} in {section:#}");
        }
    }
}
