//! What a document touches: everything to which the author needs a right before the document may be
//! written.
//!
//! Every field of every kind has a rule here that states what the field names. The rules are data:
//! [`Document::touches`] follows them, and a test walks the schemas of all kinds and fails for a field
//! without a rule. So a field that is added later cannot silently name what belongs to others.

use serde_json::Value as Json;

use crate::document::Document;
use crate::kinds::Resource;

/// What a field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
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
    /// A part of a neighbouring [`Names::Reference`].
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
const METADATA: &[(&str, Names)] = &[
    ("/name", Names::Itself),
    ("/namespace", Names::Itself),
    ("/labels/{}", Names::Nothing),
    ("/annotations/{}", Names::Nothing),
    ("/creationTimestamp", Names::Nothing),
];

/// Fields of a reference to a document, in which `name` comes first.
const fn reference(kind: &'static str) -> [(&'static str, Names); 4] {
    [
        ("/name", Names::Reference(kind)),
        ("/group", Names::OfReference),
        ("/kind", Names::OfReference),
        ("/namespace", Names::OfReference),
    ]
}

/// Paths of PEM files on the machine of the proxy.
const IDENTITY_FILES: &[(&str, Names)] =
    &[("/certificate", Names::Common), ("/key", Names::Common), ("/ca", Names::Common)];

const GATEWAY: &[(&str, Names)] = &[
    ("/gatewayClassName", Names::Common),
    ("/listeners/*/name", Names::Itself),
    ("/listeners/*/port", Names::Common),
    ("/listeners/*/protocol", Names::Nothing),
    ("/listeners/*/hostname", Names::Nothing),
    ("/listeners/*/upgrades/*", Names::Nothing),
    ("/listeners/*/reasons", Names::Nothing),
    ("/listeners/*/paths/emptySegments", Names::Nothing),
    ("/listeners/*/paths/escapedSlashes", Names::Nothing),
    ("/listeners/*/paths/parameters", Names::Nothing),
    ("/listeners/*/paths/escapes", Names::Nothing),
    // Whom the author's own listener believes.
    ("/listeners/*/clientAddress/field", Names::Nothing),
    ("/listeners/*/clientAddress/trusted/*", Names::Nothing),
    ("/listeners/*/clientAddress/hops", Names::Nothing),
    ("/listeners/*/proxyProtocol/trusted/*", Names::Nothing),
    ("/listeners/*/tls/certificate", Names::Common),
    ("/listeners/*/tls/key", Names::Common),
    ("/listeners/*/tls/clientCa", Names::Common),
    // Opens the author's own listener to others.
    ("/listeners/*/allowedRoutes/namespaces/from", Names::Nothing),
    ("/addresses/*/type", Names::Nothing),
    ("/addresses/*/value", Names::Common),
    ("/identity", Names::Identity),
    ("/admin", Names::Common),
];

const SERVICE: &[(&str, Names)] = &[
    ("/ports/*/port", Names::Nothing),
    ("/ports/*/protocol", Names::Nothing),
    ("/identity", Names::Identity),
    ("/upgrades/*", Names::Nothing),
    ("/endpoints/*/address", Names::Socket),
    ("/endpoints/*/weight", Names::Nothing),
    ("/endpoints/*/sidecar", Names::Socket),
    ("/endpoints/*/outbound", Names::Common),
    ("/endpoints/*/admin", Names::Common),
];

const PARENT: &[(&str, Names)] = &[("/sectionName", Names::Itself), ("/port", Names::Nothing)];

