//! `kinesis account`: the operator opens and fills, the customer looks.

use std::path::PathBuf;

use kinesis_protocol::{ContentHash, NanoUsd};

use crate::{
    cli::customer::{AccountCommand, AccountDeposit, AccountOpen, Operator},
    client::{Client, idempotency_key},
    config,
    error::{Error, Result},
    files,
    output::{Output, safe},
    profile::{Customer, Profile},
};

pub(crate) async fn run(command: AccountCommand, url: Option<String>, out: Output) -> Result<()> {
    match command {
        AccountCommand::Open(open) => self::open(open, url, out).await,
        AccountCommand::Deposit(deposit) => self::deposit(deposit, url, out).await,
        AccountCommand::Show => show(url, out).await,
    }
}

async fn open(args: AccountOpen, url: Option<String>, out: Output) -> Result<()> {
    let path = Profile::path()?;
    let mut profile = Profile::load(&path)?;
    if profile.api_key.is_some() && !args.replace {
        return Err(Error::Usage {
            message: format!("{} holds a key already", path.display()),
            hint: Some(format!(
                "replace it with --replace, or keep both: set {} to another file",
                crate::env::CONFIG
            )),
        });
    }
    let client = operator(&args.operator, url)?;
    let key = idempotency_key(args.idempotency_key);
    let opened = client.open_account(&args.name, &key).await?;
    // The key is shown once: it is kept before anything else can go wrong.
    profile.url = Some(client.base().to_owned());
    profile.account = Some(opened.account);
    profile.api_key = Some(opened.api_key);
    profile.save(&path)?;
    let mut balance = NanoUsd::ZERO;
    if let Some(usd) = args.usd {
        let key = payment_key(&key);
        match client.deposit(opened.account, usd, &key).await {
            Ok(view) => balance = view.balance_nanousd,
            Err(problem) => {
                let amount = usd.to_string();
                let amount = amount.trim_start_matches('$');
                out.note(format!(
                    "The account is open; whether it was paid is not known. This pays it once:\n  \
                     kinesis account deposit {amount} --idempotency-key {key}"
                ));
                return Err(problem);
            }
        }
    }
    let value = serde_json::json!({
        "account": opened.account,
        "name": args.name,
        "balance_nanousd": balance,
        "profile": path,
    });
    out.result(&value, |w| {
        writeln!(w, "account   {}", opened.account)?;
        writeln!(w, "balance   {balance}")?;
        writeln!(w, "profile   {} (holds your key)", path.display())
    })?;
    out.note("\nNext: kinesis deploy PATH, kinesis run PATH");
    Ok(())
}

async fn deposit(args: AccountDeposit, url: Option<String>, out: Output) -> Result<()> {
    let account = match args.account {
        Some(account) => account,
        None => Profile::load(&Profile::path()?)?.account.ok_or_else(|| Error::Usage {
            message: "the profile names no account".into(),
            hint: Some("name one with --account".into()),
        })?,
    };
    let client = operator(&args.operator, url)?;
    let view = client.deposit(account, args.usd, &idempotency_key(args.idempotency_key)).await?;
    out.result(&view, |w| {
        writeln!(w, "{} has {} after {} more", account, view.balance_nanousd, args.usd)
    })
}

async fn show(url: Option<String>, out: Output) -> Result<()> {
    let view: kinesis_control::api::AccountView = Client::customer(url)?.get("/v1/account").await?;
    out.result(&view, |w| {
        writeln!(w, "account   {}", view.account)?;
        writeln!(w, "name      {}", safe(&view.name))?;
        writeln!(w, "balance   {}", view.balance_nanousd)
    })
}

/// The key of the payment that belongs to an account's opening: whoever repeats the one repeats the
/// other.
fn payment_key(opening: &str) -> String {
    ContentHash::of(format!("payment at opening {opening}").as_bytes()).to_string()
}

/// A client with the operator's token, which lies in the utility's data directory.
fn operator(args: &Operator, url: Option<String>) -> Result<Client> {
    let candidates: Vec<PathBuf> = match &args.operator_token_file {
        Some(file) => vec![file.clone()],
        None => {
            let dir = config::data_dir(args.data.as_deref(), None)?;
            vec![dir.join("utility/operator.token"), dir.join("operator.token")]
        }
    };
    for file in &candidates {
        if let Some(token) = files::read_text(file)? {
            let url = Customer::resolve(url)?.url;
            return Client::new(&url, Some(token.trim().to_owned()));
        }
    }
    Err(Error::Refused {
        message: format!(
            "only the utility's operator may do this, and its token is not at {}",
            candidates.iter().map(|c| c.display().to_string()).collect::<Vec<_>>().join(" or ")
        ),
        hint: Some(
            "name the grid's directory with --data, or the file with --operator-token-file".into(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_repeated_with_its_opening_and_with_no_other() {
        assert_eq!(payment_key("a"), payment_key("a"));
        assert_ne!(payment_key("a"), payment_key("b"));
        assert_ne!(payment_key("a"), "a");
        let longest = payment_key(&"k".repeat(128));
        assert!(longest.len() <= 128 && longest.bytes().all(|b| b.is_ascii_graphic()));
    }
}
