//! Somebody who vouches for pods and gateways: a certificate authority.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use wsbalancer_backend::Tls;

/// A certificate authority of a test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One whom nobody knows yet.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        // A certificate whose subject is its issuer would be taken for a self-signed one.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// Its own certificate, as PEM text (RFC 7468).
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`, and its key.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn vouch(&self, name: SanType) -> anyhow::Result<Tls> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        Ok(Tls {
            certificates: params.signed_by(&key, &self.0)?.pem(),
            key: key.serialize_pem(),
            client_authorities: None,
        })
    }
}
