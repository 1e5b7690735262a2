//! HTTP requests of filters (`http-client`): to services of the mesh on a worker, to other hosts over one connection
//! each; limited by the grant.

mod own_addresses;

use crate::refusal_text::by_proxy;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::{
    FetchFailure, FetchFuture, FetchRequest, FetchResponse, FetchTarget, Grant, HttpFetch,
};
use tamis_proxy::{MeshCalls, Refused};
use tamis_resources::machine;
use tamis_transport::{Address, ClientTls, Expectation, ResponseIntake, ResponseLimits, connect};

/// Sends requests of filters.
#[derive(Default)]
pub(crate) struct Fetcher {
    /// The way to services of the mesh.
    mesh: MeshCalls,
}

impl Fetcher {
    /// Reaches services of the mesh through the proxy that has the same `mesh`.
    pub(crate) fn new(mesh: MeshCalls) -> Self {
        Self { mesh }
    }
}

/// Where systems store the public authorities; the first that exists is used.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

impl HttpFetch for Fetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let ca = match &request.target {
            // The worker that makes the call bounds its time, so that its endpoint is known to be slow.
            FetchTarget::Service { .. } => return self.mesh.call(request),
            FetchTarget::Host { ca } => ca.clone(),
        };
        Box::pin(async move {
            let timeout = request.timeout;
            match tokio::time::timeout(timeout, send(request, ca)).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(FetchFailure::Timeout),
            }
        })
    }
}

async fn send(request: FetchRequest, ca: Option<Arc<str>>) -> Result<FetchResponse, FetchFailure> {
    let failed = |why: &dyn std::fmt::Display| FetchFailure::Connect(why.to_string());
    let uri: http::Uri = request.url.parse().map_err(|error| failed(&error))?;
    let host = uri.host().ok_or_else(|| failed(&"the URL names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tls = secure.then(|| authorities(&host, ca.as_deref())).transpose()?;
    let stream = dial(&host, port, tls.as_ref(), request.timeout).await?;
    // The server is as untrusted as any upstream.
    let intake = ResponseIntake::new(stream, ResponseLimits::default());
    let head = request.method.eq_ignore_ascii_case("HEAD");
    intake.control().expect(if head { Expectation::Head } else { Expectation::Content });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(intake))
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
    let trailers = body.trailers().cloned();
    let octets = body.to_bytes().to_vec();
    Ok(FetchResponse::new(head.status, &head.headers, trailers.as_ref(), octets))
}

/// Whether a host of that name may be at that address. A grant names a host; whoever answers for that name could lead the
/// filter to what trusts this machine alone: the admin listener, other processes on it, the cloud's metadata. Where a grant
/// names an address or `localhost` itself, that is what was meant.
fn may_be_at(host: &str, address: IpAddr) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    if machine::is_localhost(host) {
        return machine::is_loopback(address);
    }
    !machine::is_own_machine(address) && !own_addresses::has_address(address)
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
        if !may_be_at(host, address.ip()) {
            last = FetchFailure::Connect(format!(
                "{host} resolves to {}, an address of this machine or its link; name that address in the grant if it is meant",
                address.ip()
            ));
            continue;
        }
        match connect(&Address::Tcp(address), tls, timeout).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = FetchFailure::Connect(tamis_transport::causes(&error)),
        }
    }
    Err(last)
}

/// Checks the authorities that a grant has of its own, if it has any.
///
/// # Errors
/// [`Refused`] with `grant.format` and what is wrong with them.
pub fn check_granted_authorities(grant: &Grant) -> Result<(), Refused> {
    let client = grant.imports.http_client.as_ref();
    let checked = client.and_then(|client| client.ca.as_deref()).map_or(Ok(()), check_authorities);
    checked.map_err(|why| {
        let remedy = "write the authorities' certificates there, as they stand in their file";
        by_proxy("grant.format", why, remedy)
    })
}

/// Whether a grant's own authorities can be believed at all.
///
/// # Errors
/// Names what is wrong with them.
fn check_authorities(pem: &str) -> Result<(), String> {
    if pem.len() > MAX_AUTHORITIES {
        return Err(format!("{GRANTED} has at most {MAX_AUTHORITIES} octets"));
    }
    let tls = ClientTls::from_authorities(pem, Path::new(GRANTED), "localhost");
    tls.map(drop).map_err(|error| tamis_transport::causes(&error))
}

/// Octets of a grant's own authorities: some hundred certificates. They go with the plan to every proxy.
const MAX_AUTHORITIES: usize = 256 * 1024;
/// Where authorities stand that a grant has.
const GRANTED: &str = "`imports.http-client.ca` of the grant";

fn authorities(host: &str, granted: Option<&str>) -> Result<ClientTls, FetchFailure> {
    if let Some(pem) = granted {
        return ClientTls::from_authorities(pem, Path::new(GRANTED), host)
            .map(|tls| tls.with_alpn(&[b"http/1.1"]))
            .map_err(|error| FetchFailure::Connect(tamis_transport::causes(&error)));
    }
    let own = std::env::var("SSL_CERT_FILE").ok();
    let file = own.as_deref().into_iter().chain(AUTHORITIES).map(Path::new);
    let file = file.into_iter().find(|path| path.exists()).ok_or_else(|| {
        FetchFailure::Connect("no file of public authorities; set SSL_CERT_FILE".to_owned())
    })?;
    ClientTls::from_files(None, file, None, host)
        .map(|tls| tls.with_alpn(&[b"http/1.1"]))
        .map_err(|error| FetchFailure::Connect(tamis_transport::causes(&error)))
}

#[cfg(test)]
mod tests;
