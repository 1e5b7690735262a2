//! What a document touches: everything to which the author needs a right before the document may be
//! written.
//!
//! Every field of every kind has a rule here that states what the field names. The rules are data:
//! [`Document::touches`] follows them, and a test walks the schemas of all kinds and fails for a field
//! without a rule. So a field that is added later cannot silently name what belongs to others.

use serde_json::Value as Json;

use crate::document::Document;

/// What a field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldReferent {
    /// Nothing that belongs to anybody: numbers, words, conditions on traffic.
    Nothing,
    /// The document itself, or a part of it or of what its references name.
    Itself,
    /// What everybody may use: a filter of the catalogue, a key of a trust policy, a file or socket on the
    /// machine of the document's own proxy.
    Common,
    /// A document by its name. Of this kind, or of the kind in the neighbouring field `kind`; in the
    /// document's own namespace, or in the one in the neighbouring field `namespace`.
    Reference(&'static str),
    /// A part of a neighbouring [`FieldReferent::Reference`].
    OfReference,
    /// The kind of a target. `Mesh` means every proxy of every owner.
    Target,
    /// A service or gateway as `namespace/name`, or `*` for those of every owner.
    Service,
    /// Filters by a pattern or a name: what is decided about them applies wherever they run.
    Filters,
    /// A file that is applied with the documents, by its path.
    File,
    /// A free form in which `jwks: {file: PATH}` names such files.
    Configuration,
    /// The SPIFFE id that a proxy proves and its peers require.
    Identity,
    /// A socket that requests are sent to.
    Socket,
    /// A host whose requests a route takes.
    Host,
    /// A repository of artifacts.
    Repository,
}

/// Something that a document touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The place in the document.
    pub pointer: String,
    /// What it is.
    pub what: TouchTarget,
}

/// What a document touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TouchTarget {
    /// A document, service or repository.
    Place {
        /// Its kind.
        kind: String,
        /// Its `namespace/name`.
        key: String,
    },
    /// Every proxy of every owner.
    Mesh,
    /// The rights or trusted keys of filters with this pattern or name.
    Filters(String),
    /// The content of a file, by its path.
    File(String),
    /// A SPIFFE id that a proxy may prove.
    Identity(String),
    /// An address to which requests are sent.
    Socket(String),
    /// A host whose requests a route claims.
    Host(String),
}

/// Fields of `metadata`.
const METADATA: &[(&str, FieldReferent)] = &[
    ("/name", FieldReferent::Itself),
    ("/namespace", FieldReferent::Itself),
    ("/labels/{}", FieldReferent::Nothing),
    ("/annotations/{}", FieldReferent::Nothing),
    ("/creationTimestamp", FieldReferent::Nothing),
];

/// Fields of a reference to a document, in which `name` comes first.
const fn reference(kind: &'static str) -> [(&'static str, FieldReferent); 4] {
    [
        ("/name", FieldReferent::Reference(kind)),
        ("/group", FieldReferent::OfReference),
        ("/kind", FieldReferent::OfReference),
        ("/namespace", FieldReferent::OfReference),
    ]
}

/// Paths of PEM files on the machine of the proxy.
const IDENTITY_FILES: &[(&str, FieldReferent)] = &[
    ("/certificate", FieldReferent::Common),
    ("/key", FieldReferent::Common),
    ("/ca", FieldReferent::Common),
];

