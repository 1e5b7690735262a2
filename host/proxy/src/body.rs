//! Bodies on their way through this proxy: what was read whole, and what is sent with hooks.

use crate::body_budget::{BodyRoom, BudgetSpent, GatheredBody};
use crate::chunk_end::ChunkEnd;
use crate::encoding::Encoding;
use crate::heads::Owners;
use crate::slot::{ChunkSlot, TrailerSlot};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tamis_exchange::{Body, BodyError};
use tokio::time::Instant;

/// Why a body cannot be read whole.
pub(crate) enum UnreadBody {
    /// It ended early.
    Broken(BodyError),
    /// It is longer than the limit.
    TooLong,
    /// The bodies of other exchanges take all the room.
    NoRoom,
}

/// Reads a complete body of at most `limit` bytes, with its trailers.
pub(crate) async fn read_whole(
    mut body: Body,
    room: BodyRoom,
    limit: usize,
) -> Result<(Bytes, Option<HeaderMap>), UnreadBody> {
    let mut octets = GatheredBody::new(room);
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(UnreadBody::Broken)?.into_data() {
            Ok(data) if octets.len() + data.len() > limit => return Err(UnreadBody::TooLong),
            Ok(data) => octets.push(&data).map_err(|BudgetSpent| UnreadBody::NoRoom)?,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((octets.freeze(), trailers))
}

/// A body that was read whole, with its trailers. The head names them, since HTTP/1.1 sends no others, unless it has a
/// length: then HTTP/1.1 sends none at all (RFC 9112 §7.1.2).
pub(crate) fn buffered_body(
    octets: Bytes,
    trailers: Option<HeaderMap>,
    head: &mut HeaderMap,
) -> Body {
    let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
        return Body::full(octets);
    };
    let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    if !head.contains_key(header::CONTENT_LENGTH)
        && let Ok(names) = HeaderValue::try_from(names.join(", "))
    {
        head.insert(header::TRAILER, names);
    }
    let (send, body) = Body::channel(2);
    // Two frames in a channel of two: neither waits nor fails.
    if !octets.is_empty() {
        drop(send.try_send(Ok(Frame::data(octets))));
    }
    drop(send.try_send(Ok(Frame::trailers(trailers))));
    body
}

/// The body of a response before it is sent, and what happens to it on its way.
pub(crate) struct HookedBody {
    pub(crate) body: Body,
    /// Filters that see it chunk by chunk, in their order.
    pub(crate) chunks: Vec<ChunkSlot>,
    /// Filters that see its trailers, in their order.
    pub(crate) trailers: Vec<TrailerSlot>,
    /// The owners of the trailers. Trailers of another owner are removed; `None` means that this proxy made them.
    pub(crate) owners: Option<Arc<Owners>>,
    /// When it ends, whatever was sent.
    pub(crate) deadline: Option<Instant>,
    /// Where filters that judge the request's body, the rest of which may still be on its way, note that they ended it.
    pub(crate) request_end: Option<ChunkEnd>,
    /// The encoder that it passes behind all filters.
    pub(crate) encoding: Option<Box<Encoding>>,
}

impl From<Body> for HookedBody {
    /// A body that passes as it is.
    fn from(body: Body) -> Self {
        Self {
            body,
            chunks: Vec::new(),
            trailers: Vec::new(),
            owners: None,
            deadline: None,
            request_end: None,
            encoding: None,
        }
    }
}
