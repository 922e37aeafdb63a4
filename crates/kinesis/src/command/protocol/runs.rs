//! What commands send to a chain happens once, whatever cuts them off.
//!
//! ```text
//! begin: the account's folder is locked, what it sent before is looked after
//!   |-- no run is open: a new one is noted, with the command's words
//!   |-- this very command was cut off: its run is gone on with, and gets what it sent
//!   '-- another was: it is waited for and said how it ended; then a new run is noted
//! end: said how it ended, the note is taken away
//! ```
//!
//! A folder beside the profile, `transactions/CHAIN-ADDRESS`, holds for one account on one chain the
//! journal of its transactions, the note of the run that is open, and the lock: of two commands of one
//! account the second waits. All of it is the owner's alone.

use std::{
    cell::RefCell,
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, TryLockError},
    future::Future,
    io,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kinesis_chain::{FileJournal, Intent, Protocol, amount::moment, intent_key};
use kinesis_protocol::Address;
use serde::{Deserialize, Serialize};

use super::chain;
use crate::{
    error::{Error, Result},
    files,
    output::{Output, safe},
    profile::Profile,
};

/// The folder beside the profile.
const FOLDER: &str = "transactions";
/// The note of the run that is open.
const NOTE: &str = "open-run";
/// Held by the command that acts.
const LOCK: &str = "command.lock";
/// How long a command waits for another one of the same account.
const LOCK_MAX: Duration = Duration::from_secs(120);
const LOCK_POLL: Duration = Duration::from_millis(100);
/// The longest command line that is remembered for people.
const WORDS_BYTES_MAX: usize = 8 << 10;

/// Flags that say nothing about what is done.
const MUTE: [&str; 4] = ["--json", "--quiet", "-q", "--yes"];
/// Flags that say where and as whom, which a folder stands for already; each takes a value.
const PLACE: [&str; 6] = ["--rpc", "--as", "--contracts", "--data", "--passphrase-file", "--url"];

tokio::task_local! {
    static COMMAND: Command;
}

/// A command line, without what says where, as whom and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// For people: the first of it.
    text: String,
    /// What tells one from another: the hash of all of it, each argument for itself.
    hash: String,
}

/// The command of this process.
struct Command {
    words: Words,
    out: Output,
    open: RefCell<Vec<Open>>,
}

/// A run of this process.
struct Open {
    folder: PathBuf,
    name: String,
    /// Held until the run's end.
    _lock: File,
}

/// The run that is open, as it is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    run: String,
    words: String,
    /// The hash of all its words.
    #[serde(default)]
    hash: String,
    began_s: u64,
}

impl Note {
    fn fresh(words: Words) -> Self {
        let Words { text, hash } = words;
        Self { run: intent_key("run"), words: text, hash, began_s: now_s() }
    }
}

/// What tells one command from another: its words, without those about place and form.
pub(crate) fn words(args: impl IntoIterator<Item = OsString>) -> Words {
    let mut kept: Vec<OsString> = Vec::new();
    let mut args = args.into_iter().skip(1);
    while let Some(arg) = args.next() {
        let word = arg.to_string_lossy().into_owned();
        if PLACE.contains(&word.as_str()) {
            args.next();
            continue;
        }
        let named = word.split_once('=').is_some_and(|(flag, _)| PLACE.contains(&flag));
        if !named && !MUTE.contains(&word.as_str()) {
            kept.push(arg);
        }
    }
    let mut hasher = blake3::Hasher::new();
    for arg in &kept {
        // No argument holds a zero byte.
        hasher.update(arg.as_bytes()).update(&[0]);
    }
    let mut text = kept.join(OsStr::new(" ")).to_string_lossy().into_owned();
    text.truncate(text.floor_char_boundary(WORDS_BYTES_MAX));
    Words { text, hash: hasher.finalize().to_string() }
}

/// Runs a command; what it began with [`begin`] ends with it.
pub(crate) async fn scope<F>(words: Words, out: Output, work: F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let command = Command { words, out, open: RefCell::default() };
    COMMAND
        .scope(command, async {
            let done = work.await;
            let open = COMMAND.with(|command| command.open.take());
            for run in open {
                end(run, done.is_ok()).await;
            }
            done
        })
        .await
}

