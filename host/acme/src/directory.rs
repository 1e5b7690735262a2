//! Requests to an ACME server, which is a stranger: only the origin of its directory is ever asked, whatever URLs it
//! answers with; no redirect is followed; what it sends is bounded in size and time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use serde_json::Value;
use tamis_transport::{Address, ClientTls, Stream, causes, connect};

use crate::AcmeError;
use crate::directory_error::DirectoryError;
use crate::text::shortened;

/// Time limit for connecting to one address.
const CONNECT: Duration = Duration::from_secs(5);
/// Time limit for an answer, with its body.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest body of an answer: a chain of certificates has a few thousand octets.
const BODY_MAX: usize = 256 * 1024;
/// Longest head of an answer.
const HEAD_MAX: usize = 64 * 1024;
/// Most fields of a head.
const FIELDS_MAX: usize = 64;
/// Addresses of the server that are tried.
const ADDRESSES_MAX: usize = 8;
/// The longest wait that a server is granted while an order is live.
const WAIT_MAX: u64 = 60;
/// The longest wait that a server is granted between two orders: a day.
const PAUSE_MAX: u64 = 24 * 60 * 60;
/// URLs of a directory that are used (RFC 8555 §7.1.1).
const USED: [&str; 3] = ["newNonce", "newAccount", "newOrder"];

/// A client of one ACME server.
#[derive(Debug, Clone)]
pub(crate) struct Directory(Arc<Origin>);

#[derive(Debug)]
struct Origin {
    url: String,
    /// Host and port.
    authority: String,
    tls: ClientTls,
    /// Seconds that a refusal asked to wait; 0: it did not.
    pause: AtomicU64,
}

impl Directory {
    /// For the directory at `url`, whose certificate one of `authorities` signed (PEM); `None`: one of the operating system's.
    ///
    /// # Errors
    /// [`AcmeError::Authorities`], or [`AcmeError::Answer`] for a URL that is none.
    pub(crate) fn new(url: &str, authorities: Option<&str>) -> Result<Self, AcmeError> {
        let wrong = || AcmeError::Answer(format!("{} is not an https URL", shortened(url)));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = origin(&uri).ok_or_else(wrong)?;
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let place = "the authorities of the ACME server".as_ref();
        let tls = ClientTls::to_server(authorities, place, name, Vec::new());
        let tls = tls.map_err(AcmeError::Authorities)?.with_alpn(&[b"http/1.1"]);
        let pause = AtomicU64::new(0);
        Ok(Self(Arc::new(Origin { url: url.to_owned(), authority, tls, pause })))
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// How long the last refusal asked to wait, a day at most, once; `None`: it did not.
    pub(crate) fn asked_pause(&self) -> Option<Duration> {
        let seconds = self.0.pause.swap(0, Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

impl HttpClient for Directory {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let origin = Arc::clone(&self.0);
        Box::pin(async move {
            let answered = origin.ask(request).await;
            answered.map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

impl Origin {
    async fn ask(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, DirectoryError> {
        if origin(request.uri()).as_deref() != Some(&self.authority) {
            return Err(self.elsewhere(&request.uri().to_string()));
        }
        let is_directory = request.method() == Method::GET && *request.uri() == *self.url;
        let asked = tokio::time::timeout(ANSWER, self.exchange(request)).await;
        let response = asked.unwrap_or_else(|_| Err(self.unreachable("it does not respond")))?;
        if response.status().is_redirection() {
            return Err(DirectoryError::Redirect { status: response.status().as_u16() });
        }
        let (mut parts, body) = response.into_parts();
        let wait = parts.headers.remove(header::RETRY_AFTER).and_then(|text| seconds(&text));
        if let Some(wait) = wait {
            if parts.status.is_client_error() || parts.status.is_server_error() {
                self.pause.store(wait.min(PAUSE_MAX), Ordering::Relaxed);
            }
            // The library adds it to the date, which has an end.
            parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.min(WAIT_MAX)));
        }
        if is_directory && parts.status == StatusCode::OK {
            self.check(&body)?;
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    /// The library believes that the URLs of a directory are URLs.
    fn check(&self, body: &[u8]) -> Result<(), DirectoryError> {
        let directory: Value = serde_json::from_slice(body).unwrap_or_default();
        for name in USED {
            let url = directory.get(name).and_then(Value::as_str);
            let url = url.ok_or(DirectoryError::Incomplete(name))?;
            let uri: Uri = url.parse().map_err(|_| DirectoryError::Incomplete(name))?;
            if origin(&uri).as_deref() != Some(&self.authority) {
                return Err(self.elsewhere(url));
            }
        }
        Ok(())
    }

    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, DirectoryError> {
        let stream = self.reach().await?;
        let failed = |why: String| self.unreachable(&why);
        let made = Builder::new()
            .max_buf_size(HEAD_MAX)
            .max_headers(FIELDS_MAX)
            .handshake(TokioIo::new(stream))
            .await;
        let (mut sender, connection) = made.map_err(|error| failed(causes(&error)))?;
        let host = HeaderValue::from_str(&self.authority).map_err(|e| failed(e.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        let path = request.uri().path_and_query().map_or("/", uri::PathAndQuery::as_str);
        *request.uri_mut() = path.parse().map_err(|_| failed("its URL has no path".to_owned()))?;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(|e| failed(causes(&e)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::pin!(answered);
        tokio::select! {
            outcome = &mut answered => outcome,
            // The connection ended first; the answer is there too, or an error.
            _ = connection => answered.await,
        }
    }

    async fn reach(&self) -> Result<Stream, DirectoryError> {
        let addresses = tokio::net::lookup_host(&self.authority).await;
        let addresses = addresses
            .map_err(|error| self.unreachable(&format!("it does not resolve: {error}")))?;
        let mut last = self.unreachable("it has no address");
        for address in addresses.take(ADDRESSES_MAX) {
            match connect(&Address::Tcp(address), Some(&self.tls), CONNECT).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = self.unreachable(&causes(&error)),
            }
        }
        Err(last)
    }

    fn unreachable(&self, why: &str) -> DirectoryError {
        let origin = format!("https://{}", self.authority);
        DirectoryError::Unreachable { origin, why: shortened(why) }
    }

    fn elsewhere(&self, url: &str) -> DirectoryError {
        let origin = format!("https://{}", self.authority);
        DirectoryError::Elsewhere { url: shortened(url), origin }
    }
}

/// Host and port of an https URL without a user; `None`: it is none.
fn origin(uri: &Uri) -> Option<String> {
    let authority = uri.authority()?;
    if uri.scheme() != Some(&uri::Scheme::HTTPS) || authority.as_str().contains('@') {
        return None;
    }
    let port = uri.port_u16().unwrap_or(443);
    Some(format!("{}:{port}", authority.host().to_ascii_lowercase()))
}

/// The seconds of `Retry-After`; a date counts as nothing.
fn seconds(text: &HeaderValue) -> Option<u64> {
    text.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
