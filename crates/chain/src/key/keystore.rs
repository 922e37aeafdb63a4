//! Keys encrypted under a passphrase: Web3 Secret Storage, version 3, as every Ethereum tool reads
//! and writes it (scrypt, AES-128-CTR, Keccak-256).

use std::{fmt, path::Path};

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use alloy::primitives::{Address, keccak256};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Key, read_private};
use crate::ChainError;

/// How hard a passphrase is to try, as a power of two: 128 MiB of memory for each.
pub(super) const LOG_N: u8 = 17;
const R: u32 = 8;
const P: u32 = 1;
/// The most memory that opening a file of somebody else's making may take.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
const PASSPHRASE_BYTES_MAX: usize = 1_024;

/// What opens a key. Wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase: its first line, without the line's end.
    ///
    /// # Errors
    /// Where it is empty, or too long.
    pub fn new(text: &str) -> Result<Self, ChainError> {
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || line.len() > PASSPHRASE_BYTES_MAX {
            return Err(ChainError::Passphrase);
        }
        Ok(Self(Zeroizing::new(line.to_owned())))
    }

    /// Whether another is the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// Reads a passphrase from the first line of a file, which is closed to others where it is open.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds none.
    pub fn from_file(path: &Path) -> Result<Self, ChainError> {
        let text = read_private(path, 2 * PASSPHRASE_BYTES_MAX as u64)
            .map_err(|source| ChainError::File { path: path.to_owned(), source })?;
        Self::new(&text)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Keystore {
    version: u8,
    id: String,
    #[serde(default)]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct KdfParams {
    dklen: u32,
    n: u64,
    r: u32,
    p: u32,
    salt: String,
}

/// Derives 32 bytes: the cipher's key, and what authenticates.
fn derive(
    passphrase: &Passphrase,
    salt: &[u8],
    (log_n, r, p): (u8, u32, u32),
) -> Option<Zeroizing<[u8; 32]>> {
    let params = scrypt::Params::new(log_n, r, p).ok()?;
    let mut derived = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.0.as_bytes(), salt, &params, derived.as_mut_slice()).ok()?;
    Some(derived)
}

fn authenticate(derived: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    keccak256([&derived[16..], ciphertext].concat()).0
}

/// Encrypts or decrypts, which is the same.
fn apply(derived: &[u8; 32], iv: &[u8; 16], bytes: &mut [u8; 32]) {
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&derived[..16]);
    ctr::Ctr128BE::<aes::Aes128>::new((&*key).into(), iv.into()).apply_keystream(bytes);
}

/// The text of an encrypted key.
pub(super) fn seal(
    key: &Key,
    passphrase: &Passphrase,
    log_n: u8,
) -> Result<String, serde_json::Error> {
    let (salt, iv) = (rand::random::<[u8; 32]>(), rand::random::<[u8; 16]>());
    let derived = derive(passphrase, &salt, (log_n, R, P)).expect("our parameters are valid");
    let mut sealed = key.secret();
    apply(&derived, &iv, &mut sealed);
    let id = hex::encode(rand::random::<[u8; 16]>());
    serde_json::to_string_pretty(&Keystore {
        version: 3,
        // A random UUID, whose version and variant stand at fixed places.
        id: format!("{}-{}-4{}-a{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..]),
        address: Some(hex::encode(key.address())),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams { iv: hex::encode(iv) },
            ciphertext: hex::encode(*sealed),
            kdf: "scrypt".to_owned(),
            kdfparams: KdfParams { dklen: 32, n: 1 << log_n, r: R, p: P, salt: hex::encode(salt) },
            mac: hex::encode(authenticate(&derived, &*sealed)),
        },
    })
}

