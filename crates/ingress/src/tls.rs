//! TLS from files, with HTTP/2 offered first.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::{IngressError, TlsFiles};

pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, IngressError> {
    let cert_failed = |source| IngressError::TlsFile { path: files.cert.clone(), source };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .map_err(cert_failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(cert_failed)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| IngressError::TlsFile { path: files.key.clone(), source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
