//! `Grant`: what a filter may import, read, write, reach and use. What is not granted is forbidden.

use std::collections::BTreeMap;

use crate::format::{Bytes, Millis, Rate};

words! {
    /// Access of a filter to bodies.
    #[serde(rename_all = "lowercase")]
    #[derive(Default)]
    pub enum BodyAccess {
        /// No access.
        #[default]
        None,
        /// It may read and replace them.
        Replace,
    }
}

words! {
    /// Proxies that keep a state together.
    #[serde(rename_all = "lowercase")]
    #[derive(Default)]
    pub enum GrantedScope {
        /// Each proxy by itself, all its workers together.
        #[default]
        Proxy,
        /// All proxies of a service together; not available yet.
        Service,
        /// All proxies of the mesh together; not available yet.
        Fleet,
    }
}

impl GrantedScope {
    /// The word of documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Service => "service",
            Self::Fleet => "fleet",
        }
    }
}

words! {
    /// Hooks that may call out where a grant says so.
    #[serde(rename_all = "kebab-case")]
    pub enum CallingHook {
        /// The choice of a service.
        Router,
        /// Whole bodies of requests.
        RequestBody,
        /// Heads of responses.
        Response,
        /// Whole bodies of responses.
        ResponseBody,
    }
}

shapes! {
    /// The rights of a filter. In a registry, a Grant outside the security namespaces (`tamis registry --security`) only narrows: where its own namespace attaches the filter, the filter has the rights that
    /// both the Grant of security and this one give.
    pub struct GrantSpec {
        /// `namespace/name` of the filter.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// Keys that must have signed it, in addition to the trust policy.
        pub signed_by: Option<SignedBy>,
        /// What it may read and change in requests. In responses, of this it sees `request:NAME` alone.
        pub request: Option<GrantedView>,
        /// What it may read and change in responses. In requests, its hooks find these fields absent, and an edit of them is a fault.
        pub response: Option<GrantedView>,
        /// Capabilities, each with its settings.
        #[serde(default)]
        pub imports: GrantedImports,
        /// Its resource limits.
        pub limits: Option<GrantedLimits>,
    }
    /// Keys that must have signed.
    pub struct SignedBy {
        /// Names of keys of the trust policy.
        #[schemars(length(min = 1))]
        pub keys: Vec<String>,
        /// Number of them that must have signed; default: 1.
        #[schemars(range(min = 1))]
        pub threshold: Option<u32>,
    }
    /// What a filter may read and change in a message.
    pub struct GrantedView {
        /// Headers it may read; `*` for all.
        #[serde(default)]
        pub read_headers: Vec<String>,
        /// Headers it may change; `*` means all except those in which the host states the sender
        /// (`x-forwarded-*`, `forwarded`, `via`), which must be named; `:path`, `:authority` and
        /// `:method` of a request, and `:status` and `:coding` of a response, must be named too.
        #[serde(default)]
        pub write_headers: Vec<String>,
        /// Trailers it may read; `*` for all.
        #[serde(default)]
        pub read_trailers: Vec<String>,
        /// Trailers it may change; `*` for all.
        #[serde(default)]
        pub write_trailers: Vec<String>,
        /// Attributes it may read; `*` for all.
        #[serde(default)]
        pub attributes: Vec<String>,
        /// Attributes it may set; `*` for all. Attributes of the host (`peer.*`, `source.*`, `tls.*`,
        /// `listener.*`, `route.*`, `upstream.*`, `connection.*`, `destination.*`, `tamis.*`) can never be set.
        #[serde(default)]
        pub write_attributes: Vec<String>,
        /// Access to bodies.
        #[serde(default)]
        pub body: BodyAccess,
    }
    /// Settings of each granted capability.
    #[derive(Default)]
    #[expect(missing_docs, reason = "one field a capability, named like its interface")]
    pub struct GrantedImports {
        #[serde(rename = "http-client")]
        pub http_client: Option<HttpClientSettings>,
        pub kv: Option<KvSettings>,
        #[serde(rename = "exchange-state")]
        pub exchange_state: Option<ExchangeStateSettings>,
        pub quota: Option<QuotaSettings>,
        pub secrets: Option<SecretsSettings>,
        pub log: Option<LogSettings>,
        pub metrics: Option<MetricsSettings>,
        pub clock: Option<NoSettings>,
        pub random: Option<NoSettings>,
        pub crypto: Option<NoSettings>,
        pub passwords: Option<PasswordsSettings>,
        pub counters: Option<CountersSettings>,
        pub spans: Option<ExportSettings>,
        pub records: Option<ExportSettings>,
    }
    /// `http-client`.
    pub struct HttpClientSettings {
        /// `HOST` or `HOST:PORT`, exactly; without hosts and services it may import the capability but send no request.
        #[serde(default)]
        pub hosts: Vec<String>,
        /// `namespace/name` of services of the mesh, which it calls as `http://NAME.NAMESPACE.mesh/` with the identity
        /// of the proxy that it runs in. Who writes this needs the rights to these services, or a `ReferenceGrant` of
        /// their namespaces for `Grant`.
        #[serde(default)]
        #[schemars(extend("items" = serde_json::json!({ "type": "string", "format": "service-name" })))]
        pub services: Vec<String>,
        /// Longest time for a request; default: 1s.
        pub timeout: Option<Millis>,
        /// Requests per minute; further ones are refused. Default: 60.
        pub per_minute: Option<u32>,
        /// Largest body of a response, and of a request, in bytes; default: 1MiB.
        pub max_bytes: Option<Bytes>,
        /// Whether the hook on request heads may call out, in addition to background work; default: no.
        pub during_requests: Option<bool>,
        /// Further hooks that may call out: `router`, `response`, and about whole bodies `request-body` and
        /// `response-body`. Default: none. Others never may.
        #[serde(default)]
        pub hooks: Vec<CallingHook>,
        /// Calls of its hooks that may wait at once in a proxy, all workers together; a further call of such a hook
        /// fails. Default, and most: 64.
        #[schemars(range(min = 1, max = 64))]
        pub concurrent: Option<u32>,
        /// How responses are kept and used again, by this filter alone; default: none is kept.
        pub cache: Option<CallCacheSettings>,
        /// Whether `http:` URLs of these hosts are allowed, which anybody on the network path can read and
        /// alter; default: no.
        pub clear_text: Option<bool>,
        /// Certificates, in PEM, of the authorities that sign the certificates of these hosts; no other
        /// authority is then trusted. Default: the authorities of the machine. A grant that only narrows
        /// has the same `ca` as the grant that it narrows, or leaves no host.
        pub ca: Option<String>,
    }
    /// Responses to calls that are kept: successful ones to `GET` and `HEAD` whose server does not forbid it
    /// (`cache-control`, `vary`, `set-cookie`). Errors never are.
    pub struct CallCacheSettings {
        /// Longest use of a response, at most 24h; `max-age` of the response may shorten it.
        pub ttl: Millis,
        /// Headers of a request that `vary` of a response may name. A request with `authorization`, `cookie`,
        /// `proxy-authorization` or `range` that is not here is neither answered from the cache nor kept. A response is
        /// used again only for a request with the same method, URL and headers, whichever are here.
        #[serde(default)]
        pub headers: Vec<String>,
        /// Responses kept, the latest ones; default: 1,000.
        pub entries: Option<u32>,
        /// Total bytes of all responses; default: 4MiB.
        pub total_bytes: Option<Bytes>,
    }
    /// `kv`.
    pub struct KvSettings {
        /// Entries kept; default: 10,000.
        pub entries: Option<u32>,
        /// Longest key in bytes; default: 512.
        pub key_bytes: Option<Bytes>,
        /// Largest value in bytes; default: 64KiB.
        pub value_bytes: Option<Bytes>,
        /// Total bytes of all keys and values; default: 16MiB.
        pub total_bytes: Option<Bytes>,
    }
    /// `exchange-state`.
    pub struct ExchangeStateSettings {
        /// Values of an exchange, and of a connection; default: 16.
        pub entries: Option<u32>,
        /// Total bytes of the keys and values of an exchange, and of a connection; default: 16KiB.
        pub bytes: Option<Bytes>,
        /// Total bytes of all keys and values; default: 16MiB.
        pub total_bytes: Option<Bytes>,
    }
    /// `quota`.
    pub struct QuotaSettings {
        /// Classes by name, each `{ rate: 10/s, burst: 20 }`. The filter names a class and a key; a class that is
        /// not here is a fault of the call.
        pub classes: BTreeMap<String, QuotaClassSettings>,
        /// Proxies that keep a bucket together; default: proxy. With `proxy`, N proxies allow up to N times the rate
        /// of a class. `service` and `fleet` are refused: proxies do not share state yet.
        pub scope: Option<GrantedScope>,
        /// Buckets kept per class; default: 100,000.
        pub keys: Option<u32>,
        /// Longest key in bytes; a longer one is stored as its hash. Default: 256.
        pub key_bytes: Option<Bytes>,
        /// Total bytes of all buckets; default: 16MiB.
        pub total_bytes: Option<Bytes>,
    }
    /// A token bucket for each key.
    pub struct QuotaClassSettings {
        /// Rate at which tokens are added to the bucket of a key, as `10/s`, `100/m` or `5000/h`. It is the
        /// operator's: no filter and no configuration of a filter can raise it.
        pub rate: Rate,
        /// Size of the bucket: tokens that can be taken at once after a pause. A bucket starts full.
        #[schemars(range(min = 1))]
        pub burst: u32,
    }
    /// `passwords`.
    pub struct PasswordsSettings {
        /// Calls of its hook that may wait at once for a comparison, in a proxy, all workers together; a further call of such
        /// a hook fails. Default: 16.
        #[schemars(range(min = 1, max = 64))]
        pub concurrent: Option<u32>,
    }
    /// `secrets`.
    pub struct SecretsSettings {
        /// Names it may open.
        pub names: Vec<String>,
        /// Whether it may read their values; default: no.
        pub reveal: Option<bool>,
    }
    /// `counters`.
    pub struct CountersSettings {
        /// Proxies that count together; default: proxy. `service` and `fleet` are refused: proxies do not share state
        /// yet.
        pub scope: Option<GrantedScope>,
        /// Counters kept; default: 10,000.
        pub keys: Option<u32>,
        /// Longest name or key in bytes; a longer one is stored as its hash. Default: 256.
        pub key_bytes: Option<Bytes>,
        /// Total bytes of all counters; default: 8MiB.
        pub total_bytes: Option<Bytes>,
    }
    /// `log`.
    pub struct LogSettings {
        /// Lines per second; further ones are dropped and counted. Default: 100.
        pub per_second: Option<u32>,
        /// Longest line in bytes; a longer one is cut. Default: 4KiB.
        pub max_bytes: Option<Bytes>,
    }
    /// `spans`, `records`.
    pub struct ExportSettings {
        /// Items per second; further ones are dropped and counted. Default: 10,000.
        pub per_second: Option<u32>,
        /// Largest item in bytes; a larger one is dropped and counted. Default: 64KiB.
        pub max_bytes: Option<Bytes>,
        /// Total bytes per second; further items are dropped and counted. Default: 4MiB.
        pub bytes_per_second: Option<Bytes>,
    }
    /// `metrics`.
    pub struct MetricsSettings {
        /// Series per metric; default: 1000.
        pub series: Option<u32>,
        /// Metrics it may define; default: 64.
        pub metrics: Option<u32>,
    }
    /// A capability without settings.
    pub struct NoSettings {}
    /// Resource limits of a filter.
    pub struct GrantedLimits {
        /// Processor time of a hook; default: 5ms.
        pub time: Option<Millis>,
        /// Processor time of `configure`; default: 2s.
        pub configure: Option<Millis>,
        /// Memory of an instance; default: 16MiB.
        pub memory: Option<Bytes>,
        /// Largest body that it may get whole, write as a replacement, or answer with; default: 1MiB, at
        /// most 64MiB.
        pub body: Option<Bytes>,
    }
}
