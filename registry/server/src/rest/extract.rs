//! From a request to its caller and its content.
//!
//! Rights come first: the caller, and whether they have such a right at all, is decided from the head. Only
//! then a body is read, at most [`SMALL_BYTES`] of it, or a whole folder of documents for callers who may
//! plan or apply: as much as their rights may need.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::BytesMut;
use futures_util::TryStreamExt as _;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use tamis_oci::Verb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::answer::{ProblemResponse, problem};
use crate::plane::AuthorizedCaller;

/// The largest body of a request other than plan and apply, in bytes.
const SMALL_BYTES: usize = 64 << 10;
/// The largest body of a plan or an apply, in bytes: the documents of a whole mesh.
const LARGE_BYTES: usize = 64 << 20;
/// The same of a caller who sees and changes only parts of the mesh: more than the documents of a namespace may be.
const PART_BYTES: usize = 8 << 20;
/// Bodies of more than [`SMALL_BYTES`] held at the same time; others wait.
const LARGE_AT_ONCE: usize = 4;
/// Of these, bodies of one owner, by whichever token. Who sends slowly delays the own bodies and leaves the other turns to others.
const LARGE_OF_ONE: usize = 1;
/// How long a body waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// Time limit for a body to arrive.
const COMING: Duration = Duration::from_secs(30);

/// Permits for large bodies.
#[derive(Clone)]
pub(crate) struct BodyPermits {
    all: Arc<Semaphore>,
    /// By owner, those of owners with a body that is held or waits.
    own: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// A turn to hold a large body, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BodyTurn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Default for BodyPermits {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(LARGE_AT_ONCE)), own: Arc::default() }
    }
}

impl BodyPermits {
    /// A turn of an owner. Its bodies wait for each other first, so that they take no more than their share of the places
    /// in the queue of all. `None`: no turn came in time.
    async fn turn(&self, owner: &str) -> Option<BodyTurn> {
        let own = self.own(owner);
        let both = async {
            let own = own.acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(BodyTurn { _all: all, _own: own })
        };
        tokio::time::timeout(TURN, both).await.ok().flatten()
    }

    fn own(&self, owner: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = own.get(owner).and_then(Weak::upgrade) {
            return known;
        }
        own.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Semaphore::new(LARGE_OF_ONE));
        own.insert(owner.to_owned(), Arc::downgrade(&permits));
        permits
    }
}

/// The caller.
pub(crate) struct Caller(pub(crate) AuthorizedCaller);

impl Caller {
    /// Refuses a caller without that right anywhere.
    pub(crate) fn must(&self, verb: Verb) -> Result<(), ProblemResponse> {
        if self.0.may(verb) { Ok(()) } else { Err(self.denied(verb, "anywhere")) }
    }

    /// Refuses a caller without that right there; `*` means everything.
    pub(crate) fn must_at(&self, verb: Verb, place: &str) -> Result<(), ProblemResponse> {
        if self.0.may_at(verb, place) { Ok(()) } else { Err(self.denied(verb, place)) }
    }

    /// Refuses a caller without that right for a service; `*` means those of every owner.
    pub(crate) fn must_with(&self, verb: Verb, service: &str) -> Result<(), ProblemResponse> {
        if self.0.may_with(verb, service) { Ok(()) } else { Err(self.denied(verb, service)) }
    }

    pub(crate) fn denied(&self, verb: Verb, place: &str) -> ProblemResponse {
        let (verb, actor) = (verb.as_str(), self.0.actor());
        let place: String = place.chars().filter(|one| !one.is_control()).take(120).collect();
        let title = format!("{actor} may not {verb} at {place}");
        let way =
            format!("`tamis registry token create NAME --verb {verb}` makes a token that may");
        if actor == "anonymous" {
            return unauthorized(&title);
        }
        problem(403, "denied", title, &way)
    }
}

