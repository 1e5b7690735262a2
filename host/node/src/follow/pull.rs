//! Fetches components by digest: they are hashed while they arrive, and kept if they match.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use tamis_exchange::ChannelBody;
use tamis_private::read_regular;
use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::{Digest, Manifest};
use tokio::time::timeout_at;

use super::followed::FollowedPlan;

/// Time limit for fetching everything that is missing. Meanwhile the director receives no message, and
/// disconnects a proxy that is silent for 60 seconds.
const PULL: Duration = Duration::from_secs(40);

/// Fetches the components that slots of a plan need and the folder does not have; returns how many could
/// not be fetched, or not within 40 seconds.
pub(crate) async fn components(
    connection: &SendRequest<ChannelBody>,
    followed: &FollowedPlan,
    assembled: &tamis_sync::AssembledPlan,
) -> usize {
    let mut missing = 0;
    let end = (followed.clock.now() + PULL).into();
    let all = assembled.slots.values().chain(assembled.shadows.values());
    for activation in all {
        let Some(text) = &activation.manifest else { continue };
        let digest = Digest::of(text.as_bytes());
        let Ok(manifest) = Manifest::parse(text.as_bytes()) else { continue };
        if let Err(error) = followed.state.keep_proof(&digest, activation) {
            tracing::warn!(%error, %digest, "a manifest cannot be stored");
            missing += 1;
            continue;
        }
        let path = followed.state.component(&digest);
        // Its bytes are hashed again before they are compiled; the size shows whether it was cut off.
        let size = fs::metadata(&path).map(|data| data.len()).ok();
        if size == Some(manifest.component_size()) && manifest_holds(&path, &manifest) {
            continue;
        }
        let fetched = timeout_at(end, fetch(connection, &manifest, &path)).await;
        if let Err(why) = fetched.unwrap_or_else(|_| Err("it does not arrive in time".to_owned())) {
            let component = manifest.component_digest();
            tracing::warn!(%component, why, "a component cannot be fetched");
            missing += 1;
        }
    }
    missing
}

fn manifest_holds(path: &Path, manifest: &Manifest) -> bool {
    read_regular(path, MAX_COMPONENT_BYTES).is_ok_and(|bytes| manifest.check(&bytes).is_ok())
}

async fn fetch(
    connection: &SendRequest<ChannelBody>,
    manifest: &Manifest,
    path: &Path,
) -> Result<(), String> {
    let size = manifest.component_size();
    if size > MAX_COMPONENT_BYTES {
        return Err(format!("it has {size} bytes, more than the limit of {MAX_COMPONENT_BYTES}"));
    }
    let digest = manifest.component_digest();
    let request = Request::get(format!("https://director/v1/blobs/{digest}"))
        .body(ChannelBody::empty())
        .map_err(|error| error.to_string())?;
    let answer =
        connection.clone().send_request(request).await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the response has status {}", answer.status()));
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let piece: Bytes = frame.into_data().unwrap_or_default();
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > size {
            return Err("it has more bytes than its manifest states".to_owned());
        }
    }
    manifest.check(&bytes).map_err(|error| error.to_string())?;
    tamis_private::put(path, &bytes).map_err(|error| error.to_string())
}