const GATEWAY: &[(&str, FieldReferent)] = &[
    ("/gatewayClassName", FieldReferent::Common),
    ("/listeners/*/name", FieldReferent::Itself),
    ("/listeners/*/port", FieldReferent::Common),
    ("/listeners/*/protocol", FieldReferent::Nothing),
    ("/listeners/*/hostname", FieldReferent::Nothing),
    ("/listeners/*/upgrades/*", FieldReferent::Nothing),
    ("/listeners/*/reasons", FieldReferent::Nothing),
    ("/listeners/*/grpcWeb", FieldReferent::Nothing),
    ("/listeners/*/interimResponses", FieldReferent::Nothing),
    ("/listeners/*/paths/emptySegments", FieldReferent::Nothing),
    ("/listeners/*/paths/escapedSlashes", FieldReferent::Nothing),
    ("/listeners/*/paths/parameters", FieldReferent::Nothing),
    ("/listeners/*/paths/escapes", FieldReferent::Nothing),
    // Whom the author's own listener believes.
    ("/listeners/*/clientAddress/field", FieldReferent::Nothing),
    ("/listeners/*/clientAddress/trusted/*", FieldReferent::Nothing),
    ("/listeners/*/clientAddress/hops", FieldReferent::Nothing),
    ("/listeners/*/proxyProtocol/trusted/*", FieldReferent::Nothing),
    ("/listeners/*/http3/advertise", FieldReferent::Nothing),
    ("/listeners/*/http3/maxAge", FieldReferent::Nothing),
    ("/listeners/*/idleTimeout", FieldReferent::Nothing),
    ("/listeners/*/maxConnections", FieldReferent::Nothing),
    ("/listeners/*/tls/mode", FieldReferent::Nothing),
    ("/listeners/*/tls/acme", FieldReferent::Nothing),
    ("/listeners/*/tls/certificate", FieldReferent::Common),
    ("/listeners/*/tls/key", FieldReferent::Common),
    ("/listeners/*/tls/clientCa", FieldReferent::Common),
    // Opens the author's own listener to others.
    ("/listeners/*/allowedRoutes/namespaces/from", FieldReferent::Nothing),
    ("/listeners/*/allowedRoutes/kinds/*/group", FieldReferent::Nothing),
    ("/listeners/*/allowedRoutes/kinds/*/kind", FieldReferent::Nothing),
    ("/addresses/*/type", FieldReferent::Nothing),
    ("/addresses/*/value", FieldReferent::Common),
    ("/identity", FieldReferent::Identity),
    // Whom the author's own gateway asks for certificates; that server decides whose a host is.
    ("/acme/directory", FieldReferent::Common),
    ("/acme/contact/*", FieldReferent::Nothing),
    ("/acme/termsOfServiceAgreed", FieldReferent::Nothing),
    ("/acme/ca", FieldReferent::File),
    ("/admin", FieldReferent::Common),
];

const SERVICE: &[(&str, FieldReferent)] = &[
    ("/ports/*/name", FieldReferent::Itself),
    ("/ports/*/port", FieldReferent::Nothing),
    ("/ports/*/protocol", FieldReferent::Nothing),
    ("/ports/*/idleTimeout", FieldReferent::Nothing),
    ("/ports/*/maxConnections", FieldReferent::Nothing),
    ("/ports/*/proxyProtocol", FieldReferent::Nothing),
    ("/identity", FieldReferent::Identity),
    // Whom the author's own service serves; that it is more than before is growth, which needs approval.
    ("/mtls", FieldReferent::Nothing),
    ("/upgrades/*", FieldReferent::Nothing),
    ("/endpoints/*/address", FieldReferent::Socket),
    ("/endpoints/*/weight", FieldReferent::Nothing),
    ("/endpoints/*/sidecar", FieldReferent::Socket),
    ("/endpoints/*/ports/*/port", FieldReferent::Nothing),
    ("/endpoints/*/ports/*/address", FieldReferent::Socket),
    ("/endpoints/*/outbound", FieldReferent::Common),
    ("/endpoints/*/outboundTcp/*/address", FieldReferent::Common),
    // As with HTTP, anybody may call: the called service's own sidecar decides who gets through.
    ("/endpoints/*/outboundTcp/*/name", FieldReferent::Nothing),
    ("/endpoints/*/outboundTcp/*/namespace", FieldReferent::Nothing),
    ("/endpoints/*/outboundTcp/*/port", FieldReferent::Nothing),
    ("/endpoints/*/capture/outbound/*", FieldReferent::Common),
    ("/endpoints/*/capture/dns/*", FieldReferent::Common),
    // What the author's own application may reach.
    ("/endpoints/*/capture/egress", FieldReferent::Nothing),
    ("/endpoints/*/admin", FieldReferent::Common),
];

const EXTERNAL_SERVICE: &[(&str, FieldReferent)] = &[
    // What applications of the author's own namespace may reach.
    ("/hosts/*", FieldReferent::Nothing),
    ("/ports/*/port", FieldReferent::Nothing),
    ("/ports/*/protocol", FieldReferent::Nothing),
    ("/addresses/*", FieldReferent::Nothing),
    ("/ports/*/tls/port", FieldReferent::Nothing),
    ("/ports/*/tls/caCertificateRefs/*/group", FieldReferent::Nothing),
    ("/ports/*/tls/caCertificateRefs/*/kind", FieldReferent::Nothing),
    ("/ports/*/tls/caCertificateRefs/*/name", FieldReferent::File),
    // What the certificate of the host must say.
    ("/ports/*/tls/hostname", FieldReferent::Nothing),
    ("/ports/*/tls/subjectAltNames/*/type", FieldReferent::Nothing),
    ("/ports/*/tls/subjectAltNames/*/hostname", FieldReferent::Nothing),
    ("/ports/*/tls/subjectAltNames/*/uri", FieldReferent::Nothing),
    ("/ports/*/tls/identity", FieldReferent::Nothing),
];

