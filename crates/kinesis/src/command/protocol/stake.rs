//! `kinesis stake`.

use std::io::{self, Write};

use kinesis_agent::wallet::stored;
use kinesis_chain::protocol::stake::{Claim, Offer, Stake};
use kinesis_wire::{NodeSecret, signed_by};

use super::{chain, done, lines, percent, when};
use crate::{
    cli::protocol::stake::{StakeClaim, StakeCommand, StakeNode, StakeOffer},
    config,
    error::{Error, Result},
    output::{Output, safe, table, write_table},
    passphrase,
    role::join,
};

pub(crate) async fn run(command: StakeCommand, out: Output) -> Result<()> {
    match command {
        StakeCommand::Show(args) => {
            let of = args.chain.subject(args.address)?;
            let client = args.chain.look().await?;
            let stake = client.stake(of).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            out.result(&stake, |w| show(w, &stake, now_s))
        }
        StakeCommand::Bond(args) => {
            let client = args.chain.act().await?;
            let operator = args.operator.unwrap_or_else(|| client.address());
            let tx = client.bond(operator, args.amount).await.map_err(chain)?;
            done(out, tx, &format!("Bonded {} JOULE for {operator}", args.amount))
        }
        StakeCommand::Thaw(args) => {
            let client = args.chain.act().await?;
            let thawed_at_s = client.thaw(args.amount).await.map_err(chain)?;
            let now_s = client.now_s().await.map_err(chain)?;
            let value = serde_json::json!({"amount": args.amount, "thawed_at_s": thawed_at_s});
            out.result(&value, |w| {
                if args.amount.0.is_zero() {
                    return writeln!(w, "Nothing thaws any more");
                }
                writeln!(w, "{} JOULE thaw until {}", args.amount, when(thawed_at_s, now_s))?;
                writeln!(w, "Then take them with `kinesis stake unbond`")
            })
        }
        StakeCommand::Unbond(args) => {
            let client = args.chain.act().await?;
            let to = args.to.unwrap_or_else(|| client.address());
            let amount = client.unbond(to).await.map_err(chain)?;
            let value = serde_json::json!({"amount": amount, "to": to});
            out.result(&value, |w| writeln!(w, "Took {amount} JOULE of stake to {to}"))
        }
        StakeCommand::Claim(args) => claim(args, out).await,
        StakeCommand::Release(args) => {
            let client = args.chain.act().await?;
            let tx = client.release_node(args.node).await.map_err(chain)?;
            done(out, tx, &format!("Released {}", args.node))
        }
        StakeCommand::Claims(args) => claims(args, out).await,
        StakeCommand::Offer(args) => offer(args, out).await,
        StakeCommand::Retire(args) => {
            let tx = args.act().await?.retire_offer().await.map_err(chain)?;
            done(out, tx, "Ended the offer")
        }
        StakeCommand::Offers(args) => {
            let client = args.chain.look().await?;
            let (offers, next) = client.offers_from(args.from, args.limit).await.map_err(chain)?;
            out.result(&serde_json::json!({"offers": offers, "next": next}), |w| {
                show_offers(w, &offers)?;
                match next {
                    Some(next) => writeln!(w, "\nmore: kinesis stake offers --from {next}"),
                    None => Ok(()),
                }
            })
        }
    }
}

fn show(w: &mut dyn Write, stake: &Stake, now_s: u64) -> io::Result<()> {
    let joule = |amount| format!("{amount} JOULE");
    let mut rows = vec![
        ("operator", stake.operator.to_string()),
        ("active", joule(stake.active)),
        ("needed", joule(stake.required)),
        ("own", joule(stake.own)),
    ];
    if let Some(lender) = stake.lender {
        rows.push(("lent", format!("{} JOULE by {lender}", stake.lent)));
    }
    let thawing = match stake.thawed_at_s {
        Some(at_s) => format!("{} JOULE, yours from {}", stake.thawing, when(at_s, now_s)),
        None => joule(stake.thawing),
    };
    rows.push(("thawing", thawing));
    if stake.locks > 0 {
        rows.push(("held", format!("by {} open cases", stake.locks)));
    }
    if let Some(offer) = &stake.offer {
        rows.push(("offer", safe(&offer.endpoint)));
    }
    lines(w, &rows)?;
    if stake.nodes.is_empty() {
        return Ok(());
    }
    writeln!(w)?;
    show_claims(w, &stake.nodes)
}

/// Whether the node itself has signed the claim.
fn holds(claim: &Claim) -> bool {
    signed_by(claim.node, claim.digest.as_slice(), &claim.node_signature)
}

