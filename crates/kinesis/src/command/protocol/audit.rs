//! `kinesis audit`: a utility's books from outside. What concerns signed results is in
//! [`super::results`].

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use kinesis_chain::{
    Joules,
    protocol::{
        audit::{self, Books, Finding},
        disputes::Case,
    },
};
use kinesis_control::api::{GridView, SupplierView};
use kinesis_protocol::{SignedRoot, root::PaymentProof};
use serde::Deserialize;

use super::{chain, done, lines, read_json, when};
use crate::{
    cli::protocol::{
        OnChain,
        audit::{AuditAccuse, AuditBooks, AuditCollect, AuditCommand, AuditFiles},
    },
    client::Client,
    error::{Error, Result},
    output::{Output, safe, table, write_table},
};

/// How many cases are listed.
const CASES_MAX: u64 = 50;

pub(crate) async fn run(command: AuditCommand, url: Option<String>, out: Output) -> Result<()> {
    match command {
        AuditCommand::Books(args) => books(&args, url, out).await,
        AuditCommand::Roots(args) => roots(&args, out).await,
        AuditCommand::Accuse(args) => accuse(&args, out).await,
        AuditCommand::Cases(args) => cases(&args, out).await,
        AuditCommand::Case(args) => {
            let client = args.chain.look().await?;
            let case = client.case(args.case).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            out.result(&case, |w| show_case(w, &case, now_s))
        }
        AuditCommand::Execute(args) => {
            let client = args.chain.act().await?;
            let slashed = client.execute_case(args.case).await.map_err(chain)?;
            out.result(&serde_json::json!({"case": args.case, "slashed": slashed}), |w| {
                writeln!(w, "Slashed {slashed} JOULE")
            })
        }
        AuditCommand::Veto(args) => {
            let tx = args.chain.act().await?.veto_case(args.case).await.map_err(chain)?;
            done(out, tx, &format!("Stopped case {}", args.case))
        }
        AuditCommand::Collect(args) => collect(&args, out).await,
        AuditCommand::Results(command) => super::results::run(command, out).await,
    }
}

/// What a file holds that a utility has signed.
#[derive(Debug, Default)]
pub(super) struct Signed {
    pub(super) roots: Vec<SignedRoot>,
    pub(super) proofs: Vec<PaymentProof>,
}

/// One thing, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Entry>),
    One(Box<Entry>),
}

/// What stands in a file: as it is, as the API gives it, or as an agent stores it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Proof(PaymentProof),
    Root(SignedRoot),
    Given { payment: PaymentProof },
}

/// Reads signed roots and payment proofs.
pub(super) fn read_signed(path: &Path) -> Result<Signed> {
    let what = "signed roots or payment proofs";
    let entries = match read_json(path, what)? {
        OneOrMany::Many(entries) => entries,
        OneOrMany::One(entry) => vec![*entry],
    };
    let mut signed = Signed::default();
    for entry in entries {
        match entry {
            Entry::Proof(proof) | Entry::Given { payment: proof } => signed.add(proof),
            Entry::Root(root) => signed.roots.push(root),
        }
    }
    Ok(signed)
}

impl Signed {
    fn add(&mut self, proof: PaymentProof) {
        self.roots.push(proof.signed.clone());
        self.proofs.push(proof);
    }