/// Whom the whole mesh recognises: its place in the namespaces of security decides who may write that.
const FEDERATED_TRUST_DOMAIN: &[(&str, FieldReferent)] = &[
    ("/trustDomain", FieldReferent::Itself),
    ("/bundle", FieldReferent::Nothing),
    ("/bundleRef/group", FieldReferent::Nothing),
    ("/bundleRef/kind", FieldReferent::Nothing),
    ("/bundleRef/name", FieldReferent::File),
];

const PARENT: &[(&str, FieldReferent)] =
    &[("/sectionName", FieldReferent::Itself), ("/port", FieldReferent::Nothing)];

const HTTP_RULE: &[(&str, FieldReferent)] = &[
    ("/name", FieldReferent::Itself),
    ("/matches/*/path/type", FieldReferent::Nothing),
    ("/matches/*/path/value", FieldReferent::Nothing),
    ("/matches/*/method", FieldReferent::Nothing),
    ("/matches/*/headers/*/type", FieldReferent::Nothing),
    ("/matches/*/headers/*/name", FieldReferent::Nothing),
    ("/matches/*/headers/*/value", FieldReferent::Nothing),
    ("/matches/*/queryParams/*/type", FieldReferent::Nothing),
    ("/matches/*/queryParams/*/name", FieldReferent::Nothing),
    ("/matches/*/queryParams/*/value", FieldReferent::Nothing),
    ("/timeouts/request", FieldReferent::Nothing),
    ("/timeouts/backendRequest", FieldReferent::Nothing),
];

const GRPC_RULE: &[(&str, FieldReferent)] = &[
    ("/name", FieldReferent::Itself),
    ("/matches/*/method/type", FieldReferent::Nothing),
    ("/matches/*/method/service", FieldReferent::Nothing),
    ("/matches/*/method/method", FieldReferent::Nothing),
    ("/matches/*/headers/*/type", FieldReferent::Nothing),
    ("/matches/*/headers/*/name", FieldReferent::Nothing),
    ("/matches/*/headers/*/value", FieldReferent::Nothing),
];

const BACKEND: &[(&str, FieldReferent)] =
    &[("/port", FieldReferent::Nothing), ("/weight", FieldReferent::Nothing)];

const ROUTE_FILTER: &[(&str, FieldReferent)] = &[
    ("/type", FieldReferent::Nothing),
    ("/requestHeaderModifier/set/*/name", FieldReferent::Nothing),
    ("/requestHeaderModifier/set/*/value", FieldReferent::Nothing),
    ("/requestHeaderModifier/add/*/name", FieldReferent::Nothing),
    ("/requestHeaderModifier/add/*/value", FieldReferent::Nothing),
    ("/requestHeaderModifier/remove/*", FieldReferent::Nothing),
    ("/responseHeaderModifier/set/*/name", FieldReferent::Nothing),
    ("/responseHeaderModifier/set/*/value", FieldReferent::Nothing),
    ("/responseHeaderModifier/add/*/name", FieldReferent::Nothing),
    ("/responseHeaderModifier/add/*/value", FieldReferent::Nothing),
    ("/responseHeaderModifier/remove/*", FieldReferent::Nothing),
    ("/requestMirror/backendRef/port", FieldReferent::Nothing),
    ("/requestMirror/percent", FieldReferent::Nothing),
    ("/requestMirror/fraction/numerator", FieldReferent::Nothing),
    ("/requestMirror/fraction/denominator", FieldReferent::Nothing),
    // Where the client is redirected; the mesh sends nothing there.
    ("/requestRedirect/scheme", FieldReferent::Nothing),
    ("/requestRedirect/hostname", FieldReferent::Nothing),
    ("/requestRedirect/path/type", FieldReferent::Nothing),
    ("/requestRedirect/path/replaceFullPath", FieldReferent::Nothing),
    ("/requestRedirect/path/replacePrefixMatch", FieldReferent::Nothing),
    ("/requestRedirect/port", FieldReferent::Nothing),
    ("/requestRedirect/statusCode", FieldReferent::Nothing),
    // Sent to the backend, which another field names.
    ("/urlRewrite/hostname", FieldReferent::Nothing),
    ("/urlRewrite/path/type", FieldReferent::Nothing),
    ("/urlRewrite/path/replaceFullPath", FieldReferent::Nothing),
    ("/urlRewrite/path/replacePrefixMatch", FieldReferent::Nothing),
];

