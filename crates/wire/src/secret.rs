//! The key a node answers under: Ed25519, 64 hexadecimal digits in a file only its owner can read.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use iroh::{PublicKey, SecretKey, Signature};
use kinesis_protocol::NodeId;

use crate::WireError;

/// A node's key. Never shown.
#[derive(Clone)]
pub struct NodeSecret(SecretKey);

impl NodeSecret {
    /// Reads the key in `path`, or makes one and writes it there with mode 0600.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, WireError> {
        let failed = |source| WireError::SecretFile { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(text.trim())
                .ok_or_else(|| WireError::SecretFormat { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = Self::generate();
                secret.store(path).map_err(failed)?;
                Ok(secret)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        Self(SecretKey::generate())
    }

    /// The public half: the node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(*self.0.public().as_bytes())
    }

    /// Signs a message, such as a supplier's claim on this node (Ed25519).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    pub(crate) fn key(&self) -> SecretKey {
        self.0.clone()
    }

    fn parse(hex: &str) -> Option<Self> {
        // A node id has the very form of a key, so its parser reads both.
        hex.parse::<NodeId>().ok().map(|bytes| Self(SecretKey::from_bytes(&bytes.0)))
    }

    /// Writes a file beside `path` and renames it, so that a crash leaves either no key or a whole
    /// one.
    fn store(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        writeln!(file, "{}", NodeId(self.0.to_bytes()))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

/// Whether `signature` over `message` is that node's (Ed25519).
#[must_use]
pub fn signed_by(node: NodeId, message: &[u8], signature: &[u8; 64]) -> bool {
    PublicKey::from_bytes(&node.0)
        .is_ok_and(|key| key.verify(message, &Signature::from_bytes(signature)).is_ok())
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSecret({})", self.node_id().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/node.key");
        let first = NodeSecret::load_or_create(&path).unwrap();
        assert_eq!(NodeSecret::load_or_create(&path).unwrap().node_id(), first.node_id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!format!("{first:?}").contains(fs::read_to_string(&path).unwrap().trim()));
    }

    #[test]
    fn another_content_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        fs::write(&path, "not a key").unwrap();
        let error = NodeSecret::load_or_create(&path).unwrap_err();
        assert!(matches!(error, WireError::SecretFormat { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a key");
    }
}
