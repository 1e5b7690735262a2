//! What the status of a proxy shows beside that of its documents: its identity inside the mesh, and UDP ports that it cannot
//! use.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tamis_transport::MeshIdentity;

use super::{ProxyState, lock};
use crate::status::{CertificateStatus, IdentityStatus, Status};

/// The code of a problem with a UDP port of HTTP/3.
const HTTP3: &str = "listener.http3";
/// The code of a problem with the renewal of the SVID.
const RENEWAL: &str = "identity.renewal";

impl ProxyState {
    /// The status of the documents, with what is known of the proxy's identity now.
    pub(crate) fn status_now(&self) -> Arc<Status> {
        let status = self.status.load_full();
        let unserved = lock(&self.http3).problems();
        if self.shared.identity.is_none() && unserved.is_empty() {
            return status;
        }
        let mut status = Status::clone(&status);
        let unserved = unserved.iter().map(|text| json!({ "code": HTTP3, "message": text }));
        status.problems.extend(unserved);
        let Some(identity) = &self.shared.identity else { return Arc::new(status) };
        let now = self.identity_now(identity);
        let facts = identity.facts();
        status.certificates.push(CertificateStatus {
            used_by: "mesh".to_owned(),
            file: "SVID".to_owned(),
            names: facts.names.clone(),
            expires: now.expires.clone(),
            not_after: facts.not_after,
        });
        let problem = now.problem.iter().map(|text| json!({ "code": RENEWAL, "message": text }));
        status.problems.extend(problem);
        status.identity = Some(now);
        Arc::new(status)
    }

    fn identity_now(&self, identity: &MeshIdentity) -> IdentityStatus {
        let now = Duration::from_secs(self.shared.clock.unix_secs());
        let (renewals, seconds_left) = (identity.renewals(now), identity.seconds_left(now));
        IdentityStatus {
            id: identity.id().to_string(),
            expires: identity.facts().expiry(),
            not_after: identity.facts().not_after,
            seconds_left,
            renewed: renewals.renewed,
            last_renewal: renewals.last,
            failed: renewals.failed,
            problem: renewals.problem,
        }
    }
}
