//! Requests of proxies: one stream each, and blobs by digest. Only on a listener that requires
//! certificates.

mod blob;
mod connect;
mod stream;

use crate::plane::Control;
use crate::rest::{ProblemResponse, problem};
use crate::shares::Shares;
use axum::Router;
use axum::routing::{get, post};
use tamis_oci::Store;

/// Proxies that may catch up with their plan at the same time; others queue. After a restart of the
/// registry, every proxy queues. The proxies of a namespace share its places.
const SETTLING: usize = 64;

#[derive(Clone)]
struct Proxies {
    control: Control,
    store: Store,
    settling: Shares,
}

/// `POST /v1/nodes/{node}/stream` and `GET /v1/blobs/{digest}`.
pub(crate) fn router(control: Control, store: Store) -> Router {
    let settling = Shares::new(SETTLING);
    Router::new()
        .route("/v1/nodes/{node}/stream", post(connect::connect))
        .route("/v1/blobs/{digest}", get(blob::blob))
        .with_state(Proxies { control, store, settling })
}

fn stranger() -> ProblemResponse {
    let title = "a proxy must show a certificate";
    problem(401, "node.identity", title, "connect with the certificate of the proxy's service")
}
