//! TLS of a pod: its certificate, and whose clients it takes.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// What a pod on TLS needs, as PEM texts (RFC 7468).
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The pod's certificate and those that vouch for it, its own first.
    pub certificates: String,
    /// The key of its certificate.
    pub key: String,
    /// Whose clients it takes; without, a client needs no certificate.
    pub client_authorities: Option<String>,
}

impl fmt::Debug for Tls {
    /// Keeps the key to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificates", &self.certificates)
            .field("client_authorities", &self.client_authorities)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// # Errors
    ///
    /// Fails where a text is not what it should be, or the key is not the certificate's.
    pub(crate) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("the provider has no version of TLS")?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(authorities).context("the clients' authorities")? {
                    roots.add(authority)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("the key")?;
        let chain = certificates(&self.certificates).context("the certificates")?;
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    Ok(certificates?)
}
