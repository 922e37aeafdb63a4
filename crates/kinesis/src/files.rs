//! Files of ours: private, written whole or not at all, and one process per data directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// The longest configuration file that is read.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Makes a directory that only its owner may enter.
pub(crate) fn private_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Error::io(format!("make the directory {}", dir.display())))
}

/// Writes a file that only its owner may read; a reader sees all of it or none.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(Error::io(format!("write {}", path.display())))
}

/// Reads a text of ours; `None` where there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>> {
    let failed = || Error::io(format!("read {}", path.display()));
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed())?,
    };
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed())?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(Error::usage(format!(
            "{} is longer than {TEXT_BYTES_MAX} bytes",
            path.display()
        )));
    }
    Ok(Some(text))
}

/// The right to work on a data directory, held until dropped.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Makes the directory if need be and locks it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        private_dir(dir)?;
        let path = dir.join("lock");
        let failed = || Error::io(format!("lock {}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Who holds it is only said to help.
                let _ = file.take(20).read_to_string(&mut pid);
                return Err(Error::Locked { dir: dir.to_owned(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(e)) => return Err(failed()(e)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed())?;
        Ok(Self { _file: file })
    }
}

/// Where data lies unless somebody says otherwise: `$XDG_DATA_HOME/kinesis`.
pub(crate) fn default_data_dir() -> Result<PathBuf> {
    home("XDG_DATA_HOME", ".local/share", "--data")
}

/// Where the profile lies unless somebody says otherwise: `$XDG_CONFIG_HOME/kinesis`.
pub(crate) fn default_config_dir() -> Result<PathBuf> {
    home("XDG_CONFIG_HOME", ".config", crate::env::CONFIG)
}

fn home(xdg: &str, below_home: &str, instead: &str) -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = set(xdg).or_else(|| Some(set("HOME")?.join(below_home)));
    base.map(|base| base.join("kinesis")).ok_or_else(|| Error::Usage {
        message: "there is no home directory to keep files in".into(),
        hint: Some(format!("name a place with {instead}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(read_text(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(read_text(&dir.path().join("none")).unwrap(), None);
    }

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let lock = DataLock::take(&data).unwrap();
        let error = DataLock::take(&data).unwrap_err();
        assert!(
            matches!(&error, Error::Locked { pid, .. } if *pid == Some(std::process::id())),
            "{error}"
        );
        drop(lock);
        DataLock::take(&data).unwrap();
    }
}
