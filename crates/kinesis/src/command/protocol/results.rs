//! `kinesis audit`, as far as it is about signed results: to run a job again, to claim that what was
//! signed of it is false, and to sit in judgement.

use std::{
    io::{self, Write},
    time::Duration,
};

use kinesis_chain::{
    ChainError, Joules, Protocol, dev,
    protocol::audits::{AuditClaim, Auditor, Court},
};
use kinesis_protocol::result::{Dossier, UNAVAILABLE};

use super::{OnChain, chain, done, lines, when};
use crate::{
    auditing::{
        fetch::{Fetcher, Files, Hosts, Place},
        finding::Finding,
        in_full,
        rerun::Outcome,
        work::{Allowed, Unavailable, Work},
    },
    cli::protocol::results::{
        AuditClaim as ClaimArgs, AuditClaims, AuditCommit, AuditEnrol, AuditOf, AuditRun,
        AuditWork, ResultCommand,
    },
    error::{Error, Result},
    output::{Output, millis, safe, table, write_table},
};

/// How many claims are listed.
const CLAIMS_MAX: u64 = 50;
/// Where an auditor works, below the data directory.
pub(super) const AUDITOR: &str = "auditor";

pub(crate) async fn run(command: ResultCommand, out: Output) -> Result<()> {
    match command {
        ResultCommand::Run(args) => rerun(&args, out).await,
        ResultCommand::Claim(args) => claim(&args, out).await,
        ResultCommand::Claims(args) => claims(&args, out).await,
        ResultCommand::Court(args) => {
            let court = args.look().await?.audit_court().await.map_err(chain)?;
            out.result(&court, |w| show_court(w, &court))
        }
        ResultCommand::Auditor(args) => {
            let of = args.chain.subject(args.address)?;
            let auditor = args.chain.look().await?.auditor(of).await.map_err(chain)?;
            out.result(&auditor, |w| show_auditor(w, &auditor))
        }
        ResultCommand::Enrol(args) => enrol(&args, out).await,
        ResultCommand::Sit(args) => {
            let seats = args.act().await?.sit().await.map_err(chain)?;
            out.result(&serde_json::json!({ "seats": seats }), |w| {
                writeln!(w, "Seated, as one of {seats} auditors\n\nnext: kinesis auditor")
            })
        }
        ResultCommand::Quit(args) => {
            let taken = args.act().await?.quit_auditing().await.map_err(chain)?;
            out.result(&serde_json::json!({ "taken": taken }), |w| {
                writeln!(w, "Took {taken} JOULE back")
            })
        }
        ResultCommand::Draw(args) => draw(&args, out).await,
        ResultCommand::Lapse(args) => {
            let tx = args.chain.act().await?.lapse_claim(args.claim).await.map_err(chain)?;
            done(out, tx, &format!("Claim {} lapsed", args.claim))
        }
        ResultCommand::Commit(args) => commit(&args, out).await,
        ResultCommand::Reveal(args) => reveal(&args, out).await,
        ResultCommand::Settle(args) => {
            let client = args.chain.act().await?;
            let claim = client.settle_claim(args.claim).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            out.result(&claim, |w| show_claim(w, &claim, now_s))
        }
    }
}

