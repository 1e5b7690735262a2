//! What speaks for a filter that was made: policies may be asked about it for as long as it is in use.

use super::{PoliciesInForce, SignedManifest};
use std::time::Duration;
use tamis_ambient::Clock;
use tamis_trust::{Digest, bundle_lines, verify_manifest};

/// What speaks for an artifact.
pub(super) struct KeptProof {
    pub(super) manifest: Vec<u8>,
    pub(super) bundles: Vec<u8>,
    pub(super) logged: Vec<Option<u64>>,
}

impl KeptProof {
    /// Whether the policies allow the artifact of that digest under this name. How old they are does not count: that prevents
    /// new activations and stops nothing.
    pub(super) fn is_trusted(
        &self,
        digest: &Digest,
        name: &str,
        rules: PoliciesInForce<'_>,
        clock: Clock,
    ) -> bool {
        let lines = bundle_lines(&self.bundles);
        let rules = PoliciesInForce { age: Duration::ZERO, ..rules };
        let signed =
            SignedManifest { manifest: &self.manifest, bundles: &lines, logged: &self.logged };
        rules
            .request(digest, signed, Some(name), clock)
            .is_ok_and(|request| verify_manifest(&request).is_ok())
    }
}
