//! A manifest and the files it names, read and hashed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use kinesis_control::api::{ArtifactRef, DeployRequest};
use kinesis_protocol::{ContentHash, Manifest};

use crate::{
    error::{Error, Result},
    files,
};

/// What is deployed, quoted or run.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The parsed manifest.
    pub(crate) manifest: Manifest,
    /// What is sent to the utility.
    pub(crate) request: DeployRequest,
    /// Where each artifact is on disk.
    pub(crate) files: BTreeMap<ContentHash, (PathBuf, u64)>,
}

impl Bundle {
    /// Reads a manifest (a file, or a directory with a `kinesis.toml`) and hashes what it names.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { path.join("kinesis.toml") } else { path.to_owned() };
        let text = files::read_text(&path)?.ok_or_else(|| Error::Usage {
            message: format!("there is no manifest at {}", path.display()),
            hint: Some("name a kinesis.toml, or a directory that holds one".into()),
        })?;
        let manifest = Manifest::parse(&text)
            .map_err(|source| Error::Manifest { path: path.clone(), source })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let mut artifacts = BTreeMap::new();
        let mut on_disk = BTreeMap::new();
        let names = std::iter::once(&manifest.component).chain(manifest.files.values());
        for name in names {
            let file = dir.join(name);
            let artifact = hash(&file).map_err(|source| missing(&path, &manifest, name, source))?;
            if *name == manifest.component {
                check_component(&file).map_err(Error::io(format!("read {name}")))??;
            }
            on_disk.insert(artifact.hash, (file, artifact.bytes));
            artifacts.insert(name.clone(), artifact);
        }
        let request = DeployRequest { manifest: text, artifacts };
        Ok(Self { manifest, request, files: on_disk })
    }

    /// All bytes that may have to be sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|(_, bytes)| bytes).sum()
    }
}

fn hash(file: &Path) -> io::Result<ArtifactRef> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    Ok(ArtifactRef { hash: ContentHash(*hasher.finalize().as_bytes()), bytes: hasher.count() })
}

/// Refuses early what no node could compile. Text is left to them: it may be a component, too.
fn check_component(file: &Path) -> io::Result<Result<()>> {
    let mut head = Vec::new();
    File::open(file)?.take(8).read_to_end(&mut head)?;
    let what = match head.as_slice() {
        [b'\0', b'a', b's', b'm', _, _, 1, 0] => return Ok(Ok(())),
        [b'\0', b'a', b's', b'm', ..] => "a core module of WebAssembly, no component",
        text if text.trim_ascii_start().starts_with(b"(") => return Ok(Ok(())),
        _ => "no WebAssembly component",
    };
    Ok(Err(Error::Usage {
        message: format!("{} is {what}", file.display()),
        hint: Some("build it for the target wasm32-wasip2, or make it one with wasm-tools".into()),
    }))
}

fn missing(path: &Path, manifest: &Manifest, name: &str, source: io::Error) -> Error {
    if source.kind() != io::ErrorKind::NotFound {
        return Error::io(format!("read {name}, which {} names", path.display()))(source);
    }
    let hint = (name == manifest.component).then(|| {
        "build it first, for example with `cargo build --release --target wasm32-wasip2`".into()
    });
    Error::Usage { message: format!("{} names {name}, which is not there", path.display()), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_directory_stands_for_its_manifest_and_files_are_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wasm"), COMPONENT).unwrap();
        std::fs::write(dir.path().join("b.bin"), COMPONENT).unwrap();
        let text =
            "name = \"a\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n[files]\nb = \"b.bin\"\n";
        std::fs::write(dir.path().join("kinesis.toml"), text).unwrap();
        let bundle = Bundle::load(dir.path()).unwrap();
        assert_eq!(bundle.request.manifest, text);
        assert_eq!(bundle.request.artifacts.len(), 2);
        assert_eq!(bundle.request.artifacts["a.wasm"].hash, ContentHash::of(COMPONENT));
        assert_eq!((bundle.files.len(), bundle.bytes()), (1, 8));
    }

    #[test]
    fn what_is_no_component_is_refused_before_it_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = "name = \"a\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n";
        std::fs::write(dir.path().join("kinesis.toml"), manifest).unwrap();
        for (content, what) in [
            (&b"hello"[..], "no WebAssembly component"),
            (b"", "no WebAssembly component"),
            (b"\0asm\x01\0\0\0", "a core module"),
        ] {
            std::fs::write(dir.path().join("a.wasm"), content).unwrap();
            let error = Bundle::load(dir.path()).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!((error.code(), error.hint().is_some()), (2, true));
        }
        std::fs::write(dir.path().join("a.wasm"), " (component)").unwrap();
        assert!(Bundle::load(dir.path()).is_ok());
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Bundle::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("kinesis.toml"), "{error}");
        let path = dir.path().join("kinesis.toml");
        std::fs::write(&path, "name = \"a\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n")
            .unwrap();
        let error = Bundle::load(&path).unwrap_err();
        assert!(error.to_string().contains("a.wasm") && error.hint().is_some(), "{error}");
        std::fs::write(&path, "name = \"a\"\nkind = \"servce\"\ncomponent = \"a.wasm\"\n").unwrap();
        let error = Bundle::load(&path).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.causes()[0].starts_with("line 2: kind"), "{:?}", error.causes());
    }
}
