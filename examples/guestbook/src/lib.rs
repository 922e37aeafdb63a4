//! A guestbook: a page, a JSON API, and its state in memory.
//!
//! The instance is kept (`instance = "kept"`), so the entries live as long as the replica does; a
//! takeover by the standby starts an empty book. What must outlive a machine belongs into a
//! store reached over HTTP, whose host the manifest names in `network`.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | the page, usable without scripts |
//! | `POST /sign` | the page's form; back to the page |
//! | `GET /api/entries` | `{"visits": n, "entries": [{name, text, unix_ms}]}`, newest first |
//! | `POST /api/entries` | `{name, text}` -> 201 and the entry |

use std::{
    collections::VecDeque,
    env,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use guest::{BodyError, Reply, Request, form_value};
use serde::{Deserialize, Serialize};
use serde_json::json;

guest::serve!(handle);

/// The oldest entries make room beyond this many.
const ENTRIES_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 40;
const TEXT_CHARS_MAX: usize = 500;
const BODY_BYTES_MAX: usize = 8 << 10;

/// The page needs neither scripts nor anything from elsewhere.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'";

static BOOK: Mutex<Book> = Mutex::new(Book { visits: 0, entries: VecDeque::new() });

#[derive(Default, Serialize)]
struct Book {
    visits: u64,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Serialize)]
struct Entry {
    name: String,
    text: String,
    unix_ms: u64,
}

/// What a visitor sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    name: String,
    text: String,
}

fn handle(request: Request, reply: Reply) {
    let mut book = BOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let route = (request.method().to_owned(), request.path().to_owned());
    match (route.0.as_str(), route.1.as_str()) {
        ("GET" | "HEAD", "/") => {
            book.visits += 1;
            let page = page(&book);
            let length = page.len().to_string();
            let headers = [
                ("content-type", "text/html; charset=utf-8"),
                ("content-length", &*length),
                ("content-security-policy", CSP),
            ];
            let Some(mut sink) = reply.stream(200, &headers) else { return };
            if route.0 == "HEAD" || sink.write(page.as_bytes()).is_ok() {
                sink.finish();
            }
        }
        ("GET" | "HEAD", "/api/entries") => {
            book.visits += 1;
            reply.json(200, &*book);
        }
        ("POST", "/api/entries") => match read_json(request).and_then(|s| sign(&mut book, s)) {
            Ok(entry) => reply.json(201, &entry),
            Err((status, problem)) => reply.json(status, &json!({ "error": problem })),
        },
        ("POST", "/sign") => match read_form(request).and_then(|s| sign(&mut book, s)) {
            Ok(_) => {
                if let Some(sink) = reply.stream(303, &[("location", "/"), ("content-length", "0")])
                {
                    sink.finish();
                }
            }
            Err((status, problem)) => reply.text(status, problem),
        },
        (_, "/" | "/sign" | "/api/entries") => {
            reply.text(405, "this path does not take that method")
        }
        _ => reply.text(404, "there is only / and /api/entries"),
    }
}

type Problem = (u16, String);

fn read(request: Request) -> Result<Vec<u8>, Problem> {
    request.body(BODY_BYTES_MAX).map_err(|error| match error {
        BodyError::TooLong => (413, format!("at most {BODY_BYTES_MAX} bytes")),
        BodyError::Gone => (400, "the body broke off".to_owned()),
    })
}

fn read_json(request: Request) -> Result<Signature, Problem> {
    serde_json::from_slice(&read(request)?).map_err(|error| (400, error.to_string()))
}

fn read_form(request: Request) -> Result<Signature, Problem> {
    let body = read(request)?;
    let form = String::from_utf8_lossy(&body);
    let field = |name| form_value(&form, name).ok_or((400, format!("{name} is missing")));
    Ok(Signature { name: field("name")?, text: field("text")? })
}

fn sign(book: &mut Book, signature: Signature) -> Result<Entry, Problem> {
    let trimmed = |what: &str, value: &str, most: usize| {
        let value = value.trim();
        match value.chars().count() {
            0 => Err((422, format!("{what} is empty"))),
            n if n > most => Err((422, format!("{what} has {n} characters, the most is {most}"))),
            _ => Ok(value.to_owned()),
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let entry = Entry {
        name: trimmed("name", &signature.name, NAME_CHARS_MAX)?,
        text: trimmed("text", &signature.text, TEXT_CHARS_MAX)?,
        unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    };
    book.entries.push_front(entry.clone());
    book.entries.truncate(ENTRIES_MAX);
    Ok(entry)
}

fn page(book: &Book) -> String {
    let title = escape(&env::var("TITLE").unwrap_or_else(|_| "Guestbook".to_owned()));
    let mut entries = String::new();
    for entry in &book.entries {
        let _ = write!(
            entries,
            "<li><b>{}</b> <span>{}</span></li>",
            escape(&entry.name),
            escape(&entry.text)
        );
    }
    if book.entries.is_empty() {
        entries.push_str("<li>Nobody yet. Be the first.</li>");
    }
    include_str!("page.html")
        .replace("{{title}}", &title)
        .replace("{{visits}}", &book.visits.to_string())
        .replace("{{entries}}", &entries)
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Nothing a visitor writes is taken for one of the page's own places.
            '{' => safe.push_str("&#123;"),
            c => safe.push(c),
        }
    }
    safe
}
