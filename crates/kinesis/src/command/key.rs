//! `kinesis key`: files that hold keys, plain and encrypted.

use std::path::Path;

use kinesis_chain::Key;

use crate::{
    cli::key::{KeyCommand, KeyFile, KeyImport},
    error::{Error, Result},
    output::Output,
    passphrase,
};

pub(crate) fn run(command: KeyCommand, out: Output) -> Result<()> {
    match command {
        KeyCommand::New(file) => save(&Key::random(), &file, out),
        KeyCommand::Address(file) => {
            let key = passphrase::open_key(&file.file, file.passphrase_file.as_deref())?;
            shown(&key, &file.file, out)
        }
        KeyCommand::Encrypt(file) => encrypt(&file, out),
        KeyCommand::Import(import) => self::import(&import, out),
    }
}

fn encrypt(file: &KeyFile, out: Output) -> Result<()> {
    // What is no plain key is said before a passphrase is asked for.
    Key::load(&file.file).map_err(Error::role("key file"))?;
    let phrase = passphrase::new(file.passphrase_file.as_deref())?;
    let key = Key::encrypt_file(&file.file, &phrase).map_err(Error::role("key file"))?;
    shown(&key, &file.file, out)
}

fn import(import: &KeyImport, out: Output) -> Result<()> {
    let key = passphrase::open_key(&import.from, import.from_passphrase_file.as_deref())?;
    save(&key, &import.into, out)
}

fn save(key: &Key, file: &KeyFile, out: Output) -> Result<()> {
    if file.file.exists() {
        return Err(Error::Usage {
            message: format!("there is a file {} already", file.file.display()),
            hint: Some("name another, or put that one aside: a key that is gone is gone".into()),
        });
    }
    let phrase = passphrase::new(file.passphrase_file.as_deref())?;
    key.save_encrypted(&file.file, &phrase).map_err(Error::role("key file"))?;
    shown(key, &file.file, out)
}

fn shown(key: &Key, file: &Path, out: Output) -> Result<()> {
    let value = serde_json::json!({"address": key.address(), "file": file});
    out.result(&value, |w| writeln!(w, "{}", key.address()))
}