const FILTER: &[(&str, FieldReferent)] = &[
    ("/world", FieldReferent::Nothing),
    ("/receives", FieldReferent::Nothing),
    ("/repository", FieldReferent::Repository),
    ("/description", FieldReferent::Nothing),
    ("/configSchema", FieldReferent::Nothing),
];

const ATTACHMENT: &[(&str, FieldReferent)] = &[
    ("/targetRefs/*/group", FieldReferent::OfReference),
    ("/targetRefs/*/kind", FieldReferent::Target),
    ("/targetRefs/*/name", FieldReferent::Reference("Gateway")),
    ("/targetRefs/*/sectionName", FieldReferent::Itself),
    // What a filter may do is set by its Grant, not by who attaches it.
    ("/filter", FieldReferent::Common),
    ("/phase", FieldReferent::Nothing),
    ("/order", FieldReferent::Nothing),
    ("/direction", FieldReferent::Nothing),
    ("/config", FieldReferent::Configuration),
    ("/extend", FieldReferent::Nothing),
    ("/onFailure", FieldReferent::Nothing),
    ("/isolation", FieldReferent::Nothing),
];

const AUTHORIZATION_POLICY: &[(&str, FieldReferent)] = &[
    ("/targetRefs/*/group", FieldReferent::OfReference),
    ("/targetRefs/*/kind", FieldReferent::Target),
    ("/targetRefs/*/name", FieldReferent::Reference("Service")),
    ("/targetRefs/*/sectionName", FieldReferent::Itself),
    ("/mode", FieldReferent::Nothing),
    ("/cedar/policies", FieldReferent::Nothing),
    ("/cedar/file", FieldReferent::File),
    ("/cedar/headers/*", FieldReferent::Nothing),
    ("/cedar/claims/*", FieldReferent::Nothing),
];

/// Who may pass, of the clients of the targets: the identities are compared, not claimed.
const ACCESS_RULE: &[(&str, FieldReferent)] = &[
    ("/name", FieldReferent::Itself),
    ("/identities/*", FieldReferent::Nothing),
    ("/addresses/*", FieldReferent::Nothing),
    ("/methods/*", FieldReferent::Nothing),
    ("/paths/*/type", FieldReferent::Nothing),
    ("/paths/*/value", FieldReferent::Nothing),
    ("/ports/*", FieldReferent::Nothing),
    ("/headers/*/name", FieldReferent::Nothing),
    ("/headers/*/values/*", FieldReferent::Nothing),
    ("/claims/*/name", FieldReferent::Nothing),
    ("/claims/*/values/*", FieldReferent::Nothing),
];

