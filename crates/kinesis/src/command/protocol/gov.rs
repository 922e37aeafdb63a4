//! `kinesis gov`.

use std::io::{self, Write};

use kinesis_chain::{
    Protocol,
    protocol::governance::{Action, Call, Proposal, Upgradeable, Vote},
};
use kinesis_protocol::{Address, U256};

use super::{chain, done, lines, when};
use crate::{
    cli::protocol::{
        OnChain,
        gov::{GovCommand, GovList, GovPropose, GovVote, ProposalName, ProposeCommand, VoteWord},
    },
    error::{Error, Result},
    output::{Output, safe, table, write_table},
};

/// How many digits of a proposal's number are shown in a list.
const DIGITS: usize = 12;

pub(crate) async fn run(command: GovCommand, out: Output) -> Result<()> {
    match command {
        GovCommand::List(args) => list(&args, out).await,
        GovCommand::Show(args) => {
            let client = args.chain.look().await?;
            let proposal = find(&client, &args.id).await?;
            let now_s = client.now_s().await.map_err(chain)?;
            out.result(&proposal, |w| show(w, &proposal, now_s))
        }
        GovCommand::Propose(args) => propose(args, out).await,
        GovCommand::Vote(args) => vote(&args, out).await,
        GovCommand::Queue(args) => {
            let client = args.chain.act().await?;
            let proposal = find(&client, &args.id).await?;
            let at_s = client.queue_proposal(proposal.id).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            let value = serde_json::json!({"id": proposal.id.to_string(), "executable_at_s": at_s});
            out.result(&value, |w| {
                writeln!(w, "Queued; may be executed from {}", when(at_s, now_s))?;
                writeln!(w, "Then: kinesis gov execute {}", digits(proposal.id))
            })
        }
        GovCommand::Execute(args) => {
            let client = args.chain.act().await?;
            let proposal = find(&client, &args.id).await?;
            let tx = client.execute_proposal(proposal.id).await.map_err(chain)?;
            done(out, tx, &format!("Executed: {}", safe(&proposal.why)))
        }
        GovCommand::Cancel(args) => {
            let client = args.chain.act().await?;
            let proposal = find(&client, &args.id).await?;
            let tx = client.cancel_proposal(proposal.id).await.map_err(chain)?;
            done(out, tx, "Took the proposal back")
        }
        GovCommand::Delegate(args) => {
            let client = args.chain.act().await?;
            let to = args.address.unwrap_or_else(|| client.address());
            let tx = client.delegate(to).await.map_err(chain)?;
            done(out, tx, &format!("{to} votes with the JOULE of {}", client.address()))
        }
        GovCommand::Power(args) => {
            let of = args.chain.subject(args.address)?;
            let power = args.chain.look().await?.voting_power(of).await.map_err(chain)?;
            out.result(&power, |w| {
                let delegated = power
                    .delegated_to
                    .map_or_else(|| "nobody: it does not vote".to_owned(), |to| to.to_string());
                lines(
                    w,
                    &[
                        ("account", of.to_string()),
                        ("holds", format!("{} JOULE", power.holds)),
                        ("delegated to", delegated),
                        ("votes", power.votes.to_string()),
                        ("to propose", format!("{} votes are needed", power.to_propose)),
                    ],
                )
            })
        }
        GovCommand::Grants(args) => grants(&args, out).await,
        GovCommand::Release(args) => {
            let client = args.chain.act().await?;
            let amount = client.release_grant(args.grant).await.map_err(chain)?;
            out.result(&serde_json::json!({"amount": amount}), |w| {
                if amount.0.is_zero() {
                    return writeln!(w, "Nothing more has vested yet");
                }
                writeln!(w, "Paid {amount} JOULE of grant {}", args.grant)
            })
        }
    }
}

