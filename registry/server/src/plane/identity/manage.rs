//! What people do with identities: make join tokens, look, revoke and rotate.

use std::collections::BTreeMap;

use tamis_ambient::Random;
use tamis_api::{
    ApiProblem, AuthorityView, CreatedJoinToken, FederatedAuthorityView, FederatedDomainView,
    IdentityRevocationView, IdentityRevokeRequest, IdentityView, JoinTokenRequest, ProxyIdentity,
};
use tamis_authority::{JoinMaker, JoinRecord, JoinToken};
use tamis_director::ApplyRecord;
use tamis_oci::Verb;
use tamis_resources::{BundleAuthority, NodeName, Resource, parse};
use tamis_transport::SpiffeId;
use tamis_trust::Digest;

use super::authority::MeshAuthority;
use super::ledger::{IdentityLedger, IdentityRevocation};
use super::problems;
use super::records::{IdentityRecord, RevokedRecord, SvidRecord};
use super::{named, unwritten};
use crate::plane::control::Control;
use crate::plane::problem::{bad, documents, journal, missing, problem};
use crate::plane::rights::AuthorizedCaller;

/// Lifetime of a token by default, in seconds.
const TTL: u64 = 3_600;
/// The longest lifetime of a token, in seconds: a week.
const TTL_MAX: u64 = 7 * 24 * 3_600;
/// The longest reason of a revocation, in bytes.
const MAX_REASON_BYTES: usize = 1_000;

impl Control {
    /// Makes a one-time token for a proxy, with everything that the proxy needs to join.
    ///
    /// # Errors
    /// [`ApiProblem`]: the caller may not operate the service or gateway, no document declares the proxy, its
    /// id is of another trust domain, or it is revoked and the caller does not decide about security.
    pub(crate) async fn make_join_token(
        &self,
        holder: &AuthorizedCaller,
        request: &JoinTokenRequest,
    ) -> Result<CreatedJoinToken, ApiProblem> {
        let node = named(&request.node)?;
        let name = node.to_string();
        may_operate(holder, &node)?;
        let authority = self.authority()?;
        let ttl = request.ttl_seconds.unwrap_or(TTL);
        if !(1..=TTL_MAX).contains(&ttl) {
            let title = format!("a join token is valid for 1 to {TTL_MAX} seconds, not for {ttl}");
            return Err(bad(title, "use a number in this range"));
        }
        self.catch_up().await.map_err(|error| journal(&error))?;
        assignable(&name, &self.declared_identity(&node)?, authority)?;
        let token = JoinToken::generate(Random::system());
        let token = token.map_err(|error| problems::unsigned(&error))?;
        let until = self.now_secs().saturating_add(ttl);
        // It ends with the token of whoever makes it, which may be sooner.
        let expires = holder.expires_ms().map_or(until, |ms| until.min(ms / 1_000));
        let maker = holder
            .created_ms()
            .map(|created_ms| JoinMaker { name: holder.actor().to_owned(), created_ms });
        let made = JoinRecord::Created { token: token.hash(), node: name.clone(), expires, maker };
        let made = IdentityRecord::Token(made).to_record().map_err(|error| unwritten(&error))?;
        let decides = self.decides(holder);
        self.commit_records(holder, |state| match state.identities.revocation(&name) {
            Some(revocation) if !revocation.readmitted && !decides => {
                Err(problems::revoked(revocation))
            }
            _ => Ok((vec![made.clone()], ())),
        })
        .await?;
        Ok(CreatedJoinToken {
            node: name,
            token: token.reveal(),
            registry: authority.advertised().to_owned(),
            registry_id: authority.registry_id().to_string(),
            bundles: authority.bundles(),
            expires_ms: expires.saturating_mul(1_000),
        })
    }

    /// The identities that the caller may see, or that of one proxy; sorted by proxy.
    ///
    /// # Errors
    /// [`ApiProblem`] when the journal cannot be read.
    pub(crate) async fn identities(
        &self,
        holder: &AuthorizedCaller,
        node: Option<&str>,
    ) -> Result<Vec<IdentityView>, ApiProblem> {
        let only = node.map(named).transpose()?.map(|node| node.to_string());
        self.catch_up().await.map_err(|error| journal(&error))?;
        let now = self.now_secs();
        let all = views(&self.state().identities, now);
        let seen = all.into_values().filter(|view| {
            let place = view.node.parse::<NodeName>();
            only.as_ref().is_none_or(|only| *only == view.node)
                && place.is_ok_and(|node| holder.may_at(Verb::Observe, node.key()))
        });
        Ok(seen.map(|view| self.with_pending(view)).collect())
    }