const GRANT: &[(&str, FieldReferent)] = &[
    ("/filter", FieldReferent::Filters),
    ("/signedBy/keys/*", FieldReferent::Common),
    ("/signedBy/threshold", FieldReferent::Nothing),
    ("/imports/http-client/hosts/*", FieldReferent::Common),
    ("/imports/http-client/services/*", FieldReferent::Service),
    ("/imports/http-client/timeout", FieldReferent::Nothing),
    ("/imports/http-client/perMinute", FieldReferent::Nothing),
    ("/imports/http-client/maxBytes", FieldReferent::Nothing),
    ("/imports/http-client/duringRequests", FieldReferent::Nothing),
    ("/imports/http-client/hooks/*", FieldReferent::Nothing),
    ("/imports/http-client/concurrent", FieldReferent::Nothing),
    ("/imports/http-client/cache/ttl", FieldReferent::Nothing),
    ("/imports/http-client/cache/headers/*", FieldReferent::Nothing),
    ("/imports/http-client/cache/entries", FieldReferent::Nothing),
    ("/imports/http-client/cache/totalBytes", FieldReferent::Nothing),
    ("/imports/http-client/clearText", FieldReferent::Nothing),
    // The text itself, no name of a file: nobody else writes it.
    ("/imports/http-client/ca", FieldReferent::Nothing),
    ("/imports/kv/entries", FieldReferent::Nothing),
    ("/imports/kv/keyBytes", FieldReferent::Nothing),
    ("/imports/kv/totalBytes", FieldReferent::Nothing),
    ("/imports/kv/valueBytes", FieldReferent::Nothing),
    ("/imports/exchange-state/entries", FieldReferent::Nothing),
    ("/imports/exchange-state/bytes", FieldReferent::Nothing),
    ("/imports/exchange-state/totalBytes", FieldReferent::Nothing),
    ("/imports/quota/classes/{}/rate", FieldReferent::Nothing),
    ("/imports/quota/classes/{}/burst", FieldReferent::Nothing),
    ("/imports/quota/scope", FieldReferent::Nothing),
    ("/imports/quota/keys", FieldReferent::Nothing),
    ("/imports/quota/keyBytes", FieldReferent::Nothing),
    ("/imports/quota/totalBytes", FieldReferent::Nothing),
    ("/imports/secrets/names/*", FieldReferent::Common),
    ("/imports/secrets/reveal", FieldReferent::Nothing),
    ("/imports/log/perSecond", FieldReferent::Nothing),
    ("/imports/log/maxBytes", FieldReferent::Nothing),
    ("/imports/metrics/series", FieldReferent::Nothing),
    ("/imports/metrics/metrics", FieldReferent::Nothing),
    ("/imports/clock", FieldReferent::Nothing),
    ("/imports/random", FieldReferent::Nothing),
    ("/imports/crypto", FieldReferent::Nothing),
    ("/imports/passwords/concurrent", FieldReferent::Nothing),
    ("/imports/counters/scope", FieldReferent::Nothing),
    ("/imports/counters/keys", FieldReferent::Nothing),
    ("/imports/counters/keyBytes", FieldReferent::Nothing),
    ("/imports/counters/totalBytes", FieldReferent::Nothing),
    ("/imports/spans/perSecond", FieldReferent::Nothing),
    ("/imports/spans/maxBytes", FieldReferent::Nothing),
    ("/imports/spans/bytesPerSecond", FieldReferent::Nothing),
    ("/imports/records/perSecond", FieldReferent::Nothing),
    ("/imports/records/maxBytes", FieldReferent::Nothing),
    ("/imports/records/bytesPerSecond", FieldReferent::Nothing),
    ("/limits/time", FieldReferent::Nothing),
    ("/limits/configure", FieldReferent::Nothing),
    ("/limits/memory", FieldReferent::Nothing),
    ("/limits/body", FieldReferent::Nothing),
];

const GRANTED_VIEW: &[(&str, FieldReferent)] = &[
    ("/readHeaders/*", FieldReferent::Nothing),
    ("/writeHeaders/*", FieldReferent::Nothing),
    ("/readTrailers/*", FieldReferent::Nothing),
    ("/writeTrailers/*", FieldReferent::Nothing),
    ("/attributes/*", FieldReferent::Nothing),
    ("/writeAttributes/*", FieldReferent::Nothing),
    ("/body", FieldReferent::Nothing),
];

const TRUST_POLICY: &[(&str, FieldReferent)] = &[
    ("/namespaces/*", FieldReferent::Filters),
    ("/keys/*/name", FieldReferent::Itself),
    ("/keys/*/publicKey", FieldReferent::Nothing),
    ("/keys/*/publicKeyFile", FieldReferent::File),
    ("/keys/*/notBefore", FieldReferent::Nothing),
    ("/keys/*/expires", FieldReferent::Nothing),
    ("/threshold", FieldReferent::Nothing),
    ("/floorVersions/{}", FieldReferent::Filters),
    ("/revokedDigests/*", FieldReferent::Nothing),
    ("/revokedKeys/*", FieldReferent::Nothing),
    ("/revokedKeys/*/key", FieldReferent::Nothing),
    ("/revokedKeys/*/fromIndex", FieldReferent::Nothing),
    ("/stalenessBound", FieldReferent::Nothing),
];

