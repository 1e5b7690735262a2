//! One request to a registry, over TLS that proves who the registry is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tamis_sync::{MAX_IDENTITY_BYTES, SvidAnswer, SvidRequest};
use tamis_transport::{Address, ClientTls, Stream, causes, connect};

use crate::IdentityError;

/// Time limit for connecting to one address.
const CONNECT: Duration = Duration::from_secs(5);
/// Time limit for an answer.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest wait that a registry is granted: an SVID is renewed while it is valid.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Longest text of a refusal that is repeated, in characters.
const TEXT_MAX: usize = 300;

/// Sends a request to a registry, `HOST:PORT`.
pub(crate) async fn ask(
    registry: &str,
    tls: &ClientTls,
    path: &str,
    request: &SvidRequest,
) -> Result<SvidAnswer, IdentityError> {
    let stream = reach(registry, tls).await?;
    let asked = tokio::time::timeout(ANSWER, exchange(stream, path, request)).await;
    let (status, retry_after, body) = asked
        .map_err(|_| IdentityError::Unreachable(format!("{registry}: it does not respond")))?
        .map_err(|why| IdentityError::Unreachable(format!("{registry}: {why}")))?;
    if status != 200 {
        return Err(refused(status, retry_after, &body));
    }
    serde_json::from_slice(&body).map_err(|error| IdentityError::Answer(error.to_string()))
}

async fn reach(registry: &str, tls: &ClientTls) -> Result<Stream, IdentityError> {
    let failed = |why: String| IdentityError::Unreachable(format!("{registry}: {why}"));
    let addresses = tokio::net::lookup_host(registry).await;
    let addresses = addresses.map_err(|error| failed(format!("it does not resolve: {error}")))?;
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match connect(&Address::Tcp(address), Some(tls), CONNECT).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = causes(&error),
        }
    }
    Err(failed(last))
}

async fn exchange(
    stream: Stream,
    path: &str,
    request: &SvidRequest,
) -> Result<(u16, Option<Duration>, Bytes), String> {
    let made = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|error| causes(&error))?;
    let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    let request = Request::post(format!("https://registry{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| causes(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_IDENTITY_BYTES).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok((head.status.as_u16(), retry_after(&head.headers), body))
    };
    tokio::pin!(answered);
    tokio::select! {
        outcome = &mut answered => outcome,
        // The connection ends before the answer, or with it.
        _ = connection => answered.await,
    }
}

/// A refusal in the form of the API; its texts are shortened, since the other side chose them.
fn refused(status: u16, retry_after: Option<Duration>, body: &[u8]) -> IdentityError {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| {
        let text = problem.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        text.chars().filter(|one| !one.is_control()).take(TEXT_MAX).collect::<String>()
    };
    let (code, title, remedy) = (text("code"), text("title"), text("remedy"));
    IdentityError::Refused { status, code, title, remedy, retry_after }
}

/// The seconds of `Retry-After` (RFC 9110 §10.2.3); a date counts as nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_a_registry_asks_for_is_read_and_bounded() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("86400", Some(60)),
            ("99999999999999999999", None),
            ("-1", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
