//! Headless Chromium, driven over WebDriver.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use fantoccini::{Client, ClientBuilder, Locator};
use kinesis_tests::grid::eventually;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A browser and its driver.
pub(crate) struct Browser {
    client: Client,
    scripts: bool,
    _driver: Child,
    _profile: tempfile::TempDir,
}

/// What a page shows of an app's active replica, and of itself.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The node that serves.
    pub(crate) active: String,
    /// Requests it has answered.
    pub(crate) requests: u64,
    /// How the page says that it is kept up to date.
    pub(crate) status: String,
}

impl Browser {
    /// Starts both, with scripts or without.
    pub(crate) async fn start(scripts: bool) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver is missing: run `cargo xtask test`, which installs it")?;
        let mut lines = BufReader::new(driver.stdout.take().context("its output")?).lines();
        let port = loop {
            let line = lines.next_line().await?.context("chromedriver ended")?;
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
                "prefs": {
                    "profile.managed_default_content_settings.javascript": if scripts { 1 } else { 2 },
                },
            }
        });
        let client = ClientBuilder::rustls()?
            .capabilities(options.as_object().context("an object")?.clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await?;
        Ok(Self { client, scripts, _driver: driver, _profile: profile })
    }

    /// Opens a page and waits until it shows `app` served by `node`, up to date by its own account.
    pub(crate) async fn open(&self, url: &str, app: &str, node: &str) -> Result<Shown> {
        self.client.goto(url).await?;
        if self.scripts {
            // Whoever loads the page again loses this.
            self.client.execute("window.openedOnce = true", vec![]).await?;
        }
        let status = if self.scripts { "live" } else { "still" };
        self.sees(app, |shown| shown.active == node && shown.status == status).await
    }

    /// Waits, and touches nothing, until the page shows what fits.
    pub(crate) async fn sees(&self, app: &str, fits: impl Fn(&Shown) -> bool) -> Result<Shown> {
        eventually(&format!("the page shows {app} as it should be"), async || {
            // An element may be replaced by an update between finding and reading it.
            Ok(self.shown(app).await.ok().filter(|shown| fits(shown)))
        })
        .await
    }

    async fn shown(&self, app: &str) -> Result<Shown> {
        let row = format!("[data-app='{app}']");
        let serving = format!("{row} [data-role='active'][data-state='active'] [data-node-name]");
        Ok(Shown {
            active: self.attribute(&serving, "data-node-name").await?,
            requests: self
                .attribute(&format!("{row} [data-requests]"), "data-requests")
                .await?
                .parse()?,
            status: self.attribute("#status", "data-status").await?,
        })
    }

    async fn attribute(&self, css: &str, name: &str) -> Result<String> {
        let element = self.client.find(Locator::Css(css)).await?;
        element.attr(name).await?.with_context(|| format!("{css} has no {name}"))
    }

    /// Checks that the page is the one that was opened, never loaded again, and that the policy it
    /// came under let its own style in.
    pub(crate) async fn is_the_same_page(&self) -> Result<()> {
        let same = self.client.execute("return window.openedOnce === true", vec![]).await?;
        ensure!(same == true, "the page was loaded again");
        let rules = "return document.styleSheets[0].cssRules.length";
        let rules = self.client.execute(rules, vec![]).await?;
        ensure!(rules.as_u64() > Some(0), "the page has no style: {rules}");
        Ok(())
    }

    /// Ends the session.
    pub(crate) async fn close(self) {
        let _ = self.client.close().await;
    }
}