/// The key in an encrypted text.
pub(super) fn open(path: &Path, text: &str, passphrase: &Passphrase) -> Result<Key, ChainError> {
    let not = || ChainError::NotAKey(path.to_owned());
    let Keystore { version, address, crypto, .. } =
        serde_json::from_str(text).map_err(|_| not())?;
    let KdfParams { dklen, n, r, p, salt } = crypto.kdfparams;
    let memory = n.checked_mul(128).and_then(|bytes| bytes.checked_mul(r.into()));
    let sane = version == 3
        && crypto.cipher == "aes-128-ctr"
        && crypto.kdf == "scrypt"
        && dklen == 32
        && n.is_power_of_two()
        && n >= 2
        && (1..=16).contains(&p)
        && (1..=64).contains(&r)
        && memory.is_some_and(|bytes| bytes <= MEMORY_BYTES_MAX);
    let salt = hex::decode(&salt).ok().filter(|salt| (1..=64).contains(&salt.len()));
    let (mut iv, mut mac) = ([0; 16], [0; 32]);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(&crypto.cipherparams.iv, &mut iv).map_err(|_| not())?;
    hex::decode_to_slice(&crypto.mac, &mut mac).map_err(|_| not())?;
    hex::decode_to_slice(&crypto.ciphertext, secret.as_mut_slice()).map_err(|_| not())?;
    let salt = salt.filter(|_| sane).ok_or_else(not)?;
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| not())?;
    let derived = derive(passphrase, &salt, (log_n, r, p)).ok_or_else(not)?;
    if !bool::from(authenticate(&derived, &*secret).ct_eq(&mac)) {
        return Err(ChainError::WrongPassphrase(path.to_owned()));
    }
    apply(&derived, &iv, &mut secret);
    let key = Key::from_bytes(*secret).ok_or_else(not)?;
    // The file may say whose it is; then it must be right.
    let named = address.map(|address| address.parse::<Address>());
    match named {
        Some(Ok(address)) if address == key.address() => Ok(key),
        None => Ok(key),
        Some(_) => Err(not()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use alloy::primitives::address;

    use super::*;

    /// The scrypt test vector of the Web3 Secret Storage definition.
    const VECTOR: &str = r#"{
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 262144,
                "p": 8,
                "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3
    }"#;

    fn phrase(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    #[test]
    fn the_standards_own_file_opens() {
        let path = Path::new("vector.json");
        let key = open(path, VECTOR, &phrase("testpassword")).unwrap();
        assert_eq!(key.address(), address!("008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b"));
        let secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        assert_eq!(hex::encode(*key.secret()), secret);
        let wrong = open(path, VECTOR, &phrase("testpasswore")).unwrap_err();
        assert!(matches!(wrong, ChainError::WrongPassphrase(_)), "{wrong:?}");
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_alone() {
        let key = Key::random();
        let text = seal(&key, &phrase("correct horse"), 4).unwrap();
        let secret = hex::encode(*key.secret());
        assert!(!text.contains(&secret));
        let path = Path::new("k");
        assert_eq!(open(path, &text, &phrase("correct horse")).unwrap().address(), key.address());
        open(path, &text, &phrase("correct horsf")).unwrap_err();
        // Another key's address beside it is no key.
        let other = text.replace(&hex::encode(key.address()), &"11".repeat(20));
        assert!(matches!(
            open(path, &other, &phrase("correct horse")),
            Err(ChainError::NotAKey(_))
        ));
        assert_eq!(format!("{:?}", phrase("correct horse")), "Passphrase(…)");
    }

    #[test]
    fn files_that_would_take_the_machine_are_refused() {
        let path = Path::new("k");
        for (good, bad) in [
            ("\"n\": 262144", "\"n\": 1073741824"),
            ("\"n\": 262144", "\"n\": 262143"),
            ("\"n\": 262144", "\"n\": 0"),
            ("\"r\": 1,", "\"r\": 4294967295,"),
            ("\"p\": 8", "\"p\": 4294967295"),
            ("\"dklen\": 32", "\"dklen\": 16"),
            ("\"version\": 3", "\"version\": 4"),
            ("scrypt", "pbkdf2"),
            ("aes-128-ctr", "aes-128-cbc"),
            ("\"d172", "\"d1"),
        ] {
            let text = VECTOR.replace(good, bad);
            assert_ne!(text, VECTOR);
            let error = open(path, &text, &phrase("testpassword")).unwrap_err();
            assert!(matches!(error, ChainError::NotAKey(_)), "{bad}: {error:?}");
        }
        for text in ["{", "{}", "{\"version\":3}"] {
            open(path, text, &phrase("x")).unwrap_err();
        }
    }

    #[test]
    fn a_plain_file_becomes_an_encrypted_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supplier.key");
        let key = Key::load_or_create(&path).unwrap();
        let secret = hex::encode(*key.secret());
        let phrase_file = dir.path().join("phrase");
        fs::write(&phrase_file, "a b c\nnot this\n").unwrap();
        fs::set_permissions(&phrase_file, fs::Permissions::from_mode(0o644)).unwrap();
        let given = Passphrase::from_file(&phrase_file).unwrap();
        assert_eq!(fs::metadata(&phrase_file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*given.0, "a b c");

        Key::encrypt_file(&path, &given).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&secret) && text.contains("scrypt"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(matches!(Key::load(&path), Err(ChainError::KeyEncrypted(_))));
        assert!(matches!(Key::load_or_create(&path), Err(ChainError::KeyEncrypted(_))));
        assert_eq!(Key::open(&path, Some(&given)).unwrap().address(), key.address());
        // Nothing is written over.
        assert!(key.save_encrypted(&path, &given).is_err());
        for none in ["", "\n", &"x".repeat(1_025)] {
            Passphrase::new(none).unwrap_err();
        }
    }
}
