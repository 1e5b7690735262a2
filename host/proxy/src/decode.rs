//! Turns a received request into an [`Exchange`]: target and fields are normalised, hop-by-hop fields
//! removed, forwarded fields set.

use crate::arrival::Arrival;
use crate::connection::Connection;
use crate::generation::ListenerRules;
use crate::heads::request::{EndedFields, add_own, length, take_ended};
use crate::heads::{Origin, origin};
use crate::tcp_refusal::{UNGUARDED, UNGUARDED_RULE, WITHDRAWN, withdrawn};
use crate::trace;
use crate::upgrade::{self, Upgrade};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Version};
use std::borrow::Cow;
use std::sync::Arc;
use tamis_exchange::{
    Attributes, ClientChain, Exchange, Fault, HeadBounds, PathRules, Refusal, Scheme, TargetError,
    misspelt_method, normal_authority, normal_path, text,
};
use tamis_transport::RequestBody;

/// A request as the pipeline receives it.
pub(crate) struct DecodedRequest {
    pub(crate) exchange: Exchange,
    /// The host that the client wrote, where another one routes the request.
    pub(crate) written_host: Option<String>,
    pub(crate) upgrade: Option<Upgrade>,
    /// The client accepts trailers (`te: trailers`).
    pub(crate) trailers: bool,
    /// The caller is a proxy of the mesh and retries what fails.
    pub(crate) caller_retries: bool,
    /// Whether this proxy made it.
    pub(crate) origin: Origin,
    /// Declared length of the body.
    pub(crate) length: Option<u64>,
}

/// Decodes a request. The intake has already refused HTTP/1 messages that could be read in two ways. A
/// refused request stays unchanged.
pub(crate) fn decode(
    request: &mut Request<RequestBody>,
    arrival: &Arrival<'_>,
) -> Result<DecodedRequest, Refusal> {
    let Arrival { connection, chain, direction, rules, shared, id, .. } = *arrival;
    if let Some(id) = connection.withdrawn() {
        return Err(refuse(WITHDRAWN, 403, &withdrawn(id)));
    }
    if connection.federated.is_some() && !chain.guards_requests() {
        return Err(refuse(UNGUARDED, 403, UNGUARDED_RULE));
    }
    let owners = &chain.owners;
    check_method(request.method())?;
    if request.version() >= Version::HTTP_2 {
        check_fields(request.headers(), shared.limits.intake.max_fields)?;
    }
    let origin = origin(request.headers(), &shared.copy_mark)?;
    let upgrade = upgrade::requested_upgrade(request, &rules.upgrades)?;
    let (authority, host) = {
        let uri = std::mem::take(request.uri_mut());
        let named = authority(&uri, request.headers_mut(), connection.scheme);
        *request.uri_mut() = uri;
        named?
    };
    if authority.is_empty() && request.version() >= Version::HTTP_2 {
        return Err(refuse(
            "request.host",
            400,
            "the request names no host (RFC 9113 §8.3.1, RFC 9114 §4.3.1)",
        ));
    }
    // Where a connection goes was decided when the application chose its address, which a host in a request must not
    // change.
    let (authority, written_host) = match connection.routed_host() {
        Some(routed) => (text(Cow::Borrowed(&**routed)), Some(authority)),
        None => (authority, None),
    };
    let secure = connection.tls_version.is_some();
    if (secure && !rules.has_host(&authority)) || rules.is_elsewhere(&authority) {
        // A client may use a connection for other hosts that its certificate covers (RFC 9110 §15.5.20); then
        // it opens another one. Without TLS it is the host of a listener that does not listen: see `worker/host`.
        let detail = "the host of the request is not one of the listener of this connection";
        return Err(refuse("request.misdirected", 421, detail));
    }
    let path = path(request.uri(), request.method(), request.version(), rules.paths)?;
    let length = length(request.headers_mut())?;
    let (method, version) = (request.method().clone(), request.version());
    let mut headers = std::mem::take(request.headers_mut());
    let EndedFields { trailers, caller_retries } =
        take_ended(&mut headers, owners, connection, direction);
    let chain = client_chain(&headers, connection, rules);
    add_own(&mut headers, version, (connection, direction), host, chain.as_ref());
    trace::ensure(&mut headers, shared.random);
    let extended = upgrade.as_ref().is_some_and(|upgrade| upgrade.extended);
    if upgrade.as_ref().is_some_and(|upgrade| extended && upgrade.protocol == "websocket") {
        // A filter sees the same handshake in both versions: RFC 8441 §5 has no key, by which policies know one.
        headers.entry(header::SEC_WEBSOCKET_KEY).or_insert(upgrade::KEY);
    }
    Ok(DecodedRequest {
        exchange: Exchange {
            id,
            method: if extended { Method::GET } else { method },
            scheme: connection.scheme,
            authority,
            path,
            headers,
            status: None,
            response_headers: HeaderMap::new(),
            attributes: attributes_behind(connection, chain.as_ref()),
            bounds: shared.head_bounds(),
            coding: None,
        },
        written_host,
        upgrade,
        trailers,
        caller_retries,
        origin,
        length,
    })
}

