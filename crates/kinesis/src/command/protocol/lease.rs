//! `kinesis lease`: terms that a supplier and a utility have signed, and the court that judges silence.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use kinesis_chain::{
    Agreement, Agreements, ChainError, Joules, Protocol, amount::moment,
    protocol::leases::LeaseRecord,
};
use serde::Serialize;

use super::{chain, done, lines, when};
use crate::{
    cli::protocol::lease::{LeaseAccuse, LeaseCommand, LeaseFile, LeaseShow},
    error::{Error, Result},
    output::{Output, safe, table, write_table},
};

pub(crate) async fn run(command: LeaseCommand, out: Output) -> Result<()> {
    match command {
        LeaseCommand::Show(args) => show(&args, out).await,
        LeaseCommand::Accuse(args) => accuse(&args, out).await,
        LeaseCommand::Answer(args) => answer(&args, out).await,
        LeaseCommand::Close(args) => {
            let agreement = read(&args.file)?;
            let client = args.chain.act().await?;
            let broken = client.close_silence(agreement.digest()).await.map_err(chain)?;
            let value = serde_json::json!({"lease": agreement.lease, "broken": broken});
            out.result(&value, |w| {
                let how = if broken { "the penalty was taken" } else { "it was stopped by a veto" };
                writeln!(w, "The case is closed: {how}, and the utility has its stake back")
            })
        }
        LeaseCommand::Notice(args) => notice(&args, out).await,
    }
}

fn read(path: &Path) -> Result<Agreement> {
    Agreement::read(path).map_err(|error| match error {
        ChainError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Error::Usage {
                message: format!("there is no file {}", path.display()),
                hint: Some("`leases` in a data directory holds one for each lease".into()),
            }
        }
        ChainError::File { source, .. } => Error::Refused {
            message: format!("{} holds no signed terms: {source}", path.display()),
            hint: Some("give the file as it was written".into()),
        },
        other => chain(other),
    })
}

/// The files named, and those of the folders named.
fn read_all(named: &[PathBuf], now_s: u64) -> Result<(Vec<Agreement>, Vec<String>)> {
    let (mut all, mut broken) = (Vec::new(), Vec::new());
    for path in named {
        if path.is_dir() {
            let (found, problems) = Agreements::new(path.clone()).all(now_s).map_err(chain)?;
            all.extend(found);
            broken.extend(problems.iter().map(|problem| match problem {
                ChainError::File { path, source } => format!("{}: {source}", path.display()),
                other => other.to_string(),
            }));
        } else {
            all.push(read(path)?);
        }
    }
    Ok((all, broken))
}

/// A lease, and what the court knows of it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    agreement: Agreement,
    record: Option<LeaseRecord>,
}

async fn show(args: &LeaseShow, out: Output) -> Result<()> {
    let client = if args.offline { None } else { Some(args.chain.look().await?) };
    let now_s = match &client {
        Some(client) => client.now_s().await.map_err(chain)?,
        None => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
    };
    let (agreements, broken) = read_all(&args.files, now_s)?;
    let mut all = Vec::new();
    for agreement in agreements {
        let record = match &client {
            Some(client) => Some(client.lease_record(agreement.digest()).await.map_err(chain)?),
            None => None,
        };
        all.push(Shown { agreement, record });
    }
    let value = serde_json::json!({"leases": all, "unreadable": broken});
    out.result(&value, |w| {
        broken.iter().try_for_each(|problem| writeln!(w, "! {}", safe(problem)))?;
        match &all[..] {
            [] => writeln!(w, "Nothing was signed"),
            [one] => show_one(w, one, now_s),
            many => show_many(w, many, now_s),
        }
    })
}

fn state(shown: &Shown, now_s: u64) -> String {
    let agreement = &shown.agreement;
    let record = shown.record.as_ref();
    let notice = record.and_then(|record| record.notice_at_s).or(agreement.notice_at_s);
    if record.is_some_and(|record| record.broken) {
        return "broken, and paid for".into();
    }
    if let Some(case) = record.and_then(|record| record.case) {
        return format!("accused: case {case}");
    }
    if agreement.is_settled() {
        return "acknowledged to its end".into();
    }
    if let Some(at_s) = notice {
        return format!("notice given {}", moment(at_s));
    }
    if agreement.broken_at_s.is_some() {
        return "silent for too long: `kinesis lease accuse`".into();
    }
    if agreement.due_s() < now_s {
        return format!("a word was due {}", moment(agreement.due_s()));
    }
    format!("next word due {}", when(agreement.due_s(), now_s))
}

