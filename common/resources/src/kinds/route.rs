//! `HTTPRoute` and `GRPCRoute`, field by field as in the Gateway API, as far as the route policy implements
//! them.

use crate::format::Millis;

words! {
    /// What a route is attached to.
    #[derive(Default)]
    pub enum ParentKind {
        /// A gateway.
        #[default]
        Gateway,
        /// A service: mesh traffic to it (GAMMA).
        Service,
    }
    /// Kind of a backend.
    #[derive(Default)]
    pub enum BackendKind {
        /// A `Service`.
        #[default]
        Service,
    }
    /// How a path is compared.
    pub enum PathMatchType {
        /// Equal.
        Exact,
        /// Equal segment by segment up to the end of the value.
        PathPrefix,
        /// The whole path matches the expression.
        RegularExpression,
    }
    /// How a value is compared.
    pub enum ValueMatchType {
        /// Equal.
        Exact,
        /// The whole value matches the expression.
        RegularExpression,
    }
    /// Methods of HTTP.
    #[expect(missing_docs, reason = "RFC 9110 §9.3")]
    pub enum HttpMethod { GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH }
    /// What a filter of a rule does.
    pub enum RouteFilterType {
        /// Changes request headers.
        RequestHeaderModifier,
        /// Changes response headers.
        ResponseHeaderModifier,
        /// Sends a copy to another service.
        RequestMirror,
        /// Answers with a redirect.
        RequestRedirect,
        /// Changes host and path.
        URLRewrite,
    }
    /// How a path is changed.
    pub enum PathModifierType {
        /// The whole path.
        ReplaceFullPath,
        /// The part that the prefix matched.
        ReplacePrefixMatch,
    }
}

shown_as_written! { ParentKind }

shapes! {
    /// Routes HTTP requests.
    pub struct HttpRouteSpec {
        /// What it is attached to.
        #[schemars(length(min = 1, max = 32))]
        pub parent_refs: Vec<ParentRef>,
        /// Hosts; empty: all of the listener.
        #[serde(default)]
        #[schemars(length(max = 256), extend("items" = { "type": "string", "format": "hostname" }))]
        pub hostnames: Vec<String>,
        /// Rules in their order.
        #[schemars(length(min = 1))]
        pub rules: Vec<HttpRouteRule>,
    }
    /// Routes gRPC calls.
    pub struct GrpcRouteSpec {
        /// What it is attached to.
        #[schemars(length(min = 1, max = 32))]
        pub parent_refs: Vec<ParentRef>,
        /// Hosts; empty: all of the listener.
        #[serde(default)]
        #[schemars(length(max = 256), extend("items" = { "type": "string", "format": "hostname" }))]
        pub hostnames: Vec<String>,
        /// Rules in their order.
        #[schemars(length(min = 1))]
        pub rules: Vec<GrpcRouteRule>,
    }
    /// What a route is attached to.
    pub struct ParentRef {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Default: `Gateway`.
        #[serde(default)]
        pub kind: ParentKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// Default: the route's namespace.
        pub namespace: Option<String>,
        /// One listener of a gateway.
        pub section_name: Option<String>,
        /// One port of a listener or service.
        pub port: Option<u16>,
    }
    /// One rule of an `HTTPRoute`.
    pub struct HttpRouteRule {
        /// Its name; default: its index.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// Alternatives; without any, the rule matches everything.
        #[serde(default)]
        pub matches: Vec<HttpMatch>,
        /// What happens to request and response.
        #[serde(default)]
        pub filters: Vec<RouteFilter>,
        /// Where requests go.
        #[serde(default)]
        pub backend_refs: Vec<BackendRef>,
        /// How long they may take.
        pub timeouts: Option<RouteTimeouts>,
    }
    /// One rule of a `GRPCRoute`.
    pub struct GrpcRouteRule {
        /// Its name; default: its index.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// Alternatives; without any, the rule matches everything.
        #[serde(default)]
        pub matches: Vec<GrpcMatch>,
        /// What happens to request and response.
        #[serde(default)]
        pub filters: Vec<RouteFilter>,
        /// Where calls go.
        #[serde(default)]
        pub backend_refs: Vec<BackendRef>,
    }
    /// Conditions that must all hold.
    pub struct HttpMatch {
        /// On the path; default: the prefix `/`.
        pub path: Option<PathMatch>,
        /// On the method.
        pub method: Option<HttpMethod>,
        /// On headers.
        #[serde(default)]
        pub headers: Vec<ValueMatch>,
        /// On query parameters.
        #[serde(default)]
        pub query_params: Vec<ValueMatch>,
    }
    /// Conditions that must all hold.
    pub struct GrpcMatch {
        /// On service and method.
        pub method: Option<GrpcMethodMatch>,
        /// On headers.
        #[serde(default)]
        pub headers: Vec<ValueMatch>,
    }
    /// Condition on the path.
    pub struct PathMatch {
        /// Default: `PathPrefix`.
        #[serde(rename = "type")]
        pub kind: Option<PathMatchType>,
        /// Default: `/`.
        pub value: Option<String>,
    }
    /// Condition on the gRPC method.
    pub struct GrpcMethodMatch {
        /// Default: `Exact`.
        #[serde(rename = "type")]
        pub kind: Option<ValueMatchType>,
        /// Full name of the service.
        pub service: Option<String>,
        /// Name of the method.
        pub method: Option<String>,
    }
    /// Condition on a header or query parameter.
    pub struct ValueMatch {
        /// Default: `Exact`.
        #[serde(rename = "type")]
        pub kind: Option<ValueMatchType>,
        /// Its name.
        #[schemars(length(min = 1))]
        pub name: String,
        /// A value or an expression.
        pub value: String,
    }
    /// Time limits of an exchange; `0s` means no limit.
    pub struct RouteTimeouts {
        /// The whole exchange.
        pub request: Option<Millis>,
        /// Each attempt.
        pub backend_request: Option<Millis>,
    }
    /// Where requests go.
    pub struct BackendRef {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Default: `Service`.
        #[serde(default)]
        pub kind: BackendKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// Default: the route's namespace; another one must permit it by a `ReferenceGrant`.
        pub namespace: Option<String>,
        /// One of its ports; optional if it has only one.
        pub port: Option<u16>,
        /// Share among the backends of the rule; default: 1.
        pub weight: Option<u32>,
        /// For requests that go here.
        #[serde(default)]
        pub filters: Vec<RouteFilter>,
    }
    /// A filter of a rule or backend; the field named like its type is set.
    pub struct RouteFilter {
        /// Which of the following fields is used.
        #[serde(rename = "type")]
        pub kind: RouteFilterType,
        /// For `RequestHeaderModifier`.
        pub request_header_modifier: Option<HeaderModifier>,
        /// For `ResponseHeaderModifier`.
        pub response_header_modifier: Option<HeaderModifier>,
        /// For `RequestMirror`.
        pub request_mirror: Option<RequestMirror>,
        /// For `RequestRedirect`.
        pub request_redirect: Option<RequestRedirect>,
        /// For `URLRewrite`.
        pub url_rewrite: Option<UrlRewrite>,
    }
    /// Header changes.
    pub struct HeaderModifier {
        /// Replaces.
        #[serde(default)]
        pub set: Vec<HeaderValue>,
        /// Adds.
        #[serde(default)]
        pub add: Vec<HeaderValue>,
        /// Removes.
        #[serde(default)]
        pub remove: Vec<String>,
    }
    /// A header.
    pub struct HeaderValue {
        /// Its name.
        #[schemars(length(min = 1))]
        pub name: String,
        /// Its value.
        pub value: String,
    }
    /// A copy of requests.
    pub struct RequestMirror {
        /// Where it goes.
        pub backend_ref: MirrorRef,
        /// Share in percent.
        #[schemars(range(max = 100))]
        pub percent: Option<u32>,
        /// Share as a fraction.
        pub fraction: Option<Fraction>,
    }
    /// Where copies go.
    pub struct MirrorRef {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Default: `Service`.
        #[serde(default)]
        pub kind: BackendKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// Default: the route's namespace; another one must permit it by a `ReferenceGrant`.
        pub namespace: Option<String>,
        /// One of its ports; optional if it has only one.
        pub port: Option<u16>,
    }
    /// A share.
    pub struct Fraction {
        /// Numerator.
        pub numerator: u32,
        /// Denominator; default: 100.
        #[schemars(range(min = 1))]
        pub denominator: Option<u32>,
    }
    /// A redirect.
    pub struct RequestRedirect {
        /// `http` or `https`.
        pub scheme: Option<String>,
        /// Host without port.
        pub hostname: Option<String>,
        /// New path.
        pub path: Option<PathModifier>,
        /// New port.
        pub port: Option<u16>,
        /// Default: 302.
        pub status_code: Option<u16>,
    }
    /// Changes host and path for the upstream.
    pub struct UrlRewrite {
        /// New authority.
        pub hostname: Option<String>,
        /// New path.
        pub path: Option<PathModifier>,
    }
    /// A new path.
    pub struct PathModifier {
        /// Which of the following fields is used.
        #[serde(rename = "type")]
        pub kind: PathModifierType,
        /// For `ReplaceFullPath`.
        pub replace_full_path: Option<String>,
        /// For `ReplacePrefixMatch`.
        pub replace_prefix_match: Option<String>,
    }
}