async fn list(args: &GovList, out: Output) -> Result<()> {
    let client = args.chain.look().await?;
    let page = client.proposals(args.before, usize::from(args.limit)).await.map_err(chain)?;
    out.result(&page, |w| {
        if page.proposals.is_empty() {
            let older = if args.before.is_some() { "before that" } else { "yet" };
            return writeln!(w, "Nothing was proposed {older}");
        }
        let mut t = table(["id", "state", ">for", ">against", "what"]);
        for proposal in &page.proposals {
            t.add_row([
                digits(proposal.id),
                proposal.state.clone(),
                proposal.votes_for.to_string(),
                proposal.votes_against.to_string(),
                first_line(&proposal.why),
            ]);
        }
        write_table(w, &t)?;
        page.next.map_or(Ok(()), |next| writeln!(w, "\nolder: kinesis gov list --before {next}"))
    })
}

/// The proposal that was meant.
async fn find(client: &Protocol, name: &ProposalName) -> Result<Proposal> {
    let mut found = match name {
        ProposalName::Latest => client.proposals(None, 1).await.map_err(chain)?.proposals,
        ProposalName::Digits(start) => {
            let found = client.proposals_named(start).await.map_err(chain)?;
            if found.len() > 1 {
                let message = format!("more than one proposal begins with {start}");
                return Err(Error::Usage { message, hint: Some("give more digits".into()) });
            }
            found
        }
    };
    found.pop().ok_or_else(|| Error::Refused {
        message: "there is no such proposal".into(),
        hint: Some("`kinesis gov list` shows them".into()),
    })
}

fn show(w: &mut dyn Write, proposal: &Proposal, now_s: u64) -> io::Result<()> {
    let mut rows = vec![
        ("id", proposal.id.to_string()),
        ("why", safe(&proposal.why)),
        ("proposer", proposal.proposer.to_string()),
        ("state", proposal.state.clone()),
        ("for", proposal.votes_for.to_string()),
        ("against", proposal.votes_against.to_string()),
        ("abstain", proposal.votes_abstain.to_string()),
    ];
    if let Some(quorum) = proposal.quorum {
        rows.push(("quorum", quorum.to_string()));
    }
    rows.push((
        "vote",
        format!("{} to {}", when(proposal.vote_starts_s, now_s), when(proposal.vote_ends_s, now_s)),
    ));
    if let Some(at_s) = proposal.executable_at_s {
        rows.push(("executable", when(at_s, now_s)));
    }
    lines(w, &rows)?;
    writeln!(w)?;
    proposal.effects.iter().try_for_each(|effect| writeln!(w, "  {}", safe(effect)))?;
    let id = digits(proposal.id);
    match proposal.state.as_str() {
        "active" => writeln!(w, "\nnext: kinesis gov vote {id} for|against|abstain"),
        "succeeded" => writeln!(w, "\nnext: kinesis gov queue {id}"),
        "queued" => writeln!(w, "\nnext: kinesis gov execute {id}"),
        _ => Ok(()),
    }
}

async fn propose(args: GovPropose, out: Output) -> Result<()> {
    let (action, on) = action(args.what)?;
    if args.dry_run {
        let client = on.look().await?;
        let calls = client.calls_of(&action).await.map_err(chain)?;
        let effects: Vec<_> = calls.iter().map(|call| call.in_words(client.contracts())).collect();
        let value = serde_json::json!({
            "what": action.to_string(),
            "effects": effects,
            "calls": calls,
        });
        return out.result(&value, |w| {
            writeln!(w, "{action}")?;
            effects.iter().try_for_each(|effect| writeln!(w, "  {effect}"))
        });
    }
    let client = on.act().await?;
    let id = client.propose(&action, args.why.as_deref()).await.map_err(chain)?;
    let value = serde_json::json!({"id": id.to_string(), "what": action.to_string()});
    out.result(&value, |w| {
        writeln!(w, "Proposed: {action}\n  id {id}")?;
        writeln!(w, "Next: kinesis gov vote {} for", digits(id))
    })
}

