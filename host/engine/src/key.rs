//! A key that verifies signatures for a filter, read from a JSON Web Key.

use crate::abi::Algorithm;
use aws_lc_rs::{hmac, signature as sig};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Bytes of a key as text: an RSA key of 16,384 bits has about 3 KB, certificates in it add more.
const MAX_JWK_BYTES: usize = 16 * 1024;

/// Verifies one kind of signature.
pub(crate) enum Key {
    /// Modulus and exponent.
    Rsa { n: Vec<u8>, e: Vec<u8>, only: Option<Algorithm> },
    /// A point (or an Ed25519 key) and the one algorithm its curve allows.
    Public { octets: Vec<u8>, only: Algorithm },
    /// A shared secret.
    Shared { octets: Vec<u8>, only: Option<Algorithm> },
}

/// RFC 7517 and RFC 7518 §6, public and symmetric keys.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
}

impl Key {
    /// Reads a JSON Web Key.
    pub(crate) fn from_jwk(text: &str) -> Result<Self, String> {
        if text.len() > MAX_JWK_BYTES {
            return Err(format!("a JSON Web Key may have at most {MAX_JWK_BYTES} bytes"));
        }
        let jwk: Jwk =
            serde_json::from_str(text).map_err(|e| format!("not a JSON Web Key: {e}"))?;
        if jwk.d.is_some() {
            return Err("this is a private key; provide the public key only".to_owned());
        }
        if jwk.r#use.as_deref().is_some_and(|u| u != "sig") {
            return Err("`use` is not `sig`".to_owned());
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("`key_ops` lacks `verify`".to_owned());
        }
        let only = match jwk.alg.as_deref() {
            None => None,
            Some(name) => {
                Some(algorithm(name).ok_or_else(|| format!("`alg` `{name}` is unknown"))?)
            }
        };
        let key = match jwk.kty.as_str() {
            "RSA" => Self::rsa(&jwk, only)?,
            "EC" | "OKP" => Self::public(&jwk)?,
            "oct" => {
                let octets = octets("k", jwk.k.as_deref())?;
                if octets.len() < 32 {
                    return Err("`k` is shorter than 32 bytes (RFC 7518 §3.2)".to_owned());
                }
                Self::Shared { octets, only }
            }
            other => return Err(format!("`kty` is `{other}`; it must be RSA, EC, OKP or oct")),
        };
        if only.is_some_and(|algorithm| !key.allows(algorithm)) {
            return Err("`alg` does not fit `kty` and `crv`".to_owned());
        }
        Ok(key)
    }

    fn rsa(jwk: &Jwk, only: Option<Algorithm>) -> Result<Self, String> {
        let (n, e) = (octets("n", jwk.n.as_deref())?, octets("e", jwk.e.as_deref())?);
        if n.first() == Some(&0) || !(256..=1024).contains(&n.len()) {
            return Err("`n` must have 2048 to 8192 bits and no leading zero".to_owned());
        }
        let exponent =
            e.iter().fold(0_u64, |sum, &b| sum.saturating_mul(256).saturating_add(b.into()));
        if e.len() > 5 || exponent < 3 || exponent.is_multiple_of(2) {
            return Err("`e` must be an odd number of at least 3, with at most 40 bits".to_owned());
        }
        Ok(Self::Rsa { n, e, only })
    }

    fn public(jwk: &Jwk) -> Result<Self, String> {
        let crv = jwk.crv.as_deref().ok_or("`crv` is missing")?;
        let (size, only) = match (jwk.kty.as_str(), crv) {
            ("EC", "P-256") => (32, Algorithm::Es256),
            ("EC", "P-384") => (48, Algorithm::Es384),
            ("EC", "P-521") => (66, Algorithm::Es512),
            ("OKP", "Ed25519") => (32, Algorithm::Eddsa),
            _ => {
                return Err(format!("`crv` is `{crv}`; it must be P-256, P-384, P-521 or Ed25519"));
            }
        };
        let x = octets("x", jwk.x.as_deref())?;
        let mut point = Vec::with_capacity(usize::saturating_mul(size, 2).saturating_add(1));
        if jwk.kty == "EC" {
            let y = octets("y", jwk.y.as_deref())?;
            if y.len() != size {
                return Err(format!("`y` must have {size} bytes"));
            }
            point.push(4);
            point.extend(&x);
            point.extend(&y);
        } else {
            point.extend(&x);
        }
        if x.len() != size {
            return Err(format!("`x` must have {size} bytes"));
        }
        let key = Self::Public { octets: point, only };
        key.parses().then_some(key).ok_or_else(|| "the point is not on the curve".to_owned())
    }

    fn parses(&self) -> bool {
        match self {
            Self::Public { octets, only } => public_algorithm(*only)
                .is_some_and(|algorithm| sig::ParsedPublicKey::new(algorithm, octets).is_ok()),
            Self::Rsa { .. } | Self::Shared { .. } => true,
        }
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        match self {
            Self::Rsa { only, .. } => {
                only.is_none_or(|only| only == algorithm)
                    && matches!(
                        algorithm,
                        A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512
                    )
            }
            Self::Public { only, .. } => *only == algorithm,
            Self::Shared { only, .. } => {
                only.is_none_or(|only| only == algorithm)
                    && matches!(algorithm, A::Hs256 | A::Hs384 | A::Hs512)
            }
        }
    }

    /// `false` for a wrong signature and for an algorithm that this key does not support.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.allows(algorithm) {
            return false;
        }
        match self {
            Self::Rsa { n, e, .. } => rsa_algorithm(algorithm).is_some_and(|parameters| {
                sig::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            Self::Public { octets, .. } => public_algorithm(algorithm).is_some_and(|parameters| {
                sig::UnparsedPublicKey::new(parameters, octets).verify(message, signature).is_ok()
            }),
            Self::Shared { octets, .. } => mac_algorithm(algorithm).is_some_and(|parameters| {
                hmac::verify(&hmac::Key::new(parameters, octets), message, signature).is_ok()
            }),
        }
    }
}

fn octets(name: &str, value: Option<&str>) -> Result<Vec<u8>, String> {
    let value = value.ok_or_else(|| format!("`{name}` is missing"))?;
    URL_SAFE_NO_PAD.decode(value).map_err(|_| format!("`{name}` is not base64url without padding"))
}

fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::Rs256,
        "RS384" => Algorithm::Rs384,
        "RS512" => Algorithm::Rs512,
        "PS256" => Algorithm::Ps256,
        "PS384" => Algorithm::Ps384,
        "PS512" => Algorithm::Ps512,
        "ES256" => Algorithm::Es256,
        "ES384" => Algorithm::Es384,
        "ES512" => Algorithm::Es512,
        "EdDSA" | "Ed25519" => Algorithm::Eddsa,
        "HS256" => Algorithm::Hs256,
        "HS384" => Algorithm::Hs384,
        "HS512" => Algorithm::Hs512,
        _ => return None,
    })
}

fn rsa_algorithm(algorithm: Algorithm) -> Option<&'static sig::RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &sig::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &sig::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &sig::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &sig::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &sig::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &sig::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn public_algorithm(algorithm: Algorithm) -> Option<&'static dyn sig::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Es256 => &sig::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &sig::ECDSA_P384_SHA384_FIXED,
        Algorithm::Es512 => &sig::ECDSA_P521_SHA512_FIXED,
        Algorithm::Eddsa => &sig::ED25519,
        _ => return None,
    })
}

fn mac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    Some(match algorithm {
        Algorithm::Hs256 => hmac::HMAC_SHA256,
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        _ => return None,
    })
}
