//! `cargo xtask demo`: the grid's story, told with real processes.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures_util::future::try_join_all;
use kinesis_tests::demo::{Options, Report, Told, tell};
use nix::{errno::Errno, sys::wait};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long processes that were told to end may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(15);

/// Brings up a grid on this machine, runs work on it, kills a machine under it, and closes the books.
#[derive(Debug, Parser)]
struct Args {
    /// The kinesis binary.
    #[arg(long)]
    kinesis: PathBuf,
    /// The folder of examples.
    #[arg(long)]
    examples: PathBuf,
    /// The dated price file.
    #[arg(long)]
    prices: PathBuf,
    /// Write everything that was found to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Leave the grid running and print its URLs. It uses the documented ports then.
    #[arg(long)]
    keep: bool,
    /// With `--keep`: take any free ports instead of the documented ones.
    #[arg(long, requires = "keep")]
    free_ports: bool,
    /// Settle on the chain at this RPC URL instead of the embedded one.
    #[arg(long)]
    chain: Option<String>,
    /// Requests a second while a machine is killed.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    // Processes whose parent is gone are handed to this one, which waits for them.
    nix::sys::prctl::set_child_subreaper(true)?;
    let figures = args.json.as_deref().map(Figures::open).transpose()?;
    let folder = tempfile::Builder::new().prefix("kinesis-demo-").tempdir()?;
    let options = Options {
        kinesis: std::path::absolute(&args.kinesis)?,
        examples: args.examples,
        prices: args.prices,
        data: folder.path().to_owned(),
        chain: args.chain,
        documented_ports: args.keep && !args.free_ports,
        requests_per_second: args.rate,
    };
    let told = tokio::select! {
        told = tell(&options, &|line| anstream::println!("{line}")) => Ok(told),
        code = stop.asked() => Err(code),
    };
    let told = match told {
        Ok(Ok(told)) => told,
        // Whatever ran was killed when the telling ended.
        Ok(Err(error)) => {
            let busy = options.documented_ports && format!("{error:#}").contains("in use");
            if let Err(left) = clear(folder).await {
                eprintln!("\n{left:#}");
            }
            return Err(if busy { error.context(BUSY) } else { error });
        }
        Err(code) => {
            clear(folder).await?;
            eprintln!("\nInterrupted. Every process was stopped and the demo's data removed.");
            return Ok(ExitCode::from(code));
        }
    };
    let kept = told_to_its_end(told, figures, args.keep, &options, &mut stop).await;
    gone().await?;
    if args.keep {
        println!("\nStopped. Its data stays in {}.", folder.keep().display());
    } else {
        remove(folder)?;
    }
    kept
}

/// Said where a documented port is taken.
const BUSY: &str =
    "--keep takes the documented ports; with --free-ports it takes any that are free";

/// Writes the figures, holds them against what is promised, and stops the grid in order: at once, or
/// when it was kept long enough.
async fn told_to_its_end(
    told: Told,
    figures: Option<Figures>,
    keep: bool,
    options: &Options,
    stop: &mut Stop,
) -> Result<ExitCode> {
    let Told { report, grid, suppliers } = told;
    if let Some(figures) = figures {
        figures.write(&report)?;
    }
    let elapsed = report.elapsed_ms;
    println!("\nAll of it took {}.{} s.", elapsed / 1000, elapsed % 1000 / 100);
    if let Some(slow) = report.slow() {
        println!("{slow}");
    }
    let mut ended = report.check().context("what it found is not what is promised");
    if keep && ended.is_ok() {
        ended = tokio::select! {
            on = go_on(&grid, options) => on,
            _ = stop.asked() => Ok(()),
        };
    }
    let stopping = async {
        try_join_all(suppliers.into_iter().map(kinesis_tests::grid::Supplier::leave)).await?;
        grid.stop().await
    };
    let stopped = tokio::select! {
        stopped = stopping => stopped,
        code = stop.asked() => return Ok(ExitCode::from(code)),
    };
    ended.and(stopped)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the app back on the grid, says where everything is, and goes on until it is dropped.
async fn go_on(grid: &kinesis_tests::grid::Grid, options: &Options) -> Result<()> {
    let manifest = options.examples.join("guestbook/kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await.context("deploy guestbook again")?;
    let app = grid.app("guestbook").await?;
    let endpoints = grid.endpoints()?;
    println!("\nThe grid goes on.");
    println!("  page and API  {}", endpoints.portal);
    println!("  guestbook     {}", app["url"].as_str().unwrap_or("?"));
    println!("  chain         {}", endpoints.rpc);
    println!("As its customer, in another terminal:");
    println!(
        "  KINESIS_CONFIG={} {} ps",
        options.data.join("customer.toml").display(),
        options.kinesis.display()
    );
    println!("Press Ctrl-C to stop it; its data stays in {}.", options.data.display());
    std::future::pending().await
}

/// Ctrl-C and SIGTERM, heard from the moment this is made.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    /// The next time somebody wants this to stop: the exit code that says so.
    async fn asked(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

/// Where the figures go. Opened before the story is told, so that a path that cannot be written is
/// known then; what was in the file stays until there is something to write.
struct Figures {
    path: PathBuf,
    file: File,
}

impl Figures {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(path);
        let file = file.with_context(|| format!("--json: {} cannot be written", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(mut self, report: &Report) -> Result<()> {
        let json = serde_json::to_string_pretty(report)? + "\n";
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(json.as_bytes()).with_context(|| self.path.display().to_string())
    }
}

impl Drop for Figures {
    /// Leaves no empty file behind.
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|is| is.is_file() && is.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Waits until no process is left, then removes what they wrote.
async fn clear(folder: TempDir) -> Result<()> {
    gone().await?;
    remove(folder)
}

fn remove(folder: TempDir) -> Result<()> {
    let path = folder.path().to_owned();
    folder.close().with_context(|| format!("remove {}", path.display()))
}

/// Waits until every process that was started, and whatever those started, has ended.
async fn gone() -> Result<()> {
    let start = Instant::now();
    loop {
        match wait::waitpid(None, Some(wait::WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => bail!("wait for processes: {errno}"),
            Ok(wait::WaitStatus::StillAlive) => {
                let waited = start.elapsed() < GONE_MAX;
                ensure!(waited, "some processes did not end within {} s", GONE_MAX.as_secs());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(_) => {}
        }
    }
}
