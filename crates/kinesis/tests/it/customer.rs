//! The customer's commands where there is nobody to talk to.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

use crate::{kinesis, run, seen};

const MANIFEST: &str = "name = \"hello\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n";

/// A utility that answers everything with one response. Ends with the test.
fn one_answer(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn with_key(home: &Path) {
    let profile = home.join("profile.toml");
    std::fs::write(&profile, "api_key = \"kin_test\"\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&profile, private).unwrap();
}

#[test]
fn without_a_key_the_next_step_is_named() {
    let home = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(seen(home.path(), &run(home.path(), &["ps"])));
}

#[test]
fn an_absent_utility_is_exit_code_4() {
    let home = tempfile::tempdir().unwrap();
    with_key(home.path());
    // Nobody listens at a port that was bound and let go.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(home.path(), &["ps", "--url", &format!("http://{gone}")]);
    let text = seen(home.path(), &output).replace(&gone.port().to_string(), "PORT");
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("kinesis up") && text.contains("because:"), "{text}");
}

#[test]
fn failures_are_json_where_json_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["ps", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    let value: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(value["error"]["exit_code"], 3);
    assert!(value["error"]["hint"].as_str().unwrap().contains("account open"));
}

#[test]
fn a_wrong_manifest_names_line_and_key() {
    let home = tempfile::tempdir().unwrap();
    with_key(home.path());
    let wrong = format!("{MANIFEST}[resources]\nmem_mb = 12\n");
    std::fs::write(home.path().join("kinesis.toml"), wrong).unwrap();
    insta::assert_snapshot!(seen(home.path(), &run(home.path(), &["deploy"])));
}

#[test]
fn a_missing_component_says_how_to_build_it() {
    let home = tempfile::tempdir().unwrap();
    with_key(home.path());
    std::fs::write(home.path().join("kinesis.toml"), MANIFEST).unwrap();
    insta::assert_snapshot!(seen(home.path(), &run(home.path(), &["quote"])));
}

#[test]
fn a_service_is_not_run_and_a_job_is_not_deployed() {
    let home = tempfile::tempdir().unwrap();
    with_key(home.path());
    std::fs::write(home.path().join("hello.wasm"), "(component)").unwrap();
    std::fs::write(home.path().join("kinesis.toml"), MANIFEST).unwrap();
    let output = run(home.path(), &["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(seen(home.path(), &output).contains("kinesis deploy PATH"));
    std::fs::write(home.path().join("kinesis.toml"), MANIFEST.replace("service", "job")).unwrap();
    let output = run(home.path(), &["deploy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(seen(home.path(), &output).contains("kinesis run PATH"));
}

#[test]
fn what_the_utility_says_is_shown() {
    let home = tempfile::tempdir().unwrap();
    with_key(home.path());
    let problem = r#"{"title":"Payment required","detail":"the balance is $0.00"}"#;
    let url = one_answer("402 Payment Required", problem);
    insta::assert_snapshot!(seen(home.path(), &run(home.path(), &["ps", "--url", &url])));
    let url = one_answer("404 Not Found", r#"{"detail":"there is no app \"hello\""}"#);
    insta::assert_snapshot!(
        "an_unknown_app",
        seen(home.path(), &run(home.path(), &["ps", "hello", "--url", &url]))
    );
}

#[test]
fn a_key_comes_from_the_environment_too() {
    let home = tempfile::tempdir().unwrap();
    let url = one_answer("200 OK", "[]");
    let mut command = kinesis(home.path());
    let output = command
        .args(["ps", "--json", "--url", &url])
        .env("KINESIS_API_KEY", "kin_test")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", seen(home.path(), &output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]");
}

#[test]
fn only_the_operator_opens_accounts() {
    let home = tempfile::tempdir().unwrap();
    let args = ["account", "open", "--name", "me", "--data", "nowhere"];
    insta::assert_snapshot!(seen(home.path(), &run(home.path(), &args)));
}

#[test]
fn a_profile_that_holds_a_key_is_kept() {
    let home = tempfile::tempdir().unwrap();
    with_key(home.path());
    let output = run(home.path(), &["account", "open", "--name", "me"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(seen(home.path(), &output).contains("--replace"));
    let profile = std::fs::read_to_string(home.path().join("profile.toml")).unwrap();
    assert!(profile.contains("kin_test"));
}

#[test]
fn usage_errors_are_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["deploy", "--bogus"][..], &["bogus"], &["logs"], &["account", "deposit", "-1"]] {
        assert_eq!(run(home.path(), args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(run(home.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn completions_come_for_every_shell() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(home.path(), &["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("rollback") && !script.contains("runner"), "{shell}");
    }
}