    fn read(files: &[std::path::PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for file in files {
            let one = read_signed(file)?;
            all.roots.extend(one.roots);
            all.proofs.extend(one.proofs);
        }
        Ok(all)
    }

    /// The newest root of each series, for what it says in all.
    fn newest(&self) -> Vec<&SignedRoot> {
        let series: BTreeSet<_> =
            self.roots.iter().map(|root| (root.root.utility, root.root.series)).collect();
        series
            .into_iter()
            .filter_map(|of| {
                let of_series =
                    self.roots.iter().filter(|root| (root.root.utility, root.root.series) == of);
                of_series.max_by_key(|root| (root.root.tick, root.root.total))
            })
            .collect()
    }
}

async fn books(args: &AuditBooks, url: Option<String>, out: Output) -> Result<()> {
    let mut signed = Signed::read(&args.files)?;
    let mut notes = Vec::new();
    let portal = Client::public(url)?;
    match portal.get::<GridView>("/v1/grid").await {
        Ok(grid) => {
            let suppliers: BTreeSet<_> = grid.nodes.iter().map(|node| node.supplier).collect();
            for supplier in suppliers {
                let path = format!("/v1/suppliers/{supplier}");
                match portal.get::<SupplierView>(&path).await {
                    Ok(SupplierView { payment: Some(payment), .. }) => signed.add(payment),
                    Ok(_) => {}
                    Err(e) => notes.push(format!("{supplier}: {e}")),
                }
            }
        }
        // Proofs that are held speak without the utility.
        Err(e) if !signed.roots.is_empty() => notes.push(e.to_string()),
        Err(e) => return Err(e),
    }
    report(&args.chain, &signed, &notes, out).await
}

async fn roots(args: &AuditFiles, out: Output) -> Result<()> {
    report(&args.chain, &Signed::read(&args.files)?, &[], out).await
}

/// Says what was looked at and what is wrong with it.
async fn report(on: &OnChain, signed: &Signed, notes: &[String], out: Output) -> Result<()> {
    let client = on.look().await?;
    let at = *client.contracts();
    let mut findings = audit::proofs(at.chain_id, at.escrow, &signed.proofs);
    for found in audit::roots(at.chain_id, at.escrow, &signed.roots) {
        if !findings.contains(&found) {
            findings.push(found);
        }
    }
    let mut all = Vec::new();
    for newest in signed.newest() {
        let (books, found) = client.books(newest).await.map_err(chain)?;
        all.push(books);
        findings.extend(
            found.into_iter().filter(|found| !findings.contains(found)).collect::<Vec<_>>(),
        );
    }
    let value = serde_json::json!({
        "roots": signed.roots.len(),
        "proofs": signed.proofs.len(),
        "books": all,
        "findings": findings,
        "unanswered": notes,
    });
    out.result(&value, |w| {
        for books in &all {
            show_books(w, books)?;
        }
        notes.iter().try_for_each(|note| writeln!(w, "not answered: {}", safe(note)))?;
        let checked = format!("{} proofs and {} roots", signed.proofs.len(), signed.roots.len());
        if findings.is_empty() {
            return writeln!(w, "Checked {checked}: nothing is wrong");
        }
        findings.iter().try_for_each(|found| writeln!(w, "! {}", words(found)))
    })?;
    match findings.iter().filter(|found| found.is_offence()).count() {
        0 if findings.is_empty() => Ok(()),
        0 => Err(Error::Refused {
            message: format!("{} things are wrong", findings.len()),
            hint: None,
        }),
        offences => Err(Error::Refused {
            message: format!("{offences} offences, of {} things that are wrong", findings.len()),
            hint: Some("the court takes them: `kinesis audit accuse FILE [FILE]`".into()),
        }),
    }
}

fn show_books(w: &mut dyn Write, books: &Books) -> io::Result<()> {
    let joule = |amount: Joules| format!("{amount} JOULE");
    lines(
        w,
        &[
            ("utility", books.utility.to_string()),
            ("series", format!("{}, tick {}", books.series, books.tick)),
            ("signed", joule(books.signed)),
            ("redeemed", joule(books.redeemed)),
            ("to redeem", format!("{} with the fee", joule(books.needed))),
            ("escrow", format!("{}, {} of it asked back", joule(books.balance), books.thawing)),
            ("cover", joule(books.cover)),
        ],
    )?;
    writeln!(w)
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Equivocation { first, second } => format!(
            "two roots for tick {} of series {} of {}: {} and {}",
            first.root.tick,
            first.root.series,
            first.root.utility,
            first.root.root,
            second.root.root
        ),
        Finding::Overdraft { root, cover } => format!(
            "{} signed {} JOULE in series {} and covers {cover}",
            root.root.utility,
            Joules(root.root.total),
            root.root.series
        ),
        Finding::Short { series, missing, .. } => {
            format!("the escrow of series {series} lacks {missing} JOULE to pay everything now")
        }
        Finding::Unsigned { utility, series, tick } => {
            format!("a root for tick {tick} of series {series} is not signed by {utility}")
        }
        Finding::BrokenProof { supplier, tick } => {
            format!("the proof of {supplier} does not lead to the root of tick {tick}")
        }
        Finding::TotalFell { earlier, later } => format!(
            "the total fell from {} at tick {} to {} at tick {}",
            Joules(earlier.root.total),
            earlier.root.tick,
            Joules(later.root.total),
            later.root.tick
        ),
        Finding::SupplierFell { supplier, earlier_tick, earlier, later_tick, later } => format!(
            "{supplier} fell from {earlier} at tick {earlier_tick} to {later} at tick {later_tick}"
        ),
        Finding::AboveTotal { root, known } => format!(
            "the known suppliers of tick {} have {known} JOULE, and the total is {}",
            root.root.tick,
            Joules(root.root.total)
        ),
    }
}

