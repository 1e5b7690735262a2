//! Copies of a request to the services that the router names. Requests come first: a copy waits for no connection, and gives its own to
//! a request that waits for one.

use crate::exchange::{ExchangeState, Replay};
use crate::heads::{Origin, mark_copy};
use crate::mirror_places::MirrorPlace;
use crate::outgoing::{self, RequestTemplate, WireProperties};
use crate::request_parts::RequestParts;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tamis_exchange::{Body, Exchange, Selection};
use tamis_upstream::{EndpointCrowd, SendFailure, Upstream};

/// A copy is cancelled after this long.
const MIRROR_TIME: Duration = Duration::from_secs(60);
/// How often a copy looks whether requests wait for a connection of its endpoint: then it is given up.
const LOOK: Duration = Duration::from_millis(500);
/// Octets that are read of its response, so that its connection can be used again; of a longer one it is closed.
const RESPONSE_MAX: usize = 64 * 1024;

/// Sends copies. Their responses are ignored; a body that the host no longer has complete is not copied, nor is a copy
/// that came back.
pub(crate) fn send(
    state: &ExchangeState,
    selection: &Selection,
    parts: &RequestParts,
    body: &Replay,
) {
    for mirror in &selection.mirrors {
        if state.random().below(1000) >= u64::from(mirror.share_permille) {
            continue;
        }
        let Some(upstream) = state.chain.backend(mirror.backend) else { continue };
        if !(body.is_replayable() && body.has_ended()) || parts.upgrade.is_some() {
            let service = upstream.name();
            tracing::debug!(service, "a request with a long body is not mirrored");
            continue;
        }
        if parts.origin == Origin::OwnCopy {
            let service = upstream.name();
            tracing::debug!(service, "a copy came back to this proxy, which copies it no further");
            continue;
        }
        let Some(place) = state.mirrors().take(upstream.name()) else {
            let service = upstream.name();
            tracing::debug!(service, "a request is not mirrored: too many copies are in progress");
            continue;
        };
        let mut exchange = state.exchange.clone();
        mark_copy(&mut exchange.headers, state.copy_mark());
        let copy = send_copy(Rc::clone(upstream), exchange, body.clone(), place);
        drop(tokio::task::spawn_local(copy));
    }
}

async fn send_copy(upstream: Rc<Upstream>, exchange: Exchange, body: Replay, place: MirrorPlace) {
    let Some((mut attempt, _copy)) = upstream.pick_copy().await else { return place.skip() };
    let crowd = attempt.crowd();
    let template = RequestTemplate {
        upgrade: None,
        trailers: false,
        marks_retries: false,
        body: &body,
        host: None,
    };
    let endpoint = attempt.endpoint().to_owned();
    let request =
        outgoing::request(&exchange, &template, WireProperties::of(&attempt), &endpoint, None);
    let Ok(request) = request else { return };
    let sending = tokio::time::timeout(MIRROR_TIME, async {
        let response = attempt.send(request, false, || None).await?;
        discard(response.into_body()).await;
        Ok::<_, SendFailure>(())
    });
    tokio::select! {
        _sent = sending => {}
        () = crowded(&crowd) => {}
    }
}

/// Reads a response to its end, or so much of it.
async fn discard(mut body: Body) {
    let mut left = RESPONSE_MAX;
    while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// Ends when requests wait for a connection of the endpoint.
async fn crowded(crowd: &EndpointCrowd) {
    loop {
        tokio::time::sleep(LOOK).await;
        if crowd.is_there() {
            return;
        }
    }
}
