//! `kinesis`: the one binary of the grid.
//!
//! | module | is |
//! | --- | --- |
//! | [`cli`] | the command line: commands, flags, help |
//! | [`config`] | settings in layers: defaults < TOML < environment < flags |
//! | [`profile`] | which utility a customer talks to, with which key |
//! | [`role`] | the processes of a grid: chain, utility, agent, and `up`, which keeps them running |
//! | [`command`] | the customer's, the supplier's and the protocol's commands |
//! | [`auditing`] | running a deterministic job again |
//! | [`client`] | the REST API |
//! | [`output`] | tables, JSON, progress |
//! | [`error`] | failures and exit codes |
//!
//! Standard output carries results and nothing else; logs, progress and failures go to standard
//! error.

mod auditing;
mod bundle;
mod cli;
mod client;
mod command;
mod config;
mod endpoints;
mod env;
mod error;
mod files;
mod listen;
mod output;
mod passphrase;
mod profile;
mod role;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};
use error::{Error, Result};
use output::Output;

fn main() -> ExitCode {
    // `kinesis runner` is for the agent alone and in no help text. A sandbox gives up its rights one
    // by one: nothing may run in it before that.
    if std::env::args_os().nth(1).is_some_and(|command| command == "runner") {
        return kinesis_runtime::runner::main();
    }
    let cli = Cli::parse();
    let out = Output::new(cli.global.json, cli.global.quiet);
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.failure(&error);
            error.exit_code()
        }
    }
}

fn run(cli: Cli, out: Output) -> Result<()> {
    if let Command::Completions(args) = &cli.command {
        let mut script = Vec::new();
        clap_complete::generate(args.shell, &mut Cli::command(), "kinesis", &mut script);
        return out.bytes(&script);
    }
    let role = matches!(
        cli.command,
        Command::Up(_)
            | Command::Chain(_)
            | Command::Utility(_)
            | Command::Signer(_)
            | Command::Supply(_)
            | Command::Auditor(_)
    );
    trace(match &cli.command {
        // What happens is told by `up` itself; its children log into files.
        Command::Up(_) => "warn",
        _ if role => "warn,kinesis=info",
        _ => "error",
    });
    // It can only be installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut runtime = if role {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.enable_all().build().map_err(Error::io("start the runtime"))?;
    // What a command sends to a chain is remembered until somebody has seen how it ended.
    let words = command::protocol::runs::words(std::env::args_os());
    let work = command::protocol::runs::scope(words, out, dispatch(cli, out));
    let done = runtime.block_on(work);
    // What still runs in the background must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn dispatch(cli: Cli, out: Output) -> Result<()> {
    let url = cli.global.url;
    match cli.command {
        Command::Up(args) => role::up::run(args, out).await,
        Command::Chain(args) => role::chain::run(args, out).await,
        Command::Utility(args) => role::utility::run(args, out).await,
        Command::Signer(args) => role::signer::run(args, out).await,
        Command::Key(args) => command::key::run(args.command, out),
        Command::Supply(args) => command::supply::run(args.command, url, out).await,
        Command::Account(args) => command::account::run(args.command, url, out).await,
        Command::Quote(args) => command::deploy::quote(args, url, out).await,
        Command::Deploy(args) => command::deploy::deploy(args, url, out).await,
        Command::Run(args) => command::job::run(args, url, out).await,
        Command::Ps(args) => command::show::ps(args, url, out).await,
        Command::Logs(args) => command::show::logs(args, url, out).await,
        Command::Result(args) => command::result::run(args, url, out).await,
        Command::Usage(args) => command::show::usage(args, url, out).await,
        Command::Rollback(args) => command::show::rollback(args, url, out).await,
        Command::Stop(args) => command::show::stop(args, url, out).await,
        Command::Delete(args) => command::show::delete(args, url, out).await,
        Command::Nodes => command::show::nodes(url, out).await,
        Command::Desk => command::desk::run(url, out).await,
        Command::Stake(args) => command::protocol::stake::run(args.command, out).await,
        Command::Pool(args) => command::protocol::pool::run(args.command, out).await,
        Command::Gov(args) => command::protocol::gov::run(args.command, out).await,
        Command::Protocol(args) => command::protocol::deploy::run(args.command, out).await,
        Command::Exchange(args) => command::protocol::exchange::run(args.command, out).await,
        Command::Escrow(args) => command::protocol::escrow::run(args.command, out).await,
        Command::Redeem(args) => command::protocol::redeem::redeem(args, url, out).await,
        Command::Withdraw(args) => command::protocol::redeem::withdraw(args, url, out).await,
        Command::Audit(args) => command::protocol::audit::run(args.command, url, out).await,
        Command::Lease(args) => command::protocol::lease::run(args.command, out).await,
        Command::Auditor(args) => command::protocol::auditor::run(args, out).await,
        Command::Completions(_) => Ok(()),
    }
}

/// Logs go to standard error: of a role what happens, of other commands only what is wrong.
fn trace(default: &str) {
    let filter = std::env::var(env::LOG)
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // It can only be set already.
    let _ = if std::env::var(env::LOG_FORMAT).is_ok_and(|format| format == "json") {
        log.json().try_init()
    } else {
        log.try_init()
    };
}
