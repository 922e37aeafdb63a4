//! `kinesis pool`.

use std::io::{self, Write};

use kinesis_chain::protocol::pool::PoolState;

use super::{chain, done, lines, percent, when};
use crate::{
    cli::protocol::{OfAddress, pool::PoolCommand},
    error::Result,
    output::{Output, table, write_table},
};
use kinesis_protocol::Address;

pub(crate) async fn run(command: PoolCommand, out: Output) -> Result<()> {
    match command {
        PoolCommand::Status(args) => status(&args, out).await,
        PoolCommand::Deposit(args) => {
            let client = args.chain.act().await?;
            let shares = client.pool_deposit(args.amount).await.map_err(chain)?;
            let value = serde_json::json!({"amount": args.amount, "shares": shares.to_string()});
            out.result(&value, |w| writeln!(w, "Put {} JOULE into the pool", args.amount))
        }
        PoolCommand::Leave(args) => {
            let client = args.chain.act().await?;
            let (place, ready_at_s) = client.pool_leave(args.amount).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            let value = serde_json::json!({"place": place, "ready_at_s": ready_at_s});
            out.result(&value, |w| {
                writeln!(w, "Place {place} in the queue, paid from {}", when(ready_at_s, now_s))?;
                writeln!(w, "`kinesis pool settle` pays what is ready")
            })
        }
        PoolCommand::Settle(args) => {
            let paid = args.act().await?.pool_settle().await.map_err(chain)?;
            out.result(&serde_json::json!({"paid": paid}), |w| {
                if paid.0.is_zero() {
                    return writeln!(w, "Nothing is ready, or there is no money for it yet");
                }
                writeln!(w, "Paid {paid} JOULE to investors who leave")
            })
        }
        PoolCommand::Borrow(args) => {
            let client = args.chain.act().await?;
            let tx = client.borrow(args.amount, args.share_max_bp).await.map_err(chain)?;
            done(out, tx, &format!("Borrowed {} JOULE of bond", args.amount))
        }
        PoolCommand::Repay(args) => {
            let client = args.chain.act().await?;
            let tx = client.repay(client.address(), args.amount).await.map_err(chain)?;
            let did = format!(
                "{} JOULE of the loan thaw; then `kinesis pool reclaim {}`",
                args.amount,
                client.address()
            );
            done(out, tx, &did)
        }
        PoolCommand::Reclaim(args) => {
            let amount = args.chain.act().await?.reclaim(args.supplier).await.map_err(chain)?;
            out.result(&serde_json::json!({"amount": amount}), |w| {
                if amount.0.is_zero() {
                    return writeln!(w, "Nothing of the loan has thawed yet");
                }
                writeln!(w, "{amount} JOULE are back in the pool")
            })
        }
        PoolCommand::Credit(args) => {
            let client = args.chain.act().await?;
            let tx = client.set_credit(args.supplier, args.amount).await.map_err(chain)?;
            done(out, tx, &format!("{} may borrow up to {} JOULE", args.supplier, args.amount))
        }
    }
}

async fn status(args: &OfAddress, out: Output) -> Result<()> {
    // The pool is worth a look without an account of one's own.
    let of = args.chain.subject(args.address).unwrap_or(Address::ZERO);
    let client = args.chain.look().await?;
    let pool = client.pool(of).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    out.result(&pool, |w| show(w, &pool, now_s))
}

fn show(w: &mut dyn Write, pool: &PoolState, now_s: u64) -> io::Result<()> {
    let joule = |amount| format!("{amount} JOULE");
    lines(
        w,
        &[
            ("assets", joule(pool.assets)),
            ("on loan", format!("{}, at most {}", joule(pool.lent), percent(pool.pool_cap_bp))),
            ("to one", format!("at most {}", percent(pool.supplier_cap_bp))),
            ("free", joule(pool.cash)),
            ("leaving", joule(pool.queued)),
            ("takes", format!("{} of a borrower's earnings", percent(pool.earnings_bp))),
            ("grows", format!("its own stake by {} of them", percent(pool.growth_bp))),
            ("queue", format!("{} s at least", pool.delay_s)),
            ("credit by", pool.underwriter.to_string()),
        ],
    )?;
    let account = &pool.account;
    if account.address != Address::ZERO {
        writeln!(w, "\n{}", account.address)?;
        lines(
            w,
            &[
                ("shares", format!("worth {}", joule(account.worth))),
                ("credit", joule(account.credit)),
                ("loan", format!("{}, {} of it thawing", joule(account.loan), account.thawing)),
                ("own stake", joule(account.own)),
            ],
        )?;
    }
    if pool.queue.is_empty() {
        return Ok(());
    }
    writeln!(w)?;
    let mut t = table([">place", "investor", ">worth", "paid from"]);
    for place in &pool.queue {
        t.add_row([
            place.id.to_string(),
            place.owner.to_string(),
            joule(place.worth),
            when(place.ready_at_s, now_s),
        ]);
    }
    write_table(w, &t)
}
