//! `kinesis redeem` and `kinesis withdraw`: a supplier's money, in JOULE and in USD.

use std::{collections::BTreeSet, path::PathBuf};

use kinesis_chain::Joules;
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
        let passphrase_file = args.chain.passphrase_file.clone();
        let money = SupplyMoney { data, rpc: args.chain.rpc.clone(), passphrase_file };
        return supply::run(SupplyCommand::Redeem(SupplyRedeem { money }), url, out).await;
    }
    let payments = proofs(&args.files)?;
    // Gas is no concern on a development chain, and the contracts are checked.
    let settlement = args.chain.act().await?.settlement();
    let all = settlement.redeem_many(&payments).await.map_err(chain)?;
    let paid = all.iter().fold(U256::ZERO, |sum, one| sum.saturating_add(one.paid_wei));
    let transactions: BTreeSet<_> = all.iter().filter_map(|one| one.transaction).collect();
    let shown: Vec<_> = all
        .iter()
        .map(|one| {
            serde_json::json!({
                "supplier": one.supplier,
                "utility": one.utility,
                "series": one.series,
                "paid": Joules(one.paid_wei),
                "redeemed": Joules(one.redeemed_wei),
                "transaction": one.transaction,
            })
        })
        .collect();
    let value = serde_json::json!({
        "paid": Joules(paid),
        "payments": shown,
        "transactions": transactions,
    });
    out.result(&value, |w| {
        if paid.is_zero() {
            return writeln!(w, "Everything that these proofs say was redeemed before");
        }
        let suppliers = all.iter().filter(|one| !one.paid_wei.is_zero()).count();
        writeln!(w, "Redeemed {} JOULE for {suppliers} suppliers", Joules(paid))?;
        transactions.iter().try_for_each(|tx| writeln!(w, "  transaction {tx}"))
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
