//! Terms of leases that both sides signed, with the newest acknowledgement, each in a plain file:
//! `LEASE.json`. A supplier answers an accusation with it, a utility accuses with it; neither needs
//! anybody else, nor a process that runs.
//!
//! Invariants: what is on disk is verified when it is read; a file holds all of the old or all of the
//! new; `acked_to_s` never goes back, and is written before an acknowledgement leaves.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use kinesis_protocol::{B256, LeaseId, NodeId, Signature, SignedAck, SlaOffer};
use serde::{Deserialize, Serialize};

use crate::ChainError;

/// The longest file that is read.
const BYTES_MAX: u64 = 16 << 10;
/// The most agreements of one directory that are given out; those that are not settled all are.
pub const AGREEMENTS_MAX: usize = 20_000;
/// How long after its end a lease may be accused, in seconds: as the court has it, and a day.
const KEPT_S: u64 = 8 * 86_400;

/// Terms that both have signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Which lease.
    pub lease: LeaseId,
    /// The machine that holds it.
    pub node: NodeId,
    /// What was signed, by the utility.
    pub offer: SlaOffer,
    /// The supplier's signature over the same.
    pub supplier_signature: Signature,
    /// Up to when the utility acknowledged, in seconds since 1970; the beginning where it never did.
    pub acked_to_s: u64,
    /// The newest acknowledgement; `None` before the first, and in the utility's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<SignedAck>,
    /// When the supplier gave notice on chain, as it knows, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_at_s: Option<u64>,
    /// When the utility saw that the supplier was silent for too long, in seconds since 1970. Nothing
    /// is acknowledged after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_at_s: Option<u64>,
    /// The app, for whoever reads the file.
    #[serde(default)]
    pub app: String,
}

impl Agreement {
    /// What was agreed, of which nothing is acknowledged yet.
    #[must_use]
    pub fn new(
        lease: LeaseId,
        node: NodeId,
        app: &str,
        offer: SlaOffer,
        supplier_signature: Signature,
    ) -> Self {
        let acked_to_s = offer.terms.from;
        Self {
            lease,
            node,
            offer,
            supplier_signature,
            acked_to_s,
            ack: None,
            notice_at_s: None,
            broken_at_s: None,
            app: app.to_owned(),
        }
    }

    /// The hash by which the court knows it.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.offer.digest()
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// In words.
    pub fn verify(&self) -> Result<(), &'static str> {
        let SlaOffer { chain_id, court, terms, .. } = self.offer;
        if !self.offer.is_signed() {
            return Err("the utility's signature over the terms does not hold");
        }
        if !self.offer.is_accepted_by(&self.supplier_signature) {
            return Err("the supplier's signature over the terms does not hold");
        }
        let Some(ack) = &self.ack else { return Ok(()) };
        if ack.ack.terms != self.digest() {
            return Err("the acknowledgement is of other terms");
        }
        if !ack.is_of(terms.utility, chain_id, court) {
            return Err("the utility's signature over the acknowledgement does not hold");
        }
        Ok(())
    }

    /// Takes an acknowledgement in place of an older one. Says whether it was newer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, ack: SignedAck) -> Result<bool, &'static str> {
        let with = Self { ack: Some(ack), ..self.clone() };
        with.verify()?;
        if ack.ack.upTo <= self.acked_to_s && self.ack.is_some() {
            return Ok(false);
        }
        *self = Self { acked_to_s: ack.ack.upTo, ..with };
        Ok(true)
    }

    /// Whether nothing more can come of it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.acked_to_s >= self.offer.terms.to
    }

    /// Whether anything can still come of it: neither settled, nor broken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.is_settled() && self.broken_at_s.is_none()
    }

    /// By when the next acknowledgement is due, in seconds since 1970.
    #[must_use]
    pub fn due_s(&self) -> u64 {
        self.acked_to_s.saturating_add(u64::from(self.offer.terms.ackInterval))
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read, or does not verify.
    pub fn read(path: &Path) -> Result<Self, ChainError> {
        let failed = |source| ChainError::File { path: path.to_owned(), source };
        let mut text = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        let invalid = |why: String| failed(io::Error::new(ErrorKind::InvalidData, why));
        let agreement: Self =
            serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        agreement.verify().map_err(|why| invalid(why.to_owned()))?;
        Ok(agreement)
    }
}

