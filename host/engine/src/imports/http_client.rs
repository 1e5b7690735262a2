//! `http-client`: this module checks requests against the grant, the embedder sends them. The engine opens
//! no socket.

use super::ImportMode;
use crate::abi::{self, HttpFailure};
use crate::error::printable;
use crate::grant::CallCondition;
use crate::state::responses::ResponseKey;
use crate::{
    FetchFailure, FetchFuture, FetchRequest, FetchResponse, FetchTarget, GrantField, Hook, Host,
    HttpClientGrant,
};
use std::sync::Arc;
use std::time::Duration;
use tamis_exchange::{MAX_FIELDS, MAX_HEAD_OCTETS, is_framing_header, is_same_name};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

/// Requests within one call of a hook.
const MAX_PER_CALL: u32 = 8;
/// Bytes of a URL.
const MAX_URL_BYTES: usize = 8 * 1024;
/// The end of the hosts of services: `NAME.NAMESPACE.mesh`, as for applications behind a sidecar.
const MESH: &str = ".mesh";

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>, mode: ImportMode) -> wasmtime::Result<()> {
    if mode != ImportMode::Suspending {
        return linker.func_wrap(
            "send",
            |mut store: StoreContextMut<'_, Host>, (_,): (abi::RequestRecord,)| {
                let host = store.data_mut();
                host.sends = host.sends.saturating_add(1);
                let why = denied_in(host.hook, host.settings.grant.imports.http_client.as_ref());
                Ok((Err::<abi::ResponseRecord, _>(HttpFailure::Denied(why)),))
            },
        );
    }
    linker.func_wrap_async(
        "send",
        |mut store: StoreContextMut<'_, Host>, (request,): (abi::RequestRecord,)| {
            Box::new(async move {
                let answer = send(store.data_mut(), request);
                let clock = store.data().state.clock;
                let since = clock.now();
                let answer = match answer {
                    Ok(Call::Kept(response)) => return Ok((Ok(incoming(response)),)),
                    Ok(Call::Sent(fetching, key)) => {
                        let answer = fetching.await;
                        keep(store.data(), key, &answer);
                        answer.map(incoming).map_err(failure)
                    }
                    // Nothing was waited for, and nothing bounds how often a guest asks for what it may not have.
                    Err(failure) => return Ok((Err(failure),)),
                };
                let host = store.data_mut();
                host.waited = host.waited.saturating_add(clock.since(since));
                // Time spent waiting does not count as computing: after each response the guest gets its full time limit again,
                // at most MAX_PER_CALL times.
                let limit_us = store.data().settings.grant.limits.time_us;
                let epochs = store.data_mut().deadline.again(limit_us);
                store.set_epoch_deadline(epochs);
                Ok((answer,))
            })
        },
    )
}

const CONFIGURING: &str =
    "`configure` sends no requests; `tick` is called before the first exchange";

/// Why the hook that runs may send no requests, and what would let it. `None`: the filter is configured.
fn denied_in(hook: Option<Hook>, grant: Option<&HttpClientGrant>) -> String {
    let Some(hook) = hook else { return CONFIGURING.to_owned() };
    let (function, name) = (hook.function(), hook.as_str());
    if grant.is_some_and(|grant| grant.lets_call(hook)) {
        return format!(
            "`{function}` may send requests about whole bodies only: let `configure` return `buffered` for this body"
        );
    }
    let to_allow = match CallCondition::of(hook) {
        CallCondition::DuringRequests => {
            format!("write `{}: true`", GrantField::HttpClientDuringRequests)
        }
        CallCondition::Named => format!("add `{name}` to `{}`", GrantField::HttpClientHooks),
        CallCondition::Granted | CallCondition::Never => {
            return format!(
                "no Grant can let the hook `{name}` send requests: send them in `on-tick`, and keep what `{name}` needs"
            );
        }
    };
    format!(
        "`{function}` may not send requests under its Grant: to allow it, {to_allow} in the Grant"
    )
}

/// A call that may be made.
enum Call {
    /// The response was kept; nothing is sent and nothing counts.
    Kept(FetchResponse),
    /// It is sent; with the key under which its response may be kept.
    Sent(FetchFuture, Option<ResponseKey>),
}

