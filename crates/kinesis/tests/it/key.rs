//! `kinesis key` and `kinesis signer`, as a shell sees them.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};

use crate::{kinesis, run, seen};

/// Runs a command that must succeed; what it printed.
fn done(home: &Path, args: &[&str]) -> String {
    let output = run(home, args);
    assert!(output.status.success(), "{}", seen(home, &output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn file(home: &Path, name: &str, text: &str) {
    fs::write(home.join(name), text).unwrap();
    fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn keys_are_made_encrypted_taken_over_and_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    file(home, "phrase", "correct horse\n");
    file(home, "other", "battery staple\n");
    let secret = "07".repeat(32);
    file(home, "plain.key", &secret);
    let address = done(home, &["key", "address", "plain.key"]);
    assert!(address.starts_with("0x") && address.len() == 42, "{address}");

    let phrase = ["--passphrase-file", "phrase"];
    let with = |args: &[&'static str]| [args, &phrase[..]].concat();
    assert_eq!(done(home, &with(&["key", "import", "new.key", "--from", "plain.key"])), address);
    assert_eq!(done(home, &with(&["key", "encrypt", "plain.key"])), address);
    for name in ["new.key", "plain.key"] {
        let text = fs::read_to_string(home.join(name)).unwrap();
        assert!(text.contains("scrypt") && !text.contains(&secret), "{text}");
        let mode = fs::metadata(home.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(done(home, &["key", "address", name, "--passphrase-file", "phrase"]), address);
        let wrong = run(home, &["key", "address", name, "--passphrase-file", "other"]);
        assert!(seen(home, &wrong).contains("passphrase does not open"), "{}", seen(home, &wrong));
    }
    // What is there is not written over, and what is encrypted is not encrypted again.
    let again = run(home, &with(&["key", "new", "new.key"]));
    assert_eq!(again.status.code(), Some(2), "{}", seen(home, &again));
    assert!(!run(home, &with(&["key", "encrypt", "plain.key"])).status.success());
    let made = done(home, &with(&["key", "new", "made.key"]));
    assert_ne!(made, address);
}

#[test]
fn without_a_terminal_a_passphrase_comes_from_a_file() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut command = kinesis(home);
    // A session of its own has no terminal to ask on.
    command.args(["key", "new", "made.key"]).stdin(Stdio::null());
    // SAFETY: setsid is async-signal-safe and touches nothing that the parent owns.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            nix::unistd::setsid().map(drop).map_err(io::Error::from)
        });
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", seen(home, &output));
    assert!(seen(home, &output).contains("--passphrase-file"), "{}", seen(home, &output));
    assert!(!home.join("made.key").exists());
}

#[test]
fn a_signer_opens_an_encrypted_key_and_listens_in_private() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    file(home, "phrase", "correct horse\n");
    let address = done(home, &["key", "new", "s/utility.key", "--passphrase-file", "phrase"]);
    let mut child = kinesis(home)
        .args(["signer", "--data", "s", "--passphrase-file", "phrase"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let found = (0..1_500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let text = fs::read(home.join("s/endpoints.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()
    });
    let socket = fs::metadata(home.join("s/signer.sock")).map(|socket| socket.permissions().mode());
    child.kill().unwrap();
    child.wait().unwrap();
    let named = found.expect("it comes up")["address"].as_str().unwrap().to_owned();
    assert_eq!(named.to_lowercase(), address.to_lowercase());
    assert_eq!(socket.unwrap() & 0o777, 0o600);
}
