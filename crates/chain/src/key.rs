//! A secp256k1 key: who a supplier or a utility is on chain.
//!
//! A file holds 64 hexadecimal digits (for development), or the key encrypted under a passphrase
//! ([`keystore`]); either is readable by its owner only. `Debug` shows the address and never the
//! secret.

pub mod keystore;

use std::{
    fmt,
    fs::{self, OpenOptions, Permissions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use alloy::{
    primitives::{Address, B256},
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use kinesis_protocol::Signature;
use zeroize::Zeroizing;

pub use self::keystore::Passphrase;

use crate::ChainError;

/// A signing key and its address.
#[derive(Clone)]
pub struct Key(PrivateKeySigner);

impl Key {
    /// A new key.
    #[must_use]
    pub fn random() -> Self {
        Self(PrivateKeySigner::random())
    }

    /// The key with these 32 bytes; `None` where they are zero or not below the curve's order.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        PrivateKeySigner::from_bytes(&B256::from(bytes)).ok().map(Self)
    }

    /// Reads the key at `path`; makes and stores a new one (mode 0600, synced) where there is none.
    /// Two processes that start at once get the same key.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, ChainError> {
        let file = |source| ChainError::File { path: path.to_owned(), source };
        match Self::load(path) {
            Err(ChainError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
        let key = Self::random();
        if write_new(path, hex::encode(key.0.to_bytes()).as_bytes()).map_err(file)? {
            return Ok(key);
        }
        Self::load(path)
    }

    /// Reads the plain key at `path`.
    ///
    /// # Errors
    /// Where the file cannot be read, is encrypted, or holds something else.
    pub fn load(path: &Path) -> Result<Self, ChainError> {
        Self::open(path, None)
    }

    /// Reads the key at `path`, which may be encrypted.
    ///
    /// # Errors
    /// [`ChainError::KeyEncrypted`] where it is and no passphrase is given,
    /// [`ChainError::WrongPassphrase`] where that does not open it; otherwise where the file cannot
    /// be read, or holds something else.
    pub fn open(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, ChainError> {
        let text = read_private(path, FILE_BYTES_MAX)
            .map_err(|source| ChainError::File { path: path.to_owned(), source })?;
        if text.trim_start().starts_with('{') {
            let passphrase = passphrase.ok_or_else(|| ChainError::KeyEncrypted(path.to_owned()))?;
            return keystore::open(path, &text, passphrase);
        }
        let not = || ChainError::NotAKey(path.to_owned());
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut_slice()).map_err(|_| not())?;
        Self::from_bytes(*bytes).ok_or_else(not)
    }

    /// Writes the key, encrypted, to a new file (mode 0600, synced).
    ///
    /// # Errors
    /// Where there is such a file already, or it cannot be written.
    pub fn save_encrypted(&self, path: &Path, passphrase: &Passphrase) -> Result<(), ChainError> {
        let file = |source| ChainError::File { path: path.to_owned(), source };
        let text = keystore::seal(self, passphrase, keystore::LOG_N)
            .map_err(|error| file(std::io::Error::other(error)))?;
        match write_new(path, text.as_bytes()).map_err(file)? {
            true => Ok(()),
            false => Err(file(ErrorKind::AlreadyExists.into())),
        }
    }

    /// Replaces the plain file at `path` by an encrypted one. The plain bytes are overwritten first,
    /// as far as a file system does that.
    ///
    /// # Errors
    /// Where it cannot be read or written; the plain file is then still there.
    pub fn encrypt_file(path: &Path, passphrase: &Passphrase) -> Result<Self, ChainError> {
        let key = Self::load(path)?;
        let beside = path.with_extension(format!("{:016x}.tmp", rand::random::<u64>()));
        key.save_encrypted(&beside, passphrase)?;
        // What was written opens again, or nothing is replaced.
        let opened = Self::open(&beside, Some(passphrase)).map(|again| again.address());
        let replaced = opened.and_then(|address| {
            if address != key.address() {
                return Err(ChainError::NotAKey(beside.clone()));
            }
            let file = |source| ChainError::File { path: path.to_owned(), source };
            let plain = OpenOptions::new().write(true).open(path).map_err(file)?;
            fs::rename(&beside, path).map_err(file)?;
            sync_parent(path);
            let mut plain = plain;
            let long = plain.metadata().map_err(file)?.len().min(FILE_BYTES_MAX);
            // Only now: until the rename it was the only copy.
            let zeros = vec![b'0'; usize::try_from(long).unwrap_or(0)];
            let _ = plain.write_all(&zeros).and_then(|()| plain.sync_all());
            Ok(())
        });
        if replaced.is_err() {
            let _ = fs::remove_file(&beside);
        }
        replaced.map(|()| key)
    }

    /// The address that the key signs for.
    #[must_use]
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a hash as it is. Deterministic (RFC 6979), with a low `s`.
    #[must_use]
    pub fn sign_hash(&self, hash: &B256) -> Signature {
        self.0.sign_hash_sync(hash).expect("a local key always signs")
    }

    /// The secret itself.
    pub(crate) fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().0)
    }
}

/// The longest key file.
const FILE_BYTES_MAX: u64 = 8 << 10;

/// Reads a secret file, and closes it to others where it is open to them.
fn read_private(path: &Path, bytes_max: u64) -> std::io::Result<Zeroizing<String>> {
    let opened = fs::File::open(path)?;
    if opened.metadata()?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    let mut text = Zeroizing::new(String::new());
    (&opened).take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a new file (mode 0600, synced): beside and linked into place, so that a reader never sees
/// half of it, and of two writers the first wins. Says whether this one did.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let beside = path.with_extension(format!("{:016x}.tmp", rand::random::<u64>()));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = out
        .write_all(bytes)
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::hard_link(&beside, path));
    let _ = fs::remove_file(&beside);
    match written {
        Ok(()) => {
            sync_parent(path);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The directory entry is what makes a file findable after a power cut.
fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        let _ = fs::File::open(parent).and_then(|dir| dir.sync_all());
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/supplier.key");
        let key = Key::load_or_create(&path).unwrap();
        assert_eq!(Key::load_or_create(&path).unwrap().address(), key.address());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(!format!("{key:?}").contains(&hex::encode(key.0.to_bytes())));
    }

    #[test]
    fn a_file_open_to_others_is_closed_and_nonsense_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, format!("{}\n", "07".repeat(32))).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Key::load(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for bad in ["", "zz", &"00".repeat(32), &"07".repeat(33), &"ff".repeat(32)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(Key::load_or_create(&path), Err(ChainError::NotAKey(_))), "{bad}");
        }
    }

    #[test]
    fn racing_starts_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let all: Vec<_> = std::thread::scope(|scope| {
            let start = || Key::load_or_create(&path).unwrap().address();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|address| *address == all[0]));
    }
}