/// Refuses a method that differs from a known one in case only.
fn check_method(method: &Method) -> Result<(), Refusal> {
    match misspelt_method(method) {
        None => Ok(()),
        Some(known) => {
            let detail = format!("methods are case-sensitive: write {known}");
            Err(Refusal::new("request.method", 400, Fault::Client, detail))
        }
    }
}

/// The rules that the intake checks for HTTP/1: how many fields a head has, and no blank at an end of a value (RFC 9113
/// §8.2.1, RFC 9114 §10.3). Servers of HTTP/1 do not read such a blank, so they would receive another value than policies saw.
fn check_fields(headers: &HeaderMap, max_fields: usize) -> Result<(), Refusal> {
    // HTTP/2 and HTTP/3 may send a cookie as several fields, which count as the one that they become.
    let crumbs = headers.get_all(header::COOKIE).iter().count().saturating_sub(1);
    if headers.len().saturating_sub(crumbs) > max_fields {
        let detail = format!("the head has more than {max_fields} fields");
        return Err(refuse("http.head-too-large", 431, &detail));
    }
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let mut values = headers.iter().map(|(name, value)| (name, value.as_bytes()));
    match values.find(|(_, value)| blank(value.first()) || blank(value.last())) {
        None => Ok(()),
        Some((name, _)) => {
            let detail = format!("the value of `{name}` begins or ends with a blank");
            Err(refuse("http.field-value", 400, &detail))
        }
    }
}

/// Bytes of each part of a refused head that are recorded.
const REFUSED_MAX: usize = 1_024;

/// The recordable parts of a request that is refused here: its target is recorded as sent, since it has no
/// normalised form.
pub(crate) fn refused(request: &Request<RequestBody>, arrival: &Arrival<'_>) -> Exchange {
    let Arrival { connection, rules, id, .. } = *arrival;
    let chain = client_chain(request.headers(), connection, rules);
    let uri = request.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let method = beginning(request.method().as_str());
    Exchange {
        id,
        // The beginning of a token is one.
        method: Method::from_bytes(method.as_bytes()).unwrap_or_default(),
        scheme: connection.scheme,
        authority: beginning(authority).to_owned(),
        path: beginning(uri.path_and_query().map_or("", |path| path.as_str())).to_owned(),
        headers: HeaderMap::new(),
        status: None,
        response_headers: HeaderMap::new(),
        attributes: attributes_behind(connection, chain.as_ref()),
        bounds: HeadBounds::default(),
        coding: None,
    }
}