async fn accuse(args: &AuditAccuse, out: Output) -> Result<()> {
    let signed = Signed::read(&args.files)?;
    let client = args.chain.act().await?;
    let case = match &signed.roots[..] {
        [root] => client.accuse_overdraft(root).await,
        [first, second] => client.accuse_equivocation(first, second).await,
        others => {
            return Err(Error::usage(format!(
                "an accusation takes one root or two, and the files hold {}",
                others.len()
            )));
        }
    };
    let case = client.case(case.map_err(chain)?).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    out.result(&case, |w| {
        show_case(w, &case, now_s)?;
        writeln!(w, "\nnext: kinesis audit execute {}", case.id)
    })
}

async fn cases(args: &OnChain, out: Output) -> Result<()> {
    let client = args.look().await?;
    let cases = client.cases(CASES_MAX).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    out.result(&cases, |w| {
        if cases.is_empty() {
            return writeln!(w, "Nobody was accused yet");
        }
        let mut t = table([">case", "offence", "accused", "state", ">slashed", "window ends"]);
        for case in &cases {
            t.add_row([
                case.id.to_string(),
                case.offence.clone(),
                case.accused.to_string(),
                case.state.clone(),
                case.slashed.to_string(),
                when(case.window_ends_s, now_s),
            ]);
        }
        write_table(w, &t)
    })
}

fn show_case(w: &mut dyn Write, case: &Case, now_s: u64) -> io::Result<()> {
    let mut rows = vec![
        ("case", case.id.to_string()),
        ("offence", case.offence.clone()),
        ("accused", case.accused.to_string()),
        ("challenger", case.challenger.to_string()),
        ("state", case.state.clone()),
        ("window ends", when(case.window_ends_s, now_s)),
    ];
    if case.tick > 0 {
        rows.insert(3, ("tick", format!("{} of series {}", case.tick, case.series)));
    }
    if case.compensation_ends_s > 0 {
        rows.push(("slashed", format!("{} JOULE", case.slashed)));
        rows.push((
            "for victims",
            format!(
                "{} JOULE until {}, {} of it collected",
                case.compensation,
                when(case.compensation_ends_s, now_s),
                case.compensated
            ),
        ));
    }
    lines(w, &rows)
}

async fn collect(args: &AuditCollect, out: Output) -> Result<()> {
    let signed = read_signed(&args.proof)?;
    let [proof] = &signed.proofs[..] else {
        return Err(Error::usage(format!(
            "{} holds no single payment proof",
            args.proof.display()
        )));
    };
    let client = args.chain.act().await?;
    let paid = client.compensate(args.case, proof).await.map_err(chain)?;
    out.result(&serde_json::json!({"supplier": proof.supplier, "paid": paid}), |w| {
        writeln!(w, "Compensated {} with {paid} JOULE", proof.supplier)
    })
}
