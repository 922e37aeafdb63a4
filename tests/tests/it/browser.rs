//! Headless Chromium, driven over WebDriver.

use std::{process::Stdio, time::Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use kinesis_tests::grid::PATIENCE;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A browser and its driver.
pub(crate) struct Browser {
    client: Client,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts both.
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is missing: run `cargo xtask test`, which installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // The driver must not block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = crate::folder();
        let options = serde_json::json!({
            "goog:chromeOptions": {
                "binary": "/usr/bin/chromium",
                "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                    "--no-first-run", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync",
                    format!("--user-data-dir={}", profile.path().display()),
                ],
            }
        });
        let client = ClientBuilder::rustls()
            .unwrap()
            .capabilities(options.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser session");
        Self { client, _driver: driver, _profile: profile }
    }

    /// Opens the page and waits until the guestbook's active replica is shown on a node other than
    /// `dead`; returns that node's name.
    pub(crate) async fn sees_the_takeover(&self, url: &str, dead: &str) -> String {
        self.client.goto(url).await.unwrap();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let active = Locator::Css(
                "[data-app='guestbook'] [data-role='active'][data-state='active'] [data-node-name]",
            );
            // The element may be replaced by a live update between finding and reading it.
            let found = async { self.client.find(active).await?.attr("data-node-name").await };
            if let Ok(Some(name)) = found.await
                && name != dead
            {
                return name;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        String::new()
    }

    /// Ends the session.
    pub(crate) async fn close(self) {
        let _ = self.client.close().await;
    }
}