fn show_claims(w: &mut dyn Write, claims: &[Claim]) -> io::Result<()> {
    let mut t = table(["node", "supplier", ">number", "signed by the node"]);
    for claim in claims {
        t.add_row([
            claim.node.to_string(),
            claim.supplier.to_string(),
            claim.sequence.to_string(),
            if holds(claim) { "yes" } else { "no: it says nothing" }.to_owned(),
        ]);
    }
    write_table(w, &t)
}

async fn claim(args: StakeClaim, out: Output) -> Result<()> {
    let dir = config::data_dir(args.agent.as_deref(), Some(join::DATA))?;
    // A passphrase is for the key of whoever is named to pay; else it is the supplier's.
    let passphrase_file = args.chain.passphrase_file.as_deref();
    let passphrase_file = passphrase_file.filter(|_| args.chain.acting.is_none());
    let supplier = passphrase::open_key(&stored::key_path(&dir), passphrase_file)?;
    let path = dir.join("node.key");
    if !path.exists() {
        return Err(Error::Usage {
            message: format!("{} holds no node's key", dir.display()),
            hint: Some("name the agent's data directory with --agent DIR".into()),
        });
    }
    let node = NodeSecret::load_or_create(&path).map_err(Error::role("node's key"))?;
    // Whoever is named pays for the gas; else the supplier does.
    let client = match &args.chain.acting {
        Some(_) => args.chain.act().await?,
        None => args.chain.act_as(supplier.clone()).await?,
    };
    let request =
        client.request_claim(&supplier, node.node_id(), args.valid).await.map_err(chain)?;
    let signature = node.sign(request.digest.as_slice());
    let tx = client.claim_node(&request, &signature).await.map_err(chain)?;
    let value = serde_json::json!({
        "node": request.node,
        "supplier": request.supplier,
        "sequence": request.sequence,
        "transaction": tx,
    });
    out.result(&value, |w| {
        writeln!(w, "{} is claimed by {}", request.node, request.supplier)?;
        writeln!(w, "  transaction {tx}")
    })
}

async fn claims(args: StakeNode, out: Output) -> Result<()> {
    let mut claims = args.chain.look().await?.claims_on(args.node).await.map_err(chain)?;
    claims.sort_by_key(|claim| std::cmp::Reverse((holds(claim), claim.sequence)));
    let bound = claims.first().filter(|claim| holds(claim)).map(|claim| claim.supplier);
    let value = serde_json::json!({"node": args.node, "bound_to": bound, "claims": claims});
    out.result(&value, |w| {
        if claims.is_empty() {
            return writeln!(w, "Nobody claims {}", args.node);
        }
        show_claims(w, &claims)?;
        match bound {
            Some(supplier) => writeln!(w, "\nbound to {supplier}"),
            None => writeln!(w, "\nbound to nobody: no claim is signed by the node"),
        }
    })
}

async fn offer(args: StakeOffer, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    let offer = Offer {
        utility: client.address(),
        endpoint: args.endpoint,
        margin_bp: args.margin_bp,
        availability_bp: args.availability_bp,
        failover_ms: args.failover_ms,
        credit_bp: args.credit_bp,
    };
    let tx = client.publish_offer(&offer).await.map_err(chain)?;
    done(out, tx, &format!("Published {}", safe(&offer.endpoint)))
}

fn show_offers(w: &mut dyn Write, offers: &[Offer]) -> io::Result<()> {
    if offers.is_empty() {
        return writeln!(w, "No utility has published an offer");
    }
    let mut t = table(["utility", "endpoint", ">margin", ">answers", ">failover", ">credit"]);
    for offer in offers {
        t.add_row([
            offer.utility.to_string(),
            safe(&offer.endpoint),
            percent(offer.margin_bp),
            percent(offer.availability_bp),
            format!("{} ms", offer.failover_ms),
            percent(offer.credit_bp),
        ]);
    }
    write_table(w, &t)
}

#[cfg(test)]
mod tests {
    use kinesis_chain::Key;
    use kinesis_protocol::{B256, NodeId};

    use super::*;

    #[test]
    fn a_claim_holds_by_the_nodes_own_signature() {
        let secret = NodeSecret::generate();
        let digest = B256::repeat_byte(7);
        let claim = |node: NodeId, node_signature| Claim {
            node,
            supplier: Key::random().address(),
            sequence: 1,
            deadline_s: 2,
            claimed_at_s: 1,
            digest,
            node_signature,
        };
        assert!(holds(&claim(secret.node_id(), secret.sign(digest.as_slice()))));
        let other = NodeSecret::generate();
        assert!(!holds(&claim(secret.node_id(), other.sign(digest.as_slice()))));
        assert!(!holds(&claim(NodeId([0xff; 32]), [0; 64])));
    }
}
