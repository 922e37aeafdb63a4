//! Which WASI a component was made for, told by the names of its imports and exports.

use wasmparser::{Chunk, ComponentExternName, Parser, Payload};

/// Whether a component imports or exports anything of WASI 0.3. What cannot be parsed does not: the
/// compiler will say why.
pub(super) fn is_concurrent(component: &[u8]) -> bool {
    uses(component).unwrap_or(false)
}

fn uses(mut rest: &[u8]) -> wasmparser::Result<bool> {
    let mut parser = Parser::new(0);
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
            return Ok(false);
        };
        let mut skip = consumed;
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    if is_wasi_3(&import?.name) {
                        return Ok(true);
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    if is_wasi_3(&export?.name) {
                        return Ok(true);
                    }
                }
            }
            // What lies inside has imports of its own, which are not the world's.
            Payload::ModuleSection { unchecked_range: inner, .. }
            | Payload::ComponentSection { unchecked_range: inner, .. } => {
                skip = skip.saturating_add(inner.len());
            }
            Payload::End(_) => return Ok(false),
            _ => {}
        }
        rest = rest.get(skip..).unwrap_or_default();
    }
}

fn is_wasi_3(name: &ComponentExternName<'_>) -> bool {
    name.name
        .strip_prefix("wasi:")
        .and_then(|name| name.split_once('@'))
        .is_some_and(|(_, version)| version == "0.3" || version.starts_with("0.3."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> bool {
        is_concurrent(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn names_of_imports_and_exports_tell() {
        let import = |name: &str| told(&format!("(component (import \"{name}\" (instance)))"));
        assert!(import("wasi:cli/stdout@0.3.0"));
        assert!(import("wasi:http/types@0.3.1"));
        assert!(import("wasi:cli/stdout@0.3.0-rc-2026-01-06"));
        for other in
            ["wasi:cli/stdout@0.2.3", "wasi:cli/stdout@0.30.0", "mine:cli/x@0.3.0", "wasi:cli/x"]
        {
            assert!(!import(other), "{other}");
        }
        let run = "(instance $i) (export \"wasi:cli/run@0.3.0\" (instance $i))";
        assert!(told(&format!("(component {run})")));
        assert!(!told(&format!("(component (component {run}))")), "what is inside does not count");
        let behind = "(core module (memory 1) (func)) (component (core module))";
        assert!(told(&format!("(component {behind} {run})")), "what is inside is passed over");
    }

    #[test]
    fn what_is_no_component_uses_nothing() {
        let whole = wat::parse_str(
            "(component (core module (func)) (import \"wasi:cli/stdout@0.3.0\" (instance)))",
        )
        .unwrap();
        assert!(is_concurrent(&whole));
        for end in 0..whole.len() {
            let _ = is_concurrent(&whole[..end]);
        }
        for bytes in [&b""[..], b"nonsense", b"\0asm\x01\0\0\0"] {
            assert!(!is_concurrent(bytes));
        }
    }
}
