//! Why the portal could not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why the portal could not start.
#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    /// The address cannot be bound.
    #[error("the portal could not listen on {addr}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The operator's token cannot be read or written.
    #[error("the operator's token at {} could not be read or made", path.display())]
    TokenFile {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no operator's token: delete it to have a new one made", path.display())]
    TokenMalformed {
        /// Where.
        path: PathBuf,
    },
}
