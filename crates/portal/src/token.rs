//! The operator's token: a file only the operator can read.

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use subtle::ConstantTimeEq;

use crate::PortalError;

const PREFIX: &str = "kop_";
const DIGITS: usize = 64;

/// What the operator proves itself with: `kop_` and 64 hexadecimal digits.
#[derive(Clone)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// A new token, kept nowhere.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 32]>())))
    }

    /// Reads the token at `path`, or makes one there, mode 0600.
    ///
    /// # Errors
    /// Where the file cannot be read or made, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, PortalError> {
        let failed = |source| PortalError::TokenFile { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(text.trim())
                .ok_or_else(|| PortalError::TokenMalformed { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Self::random();
                token.write(path).map_err(failed)?;
                Ok(token)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let fits = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(text.to_owned()))
    }

    /// Written beside and renamed, so that a crash leaves no half of it.
    fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        writeln!(file, "{}", self.0)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }

    /// The token as the operator sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it, in constant time.
    pub(crate) fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.token");
        let made = OperatorToken::load_or_create(&path).unwrap();
        let again = OperatorToken::load_or_create(&path).unwrap();
        assert!(made.matches(again.reveal()));
        assert!(!made.matches("") && !made.matches(OperatorToken::random().reveal()));
        assert_eq!(format!("{made:?}"), "OperatorToken(..)");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(&path, "hello").unwrap();
        let error = OperatorToken::load_or_create(&path).unwrap_err();
        assert!(matches!(error, PortalError::TokenMalformed { .. }));
    }
}
