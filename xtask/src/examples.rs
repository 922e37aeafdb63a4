//! Builds the examples into `target/examples/NAME/`: the manifest, the component, and its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    install,
    shell::{cargo, command, root, step, target},
};

/// The examples in Rust that the demo needs, too.
const RUST: [&str; 7] = ["hello", "stopwatch", "probe", "errand", "guestbook", "render", "embed"];

/// Builds those in Rust; they need nothing but cargo.
pub(crate) fn rust() -> Result<()> {
    install::wasm_targets()?;
    let folder = root().join("examples");
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]).current_dir(&folder);
    step("examples in Rust", &mut build)?;
    let built = target().join("examples-build/wasm32-wasip2/release");
    for name in RUST {
        let to = stage(name)?;
        copy(&built.join(format!("{name}.wasm")), &to.join(format!("{name}.wasm")))?;
        copy(&built.join(format!("{name}.wasm")), &to.with_file_name(format!("{name}.wasm")))?;
    }
    Ok(())
}

/// Builds all, and fetches what they run with.
pub(crate) fn all() -> Result<()> {
    rust()?;
    let venv = install::venv()?;
    let embed = stage("embed")?;
    for file in ["model.safetensors", "vocab.txt"] {
        let from = find(&venv.join("lib"), file)?
            .with_context(|| format!("the package with the MiniLM weights has no {file}"))?;
        copy(&from, &embed.join(file))?;
    }
    python(&venv)
}

/// The folder of an example, with its manifest and data in it.
fn stage(name: &str) -> Result<PathBuf> {
    let (from, to) = (root().join("examples").join(name), target().join("examples").join(name));
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_owned();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if name == "kinesis.toml" || extension == "csv" {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(to)
}

fn python(venv: &Path) -> Result<()> {
    let (from, to) = (root().join("examples/python"), stage("python")?);
    let (source, component) = (from.join("app.py"), to.join("python.wasm"));
    let fresh = fs::metadata(&component)
        .and_then(|c| Ok(c.modified()? > fs::metadata(&source)?.modified()?))
        .unwrap_or(false);
    if fresh {
        return Ok(());
    }
    step(
        "example in Python",
        command(venv.join("bin/componentize-py"))
            .arg("-d")
            .arg(wit()?)
            .args(["-w", "wasi:cli/command@0.2.12", "componentize", "app", "-p"])
            .arg(&from)
            .arg("-o")
            .arg(&component),
    )
}

/// The WIT files of WASI 0.2: the crate `wasip2`, which the examples use anyway, carries them.
fn wit() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root().join("examples"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let wasip2 = packages.iter().find(|p| p["name"] == "wasip2").context("wasip2")?;
    let manifest = wasip2["manifest_path"].as_str().context("manifest_path")?;
    Ok(Path::new(manifest).with_file_name("wit"))
}

/// The first file of this name below a folder.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|n| n == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Copies what changed, so that nothing is newer than it has to be.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|had| had == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).with_context(|| to.display().to_string())
}