const HTTP_RULE: &[(&str, Names)] = &[
    ("/name", Names::Itself),
    ("/matches/*/path/type", Names::Nothing),
    ("/matches/*/path/value", Names::Nothing),
    ("/matches/*/method", Names::Nothing),
    ("/matches/*/headers/*/type", Names::Nothing),
    ("/matches/*/headers/*/name", Names::Nothing),
    ("/matches/*/headers/*/value", Names::Nothing),
    ("/matches/*/queryParams/*/type", Names::Nothing),
    ("/matches/*/queryParams/*/name", Names::Nothing),
    ("/matches/*/queryParams/*/value", Names::Nothing),
    ("/timeouts/request", Names::Nothing),
    ("/timeouts/backendRequest", Names::Nothing),
];

const GRPC_RULE: &[(&str, Names)] = &[
    ("/name", Names::Itself),
    ("/matches/*/method/type", Names::Nothing),
    ("/matches/*/method/service", Names::Nothing),
    ("/matches/*/method/method", Names::Nothing),
    ("/matches/*/headers/*/type", Names::Nothing),
    ("/matches/*/headers/*/name", Names::Nothing),
    ("/matches/*/headers/*/value", Names::Nothing),
];

const BACKEND: &[(&str, Names)] = &[("/port", Names::Nothing), ("/weight", Names::Nothing)];

const ROUTE_FILTER: &[(&str, Names)] = &[
    ("/type", Names::Nothing),
    ("/requestHeaderModifier/set/*/name", Names::Nothing),
    ("/requestHeaderModifier/set/*/value", Names::Nothing),
    ("/requestHeaderModifier/add/*/name", Names::Nothing),
    ("/requestHeaderModifier/add/*/value", Names::Nothing),
    ("/requestHeaderModifier/remove/*", Names::Nothing),
    ("/responseHeaderModifier/set/*/name", Names::Nothing),
    ("/responseHeaderModifier/set/*/value", Names::Nothing),
    ("/responseHeaderModifier/add/*/name", Names::Nothing),
    ("/responseHeaderModifier/add/*/value", Names::Nothing),
    ("/responseHeaderModifier/remove/*", Names::Nothing),
    ("/requestMirror/backendRef/port", Names::Nothing),
    ("/requestMirror/percent", Names::Nothing),
    ("/requestMirror/fraction/numerator", Names::Nothing),
    ("/requestMirror/fraction/denominator", Names::Nothing),
    // Where the client is redirected; the mesh sends nothing there.
    ("/requestRedirect/scheme", Names::Nothing),
    ("/requestRedirect/hostname", Names::Nothing),
    ("/requestRedirect/path/type", Names::Nothing),
    ("/requestRedirect/path/replaceFullPath", Names::Nothing),
    ("/requestRedirect/path/replacePrefixMatch", Names::Nothing),
    ("/requestRedirect/port", Names::Nothing),
    ("/requestRedirect/statusCode", Names::Nothing),
    // Sent to the backend, which another field names.
    ("/urlRewrite/hostname", Names::Nothing),
    ("/urlRewrite/path/type", Names::Nothing),
    ("/urlRewrite/path/replaceFullPath", Names::Nothing),
    ("/urlRewrite/path/replacePrefixMatch", Names::Nothing),
];

const FILTER: &[(&str, Names)] = &[
    ("/world", Names::Nothing),
    ("/receives", Names::Nothing),
    ("/repository", Names::Repository),
    ("/description", Names::Nothing),
    ("/configSchema", Names::Nothing),
];

const ATTACHMENT: &[(&str, Names)] = &[
    ("/targetRefs/*/group", Names::OfReference),
    ("/targetRefs/*/kind", Names::Target),
    ("/targetRefs/*/name", Names::Reference("Gateway")),
    ("/targetRefs/*/sectionName", Names::Itself),
    // What a filter may do is set by its Grant, not by who attaches it.
    ("/filter", Names::Common),
    ("/phase", Names::Nothing),
    ("/order", Names::Nothing),
    ("/direction", Names::Nothing),
    ("/config", Names::Configuration),
    ("/extend", Names::Nothing),
    ("/onFailure", Names::Nothing),
    ("/isolation", Names::Nothing),
];

