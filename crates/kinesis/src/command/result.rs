//! `kinesis result`: what a supplier signed of a deterministic job, as a file that anybody can check.

use kinesis_protocol::result::Dossier;

use crate::{
    auditing::fetch::DOSSIER,
    cli::customer::ResultOf,
    client::Client,
    error::{Error, Result},
    output::{Output, safe},
};

pub(crate) async fn run(args: ResultOf, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    let dossier = client.dossier(&args.name, args.part).await?;
    dossier.check().map_err(|e| Error::Failed {
        message: format!("what the utility has is no signed result: {e}"),
        hint: None,
    })?;
    let path = args.out.as_ref().map(|dir| dir.join(DOSSIER));
    if let (Some(dir), Some(path)) = (&args.out, &path) {
        std::fs::create_dir_all(dir)
            .map_err(Error::io(format!("make the directory {}", dir.display())))?;
        let mut progress = out.progress();
        for (hash, bytes) in dossier.job.contents() {
            progress.step(format!("Fetching {hash}"));
            let file = dir.join(Dossier::content_path(hash));
            client.get_artifact(hash, bytes, &file).await?;
        }
        drop(progress);
        let text = serde_json::to_string_pretty(&dossier).map_err(Error::role("dossier"))?;
        std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))?;
    }
    let value = serde_json::json!({ "dossier": dossier, "path": path });
    let result = &dossier.signed.result;
    out.result(&value, |w| {
        writeln!(w, "supplier  {}", result.supplier)?;
        writeln!(w, "job       {}", result.job)?;
        writeln!(w, "output    {} with {} fuel", result.output, result.fuel)?;
        for file in &dossier.outputs {
            writeln!(w, "  {}  {}", file.hash, safe(&file.path))?;
        }
        match &path {
            Some(path) => writeln!(w, "\nnext: kinesis audit run {}", path.display()),
            None => {
                writeln!(w, "\nnext: kinesis result {} --part {} --out DIR", args.name, args.part)
            }
        }
    })
}
