//! `kinesis protocol`: the contracts as a whole, put on a chain and looked at.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write},
    path::Path,
    sync::Arc,
};

use kinesis_chain::{
    Contracts, DeployConfig,
    amount::decimal,
    deploy::{Check, DeployPreview, Deployment, verify},
    dev,
};
use kinesis_protocol::U256;

use super::{chain, runs};
use crate::{
    cli::protocol::deploy::{ProtocolCommand, ProtocolDeploy, ProtocolVerify},
    error::{Error, Result},
    files,
    output::{Output, safe, table, write_table},
};

/// Decimals of every chain's own coin, and of a gwei.
const COIN: usize = 18;
const GWEI: usize = 9;

pub(crate) async fn run(command: ProtocolCommand, out: Output) -> Result<()> {
    match command {
        ProtocolCommand::Deploy(args) => deploy(&args, out).await,
        ProtocolCommand::Verify(args) => check(&args, out).await,
    }
}

/// The parameters of a file.
fn read_config(path: &Path) -> Result<DeployConfig> {
    let text = files::read_text(path)?.ok_or_else(|| Error::Usage {
        message: format!("there is no file {}", path.display()),
        hint: Some("docs/protocol/deploy.md shows one".into()),
    })?;
    DeployConfig::parse(&text)
        .map_err(|error| Error::Config { path: path.to_owned(), source: error.into() })
}

async fn deploy(args: &ProtocolDeploy, out: Output) -> Result<()> {
    let config = args.config.as_deref().map(read_config).transpose()?;
    let key = args.chain.key()?;
    let rpc = args.chain.rpc();
    let chain_id = kinesis_chain::chain_id(&rpc).await.map_err(chain)?;
    let config = config.unwrap_or_else(|| match chain_id {
        dev::CHAIN_ID => DeployConfig::development(key.address()),
        _ => DeployConfig::default(),
    });
    let deployment = Deployment::new(&rpc, key, config.clone()).await.map_err(chain)?;
    let preview = deployment.preview().await.map_err(chain)?;
    if args.dry_run {
        return out.result(&preview, |w| show(w, &preview));
    }
    if preview.gas > 0 {
        confirm(args, &preview, out)?;
    }
    // Of two deployments by one account the second waits.
    let (journal, _held) = runs::journal(chain_id, deployment.deployer(), out).await?;
    let deployment = deployment.journalled(Arc::new(journal));
    let mut progress = out.progress();
    progress.step("Deploying");
    let says = |what: &str, at| out.note(format!("  {what} {at}"));
    let contracts = deployment.run(&says).await.map_err(chain)?;
    drop(progress);
    write(&args.out, &contracts)?;
    let checks = verify(&rpc, &contracts, Some(&config)).await.map_err(chain)?;
    let value = serde_json::json!({
        "contracts": contracts,
        "file": args.out,
        "checks": checks,
    });
    out.result(&value, |w| {
        writeln!(w, "Deployed on chain {chain_id}; addresses are in {}", args.out.display())?;
        show_checks(w, &checks)
    })?;
    judge(&checks)
}

fn write(path: &Path, contracts: &Contracts) -> Result<()> {
    let text = serde_json::to_string_pretty(contracts).expect("addresses are text");
    // No secret: everybody on the machine may use it.
    std::fs::write(path, text + "\n").map_err(Error::io(format!("write {}", path.display())))
}

fn show(w: &mut dyn Write, preview: &DeployPreview) -> io::Result<()> {
    let mut t = table(["what", "address", ">gas"]);
    for step in &preview.steps {
        let gas = if step.done { "done".to_owned() } else { step.gas.to_string() };
        t.add_row([step.what.clone(), step.address.to_string(), gas]);
    }
    write_table(w, &t)?;
    writeln!(w, "\nchain     {}", preview.chain_id)?;
    writeln!(w, "deployer  {}", preview.deployer)?;
    writeln!(
        w,
        "gas       {} at most, at {} gwei now",
        preview.gas,
        decimal(preview.fee_per_gas_wei, GWEI)
    )?;
    writeln!(w, "cost      {} of the chain's coin at most", decimal(preview.cost_wei, COIN))?;
    writeln!(w, "it has    {}", decimal(preview.balance_wei, COIN))
}

/// Shows what is about to be done and asks for it.
fn confirm(args: &ProtocolDeploy, preview: &DeployPreview, out: Output) -> Result<()> {
    if preview.balance_wei == U256::ZERO {
        return Err(Error::Refused {
            message: format!("{} has nothing to pay for gas with", preview.deployer),
            hint: Some(format!(
                "send it {} of the chain's coin: `--dry-run` shows what it is for",
                decimal(preview.cost_wei, COIN)
            )),
        });
    }
    if args.yes {
        return Ok(());
    }
    let mut text = Vec::new();
    show(&mut text, preview).map_err(Error::io("write the plan"))?;
    out.note(String::from_utf8_lossy(&text));
    if !io::stdin().is_terminal() {
        return Err(Error::Usage {
            message: "nobody can be asked whether to deploy: there is no terminal".into(),
            hint: Some("say --yes, or --dry-run to see what would be done".into()),
        });
    }
    // The question is no result: a script that reads results is not asked.
    let _ = write!(io::stderr(), "Deploy? Type yes: ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(Error::io("read the answer"))?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Error::Refused { message: "nothing was deployed".into(), hint: None })
}

async fn check(args: &ProtocolVerify, out: Output) -> Result<()> {
    let config = args.config.as_deref().map(read_config).transpose()?;
    let contracts = args.chain.contracts()?;
    let checks = verify(&args.chain.rpc(), &contracts, config.as_ref()).await.map_err(chain)?;
    let holds = checks.iter().all(|check| check.holds);
    let value = serde_json::json!({"holds": holds, "contracts": contracts, "checks": checks});
    out.result(&value, |w| show_checks(w, &checks))?;
    judge(&checks)
}

fn show_checks(w: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    let mut t = table(["", "what", "is", "should be"]);
    for check in checks {
        let mark = match (&check.expected, check.holds) {
            (_, false) => "WRONG",
            (Some(_), true) => "ok",
            (None, true) => "",
        };
        let expected = check.expected.as_deref().filter(|_| !check.holds).unwrap_or_default();
        t.add_row([mark, check.what.as_str(), &safe(&check.found), expected]);
    }
    write_table(w, &t)
}

/// Whether everything is as it should be.
fn judge(checks: &[Check]) -> Result<()> {
    let wrong = checks.iter().filter(|check| !check.holds).count();
    if wrong == 0 {
        return Ok(());
    }
    Err(Error::Refused {
        message: format!("{wrong} of {} things are not as they should be", checks.len()),
        hint: Some("do not put money into these contracts before you know why".into()),
    })
}