/// Lets a client act as a part of this command: what it sends is in the account's journal.
pub(super) async fn begin(client: Protocol) -> Result<Protocol> {
    let Ok((words, out)) = COMMAND.try_with(|command| (command.words.clone(), command.out)) else {
        // A task beside the command: whoever starts one gives it a journal of its own.
        return Ok(client);
    };
    let chain_id = client.contracts().chain_id;
    let folder = folder(chain_id, client.address())?;
    let journal = FileJournal::open(&folder).map_err(Error::role("journal of transactions"))?;
    let known = COMMAND.with(|command| {
        let open = command.open.borrow();
        open.iter().find(|run| run.folder == folder).map(|run| run.name.clone())
    });
    if let Some(run) = known {
        return Ok(client.journalled(Arc::new(journal), run));
    }
    let lock = lock(&folder, out).await?;
    let fresh = Note::fresh(words);
    let client = client.journalled(Arc::new(journal.clone()), fresh.run.clone());
    let client = match read(&folder)? {
        None => {
            client.look_after(None).await.map_err(chain)?;
            write(&folder, &fresh)?;
            client
        }
        Some(note) if note.hash == fresh.hash => {
            client.look_after(None).await.map_err(chain)?;
            let begun = journal.begun_as(&format!("{}:", note.run)).await;
            let begun = begun.map_err(Error::role("journal of transactions"))?;
            if !begun.is_empty() {
                say(out, &note, &begun, "goes on with what it sent");
            }
            let client = client.journalled(Arc::new(journal), note.run.clone());
            return keep(folder, note.run, lock, client);
        }
        Some(note) => {
            client.look_after(Some(&note.run)).await.map_err(chain)?;
            let begun = journal.begun_as(&format!("{}:", note.run)).await;
            let begun = begun.map_err(Error::role("journal of transactions"))?;
            if !begun.is_empty() {
                say(out, &note, &begun, "was cut off; what it sent was looked after");
            }
            write(&folder, &fresh)?;
            client
        }
    };
    keep(folder, fresh.run, lock, client)
}

/// The journal of an account on a chain, and the right to act for it, held until dropped: for a command
/// whose transactions have names of their own.
pub(super) async fn journal(
    chain_id: u64,
    account: Address,
    out: Output,
) -> Result<(FileJournal, File)> {
    let folder = folder(chain_id, account)?;
    let journal = FileJournal::open(&folder).map_err(Error::role("journal of transactions"))?;
    Ok((journal, lock(&folder, out).await?))
}

fn folder(chain_id: u64, account: Address) -> Result<PathBuf> {
    Ok(Profile::path()?.with_file_name(FOLDER).join(format!("{chain_id}-{account:#x}")))
}

fn keep(folder: PathBuf, name: String, lock: File, client: Protocol) -> Result<Protocol> {
    let open = Open { folder, name, _lock: lock };
    COMMAND.with(|command| command.open.borrow_mut().push(open));
    Ok(client)
}

/// Takes the note away. A command that failed after it had sent something stays open, so that the same
/// command goes on where it failed.
async fn end(run: Open, done: bool) {
    let begun = async {
        let journal = FileJournal::open(&run.folder).ok()?;
        journal.begun_as(&format!("{}:", run.name)).await.ok()
    };
    let with_effect =
        |intent: &Intent| intent.receipt.as_ref().is_none_or(|receipt| receipt.status());
    // Where the journal cannot be read nobody knows what was sent.
    if done || begun.await.is_some_and(|begun| !begun.iter().any(with_effect)) {
        // A note that stays has the next command look at transactions that are done.
        let _ = fs::remove_file(run.folder.join(NOTE));
    }
}

/// Says what became of a command that was cut off.
fn say(out: Output, note: &Note, begun: &[Intent], what: &str) {
    let state = |intent: &Intent| match &intent.receipt {
        Some(receipt) if receipt.status() => "done",
        Some(_) => "failed",
        None => "sent",
    };
    let transactions: Vec<_> = begun
        .iter()
        .map(|intent| {
            serde_json::json!({
                "transaction": intent.hash(),
                "to": intent.to,
                "nonce": intent.nonce,
                "state": state(intent),
            })
        })
        .collect();
    let value = serde_json::json!({
        "interrupted": {
            "command": note.words,
            "began_s": note.began_s,
            "transactions": transactions,
        }
    });
    let hashes: Vec<_> =
        begun.iter().map(|intent| format!("{} ({})", intent.hash(), state(intent))).collect();
    let words = safe(&note.words);
    let began = moment(note.began_s);
    let text = format!("`kinesis {words}`, begun {began}, {what}: {}", hashes.join(", "));
    out.aside(&value, text);
}

