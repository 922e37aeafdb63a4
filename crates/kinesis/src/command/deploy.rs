//! `kinesis deploy` and `kinesis quote`.

use std::io;

use kinesis_control::api::{AppState, AppView, Quote, Role};
use kinesis_protocol::manifest::Kind;

use super::{Patience, show, upload};
use crate::{
    bundle::Bundle,
    cli::customer,
    client::{Client, idempotency_key},
    error::{Error, Result},
    output::{Output, safe, table, write_table},
};

pub(crate) async fn deploy(args: customer::Deploy, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    let bundle = Bundle::load(&args.manifest)?;
    if matches!(bundle.manifest.kind, Kind::Job(_)) && !args.no_wait {
        return Err(Error::Usage {
            message: format!("{} is a job", bundle.manifest.name),
            hint: Some("`kinesis run PATH` runs it and waits for its end".into()),
        });
    }
    let mut progress = out.progress();
    upload(&client, &bundle, &mut progress).await?;
    progress.step(format!("Deploying {}", bundle.manifest.name));
    let key = idempotency_key(args.idempotency_key);
    let mut app = client.deploy(&bundle.request, &key).await?;
    let mut patience = Patience::new(Some(args.timeout));
    while !args.no_wait && !serves(&app)? {
        progress.step(waiting_for(&app));
        let reason = app.reason.as_deref().map(safe);
        patience.pause(&format!("{} to serve", app.name), reason.as_deref()).await?;
        if let Some(newer) = patience.bear(client.app(&app.name).await)? {
            app = newer;
        }
    }
    drop(progress);
    out.result(&app, |w| {
        if let Some(url) = &app.url {
            writeln!(w, "{}", safe(url))?;
        }
        writeln!(w)?;
        show::replicas(w, &app)
    })?;
    out.note(format!("\nNext: kinesis logs {0} -f, kinesis usage {0}", app.name));
    Ok(())
}

/// Whether the wanted version answers; an error where it never will.
fn serves(app: &AppView) -> Result<bool> {
    match app.state {
        AppState::Stopped | AppState::Failed | AppState::OverBudget | AppState::Deleted => {
            Err(Error::Refused {
                message: format!(
                    "{} is {}{}",
                    app.name,
                    show::state(app.state),
                    app.reason.as_ref().map_or_else(String::new, |r| format!(": {}", safe(r)))
                ),
                hint: Some(format!("`kinesis logs {}` shows what it wrote", app.name)),
            })
        }
        AppState::Idle => Ok(true),
        _ => Ok(app.replicas.iter().any(|replica| {
            replica.role == Role::Active
                && replica.state == "active"
                && replica.version == app.version
        })),
    }
}

fn waiting_for(app: &AppView) -> String {
    if let Some(reason) = &app.reason {
        return format!("Waiting: {}", safe(reason));
    }
    let wanted = app
        .replicas
        .iter()
        .find(|r| r.role == Role::Active && r.version == app.version)
        .map(|r| format!("Starting on {} ({})", safe(&r.node_name), safe(&r.state)));
    wanted.unwrap_or_else(|| format!("Finding a place for {}", app.name))
}

pub(crate) async fn quote(args: customer::Quote, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    let bundle = Bundle::load(&args.manifest)?;
    let quote: Quote = client.post("/v1/quotes", &bundle.request, None).await?;
    out.result(&quote, |w| write_quote(w, &quote))?;
    if quote.placeable {
        return Ok(());
    }
    Err(Error::Refused {
        message: format!("{} cannot be placed now", bundle.manifest.name),
        hint: quote.advice.as_deref().map(safe),
    })
}

fn write_quote(w: &mut dyn io::Write, quote: &Quote) -> io::Result<()> {
    let mut places = table(["replica", "role", "node", "tier", ">per hour in use"]);
    for place in &quote.placements {
        places.add_row([
            place.replica.to_string(),
            show::role(place.role).to_owned(),
            place.node_name.as_deref().map_or_else(|| "no node will do".into(), safe),
            place.tier.map_or_else(String::new, |tier| tier.to_string()),
            place.node.map_or_else(String::new, |_| place.per_hour_nanousd.to_string()),
        ]);
    }
    write_table(w, &places)?;
    writeln!(w)?;
    writeln!(w, "in full use  {} an hour; idle time is free", quote.per_hour_nanousd)?;
    if quote.placeable {
        writeln!(w, "answers in   about {} ms", quote.ready_in_ms)?;
    }
    if !quote.refusals.is_empty() {
        writeln!(w, "\nNot considered:")?;
        for refusal in &quote.refusals {
            writeln!(w, "  {}: {}", safe(&refusal.node_name), safe(&refusal.reason))?;
        }
    }
    Ok(())
}
