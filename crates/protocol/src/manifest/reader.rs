//! Reads TOML with spans, and turns every misstep into an error that names line and key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{MANIFEST_BYTES_MAX, ManifestError};
use crate::money::{NanoJoule, NanoUsd};

/// A parsed document.
#[derive(Debug)]
pub struct Reader<'t> {
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

/// A table of which every key must be asked for: [`Table::finish`] refuses the others.
#[derive(Debug)]
pub struct Table<'r> {
    text: &'r str,
    path: String,
    /// Where errors about the table itself point.
    at: usize,
    table: Option<&'r DeTable<'r>>,
    known: BTreeSet<&'static str>,
}

/// A value and where it stands.
#[derive(Debug)]
pub struct Value<'r> {
    text: &'r str,
    path: String,
    value: &'r Spanned<DeValue<'r>>,
}

fn error_at(text: &str, offset: usize, key: &str, message: String) -> ManifestError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    ManifestError { line, key: key.to_owned(), message }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn cut(s: &str) -> String {
    s.chars().take(60).collect()
}

impl<'t> Reader<'t> {
    /// Parses a text of at most a manifest's length.
    ///
    /// # Errors
    /// Where it is longer, or no TOML.
    pub fn new(text: &'t str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            let message = format!("the manifest is longer than {MANIFEST_BYTES_MAX} bytes");
            return Err(error_at(text, 0, "", message));
        }
        let root = DeTable::parse(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            error_at(text, at, "", format!("not TOML: {}", e.message()))
        })?;
        Ok(Self { text, root })
    }

    /// The outermost table.
    #[must_use]
    pub fn root(&self) -> Table<'_> {
        Table {
            text: self.text,
            path: String::new(),
            at: 0,
            table: Some(self.root.get_ref()),
            known: BTreeSet::new(),
        }
    }
}

impl<'r> Table<'r> {
    fn value(&mut self, key: &'static str) -> Option<Value<'r>> {
        self.known.insert(key);
        let value = self.table?.get(key)?;
        Some(Value { text: self.text, path: joined(&self.path, key), value })
    }

    /// An error about `key`, at its place if it is there.
    #[must_use]
    pub fn error(&self, key: &str, message: String) -> ManifestError {
        let at = self.table.and_then(|t| t.get(key)).map_or(self.at, |v| v.span().start);
        error_at(self.text, at, &joined(&self.path, key), message)
    }

    /// What stands under `key`, if it is there.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'r>) -> Result<T, ManifestError>,
    ) -> Result<Option<T>, ManifestError> {
        self.value(key).map(|value| read(&value)).transpose()
    }

    /// What stands under `key`.
    ///
    /// # Errors
    /// Where it is missing or cannot be read.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'r>) -> Result<T, ManifestError>,
    ) -> Result<T, ManifestError> {
        match self.optional(key, read)? {
            Some(value) => Ok(value),
            // A misspelt key is the likelier cause: say that instead.
            None => {
                self.misspelt(key)?;
                Err(self.error(key, "is missing".to_owned()))
            }
        }
    }

    /// A number within a range.
    ///
    /// # Errors
    /// Where it is another.
    pub fn number<N>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<N>,
        default: N,
    ) -> Result<N, ManifestError>
    where
        N: PartialOrd + Display + TryFrom<i64>,
    {
        Ok(self.optional(key, |v| v.number(range))?.unwrap_or(default))
    }

    /// A list; empty where there is none.
    ///
    /// # Errors
    /// Where it is none, or longer than `most`.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        most: usize,
        read: impl Fn(&Value<'r>) -> Result<T, ManifestError>,
    ) -> Result<Vec<T>, ManifestError> {
        Ok(self.optional(key, |v| v.list(most, read))?.unwrap_or_default())
    }

    /// A table; an empty one where there is none.
    ///
    /// # Errors
    /// Where it is none.
    pub fn table(&mut self, key: &'static str) -> Result<Self, ManifestError> {
        match self.value(key) {
            None => Ok(Self {
                text: self.text,
                path: joined(&self.path, key),
                at: self.at,
                table: None,
                known: BTreeSet::new(),
            }),
            Some(value) => value.table(),
        }
    }

    /// A table that means something by being there.
    ///
    /// # Errors
    /// Where it is none.
    pub fn table_if_there(&mut self, key: &'static str) -> Result<Option<Self>, ManifestError> {
        self.optional(key, Value::table)
    }

    /// A list of tables.
    ///
    /// # Errors
    /// Where it is none, or longer than `most`.
    pub fn tables(&mut self, key: &'static str, most: usize) -> Result<Vec<Self>, ManifestError> {
        self.list(key, most, Value::table)
    }

    /// A table whose keys are the user's own.
    ///
    /// # Errors
    /// Where a key or a value is wrong, or there are more than `most`.
    pub fn map<T>(
        &mut self,
        key: &'static str,
        most: usize,
        is_key: fn(&str) -> bool,
        read: impl Fn(&Value<'r>) -> Result<T, ManifestError>,
    ) -> Result<BTreeMap<String, T>, ManifestError> {
        let table = self.table(key)?;
        let mut map = BTreeMap::new();
        for (name, value) in table.table.into_iter().flatten() {
            let name = name.get_ref().as_ref();
            if !is_key(name) {
                return Err(self.error(key, format!("\"{}\" cannot be a key here", cut(name))));
            }
            let value = Value { text: self.text, path: joined(&table.path, name), value };
            map.insert(name.to_owned(), read(&value)?);
        }
        if map.len() > most {
            return Err(self.error(key, format!("has {} entries, the most is {most}", map.len())));
        }
        Ok(map)
    }

    /// Refuses keys that have no meaning here although they are known elsewhere.
    ///
    /// # Errors
    /// Where one is there.
    pub fn refuse(&self, keys: &[&str], why: &str) -> Result<(), ManifestError> {
        let there = keys.iter().find(|key| self.table.is_some_and(|t| t.contains_key(**key)));
        there.map_or(Ok(()), |key| Err(self.error(key, why.to_owned())))
    }

    /// The unknown key closest to `wanted`, if one is close.
    fn misspelt(&self, wanted: &str) -> Result<(), ManifestError> {
        let unknown = self.table.into_iter().flatten().map(|(key, _)| key);
        for key in unknown.filter(|key| !self.known.contains(key.get_ref().as_ref())) {
            if close(key.get_ref(), wanted) {
                return Err(error_at(
                    self.text,
                    key.span().start,
                    &joined(&self.path, key.get_ref()),
                    format!("unknown key, did you mean \"{wanted}\"?"),
                ));
            }
        }
        Ok(())
    }

    /// Refuses every key that nobody asked for.
    ///
    /// # Errors
    /// Where there is one.
    pub fn finish(self) -> Result<(), ManifestError> {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.known.contains(name) {
                continue;
            }
            let nearest = self
                .known
                .iter()
                .filter(|known| close(name, known))
                .min_by_key(|known| strsim::osa_distance(name, known));
            let all = self.known.iter().copied().collect::<Vec<_>>().join(", ");
            let message = nearest.map_or_else(
                || format!("unknown key, expected one of: {all}"),
                |known| format!("unknown key, did you mean \"{known}\"?"),
            );
            let path = joined(&self.path, &cut(name));
            return Err(error_at(self.text, key.span().start, &path, message));
        }
        Ok(())
    }
}