const AUTHORIZATION_POLICY: &[(&str, Names)] = &[
    ("/targetRefs/*/group", Names::OfReference),
    ("/targetRefs/*/kind", Names::Target),
    ("/targetRefs/*/name", Names::Reference("Service")),
    ("/targetRefs/*/sectionName", Names::Itself),
    ("/mode", Names::Nothing),
    ("/cedar/policies", Names::Nothing),
    ("/cedar/file", Names::File),
    ("/cedar/headers/*", Names::Nothing),
    ("/cedar/claims/*", Names::Nothing),
];

/// Who may pass, of the clients of the targets: the identities are compared, not claimed.
const ACCESS_RULE: &[(&str, Names)] = &[
    ("/name", Names::Itself),
    ("/identities/*", Names::Nothing),
    ("/addresses/*", Names::Nothing),
    ("/methods/*", Names::Nothing),
    ("/paths/*/type", Names::Nothing),
    ("/paths/*/value", Names::Nothing),
    ("/ports/*", Names::Nothing),
    ("/headers/*/name", Names::Nothing),
    ("/headers/*/values/*", Names::Nothing),
    ("/claims/*/name", Names::Nothing),
    ("/claims/*/values/*", Names::Nothing),
];

const GRANT: &[(&str, Names)] = &[
    ("/filter", Names::Filters),
    ("/signedBy/keys/*", Names::Common),
    ("/signedBy/threshold", Names::Nothing),
    ("/imports/http-client/hosts/*", Names::Common),
    ("/imports/http-client/timeout", Names::Nothing),
    ("/imports/http-client/perMinute", Names::Nothing),
    ("/imports/http-client/maxBytes", Names::Nothing),
    ("/imports/http-client/duringRequests", Names::Nothing),
    ("/imports/http-client/clearText", Names::Nothing),
    // The text itself, no name of a file: nobody else writes it.
    ("/imports/http-client/ca", Names::Nothing),
    ("/imports/kv/entries", Names::Nothing),
    ("/imports/kv/keyBytes", Names::Nothing),
    ("/imports/kv/totalBytes", Names::Nothing),
    ("/imports/kv/valueBytes", Names::Nothing),
    ("/imports/exchange-state/entries", Names::Nothing),
    ("/imports/exchange-state/bytes", Names::Nothing),
    ("/imports/exchange-state/totalBytes", Names::Nothing),
    ("/imports/quota/classes/{}/rate", Names::Nothing),
    ("/imports/quota/classes/{}/burst", Names::Nothing),
    ("/imports/quota/scope", Names::Nothing),
    ("/imports/quota/keys", Names::Nothing),
    ("/imports/quota/keyBytes", Names::Nothing),
    ("/imports/quota/totalBytes", Names::Nothing),
    ("/imports/secrets/names/*", Names::Common),
    ("/imports/secrets/reveal", Names::Nothing),
    ("/imports/log/perSecond", Names::Nothing),
    ("/imports/log/maxBytes", Names::Nothing),
    ("/imports/metrics/series", Names::Nothing),
    ("/imports/metrics/metrics", Names::Nothing),
    ("/imports/clock", Names::Nothing),
    ("/imports/random", Names::Nothing),
    ("/imports/crypto", Names::Nothing),
    ("/imports/counters/scope", Names::Nothing),
    ("/imports/counters/keys", Names::Nothing),
    ("/imports/counters/keyBytes", Names::Nothing),
    ("/imports/counters/totalBytes", Names::Nothing),
    ("/imports/spans/perSecond", Names::Nothing),
    ("/imports/spans/maxBytes", Names::Nothing),
    ("/imports/spans/bytesPerSecond", Names::Nothing),
    ("/imports/records/perSecond", Names::Nothing),
    ("/imports/records/maxBytes", Names::Nothing),
    ("/imports/records/bytesPerSecond", Names::Nothing),
    ("/limits/time", Names::Nothing),
    ("/limits/configure", Names::Nothing),
    ("/limits/memory", Names::Nothing),
    ("/limits/body", Names::Nothing),
];

