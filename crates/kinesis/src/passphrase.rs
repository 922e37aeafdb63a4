//! Passphrases: from a file, or typed on the terminal. Never from an argument or the environment,
//! which others see and children inherit.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _},
    path::Path,
};

use kinesis_chain::{ChainError, Key, Passphrase};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::error::{Error, Result};

/// The longest line that is read from the terminal.
const LINE_BYTES_MAX: u64 = 4_096;

/// Opens the key at `path`; where it is encrypted, with the passphrase in `file`, or one that is
/// asked for.
pub(crate) fn open_key(path: &Path, file: Option<&Path>) -> Result<Key> {
    let opened = match file {
        Some(file) => Key::open(path, Some(&from_file(file)?)),
        None => match Key::load(path) {
            Err(ChainError::KeyEncrypted(_)) => {
                let asked = ask(&format!("Passphrase of {}: ", path.display()))?;
                Key::open(path, Some(&asked))
            }
            other => other,
        },
    };
    opened.map_err(Error::role("key file"))
}

/// A passphrase for a new file: from `file`, or typed twice.
pub(crate) fn new(file: Option<&Path>) -> Result<Passphrase> {
    if let Some(file) = file {
        return from_file(file);
    }
    let first = ask("New passphrase: ")?;
    if ask("The same again: ")?.is_same(&first) {
        return Ok(first);
    }
    Err(Error::Usage { message: "the two passphrases differ".into(), hint: None })
}

fn from_file(file: &Path) -> Result<Passphrase> {
    Passphrase::from_file(file).map_err(Error::role("passphrase"))
}

/// Asks on the terminal, without showing what is typed.
fn ask(prompt: &str) -> Result<Passphrase> {
    let nobody = || Error::Usage {
        message: "a passphrase is needed, and there is no terminal to ask for it".into(),
        hint: Some("name a file that holds it with --passphrase-file FILE".into()),
    };
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let terminal = terminal.ok().filter(|tty| tty.is_terminal()).ok_or_else(nobody)?;
    let hidden = Hidden::new(&terminal).map_err(Error::io("hide what is typed"))?;
    let failed = || Error::io("ask for a passphrase");
    let mut line = zeroize::Zeroizing::new(String::new());
    (&terminal).write_all(prompt.as_bytes()).map_err(failed())?;
    let read = BufReader::new((&terminal).take(LINE_BYTES_MAX)).read_line(&mut line);
    drop(hidden);
    // The line's end was not shown either.
    (&terminal).write_all(b"\n").map_err(failed())?;
    read.map_err(failed())?;
    Passphrase::new(&line).map_err(Error::role("passphrase"))
}

/// A terminal that shows nothing, until this is dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // There is nothing to be done about a terminal that is gone.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}
