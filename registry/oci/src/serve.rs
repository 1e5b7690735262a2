//! The API: routes a request to its endpoint, after checking the right to use it.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tamis_journal::BlobDigest;

use crate::access::{Caller, Verb};
use crate::author::Author;
use crate::condition::{NoneMatch, none_match};
use crate::name::{Reference, Repository};
use crate::path::{PathError, Route};
use crate::refusal::{Code, OciRefusal};
use crate::store::Store;

mod blobs;
mod lists;
mod manifests;
mod uploads;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The endpoints of OCI Distribution 1.1, and those that its next version adds, on a store.
///
/// A body is processed in pieces, whatever its size; a manifest is held whole.
pub fn router(store: Store) -> Router {
    Router::new().fallback(answer).with_state(store)
}

async fn answer(State(store): State<Store>, request: Request) -> Response {
    let mut response = match handle(store, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    // Older clients recognise a registry by this header.
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// A request whose caller is known and has the right.
struct Call {
    store: Store,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
}

async fn handle(store: Store, request: Request) -> Result<Response, OciRefusal> {
    let (parts, body) = request.into_parts();
    let route = Route::parse(parts.uri.path()).map_err(|error| match error {
        PathError::Unknown => OciRefusal::new(
            Code::Unsupported,
            "there is no such endpoint in OCI Distribution 1.1; it has no list of repositories",
        )
        .status(StatusCode::NOT_FOUND),
        PathError::Name(error) => error.into(),
    })?;
    let anonymous = store.limits.anonymous;
    // A token that another process made a moment ago is found by reading the journal's new entries.
    let caller = store
        .seek(|view| Caller::of(&parts.headers, view.tokens(), anonymous, store.now_ms()))
        .await?;
    let caller = caller.ok_or_else(|| OciRefusal::unauthorized("these credentials are unknown"))?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let call = Call { store, caller, query, headers: parts.headers };
    dispatch(&call, &parts.method, route, body).await
}

async fn dispatch(
    call: &Call,
    method: &Method,
    route: Route,
    body: Body,
) -> Result<Response, OciRefusal> {
    let method = match *method {
        // Only the body differs, and responses to HEAD have none.
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    match (route, method) {
        (Route::Base, Method::GET) => call.base(),
        (Route::Blob(name, digest), Method::GET) => {
            call.allow(Verb::Pull, &name)?;
            blobs::get(call, &name, &digest).await
        }
        (Route::Blob(name, digest), Method::DELETE) => {
            call.allow(Verb::Delete, &name)?;
            blobs::delete(call, name, &digest).await
        }
        (Route::Uploads(name), Method::POST) => {
            call.allow(Verb::Push, &name)?;
            uploads::begin(call, name, body).await
        }
        (Route::Upload(name, id), method) => {
            call.allow(Verb::Push, &name)?;
            match method {
                Method::GET => uploads::status(call, &name, &id).await,
                Method::PATCH => uploads::append(call, &name, &id, body).await,
                Method::PUT => uploads::finish(call, name, &id, body).await,
                Method::DELETE => uploads::cancel(call, &name, &id).await,
                _ => Err(not_allowed("GET, HEAD, PATCH, PUT, DELETE")),
            }
        }
        (Route::Manifest(name, reference), Method::GET) => {
            call.allow(Verb::Pull, &name)?;
            manifests::get(call, &name, &reference).await
        }
        (Route::Manifest(name, reference), Method::PUT) => {
            call.allow(Verb::Push, &name)?;
            manifests::put(call, name, &reference, body).await
        }
        (Route::Manifest(name, reference), Method::DELETE) => {
            call.allow(Verb::Delete, &name)?;
            manifests::delete(call, name, &reference).await
        }
        (Route::Tags(name), Method::GET) => {
            call.allow(Verb::Pull, &name)?;
            lists::tags(call, &name).await
        }
        (Route::Referrers(name, digest), Method::GET) => {
            call.allow(Verb::Pull, &name)?;
            lists::referrers(call, &name, &digest).await
        }
        (Route::Blob(..), _) => Err(not_allowed("GET, HEAD, DELETE")),
        (Route::Uploads(_), _) => Err(not_allowed("POST")),
        (Route::Manifest(..), _) => Err(not_allowed("GET, HEAD, PUT, DELETE")),
        (Route::Base | Route::Tags(_) | Route::Referrers(..), _) => Err(not_allowed("GET, HEAD")),
    }
}

fn not_allowed(methods: &str) -> OciRefusal {
    let message = format!("this endpoint supports {methods}");
    OciRefusal::new(Code::Unsupported, message).header(header::ALLOW, methods)
}

impl Call {
    fn base(&self) -> Result<Response, OciRefusal> {
        if !self.caller.may_enter() {
            return Err(OciRefusal::unauthorized("this registry requires credentials"));
        }
        let mut response = Response::new(Body::from("{}"));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }

    /// Refuses before anything is revealed about what exists.
    fn allow(&self, verb: Verb, repository: &Repository) -> Result<(), OciRefusal> {
        if self.caller.may(verb, repository) {
            return Ok(());
        }
        let verb = verb.as_str();
        match &self.caller {
            Caller::Anonymous(_) => {
                Err(OciRefusal::unauthorized(&format!("the verb {verb} requires credentials here")))
            }
            Caller::Token(token) => Err(OciRefusal::new(
                Code::Denied,
                format!(
                    "the token {:?} may not {verb} in {repository}; use one that was made for it",
                    token.name
                ),
            )),
        }
    }

    /// Refuses a token that was revoked, replaced or expired since the request came, as far as this process knows.
    fn must_hold(&self) -> Result<(), OciRefusal> {
        let store = &self.store;
        Author::from(&self.caller).must_hold(store.view().tokens(), store.now_ms())
    }

    /// The text of a header; none when it is absent or not text.
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What `If-None-Match` says of the representation with that entity tag; `None`: the
    /// representation does not exist.
    fn none_match(&self, current: Option<&str>) -> NoneMatch {
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter();
        none_match(lines.map(HeaderValue::as_bytes), current)
    }

    /// The stated number of bytes of the body.
    fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.parse().ok()
    }
}

/// The pairs of a query, decoded, in order.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A digest has a colon, a tag has none.
fn reference(text: &str) -> Result<Reference, OciRefusal> {
    if text.contains(':') {
        return Ok(Reference::Digest(text.parse()?));
    }
    Ok(Reference::Tag(text.parse()?))
}

/// The entity tag of what has that digest: it is its content, so the tag is a strong one.
fn entity_tag(digest: &BlobDigest) -> String {
    format!("\"{digest}\"")
}

/// A response without a body, with these headers; an invalid value is left out.
fn empty(status: StatusCode, headers: &[(HeaderName, &str)]) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