const GRANTED_VIEW: &[(&str, Names)] = &[
    ("/readHeaders/*", Names::Nothing),
    ("/writeHeaders/*", Names::Nothing),
    ("/readTrailers/*", Names::Nothing),
    ("/writeTrailers/*", Names::Nothing),
    ("/attributes/*", Names::Nothing),
    ("/writeAttributes/*", Names::Nothing),
    ("/body", Names::Nothing),
];

const TRUST_POLICY: &[(&str, Names)] = &[
    ("/namespaces/*", Names::Filters),
    ("/keys/*/name", Names::Itself),
    ("/keys/*/publicKey", Names::Nothing),
    ("/keys/*/publicKeyFile", Names::File),
    ("/keys/*/notBefore", Names::Nothing),
    ("/keys/*/expires", Names::Nothing),
    ("/threshold", Names::Nothing),
    ("/floorVersions/{}", Names::Filters),
    ("/revokedDigests/*", Names::Nothing),
    ("/revokedKeys/*", Names::Nothing),
    ("/revokedKeys/*/key", Names::Nothing),
    ("/revokedKeys/*/fromIndex", Names::Nothing),
    ("/stalenessBound", Names::Nothing),
];

const UPSTREAM_POLICY: &[(&str, Names)] = &[
    ("/targetRefs/*/group", Names::OfReference),
    ("/targetRefs/*/kind", Names::OfReference),
    ("/targetRefs/*/name", Names::Reference("Service")),
    ("/loadBalancing/algorithm", Names::Nothing),
    ("/loadBalancing/hashHeader", Names::Nothing),
    ("/maxResponseFields", Names::Nothing),
    ("/maxResponseHeadBytes", Names::Nothing),
    ("/ejection/maxPercent", Names::Nothing),
    ("/ejection/panicThreshold", Names::Nothing),
    ("/connectTimeout", Names::Nothing),
    ("/idleTimeout", Names::Nothing),
    ("/maxConnections", Names::Nothing),
    ("/maxPending", Names::Nothing),
    ("/maxRequests", Names::Nothing),
    ("/slowCall", Names::Nothing),
    ("/statsWindow", Names::Nothing),
    ("/retryBudget/percent", Names::Nothing),
    ("/retryBudget/minPerSecond", Names::Nothing),
    ("/keepAlive", Names::Nothing),
];

const REFERENCE_GRANT: &[(&str, Names)] = &[
    // Opens the author's own documents to others.
    ("/from/*/group", Names::Nothing),
    ("/from/*/kind", Names::Nothing),
    ("/from/*/namespace", Names::Nothing),
    ("/to/*/group", Names::Nothing),
    ("/to/*/kind", Names::Nothing),
    ("/to/*/name", Names::Itself),
];

const ROLLOUT: &[(&str, Names)] = &[
    ("/filter", Names::Common),
    ("/from", Names::Nothing),
    ("/version", Names::Nothing),
    ("/digest", Names::Nothing),
    ("/services/*", Names::Service),
    ("/waves/*/percent", Names::Nothing),
    ("/waves/*/bake", Names::Nothing),
    ("/gates/minExchanges", Names::Nothing),
    ("/gates/maxTrapRate", Names::Nothing),
    ("/gates/max5xxDelta", Names::Nothing),
    ("/gates/maxDenialDelta", Names::Nothing),
    ("/gates/maxAddedP99Ms", Names::Nothing),
    ("/gates/maxRefusals", Names::Nothing),
    ("/progressDeadline", Names::Nothing),
    ("/shadow/minSamples", Names::Nothing),
    ("/shadow/maxDifferences", Names::Nothing),
    ("/onBreach", Names::Nothing),
];

