//! The host's cryptography, implemented with a library: the `crypto` import of a component.

use std::cell::{Cell, RefCell};

use aws_lc_rs::{digest, hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tamis_jose::algorithm::SigningAlgorithm;
use tamis_jose::host::Verify;

/// Keys by handle, and counts of signature checks.
#[derive(Default)]
pub(crate) struct Native {
    keys: RefCell<Vec<Option<NativeKey>>>,
    checks: Cell<usize>,
    calls: Cell<usize>,
}

enum NativeKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

impl Native {
    /// Numbers of signature checks and of all calls since the last time.
    pub(crate) fn take_counts(&self) -> (usize, usize) {
        (self.checks.take(), self.calls.take())
    }

    fn count(&self) {
        self.calls.set(self.calls.get() + 1);
    }
}

impl Verify for Native {
    fn import_key(&self, jwk: &str) -> Result<u32, String> {
        self.count();
        let key = read(jwk)?;
        let mut keys = self.keys.borrow_mut();
        keys.push(Some(key));
        u32::try_from(keys.len() - 1).map_err(|error| error.to_string())
    }

    fn verify(
        &self,
        key: u32,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.count();
        self.checks.set(self.checks.get() + 1);
        let keys = self.keys.borrow();
        let Some(Some(key)) = keys.get(key as usize) else { return false };
        match key {
            NativeKey::Rsa { n, e } => rsa_rule(algorithm).is_some_and(|rule| {
                let components = signature::RsaPublicKeyComponents { n, e };
                components.verify(rule, message, signature).is_ok()
            }),
            NativeKey::Ec(point) => ec_rule(algorithm).is_some_and(|rule| {
                let key = signature::UnparsedPublicKey::new(rule, point);
                key.verify(message, signature).is_ok()
            }),
            NativeKey::Ed25519(point) => {
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, point);
                algorithm == SigningAlgorithm::EdDsa && key.verify(message, signature).is_ok()
            }
            NativeKey::Secret(secret) => mac_rule(algorithm).is_some_and(|rule| {
                hmac::verify(&hmac::Key::new(rule, secret), message, signature).is_ok()
            }),
        }
    }

    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        self.count();
        digest::digest(&digest::SHA256, message).as_ref().to_vec()
    }

    fn drop_key(&self, key: u32) {
        self.count();
        if let Some(slot) = self.keys.borrow_mut().get_mut(key as usize) {
            *slot = None;
        }
    }
}

fn read(jwk: &str) -> Result<NativeKey, String> {
    let jwk: serde_json::Value = serde_json::from_str(jwk).map_err(|error| error.to_string())?;
    let octets = |name: &str| {
        let text = jwk.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string())
    };
    let kind = jwk.get("kty").and_then(|value| value.as_str());
    match kind {
        Some("RSA") => {
            let trim = |number: Vec<u8>| number.into_iter().skip_while(|o| *o == 0).collect();
            Ok(NativeKey::Rsa { n: trim(octets("n")?), e: trim(octets("e")?) })
        }
        Some("EC") => {
            let point = [vec![4], octets("x")?, octets("y")?].concat();
            let rule = match point.len() {
                65 => &signature::ECDSA_P256_SHA256_FIXED,
                97 => &signature::ECDSA_P384_SHA384_FIXED,
                _ => &signature::ECDSA_P521_SHA512_FIXED,
            };
            signature::ParsedPublicKey::new(rule, &point).map_err(|error| error.to_string())?;
            Ok(NativeKey::Ec(point))
        }
        Some("OKP") => Ok(NativeKey::Ed25519(octets("x")?)),
        _ => Ok(NativeKey::Secret(octets("k")?)),
    }
}

fn rsa_rule(algorithm: SigningAlgorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        SigningAlgorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        SigningAlgorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        SigningAlgorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        SigningAlgorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        SigningAlgorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        SigningAlgorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn ec_rule(algorithm: SigningAlgorithm) -> Option<&'static signature::EcdsaVerificationAlgorithm> {
    match algorithm {
        SigningAlgorithm::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        SigningAlgorithm::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        SigningAlgorithm::Es512 => Some(&signature::ECDSA_P521_SHA512_FIXED),
        _ => None,
    }
}

fn mac_rule(algorithm: SigningAlgorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        SigningAlgorithm::Hs256 => Some(hmac::HMAC_SHA256),
        SigningAlgorithm::Hs384 => Some(hmac::HMAC_SHA384),
        SigningAlgorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}