    /// The identity of a proxy that joined, as the authority knows it.
    pub(crate) fn known_identity(
        &self,
        ledger: &IdentityLedger,
        node: &str,
    ) -> Option<ProxyIdentity> {
        let member = ledger.member(node)?;
        let pending = self.0.renewed.of(node);
        let renewed = match &pending {
            Some(_) => Some(self.now_ms()),
            None => (member.recorded_ms > member.joined_ms).then_some(member.recorded_ms),
        };
        let svid = pending.as_ref().unwrap_or(&member.svid);
        let (id, expires_ms) = (svid.id.clone(), svid.not_after.saturating_mul(1_000));
        Some(ProxyIdentity { id, expires_ms, renewed_ms: renewed })
    }

    /// A renewal that the journal does not contain yet.
    fn with_pending(&self, mut view: IdentityView) -> IdentityView {
        if let Some(svid) = self.0.renewed.of(&view.node) {
            show(&mut view, &svid);
            view.renewed_ms = Some(self.now_ms());
        }
        view
    }

    /// The authority: its domain, its roots and its intermediate.
    ///
    /// # Errors
    /// [`ApiProblem`] when this registry has none.
    pub(crate) fn authority_view(&self) -> Result<AuthorityView, ApiProblem> {
        let authority = self.authority()?;
        let (from, until, root_here) = authority.intermediate();
        Ok(AuthorityView {
            trust_domain: authority.domain().to_string(),
            registry: authority.advertised().to_owned(),
            registry_id: authority.registry_id().to_string(),
            bundles: authority.bundles(),
            intermediate_from_ms: from.saturating_mul(1_000),
            intermediate_until_ms: until.saturating_mul(1_000),
            root_here,
            sequence: self.state().identities.bundles(),
            refresh_hint_seconds: authority.lifetime().as_secs(),
            federated: self.state().federated().into_iter().map(federated).collect(),
        })
    }

    /// Refuses a change that declares the trust domain of this registry to be another one: no proxy would trust it, and every
    /// Service would be at fault.
    ///
    /// # Errors
    /// [`ApiProblem`] with the document.
    pub(crate) fn refuse_own_domain(&self, applied: &ApplyRecord) -> Result<(), ApiProblem> {
        let Some(authority) = self.0.authority.get() else { return Ok(()) };
        let own = authority.domain();
        let written = applied.documents.iter();
        for one in written.filter(|one| one.key.starts_with("FederatedTrustDomain/")) {
            let text = format!("{}{}", "\n".repeat(one.lines_before), one.text);
            let (read, _) = parse(&one.source, &text);
            for document in read {
                let Resource::FederatedTrustDomain(spec) = &document.resource else { continue };
                if spec.trust_domain == own.as_str() {
                    let message = format!("{own} is the trust domain of this registry itself");
                    let mut problem =
                        document.problem("federation.own", "/spec/trustDomain", message);
                    problem.help = Some("name the trust domain of the other mesh".to_owned());
                    return Err(documents(&[problem]));
                }
            }
        }
        Ok(())
    }