const UPSTREAM_POLICY: &[(&str, FieldReferent)] = &[
    ("/targetRefs/*/group", FieldReferent::OfReference),
    ("/targetRefs/*/kind", FieldReferent::OfReference),
    ("/targetRefs/*/name", FieldReferent::Reference("Service")),
    ("/loadBalancing/algorithm", FieldReferent::Nothing),
    ("/loadBalancing/hashHeader", FieldReferent::Nothing),
    ("/maxResponseFields", FieldReferent::Nothing),
    ("/maxResponseHeadBytes", FieldReferent::Nothing),
    ("/ejection/maxPercent", FieldReferent::Nothing),
    ("/ejection/panicThreshold", FieldReferent::Nothing),
    ("/connectTimeout", FieldReferent::Nothing),
    ("/idleTimeout", FieldReferent::Nothing),
    ("/maxConnections", FieldReferent::Nothing),
    ("/maxPending", FieldReferent::Nothing),
    ("/maxRequests", FieldReferent::Nothing),
    ("/slowCall", FieldReferent::Nothing),
    ("/statsWindow", FieldReferent::Nothing),
    ("/retryBudget/percent", FieldReferent::Nothing),
    ("/retryBudget/minPerSecond", FieldReferent::Nothing),
    ("/keepAlive", FieldReferent::Nothing),
];

const BACKEND_TLS_POLICY: &[(&str, FieldReferent)] = &[
    ("/targetRefs/*/group", FieldReferent::OfReference),
    ("/targetRefs/*/kind", FieldReferent::OfReference),
    ("/targetRefs/*/name", FieldReferent::Reference("Service")),
    ("/targetRefs/*/sectionName", FieldReferent::OfReference),
    ("/validation/caCertificateRefs/*/group", FieldReferent::Nothing),
    ("/validation/caCertificateRefs/*/kind", FieldReferent::Nothing),
    ("/validation/caCertificateRefs/*/name", FieldReferent::File),
    ("/validation/wellKnownCACertificates", FieldReferent::Common),
    // What the certificate of the author's own service must say.
    ("/validation/hostname", FieldReferent::Nothing),
    ("/validation/subjectAltNames/*/type", FieldReferent::Nothing),
    ("/validation/subjectAltNames/*/hostname", FieldReferent::Nothing),
    ("/validation/subjectAltNames/*/uri", FieldReferent::Nothing),
];

const REFERENCE_GRANT: &[(&str, FieldReferent)] = &[
    // Opens the author's own documents to others.
    ("/from/*/group", FieldReferent::Nothing),
    ("/from/*/kind", FieldReferent::Nothing),
    ("/from/*/namespace", FieldReferent::Nothing),
    ("/to/*/group", FieldReferent::Nothing),
    ("/to/*/kind", FieldReferent::Nothing),
    ("/to/*/name", FieldReferent::Itself),
];

const ROLLOUT: &[(&str, FieldReferent)] = &[
    ("/filter", FieldReferent::Common),
    ("/from", FieldReferent::Nothing),
    ("/version", FieldReferent::Nothing),
    ("/digest", FieldReferent::Nothing),
    ("/services/*", FieldReferent::Service),
    ("/waves/*/percent", FieldReferent::Nothing),
    ("/waves/*/bake", FieldReferent::Nothing),
    ("/gates/minExchanges", FieldReferent::Nothing),
    ("/gates/maxTrapRate", FieldReferent::Nothing),
    ("/gates/max5xxDelta", FieldReferent::Nothing),
    ("/gates/maxDenialDelta", FieldReferent::Nothing),
    ("/gates/maxAddedP99Ms", FieldReferent::Nothing),
    ("/gates/maxRefusals", FieldReferent::Nothing),
    ("/progressDeadline", FieldReferent::Nothing),
    ("/shadow/minSamples", FieldReferent::Nothing),
    ("/shadow/maxDifferences", FieldReferent::Nothing),
    ("/onBreach", FieldReferent::Nothing),
];

const LOCK: &[(&str, FieldReferent)] = &[
    ("/service", FieldReferent::Service),
    ("/filter", FieldReferent::Common),
    ("/version", FieldReferent::Nothing),
    ("/digest", FieldReferent::Nothing),
];

