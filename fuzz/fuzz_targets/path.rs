//! Names of files: what a manifest may name, a runtime can lay out, and it stays where it belongs.
#![no_main]

use std::path::Path;

use kinesis_protocol::manifest::relative_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let dir = Path::new("/lease/data");
    let placed = kinesis_runtime::fuzz::inside(dir, path);
    if relative_path(path) {
        assert!(placed.is_ok(), "the manifest takes {path:?}, the runtime: {placed:?}");
    }
    if let Ok(placed) = placed {
        assert!(placed.starts_with(dir) && placed != dir, "{placed:?}");
        assert!(placed.components().all(|part| part.as_os_str() != ".."), "{placed:?}");
    }
});
