//! The provider: its endpoints and its keys, from the configuration or from its metadata (OpenID Connect Discovery 1.0,
//! RFC 8414), which is fetched in the background.

use std::time::Duration;

use tamis_jose::host::{Fetch, SharedStore, Verify};
use tamis_jose::keyring::{Keyring, document, document_key};
use tamis_jose::refresh::{RefreshTarget, is_key_set};

use crate::config::OidcRules;
use crate::endpoints::Endpoints;

/// Time between two reads of the store, in milliseconds.
const LOOK_EVERY_MS: u64 = 1000;
/// Time between two looks of the background at what is due, in milliseconds.
const TICK_MS: u32 = 1000;

/// The address of an issuer's metadata.
#[must_use]
pub fn metadata_address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// The provider as an instance knows it.
#[derive(Debug)]
pub struct Provider {
    issuer: String,
    refresh: Duration,
    /// `None`: the endpoints are those of the configuration.
    metadata: Option<FollowedMetadata>,
    known: Option<KnownProvider>,
}

#[derive(Debug)]
struct FollowedMetadata {
    url: String,
    version: Option<u64>,
    looked_ms: Option<u64>,
}

#[derive(Debug)]
struct KnownProvider {
    endpoints: Endpoints,
    keyring: Keyring,
}

impl Provider {
    /// The provider of a configuration.
    #[must_use]
    pub fn new(rules: &OidcRules) -> Self {
        let known = rules.endpoints.clone().map(KnownProvider::new);
        let metadata = known.is_none().then(|| FollowedMetadata {
            url: metadata_address(&rules.issuer),
            version: None,
            looked_ms: None,
        });
        Self { issuer: rules.issuer.clone(), refresh: rules.refresh, metadata, known }
    }

    /// Takes over what the background fetched, at most once a second.
    pub fn look<H: Verify + SharedStore>(&mut self, now_ms: u64, host: &H) {
        if let Some(followed) = &mut self.metadata {
            let due = followed.looked_ms.is_none_or(|at| now_ms.abs_diff(at) >= LOOK_EVERY_MS);
            if due {
                followed.looked_ms = Some(now_ms);
                let stored = host.read(&document_key(&followed.url));
                let version = stored.as_ref().map(|stored| stored.version);
                if version != followed.version {
                    followed.version = version;
                    let text = stored.map(|stored| document(&stored.value).to_vec());
                    let read = text.and_then(|text| Endpoints::parse(&text, &self.issuer).ok());
                    self.know(read, host);
                }
            }
        }
        if let Some(known) = &mut self.known {
            // Nothing here remembers what older keys verified.
            let _ = known.keyring.look(now_ms, host);
        }
    }

    fn know<V: Verify>(&mut self, endpoints: Option<Endpoints>, crypto: &V) {
        match (&mut self.known, endpoints) {
            (Some(known), Some(endpoints)) if known.endpoints.jwks == endpoints.jwks => {
                known.endpoints = endpoints;
            }
            (known, endpoints) => {
                if let Some(old) = std::mem::replace(known, endpoints.map(KnownProvider::new)) {
                    old.keyring.release(crypto);
                }
            }
        }
    }

    /// Its endpoints; `None`: they were not fetched yet.
    #[must_use]
    pub fn endpoints(&self) -> Option<&Endpoints> {
        self.known.as_ref().map(|known| &known.endpoints)
    }

    /// Its keys.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.known.as_ref().map(|known| &known.keyring)
    }

    /// Fetches the keys now, since a token names one that is unknown; at most once in ten seconds.
    ///
    /// # Errors
    /// Why the keys are still the old ones.
    pub fn renew_keys<H: Verify + SharedStore + Fetch>(
        &mut self,
        now_ms: u64,
        host: &H,
    ) -> Result<(), String> {
        let known = self.known.as_mut().ok_or("the provider is not known")?;
        let place = RefreshTarget::new("keys", &known.endpoints.jwks, self.refresh);
        place.renew_early(now_ms, host, &is_key_set)?;
        known.keyring.hurry();
        let _ = known.keyring.look(now_ms, host);
        Ok(())
    }
}

impl KnownProvider {
    fn new(endpoints: Endpoints) -> Self {
        let keyring = Keyring::at(&endpoints.jwks);
        Self { endpoints, keyring }
    }
}

/// The background work: fetches metadata and keys.
#[derive(Debug)]
pub struct ProviderRefresher {
    issuer: String,
    refresh: Duration,
    metadata: Option<RefreshTarget>,
    keys: Option<RefreshTarget>,
}

impl ProviderRefresher {
    /// For the provider of a configuration.
    #[must_use]
    pub fn new(rules: &OidcRules) -> Self {
        let place = |what, url: &str| RefreshTarget::new(what, url, rules.refresh);
        let metadata = match rules.endpoints {
            Some(_) => None,
            None => Some(place("metadata", &metadata_address(&rules.issuer))),
        };
        let keys = rules.endpoints.as_ref().map(|endpoints| place("keys", &endpoints.jwks));
        Self { issuer: rules.issuer.clone(), refresh: rules.refresh, metadata, keys }
    }

    /// Fetches what is due. Returns lines for the log, and the delay to the next call in milliseconds.
    pub fn tick<H: SharedStore + Fetch>(&mut self, now_ms: u64, host: &H) -> (Vec<String>, u32) {
        let mut failures = Vec::new();
        if let Some(place) = &mut self.metadata {
            let issuer = &self.issuer;
            let check = |text: &[u8]| Endpoints::parse(text, issuer).map(drop);
            failures.extend(place.visit(now_ms, host, &check));
            let stored = host.read(&document_key(place.url()));
            let read =
                stored.and_then(|it| Endpoints::parse(document(&it.value), &self.issuer).ok());
            if let Some(endpoints) = read
                && self.keys.as_ref().is_none_or(|keys| keys.url() != endpoints.jwks)
            {
                self.keys = Some(RefreshTarget::new("keys", &endpoints.jwks, self.refresh));
            }
        }
        if let Some(place) = &mut self.keys {
            failures.extend(place.visit(now_ms, host, &is_key_set));
        }
        (failures, TICK_MS)
    }
}