/// The fields of a kind and what each names, as pointers in which `*` is an item of a list and `{}` an
/// entry of a map. `None` for an unknown kind.
#[must_use]
pub fn names(kind: &str) -> Option<Vec<(String, FieldReferent)>> {
    let mut all = Vec::new();
    if kind == crate::kinds::LOCK {
        nest(&mut all, "/filters/*", LOCK);
        return Some(all);
    }
    nest(&mut all, "/metadata", METADATA);
    match kind {
        "Gateway" => {
            nest(&mut all, "/spec", GATEWAY);
            nest(&mut all, "/spec/tls", IDENTITY_FILES);
        }
        "Service" => {
            nest(&mut all, "/spec", SERVICE);
            nest(&mut all, "/spec/tls", IDENTITY_FILES);
        }
        "ExternalService" => nest(&mut all, "/spec", EXTERNAL_SERVICE),
        "FederatedTrustDomain" => nest(&mut all, "/spec", FEDERATED_TRUST_DOMAIN),
        "HTTPRoute" => route(&mut all, HTTP_RULE),
        "GRPCRoute" => route(&mut all, GRPC_RULE),
        "TLSRoute" => {
            all.push(("/spec/hostnames/*".to_owned(), FieldReferent::Host));
            stream_route(&mut all);
        }
        "TCPRoute" | "UDPRoute" => stream_route(&mut all),
        "Filter" => nest(&mut all, "/spec", FILTER),
        "FilterAttachment" => nest(&mut all, "/spec", ATTACHMENT),
        "Grant" => {
            nest(&mut all, "/spec", GRANT);
            nest(&mut all, "/spec/request", GRANTED_VIEW);
            nest(&mut all, "/spec/response", GRANTED_VIEW);
        }
        "TrustPolicy" => nest(&mut all, "/spec", TRUST_POLICY),
        "AuthorizationPolicy" => {
            nest(&mut all, "/spec", AUTHORIZATION_POLICY);
            nest(&mut all, "/spec/allow/*", ACCESS_RULE);
            nest(&mut all, "/spec/deny/*", ACCESS_RULE);
        }
        "UpstreamPolicy" => nest(&mut all, "/spec", UPSTREAM_POLICY),
        "BackendTLSPolicy" => nest(&mut all, "/spec", BACKEND_TLS_POLICY),
        "ReferenceGrant" => nest(&mut all, "/spec", REFERENCE_GRANT),
        "Rollout" => nest(&mut all, "/spec", ROLLOUT),
        _ => return None,
    }
    Some(all)
}

fn route(all: &mut Vec<(String, FieldReferent)>, rule: &[(&'static str, FieldReferent)]) {
    nest(all, "/spec/parentRefs/*", &reference("Gateway"));
    nest(all, "/spec/parentRefs/*", PARENT);
    all.push(("/spec/hostnames/*".to_owned(), FieldReferent::Host));
    nest(all, "/spec/rules/*", rule);
    nest(all, "/spec/rules/*/backendRefs/*", &reference("Service"));
    nest(all, "/spec/rules/*/backendRefs/*", BACKEND);
    for filters in ["/spec/rules/*/filters/*", "/spec/rules/*/backendRefs/*/filters/*"] {
        nest(all, filters, ROUTE_FILTER);
        nest(all, &format!("{filters}/requestMirror/backendRef"), &reference("Service"));
    }
}

fn stream_route(all: &mut Vec<(String, FieldReferent)>) {
    nest(all, "/spec/parentRefs/*", &reference("Gateway"));
    nest(all, "/spec/parentRefs/*", PARENT);
    nest(all, "/spec/rules/*", &[("/name", FieldReferent::Itself)]);
    nest(all, "/spec/rules/*/backendRefs/*", &reference("Service"));
    nest(all, "/spec/rules/*/backendRefs/*", BACKEND);
}

fn nest(all: &mut Vec<(String, FieldReferent)>, base: &str, fields: &[(&str, FieldReferent)]) {
    all.extend(fields.iter().map(|(field, names)| (format!("{base}{field}"), *names)));
}

impl Document {
    /// Everything that the document touches beyond itself, in the order of its fields.
    #[must_use]
    pub fn touches(&self) -> Vec<Touch> {
        let json = self.json();
        let mut touches = Vec::new();
        for (pattern, names) in names(self.kind()).unwrap_or_default() {
            if matches!(
                names,
                FieldReferent::Nothing
                    | FieldReferent::Itself
                    | FieldReferent::Common
                    | FieldReferent::OfReference
            ) {
                continue;
            }
            let steps: Vec<&str> = pattern.split('/').skip(1).collect();
            let mut found = RuleTouches { document: self, names, touches: &mut touches };
            found.walk(&json, None, &steps, String::new(), "");
        }
        touches
    }

    /// The paths of the files that the document names and that are applied with it, each once.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let names_files = |(_, names): &(String, FieldReferent)| {
            matches!(names, FieldReferent::File | FieldReferent::Configuration)
        };
        if !names(self.kind()).unwrap_or_default().iter().any(names_files) {
            return Vec::new();
        }
        let file = |touch: Touch| match touch.what {
            TouchTarget::File(path) => Some(path),
            _ => None,
        };
        let mut files: Vec<String> = self.touches().into_iter().filter_map(file).collect();
        files.sort();
        files.dedup();
        files
    }
}