/// The path of the calls that a match asks for: a call is a request for `/SERVICE/METHOD` (gRPC over HTTP/2,
/// "Requests"), so two routes may ask for the same requests in two ways. `None`: all calls.
pub(crate) fn call_path(wanted: Option<&GrpcMethodMatch>) -> (PathMatchType, String) {
    let named = |part: Option<&String>| part.filter(|name| !name.is_empty()).cloned();
    let is_exact = |one: &GrpcMethodMatch| one.kind != Some(ValueMatchType::RegularExpression);
    let exact = wanted.is_none_or(is_exact);
    let service = named(wanted.and_then(|one| one.service.as_ref()));
    let method = named(wanted.and_then(|one| one.method.as_ref()));
    let expression = |part: String| match (exact, part.contains('|')) {
        (true, _) => literal(&part),
        (false, true) => format!("(?:{part})"),
        (false, false) => part,
    };
    match (service, method) {
        (None, None) => (PathMatchType::PathPrefix, "/".to_owned()),
        (Some(service), Some(method)) if exact => {
            (PathMatchType::Exact, format!("/{service}/{method}"))
        }
        (Some(service), None) if exact => (PathMatchType::PathPrefix, format!("/{service}")),
        (service, method) => {
            let service = service.map_or_else(|| ANY_SERVICE.to_owned(), &expression);
            let method = method.map_or_else(|| "[^/]*".to_owned(), &expression);
            (PathMatchType::RegularExpression, format!("/{service}/{method}"))
        }
    }
}

/// The expression for a service that nobody names.
const ANY_SERVICE: &str = "[^/]+";

/// An expression for exactly this text.
fn literal(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    text.chars().fold(String::new(), |mut escaped, c| {
        if !plain(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}