/// A directory of agreements.
#[derive(Debug, Clone)]
pub struct Agreements {
    dir: PathBuf,
}

impl Agreements {
    /// The agreements in `dir`, which is made when the first is written.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where one of them lies.
    #[must_use]
    pub fn path(&self, lease: LeaseId) -> PathBuf {
        self.dir.join(format!("{lease}.json"))
    }

    /// Writes one, in place of what was there; synced when this returns.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, agreement: &Agreement) -> Result<(), ChainError> {
        let path = self.path(agreement.lease);
        let failed = |source| ChainError::File { path: path.clone(), source };
        let text = serde_json::to_vec_pretty(agreement).map_err(io::Error::other);
        let text = text.map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        let beside = path.with_extension(format!("{:08x}.tmp", rand::random::<u32>()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&beside);
            failed(source)
        })
    }

    /// The agreement about a lease.
    ///
    /// # Errors
    /// Where there is one that cannot be read, or does not verify.
    pub fn load(&self, lease: LeaseId) -> Result<Option<Agreement>, ChainError> {
        match Agreement::read(&self.path(lease)) {
            Err(ChainError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Removes one: only what nobody needs any more. That it is not there is no error.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove(&self, lease: LeaseId) -> Result<(), ChainError> {
        let path = self.path(lease);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(ChainError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// All of them, by lease, and what is wrong with files. Files of what nobody may accuse any more
    /// are removed. Above [`AGREEMENTS_MAX`] settled ones are left out, which is said among what is
    /// wrong.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn all(&self, now_s: u64) -> Result<(Vec<Agreement>, Vec<ChainError>), ChainError> {
        let failed = |source| ChainError::File { path: self.dir.clone(), source };
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((Vec::new(), Vec::new()));
            }
            read => read.map_err(failed)?,
        };
        let (mut all, mut settled, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match Agreement::read(&path) {
                Ok(old) if old.offer.terms.to.saturating_add(KEPT_S) < now_s => {
                    // What cannot be removed is passed over again next time.
                    let _ = fs::remove_file(&path);
                }
                Ok(agreement) if agreement.is_settled() => settled.push(agreement),
                Ok(agreement) => all.push(agreement),
                Err(error) => broken.push(error),
            }
        }
        if let Some(left_out) = keep_within(AGREEMENTS_MAX, &mut all, settled) {
            broken.push(failed(io::Error::other(left_out)));
        }
        all.sort_by_key(|agreement| agreement.lease);
        Ok((all, broken))
    }
}

/// Adds the newest settled ones, as many as fit; says where some do not.
fn keep_within(
    most: usize,
    all: &mut Vec<Agreement>,
    mut settled: Vec<Agreement>,
) -> Option<String> {
    settled.sort_by_key(|agreement| std::cmp::Reverse(agreement.offer.terms.from));
    let room = most.saturating_sub(all.len());
    let left_out = settled.len().saturating_sub(room);
    all.extend(settled.into_iter().take(room));
    (left_out > 0).then(|| format!("{left_out} settled agreements above {most} are left out"))
}

#[cfg(test)]
mod tests {
    use kinesis_protocol::{
        Address, U256,
        sla::{Ack, LeaseTerms, lease_hash},
    };

    use super::*;
    use crate::Key;

    const COURT: Address = Address::repeat_byte(3);

    struct Pair {
        utility: Key,
        supplier: Key,
    }

    impl Pair {
        fn agree(&self, from: u64) -> Agreement {
            let lease = LeaseId::random();
            let terms = LeaseTerms {
                supplier: self.supplier.address(),
                utility: self.utility.address(),
                lease: lease_hash(lease),
                from,
                to: from + 100,
                ackInterval: 10,
                penalty: U256::from(5).to(),
            };
            let hash = terms.signing_hash(7, COURT);
            let signature = self.utility.sign_hash(&hash);
            let offer = SlaOffer { chain_id: 7, court: COURT, terms, signature };
            Agreement::new(lease, NodeId([1; 32]), "hello", offer, self.supplier.sign_hash(&hash))
        }

        fn ack(&self, of: &Agreement, up_to: u64, key: &Key) -> SignedAck {
            let ack = Ack { terms: of.digest(), upTo: up_to };
            SignedAck { ack, signature: key.sign_hash(&ack.signing_hash(7, COURT)) }
        }
    }

    #[test]
    fn the_newest_acknowledgement_that_holds_is_kept() {
        let pair = Pair { utility: Key::random(), supplier: Key::random() };
        let (mut one, other) = (pair.agree(100), pair.agree(100));
        assert_eq!((one.verify(), one.acked_to_s, one.due_s()), (Ok(()), 100, 110));
        assert_eq!(one.take(pair.ack(&one, 105, &pair.utility)), Ok(true));
        assert_eq!(one.take(pair.ack(&one, 104, &pair.utility)), Ok(false));
        assert_eq!(one.take(pair.ack(&one, 105, &pair.utility)), Ok(false));
        assert!(one.take(pair.ack(&one, 109, &pair.supplier)).unwrap_err().contains("signature"));
        assert!(one.take(pair.ack(&other, 109, &pair.utility)).unwrap_err().contains("other"));
        assert_eq!((one.acked_to_s, one.is_settled()), (105, false));
        assert_eq!(one.take(pair.ack(&one, 200, &pair.utility)), Ok(true));
        assert!(one.is_settled());
    }

    #[test]
    fn what_is_stored_is_read_again_and_what_is_forged_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Agreements::new(dir.path().join("leases"));
        let pair = Pair { utility: Key::random(), supplier: Key::random() };
        let (mut kept, mut forged, old) =
            (pair.agree(10_000_000), pair.agree(10_000_000), pair.agree(1));
        assert_eq!(store.load(kept.lease).unwrap(), None);
        assert_eq!(store.all(10_000_000).unwrap().0, []);
        kept.take(pair.ack(&kept, 10_000_050, &pair.utility)).unwrap();
        forged.supplier_signature = pair.utility.sign_hash(&forged.digest());
        for agreement in [&kept, &forged, &old] {
            store.save(agreement).unwrap();
        }
        assert_eq!(store.load(kept.lease).unwrap(), Some(kept.clone()));
        assert!(store.load(forged.lease).is_err());
        let (all, broken) = store.all(10_000_000).unwrap();
        assert_eq!((all, broken.len()), (vec![kept], 1));
        assert!(!store.path(old.lease).exists(), "nobody accuses it any more");
    }

    #[test]
    fn of_too_many_the_settled_are_left_out_and_that_is_said() {
        let pair = Pair { utility: Key::random(), supplier: Key::random() };
        let settled = |from| {
            let mut agreement = pair.agree(from);
            agreement.take(pair.ack(&agreement, from + 100, &pair.utility)).unwrap();
            agreement
        };
        let (open, older, newer) = (pair.agree(1), settled(2), settled(3));
        let mut all = vec![open.clone()];
        let said = keep_within(2, &mut all, vec![older.clone(), newer.clone()]).unwrap();
        assert_eq!(all, [open.clone(), newer.clone()]);
        assert!(said.starts_with("1 settled"), "{said}");
        // What is not settled is never left out.
        let mut all = vec![open.clone(), pair.agree(1)];
        assert!(keep_within(1, &mut all, vec![newer.clone()]).is_some());
        assert_eq!(all.len(), 2);
        let mut all = vec![open];
        assert_eq!(keep_within(3, &mut all, vec![older, newer]), None);
        assert_eq!(all.len(), 3);

        let dir = tempfile::tempdir().unwrap();
        let store = Agreements::new(dir.path().join("leases"));
        store.save(&all[0]).unwrap();
        for _ in 0..2 {
            store.remove(all[0].lease).unwrap();
        }
        assert_eq!(store.load(all[0].lease).unwrap(), None);
    }
}