async fn rerun(args: &AuditRun, out: Output) -> Result<()> {
    // Beside whatever an auditor of this machine does.
    let work = Work::open(&args.work, "audit", Allowed::TYPED)?;
    let unavailable = |e: Unavailable| Error::Role { what: "audit", source: e.into() };
    let at = Place::typed(&args.dossier).map_err(|e| Error::usage(e.to_string()))?;
    let dossier = work.dossier(&at).await.map_err(unavailable)?;
    dossier.check().map_err(|e| Error::Refused { message: e.to_string(), hint: None })?;
    let start = tokio::time::Instant::now();
    let within = Duration::from_secs(args.within);
    let outcome = work.rerun(0, &at, &dossier, within).await.map_err(unavailable)?;
    let (output, fuel) = outcome.output();
    let signed = &dossier.signed.result;
    let equal = outcome.finding() == signed.finding();
    let value = serde_json::json!({
        "equal": equal,
        "found": {"output": output, "fuel": fuel, "finding": outcome.finding()},
        "signed": {"output": signed.output, "fuel": signed.fuel, "finding": signed.finding()},
        "outcome": outcome,
        "supplier": signed.supplier,
    });
    out.result(&value, |w| {
        lines(
            w,
            &[
                ("supplier", signed.supplier.to_string()),
                ("signed", format!("{} with {} fuel", signed.output, signed.fuel)),
                ("found", format!("{output} with {fuel} fuel")),
            ],
        )?;
        if let Outcome::Failed { reason } = &outcome {
            writeln!(w, "\nThe job fails: {}", safe(reason))?;
        }
        differences(w, &dossier, &outcome)?;
        let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let verdict = if equal { "Equal" } else { "Different" };
        writeln!(w, "\n{verdict}, after {}", millis(took))
    })?;
    if equal {
        return Ok(());
    }
    Err(Error::Refused {
        message: "something else comes out than the supplier signed".into(),
        hint: Some(format!(
            "the court of results hears it: `kinesis audit claim {}`",
            args.dossier
        )),
    })
}

/// The files that are not what the supplier says.
fn differences(w: &mut dyn Write, dossier: &Dossier, outcome: &Outcome) -> io::Result<()> {
    let Outcome::Completed { outputs, .. } = outcome else { return Ok(()) };
    for file in outputs {
        match dossier.outputs.iter().find(|said| said.path == file.path) {
            Some(said) if said.hash == file.hash => {}
            Some(_) => writeln!(w, "  {} differs", safe(&file.path))?,
            None => writeln!(w, "  {} was not signed", safe(&file.path))?,
        }
    }
    for said in &dossier.outputs {
        if !outputs.iter().any(|file| file.path == said.path) {
            writeln!(w, "  {} did not come out", safe(&said.path))?;
        }
    }
    Ok(())
}

async fn claim(args: &ClaimArgs, out: Output) -> Result<()> {
    let fetcher =
        Fetcher::new(Files::Any, Hosts::Any, 0).map_err(Error::role("fetching of dossiers"))?;
    let dossier = fetcher.dossier(&Place::File(args.dossier.clone())).await;
    let dossier = dossier.map_err(|e| Error::Usage {
        message: in_full(&e),
        hint: Some("`kinesis result JOB --out DIR` writes one".into()),
    })?;
    dossier.check().map_err(|e| Error::Refused { message: e.to_string(), hint: None })?;
    let locator = match &args.locator {
        Some(locator) => locator.clone(),
        None => {
            let path = std::fs::canonicalize(&args.dossier)
                .map_err(Error::io(format!("find {}", args.dossier.display())))?;
            format!("file://{}", path.display())
        }
    };
    Place::parse(&locator).map_err(|e| Error::usage(e.to_string()))?;
    let client = args.chain.act().await?;
    let id = client.claim_false(&dossier.signed, &locator).await.map_err(chain)?;
    let claim = client.audit_claim(id).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    out.result(&claim, |w| {
        show_claim(w, &claim, now_s)?;
        writeln!(w, "\nnext: kinesis audit claims {id}")
    })
}