    /// Revokes all SVIDs and unused tokens that a proxy has now.
    ///
    /// # Errors
    /// [`ApiProblem`]: the caller does not decide about security, nothing is known about the proxy, or the
    /// journal cannot be written.
    pub(crate) async fn revoke_identity(
        &self,
        holder: &AuthorizedCaller,
        request: &IdentityRevokeRequest,
    ) -> Result<IdentityView, ApiProblem> {
        self.must_decide(holder, "revoke an identity")?;
        let (node, reason) = (named(&request.node)?, request.reason.trim());
        let name = node.to_string();
        if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
            let title = format!("a reason has 1 to {MAX_REASON_BYTES} bytes");
            return Err(bad(title, "give the reason, for people who find the proxy refused"));
        }
        let record = RevokedRecord { node: name.clone(), reason: reason.to_owned() };
        let record = IdentityRecord::Revoked(record).to_record();
        let record = record.map_err(|error| unwritten(&error))?;
        let now = self.now_secs();
        self.commit_records(holder, |state| {
            if !views(&state.identities, now).contains_key(&name) {
                let title = format!("{name} has no identity and no token");
                return Err(missing(title, "`tamis identity list` lists those that have one"));
            }
            Ok((vec![record.clone()], ()))
        })
        .await?;
        let view = views(&self.state().identities, now).remove(&name);
        view.ok_or_else(|| problem(500, "internal", "the revocation is not in the journal"))
    }

    /// Rotates the intermediate.
    ///
    /// # Errors
    /// [`ApiProblem`]: the caller does not decide about security, the root's key is not here, or the journal
    /// cannot be written.
    pub(crate) async fn rotate_intermediate(
        &self,
        holder: &AuthorizedCaller,
    ) -> Result<AuthorityView, ApiProblem> {
        self.must_decide(holder, "rotate the intermediate")?;
        self.rotate_by(holder).await?;
        self.authority_view()
    }

    fn must_decide(&self, holder: &AuthorizedCaller, act: &str) -> Result<(), ApiProblem> {
        if self.decides(holder) {
            return Ok(());
        }
        let title = format!("{} may not {act}", holder.actor());
        let remedy = Some("ask somebody with `operate` on all of a security namespace".to_owned());
        Err(ApiProblem { remedy, ..problem(403, "denied", title) })
    }
}

fn federated((trust_domain, authorities): (String, Vec<BundleAuthority>)) -> FederatedDomainView {
    let authority = |one: BundleAuthority| FederatedAuthorityView {
        digest: Digest::of(one.der()).to_string(),
        expires_ms: u64::try_from(one.not_after).unwrap_or(0).saturating_mul(1_000),
        name: one.name,
    };
    let authorities = authorities.into_iter().map(authority).collect();
    FederatedDomainView { trust_domain, authorities }
}

fn may_operate(holder: &AuthorizedCaller, node: &NodeName) -> Result<(), ApiProblem> {
    if holder.may_at(Verb::Operate, node.key()) {
        return Ok(());
    }
    let title = format!("{} may not operate at {}", holder.actor(), node.key());
    let remedy =
        Some("`tamis registry token create NAME --verb operate` makes a token that may".to_owned());
    Err(ApiProblem { remedy, ..problem(403, "denied", title) })
}

/// Checks that the authority may give a proxy that id.
fn assignable(node: &str, id: &str, authority: &MeshAuthority) -> Result<(), ApiProblem> {
    let id: SpiffeId = id.parse().map_err(|error| problems::no_id(node, &error))?;
    authority.check_assignable(&id).map_err(|error| problems::no_id(node, &error))
}

/// All proxies about which something is known, by name.
fn views(ledger: &IdentityLedger, now: u64) -> BTreeMap<String, IdentityView> {
    let mut views: BTreeMap<String, IdentityView> = BTreeMap::new();
    let new = |node: &String| IdentityView { node: node.clone(), ..IdentityView::default() };
    for (node, member) in ledger.members() {
        let view = views.entry(node.clone()).or_insert_with(|| new(node));
        show(view, &member.svid);
        view.joined_ms = Some(member.joined_ms);
        view.renewed_ms = (member.recorded_ms > member.joined_ms).then_some(member.recorded_ms);
    }
    for (_, token) in ledger.tokens().tokens() {
        if token.used.is_none() && !token.withdrawn && now < token.expires {
            let view = views.entry(token.node.clone()).or_insert_with(|| new(&token.node));
            view.unused_tokens += 1;
        }
    }
    for revocation in ledger.revocations() {
        let view = views.entry(revocation.node.clone()).or_insert_with(|| new(&revocation.node));
        view.revoked = Some(revoked(revocation));
    }
    views
}

fn show(view: &mut IdentityView, svid: &SvidRecord) {
    view.id = Some(svid.id.clone());
    view.serial = Some(svid.serial.clone());
    view.expires_ms = Some(svid.not_after.saturating_mul(1_000));
}

fn revoked(revocation: &IdentityRevocation) -> IdentityRevocationView {
    IdentityRevocationView {
        by: revocation.by.clone(),
        reason: revocation.reason.clone(),
        time_ms: revocation.until.saturating_mul(1_000),
        readmitted: revocation.readmitted,
    }
}
