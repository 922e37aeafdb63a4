//! Why an ingress does not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why an ingress does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngressError {
    /// The address cannot be bound.
    #[error("the ingress cannot listen on {addr}; is the port taken? choose another one")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate or a key cannot be read.
    #[error("cannot read a certificate or key from {path}", path = path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate and the key do not go together, or are of an unknown kind.
    #[error("the certificate and key cannot be used")]
    Tls(#[from] rustls::Error),
}