async fn claims(args: &AuditClaims, out: Output) -> Result<()> {
    let client = args.chain.look().await?;
    let now_s = client.now_s().await.map_err(chain)?;
    if let Some(id) = args.claim {
        let claim = client.audit_claim(id).await.map_err(chain)?;
        let claimed = client.claimed(&claim).await.map_err(chain)?;
        let mut votes = Vec::new();
        for auditor in client.panel(id).await.map_err(chain)? {
            let vote = client.vote_on(id, auditor).await.map_err(chain)?;
            votes.push(serde_json::json!({"auditor": auditor, "vote": vote}));
        }
        let mut value = serde_json::to_value(&claim).map_err(Error::role("claim"))?;
        value["claimed"] = serde_json::json!(claimed);
        value["panel_votes"] = serde_json::json!(votes);
        return out.result(&value, |w| {
            show_claim(w, &claim, now_s)?;
            lines(w, &[("dossier", safe(&claimed.locator))])?;
            for vote in &votes {
                let said = &vote["vote"];
                let state = match (said["revealed"] == true, said["committed"] == true) {
                    (true, _) => format!("found {}", said["finding"].as_str().unwrap_or("?")),
                    (false, true) => "committed".to_owned(),
                    (false, false) => "silent".to_owned(),
                };
                writeln!(w, "  {}  {state}", vote["auditor"].as_str().unwrap_or("?"))?;
            }
            Ok(())
        });
    }
    let claims = client.audit_claims(CLAIMS_MAX).await.map_err(chain)?;
    out.result(&claims, |w| {
        if claims.is_empty() {
            return writeln!(w, "Nobody doubted a result yet");
        }
        let mut t = table([">claim", "state", "supplier", "challenger", ">case", "until"]);
        for claim in &claims {
            let until = match claim.state.as_str() {
                "voting" => when(claim.reveal_ends_s, now_s),
                "drawing" => format!("block {}", claim.draw_block),
                _ => String::new(),
            };
            t.add_row([
                claim.id.to_string(),
                claim.state.clone(),
                claim.supplier.to_string(),
                claim.challenger.to_string(),
                claim.case.to_string(),
                until,
            ]);
        }
        write_table(w, &t)
    })
}

fn show_claim(w: &mut dyn Write, claim: &AuditClaim, now_s: u64) -> io::Result<()> {
    let mut rows = vec![
        ("claim", claim.id.to_string()),
        ("state", claim.state.clone()),
        ("supplier", claim.supplier.to_string()),
        ("utility", claim.utility.to_string()),
        ("challenger", claim.challenger.to_string()),
        ("panel", format!("{} of them, {} must agree", claim.panel, claim.quorum)),
    ];
    match claim.state.as_str() {
        "drawing" => rows.push(("draws", format!("the hash of block {}", claim.draw_block))),
        "voting" => {
            rows.push(("commit until", when(claim.commit_ends_s, now_s)));
            rows.push(("reveal until", when(claim.reveal_ends_s, now_s)));
        }
        "refuted" => rows.push(("case", format!("{0}: kinesis audit execute {0}", claim.case))),
        _ => {}
    }
    lines(w, &rows)
}

fn show_court(w: &mut dyn Write, court: &Court) -> io::Result<()> {
    let joule = |amount: Joules| format!("{amount} JOULE");
    lines(
        w,
        &[
            ("panel", format!("{} auditors, {} must agree", court.panel, court.quorum)),
            ("places", format!("{} taken, a claim needs {}", court.seats, court.seats_needed)),
            (
                "a place costs",
                format!("{}, old for {} s", joule(court.seat_bond), court.maturity_s),
            ),
            (
                "to commit",
                format!("{} s, then {} s to reveal", court.commit_window_s, court.reveal_window_s),
            ),
            ("an auditor", format!("gets {}, or loses {}", joule(court.fee), joule(court.penalty))),
            (
                "a claim",
                format!("stakes {}, within {} s", joule(court.claim_stake), court.claim_period_s),
            ),
        ],
    )
}

fn show_auditor(w: &mut dyn Write, auditor: &Auditor) -> io::Result<()> {
    let place = match (auditor.seated, auditor.bond.0.is_zero()) {
        (true, _) => "taken",
        (false, true) => "none: `kinesis audit enrol` bonds for one",
        (false, false) => "none: `kinesis audit sit` takes one",
    };
    lines(
        w,
        &[
            ("auditor", auditor.address.to_string()),
            ("place", place.to_owned()),
            ("bond", format!("{} JOULE, {} at stake", auditor.bond, auditor.at_stake)),
            ("panels", auditor.duties.to_string()),
        ],
    )
}

async fn enrol(args: &AuditEnrol, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    let amount = match args.amount {
        Some(amount) => amount,
        None => client.audit_court().await.map_err(chain)?.seat_bond,
    };
    let tx = client.enrol(amount).await.map_err(chain)?;
    done(out, tx, &format!("Bonded {amount} JOULE for a place in the court of results"))
}

