//! The documents are true as far as a machine can tell: every link leads somewhere, and every test
//! that SPECIFICATION.md names is in the file it links to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_link_leads_somewhere_and_every_named_test_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace above");
    let mut documents = markdown(root);
    documents.extend(markdown(&root.join("docs")));
    documents.extend(markdown(&root.join("docs/protocol")));
    documents.extend(markdown(&root.join("contracts")));
    assert!(documents.len() >= 8, "{documents:?}");
    let mut wrong = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let folder = document.parent().expect("a file has a folder");
        for (label, target) in links(&text) {
            let path = folder.join(target.split('#').next().unwrap_or_default());
            if target.contains("://") {
                continue;
            }
            if !path.exists() {
                wrong.push(format!("{}: nothing at {target}", document.display()));
            } else if path.is_file() {
                let content = fs::read_to_string(&path).unwrap_or_default();
                let named = label.split('`').skip(1).step_by(2).filter(|name| is_test(name));
                for name in named.filter(|name| !content.contains(*name)) {
                    wrong.push(format!("{}: no {name} in {target}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

/// `[label](target)`, images too.
fn links(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', '\n']).next().unwrap_or_default();
        let label = text[..at].rsplit('[').next().unwrap_or_default();
        found.push((label, target));
    }
    found
}

/// Names of tests have several words; names of files and figures do not look like this.
fn is_test(name: &str) -> bool {
    name.contains('_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
