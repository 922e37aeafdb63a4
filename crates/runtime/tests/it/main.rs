//! Real sandboxes with real guests: the runner is this crate's own binary, the guests are the
//! examples `probe`, `errand`, `stopwatch` and `hello`, and for WASI 0.3 the text in `tests/wasi3`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod hostile;
mod job;
mod life;
mod meter;
mod outgoing;
mod service;
mod support;
mod wasi3;