fn read(folder: &Path) -> Result<Option<Note>> {
    let path = folder.join(NOTE);
    let Some(text) = files::read_text(&path)? else { return Ok(None) };
    // Written whole or not at all: what does not read is no note of ours.
    serde_json::from_str(&text).map(Some).map_err(|error| Error::Usage {
        message: format!("{} is damaged: {error}", path.display()),
        hint: Some("look at the account's last transactions, then remove the file".into()),
    })
}

fn write(folder: &Path, note: &Note) -> Result<()> {
    let text = serde_json::to_string(note).expect("a note is text and numbers");
    files::write_private(&folder.join(NOTE), &text)?;
    // The directory entry is what makes it findable after a power cut.
    let synced = File::open(folder).and_then(|dir| dir.sync_all());
    synced.map_err(Error::io(format!("write {}", folder.display())))
}

/// Waits until no other command acts for this account.
async fn lock(folder: &Path, out: Output) -> Result<File> {
    let path = folder.join(LOCK);
    let failed = || Error::io(format!("lock {}", path.display()));
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(failed())?;
    let (started, mut said) = (Instant::now(), false);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() >= LOCK_MAX => {
                return Err(Error::Refused {
                    message: "another kinesis command acts for this account".into(),
                    hint: Some("wait for its end, or stop it".into()),
                });
            }
            Err(TryLockError::WouldBlock) => {
                if !said {
                    out.note("Waiting for another kinesis command of this account");
                    said = true;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::Error(error)) => return Err(failed()(io::Error::other(error))),
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn of(line: &str) -> Words {
        words(line.split(' ').map(OsString::from))
    }

    #[test]
    fn place_and_form_do_not_tell_commands_apart() {
        let plain = of("kinesis stake bond 250");
        assert_eq!(plain.text, "stake bond 250");
        let same = [
            "kinesis --json stake bond 250 --as me.key",
            "/usr/bin/kinesis stake bond 250 -q --rpc=http://127.0.0.1:1 --data x",
            "kinesis stake --contracts a.json bond 250",
        ];
        for line in same {
            assert_eq!(of(line), plain, "{line}");
        }
        for other in ["kinesis stake bond 251", "kinesis stake bond 250 --for 0x1"] {
            assert_ne!(of(other), plain);
        }
        assert!(of(&format!("kinesis {}", "é".repeat(9_000))).text.len() <= WORDS_BYTES_MAX);
    }

    #[test]
    fn commands_that_read_alike_are_told_apart() {
        let propose = |args: &[&str]| words(["kinesis"].iter().chain(args).map(OsString::from));
        let (one, other) = (propose(&["a b", "c"]), propose(&["a", "b c"]));
        assert_eq!(one.text, other.text);
        assert_ne!(one.hash, other.hash);
        // However long: what is cut off counts too.
        let long = "x".repeat(WORDS_BYTES_MAX);
        let (one, other) = (propose(&[&long, "1"]), propose(&[&long, "2"]));
        assert_eq!(one.text, other.text);
        assert_ne!(one.hash, other.hash);
        assert_eq!(one, propose(&["--json", &long, "1", "--as", "me.key"]));
        assert_ne!(Note::fresh(one).hash, Note::fresh(other).hash);
    }

    #[tokio::test]
    async fn a_note_is_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (run, words, hash) = ("run:1".into(), "stake bond 1".into(), "1".into());
        let note = Note { run, words, hash, began_s: 7 };
        assert_eq!(read(dir.path()).unwrap(), None);
        write(dir.path(), &note).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(note));
        let path = dir.path().join(NOTE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{\"run\": 1").unwrap();
        assert!(read(dir.path()).unwrap_err().hint().is_some());
        let out = Output::new(true, true);
        let first = lock(dir.path(), out).await.unwrap();
        let waits = tokio::time::timeout(LOCK_POLL * 5, lock(dir.path(), out)).await;
        assert!(waits.is_err(), "two commands act at once");
        drop(first);
        lock(dir.path(), out).await.unwrap();
    }
}
