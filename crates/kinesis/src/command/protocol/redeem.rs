//! `kinesis redeem` and `kinesis withdraw`: a supplier's money, in JOULE and in USD.

use std::path::PathBuf;

use kinesis_chain::{Joules, Settlement};
use kinesis_protocol::{U256, root::PaymentProof};

use super::{audit::read_signed, chain};
use crate::{
    cli::{
        protocol::{Redeem, Withdraw},
        role::{SupplyCommand, SupplyData, SupplyMoney, SupplyRedeem},
    },
    command::supply,
    error::{Error, Result},
    output::Output,
};

/// Redeems what is in files, for whoever they pay; without files what the agent has stored.
pub(crate) async fn redeem(args: Redeem, url: Option<String>, out: Output) -> Result<()> {
    if args.files.is_empty() {
        // An agent has a directory of its own and joined a chain: its own words are the better ones.
        let data = SupplyData { data: args.chain.data.clone() };
        let money = SupplyMoney { data, rpc: args.chain.rpc.clone() };
        return supply::run(SupplyCommand::Redeem(SupplyRedeem { money }), url, out).await;
    }
    let payments = proofs(&args.files)?;
    let key = args.chain.key()?;
    // Gas is no concern on a development chain, and the contracts are checked.
    let protocol = args.chain.act_as(key.clone()).await?;
    let at = *protocol.contracts();
    let settlement =
        Settlement::new(&args.chain.rpc(), at.chain_id, at.escrow, key).map_err(chain)?;
    let mut paid = U256::ZERO;
    let mut all = Vec::new();
    for payment in &payments {
        let redeemed = settlement.redeem(payment).await.map_err(chain)?;
        paid = paid.saturating_add(redeemed.paid_wei);
        all.push(serde_json::json!({
            "supplier": payment.supplier,
            "paid": Joules(redeemed.paid_wei),
            "redeemed": Joules(redeemed.redeemed_wei),
            "transaction": redeemed.transaction,
        }));
    }
    let value = serde_json::json!({"paid": Joules(paid), "payments": all});
    out.result(&value, |w| {
        if paid.is_zero() {
            return writeln!(w, "Everything that these proofs say was redeemed before");
        }
        writeln!(w, "Redeemed {} JOULE for {} suppliers", Joules(paid), payments.len())
    })
}

pub(crate) async fn withdraw(args: Withdraw, url: Option<String>, out: Output) -> Result<()> {
    supply::run(SupplyCommand::Withdraw(args.money), url, out).await
}

/// What the files hold.
fn proofs(files: &[PathBuf]) -> Result<Vec<PaymentProof>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(read_signed(file)?.proofs);
    }
    if all.is_empty() {
        return Err(Error::usage("there is no payment proof in these files"));
    }
    Ok(all)
}