/// Alike, or one slip of the finger apart: of a short word one letter is much.
fn close(a: &str, b: &str) -> bool {
    strsim::jaro(a, b) > 0.8 || strsim::osa_distance(a, b) == 1
}

impl<'r> Value<'r> {
    fn error(&self, message: String) -> ManifestError {
        error_at(self.text, self.value.span().start, &self.path, message)
    }

    fn expected(&self, what: &str) -> ManifestError {
        let got = match self.value.get_ref() {
            DeValue::String(s) => format!("\"{}\"", cut(s)),
            DeValue::Integer(n) => cut(n.as_str()),
            DeValue::Float(n) => cut(n.as_str()),
            other => other.type_str().to_owned(),
        };
        self.error(format!("expected {what}, got {got}"))
    }

    /// A text that holds something.
    ///
    /// # Errors
    /// Where it is another.
    pub fn text_where(
        &self,
        what: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String, ManifestError> {
        self.value
            .get_ref()
            .as_str()
            .filter(|s| holds(s))
            .map(str::to_owned)
            .ok_or_else(|| self.expected(what))
    }

    /// One of some texts.
    ///
    /// # Errors
    /// Where it is another.
    pub fn one_of(&self, choices: &[&str]) -> Result<String, ManifestError> {
        let all = choices.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(" or ");
        self.text_where(&all, |s| choices.contains(&s))
    }

    /// US dollars.
    ///
    /// # Errors
    /// Where it is none.
    pub fn usd(&self) -> Result<NanoUsd, ManifestError> {
        let what = "US dollars in quotes, such as \"5.00\"";
        let text = self.text_where(what, |s| s.parse::<NanoUsd>().is_ok())?;
        text.parse().map_err(|_| self.expected(what))
    }

    /// JOULE, more than none.
    ///
    /// # Errors
    /// Where it is none.
    pub fn joule(&self) -> Result<NanoJoule, ManifestError> {
        let what = "JOULE in quotes, more than none, such as \"25.00\"";
        let read = |s: &str| s.parse::<NanoJoule>().ok().filter(|joule| *joule > NanoJoule::ZERO);
        let text = self.text_where(what, |s| read(s).is_some())?;
        read(&text).ok_or_else(|| self.expected(what))
    }

    /// A number within a range.
    ///
    /// # Errors
    /// Where it is another.
    pub fn number<N>(&self, range: RangeInclusive<N>) -> Result<N, ManifestError>
    where
        N: PartialOrd + Display + TryFrom<i64>,
    {
        let integer = self.value.get_ref().as_integer();
        integer
            .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
            .and_then(|n| N::try_from(n).ok())
            .filter(|n| range.contains(n))
            .ok_or_else(|| {
                self.expected(&format!("an integer from {} to {}", range.start(), range.end()))
            })
    }

    /// A list.
    ///
    /// # Errors
    /// Where it is none, or longer than `most`.
    pub fn list<T>(
        &self,
        most: usize,
        read: impl Fn(&Value<'r>) -> Result<T, ManifestError>,
    ) -> Result<Vec<T>, ManifestError> {
        let array = self.value.get_ref().as_array().ok_or_else(|| self.expected("a list"))?;
        if array.len() > most {
            return Err(self.error(format!("has {} entries, the most is {most}", array.len())));
        }
        array
            .iter()
            .enumerate()
            .map(|(i, value)| {
                read(&Value { text: self.text, path: format!("{}[{i}]", self.path), value })
            })
            .collect()
    }

    fn table(&self) -> Result<Table<'r>, ManifestError> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.expected("a table"))?;
        Ok(Table {
            text: self.text,
            path: self.path.clone(),
            at: self.value.span().start,
            table: Some(table),
            known: BTreeSet::new(),
        })
    }
}
