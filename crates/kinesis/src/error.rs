//! Everything a command can fail with: what was wrong, where, what to do next, and the exit code.
//!
//! | code | means |
//! | --- | --- |
//! | 0 | done |
//! | 1 | it failed |
//! | 2 | the command line, a file or a variable makes no sense |
//! | 3 | refused: no node will do, no money left, no right to it |
//! | 4 | the utility, the chain or the agent cannot be reached |

use std::{error::Error as StdError, io, net::SocketAddr, path::PathBuf, process::ExitCode};

use kinesis_protocol::ManifestError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What was asked for makes no sense.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// A `kinesis.toml` is wrong.
    #[error("{path} is not a manifest", path = path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    /// A configuration file is wrong.
    #[error("{path} is not a configuration", path = path.display())]
    Config { path: PathBuf, source: Box<dyn StdError + Send + Sync> },
    /// Reading or writing failed.
    #[error("cannot {what}")]
    Io { what: String, source: io::Error },
    /// Another process works on the data directory.
    #[error("{dir} is in use by another kinesis process{by}", dir = dir.display(),
        by = pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Locked { dir: PathBuf, pid: Option<u32> },
    /// An address to listen at is taken.
    #[error("{what} cannot listen at {addr}: port {port} is in use", port = addr.port())]
    PortInUse { what: String, addr: SocketAddr, flag: String },
    /// The other side answered no.
    #[error("{message}")]
    Refused { message: String, hint: Option<String> },
    /// The utility answered with a failure.
    #[error("{}", answered(*status, message, request.as_deref()))]
    Api { status: u16, message: String, request: Option<String> },
    /// An answer is not what this version understands.
    #[error("{what} gave an answer that this version does not understand")]
    Answer { what: String, source: Box<dyn StdError + Send + Sync> },
    /// Nobody answers.
    #[error("cannot reach {what}")]
    Unreachable { what: String, hint: Option<String>, source: Box<dyn StdError + Send + Sync> },
    /// What was waited for did not come.
    #[error("waited {seconds} s in vain for {what}{last}",
        last = last.as_ref().map_or_else(String::new, |last| format!(": {last}")))]
    Timeout { what: String, seconds: u64, last: Option<String> },
    /// Something that ran came to a bad end.
    #[error("{message}")]
    Failed { message: String, hint: Option<String> },
    /// A part of the grid failed.
    #[error("the {what} failed")]
    Role { what: &'static str, source: Box<dyn StdError + Send + Sync> },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What is not there says so itself; any other failure is looked up by its request.
fn answered(status: u16, message: &str, request: Option<&str>) -> String {
    let unknown = reqwest::StatusCode::NOT_FOUND;
    let says_what = !unknown.canonical_reason().is_some_and(|r| r.eq_ignore_ascii_case(message));
    if status == unknown && says_what {
        return message.to_owned();
    }
    let request = request.map_or_else(String::new, |id| format!(" (request {id})"));
    format!("the utility answered {status}: {message}{request}")
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn role<E>(what: &'static str) -> impl Fn(E) -> Self
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        move |source| Self::Role { what, source: source.into() }
    }

    /// The exit code that scripts see.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Manifest { .. } | Self::Config { .. } => 2,
            Self::Refused { .. } => 3,
            Self::Unreachable { .. } => 4,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.code().into()
    }

    /// What to do next, where that can be said.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. }
            | Self::Refused { hint, .. }
            | Self::Unreachable { hint, .. }
            | Self::Failed { hint, .. } => hint.clone(),
            Self::Locked { .. } => {
                Some("stop the other process, or choose another directory with --data".into())
            }
            Self::PortInUse { flag, .. } => Some(format!(
                "stop what listens there, or choose another port with {flag} (0: any free one)"
            )),
            _ => None,
        }
    }

    /// What lies under it, outermost first.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let refused = Error::Refused { message: "no node will do".into(), hint: None };
        let unreachable = Error::Unreachable {
            what: "the utility".into(),
            hint: None,
            source: io::Error::from(io::ErrorKind::ConnectionRefused).into(),
        };
        assert_eq!(Error::usage("x").code(), 2);
        assert_eq!(refused.code(), 3);
        assert_eq!(unreachable.code(), 4);
        assert_eq!(Error::Interrupted.code(), 130);
        assert_eq!(Error::io("read x")(io::ErrorKind::NotFound.into()).code(), 1);
    }

    #[test]
    fn a_busy_port_names_the_port_and_the_flag() {
        let error = Error::PortInUse {
            what: "the ingress".into(),
            addr: ([127, 0, 0, 1], 8080).into(),
            flag: "--ingress-listen".into(),
        };
        assert!(error.to_string().contains("port 8080"), "{error}");
        assert!(error.hint().unwrap().contains("--ingress-listen"));
    }
}
