//! What a command says: results on standard output (a table for people, one JSON document for
//! scripts), progress and notes on standard error. A closed pipe ends the output quietly.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result};

const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Where and how a command speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// The result: `value` as JSON, or what `human` writes.
    pub(crate) fn result<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let mut out = anstream::stdout().lock();
        let written = if self.json {
            serde_json::to_writer_pretty(&mut out, value)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            human(&mut out)
        };
        pipe(written.and_then(|()| out.flush()))
    }

    /// One of many results: a line of JSON, or a line for people.
    pub(crate) fn event<T: Serialize>(self, value: &T, human: impl Display) -> Result<()> {
        let mut out = anstream::stdout().lock();
        let written = if self.json {
            serde_json::to_writer(&mut out, value)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            writeln!(out, "{human}")
        };
        pipe(written.and_then(|()| out.flush()))
    }

    /// Bytes as they are: logs.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        pipe(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// A remark for people, on standard error.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet && !self.json {
            // Nobody can be told that standard error is closed.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// A remark that matters even to a script.
    pub(crate) fn warn(self, text: impl Display) {
        let _ = writeln!(anstream::stderr(), "{WARN}warning:{WARN:#} {text}");
    }

    /// Something that happened beside the result, on standard error: a line of JSON for scripts, a
    /// sentence for people.
    pub(crate) fn aside<T: Serialize>(self, value: &T, human: impl Display) {
        let mut err = anstream::stderr().lock();
        let _ = if self.json {
            serde_json::to_writer(&mut err, value)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(err))
        } else {
            writeln!(err, "{WARN}note:{WARN:#} {human}")
        };
    }

    /// Says why the command failed.
    pub(crate) fn failure(self, error: &Error) {
        let mut err = anstream::stderr().lock();
        let _ = if self.json {
            let value = serde_json::json!({"error": {
                "message": error.to_string(),
                "causes": error.causes(),
                "hint": error.hint(),
                "exit_code": error.code(),
            }});
            writeln!(err, "{value}")
        } else {
            error_text(&mut err, error)
        };
    }

    /// Progress on long work: a spinner on a terminal, a line per step elsewhere.
    pub(crate) fn progress(self) -> Progress {
        let live = !self.quiet && !self.json && io::stderr().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {msg}").expect("the template is constant"),
            );
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { output: self, bar, last: String::new() }
    }
}

fn error_text(out: &mut dyn Write, error: &Error) -> io::Result<()> {
    writeln!(out, "{BAD}error:{BAD:#} {error}")?;
    for cause in error.causes() {
        writeln!(out, "  {DIM}because:{DIM:#} {cause}")?;
    }
    error.hint().map_or(Ok(()), |hint| writeln!(out, "  {GOOD}try:{GOOD:#} {hint}"))
}

fn pipe(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::io("write to standard output")),
    }
}

/// What is going on right now.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    /// What is being done. Said once, however often it is called with the same text.
    pub(crate) fn step(&mut self, text: impl Into<String>) {
        let text = text.into();
        if text == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(text.clone()),
            None => self.output.note(&text),
        }
        self.last = text;
    }

    /// A step that passes too quickly to be worth a line of its own in a log.
    pub(crate) fn tick(&mut self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }

    /// Something that stays on the screen.
    pub(crate) fn keep(&self, text: impl Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.note(text)),
            None => self.output.note(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A table without lines; columns whose heading starts with `>` are aligned to the right.
pub(crate) fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(headings.map(|h| h.trim_start_matches('>')));
    for (i, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// Writes a table without the blanks at the ends of its lines.
pub(crate) fn write_table(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

/// Text from outside, made safe for a terminal: one line without control characters.
pub(crate) fn safe(text: &str) -> String {
    let breaks = |c: char| c.is_control() && c.is_whitespace();
    if text.contains(breaks) {
        let words: Vec<&str> = text.split_whitespace().collect();
        return safe(&words.join(" "));
    }
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `1.5 MiB` and the like.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(n) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// `2.320 s`, exact to the millisecond.
pub(crate) fn millis(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(91 << 20), "91.0 MiB");
        assert_eq!(millis(2_320), "2.320 s");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        assert_eq!(safe("a\u{1b}[2Jb\u{7}"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(safe("two\n   lines\t\u{7}\n"), "two lines \u{fffd}");
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let mut table = table(["name", ">cost"]);
        table.add_row(["hello", "$1.00"]).add_row(["a-longer-name", "$12.50"]);
        let mut text = Vec::new();
        write_table(&mut text, &table).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
        name             cost
        hello           $1.00
        a-longer-name  $12.50
        ");
    }

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let error = Error::Unreachable {
            what: "the utility at http://127.0.0.1:8081".into(),
            hint: Some("start a grid with `kinesis up`".into()),
            source: io::Error::other("connection refused").into(),
        };
        let mut text = anstream::StripStream::new(Vec::new());
        error_text(&mut text, &error).unwrap();
        insta::assert_snapshot!(String::from_utf8(text.into_inner()).unwrap(), @r"
        error: cannot reach the utility at http://127.0.0.1:8081
          because: connection refused
          try: start a grid with `kinesis up`
        ");
    }
}
