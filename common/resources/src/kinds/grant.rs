//! `Grant`: what a filter may import, read, write, reach and spend. Nothing is implied.

use std::collections::BTreeMap;

use crate::format::{Bytes, Millis, Rate};

words! {
    /// What a filter may do with bodies.
    #[serde(rename_all = "lowercase")]
    #[derive(Default)]
    pub enum BodyAccess {
        /// Nothing.
        #[default]
        None,
        /// See and replace them.
        Replace,
    }
}

shapes! {
    /// What a filter may do.
    pub struct GrantSpec {
        /// `namespace/name` of the filter.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// Who must have signed it, beyond what the trust policy asks.
        pub signed_by: Option<SignedBy>,
        /// What it may see and change of requests.
        pub request: Option<GrantedView>,
        /// What it may see and change of responses.
        pub response: Option<GrantedView>,
        /// Capabilities, each with its settings.
        #[serde(default)]
        pub imports: GrantedImports,
        /// What it may spend.
        pub limits: Option<GrantedLimits>,
    }
    /// Who must have signed.
    pub struct SignedBy {
        /// Names of keys of the trust policy.
        #[schemars(length(min = 1))]
        pub keys: Vec<String>,
        /// How many of them; 1 when not said.
        #[schemars(range(min = 1))]
        pub threshold: Option<u32>,
    }
    /// What a filter may see and change of a message.
    pub struct GrantedView {
        /// Headers it may read; `*` for all.
        #[serde(default)]
        pub read_headers: Vec<String>,
        /// Headers it may change; `*` for all but those in which the host says who is asking (`x-forwarded-*`,
        /// `forwarded`, `via`), which stand here by name; `:path` and `:authority` by name.
        #[serde(default)]
        pub write_headers: Vec<String>,
        /// Attributes it may read; `*` for all.
        #[serde(default)]
        pub attributes: Vec<String>,
        /// Attributes it may set; `*` for all. What the host states (`peer.*`, `source.*`, `tls.*`, `listener.*`,
        /// `route.*`, `upstream.*`) no filter sets.
        #[serde(default)]
        pub write_attributes: Vec<String>,
        /// Bodies.
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
        pub quota: Option<QuotaSettings>,
        pub secrets: Option<SecretsSettings>,
        pub log: Option<LogSettings>,
        pub metrics: Option<MetricsSettings>,
        pub clock: Option<NoSettings>,
        pub random: Option<NoSettings>,
        pub crypto: Option<NoSettings>,
        pub counters: Option<CountersSettings>,
        pub spans: Option<ExportSettings>,
        pub records: Option<ExportSettings>,
    }
    /// `http-client`.
    pub struct HttpClientSettings {
        /// `HOST` or `HOST:PORT`, exactly; empty: it may import the capability and reach nobody.
        pub hosts: Vec<String>,
        /// Longest wait; 1s when not said.
        pub timeout: Option<Millis>,
        /// Requests past this are refused; 60 when not said.
        pub per_minute: Option<u32>,
        /// Bytes of an answer's body, and of a request's; 1MiB when not said.
        pub max_bytes: Option<Bytes>,
        /// Whether request hooks may call out, not background work alone; no when not said. Other hooks never do.
        pub during_requests: Option<bool>,
        /// Whether `http:` may be spoken to these hosts, which anybody on the way reads and alters; no when not said.
        pub clear_text: Option<bool>,
    }
    /// `kv`.
    pub struct KvSettings {
        /// Entries kept; 10,000 when not said.
        pub entries: Option<u32>,
        /// Bytes of a key; 512 when not said.
        pub key_bytes: Option<Bytes>,
        /// Bytes of a value; 64KiB when not said.
        pub value_bytes: Option<Bytes>,
        /// Bytes of all keys and values; 16MiB when not said.
        pub total_bytes: Option<Bytes>,
    }
    /// `quota`.
    pub struct QuotaSettings {
        /// Classes by name, each `{ rate: 10/s, burst: 20 }`.
        pub classes: BTreeMap<String, QuotaClassSettings>,
        /// Buckets kept of each class; 100,000 when not said.
        pub keys: Option<u32>,
        /// Bytes of a key; of a longer one its hash is kept; 256 when not said.
        pub key_bytes: Option<Bytes>,
        /// Bytes of all buckets; 16MiB when not said.
        pub total_bytes: Option<Bytes>,
    }
    /// A token bucket for each key.
    pub struct QuotaClassSettings {
        /// How fast tokens come back, as `10/s`, `100/m` or `5000/h`.
        pub rate: Rate,
        /// Size of the bucket.
        #[schemars(range(min = 1))]
        pub burst: u32,
    }
    /// `secrets`.
    pub struct SecretsSettings {
        /// Names it may open.
        pub names: Vec<String>,
        /// Whether it sees their values; no when not said.
        pub reveal: Option<bool>,
    }
    /// `counters`.
    pub struct CountersSettings {
        /// Counters kept; 10,000 when not said.
        pub keys: Option<u32>,
        /// Bytes of a name or key; of a longer one its hash is kept; 256 when not said.
        pub key_bytes: Option<Bytes>,
        /// Bytes of all counters; 8MiB when not said.
        pub total_bytes: Option<Bytes>,
    }
    /// `log`.
    pub struct LogSettings {
        /// Lines past this are dropped and counted; 100 when not said.
        pub per_second: Option<u32>,
        /// Bytes of a line; a longer one is cut; 4KiB when not said.
        pub max_bytes: Option<Bytes>,
    }
    /// `spans`, `records`.
    pub struct ExportSettings {
        /// Past this they are dropped and counted; 10,000 when not said.
        pub per_second: Option<u32>,
        /// Bytes of one; a longer one is dropped and counted; 64KiB when not said.
        pub max_bytes: Option<Bytes>,
        /// Bytes of all in a second; past this they are dropped and counted; 4MiB when not said.
        pub bytes_per_second: Option<Bytes>,
    }
    /// `metrics`.
    pub struct MetricsSettings {
        /// Series of each metric; 1000 when not said.
        pub series: Option<u32>,
        /// Metrics it may define; 64 when not said.
        pub metrics: Option<u32>,
    }
    /// A capability without settings.
    pub struct NoSettings {}
    /// What a filter may spend.
    pub struct GrantedLimits {
        /// CPU time of a hook; 5ms when not said.
        pub time: Option<Millis>,
        /// CPU time of configuring; 2s when not said.
        pub configure: Option<Millis>,
        /// Memory of an instance; 16MiB when not said.
        pub memory: Option<Bytes>,
        /// Longest body it may judge whole, replace one by, or answer with; 1MiB when not said, at most 64MiB.
        pub body: Option<Bytes>,
    }
}