fn unauthorized(title: &str) -> ProblemResponse {
    problem(401, "unauthorized", title, "send a token: `Authorization: Bearer TOKEN`")
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ProblemResponse> {
        let bearer = api.store.bearer(&parts.headers).await.map_err(|error| {
            tracing::error!(%error, "the journal cannot be read");
            let title = "the journal cannot be read, so no token can be checked";
            let way = "ask another replica, or try again; the log of the registry shows why";
            problem(503, "unavailable", title, way)
        })?;
        let bearer = bearer.ok_or_else(|| unauthorized("these credentials are unknown"))?;
        Ok(Self(AuthorizedCaller::new(bearer)))
    }
}

/// A body that was not read yet.
pub(crate) struct UnreadBody {
    headers: HeaderMap,
    body: Body,
    turns: BodyPermits,
}

impl FromRequest<Api> for UnreadBody {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ProblemResponse> {
        let (parts, body) = request.into_parts();
        Ok(Self { headers: parts.headers, body, turns: api.turns.clone() })
    }
}

impl UnreadBody {
    /// The body as JSON. Call it after the right was checked.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, ProblemResponse> {
        self.is_json()?;
        let (bytes, _) = self.within(SMALL_BYTES, "").await?;
        parsed(&bytes)
    }

    /// The same for a whole folder of documents of a caller. Parsing runs on another thread, so that other requests
    /// continue.
    pub(crate) async fn documents<T: DeserializeOwned + Send + 'static>(
        self,
        api: &Api,
        caller: &Caller,
    ) -> Result<(T, Option<BodyTurn>), ProblemResponse> {
        self.is_json()?;
        let whole = [Verb::Observe, Verb::Operate].iter().any(|verb| caller.0.may_at(*verb, "*"));
        let limit = if whole { LARGE_BYTES } else { PART_BYTES };
        // Whoever makes tokens makes no more turns.
        let owner = api.store.owner(caller.0.actor());
        let (bytes, turn) = self.within(limit, &owner).await?;
        if turn.is_none() {
            return Ok((parsed(&bytes)?, turn));
        }
        // The turn goes along: who no longer waits has it until the thread is done.
        let made = tokio::task::spawn_blocking(move || (parsed(&bytes), turn)).await;
        let failed = |_| problem(500, "internal", "the body could not be read", "send it again");
        let (made, turn) = made.map_err(failed)?;
        Ok((made?, turn))
    }

    fn is_json(&self) -> Result<(), ProblemResponse> {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        let title = "the body must be JSON";
        Err(problem(415, "media-type", title, "send Content-Type: application/json"))
    }

    async fn within(
        self,
        limit: usize,
        owner: &str,
    ) -> Result<(Bytes, Option<BodyTurn>), ProblemResponse> {
        let length = self.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|it| it.to_str().ok()).and_then(|it| it.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let read = collected(self.body, self.turns, limit, owner);
        tokio::time::timeout(COMING, read).await.unwrap_or_else(|_| {
            let title = format!("the body took more than {} seconds", COMING.as_secs());
            Err(problem(408, "too-slow", title, "send it again, faster or in parts"))
        })
    }
}

/// The whole body, and its permit if it is large.
async fn collected(
    body: Body,
    turns: BodyPermits,
    limit: usize,
    owner: &str,
) -> Result<(Bytes, Option<BodyTurn>), ProblemResponse> {
    let (mut stream, mut bytes, mut turn) = (body.into_data_stream(), BytesMut::new(), None);
    loop {
        let piece = stream.try_next().await;
        let early = |_| problem(400, "bad-request", "the body ended early", "send it again");
        let Some(piece) = piece.map_err(early)? else { return Ok((bytes.freeze(), turn)) };
        if bytes.len().saturating_add(piece.len()) > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&piece);
        if bytes.len() > SMALL_BYTES && turn.is_none() {
            let Some(taken) = turns.turn(owner).await else {
                let title = "too many large bodies at once, of this owner or of all";
                return Err(problem(503, "busy", title, "come back after Retry-After"));
            };
            turn = Some(taken);
        }
    }
}