async fn draw(args: &AuditOf, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    pass_blocks(&args.chain, &client, args.claim).await?;
    let panel = client.draw_panel(args.claim).await.map_err(chain)?;
    out.result(&serde_json::json!({"claim": args.claim, "panel": panel}), |w| {
        if panel.is_empty() {
            return writeln!(w, "Too few auditors could be drawn: the claim is void");
        }
        panel.iter().try_for_each(|auditor| writeln!(w, "{auditor}"))
    })
}

/// On a development chain nobody else may be there to make the block that draws.
pub(super) async fn pass_blocks(on: &OnChain, client: &Protocol, claim: u64) -> Result<()> {
    let claim = client.audit_claim(claim).await.map_err(chain)?;
    let mut head = client.block_number().await.map_err(chain)?;
    while client.contracts().chain_id == dev::CHAIN_ID && head < claim.draw_block {
        dev::mine(&on.rpc()).await.map_err(chain)?;
        head += 1;
    }
    Ok(())
}

async fn commit(args: &AuditCommit, out: Output) -> Result<()> {
    let AuditWork { claim: id, work, chain: on } = &args.of;
    let client = on.act().await?;
    let allowed = match args.dossier {
        Some(_) => Allowed::TYPED,
        // What a stranger wrote on the chain leads to no file of ours.
        None => Allowed {
            files: Files::Below(None),
            hosts: hosts(&client, args.fetch_private),
            jobs: 1,
        },
    };
    let work = Work::open(work, AUDITOR, allowed)?;
    let claim = client.audit_claim(*id).await.map_err(chain)?;
    let me = client.address();
    let known = Finding::load(&work.findings(), *id, claim.result, me)?;
    let found = match known {
        Some(known) => known,
        None => {
            let now_s = client.now_s().await.map_err(chain)?;
            let within = Duration::from_secs(claim.commit_ends_s.saturating_sub(now_s));
            if within.is_zero() {
                return Err(Error::Refused {
                    message: format!("claim {id} takes no commitment now: it is {}", claim.state),
                    hint: Some(format!("see `kinesis audit claims {id}`")),
                });
            }
            let found = if args.unavailable {
                Finding::new(*id, claim.result, me, UNAVAILABLE, "so its auditor says".into())
            } else {
                let claimed = client.claimed(&claim).await.map_err(chain)?;
                let typed = args.dossier.as_deref().map(Place::typed).transpose();
                let typed = typed.map_err(|e| Error::usage(e.to_string()))?;
                work.find((&claim, me), &claimed, typed.as_ref(), within).await
            };
            found.save(&work.findings())?;
            found
        }
    };
    client.commit_finding(*id, found.finding, found.salt()).await.map_err(chain)?;
    let value = serde_json::json!({
        "claim": id, "finding": found.finding, "why": found.why, "available": !found.is_unavailable(),
    });
    out.result(&value, |w| {
        writeln!(w, "Committed: {}\n\nnext: kinesis audit reveal {id}", safe(&found.why))
    })
}

/// Which servers a claim may lead to: on a development chain everybody is on this machine.
pub(super) const fn hosts(client: &Protocol, private: bool) -> Hosts {
    let development = client.contracts().chain_id == dev::CHAIN_ID;
    if private || development { Hosts::Any } else { Hosts::Public }
}

async fn reveal(args: &AuditWork, out: Output) -> Result<()> {
    let work = Work::open(&args.work, AUDITOR, Allowed::TYPED)?;
    let client = args.chain.act().await?;
    let claim = client.audit_claim(args.claim).await.map_err(chain)?;
    let found = Finding::load(&work.findings(), args.claim, claim.result, client.address())?;
    let found = found.ok_or_else(|| Error::Refused {
        message: format!("nothing was found for claim {} in this working directory", args.claim),
        hint: Some("name the directory of the commitment with --work DIR".into()),
    })?;
    let tx = client.reveal_finding(args.claim, found.finding, found.salt()).await;
    done(out, tx.map_err(chain)?, &format!("Revealed: {}", safe(&found.why)))
}

/// What a refusal of the court means for somebody who watches it.
pub(super) fn is_refusal(error: &ChainError) -> bool {
    matches!(error, ChainError::Reverted(_) | ChainError::Senseless(_))
}
