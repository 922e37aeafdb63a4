//! Every environment variable the binary reads, in one place.

/// Where the profile file is, instead of `~/.config/kinesis/config.toml`.
pub(crate) const CONFIG: &str = "KINESIS_CONFIG";
/// The customer's API key, instead of the profile's.
pub(crate) const API_KEY: &str = "KINESIS_API_KEY";
/// The utility's address, instead of the profile's.
pub(crate) const URL: &str = "KINESIS_URL";
/// The data directory of a role.
pub(crate) const DATA: &str = "KINESIS_DATA";
/// What is logged, as `tracing` filters say it.
pub(crate) const LOG: &str = "KINESIS_LOG";
/// `json` for one JSON object a line instead of text.
pub(crate) const LOG_FORMAT: &str = "KINESIS_LOG_FORMAT";

/// What every variable of ours starts with.
pub(crate) const PREFIX: &str = "KINESIS_";
/// The variables that `kinesis up` hands on to its children. The others are settings of `up`
/// itself, which tells its children by flags.
pub(crate) const HANDED_ON: [&str; 2] = [LOG, LOG_FORMAT];
