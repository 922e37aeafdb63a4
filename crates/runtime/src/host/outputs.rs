//! What a job left below `/out`: looked through with suspicion, since a guest wrote it.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use kinesis_protocol::{lease::OUTPUT_FILES_MAX, manifest::relative_path};

use super::Output;

/// The deepest directory, and the longest path in bytes.
const DEPTH_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 512;

/// The regular files below `dir`, sorted. Links and whatever else is left out.
///
/// # Errors
/// A sentence for the job's author, when there are too many, too large, or badly named files.
pub(super) fn collect(dir: &Path, bytes_max: u64) -> Result<Vec<Output>, String> {
    let mut outputs = Vec::new();
    let mut bytes = 0u64;
    let mut pending = vec![dir.to_owned()];
    while let Some(at) = pending.pop() {
        let entries = fs::read_dir(&at).map_err(|e| format!("read the outputs: {e}"))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("read the outputs: {e}"))?;
            let file = entry.path();
            let meta = file.symlink_metadata().map_err(|e| format!("read the outputs: {e}"))?;
            let path = guest_path(dir, &file)?;
            if meta.is_dir() {
                if path.matches('/').count() >= DEPTH_MAX {
                    return Err(format!("/out has directories more than {DEPTH_MAX} deep"));
                }
                pending.push(file);
            } else if meta.is_file() {
                bytes = bytes.saturating_add(meta.len());
                if bytes > bytes_max {
                    return Err(format!("/out has more than {bytes_max} bytes"));
                }
                if outputs.len() >= OUTPUT_FILES_MAX {
                    return Err(format!("/out has more than {OUTPUT_FILES_MAX} files"));
                }
                outputs.push(Output { path, file, bytes: meta.len() });
            }
        }
        if pending.len() > OUTPUT_FILES_MAX {
            return Err(format!("/out has more than {OUTPUT_FILES_MAX} directories"));
        }
    }
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(outputs)
}

fn guest_path(dir: &Path, file: &Path) -> Result<String, String> {
    let path = file
        .strip_prefix(dir)
        .ok()
        .and_then(Path::to_str)
        .ok_or("a file name in /out is not UTF-8")?;
    if path.len() > PATH_BYTES_MAX || path.chars().any(char::is_control) {
        return Err(format!(
            "a file name in /out is longer than {PATH_BYTES_MAX} bytes or has control characters"
        ));
    }
    Ok(path.to_owned())
}

/// Where a file for a guest goes below `dir`: `path` must be relative and plain.
///
/// # Errors
/// A sentence that names the path.
pub(crate) fn inside(dir: &Path, path: &str) -> Result<PathBuf, String> {
    // What a manifest may name, and nothing that this system reads in its own way.
    let plain = relative_path(path)
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if plain {
        Ok(dir.join(path))
    } else {
        Err(format!("{path:?} is no relative path of plain names"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn links_are_left_out_and_files_are_sorted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("b/x"), "12").unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("c")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("d")).unwrap();
        let outputs = collect(dir.path(), 100).unwrap();
        let found: Vec<_> = outputs.iter().map(|o| (o.path.as_str(), o.bytes)).collect();
        assert_eq!(found, [("a", 1), ("b/x", 2)]);
        assert!(collect(dir.path(), 2).unwrap_err().contains("more than 2 bytes"));
    }

    #[test]
    fn names_that_could_hurt_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a\x1b[2J"), "").unwrap();
        assert!(collect(dir.path(), 100).is_err());
    }

    #[test]
    fn no_path_leads_out() {
        let dir = Path::new("/lease/data");
        assert_eq!(inside(dir, "models/a.bin").unwrap(), dir.join("models/a.bin"));
        for path in ["", "/etc/passwd", "..", "a/../../b", "./a", "a//b", "a/", "a\0b", "a\\b"] {
            assert!(inside(dir, path).is_err(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_it_stays_inside(path in "[a./\\\\\u{0}é]{0,12}") {
            let dir = Path::new("/lease/data");
            if let Ok(to) = inside(dir, &path) {
                prop_assert!(to.starts_with(dir));
                prop_assert!(to.components().all(|c| c != Component::ParentDir));
            }
        }
    }
}
