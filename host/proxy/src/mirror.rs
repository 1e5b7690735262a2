//! Copies of a request to the services that the router names.

use crate::exchange::{ExchangeState, Replay};
use crate::heads::{Origin, mark_copy};
use crate::mirror_places::MirrorPlace;
use crate::outgoing::{self, RequestTemplate, WireProperties};
use crate::request_parts::RequestParts;
use std::rc::Rc;
use std::time::Duration;
use tamis_exchange::{Exchange, Selection};
use tamis_upstream::{Pick, SendFailure, Upstream};

/// A copy is cancelled after this long.
const MIRROR_TIME: Duration = Duration::from_secs(60);

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

async fn send_copy(upstream: Rc<Upstream>, exchange: Exchange, body: Replay, _place: MirrorPlace) {
    let Ok(Pick::Attempt(mut attempt)) = upstream.pick(&[], None).await else { return };
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
        let mut body = response.into_body();
        // The response is discarded, however long it is.
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {}
        Ok::<_, SendFailure>(())
    });
    drop(sending.await);
}