/// As much of a part of a refused head as is recorded.
fn beginning(text: &str) -> &str {
    let end = (0..=text.len().min(REFUSED_MAX)).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// The proxies that a request has passed, from its client to the sender of the connection; `None`: the sender is the
/// client.
fn client_chain(
    headers: &HeaderMap,
    connection: &Connection,
    rules: &ListenerRules,
) -> Option<ClientChain> {
    rules.trusted_proxies.as_ref()?.chain(headers, connection.sender?)
}

/// Attributes of a request whose client may be behind proxies.
fn attributes_behind(connection: &Connection, chain: Option<&ClientChain>) -> Attributes {
    let mut attributes = attributes(connection);
    if let Some(chain) = chain {
        attributes.set("source.address", chain.client().to_string());
    }
    attributes
}

/// Attributes of a request before it is decoded.
pub(crate) fn attributes(connection: &Connection) -> Attributes {
    let mut attributes = Attributes::spare();
    attributes.set("source.address", Arc::clone(&connection.sender_address));
    if let Some(identity) = &connection.peer_identity {
        attributes.set("peer.spiffe-id", Arc::clone(identity));
    }
    if let Some(version) = connection.tls_version {
        attributes.set("tls.version", version);
    }
    if let Some(name) = &connection.server_name {
        attributes.set("tls.sni", Arc::clone(name));
    }
    attributes.set("listener.name", Arc::clone(&connection.listener));
    attributes
}

/// The normalised path of the target; `*` of OPTIONS is unchanged.
fn path(
    uri: &http::Uri,
    method: &Method,
    version: Version,
    rules: PathRules,
) -> Result<String, Refusal> {
    let wrong = |error: TargetError| {
        let status = if error == TargetError::TooLong { 414 } else { 400 };
        refuse("request.target", status, &error.to_string())
    };
    match uri.path_and_query() {
        Some(path) if path.as_str() == "*" && *method == Method::OPTIONS => Ok("*".to_owned()),
        // An absolute target may have a query and no path, which is `/` (RFC 9112 §3.2.1).
        Some(path) if path.as_str().starts_with('?') && version < Version::HTTP_2 => {
            let rooted = format!("/{path}");
            Ok(text(normal_path(&rooted, rules).map_err(wrong)?))
        }
        Some(path) => {
            let normal = normal_path(path.as_str(), rules).map_err(wrong)?;
            Ok(text(normal))
        }
        None if uri.scheme().is_some() => Ok("/".to_owned()),
        None => Err(wrong(TargetError::Octets)),
    }
}

fn refuse(code: &'static str, status: u16, detail: &str) -> Refusal {
    Refusal::new(code, status, Fault::Client, detail)
}

/// The host and port that a request asks for, as [`decode`] reads them; `None`: it names none, or is refused.
pub(crate) fn named_host(request: &Request<RequestBody>) -> Option<String> {
    let mut hosts = HeaderMap::new();
    for value in request.headers().get_all(header::HOST) {
        hosts.append(header::HOST, value.clone());
    }
    let (authority, value) = authority(request.uri(), &mut hosts, Scheme::Http).ok()?;
    value.map(|_| authority)
}

/// The host and port that the client asked for, normalised: from the target if it names one, else from
/// `host` (RFC 9112 §3.2.2); and the same as a header value, unless it named none.
fn authority(
    uri: &http::Uri,
    headers: &mut HeaderMap,
    scheme: Scheme,
) -> Result<(String, Option<HeaderValue>), Refusal> {
    let invalid = |error: TargetError| refuse("request.host", 400, &error.to_string());
    let mut hosts = headers.get_all(header::HOST).iter();
    let (value, again) = (hosts.next().cloned(), hosts.next().is_some());
    if again {
        return Err(refuse("request.host", 400, "the request has more than one `host`"));
    }
    headers.remove(header::HOST);
    let host = match &value {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| invalid(TargetError::Authority))?),
    };
    let named = uri.authority().map(http::uri::Authority::as_str);
    let authority = match (named, host) {
        (None, None | Some("")) => return Ok((String::new(), None)),
        (Some(named), _) => normal_authority(named, scheme).map_err(invalid)?,
        (None, Some(host)) => normal_authority(host, scheme).map_err(invalid)?,
    };
    if let (Some(_), Some(host)) = (named, host)
        && uri.scheme().is_some()
        && normal_authority(host, scheme).map_err(invalid)? != authority
    {
        return Err(refuse("request.host", 400, "`host` and the target name two hosts"));
    }
    let value = match &value {
        Some(value) if *value == *authority => value.clone(),
        _ => HeaderValue::from_str(&authority).map_err(|_| invalid(TargetError::Authority))?,
    };
    Ok((text(authority), Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str, host: &str) -> Result<(String, Option<HeaderValue>), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        authority(&uri.parse().unwrap(), &mut headers, Scheme::Http)
    }

    #[test]
    fn the_host_that_chooses_a_listener_is_the_one_that_is_decoded() {
        for (uri, hosts, named) in [
            ("/a", &["Shop.Example:80"][..], Some("shop.example")),
            ("/a", &["shop.example:8080"], Some("shop.example:8080")),
            ("/a", &[], None),
            ("/a", &[""], None),
            ("/a", &["a.example", "b.example"], None),
            ("/a", &["a b"], None),
            ("http://a.example/", &["A.example.:80"], Some("a.example")),
            ("http://a.example/", &["b.example"], None),
            ("http://a.example/", &[], Some("a.example")),
        ] {
            let mut request = Request::get(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let request = request.body(RequestBody::default()).unwrap();
            assert_eq!(named_host(&request).as_deref(), named, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_host_has_one_form_wherever_it_is_named() {
        for host in ["Shop.Example:80", "shop.example.", "shop.example.:80", "shop.example:"] {
            let (authority, value) = of("/a", host).unwrap();
            assert_eq!(
                (&*authority, value.unwrap()),
                ("shop.example", "shop.example".parse().unwrap())
            );
        }
        assert_eq!(of("http://a.example/", "A.example.:80").unwrap().0, "a.example");
        assert_eq!(of("/a", "shop.example:8080").unwrap().0, "shop.example:8080");
    }

    #[test]
    fn a_method_in_another_case_than_servers_know_is_refused_and_any_other_passes() {
        for method in
            ["post", "Post", "gET", "head", "options", "cOnnect", "trace", "delete", "patch", "put"]
        {
            let refusal = check_method(&method.parse().unwrap()).unwrap_err();
            assert_eq!((refusal.code, refusal.status), ("request.method", 400), "{method}");
            assert!(
                refusal.detail.ends_with(&method.to_uppercase()),
                "{method}: {}",
                refusal.detail
            );
        }
        for method in ["POST", "PATCH", "PROPFIND", "propfind", "M-SEARCH", "posts", "x"] {
            assert!(check_method(&method.parse().unwrap()).is_ok(), "{method}");
        }
    }

    #[test]
    fn fields_of_http2_are_counted_and_their_values_have_no_blank_at_an_end() {
        let of = |value: &str| HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
        for (value, passes) in [
            ("1", true),
            ("", true),
            ("a b\tc", true),
            (" 1", false),
            ("1 ", false),
            ("\t1", false),
            ("1\t", false),
            (" ", false),
        ] {
            let checked = check_fields(&of(value), 1).map_err(|refusal| refusal.code);
            let wanted = if passes { Ok(()) } else { Err("http.field-value") };
            assert_eq!(checked, wanted, "{value:?}");
        }
        let mut many = of("1");
        many.append(header::ACCEPT, "2".parse().unwrap());
        let refusal = check_fields(&many, 1).unwrap_err();
        assert_eq!((refusal.code, refusal.status), ("http.head-too-large", 431));
        assert!(check_fields(&many, 2).is_ok());
        let mut crumbs = of("1");
        (0..9).for_each(|_| _ = crumbs.append(header::COOKIE, "a=1".parse().unwrap()));
        assert!(check_fields(&crumbs, 2).is_ok() && check_fields(&crumbs, 1).is_err());
    }

    #[test]
    fn two_hosts_and_user_info_are_refused() {
        assert_eq!(of("http://a.example/", "b.example").unwrap_err().code, "request.host");
        for host in ["me@a.example", "a b", "a..b", "a:x", "[::1"] {
            assert_eq!(of("/a", host).unwrap_err().code, "request.host", "{host}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "a".parse().unwrap());
        headers.append(header::HOST, "a".parse().unwrap());
        assert!(authority(&"/".parse().unwrap(), &mut headers, Scheme::Http).is_err());
    }
}