/// The result of one rule in a document.
struct RuleTouches<'a> {
    document: &'a Document,
    names: FieldReferent,
    touches: &'a mut Vec<Touch>,
}

impl RuleTouches<'_> {
    /// Follows a pattern; `beside` is the map that contains the value, `key` the last key of a map on the
    /// way.
    fn walk(
        &mut self,
        value: &Json,
        beside: Option<&Json>,
        steps: &[&str],
        pointer: String,
        key: &str,
    ) {
        let Some((step, rest)) = steps.split_first() else {
            return self.take(value, beside, pointer, key);
        };
        match (*step, value) {
            ("*", Json::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.walk(item, None, rest, format!("{pointer}/{at}"), key);
                }
            }
            ("{}", Json::Object(entries)) => {
                for (name, entry) in entries {
                    self.walk(entry, Some(value), rest, format!("{pointer}/{name}"), name);
                }
            }
            (step, Json::Object(entries)) => {
                if let Some(entry) = entries.get(step) {
                    self.walk(entry, Some(value), rest, format!("{pointer}/{step}"), key);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, value: &Json, beside: Option<&Json>, pointer: String, key: &str) {
        if self.names == FieldReferent::Configuration {
            let touches = &mut *self.touches;
            key_sets(value, &pointer, &mut |path, pointer| {
                let what = TouchTarget::File(path.to_owned());
                touches.push(Touch { pointer: pointer.to_owned(), what });
            });
            return;
        }
        // The entries of a map whose keys are filters.
        let text = if key.is_empty() { value.as_str() } else { Some(key) };
        if let Some(what) = text.and_then(|text| self.named(text, beside)) {
            self.touches.push(Touch { pointer, what });
        }
    }

    fn named(&self, text: &str, beside: Option<&Json>) -> Option<TouchTarget> {
        let field = |name: &str| beside.and_then(|it| it.get(name)).and_then(Json::as_str);
        let text = text.to_owned();
        Some(match self.names {
            FieldReferent::Reference(kind) => {
                let namespace = field("namespace").unwrap_or(&self.document.metadata.namespace);
                let kind = field("kind").unwrap_or(kind).to_owned();
                TouchTarget::Place { kind, key: format!("{namespace}/{text}") }
            }
            FieldReferent::Target => return (text == "Mesh").then_some(TouchTarget::Mesh),
            FieldReferent::Service if text == "*" => TouchTarget::Mesh,
            FieldReferent::Service => TouchTarget::Place { kind: "Service".to_owned(), key: text },
            FieldReferent::Repository => {
                TouchTarget::Place { kind: "Repository".to_owned(), key: text }
            }
            FieldReferent::Filters => TouchTarget::Filters(text),
            FieldReferent::File => TouchTarget::File(text),
            FieldReferent::Identity => TouchTarget::Identity(text),
            FieldReferent::Socket => TouchTarget::Socket(text),
            FieldReferent::Host => TouchTarget::Host(text),
            FieldReferent::Nothing
            | FieldReferent::Itself
            | FieldReferent::Common
            | FieldReferent::OfReference
            | FieldReferent::Configuration => return None,
        })
    }
}

/// Finds the files that contain key sets in a configuration: `jwks: {file: PATH}`, at any depth.
fn key_sets(config: &Json, pointer: &str, found: &mut dyn FnMut(&str, &str)) {
    match config {
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                key_sets(item, &format!("{pointer}/{at}"), found);
            }
        }
        Json::Object(map) => {
            for (name, value) in map {
                let pointer = format!("{pointer}/{name}");
                match value.get("file").and_then(Json::as_str).filter(|_| name == "jwks") {
                    Some(path) => found(path, &format!("{pointer}/file")),
                    None => key_sets(value, &pointer, found),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
