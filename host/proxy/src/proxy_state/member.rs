//! What the status of a proxy shows in addition to that of its documents: its identity inside the mesh, its orders of
//! certificates, its ports that take plain text, UDP ports that it cannot use, and records that it cannot write.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tamis_transport::{MeshIdentity, OrderState};

use super::{ProxyState, lock};
use crate::plaintext_counts::{PlaintextPort, PlaintextUse};
use crate::status::{CertificateStatus, IdentityStatus, OrderStatus, PlaintextStatus, Status};

/// The code of a problem with a UDP port of HTTP/3.
const HTTP3: &str = "listener.http3";
/// The code of a problem with the renewal of the SVID.
const RENEWAL: &str = "identity.renewal";
/// The code of an order of a certificate that failed.
const ORDER: &str = "acme.order";
/// The code of access records that cannot be written.
const RECORDS: &str = "records.unwritten";

impl ProxyState {
    /// The status of the documents, with what is known now of the proxy's identity and of its orders.
    pub(crate) fn status_now(&self) -> Arc<Status> {
        let status = self.status.load_full();
        let orders = self.shared.orders.states().all();
        let unserved = lock(&self.http3).problems();
        let (unwritten, plaintext) = (self.shared.recorder.failure(), self.plaintext_now());
        let has_more = self.shared.identity.is_some() || unwritten.is_some();
        if !has_more && orders.is_empty() && unserved.is_empty() && plaintext.is_empty() {
            return status;
        }
        let mut status = Status::clone(&status);
        status.plaintext = plaintext;
        let unserved = unserved.iter().map(|text| json!({ "code": HTTP3, "message": text }));
        status.problems.extend(unserved);
        status.problems.extend(unwritten.map(|why| {
            json!({
                "code": RECORDS,
                "message": format!("access records cannot be written: {why}"),
                "help": "make room where they go, or write them elsewhere (`--access-log-file`); they are tried again",
            })
        }));
        self.add_identity(&mut status);
        for (host, order) in orders {
            if let Some((why, help)) = &order.problem {
                let message = order_problem(&host, order.not_after, why);
                status.problems.push(json!({ "code": ORDER, "message": message, "help": help }));
            }
            let OrderState { fulfilled, failed, not_after, due, problem } = order;
            let problem = problem.map(|(why, _)| why);
            status.orders.push(OrderStatus { host, not_after, due, fulfilled, failed, problem });
        }
        Arc::new(status)
    }

    /// The ports that are served in plain text now.
    fn plaintext_now(&self) -> Vec<PlaintextStatus> {
        let generation = self.generation.load();
        let ports = || generation.listeners.iter().filter_map(|one| one.plaintext.as_deref());
        if ports().next().is_none() {
            return Vec::new();
        }
        let all = self.shared.plaintext.all(ports(), self.shared.clock);
        let served = all.into_iter().filter(|(port, _)| ports().any(|one| one == port));
        let status = |(port, counts): (PlaintextPort, PlaintextUse)| {
            let (PlaintextPort { service, port }, PlaintextUse { open, total, used }) =
                (port, counts);
            PlaintextStatus { service, port, open, total, used }
        };
        served.map(status).collect()
    }

    fn add_identity(&self, status: &mut Status) {
        let Some(identity) = &self.shared.identity else { return };
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
            federated: identity.federated(),
            problem: renewals.problem,
        }
    }
}

/// Says the same as long as the reason is the same: a text that changes would be a new problem.
fn order_problem(host: &str, not_after: Option<i64>, why: &str) -> String {
    match not_after {
        None => {
            format!("there is no certificate for {host} yet, so its handshakes are refused: {why}")
        }
        Some(_) => {
            format!("the certificate for {host} cannot be renewed and stays in use: {why}")
        }
    }
}
