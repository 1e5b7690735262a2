//! The identities of proxies, computed from the journal.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use tamis_authority::{JoinLedger, JoinRecord, SvidLineage, issued, node_subject};
use tamis_transport::PeerCertificate;

use super::records::{AuthorityRecord, IdentityRecord, JoinedRecord, RevokedRecord, SvidRecord};

/// The newest SVID of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberIdentity {
    pub(crate) svid: SvidRecord,
    /// When the proxy joined; milliseconds since the Unix epoch.
    pub(crate) joined_ms: u64,
    /// When the SVID was recorded; milliseconds since the Unix epoch.
    pub(crate) recorded_ms: u64,
}

/// Joins after a revocation that are known: SVIDs of older ones have expired.
const MAX_ADMITTED: usize = 64;

/// A revocation of all SVIDs that a proxy has until it joins again with a later token, whenever they were signed: one may be
/// signed while the revocation is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityRevocation {
    pub(crate) node: String,
    /// When it was revoked, in seconds since the Unix epoch.
    pub(crate) until: u64,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// Whether a token was made for the proxy since, which admits it again.
    pub(crate) readmitted: bool,
    /// The joins since, oldest first; the SVIDs that go back to them are not revoked.
    admitted: VecDeque<SvidLineage>,
    /// Whether the last join since was admitted by an earlier release, whose SVIDs name no join: then those that were signed
    /// after the second of the revocation are not revoked.
    is_former: bool,
}

/// The identities of proxies. The same entries give the same ledger.
#[derive(Debug, Default)]
pub(crate) struct IdentityLedger {
    tokens: JoinLedger,
    members: BTreeMap<String, MemberIdentity>,
    /// By the common name in the SVIDs of the proxy.
    revoked: BTreeMap<String, IdentityRevocation>,
    authority: Option<AuthorityRecord>,
    /// How often an authority, or its roots, were recorded.
    bundles: u64,
    /// When a person asked for a rotation, in seconds since the Unix epoch; 0: never.
    rotated: u64,
}

impl IdentityLedger {
    /// Applies an entry. Kinds of other writers change nothing, and neither does a body that cannot be read.
    pub(crate) fn apply(&mut self, time_ms: u64, actor: &str, kind: &str, body: &Value) {
        let record = match IdentityRecord::read(kind, body) {
            None => return,
            Some(Ok(record)) => record,
            Some(Err(error)) => {
                return tracing::error!(kind, %error, "a record about identities cannot be read");
            }
        };
        let second = time_ms / 1_000;
        match record {
            IdentityRecord::Authority(authority) => {
                self.authority = Some(authority);
                self.bundles = self.bundles.saturating_add(1);
            }
            IdentityRecord::Token(token) => self.token(&token, second),
            IdentityRecord::Joined(joined) => self.joined(joined, time_ms),
            IdentityRecord::Renewed(renewed) => {
                renewed.svids.into_iter().for_each(|svid| self.renewed(svid, time_ms));
            }
            IdentityRecord::Revoked(revoked) => self.revoke(revoked, actor, second),
            IdentityRecord::Rotated(rotated) if rotated.asked => {
                self.rotated = self.rotated.max(second);
            }
            IdentityRecord::Rotated(_) => {}
        }
    }

    fn token(&mut self, token: &JoinRecord, second: u64) {
        if let JoinRecord::Created { node, .. } = token
            && let Some(revocation) = self.revoked.get_mut(&node_subject(node))
        {
            revocation.readmitted = true;
        }
        self.tokens.apply(token, second);
    }

    fn joined(&mut self, joined: JoinedRecord, time_ms: u64) {
        let JoinedRecord { token, key, svid } = joined;
        if let Some(revocation) = self.revoked.get_mut(&node_subject(&svid.node)) {
            revocation.is_former = key.is_none();
            revocation.admitted.push_back(SvidLineage::of_token(&token));
            if revocation.admitted.len() > MAX_ADMITTED {
                revocation.admitted.pop_front();
            }
        }
        self.tokens.apply(&JoinRecord::Used { token, key }, time_ms / 1_000);
        let member = MemberIdentity { svid, joined_ms: time_ms, recorded_ms: time_ms };
        self.members.insert(member.svid.node.clone(), member);
    }

    fn renewed(&mut self, svid: SvidRecord, time_ms: u64) {
        // A batch is written after a while: the proxy may have joined again since.
        if let Some(member) = self.members.get_mut(&svid.node)
            && svid.not_after >= member.svid.not_after
        {
            (member.svid, member.recorded_ms) = (svid, time_ms);
        }
    }

    fn revoke(&mut self, revoked: RevokedRecord, actor: &str, until: u64) {
        let RevokedRecord { node, reason } = revoked;
        self.tokens.apply(&JoinRecord::Withdrawn { node: node.clone() }, until);
        let (subject, by) = (node_subject(&node), actor.to_owned());
        let revocation = IdentityRevocation {
            node,
            until,
            by,
            reason,
            readmitted: false,
            admitted: VecDeque::new(),
            is_former: false,
        };
        self.revoked.insert(subject, revocation);
    }

    pub(crate) fn tokens(&self) -> &JoinLedger {
        &self.tokens
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&String, &MemberIdentity)> {
        self.members.iter()
    }

    /// The newest SVID of a proxy; `None`: it has not joined.
    pub(crate) fn member(&self, node: &str) -> Option<&MemberIdentity> {
        self.members.get(node)
    }

    /// The last revocation of each proxy that has one.
    pub(crate) fn revocations(&self) -> impl Iterator<Item = &IdentityRevocation> {
        self.revoked.values()
    }

    /// The last revocation of a proxy.
    pub(crate) fn revocation(&self, node: &str) -> Option<&IdentityRevocation> {
        self.revoked.get(&node_subject(node))
    }

    /// The revocation of the certificate that a peer showed; `None`: it is not revoked.
    pub(crate) fn revocation_of(&self, shown: &PeerCertificate) -> Option<&IdentityRevocation> {
        let revocation = self.revoked.get(shown.common_name.as_deref()?)?;
        let lineage = SvidLineage::of_serial(&shown.serial);
        let has_joined = lineage.is_some_and(|lineage| revocation.admitted.contains(&lineage));
        let is_later = revocation.is_former && issued(shown.not_before) > revocation.until;
        (!has_joined && !is_later).then_some(revocation)
    }

    pub(crate) fn authority(&self) -> Option<&AuthorityRecord> {
        self.authority.as_ref()
    }

    /// How often an authority, or its roots, were recorded: a number that grows with every change of them.
    pub(crate) fn bundles(&self) -> u64 {
        self.bundles
    }

    /// When a person last asked for a rotation, in seconds since the Unix epoch; 0: never.
    pub(crate) fn rotated(&self) -> u64 {
        self.rotated
    }
}

#[cfg(test)]
mod tests;
