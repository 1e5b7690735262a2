//! Who is who in the mesh: proxies join with one-time tokens, renew their SVIDs, and are revoked.
//!
//! The authority signs in this process; the journal has what replicas must agree on: which token was used,
//! which SVID is the newest of each proxy, who is revoked. A token is recorded as used before its proxy gets
//! anything. Renewals are recorded in batches.

mod authority;
mod ledger;
mod manage;
mod own;
mod pace;
pub(crate) mod problems;
mod records;
mod renewals;

use std::time::{Duration, SystemTime};

use tamis_api::ApiProblem;
use tamis_authority::{IssuedSvid, JoinMaker, JoinRefusal, JoinToken, SvidLineage, node_subject};
use tamis_resources::NodeName;
use tamis_sync::{SvidAnswer, SvidRequest};
use tamis_transport::{MeshIdentity, PeerCertificate};
use tamis_trust::Digest;

pub(crate) use authority::MeshAuthority;
pub use authority::MeshOptions;
pub(crate) use ledger::IdentityLedger;
pub(crate) use pace::RenewalPace;
pub(crate) use renewals::RenewedSvids;

use crate::ServerError;
use crate::plane::control::commit::problem_of;
use crate::plane::control::{Control, ControlState};
use crate::plane::problem::{journal, problem};
use records::{IdentityRecord, JoinedRecord, SvidRecord};

/// The actor of joins and renewals.
const ACTOR: &str = "proxies";

/// What a peer proved in its handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProvenProxy {
    /// The SPIFFE id of its certificate; `None`: it showed none.
    pub(crate) id: Option<String>,
    pub(crate) certificate: Option<PeerCertificate>,
    /// Its certificate was expired when it connected: it may renew it within [`RENEWAL_GRACE`], and nothing else.
    pub(crate) expired: bool,
}

/// How long after its expiry an SVID can still be renewed: an outage of the registry must not end with a new token
/// for each proxy. Nobody else accepts an expired SVID, and a revocation ends this, too.
pub(crate) const RENEWAL_GRACE: Duration = Duration::from_secs(24 * 3_600);

impl Control {
    /// The first SVID of a proxy, for a one-time token.
    ///
    /// # Errors
    /// [`ApiProblem`]: the token admits nobody, or not this proxy; no document declares the proxy; the request
    /// cannot be used; the journal cannot be written.
    pub(crate) async fn admit_member(&self, asked: &SvidRequest) -> Result<SvidAnswer, ApiProblem> {
        let authority = self.authority()?;
        let token = asked.token.as_deref().unwrap_or_default();
        let token: JoinToken = token.parse().map_err(|why| problems::malformed_token(&why))?;
        let node = named(&asked.node)?;
        let name = node.to_string();
        self.catch_up().await.map_err(|error| journal(&error))?;
        let now = self.now_secs();
        let admit = |state: &ControlState, key: Option<&Digest>| {
            state.identities.tokens().admit(&token, &name, key, now)
        };
        let refused = |refusal| problems::not_admitted(&refusal);
        // The token is checked before anything is read, signed or answered about documents: most callers of a public address
        // have none.
        match admit(&self.state(), None) {
            Ok(_) | Err(JoinRefusal::Replayed { .. }) => {}
            Err(refusal) => return Err(refused(refusal)),
        }
        let key = MeshAuthority::request_key(&asked.request)?;
        admit(&self.state(), Some(&key)).map_err(refused)?;
        let maker = self.state().identities.tokens().maker(&token).cloned();
        self.maker_must_hold(maker.as_ref()).await?;
        let (id, bundles) = (self.declared_identity(&node)?, authority.accepted()?);
        let member = (name.as_str(), Some(SvidLineage::of_token(&token.hash())));
        let svid = authority.sign(member, &id, &asked.request, self.signing_time(&name))?;
        let signed = recorded(&name, id, &svid);
        let joined = JoinedRecord { token: token.hash(), key: Some(key), svid: signed.clone() };
        let record = IdentityRecord::Joined(joined).to_record();
        let record = record.map_err(|error| unwritten(&error))?;
        let decide = |state: &ControlState| {
            let is_first = admit(state, Some(&key)).map_err(refused)?.is_some();
            Ok((if is_first { vec![record.clone()] } else { Vec::new() }, is_first))
        };
        // Asked again between the decision and its append: a token that ends meanwhile ends in an entry before it.
        let may = || self.maker_must_hold(maker.as_ref());
        let joined = self.0.folded.commit(ACTOR, decide, may).await;
        let (_, is_first) = joined.map_err(problem_of)?;
        if is_first {
            tracing::info!(node = name, serial = svid.serial, "a proxy joined");
        } else {
            // With the key that it joined with: recorded like a renewal, a batch at a time.
            self.0.renewed.add(signed);
            tracing::info!(node = name, serial = svid.serial, "a proxy asked again for its SVID");
        }
        Ok(SvidAnswer { chain: svid.chain, bundles })
    }

