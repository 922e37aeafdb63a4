//! Compiles a component, in a sandbox that has nothing but the two files it was handed.

use std::{
    borrow::Cow,
    fs::File,
    io::{Read, Write},
};

use wasmtime::Engine;

use super::{confine, engine, world};

/// The largest component.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;

pub(super) fn run(
    engine: Engine,
    deterministic: bool,
    component: File,
    mut code: File,
) -> Result<(), String> {
    confine::only_files(None, None)?;
    let mut bytes = Vec::new();
    component
        .take(COMPONENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("read the component: {e}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n > COMPONENT_BYTES_MAX) {
        return Err(format!("a component may have at most {COMPONENT_BYTES_MAX} bytes"));
    }
    let (bytes, concurrent) = read(&bytes)?;
    let kind = engine::Kind { deterministic, concurrent };
    let engine = if kind == engine::Kind::default() {
        engine
    } else {
        engine::engine(kind).map_err(|e| format!("engine: {e:#}"))?
    };
    let compiled = engine.precompile_component(&bytes).map_err(|e| format!("{e:#}"))?;
    code.write_all(&compiled).map_err(|e| format!("write the code: {e}"))
}

/// The bytes that an uploaded component stands for, and whether it is one of WASI 0.3.
fn read(uploaded: &[u8]) -> Result<(Cow<'_, [u8]>, bool), String> {
    // Text is turned into what it stands for; bytes are left as they are.
    let bytes = wat::parse_bytes(uploaded).map_err(|e| e.to_string())?;
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        return Err("this is a core WebAssembly module; a component is needed (build for \
                    wasm32-wasip2, or wrap it with `wasm-tools component new`)"
            .into());
    }
    let concurrent = world::is_concurrent(&bytes);
    Ok((bytes, concurrent))
}

/// Everything of [`run`] but the files.
#[cfg(fuzzing)]
pub(crate) fn examine(uploaded: &[u8]) {
    use std::sync::OnceLock;

    static ENGINES: [OnceLock<Engine>; 2] = [OnceLock::new(), OnceLock::new()];
    let Ok((bytes, concurrent)) = read(uploaded) else { return };
    let engine = ENGINES[usize::from(concurrent)].get_or_init(|| {
        engine::engine(engine::Kind { deterministic: false, concurrent }).expect("an engine")
    });
    let _ = engine.precompile_component(&bytes);
}