const LOCK: &[(&str, Names)] = &[
    ("/service", Names::Service),
    ("/filter", Names::Common),
    ("/version", Names::Nothing),
    ("/digest", Names::Nothing),
];

/// The fields of a kind and what each names, as pointers in which `*` is an item of a list and `{}` an
/// entry of a map. `None` for an unknown kind.
#[must_use]
pub fn names(kind: &str) -> Option<Vec<(String, Names)>> {
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
        "HTTPRoute" => route(&mut all, HTTP_RULE),
        "GRPCRoute" => route(&mut all, GRPC_RULE),
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
        "ReferenceGrant" => nest(&mut all, "/spec", REFERENCE_GRANT),
        "Rollout" => nest(&mut all, "/spec", ROLLOUT),
        _ => return None,
    }
    Some(all)
}

fn route(all: &mut Vec<(String, Names)>, rule: &[(&'static str, Names)]) {
    nest(all, "/spec/parentRefs/*", &reference("Gateway"));
    nest(all, "/spec/parentRefs/*", PARENT);
    all.push(("/spec/hostnames/*".to_owned(), Names::Host));
    nest(all, "/spec/rules/*", rule);
    nest(all, "/spec/rules/*/backendRefs/*", &reference("Service"));
    nest(all, "/spec/rules/*/backendRefs/*", BACKEND);
    for filters in ["/spec/rules/*/filters/*", "/spec/rules/*/backendRefs/*/filters/*"] {
        nest(all, filters, ROUTE_FILTER);
        nest(all, &format!("{filters}/requestMirror/backendRef"), &reference("Service"));
    }
}

fn nest(all: &mut Vec<(String, Names)>, base: &str, fields: &[(&str, Names)]) {
    all.extend(fields.iter().map(|(field, names)| (format!("{base}{field}"), *names)));
}

impl Document {
    /// Everything that the document touches beyond itself, in the order of its fields.
    #[must_use]
    pub fn touches(&self) -> Vec<Touch> {
        let json = self.json();
        let mut touches = Vec::new();
        for (pattern, names) in names(self.kind()).unwrap_or_default() {
            if matches!(names, Names::Nothing | Names::Itself | Names::Common | Names::OfReference)
            {
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
        let mut files = Vec::new();
        match &self.resource {
            Resource::FilterAttachment(spec) => key_sets(&spec.config, "", &mut |path, _| {
                files.push(path.to_owned());
            }),
            Resource::AuthorizationPolicy(spec) => {
                files.extend(spec.cedar.as_ref().and_then(|cedar| cedar.file.clone()));
            }
            Resource::TrustPolicy(spec) => {
                files.extend(spec.keys.iter().filter_map(|key| key.public_key_file.clone()));
            }
            _ => {}
        }
        files.sort();
        files.dedup();
        files
    }
}

/// The result of one rule in a document.
struct RuleTouches<'a> {
    document: &'a Document,
    names: Names,
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
        if self.names == Names::Configuration {
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
            Names::Reference(kind) => {
                let namespace = field("namespace").unwrap_or(&self.document.metadata.namespace);
                let kind = field("kind").unwrap_or(kind).to_owned();
                TouchTarget::Place { kind, key: format!("{namespace}/{text}") }
            }
            Names::Target => return (text == "Mesh").then_some(TouchTarget::Mesh),
            Names::Service if text == "*" => TouchTarget::Mesh,
            Names::Service => TouchTarget::Place { kind: "Service".to_owned(), key: text },
            Names::Repository => TouchTarget::Place { kind: "Repository".to_owned(), key: text },
            Names::Filters => TouchTarget::Filters(text),
            Names::File => TouchTarget::File(text),
            Names::Identity => TouchTarget::Identity(text),
            Names::Socket => TouchTarget::Socket(text),
            Names::Host => TouchTarget::Host(text),
            Names::Nothing
            | Names::Itself
            | Names::Common
            | Names::OfReference
            | Names::Configuration => return None,
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
