//! Identifiers. Each is a type of its own, so that an app cannot be passed where a lease is meant.
//!
//! Ids that a person may read carry a prefix (`app_…`, `lse_…`); keys and hashes are plain hex.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Why a string is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix names another kind of thing, or nothing.
    #[error("expected an id that starts with \"{expected}\", got \"{got}\"")]
    Prefix {
        /// The prefix that was expected, with its underscore.
        expected: &'static str,
        /// What was given, cut to 40 characters.
        got: String,
    },
    /// The rest is not the right number of lowercase hexadecimal digits.
    #[error("expected {expected} hexadecimal digits, got \"{got}\"")]
    Hex {
        /// How many digits were expected.
        expected: usize,
        /// What was given, cut to 40 characters.
        got: String,
    },
}

fn cut(s: &str) -> String {
    s.chars().take(40).collect()
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; ids made later sort after it.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id with these 16 bytes (for simulations and tests that need the same id twice).
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(s: &str) -> Result<Self, IdError> {
                let rest = s
                    .strip_prefix($prefix)
                    .ok_or_else(|| IdError::Prefix { expected: $prefix, got: cut(s) })?;
                if rest.len() != 32 {
                    return Err(IdError::Hex { expected: 32, got: cut(rest) });
                }
                Uuid::try_parse(rest)
                    .map(Self)
                    .map_err(|_| IdError::Hex { expected: 32, got: cut(rest) })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                s.parse().map_err(de::Error::custom)
            }
        }
    };
}

uuid_id!(
    /// A customer's account at a utility.
    AccountId, "acc_"
);
uuid_id!(
    /// An app: a service or a job that a customer deployed.
    AppId, "app_"
);
uuid_id!(
    /// One version of an app: a manifest and the artifacts it names.
    VersionId, "ver_"
);
uuid_id!(
    /// A lease: the right of one epoch of one replica to run on one node.
    LeaseId, "lse_"
);
uuid_id!(
    /// One request, for logs and error pages.
    RequestId, "req_"
);

macro_rules! bytes32_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first ten digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(s: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(s, &mut bytes)
                    .map_err(|_| IdError::Hex { expected: 64, got: cut(s) })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                s.parse().map_err(de::Error::custom)
            }
        }
    };
}

bytes32_id!(
    /// A machine: the Ed25519 public key that its endpoint answers under.
    NodeId
);
bytes32_id!(
    /// The BLAKE3 hash of an artifact's bytes.
    ContentHash
);

/// Which of an app's copies: 0, 1, 2, …; for a job, which part.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Replica(pub u32);

/// The fencing number of a replica. It only grows: whoever holds an older one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ContentHash {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_round_trip_and_refuse_another_kind() {
        let app = AppId::random();
        assert_eq!(app.to_string().parse::<AppId>(), Ok(app));
        let json = serde_json::to_string(&app).unwrap();
        assert_eq!(serde_json::from_str::<AppId>(&json).unwrap(), app);
        let error = app.to_string().parse::<LeaseId>().unwrap_err();
        assert!(error.to_string().contains("lse_"), "{error}");
        assert!("app_12".parse::<AppId>().is_err());
        assert!(format!("app_{}", "é".repeat(16)).parse::<AppId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        let first = LeaseId::random();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(first < LeaseId::random());
    }

    #[test]
    fn keys_are_plain_hex() {
        let node = NodeId([7; 32]);
        assert_eq!(node.to_string(), "07".repeat(32));
        assert_eq!(node.to_string().parse::<NodeId>(), Ok(node));
        assert!("07".parse::<NodeId>().is_err());
    }
}
