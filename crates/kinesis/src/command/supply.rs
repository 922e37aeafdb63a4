//! `kinesis supply`, less `join`: a look at the agent, and the supplier's money.
//!
//! Earnings and redemption read what the agent has stored, so that a supplier is paid even when its
//! agent and its utility are gone.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kinesis_agent::{AgentError, Status, local, wallet::stored};
use kinesis_chain::ChainError;
use kinesis_control::api::WithdrawalView;
use kinesis_protocol::{Address, B256, NanoJoule, NanoUsd};

use crate::{
    cli::role::{SupplyCommand, SupplyData, SupplyMoney},
    client::Client,
    config, endpoints,
    error::{Error, Result},
    output::{Output, millis, safe, table, write_table},
    passphrase,
    role::join::{self, JoinedWith},
};

/// How long a consent to be paid in USD holds.
const CONSENT: Duration = Duration::from_secs(600);

pub(crate) async fn run(command: SupplyCommand, url: Option<String>, out: Output) -> Result<()> {
    match command {
        SupplyCommand::Join(join) => join::run(join, url, out).await,
        SupplyCommand::Status(args) => status(&args, out).await,
        SupplyCommand::Pause(args) => {
            client(&args)?.pause("its owner paused it").await.map_err(agent)?;
            out.result(&serde_json::json!({"paused": true}), |w| {
                writeln!(w, "Takes no new leases; `kinesis supply resume` changes that")
            })
        }
        SupplyCommand::Resume(args) => {
            client(&args)?.resume().await.map_err(agent)?;
            out.result(&serde_json::json!({"paused": false}), |w| writeln!(w, "Takes leases again"))
        }
        SupplyCommand::Earnings(args) => earnings(&args, out).await,
        SupplyCommand::Redeem(args) => redeem(&args.money, out).await,
        SupplyCommand::Withdraw(args) => withdraw(&args, url, out).await,
    }
}

fn dir(args: &SupplyData) -> Result<PathBuf> {
    config::data_dir(args.data.as_deref(), Some(join::DATA))
}

fn client(args: &SupplyData) -> Result<local::Client> {
    Ok(local::Client::new(dir(args)?))
}

async fn status(args: &SupplyData, out: Output) -> Result<()> {
    let status = client(args)?.status().await.map_err(agent)?;
    out.result(&status, |w| write_status(w, &status))
}

fn write_status(w: &mut dyn Write, status: &Status) -> io::Result<()> {
    writeln!(w, "node      {} ({}, {})", safe(&status.name), status.node.short(), status.tier)?;
    writeln!(w, "supplier  {}", status.supplier)?;
    let state = match (&status.paused, status.leaving) {
        (_, true) => "leaving".to_owned(),
        (Some(reason), _) => format!("paused: {}", safe(reason)),
        (None, _) => "takes leases".to_owned(),
    };
    writeln!(w, "state     {state}")?;
    let (free, offered) = (&status.free, &status.offered);
    writeln!(
        w,
        "free      {} of {} thousandths of a core, {} of {} MiB",
        free.cpu_millis, offered.cpu_millis, free.mem_mib, offered.mem_mib
    )?;
    for utility in &status.utilities {
        let link = if utility.connected { "connected" } else { "not connected" };
        writeln!(w, "utility   {} {link}", utility.node.short())?;
        let words = [
            ("rejects this node", &utility.rejected),
            ("gives it no lease", &utility.withheld),
            ("gets no lease", &utility.refuses),
        ];
        for (what, reason) in words {
            if let Some(reason) = reason {
                writeln!(w, "          {what}: {}", safe(reason))?;
            }
        }
    }
    for account in &status.accounts {
        writeln!(
            w,
            "earned    {} JOULE, {} of it signed for",
            account.earned_nanojoule, account.paid_nanojoule
        )?;
        if let Some(alert) = &account.alert {
            writeln!(w, "          {}", safe(alert))?;
        }
    }
    if status.leases.is_empty() {
        return Ok(());
    }
    writeln!(w)?;
    let mut t = table(["app", "replica", "state", ">worked", ">cpu", ">requests"]);
    for lease in &status.leases {
        t.add_row([
            safe(&lease.app_name),
            format!("{}@{}", lease.key.replica, lease.key.epoch),
            format!("{:?}", lease.state).to_lowercase(),
            millis(lease.counters.wall_ms),
            millis(lease.counters.cpu_ms),
            lease.counters.requests.to_string(),
        ]);
    }
    write_table(w, &t)
}

/// Says that nothing was earned before anybody is asked for a passphrase.
fn expect_payments(dir: &Path) -> Result<()> {
    if stored::stored(dir).map_err(agent)?.is_empty() {
        return Err(agent(AgentError::NothingEarned { path: dir.to_owned() }));
    }
    Ok(())
}

/// The chain's RPC: the one named, or the one this machine joined with.
fn rpc(args: &SupplyMoney, dir: &Path) -> Option<String> {
    args.rpc.clone().or_else(|| endpoints::read::<JoinedWith>(dir)?.rpc)
}

