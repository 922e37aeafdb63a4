//! What a utility's outlet speaks of: the types the portal, the API and the command line share.
//!
//! Amounts are integers in billionths (`_nanousd`, `_nanojoule`); times are milliseconds since the
//! Unix epoch (`_at_ms`). Every type serializes to the JSON the API returns.

mod apps;
mod chain;
mod desk;
mod event;
mod fleet;
mod money;
mod quote;
mod schema;

pub use apps::*;
pub use chain::*;
pub use desk::*;
pub use event::*;
pub use fleet::*;
pub use money::*;
pub use quote::*;
