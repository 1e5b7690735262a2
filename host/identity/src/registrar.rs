//! Gets SVIDs of one proxy from the registry's authority.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tamis_ambient::Clock;
use tamis_sync::{JOIN_PATH, JoinFile, RENEW_PATH, SvidAnswer, SvidRequest};
use tamis_transport::{ClientTls, MeshIdentity, SpiffeId, TrustBundles, TrustDomain};

use crate::IdentityError;
use crate::ask::ask;
use crate::key::SvidKey;

/// The server name that is sent; the registry proves its SPIFFE id instead.
const SERVER_NAME: &str = "registry.mesh";

/// Gets SVIDs of one proxy from the registry's authority.
#[derive(Debug, Clone)]
pub struct Registrar {
    node: String,
    registries: Vec<String>,
    registry_id: SpiffeId,
    clock: Clock,
}

/// A proxy that joins. Every attempt has the same key: the registry answers that key again, as long as the token is valid,
/// so an answer that was lost costs no token.
pub struct JoiningProxy<'a> {
    registrar: &'a Registrar,
    tls: ClientTls,
    token: String,
    key: SvidKey,
}

impl JoiningProxy<'_> {
    /// The first SVID, for the token.
    ///
    /// # Errors
    /// [`IdentityError`]. After a refusal the token is useless; after everything else, another attempt may succeed.
    pub async fn attempt(&self) -> Result<MeshIdentity, IdentityError> {
        let Self { registrar, tls, token, key } = self;
        let answer = registrar.ask(tls, JOIN_PATH, Some(token), key).await?;
        let bundles = bundles_of(&answer)?;
        MeshIdentity::new(&answer.chain, key.private(), bundles, registrar.unix())
            .map_err(IdentityError::Svid)
    }
}

impl Registrar {
    /// Reads where the registry of a join file is, and who it must be.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn new(file: &JoinFile, clock: Clock) -> Result<Self, IdentityError> {
        let id: SpiffeId = file
            .registry_id
            .parse()
            .map_err(|error| IdentityError::File(format!("the registry's id: {error}")))?;
        let registries: Vec<String> =
            file.registry.split(',').map(|one| one.trim().to_owned()).collect();
        if registries.iter().any(|one| !one.contains(':')) {
            let why = format!("`{}` is not an address; write HOST:PORT", file.registry);
            return Err(IdentityError::File(why));
        }
        Ok(Self { node: file.node.clone(), registries, registry_id: id, clock })
    }

    /// Prepares to join with the token of the join file. The token is sent to nobody but a registry that proves
    /// its identity with the bundles of the file.
    ///
    /// # Errors
    /// [`IdentityError::File`], [`IdentityError::Key`].
    pub fn joining(&self, file: &JoinFile) -> Result<JoiningProxy<'_>, IdentityError> {
        let bundles = bundles(&file.bundles).map_err(IdentityError::File)?;
        let tls = ClientTls::from_bundles(bundles, self.registry_id.clone(), SERVER_NAME)
            .map_err(|error| IdentityError::File(error.to_string()))?;
        Ok(JoiningProxy {
            registrar: self,
            tls,
            token: file.token.clone(),
            key: SvidKey::generate()?,
        })
    }

    /// Replaces the SVID of an identity by the next one, with a new key, and its bundles by the current ones.
    ///
    /// # Errors
    /// [`IdentityError`]; the identity then keeps what it has.
    pub async fn renew(&self, identity: &MeshIdentity) -> Result<(), IdentityError> {
        let expected = Some(self.registry_id.clone());
        let tls = ClientTls::from_identity(identity, expected, SERVER_NAME);
        let tls = tls.map_err(IdentityError::Svid)?;
        let key = SvidKey::generate()?;
        let answer = self.ask(&tls, RENEW_PATH, None, &key).await?;
        let bundles = bundles_of(&answer)?;
        identity
            .replace(&answer.chain, key.private(), bundles, self.unix())
            .map_err(IdentityError::Svid)
    }

    /// Asks each registry in turn, until one answers.
    async fn ask(
        &self,
        tls: &ClientTls,
        path: &str,
        token: Option<&String>,
        key: &SvidKey,
    ) -> Result<SvidAnswer, IdentityError> {
        let (node, token, request) = (self.node.clone(), token.cloned(), key.request.clone());
        let request = SvidRequest { node, token, request };
        let tls = tls.clone().with_alpn(&[b"h2"]);
        let mut last = IdentityError::Unreachable("there is no address".to_owned());
        for registry in &self.registries {
            match ask(registry, &tls, path, &request).await {
                Err(error @ IdentityError::Unreachable(_)) => last = error,
                answered => return answered,
            }
        }
        Err(last)
    }

    /// The time since the Unix epoch, in whole seconds.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_secs(self.clock.unix_secs())
    }

    fn unix(&self) -> UnixTime {
        UnixTime::since_unix_epoch(self.now())
    }
}

fn bundles_of(answer: &SvidAnswer) -> Result<TrustBundles, IdentityError> {
    bundles(&answer.bundles).map_err(IdentityError::Answer)
}

fn bundles(texts: &BTreeMap<String, String>) -> Result<TrustBundles, String> {
    let mut read = Vec::new();
    for (domain, text) in texts {
        let domain: TrustDomain = domain.parse().map_err(|error| format!("{error}"))?;
        read.push((domain, text.as_str()));
    }
    TrustBundles::from_pem(read).map_err(|error| error.to_string())
}