fn show_one(w: &mut dyn Write, shown: &Shown, now_s: u64) -> io::Result<()> {
    let agreement = &shown.agreement;
    let terms = &agreement.offer.terms;
    let mut rows = vec![
        ("lease", agreement.lease.to_string()),
        ("app", safe(&agreement.app)),
        ("supplier", terms.supplier.to_string()),
        ("utility", terms.utility.to_string()),
        ("node", agreement.node.to_string()),
        ("from", moment(terms.from)),
        ("to", moment(terms.to)),
        ("interval", format!("{} s", terms.ackInterval)),
        ("penalty", format!("{} JOULE", Joules(terms.penalty.to()))),
        ("acknowledged", format!("to {}", moment(agreement.acked_to_s))),
        ("state", state(shown, now_s)),
    ];
    if let Some(record) = &shown.record
        && !record.stake.0.is_zero()
    {
        rows.push(("staked", format!("{} JOULE by the utility", record.stake)));
    }
    lines(w, &rows)
}

fn show_many(w: &mut dyn Write, all: &[Shown], now_s: u64) -> io::Result<()> {
    let mut t = table(["lease", "app", "supplier", ">penalty", "state"]);
    for shown in all {
        let terms = &shown.agreement.offer.terms;
        t.add_row([
            shown.agreement.lease.to_string(),
            safe(&shown.agreement.app),
            terms.supplier.to_string(),
            Joules(terms.penalty.to()).to_string(),
            state(shown, now_s),
        ]);
    }
    write_table(w, &t)
}

async fn accuse(args: &LeaseAccuse, out: Output) -> Result<()> {
    let agreement = read(&args.file)?;
    let client = args.chain.act().await?;
    let since = args.since.unwrap_or(agreement.acked_to_s);
    let id = client.accuse_silence(&agreement, since).await.map_err(chain)?;
    let case = client.case(id).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    let value = serde_json::json!({"lease": agreement.lease, "since_s": since, "case": case});
    out.result(&value, |w| {
        writeln!(w, "Accused {} of silence since {}", case.accused, moment(since))?;
        writeln!(w, "  it may answer until {}", when(case.window_ends_s, now_s))?;
        writeln!(w, "\nnext: kinesis audit execute {id}, then kinesis lease close")
    })
}

async fn answer(args: &LeaseFile, out: Output) -> Result<()> {
    let agreement = read(&args.file)?;
    let Some(ack) = &agreement.ack else {
        return Err(Error::Refused {
            message: format!("{} holds no acknowledgement", args.file.display()),
            hint: Some("the supplier keeps them: give the file from its data directory".into()),
        });
    };
    let client = args.chain.act().await?;
    expect_accused(&client, &agreement).await?;
    let stake = client.answer_silence(ack).await.map_err(chain)?;
    let value = serde_json::json!({
        "lease": agreement.lease, "up_to_s": ack.ack.upTo, "stake": stake,
    });
    out.result(&value, |w| {
        writeln!(w, "Answered with an acknowledgement up to {}", moment(ack.ack.upTo))?;
        writeln!(w, "  {stake} JOULE that the utility staked are the supplier's")
    })
}

/// Says it more kindly than the court, which knows terms by their hash only.
async fn expect_accused(client: &Protocol, agreement: &Agreement) -> Result<()> {
    let record = client.lease_record(agreement.digest()).await.map_err(chain)?;
    if record.case.is_none() && record.answered_to_s.is_none() {
        return Err(Error::Refused {
            message: format!("nobody accuses {} about this lease", agreement.offer.terms.supplier),
            hint: Some("`kinesis lease show FILE` says what the court knows".into()),
        });
    }
    Ok(())
}

async fn notice(args: &LeaseFile, out: Output) -> Result<()> {
    let agreement = read(&args.file)?;
    let tx = args.chain.act().await?.give_notice(&agreement.offer.terms).await.map_err(chain)?;
    let did = format!("Gave notice of {}: silence from now on costs nothing", agreement.lease);
    done(out, tx, &did)
}