async fn earnings(args: &SupplyMoney, out: Output) -> Result<()> {
    let dir = dir(&args.data)?;
    let rpc = rpc(args, &dir);
    let all = stored::earnings(&dir, rpc.as_deref()).await.map_err(agent)?;
    let total = |of: fn(&stored::Earnings) -> Option<NanoJoule>| {
        all.iter().map(of).try_fold(NanoJoule::ZERO, |sum, one| sum.checked_add(one?))
    };
    let usd: NanoUsd =
        all.iter().map(|e| e.stored.joule_price.to_usd(e.cumulative_nanojoule)).sum();
    let value = serde_json::json!({
        "cumulative_nanojoule": total(|e| Some(e.cumulative_nanojoule)),
        "redeemed_nanojoule": total(|e| e.redeemed_nanojoule),
        "redeemable_nanojoule": total(|e| e.redeemable_nanojoule),
        "worth_nanousd": usd,
        "series": all,
    });
    out.result(&value, |w| {
        let mut t = table(["utility", "series", "tick", ">earned", ">redeemed", ">redeemable"]);
        let known = |joule: Option<NanoJoule>| joule.map_or_else(|| "?".into(), |j| j.to_string());
        for e in &all {
            let root = &e.stored.payment.signed.root;
            t.add_row([
                root.utility.to_string(),
                root.series.to_string(),
                root.tick.to_string(),
                e.cumulative_nanojoule.to_string(),
                known(e.redeemed_nanojoule),
                known(e.redeemable_nanojoule),
            ]);
        }
        write_table(w, &t)?;
        writeln!(w, "\nall amounts in JOULE; all that was earned is worth {usd}")
    })
}

async fn redeem(args: &SupplyMoney, out: Output) -> Result<()> {
    let dir = dir(&args.data)?;
    let rpc = rpc(args, &dir).ok_or_else(|| Error::Usage {
        message: "no chain is known to redeem on".into(),
        hint: Some("name its JSON-RPC with --rpc URL".into()),
    })?;
    expect_payments(&dir)?;
    let key = passphrase::open_key(&stored::key_path(&dir), args.passphrase_file.as_deref())?;
    let done = stored::redeem(&dir, &rpc, &key).await.map_err(agent)?;
    let paid: NanoJoule = done.iter().map(|d| d.paid_nanojoule).sum();
    let transactions: Vec<B256> = done.iter().filter_map(|d| d.redeemed.transaction).collect();
    let value = serde_json::json!({
        "redeemed_nanojoule": paid,
        "tx": transactions.first(),
        "transactions": transactions,
    });
    out.result(&value, |w| {
        if paid == NanoJoule::ZERO {
            return writeln!(w, "Everything that is signed was redeemed before");
        }
        writeln!(w, "Redeemed {paid} JOULE")?;
        transactions.iter().try_for_each(|tx| writeln!(w, "  transaction {tx}"))
    })
}

async fn withdraw(args: &SupplyMoney, url: Option<String>, out: Output) -> Result<()> {
    let dir = dir(&args.data)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    expect_payments(&dir)?;
    let key = passphrase::open_key(&stored::key_path(&dir), args.passphrase_file.as_deref())?;
    let requests = stored::withdrawals(&dir, (now + CONSENT).as_secs(), &key).map_err(agent)?;
    let client = Client::public(url)?;
    let mut paid: Vec<WithdrawalView> = Vec::new();
    for request in requests {
        let supplier: Address = request.payment.supplier;
        let path = format!("/v1/suppliers/{supplier}/withdrawals");
        // The amount that is redeemed is the key: asking twice pays once.
        let key =
            format!("{}-{}", request.payment.signed.root.tick, request.payment.cumulative_wei);
        paid.push(client.post(&path, &request, Some(&key)).await?);
    }
    let usd: NanoUsd = paid.iter().map(|p| p.paid_nanousd).sum();
    let joule: NanoJoule = paid.iter().map(|p| p.redeemed_nanojoule).sum();
    let value = serde_json::json!({
        "usd_nanousd": usd,
        "nanojoule": joule,
        "tx": paid.iter().find_map(|p| p.transaction),
        "withdrawals": paid,
    });
    out.result(&value, |w| writeln!(w, "Paid {usd} for {joule} JOULE"))
}

/// An agent's failure, with the exit code and the hint that fit it.
pub(crate) fn agent(error: AgentError) -> Error {
    match error {
        AgentError::Config { field, reason } => {
            Error::Usage { message: format!("--{field}: {reason}"), hint: None }
        }
        AgentError::Busy { path } => Error::Locked { dir: path, pid: None },
        AgentError::NotRunning { .. } => Error::Unreachable {
            what: "the agent".into(),
            hint: Some("plug this machine in with `kinesis supply join`, or name --data".into()),
            source: error.into(),
        },
        AgentError::NothingEarned { .. } => Error::Refused {
            message: error.to_string(),
            hint: Some("a proof arrives a second after the first work".into()),
        },
        AgentError::Rejected { .. } => Error::Refused { message: error.to_string(), hint: None },
        AgentError::Chain(source) => match source.downcast::<ChainError>() {
            Ok(chain) if chain.is_unreachable() => Error::Unreachable {
                what: "the chain".into(),
                hint: Some("name its JSON-RPC with --rpc URL".into()),
                source: chain,
            },
            Ok(chain) => Error::Role { what: "chain", source: chain },
            Err(source) => Error::Role { what: "chain", source },
        },
        other => Error::Role { what: "agent", source: other.into() },
    }
}
