//! `HTTPRoute` and `GRPCRoute`, field for field those of the Gateway API that the route policy carries out.

use crate::format::Millis;

words! {
    /// What a route hangs on.
    #[derive(Default)]
    pub enum ParentKind {
        /// A gateway.
        #[default]
        Gateway,
        /// A service: mesh traffic to it (GAMMA).
        Service,
    }
    /// What a backend is.
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
        /// Equal element by element up to the end of the value.
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
        /// Sends a copy elsewhere.
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
        /// What the prefix matched.
        ReplacePrefixMatch,
    }
}

shapes! {
    /// Routes HTTP requests.
    pub struct HttpRouteSpec {
        /// What it hangs on.
        #[schemars(length(min = 1))]
        pub parent_refs: Vec<ParentRef>,
        /// Hosts; none means all of the listener.
        #[serde(default)]
        #[schemars(extend("items" = { "type": "string", "format": "hostname" }))]
        pub hostnames: Vec<String>,
        /// Rules in their order.
        #[schemars(length(min = 1))]
        pub rules: Vec<HttpRouteRule>,
    }
    /// Routes gRPC calls.
    pub struct GrpcRouteSpec {
        /// What it hangs on.
        #[schemars(length(min = 1))]
        pub parent_refs: Vec<ParentRef>,
        /// Hosts; none means all of the listener.
        #[serde(default)]
        #[schemars(extend("items" = { "type": "string", "format": "hostname" }))]
        pub hostnames: Vec<String>,
        /// Rules in their order.
        #[schemars(length(min = 1))]
        pub rules: Vec<GrpcRouteRule>,
    }
    /// What a route hangs on.
    pub struct ParentRef {
        /// Group of the kind; taken as it is.
        pub group: Option<String>,
        /// `Gateway` when not said.
        #[serde(default)]
        pub kind: ParentKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// The route's when not said.
        pub namespace: Option<String>,
        /// One listener of a gateway.
        pub section_name: Option<String>,
        /// One port of a listener or service.
        pub port: Option<u16>,
    }
    /// One rule of an `HTTPRoute`.
    pub struct HttpRouteRule {
        /// Its name; its index when not said.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// Alternatives; none matches everything.
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
        /// Its name; its index when not said.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// Alternatives; none matches everything.
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
        /// On the path; the prefix `/` when not said.
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
        /// `PathPrefix` when not said.
        #[serde(rename = "type")]
        pub kind: Option<PathMatchType>,
        /// `/` when not said.
        pub value: Option<String>,
    }
    /// Condition on the gRPC method.
    pub struct GrpcMethodMatch {
        /// `Exact` when not said.
        #[serde(rename = "type")]
        pub kind: Option<ValueMatchType>,
        /// Full name of the service.
        pub service: Option<String>,
        /// Name of the method.
        pub method: Option<String>,
    }
    /// Condition on a header or query parameter.
    pub struct ValueMatch {
        /// `Exact` when not said.
        #[serde(rename = "type")]
        pub kind: Option<ValueMatchType>,
        /// Which.
        #[schemars(length(min = 1))]
        pub name: String,
        /// A value or an expression.
        pub value: String,
    }
    /// How long an exchange may take; `0s` is no limit.
    pub struct RouteTimeouts {
        /// The whole exchange.
        pub request: Option<Millis>,
        /// Each attempt.
        pub backend_request: Option<Millis>,
    }
    /// Where requests go.
    pub struct BackendRef {
        /// Group of the kind; taken as it is.
        pub group: Option<String>,
        /// `Service` when not said.
        #[serde(default)]
        pub kind: BackendKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// The route's when not said; another has to permit it by a `ReferenceGrant`.
        pub namespace: Option<String>,
        /// One of its ports; may be left out when it has just one.
        pub port: Option<u16>,
        /// Share among the backends of the rule; 1 when not said.
        pub weight: Option<u32>,
        /// For requests that go here.
        #[serde(default)]
        pub filters: Vec<RouteFilter>,
    }
    /// A filter of a rule or backend; the field named like its type is set.
    pub struct RouteFilter {
        /// Which field counts.
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
        /// Group of the kind; taken as it is.
        pub group: Option<String>,
        /// `Service` when not said.
        #[serde(default)]
        pub kind: BackendKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// The route's when not said; another has to permit it by a `ReferenceGrant`.
        pub namespace: Option<String>,
        /// One of its ports; may be left out when it has just one.
        pub port: Option<u16>,
    }
    /// A share.
    pub struct Fraction {
        /// Above the line.
        pub numerator: u32,
        /// Below the line; 100 when not said.
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
        /// 302 when not said.
        pub status_code: Option<u16>,
    }
    /// Where the upstream thinks it is asked.
    pub struct UrlRewrite {
        /// New authority.
        pub hostname: Option<String>,
        /// New path.
        pub path: Option<PathModifier>,
    }
    /// A new path.
    pub struct PathModifier {
        /// Which field counts.
        #[serde(rename = "type")]
        pub kind: PathModifierType,
        /// For `ReplaceFullPath`.
        pub replace_full_path: Option<String>,
        /// For `ReplacePrefixMatch`.
        pub replace_prefix_match: Option<String>,
    }
}