/// What is proposed, and on which chain.
fn action(what: ProposeCommand) -> Result<(Action, OnChain)> {
    use ProposeCommand as P;
    Ok(match what {
        P::SetFee(args) => (Action::SetFee(args.bp), args.chain),
        P::SetEmission(args) => (Action::SetEmission(args.bp), args.chain),
        P::SetExchangeFee(args) => (Action::SetExchangeFee(args.bp), args.chain),
        P::SetThaw(args) => (Action::SetThaw(args.time.0), args.chain),
        P::SetWithdrawalDelay(args) => (Action::SetWithdrawalDelay(args.time.0), args.chain),
        P::SetNodeBond(args) => (Action::SetNodeBond(args.amount), args.chain),
        P::SetUtilityBond(args) => (Action::SetUtilityBond(args.amount), args.chain),
        P::SetUnderwriter(args) => (Action::SetUnderwriter(args.address), args.chain),
        P::SetGuardian(args) => (Action::SetGuardian(args.address), args.chain),
        P::Mint(args) => (Action::Mint { to: args.to, amount: args.amount }, args.chain),
        P::Pay(args) => (Action::Pay { to: args.to, amount: args.amount }, args.chain),
        P::Grant(args) => {
            let (cliff_s, duration_s) = (args.cliff.0, args.over.0);
            (Action::Grant { to: args.to, amount: args.amount, cliff_s, duration_s }, args.chain)
        }
        P::Revoke(args) => (Action::Revoke(U256::from(args.grant)), args.chain),
        P::Upgrade(args) => {
            let (contract, implementation) = (args.contract, args.implementation);
            (Action::Upgrade { contract, implementation }, args.chain)
        }
        P::Call(args) => {
            let target = target(&args.target, &args.chain)?;
            let call = Call::parse(target, &args.signature, &args.arguments).map_err(chain)?;
            (Action::Call(call), args.chain)
        }
    })
}

/// A contract of the protocol by its name, or an address.
fn target(text: &str, on: &OnChain) -> Result<Address> {
    if let Some(known) = Upgradeable::ALL.into_iter().find(|known| known.name() == text) {
        return known.address(&on.contracts()?).map_err(chain);
    }
    text.parse().map_err(|_| {
        let names = Upgradeable::ALL.map(Upgradeable::name).join(", ");
        Error::Usage {
            message: format!("\"{text}\" is no address and no contract of the protocol"),
            hint: Some(format!("contracts are {names}")),
        }
    })
}

async fn vote(args: &GovVote, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    let proposal = find(&client, &args.id).await?;
    let vote = match args.vote {
        VoteWord::For => Vote::For,
        VoteWord::Against => Vote::Against,
        VoteWord::Abstain => Vote::Abstain,
    };
    let weight = client.vote(proposal.id, vote).await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    let value = serde_json::json!({
        "id": proposal.id.to_string(),
        "vote": vote,
        "weight": weight,
        "vote_ends_s": proposal.vote_ends_s,
    });
    out.result(&value, |w| {
        writeln!(w, "Voted with {weight}; the vote ends {}", when(proposal.vote_ends_s, now_s))
    })
}

async fn grants(args: &OnChain, out: Output) -> Result<()> {
    let client = args.look().await?;
    let grants = client.grants().await.map_err(chain)?;
    let now_s = client.now_s().await.map_err(chain)?;
    out.result(&grants, |w| {
        if grants.is_empty() {
            return writeln!(w, "Nothing was granted yet");
        }
        let mut t = table([">grant", "grantee", ">amount", ">vested", ">paid", "vested by"]);
        for grant in &grants {
            let ends = if grant.revoked { "revoked".to_owned() } else { when(grant.ends_s, now_s) };
            t.add_row([
                grant.id.to_string(),
                grant.grantee.to_string(),
                grant.amount.to_string(),
                grant.vested.to_string(),
                grant.paid.to_string(),
                ends,
            ]);
        }
        write_table(w, &t)
    })
}

/// Enough of a number to name it.
fn digits(id: U256) -> String {
    id.to_string().chars().take(DIGITS).collect()
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    safe(&line.chars().take(80).collect::<String>())
}
