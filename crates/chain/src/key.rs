//! A secp256k1 key: who a supplier or a utility is on chain.
//!
//! The file holds 64 hexadecimal digits and is readable by its owner only. `Debug` shows the
//! address and never the secret.

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
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(file)?;
        }
        let key = Self::random();
        // Written beside and linked into place: a reader never sees half a key, and of two writers
        // the first wins.
        let beside = path.with_extension(format!("{:016x}.tmp", rand::random::<u64>()));
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(file)?;
        let written = out
            .write_all(hex::encode(key.0.to_bytes()).as_bytes())
            .and_then(|()| out.sync_all())
            .and_then(|()| fs::hard_link(&beside, path));
        let _ = fs::remove_file(&beside);
        match written {
            Ok(()) => {
                if let Some(parent) = path.parent() {
                    // The directory entry is what makes the key findable after a power cut.
                    let _ = fs::File::open(parent).and_then(|dir| dir.sync_all());
                }
                Ok(key)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(file(error)),
        }
    }

    /// Reads the key at `path`.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self, ChainError> {
        let file = |source| ChainError::File { path: path.to_owned(), source };
        let opened = fs::File::open(path).map_err(file)?;
        if opened.metadata().map_err(file)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(file)?;
        }
        let mut text = String::new();
        (&opened).take(256).read_to_string(&mut text).map_err(file)?;
        let not = || ChainError::NotAKey(path.to_owned());
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| not())?;
        Self::from_bytes(bytes).ok_or_else(not)
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

    pub(crate) fn signer(&self) -> PrivateKeySigner {
        self.0.clone()
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
