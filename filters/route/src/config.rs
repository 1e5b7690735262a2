//! The configuration: routes with the rules of Gateway API v1, backends already resolved to services.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use tamis_sdk::GatewayDuration;

/// All routes of a generation; the order is the tie-breaker of the Gateway API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// Routes, the oldest first.
    pub routes: Vec<Route>,
}

/// One `HTTPRoute` or `GRPCRoute`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `namespace/name`.
    pub name: String,
    /// Which of the two kinds of match its rules have.
    #[serde(default)]
    pub kind: Kind,
    /// Exact names or `*.suffix`; empty: every host.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Rules in their order.
    #[serde(default)]
    pub rules: Vec<RouteRule>,
}

/// Kind of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Kind {
    /// Matches by path, method, headers and query.
    #[default]
    #[serde(rename = "HTTPRoute")]
    Http,
    /// Matches by gRPC service and method, and headers.
    #[serde(rename = "GRPCRoute")]
    Grpc,
}

/// One rule: any of its matches leads to its filters and backends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteRule {
    /// Its name; default: its index.
    pub name: Option<String>,
    /// Alternatives; empty: matches everything.
    #[serde(default)]
    pub matches: Vec<Match>,
    /// What happens to the request and the response.
    #[serde(default)]
    pub filters: Vec<RuleFilter>,
    /// Where requests are sent.
    #[serde(default)]
    pub backend_refs: Vec<RouteBackend>,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Match {
    /// Default: the prefix `/`.
    pub path: Option<PathMatcher>,
    /// HTTP method, or gRPC service and method.
    pub method: Option<MethodMatch>,
    /// Header conditions.
    #[serde(default)]
    pub headers: Vec<ValueMatcher>,
    /// Query parameter conditions.
    #[serde(default)]
    pub query_params: Vec<ValueMatcher>,
}

/// Condition on the path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathMatcher {
    /// How `value` is compared.
    #[serde(rename = "type", default)]
    pub kind: PathMatchKind,
    /// A path or an expression.
    #[serde(default = "root")]
    pub value: String,
}

fn root() -> String {
    "/".to_owned()
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PathMatchKind {
    /// Equal.
    Exact,
    /// Equal element by element up to the end of the value.
    #[default]
    PathPrefix,
    /// The whole path matches the expression.
    RegularExpression,
}

/// `"GET"` in an `HTTPRoute`, `{service, method}` in a `GRPCRoute`.
#[derive(Clone, Debug)]
pub enum MethodMatch {
    /// An HTTP method.
    Http(String),
    /// A gRPC method.
    Grpc(GrpcMethod),
}

/// Condition on the gRPC method.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcMethod {
    /// How both values are compared.
    #[serde(rename = "type", default)]
    pub kind: ValueKind,
    /// Full service name; `None`: any.
    pub service: Option<String>,
    /// Method name; `None`: any.
    pub method: Option<String>,
}

impl<'de> Deserialize<'de> for MethodMatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MethodVisitor)
    }
}

/// Distinguishes the two forms without buffering, so that errors keep their place.
struct MethodVisitor;

impl<'de> Visitor<'de> for MethodVisitor {
    type Value = MethodMatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP method, or an object with the gRPC service and method")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MethodMatch, E> {
        Ok(MethodMatch::Http(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MethodMatch, A::Error> {
        GrpcMethod::deserialize(MapAccessDeserializer::new(map)).map(MethodMatch::Grpc)
    }
}

/// Condition on a header or a query parameter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueMatcher {
    /// How `value` is compared.
    #[serde(rename = "type", default)]
    pub kind: ValueKind,
    /// Name of the header or parameter.
    pub name: String,
    /// A value or an expression.
    pub value: String,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ValueKind {
    /// Equal.
    #[default]
    Exact,
    /// The whole value matches the expression.
    RegularExpression,
}

/// One backend of a rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteBackend {
    /// `namespace/name:port`.
    pub service: String,
    /// Share among the backends of the rule; 0: no requests.
    #[serde(default = "one")]
    pub weight: u32,
    /// Applied to requests that are sent here, after those of the rule.
    #[serde(default)]
    pub filters: Vec<RuleFilter>,
}

fn one() -> u32 {
    1
}

/// Time limits of a rule; `0s`: no limit.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Timeouts {
    /// The whole exchange.
    pub request: Option<GatewayDuration>,
    /// Each attempt.
    pub backend_request: Option<GatewayDuration>,
}

/// One filter of a rule or backend; the field with the name of its type is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleFilter {
    /// Which field is set.
    #[serde(rename = "type")]
    pub kind: FilterKind,
    /// For `RequestHeaderModifier`.
    pub request_header_modifier: Option<HeaderEdits>,
    /// For `ResponseHeaderModifier`.
    pub response_header_modifier: Option<HeaderEdits>,
    /// For `RequestMirror`.
    pub request_mirror: Option<MirrorFilter>,
    /// For `RequestRedirect`.
    pub request_redirect: Option<RedirectFilter>,
    /// For `URLRewrite`.
    pub url_rewrite: Option<Rewrite>,
}

/// The filters of the Gateway API that a route policy implements itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum FilterKind {
    /// Changes request headers.
    RequestHeaderModifier,
    /// Changes response headers.
    ResponseHeaderModifier,
    /// Sends a copy to another service.
    RequestMirror,
    /// Answers with a redirect.
    RequestRedirect,
    /// Changes host and path.
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
}

/// Header changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdits {
    /// Replaces.
    #[serde(default)]
    pub set: Vec<Header>,
    /// Adds.
    #[serde(default)]
    pub add: Vec<Header>,
    /// Removes.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// One header.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name, any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A copy of requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MirrorFilter {
    /// Where the copy is sent.
    pub backend_ref: MirrorBackend,
    /// Share in percent, 0 to 100.
    pub percent: Option<u32>,
    /// Share as a fraction.
    pub fraction: Option<MirrorShare>,
}

/// Where mirrored requests are sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorBackend {
    /// `namespace/name:port`.
    pub service: String,
}

/// A share.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorShare {
    /// Numerator.
    pub numerator: u32,
    /// Denominator; default: 100.
    #[serde(default = "hundred")]
    pub denominator: u32,
}

fn hundred() -> u32 {
    100
}

/// A redirect; parts that are absent stay as in the request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedirectFilter {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host without port.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathChange>,
    /// Port; with a scheme and no port, the default port of that scheme.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308; default: 302.
    pub status_code: Option<u16>,
}

/// Changes of the host and path that are sent to the upstream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// New authority.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathChange>,
}

/// A new path; the query stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PathChange {
    /// Which field is set.
    #[serde(rename = "type")]
    pub kind: PathChangeKind,
    /// For `ReplaceFullPath`.
    pub replace_full_path: Option<String>,
    /// For `ReplacePrefixMatch`.
    pub replace_prefix_match: Option<String>,
}

/// How a path changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PathChangeKind {
    /// The complete path.
    ReplaceFullPath,
    /// The part a `PathPrefix` matched.
    ReplacePrefixMatch,
}
