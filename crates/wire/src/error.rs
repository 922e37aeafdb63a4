//! What can go wrong on a wire.

use std::{io, path::PathBuf};

use kinesis_protocol::NodeId;

/// Any cause, as other crates give it.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong on a wire.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The key's file cannot be read or written.
    #[error("cannot use the key file {path}", path = path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key's file holds something else.
    #[error(
        "{path} does not hold a node's key (64 hexadecimal digits); \
         move it away to get a new key, and with it a new node id",
        path = path.display()
    )]
    SecretFormat {
        /// The file.
        path: PathBuf,
    },
    /// A token is no utility's address.
    #[error("\"{given}\" is no utility address: {expected}")]
    Addr {
        /// What was given, cut to 80 characters.
        given: String,
        /// What is wrong with it.
        expected: &'static str,
    },
    /// A relay's address is no URL.
    #[error("\"{url}\" is no relay URL; expected one like http://127.0.0.1:8082")]
    RelayUrl {
        /// What was given, cut to 80 characters.
        url: String,
    },
    /// A socket cannot be bound.
    #[error("cannot bind {what}")]
    Bind {
        /// What for, and where.
        what: String,
        /// Why not.
        source: Cause,
    },
    /// A node cannot be reached, or is another one than was dialled.
    #[error("cannot reach {node}", node = node.short())]
    Connect {
        /// Which node.
        node: NodeId,
        /// Why not.
        source: Cause,
    },
    /// The connection is over.
    #[error("the link is closed: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// A stream failed.
    #[error("the stream failed")]
    Stream(#[from] io::Error),
    /// A stream ended in the middle of a frame, or before the frame that had to come.
    #[error("the stream ended where a frame was expected")]
    Ended,
    /// A frame is longer than is allowed.
    #[error("a frame of {bytes} bytes is longer than the {max} that are read")]
    FrameTooLong {
        /// Its length.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A frame is no message.
    #[error("a frame cannot be read")]
    Decode(#[from] serde_json::Error),
    /// The other end refused the stream.
    #[error("refused: {reason}")]
    Refused {
        /// Why, in its words.
        reason: String,
    },
    /// The other end did not answer in time.
    #[error("no answer within {ms} ms while {doing}")]
    Timeout {
        /// What was waited for.
        doing: &'static str,
        /// How long.
        ms: u64,
    },
}

/// The first characters of what came from outside.
pub(crate) fn cut(s: &str, chars: usize) -> String {
    s.chars().take(chars).collect()
}