fn too_large(limit: usize) -> ProblemResponse {
    let title = format!("the body has more than the {limit} bytes that this address accepts");
    problem(413, "too-large", title, "send it in parts")
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProblemResponse> {
    serde_json::from_slice(bytes).map_err(|error| {
        let title = format!("the body does not have the expected form: {error}");
        problem(400, "bad-request", title, "/v1/openapi.json describes it")
    })
}

/// The query of a request.
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for QueryOf<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ProblemResponse> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            let title = format!("the query does not have the expected form: {error}");
            problem(400, "bad-request", title, "/v1/openapi.json describes it")
        })?;
        Ok(Self(query.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PIECE: usize = 16 << 10;

    /// A body of so many pieces that counts the bytes that are taken from it and never ends.
    fn endless(pieces: usize, taken: &Arc<AtomicUsize>) -> Body {
        let taken = Arc::clone(taken);
        let pieces = futures_util::stream::iter(0..pieces).map(move |_| {
            taken.fetch_add(PIECE, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from_static(&[b' '; PIECE]))
        });
        let never = futures_util::stream::once(pending::<Result<Bytes, Infallible>>());
        Body::from_stream(pieces.chain(never))
    }

    fn unread(body: Body, turns: &BodyPermits, length: Option<usize>) -> UnreadBody {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        UnreadBody { headers, body, turns: turns.clone() }
    }

    #[tokio::test]
    async fn of_a_body_that_is_too_large_no_more_is_read_than_the_address_accepts() {
        for (limit, length, most) in [
            (SMALL_BYTES, None, SMALL_BYTES + PIECE),
            (SMALL_BYTES, Some(10), SMALL_BYTES + PIECE),
            (SMALL_BYTES, Some(SMALL_BYTES + 1), 0),
            (LARGE_BYTES, None, LARGE_BYTES + PIECE),
            (LARGE_BYTES, Some(usize::MAX), 0),
        ] {
            let taken = Arc::new(AtomicUsize::new(0));
            let body = endless(2 * limit / PIECE, &taken);
            let refused =
                unread(body, &BodyPermits::default(), length).within(limit, "a").await.err();
            assert_eq!(refused.map(|refused| refused.0.status), Some(413), "{limit} {length:?}");
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken <= most, "{taken} of {limit} {length:?}");
        }
        // A body that nobody asked for is not read at all.
        let taken = Arc::new(AtomicUsize::new(0));
        drop(unread(endless(10, &taken), &BodyPermits::default(), None));
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn many_bodies_at_once_hold_no_more_than_their_turns_allow() {
        let (turns, taken) = (BodyPermits::default(), Arc::new(AtomicUsize::new(0)));
        let (bodies, size) = (40, 4 << 20);
        let all: Vec<_> = (0..bodies)
            .map(|owner| {
                let body = unread(endless(size / PIECE, &taken), &turns, None);
                tokio::spawn(
                    async move { body.within(LARGE_BYTES, &owner.to_string()).await.is_ok() },
                )
            })
            .collect();
        let mut before = usize::MAX;
        // Until all of them wait for something.
        while before != taken.load(Ordering::Relaxed) {
            before = taken.load(Ordering::Relaxed);
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        }
        let most = LARGE_AT_ONCE * size + (bodies - LARGE_AT_ONCE) * (SMALL_BYTES + PIECE);
        assert!(before >= LARGE_AT_ONCE * size && before <= most, "{before} bytes, at most {most}");
        all.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn bodies_of_one_owner_take_one_turn_and_leave_the_others() {
        let permits = BodyPermits::default();
        let soon = async |owner: &str| {
            tokio::time::timeout(Duration::from_millis(50), permits.turn(owner))
                .await
                .ok()
                .flatten()
        };
        let first = soon("a").await.unwrap();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let permits = permits.clone();
                tokio::spawn(async move { permits.turn("a").await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        let others = [soon("b").await, soon("c").await, soon("d").await];
        assert!(others.iter().all(Option::is_some), "{others:?}");
        assert!(soon("a").await.is_none(), "an owner has one turn");
        assert!(soon("e").await.is_none(), "all turns are taken");
        drop(others);
        assert!(soon("e").await.is_some());
        drop(first);
        for one in waiting {
            assert!(one.await.unwrap());
        }
        assert!(soon("e").await.is_some());
        assert_eq!(permits.own.lock().unwrap().len(), 1, "owners without a body are forgotten");
    }
}
