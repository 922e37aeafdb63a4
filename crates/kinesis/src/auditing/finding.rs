//! What an auditor found, and the salt it commits with: written down before the chain hears of
//! either, so that a process that dies between commitment and reveal goes on where it was.

use std::path::{Path, PathBuf};

use kinesis_protocol::{Address, B256, result::UNAVAILABLE};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    files,
};

/// A finding that is to be committed to and revealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The claim.
    pub(crate) claim: u64,
    /// The hash that the supplier signed: a claim of that number on another chain is another.
    pub(crate) result: B256,
    /// Whose finding it is.
    pub(crate) auditor: Address,
    /// What was found; zero: that the job could not be had or run.
    pub(crate) finding: B256,
    /// Why it is that, for people.
    pub(crate) why: String,
    /// What hides it until it is revealed.
    salt: Salt,
}

/// Whoever knows it before the reveal can tell what was found.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Salt(B256);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(…)")
    }
}

impl Finding {
    /// A finding with a new salt.
    pub(crate) fn new(
        claim: u64,
        result: B256,
        auditor: Address,
        finding: B256,
        why: String,
    ) -> Self {
        let salt = Salt(B256::from(rand::random::<[u8; 32]>()));
        Self { claim, result, auditor, finding, why, salt }
    }

    pub(crate) const fn salt(&self) -> B256 {
        self.salt.0
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        self.finding == UNAVAILABLE
    }

    fn path(dir: &Path, claim: u64, result: B256, auditor: Address) -> PathBuf {
        dir.join(format!("{claim}-{result:x}-{auditor:x}.json"))
    }

    /// Writes it, synced, for its owner's eyes only.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        files::private_dir(dir)?;
        let path = Self::path(dir, self.claim, self.result, self.auditor);
        let text = serde_json::to_string_pretty(self).map_err(Error::role("finding"))?;
        files::write_private(&path, &text)?;
        // The name has to outlive a loss of power too.
        let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(Error::io(format!("sync {}", dir.display())))
    }

    /// What was written; `None` where nothing was.
    pub(crate) fn load(
        dir: &Path,
        claim: u64,
        result: B256,
        auditor: Address,
    ) -> Result<Option<Self>> {
        let path = Self::path(dir, claim, result, auditor);
        let Some(text) = files::read_text(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|e| Error::Usage {
            message: format!("{} holds no finding: {e}", path.display()),
            hint: Some("without its salt nothing can be revealed; the fee is lost".into()),
        })
    }

    /// Forgets it, once the claim is over.
    pub(crate) fn forget(&self, dir: &Path) {
        let _ = std::fs::remove_file(Self::path(dir, self.claim, self.result, self.auditor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_finding_is_kept_for_its_owner_and_its_salt_is_new_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("findings");
        let (result, who) = (B256::repeat_byte(1), Address::repeat_byte(2));
        let found = Finding::new(7, result, who, B256::repeat_byte(3), "equal".into());
        found.save(&dir).unwrap();
        assert_eq!(Finding::load(&dir, 7, result, who).unwrap(), Some(found.clone()));
        assert_eq!(Finding::load(&dir, 7, B256::ZERO, who).unwrap(), None);
        assert_eq!(Finding::load(&dir, 7, result, Address::ZERO).unwrap(), None);
        let path = Finding::path(&dir, 7, result, who);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = Finding::new(7, result, who, B256::repeat_byte(3), "equal".into());
        assert_ne!(other.salt(), found.salt());
        let shown = format!("{found:?}");
        assert!(!shown.contains(&format!("{:x}", found.salt())), "{shown}");
        found.forget(&dir);
        assert_eq!(Finding::load(&dir, 7, result, who).unwrap(), None);
    }
}
