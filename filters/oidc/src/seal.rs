//! Encrypts what a browser keeps, so that it can neither read nor change it: XChaCha20-Poly1305, with keys that are derived
//! from secrets of the host.
//!
//! A nonce has 192 random bits, so that no two are the same however many cookies are made with a key. The first secret
//! seals; all of them open, so that a secret can be replaced without ending sessions.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};

use crate::host::OidcHost;

/// How long derived keys are used before the secrets are asked again, in milliseconds: a new value applies within it.
const KEEP_MS: u64 = 1000;
/// Octets of a nonce.
const NONCE: usize = 24;
/// Longest text that is opened.
const LONGEST: usize = 16 * 1024;

/// What a text is for; one of another purpose does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session.
    OidcSession,
    /// A login in progress.
    Login,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::OidcSession => "tamis/oidc 1 session",
            Self::Login => "tamis/oidc 1 login",
        }
    }
}

/// Seals and opens.
pub struct Sealer {
    secrets: Vec<String>,
    context: String,
    kept: Option<(u64, Vec<DerivedKeys>)>,
}

/// Keys of one secret.
struct DerivedKeys {
    session: XChaCha20Poly1305,
    login: XChaCha20Poly1305,
}

impl DerivedKeys {
    fn of(&self, purpose: Purpose) -> &XChaCha20Poly1305 {
        match purpose {
            Purpose::OidcSession => &self.session,
            Purpose::Login => &self.login,
        }
    }
}

/// The names of the secrets only.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl Sealer {
    /// With these secrets of the host. `context` says for whom: what was sealed for another one does not open.
    #[must_use]
    pub fn new(secrets: &[String], context: String) -> Self {
        Self { secrets: secrets.to_vec(), context, kept: None }
    }

    /// Asks for the secrets again if that was a while ago.
    ///
    /// # Errors
    /// The first secret, which seals, cannot be used; why.
    pub fn look<H: OidcHost>(&mut self, host: &H) -> Result<(), String> {
        let now_ms = host.now_ms();
        if self.kept.as_ref().is_some_and(|(at, _)| now_ms.abs_diff(*at) < KEEP_MS) {
            return Ok(());
        }
        self.kept = None;
        let mut keys = Vec::with_capacity(self.secrets.len());
        for (index, secret) in self.secrets.iter().enumerate() {
            match derived(secret, host) {
                Ok(derived) => keys.push(derived),
                Err(why) if index == 0 => return Err(why),
                // Sessions of a secret that is gone end; all others go on.
                Err(why) => host.warn(&format!("sessions of an older secret end: {why}")),
            }
        }
        self.kept = Some((now_ms, keys));
        Ok(())
    }

    /// Seals a text with the first secret; `None` before a successful [`Sealer::look`].
    pub fn seal<H: OidcHost>(&self, purpose: Purpose, text: &[u8], host: &H) -> Option<String> {
        let (_, keys) = self.kept.as_ref()?;
        let nonce: [u8; NONCE] = host.random(24).try_into().ok()?;
        let aad = self.bound_to(purpose);
        let payload = Payload { msg: text, aad: aad.as_bytes() };
        let sealed = keys.first()?.of(purpose).encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens a text that was sealed for this purpose with one of the secrets.
    #[must_use]
    pub fn open(&self, purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > LONGEST {
            return None;
        }
        let octets = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = octets.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let aad = self.bound_to(purpose);
        let (_, keys) = self.kept.as_ref()?;
        keys.iter().find_map(|key| {
            let payload = Payload { msg: text, aad: aad.as_bytes() };
            key.of(purpose).decrypt(&XNonce::from(nonce), payload).ok()
        })
    }

    fn bound_to(&self, purpose: Purpose) -> String {
        format!("{}\n{}", purpose.label(), self.context)
    }
}

fn derived<H: OidcHost>(secret: &str, host: &H) -> Result<DerivedKeys, String> {
    let key = |purpose: Purpose| {
        let octets = host.derive(secret, purpose.label())?;
        XChaCha20Poly1305::new_from_slice(&octets).map_err(|_| "the host derives no key".to_owned())
    };
    Ok(DerivedKeys { session: key(Purpose::OidcSession)?, login: key(Purpose::Login)? })
}