/// Keeps a response where the grant says so.
fn keep(host: &Host, key: Option<ResponseKey>, answer: &Result<FetchResponse, FetchFailure>) {
    let rules = host.settings.grant.imports.http_client.as_ref();
    let rules = rules.and_then(|client| client.cache.as_ref());
    if let (Some(key), Some(rules), Ok(response)) = (key, rules, answer) {
        host.state.responses.keep(key, response, rules, host.state.clock.now());
    }
}

fn send(host: &mut Host, request: abi::RequestRecord) -> Result<Call, HttpFailure> {
    let denied = |why: &str| HttpFailure::Denied(why.to_owned());
    if host.configuring {
        return Err(denied(CONFIGURING));
    }
    let settings = Arc::clone(&host.settings);
    let grant = settings.grant.imports.http_client.as_ref().ok_or_else(|| denied("not granted"))?;
    let fetch = settings.fetch.as_ref().ok_or_else(|| denied("this host sends no requests"))?;
    let request = bound(request, grant)?;
    let rules = grant.cache.as_ref();
    let key = rules.and_then(|rules| ResponseKey::of(&request, rules));
    if let (Some(rules), Some(key)) = (rules, key)
        && let Some(kept) = host.state.responses.find(key, rules, host.state.clock.now())
    {
        return Ok(Call::Kept(kept));
    }
    host.sends = host.sends.saturating_add(1);
    if host.sends > MAX_PER_CALL
        || !host.state.fetches.take(1, grant.per_minute, Duration::from_secs(60))
    {
        return Err(HttpFailure::Exhausted);
    }
    Ok(Call::Sent(fetch.fetch(request), key))
}

/// Checks a request against the grant and the rules of HTTP.
fn bound(
    request: abi::RequestRecord,
    grant: &HttpClientGrant,
) -> Result<FetchRequest, HttpFailure> {
    let denied = |why: String| Err(HttpFailure::Denied(why));
    if http::Method::from_bytes(request.method.as_bytes()).is_err()
        || request.method.eq_ignore_ascii_case("CONNECT")
    {
        let method = printable(&request.method, 80);
        return denied(format!("the method `{method}` may not be sent"));
    }
    if request.url.len() > MAX_URL_BYTES {
        return denied(format!("a URL may have at most {MAX_URL_BYTES} bytes"));
    }
    if request.body.len() > grant.max_bytes {
        let most = grant.max_bytes;
        return denied(format!("a body may have at most {most} bytes (`http-client.maxBytes`)"));
    }
    if request.headers.len() > MAX_FIELDS {
        return denied(format!("a request may have at most {MAX_FIELDS} headers"));
    }
    let Some((authority, secure)) = authority(&request.url) else {
        return denied("a URL must be `https://HOST[:PORT]/…` without user info".to_owned());
    };
    let target = match service_host(&authority) {
        Some(host) => service(&authority, host, secure, grant),
        None => host(&authority, secure, grant),
    };
    let target = target.map_err(HttpFailure::Denied)?;
    let of_mesh = matches!(target, FetchTarget::Service { .. });
    let mut headers = Vec::with_capacity(request.headers.len());
    let mut octets = 0_usize;
    for field in request.headers {
        octets = octets.saturating_add(field.name.len()).saturating_add(field.value.len());
        if octets > MAX_HEAD_OCTETS {
            return denied(format!(
                "the headers of a request may have at most {MAX_HEAD_OCTETS} bytes"
            ));
        }
        let known = http::HeaderName::from_lowercase(field.name.as_bytes()).is_ok();
        if !known
            || is_framing_header(&field.name)
            || (of_mesh && is_of_the_mesh(&field.name))
            || http::HeaderValue::from_bytes(&field.value).is_err()
        {
            let name = printable(&field.name, 80);
            return denied(format!("the header `{name}` may not be sent"));
        }
        headers.push((field.name, field.value));
    }
    let wanted = if request.timeout_ms == 0 { grant.timeout_ms } else { request.timeout_ms };
    Ok(FetchRequest {
        method: request.method,
        url: request.url,
        headers,
        body: request.body,
        timeout: Duration::from_millis(u64::from(wanted.min(grant.timeout_ms))),
        max_bytes: grant.max_bytes,
        target,
    })
}

