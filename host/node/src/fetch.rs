//! HTTP requests of filters (`http-client`): one connection each, limited by the grant.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tamis_engine::{FetchFailure, Fetching, HttpFetch, Incoming, Outgoing};
use tamis_transport::{Address, ClientTls, Expectation, ResponseGate, ResponseLimits, connect};

/// Sends requests of filters.
#[derive(Debug, Default)]
pub(crate) struct Fetcher;

/// Where systems store the public authorities; the first that exists is used.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

impl HttpFetch for Fetcher {
    fn fetch(&self, request: Outgoing) -> Fetching {
        Box::pin(async move {
            let timeout = request.timeout;
            match tokio::time::timeout(timeout, send(request)).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(FetchFailure::Timeout),
            }
        })
    }
}

async fn send(request: Outgoing) -> Result<Incoming, FetchFailure> {
    let failed = |why: &dyn std::fmt::Display| FetchFailure::Connect(why.to_string());
    let uri: http::Uri = request.url.parse().map_err(|error| failed(&error))?;
    let host = uri.host().ok_or_else(|| failed(&"the URL names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tls = secure.then(|| authorities(&host)).transpose()?;
    let stream = dial(&host, port, tls.as_ref(), request.timeout).await?;
    // The server is as untrusted as any upstream.
    let gate = ResponseGate::new(stream, ResponseLimits::default());
    let head = request.method.eq_ignore_ascii_case("HEAD");
    gate.control().expect(if head { Expectation::Head } else { Expectation::Content });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(gate))
        .await
        .map_err(|error| failed(&error))?;
    // Ends with the sender; its error reaches the request as well.
    let driver = tokio::spawn(async move { drop(connection.await) });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(path);
    if let Some(authority) = uri.authority() {
        builder = builder.header(http::header::HOST, authority.as_str());
    }
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let body = Full::new(Bytes::from(request.body));
    let message = builder.body(body).map_err(|error| failed(&error))?;
    let answer = sender.send_request(message).await.map_err(|error| failed(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, request.max_bytes).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            FetchFailure::TooLarge
        } else {
            failed(&error)
        }
    })?;
    driver.abort();
    Ok(Incoming {
        status: head.status.as_u16(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: body.to_bytes().to_vec(),
    })
}

/// A connection to the first address that accepts one.
async fn dial(
    host: &str,
    port: u16,
    tls: Option<&ClientTls>,
    timeout: Duration,
) -> Result<tamis_transport::Stream, FetchFailure> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| FetchFailure::Connect(format!("{host} does not resolve: {error}")))?;
    let mut last = FetchFailure::Connect(format!("{host} has no address"));
    for address in addresses {
        match connect(&Address::Tcp(address), tls, timeout).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = FetchFailure::Connect(crate::sockets::causes(&error)),
        }
    }
    Err(last)
}

fn authorities(host: &str) -> Result<ClientTls, FetchFailure> {
    let own = std::env::var("SSL_CERT_FILE").ok();
    let file = own.as_deref().into_iter().chain(AUTHORITIES).map(Path::new);
    let file = file.into_iter().find(|path| path.exists()).ok_or_else(|| {
        FetchFailure::Connect("no file of public authorities; set SSL_CERT_FILE".to_owned())
    })?;
    ClientTls::from_files(None, file, None, host)
        .map(|tls| tls.with_alpn(&[b"http/1.1"]))
        .map_err(|error| FetchFailure::Connect(crate::sockets::causes(&error)))
}

#[cfg(test)]
mod tests;