    /// Refuses a join token whose maker's token is not there any more: it ends with that one, as the tokens do that it made.
    async fn maker_must_hold(&self, maker: Option<&JoinMaker>) -> Result<(), ApiProblem> {
        let Some(maker) = maker else { return Ok(()) };
        self.0.store.catch_up().await.map_err(|error| journal(&error))?;
        let there = self.0.store.named(&maker.name).and_then(|token| token.created_ms());
        if there == Some(maker.created_ms) {
            return Ok(());
        }
        let maker = maker.name.clone();
        Err(problems::not_admitted(&JoinRefusal::MakerEnded { maker }))
    }

    /// The next SVID of a proxy that shows its current one.
    ///
    /// # Errors
    /// [`ApiProblem`]: it shows none, that of another, an expired or a revoked one; no document declares the
    /// proxy; the request cannot be used.
    pub(crate) async fn renew_member(
        &self,
        peer: &ProvenProxy,
        asked: &SvidRequest,
    ) -> Result<SvidAnswer, ApiProblem> {
        let authority = self.authority()?;
        let node = named(&asked.node)?;
        let name = node.to_string();
        self.identify(&name, peer.id.as_deref()).await?;
        let shown = peer.certificate.as_ref().ok_or_else(problems::stranger)?;
        // Proxies of one service share an id, but not a name.
        if shown.common_name.as_deref() != Some(node_subject(&name).as_str()) {
            return Err(problems::other_node(&name, shown.common_name.as_deref()));
        }
        self.refuse_revoked(peer).await?;
        // A connection may be open for longer than that.
        let until = u64::try_from(shown.not_after).unwrap_or(0);
        if self.now_secs() > until.saturating_add(RENEWAL_GRACE.as_secs()) {
            return Err(problems::expired(&name));
        }
        let (id, bundles) = (self.declared_identity(&node)?, authority.accepted()?);
        let member = (name.as_str(), SvidLineage::of_serial(&shown.serial));
        let svid = authority.sign(member, &id, &asked.request, self.signing_time(&name))?;
        self.0.renewed.add(recorded(&name, id, &svid));
        Ok(SvidAnswer { chain: svid.chain, bundles })
    }

    /// Counts a renewal of the proxy that showed this certificate, before anything is read or signed for it.
    ///
    /// # Errors
    /// It renews too often: how long it has to wait, and the refusal.
    pub(crate) fn pace_renewal(&self, peer: &ProvenProxy) -> Result<(), (Duration, ApiProblem)> {
        let name = peer.certificate.as_ref().and_then(|shown| shown.common_name.as_deref());
        let Some((name, authority)) = name.zip(self.0.authority.get()) else { return Ok(()) };
        let now = self.0.store.clock().now();
        let paced = self.0.pace.take(name, authority.lifetime(), now);
        paced.map_err(|wait| (wait, problems::too_often(wait)))
    }

    /// The identity with which the registry proves itself to proxies.
    ///
    /// # Errors
    /// [`ServerError::Identity`] without an authority.
    pub(crate) fn registry_identity(&self) -> Result<MeshIdentity, ServerError> {
        let authority = self.0.authority.get();
        let own = authority.map(|authority| authority.own().clone());
        own.ok_or_else(|| ServerError::Identity("it is not open".to_owned()))
    }

    /// Refuses a peer whose SVID is revoked. While the journal cannot be read, another replica may have revoked it: then every
    /// peer is refused, and keeps what it has.
    pub(crate) async fn refuse_revoked(&self, peer: &ProvenProxy) -> Result<(), ApiProblem> {
        self.0.folded.must_be_current().await.map_err(|error| journal(&error))?;
        let state = self.state();
        let shown = peer.certificate.as_ref();
        match shown.and_then(|shown| state.identities.revocation_of(shown)) {
            Some(revocation) => Err(problems::revoked(revocation)),
            None => Ok(()),
        }
    }

    fn authority(&self) -> Result<&MeshAuthority, ApiProblem> {
        self.0.authority.get().ok_or_else(problems::no_authority)
    }

    /// Now, but after the second in which the proxy was last revoked: SVIDs up to that second are revoked,
    /// whichever replica signed them by its clock.
    fn signing_time(&self, node: &str) -> SystemTime {
        let now = self.0.store.clock().wall();
        let state = self.state();
        let after = state.identities.revocation(node).map_or(0, |one| one.until.saturating_add(1));
        now.max(SystemTime::UNIX_EPOCH + Duration::from_secs(after))
    }
}

fn named(node: &str) -> Result<NodeName, ApiProblem> {
    node.parse().map_err(|error| {
        let remedy = Some("name it as its document does, such as sidecar:shop/pay/0".to_owned());
        ApiProblem { remedy, ..problem(400, "node.name", format!("{error}")) }
    })
}

fn recorded(node: &str, id: String, svid: &IssuedSvid) -> SvidRecord {
    let (node, serial) = (node.to_owned(), svid.serial.clone());
    SvidRecord { node, id, serial, not_after: svid.not_after }
}

fn unwritten(error: &serde_json::Error) -> ApiProblem {
    problem(500, "internal", error.to_string())
}