/// The host of an authority, if it is of the mesh.
fn service_host(authority: &str) -> Option<&str> {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_suffix(MESH)
}

/// The service that an authority names, if the grant names it too.
fn service(
    authority: &str,
    name: &str,
    secure: bool,
    grant: &HttpClientGrant,
) -> Result<FetchTarget, String> {
    if secure {
        return Err(format!(
            "a service of the mesh is called with `http://{authority}`; the mesh encrypts the call where the service has sidecars"
        ));
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let port =
        port.transpose().map_err(|_| format!("`{authority}` has no port that is a number"))?;
    let is_named = |key: &&String| {
        key.split_once('/').is_some_and(|(namespace, service)| {
            name.strip_prefix(service).and_then(|rest| rest.strip_prefix('.')) == Some(namespace)
        })
    };
    match grant.services.iter().find(is_named) {
        Some(key) => Ok(FetchTarget::Service { service: key.clone(), port }),
        None => Err(format!(
            "the grant does not name the service of `{authority}` (`http://NAME.NAMESPACE{MESH}/`) as `NAMESPACE/NAME` in `{}`",
            GrantField::HttpClientServices
        )),
    }
}

/// The host that an authority names, if the grant names it too.
fn host(authority: &str, secure: bool, grant: &HttpClientGrant) -> Result<FetchTarget, String> {
    if !secure && !grant.clear_text {
        return Err(format!(
            "`http:` needs `{}: true` in its Grant",
            GrantField::HttpClientClearText
        ));
    }
    let default_port = if secure { ":443" } else { ":80" };
    let bare = authority.strip_suffix(default_port).unwrap_or(authority);
    let allowed = grant.hosts.iter().any(|host| {
        let host = host.to_ascii_lowercase();
        host == authority || host.strip_suffix(default_port).unwrap_or(&host) == bare
    });
    if !allowed {
        let field = GrantField::HttpClientHosts;
        return Err(format!("the grant does not name the host `{authority}` in `{field}`"));
    }
    Ok(FetchTarget::Host { ca: grant.ca.clone() })
}

/// Whether a header is reserved for proxies of the mesh, in any spelling: a filter may not send it. `expect` is one of
/// them: a proxy that forwards it would wait for something that nobody sends.
fn is_of_the_mesh(name: &str) -> bool {
    const OWN: &str = "x-tamis-";
    name == "expect" || name.get(..OWN.len()).is_some_and(|start| is_same_name(start, OWN))
}

/// Host and port, in lower case, and whether the scheme is `https`. `None` for a URL that two parsers could
/// read in two ways.
fn authority(url: &str) -> Option<(String, bool)> {
    if !url.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'\\' && b != b'#') {
        return None;
    }
    let (rest, secure) = match url.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (url.strip_prefix("http://")?, false),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let parsed: http::uri::Authority = authority.parse().ok()?;
    let plain = !authority.contains('@') && !parsed.host().is_empty();
    plain.then(|| (authority.to_ascii_lowercase(), secure))
}

fn incoming(incoming: FetchResponse) -> abi::ResponseRecord {
    let headers = incoming.headers.into_iter();
    abi::ResponseRecord {
        status: incoming.status,
        headers: headers.map(|(name, value)| abi::Field { name, value }).collect(),
        body: incoming.body,
    }
}

