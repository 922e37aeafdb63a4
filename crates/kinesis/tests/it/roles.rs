//! The roles' commands where they cannot start.

use std::{fs::File, net::TcpListener};

use crate::{run, seen};

#[test]
fn a_busy_port_names_the_port_and_the_flag() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = [
        "up",
        "--data",
        "grid",
        "--rpc",
        "0",
        "--ingress",
        "0",
        "--portal",
        &port,
        "--relay",
        "0",
        "--wire",
        "0",
        "--lifeline",
        "0",
    ];
    let output = run(home.path(), &args);
    let text = seen(home.path(), &output).replace(&port, "PORT");
    insta::assert_snapshot!(text);
}

#[test]
fn a_second_run_on_the_same_data_says_so() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("grid");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("lock"), "4711\n").unwrap();
    let lock = File::open(data.join("lock")).unwrap();
    lock.lock().unwrap();
    let output = run(home.path(), &["up", "--data", "grid"]);
    insta::assert_snapshot!(seen(home.path(), &output));
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("grid")).unwrap();
    std::fs::write(home.path().join("grid/config.toml"), "ingres = 80\n").unwrap();
    let output = run(home.path(), &["up", "--data", "grid"]);
    assert_eq!(output.status.code(), Some(2));
    let text = seen(home.path(), &output);
    assert!(text.contains("HOME/grid/config.toml") && text.contains("ingres"), "{text}");
}

#[test]
fn strange_suppliers_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["up", "--data", "grid", "--suppliers", "cloud"]);
    insta::assert_snapshot!(seen(home.path(), &output));
}

#[test]
fn an_agent_that_does_not_run_is_exit_code_4() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["supply", "status", "--data", "supply"]);
    assert_eq!(output.status.code(), Some(4), "{}", seen(home.path(), &output));
}

#[test]
fn nothing_earned_is_nothing_to_redeem() {
    let home = tempfile::tempdir().unwrap();
    let args = ["supply", "redeem", "--data", "supply", "--rpc", "http://127.0.0.1:1/rpc"];
    let output = run(home.path(), &args);
    assert_eq!(output.status.code(), Some(3), "{}", seen(home.path(), &output));
}
