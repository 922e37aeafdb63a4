//! `kinesis escrow`.

use std::io::{self, Write};

use kinesis_chain::{Joules, amount::span, protocol::escrow::EscrowAccount};

use super::{chain, done, lines, percent, when};
use crate::{
    cli::protocol::escrow::{EscrowClaim, EscrowCommand, EscrowWithdraw},
    error::Result,
    output::Output,
};

pub(crate) async fn run(command: EscrowCommand, out: Output) -> Result<()> {
    match command {
        EscrowCommand::Show(args) => {
            let of = args.chain.subject(args.utility)?;
            let client = args.chain.look().await?;
            let account = client.escrow(of, args.series.series).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            out.result(&account, |w| show(w, &account, now_s))
        }
        EscrowCommand::Deposit(args) => {
            let client = args.chain.act().await?;
            let utility = args.utility.unwrap_or_else(|| client.address());
            let series = args.series.series;
            let deposited = client.escrow_deposit(utility, series, args.amount).await;
            let did = format!("Put {} JOULE into series {series} of {utility}", args.amount);
            done(out, deposited.map_err(chain)?, &did)
        }
        EscrowCommand::Withdraw(args) => withdraw(&args, out).await,
        EscrowCommand::Claim(args) => claim(&args, out).await,
    }
}

fn show(w: &mut dyn Write, account: &EscrowAccount, now_s: u64) -> io::Result<()> {
    let joule = |amount: Joules| format!("{amount} JOULE");
    let mut rows = vec![
        ("utility", account.utility.to_string()),
        ("series", account.series.to_string()),
        ("balance", joule(account.balance)),
        ("available", joule(account.available)),
        ("cover", format!("{}: a signed total above it costs stake", joule(account.cover))),
        ("deposited", joule(account.deposited)),
        ("redeemed", joule(account.redeemed)),
        (
            "fees",
            format!(
                "{}, {} on top of what is redeemed",
                joule(account.fees),
                percent(account.fee_bp)
            ),
        ),
        ("withdrawn", joule(account.withdrawn)),
    ];
    match account.thawing {
        Some(thawing) => rows.push((
            "thawing",
            format!(
                "{}, yours from {}",
                joule(Joules(thawing.amount_wei)),
                when(thawing.available_at_s, now_s)
            ),
        )),
        None => rows.push((
            "thawing",
            format!("nothing; it would take {}", span(u64::from(account.withdrawal_delay_s))),
        )),
    }
    if let Some(tick) = account.anchored_tick {
        rows.push(("anchored", format!("tick {tick}")));
    }
    lines(w, &rows)
}

async fn withdraw(args: &EscrowWithdraw, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    let series = args.series.series;
    let thawed_at_s = client.escrow_thaw(series, args.amount).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    let value = serde_json::json!({
        "series": series,
        "amount": args.amount,
        "thawed_at_s": thawed_at_s,
    });
    out.result(&value, |w| {
        if args.amount.0.is_zero() {
            return writeln!(w, "Nothing thaws any more");
        }
        writeln!(w, "{} JOULE thaw until {}", args.amount, when(thawed_at_s, now_s))?;
        writeln!(w, "Then take them with `kinesis escrow claim`")
    })
}

async fn claim(args: &EscrowClaim, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    let to = args.to.unwrap_or_else(|| client.address());
    let series = args.series.series;
    let amount = client.escrow_withdraw(series, to).await.map_err(chain)?;
    let value = serde_json::json!({"series": series, "amount": amount, "to": to});
    out.result(&value, |w| writeln!(w, "Took {amount} JOULE of escrow to {to}"))
}