fn failure(failure: FetchFailure) -> HttpFailure {
    match failure {
        FetchFailure::Connect(why) => HttpFailure::Connect(why),
        FetchFailure::Timeout => HttpFailure::Timeout,
        FetchFailure::TooLarge => HttpFailure::TooLarge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> abi::RequestRecord {
        abi::RequestRecord {
            method: "GET".into(),
            url: url.into(),
            headers: vec![],
            body: vec![],
            timeout_ms: 60_000,
        }
    }

    #[test]
    fn only_granted_hosts_are_reached() {
        let grant = HttpClientGrant {
            hosts: vec!["idp.example".into(), "k.example:8443".into()],
            ..Default::default()
        };
        for url in
            ["https://idp.example/keys", "https://IDP.example:443/", "https://k.example:8443?x"]
        {
            let bounded = bound(request(url), &grant);
            assert!(bounded.is_ok_and(|b| b.timeout == Duration::from_millis(1000)), "{url}");
        }
        for url in [
            "http://idp.example/",
            "https://idp.example:444/",
            "https://idp.example@evil.example/",
            "https://evil.example/?idp.example",
            "https://evil.example\\@idp.example/",
            "https://idp.example.evil.example/",
            "https://k.example/",
            "https:idp.example",
            "https:///idp.example",
            "file:///etc/passwd",
            "https://idp.example/a b",
        ] {
            assert!(matches!(bound(request(url), &grant), Err(HttpFailure::Denied(_))), "{url}");
        }
    }

    #[test]
    fn only_granted_services_are_reached_and_only_by_their_names() {
        let grant = HttpClientGrant {
            services: vec!["shop/payments".into(), "b.c/a".into()],
            hosts: vec!["other.shop.mesh".into(), "payments.shop".into()],
            ..Default::default()
        };
        let of = |service: &str, port| FetchTarget::Service { service: service.into(), port };
        for (url, target) in [
            ("http://payments.shop.mesh/pay?x", of("shop/payments", None)),
            ("http://payments.shop.mesh", of("shop/payments", None)),
            ("http://PAYMENTS.shop.Mesh:8080/", of("shop/payments", Some(8080))),
            ("http://payments.shop.mesh.:80/", of("shop/payments", Some(80))),
            ("http://a.b.c.mesh/", of("b.c/a", None)),
        ] {
            let bounded = bound(request(url), &grant);
            assert!(bounded.as_ref().is_ok_and(|b| b.target == target), "{url}");
        }
        for (url, says) in [
            ("https://payments.shop.mesh/", "is called with `http://payments.shop.mesh`"),
            ("http://orders.shop.mesh/", "`imports.http-client.services`"),
            ("http://payments.mesh/", "`imports.http-client.services`"),
            ("http://x.payments.shop.mesh/", "`imports.http-client.services`"),
            ("http://payments.shop.x.mesh/", "`imports.http-client.services`"),
            ("http://.mesh/", "`imports.http-client.services`"),
            ("http://payments.shop.mesh:/", "no port that is a number"),
            // A host of that end is a service, whatever `hosts` says.
            ("http://other.shop.mesh/", "`imports.http-client.services`"),
            ("http://payments.shop/", "clearText: true"),
            ("http://payments.shop.mesh@evil.example/", "without user info"),
            ("http://payments.shop.mesh.evil.example/", "clearText: true"),
        ] {
            match bound(request(url), &grant) {
                Err(HttpFailure::Denied(why)) => assert!(why.contains(says), "{url}: {why}"),
                Err(_) | Ok(_) => panic!("{url} may be sent"),
            }
        }
        for name in ["x-tamis-retries", "x_tamis_mine", "expect"] {
            let mut request = request("http://payments.shop.mesh/");
            request.headers.push(abi::Field { name: name.into(), value: b"1".to_vec() });
            assert!(bound(request, &grant).is_err(), "{name}");
        }
    }

    #[test]
    fn a_request_of_any_size_costs_no_more_than_granted() {
        let grant = HttpClientGrant { hosts: vec!["a.example".into()], ..Default::default() };
        let field = |octets: usize| abi::Field { name: "x".into(), value: vec![b'a'; octets] };
        let whole = || request("https://a.example/");
        let long = format!("https://a.example/{}", "a".repeat(9_000));
        for (what, request) in [
            ("a body", abi::RequestRecord { body: vec![0; grant.max_bytes + 1], ..whole() }),
            ("a URL", request(&long)),
            ("a header", abi::RequestRecord { headers: vec![field(200_000)], ..whole() }),
            ("headers", abi::RequestRecord { headers: vec![field(1); 1_000], ..whole() }),
        ] {
            assert!(matches!(bound(request, &grant), Err(HttpFailure::Denied(_))), "{what}");
        }
    }

    #[test]
    fn framing_headers_cannot_be_sent() {
        let grant = HttpClientGrant { hosts: vec!["a.example".into()], ..Default::default() };
        for (name, value) in
            [("host", "b"), ("content-length", "1"), ("x-a", "1\r\nb: 2"), ("X-A", "1")]
        {
            let mut request = request("https://a.example/");
            request.headers.push(abi::Field { name: name.into(), value: value.into() });
            assert!(bound(request, &grant).is_err(), "{name}");
        }
    }
}
