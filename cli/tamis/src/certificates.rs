//! Certificates for machines of one's own: an authority, and the certificates it signs.

use crate::named_file;
use crate::private_file;
use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::path::{Path, PathBuf};
use tamis_ambient::Clock;
use time::{Duration, OffsetDateTime};

/// Days for which a certificate is valid; its authority is valid ten times as long.
pub(crate) const DAYS: i64 = 90;

/// The time of this machine.
fn now() -> OffsetDateTime {
    Clock::system().wall().into()
}

/// Path of an authority's key: the certificate's path with the ending `.key`.
pub(crate) fn key_of(ca: &Path) -> PathBuf {
    ca.with_extension("key")
}

/// Makes an authority: its certificate, and its key, which only the owner can read.
pub(crate) fn make_authority(ca: &Path) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(DnType::CommonName, "local development CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = now();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(10 * DAYS);
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    private_file::replace(&key_of(ca), pair.serialize_pem().as_bytes())?;
    open(ca, &made.pem())
}

/// Reads an authority and its key.
pub(crate) fn authority(ca: &Path) -> Result<Issuer<'static, KeyPair>> {
    let key = key_of(ca);
    let read = |path: &Path| {
        named_file::text(path).with_context(|| {
            format!("{} cannot be read; without it no certificate can be made", path.display())
        })
    };
    let pair = KeyPair::from_pem(&read(&key)?).with_context(|| format!("{}", key.display()))?;
    Issuer::from_ca_cert_pem(&read(ca)?, pair).with_context(|| format!("{}", ca.display()))
}

/// Whole days until a certificate expires, negative when it has expired; `None` when it cannot be read.
pub(crate) fn days_left(certificate: &Path) -> Option<i64> {
    let facts = tamis_transport::CertificateFacts::read(certificate).ok()?;
    let left = facts.not_after - now().unix_timestamp();
    Some(left.div_euclid(24 * 3_600))
}

/// Makes a certificate for both ends of a connection, and its key, which only the owner can read.
pub(crate) fn issue(
    issuer: &Issuer<'static, KeyPair>,
    certificate: &Path,
    key: &Path,
    names: Vec<SanType>,
    common_name: &str,
) -> Result<()> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = now();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(DAYS);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pair = KeyPair::generate()?;
    let signed = params.signed_by(&pair, issuer)?;
    // Each file is written next to the old one and renamed. A reader in between gets the old pair, or a
    // pair that does not match, which it detects.
    private_file::replace(key, pair.serialize_pem().as_bytes())?;
    open(certificate, &signed.pem())
}

/// Replaces a certificate, which is no secret.
fn open(certificate: &Path, pem: &str) -> Result<()> {
    tamis_private::put_readable(certificate, pem.as_bytes())
        .with_context(|| format!("{} cannot be written", certificate.display()))
}
