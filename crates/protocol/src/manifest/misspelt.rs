//! Every key of the documented manifest, misspelt in any way: the error names line and key, and
//! guesses what was meant.

use proptest::prelude::*;

use super::*;

/// The manifest of the module's documentation: of a service, or of a job.
fn documented(job: bool) -> String {
    let doc = include_str!("../manifest.rs");
    let mut table = String::new();
    let lines = doc
        .lines()
        .skip_while(|line| !line.contains("```toml"))
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(|line| line.trim_start_matches("//! ").trim_start_matches("//!"));
    let wanted = lines.filter(|line| {
        if let Some(rest) = line.strip_prefix('[') {
            table = rest.split(']').next().unwrap_or_default().to_owned();
        }
        match table.as_str() {
            "job" => job,
            "service" | "scale" | "sla" => !job,
            _ => !(job && line.starts_with("hosts")),
        }
    });
    let text: Vec<&str> = wanted.collect();
    let text = text.join("\n") + "\n";
    if job { text.replace("kind = \"service\"", "kind = \"job\"") } else { text }
}

/// A key as it stands in a text.
#[derive(Debug)]
struct Key {
    line: usize,
    column: usize,
    /// The table it is in, with a dot; empty for the outermost.
    within: String,
    name: String,
}

/// Every key whose name is fixed, tables too.
fn keys(text: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut table = String::new();
    for (line, said) in (1..).zip(text.lines()) {
        if let Some(rest) = said.strip_prefix('[') {
            table = rest.split(']').next().unwrap_or_default().to_owned();
            keys.push(Key { line, column: 1, within: String::new(), name: table.clone() });
        } else if let Some((name, _)) = said.split_once(" = ") {
            // What an author may name as he likes is not misspelt.
            if !matches!(table.as_str(), "env" | "files") {
                let within = if table.is_empty() { table.clone() } else { format!("{table}.") };
                keys.push(Key { line, column: 0, within, name: name.to_owned() });
            }
        }
    }
    keys
}

/// One slip of the finger.
fn misspell(name: &str, how: usize, at: usize) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = at % letters.len();
    match how % 4 {
        0 => {
            letters.remove(at);
        }
        1 => letters.insert(at, letters[at]),
        2 => {
            let at = at.min(letters.len() - 2);
            letters.swap(at, at + 1);
        }
        _ => letters[at] = 'q',
    }
    letters.into_iter().collect()
}

#[test]
fn what_is_documented_is_read_and_looked_at_key_by_key() {
    for (job, count) in [(false, 27), (true, 21)] {
        let text = documented(job);
        Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(keys(&text).len() >= count, "{:#?}", keys(&text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_misspelt_key_is_found_and_guessed(
        job in any::<bool>(), which in any::<usize>(), how in 0..4_usize, at in any::<usize>(),
    ) {
        let text = documented(job);
        let keys = keys(&text);
        let key = &keys[which % keys.len()];
        let wrong = misspell(&key.name, how, at);
        prop_assume!(!wrong.is_empty() && keys.iter().all(|key| key.name != wrong));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = &mut lines[key.line - 1];
        line.replace_range(key.column..key.column + key.name.len(), &wrong);
        let text = lines.join("\n");
        let error = Manifest::parse(&text).unwrap_err();
        prop_assert_eq!(error.line, key.line, "{} in\n{}", &error, &text);
        prop_assert_eq!(&error.key, &format!("{}{wrong}", key.within));
        let guess = error
            .message
            .strip_prefix("unknown key, did you mean \"")
            .and_then(|rest| rest.strip_suffix("\"?"));
        // Another key may be as near: `arts` is one slip from `parts`, and from `args`.
        let away = |name: &str| strsim::osa_distance(&wrong, name);
        prop_assert!(guess.is_some_and(|guess| away(guess) <= away(&key.name)), "{}", &error);
    }
}
