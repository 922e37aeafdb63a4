//! Real sandboxes with real guests: the runner is this crate's own binary, the guests are the
//! examples `probe`, `errand`, `stopwatch` and `hello`.

mod hostile;
mod job;
mod life;
mod meter;
mod service;
mod support;
