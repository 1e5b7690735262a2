//! Key pairs: ECDSA over P-256 with SHA-256, the one algorithm `cosign` and we share by default.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    ParsedPublicKey, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::sha256;
use crate::{TrustError, pem};

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";

/// The first bytes of every SPKI of an uncompressed P-256 point (RFC 5480). Only this form is accepted: a
/// second encoding of the same key would have a second key id and count twice.
const P256_SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P256_SPKI_BYTES: usize = 91;

/// A P-256 signing key. `Debug` does not print it; its PEM is unencrypted, so protect it by file mode.
pub struct PrivateKey(EcdsaKeyPair);

impl PrivateKey {
    /// Makes a key from the system's randomness.
    ///
    /// # Errors
    /// The system provides no randomness.
    pub fn generate() -> Result<Self, TrustError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self)
            .map_err(|_| TrustError::Crypto("key generation"))
    }

    /// Reads unencrypted PKCS#8 PEM (`BEGIN PRIVATE KEY`), as `openssl genpkey` writes it.
    ///
    /// # Errors
    /// The text is not such a block, or the key is not on P-256.
    pub fn from_pem(text: &str) -> Result<Self, TrustError> {
        let der = pem::decode(PRIVATE, text)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
            .map(Self)
            .map_err(|_| TrustError::Key("not a PKCS#8 private key on the curve P-256"))
    }

    /// Writes unencrypted PKCS#8 PEM.
    ///
    /// # Errors
    /// The cryptographic library is out of memory.
    pub fn to_pem(&self) -> Result<String, TrustError> {
        let der = self.0.to_pkcs8v1().map_err(|_| TrustError::Crypto("key encoding"))?;
        Ok(pem::encode(PRIVATE, der.as_ref()))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let point = self.0.public_key();
        let der: Vec<u8> = match AsDer::<PublicKeyX509Der<'_>>::as_der(point) {
            Ok(der) => der.as_ref().to_vec(),
            // The library only fails when it cannot allocate; the encoding is the fixed prefix and the
            // point.
            Err(_) => {
                let coordinates = point.as_ref().iter().skip(1);
                P256_SPKI_PREFIX.iter().chain(coordinates).copied().collect()
            }
        };
        PublicKey { spki: der.into() }
    }

    /// Signs these bytes: SHA-256, ECDSA, ASN.1 DER.
    ///
    /// The signature does not bind the purpose of the bytes: only sign bytes that contain it themselves, as
    /// the DSSE encoding and the `_type` of TUF metadata do.
    ///
    /// # Errors
    /// The system provides no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TrustError> {
        let signature = self
            .0
            .sign(&SystemRandom::new(), message)
            .map_err(|_| TrustError::Crypto("signing"))?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public_key().id())
    }
}

/// A P-256 verifying key; its PEM has the form of a `cosign.pub`.
///
/// Invariant: `spki` is the one canonical encoding of a point on the curve.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki: Box<[u8]>,
}

impl PublicKey {
    /// Reads SPKI PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// The text is not such a block, or the key is not an uncompressed P-256 point.
    pub fn from_pem(text: &str) -> Result<Self, TrustError> {
        Self::from_der(&pem::decode(PUBLIC, text)?)
    }

    /// Reads SPKI DER.
    ///
    /// # Errors
    /// The bytes are not the SPKI of an uncompressed P-256 point on the curve.
    pub fn from_der(der: &[u8]) -> Result<Self, TrustError> {
        const REASON: &str = "not the SPKI of an uncompressed P-256 point; \
                              cosign generate-key-pair makes one";
        if der.len() != P256_SPKI_BYTES || !der.starts_with(&P256_SPKI_PREFIX) {
            return Err(TrustError::Key(REASON));
        }
        match ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der) {
            Ok(_) => Ok(Self { spki: der.into() }),
            Err(_) => Err(TrustError::Key(REASON)),
        }
    }

    /// The SPKI DER bytes.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.spki
    }

    /// SPKI PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC, &self.spki)
    }

    /// The key's identity: the hash of its SPKI.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(sha256(&self.spki))
    }

    /// Whether this key made the signature (ASN.1 DER) over these bytes.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.spki)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// The id of a key: SHA-256 of its SPKI DER, written as base64. Bundles carry it as their hint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl FromStr for KeyId {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Self)
            .ok_or(TrustError::Key("a key id is the base64 of 32 bytes"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pair_survives_its_pem() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        let public = PublicKey::from_pem(&key.public_key().to_pem()).unwrap();
        assert!(public.verifies(b"m", &again.sign(b"m").unwrap()));
        assert!(!public.verifies(b"n", &again.sign(b"m").unwrap()));
        assert_eq!(public.id().to_string().parse(), Ok(public.id()));
    }

    #[test]
    fn a_private_key_is_not_printed() {
        let key = PrivateKey::generate().unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("PrivateKey({})", key.public_key().id()));
    }

    #[test]
    fn a_second_encoding_of_a_key_is_refused() {
        let der = PrivateKey::generate().unwrap().public_key().to_der().to_vec();
        let sign_of_y = 2 + (der[90] & 1);
        let mut compressed = vec![0x30, 0x39];
        compressed.extend_from_slice(&der[2..24]);
        compressed[23] = 0x22;
        compressed.extend_from_slice(&[0x22, 0x00, sign_of_y]);
        compressed.extend_from_slice(&der[27..59]);
        assert!(PublicKey::from_der(&compressed).is_err());
        assert!(PublicKey::from_der(&der[26..]).is_err(), "a bare point");
        assert!(PublicKey::from_der(&[&der[..], &[0]].concat()).is_err(), "trailing bytes");
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let mut der = PrivateKey::generate().unwrap().public_key().to_der().to_vec();
        der[90] ^= 1;
        assert!(PublicKey::from_der(&der).is_err());
    }

    #[test]
    fn a_block_of_another_label_is_refused() {
        let key = PrivateKey::generate().unwrap();
        assert!(PublicKey::from_pem(&key.to_pem().unwrap()).is_err());
        assert!(PrivateKey::from_pem(&key.public_key().to_pem()).is_err());
        let twice = key.public_key().to_pem().repeat(2);
        assert!(PublicKey::from_pem(&twice).is_err());
    }
}
