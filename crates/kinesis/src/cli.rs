//! The command line: every command, flag and default, as `--help` shows them.

pub(crate) mod customer;
pub(crate) mod key;
pub(crate) mod protocol;
pub(crate) mod role;

use clap::{Parser, Subcommand};

use crate::env;

const AFTER_HELP: &str = "\
Examples:
  kinesis up                                   a whole grid on this machine
  kinesis account open --name me --usd 25.00   a customer with some money
  kinesis deploy                               what ./kinesis.toml describes
  kinesis run job.toml --out results           a job, its outputs and its bill

Exit codes: 0 done, 1 failed, 2 usage, 3 refused (placement, budget, rights), 4 unreachable.";

/// An open compute grid: plug machines in, plug workloads in.
#[derive(Debug, Parser)]
#[command(
    name = "kinesis",
    version,
    max_term_width = 100,
    after_help = AFTER_HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Print JSON on standard output, for scripts
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Say nothing but results and failures
    #[arg(long, short, global = true, display_order = 901)]
    pub(crate) quiet: bool,
    /// The utility's address [default: the profile's, then http://127.0.0.1:8081]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = env::URL,
        hide_env_values = true,
        display_order = 902
    )]
    pub(crate) url: Option<String>,
}

/// The commands, in the order a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring up a whole grid on this machine: chain, utility, suppliers
    Up(role::Up),
    /// Run the embedded development chain
    Chain(role::Chain),
    /// Run one utility: portal, ingress, control, relay
    Utility(role::Utility),
    /// Hold a utility's key in a process of its own
    Signer(key::Signer),
    /// Plug this machine in and be paid for it
    Supply(role::Supply),
    /// Make, show, encrypt and take over keys
    Key(key::Key),

    /// Open, fill and show a customer's account
    Account(customer::Account),
    /// Ask where a workload would run, at what price, or why not
    Quote(customer::Quote),
    /// Put a service on the grid, or a new version of it
    Deploy(customer::Deploy),
    /// Run a job to its end: progress, outputs, bill
    Run(customer::Run),
    /// Show apps, their replicas and what they cost
    Ps(customer::Ps),
    /// Show what an app or a job writes
    Logs(customer::Logs),
    /// Show a bill, line by line
    Usage(customer::Usage),
    /// Show what a supplier signed of a deterministic job, and fetch its dossier
    Result(customer::ResultOf),
    /// Go back to the version before
    Rollback(customer::Rollback),
    /// Stop an app: it keeps its name and its bill, and starts again when it is deployed
    Stop(customer::Named),
    /// Delete an app that is stopped or over: its name is free, its bill stays
    Delete(customer::Named),
    /// Show the machines of the grid
    Nodes,
    /// Show what a JOULE costs, and how the utility converts
    Desk,

    /// Bond stake, claim machines, publish offers
    Stake(protocol::stake::Stake),
    /// Lend stake to suppliers, or borrow it
    Pool(protocol::pool::Pool),
    /// Propose and vote: fees, upgrades, grants
    Gov(protocol::gov::Gov),
    /// Show the price of JOULE, and trade it for US dollars
    Exchange(protocol::exchange::Exchange),
    /// As a utility: the money that pays suppliers
    Escrow(protocol::escrow::Escrow),
    /// Put the contracts on a chain, or check them
    Protocol(protocol::deploy::Protocol),
    /// Redeem payment proofs on chain, your own or anybody's
    Redeem(protocol::Redeem),
    /// As a supplier: be paid in US dollars by the utility
    Withdraw(protocol::Withdraw),
    /// Look at a utility's books and at signed results, and accuse who cheated
    Audit(protocol::audit::Audit),
    /// Leases whose terms were signed: accuse of silence, answer, give notice
    Lease(protocol::lease::Lease),
    /// Sit in the court of results: run jobs again, say what comes out
    Auditor(protocol::results::Auditor),

    /// Print a completion script for a shell
    Completions(customer::Completions),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn help(path: &[&str]) -> String {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut at = &mut command;
        for name in path {
            at = at.find_subcommand_mut(name).unwrap();
        }
        at.render_help().to_string()
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_texts() {
        for path in [
            &[][..],
            &["up"],
            &["chain"],
            &["utility"],
            &["signer"],
            &["key"],
            &["key", "new"],
            &["key", "import"],
            &["supply"],
            &["supply", "join"],
            &["supply", "redeem"],
            &["supply", "withdraw"],
            &["account"],
            &["account", "open"],
            &["account", "deposit"],
            &["quote"],
            &["deploy"],
            &["run"],
            &["ps"],
            &["logs"],
            &["usage"],
            &["rollback"],
            &["stop"],
            &["delete"],
            &["nodes"],
            &["stake"],
            &["stake", "bond"],
            &["stake", "claim"],
            &["stake", "offer"],
            &["pool"],
            &["pool", "borrow"],
            &["pool", "leave"],
            &["gov"],
            &["gov", "propose"],
            &["gov", "propose", "grant"],
            &["gov", "vote"],
            &["protocol"],
            &["protocol", "deploy"],
            &["protocol", "verify"],
            &["exchange"],
            &["exchange", "buy"],
            &["exchange", "quote"],
            &["escrow"],
            &["escrow", "show"],
            &["escrow", "withdraw"],
            &["redeem"],
            &["withdraw"],
            &["audit"],
            &["audit", "books"],
            &["audit", "accuse"],
            &["audit", "run"],
            &["audit", "claim"],
            &["audit", "commit"],
            &["auditor"],
            &["lease"],
            &["lease", "accuse"],
            &["result"],
            &["completions"],
        ] {
            insta::assert_snapshot!(format!("help_{}", path.join("_")), help(path));
        }
    }

    #[test]
    fn no_argument_takes_a_key() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                let id = arg.get_id().as_str();
                let file = id == "tls_key" || id == "idempotency_key";
                assert!(!id.contains("passphrase") || id.ends_with("_file"), "{id}");
                assert!(!id.contains("key") || file, "{id}");
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
