//! The binary as a shell sees it: exit codes, standard output, standard error.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod customer;
mod key;
mod once;
mod roles;
mod up;

use std::{
    path::Path,
    process::{Command, Output},
};

/// The binary with a home of its own and nothing of the caller's environment that it would read.
fn kinesis(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KINESIS_") {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", home)
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env("KINESIS_CONFIG", home.join("profile.toml"))
        .current_dir(home);
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    kinesis(home).args(args).output().expect("the binary runs")
}

/// What a person sees, with the home directory's name taken out.
fn seen(home: &Path, output: &Output) -> String {
    let text = format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    text.replace(&home.display().to_string(), "HOME")
}
