//! The profile: which utility a customer talks to, and with which key.
//!
//! A key comes from the environment or from this file, never from an argument: arguments are seen
//! by everybody on the machine.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kinesis_protocol::AccountId;
use serde::{Deserialize, Serialize};

use crate::{
    env,
    error::{Error, Result},
    files,
};

/// Where a utility answers unless somebody says otherwise.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:8081";

/// What the profile file holds.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Profile {
    /// The utility's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The account the key belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<AccountId>,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<String>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("url", &self.url).field("account", &self.account).finish()
    }
}

impl Profile {
    /// Where the profile is.
    pub(crate) fn path() -> Result<PathBuf> {
        match std::env::var_os(env::CONFIG) {
            Some(path) if !path.is_empty() => Ok(path.into()),
            _ => Ok(files::default_config_dir()?.join("config.toml")),
        }
    }

    /// Reads a profile; an empty one where there is no file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let Some(text) = files::read_text(path)? else { return Ok(Self::default()) };
        let profile: Self = toml::from_str(&text)
            .map_err(|e| Error::Config { path: path.to_owned(), source: e.into() })?;
        let mode = fs::metadata(path).map_or(0, |m| m.permissions().mode());
        if profile.api_key.is_some() && mode & 0o077 != 0 {
            return Err(Error::Usage {
                message: format!("{} holds a key, and others may read it", path.display()),
                hint: Some(format!("chmod 600 {}", path.display())),
            });
        }
        Ok(profile)
    }

    /// Writes a profile for its owner's eyes only.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            files::private_dir(dir)?;
        }
        let text = toml::to_string(self)
            .map_err(|e| Error::Config { path: path.to_owned(), source: e.into() })?;
        files::write_private(path, &format!("# Written by `kinesis account open`.\n{text}"))
    }
}

/// Whom a customer's command talks to.
#[derive(Clone)]
pub(crate) struct Customer {
    /// The utility's address.
    pub(crate) url: String,
    /// The key; `None`: none is known.
    pub(crate) api_key: Option<String>,
}

impl Customer {
    /// Flag and environment before the profile, the profile before the default.
    pub(crate) fn resolve(url: Option<String>) -> Result<Self> {
        let profile = Profile::load(&Profile::path()?)?;
        let key = std::env::var(env::API_KEY).ok().filter(|key| !key.is_empty());
        Ok(Self::layered(url, key, profile))
    }

    fn layered(url: Option<String>, key: Option<String>, profile: Profile) -> Self {
        Self {
            url: url.or(profile.url).unwrap_or_else(|| URL_DEFAULT.to_owned()),
            api_key: key.or(profile.api_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_settings_win() {
        let profile = || Profile {
            url: Some("http://profile".into()),
            api_key: Some("kin_profile".into()),
            account: None,
        };
        let none = Customer::layered(None, None, Profile::default());
        assert_eq!((none.url.as_str(), none.api_key), (URL_DEFAULT, None));
        let from_profile = Customer::layered(None, None, profile());
        assert_eq!(from_profile.url, "http://profile");
        assert_eq!(from_profile.api_key.as_deref(), Some("kin_profile"));
        let nearer =
            Customer::layered(Some("http://flag".into()), Some("kin_env".into()), profile());
        assert_eq!(nearer.url, "http://flag");
        assert_eq!(nearer.api_key.as_deref(), Some("kin_env"));
    }

    #[test]
    fn a_profile_survives_and_refuses_strangers_and_unknown_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.toml");
        assert_eq!(Profile::load(&path).unwrap(), Profile::default());
        let profile = Profile {
            url: Some("http://u".into()),
            account: Some(AccountId::random()),
            api_key: Some("kin_secret".into()),
        };
        profile.save(&path).unwrap();
        assert_eq!(Profile::load(&path).unwrap(), profile);
        assert!(!format!("{profile:?}").contains("kin_secret"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Profile::load(&path).unwrap_err().hint().unwrap().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "urll = \"x\"\n").unwrap();
        let error = Profile::load(&path).unwrap_err();
        assert!(error.causes().concat().contains("urll"), "{:?}", error.causes());
    }
}
