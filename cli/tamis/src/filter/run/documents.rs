//! The documents of a gateway with one filter.

use crate::filter::build::BuiltFilter;
use crate::filter::trial;
use crate::named_file;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tamis_resources::{Phase, World};

/// The gateway.
pub(super) const NODE: &str = "gateway:run/gateway";
/// The attachment of the filter.
pub(super) const ATTACHMENT: &str = "run/filter";

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const OWN_API: &str = "tamis.dev/v1alpha1";

/// What the documents say.
pub(super) struct RunDocuments<'a> {
    pub(super) port: u16,
    pub(super) upstream: SocketAddr,
    /// `NAMESPACE/NAME` of the filter.
    pub(super) name: &'a str,
    pub(super) world: &'a str,
    pub(super) config: &'a Value,
    /// The `spec` of its Grant.
    pub(super) grant: &'a Value,
}

/// What a filter may do and how it is configured, where nothing else says so.
pub(super) struct Rights {
    /// The `spec` of a Grant, without `filter`.
    pub(super) grant: Value,
    pub(super) config: Value,
}

impl RunDocuments<'_> {
    /// The documents, in YAML (of which JSON is a part).
    pub(super) fn text(&self) -> String {
        let documents = self.surroundings().into_iter().chain(self.filter());
        documents.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n")
    }

    /// The gateway with its route, service, router and trust.
    fn surroundings(&self) -> [Value; 7] {
        let everything = [json!({ "name": "service", "port": 80 })];
        [
            document(
                "Gateway",
                GATEWAY_API,
                ("run", "gateway"),
                json!({
                    "addresses": [{ "type": "IPAddress", "value": "127.0.0.1" }],
                    "listeners": [{ "name": "http", "port": self.port, "protocol": "HTTP" }],
                }),
            ),
            document(
                "Service",
                OWN_API,
                ("run", "service"),
                json!({
                    "ports": [{ "port": 80, "protocol": "http" }],
                    "endpoints": [{ "address": self.upstream.to_string() }],
                }),
            ),
            document(
                "HTTPRoute",
                GATEWAY_API,
                ("run", "everything"),
                json!({
                    "parentRefs": [{ "kind": "Gateway", "name": "gateway" }],
                    "rules": [{ "name": "everything", "backendRefs": everything }],
                }),
            ),
            document(
                "TrustPolicy",
                OWN_API,
                ("run", "run"),
                json!({
                    "namespaces": ["*"], "threshold": 1,
                    "keys": [{ "name": "local-dev", "publicKeyFile": ".tamis/keys/local-dev.pub" }],
                }),
            ),
            document("Filter", OWN_API, ("tamis", "route"), json!({ "world": "route-policy" })),
            document(
                "FilterAttachment",
                OWN_API,
                ("run", "route"),
                json!({
                    "targetRefs": targets(), "filter": "tamis/route", "phase": "traffic", "order": 100,
                }),
            ),
            document(
                "Grant",
                OWN_API,
                ("run", "route"),
                json!({
                    "filter": "tamis/route", "imports": { "log": {} },
                    "request": { "readHeaders": ["*"], "attributes": ["*"] },
                }),
            ),
        ]
    }

    /// The filter, its attachment and its Grant.
    fn filter(&self) -> [Value; 3] {
        let Self { name, world, config, grant, .. } = self;
        let (namespace, short) = name.split_once('/').unwrap_or(("run", name));
        let router = *world == "route-policy";
        let phase = serde_json::from_value(json!(world)).map_or(Phase::Transform, World::phase);
        let mut grant = Value::clone(grant);
        if let Some(grant) = grant.as_object_mut() {
            grant.insert("filter".to_owned(), json!(name));
        }
        let mut attachment = json!({
            "targetRefs": targets(), "filter": name, "phase": phase, "order": 50, "extend": router,
        });
        let config = match router {
            true => trial::of_attachment(Value::clone(config)),
            false => Value::clone(config),
        };
        // A router without settings receives no `config`.
        if let (Some(attachment), true) = (attachment.as_object_mut(), config != json!({})) {
            attachment.insert("config".to_owned(), config);
        }
        [
            document("Filter", OWN_API, (namespace, short), json!({ "world": world })),
            document("FilterAttachment", OWN_API, ("run", "filter"), attachment),
            document("Grant", OWN_API, ("run", "filter"), grant),
        ]
    }
}

fn document(kind: &str, api: &str, (namespace, name): (&str, &str), spec: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": api,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

fn targets() -> Value {
    json!([{ "kind": "Gateway", "name": "gateway" }])
}

impl Rights {
    /// The grant of a file, else of the folder's `grant.yaml`, else of its first table of cases, else everything that the
    /// filter imports; and the configuration of that table.
    ///
    /// # Errors
    /// A file cannot be read, or is no Grant.
    pub(super) fn read(folder: &Path, file: Option<&Path>, built: &BuiltFilter) -> Result<Self> {
        let table = super::super::test::tables(&folder.join("tests"))?.into_iter().next();
        let table = table.map_or(Ok(Value::Null), |path| yaml(&path))?;
        let config = table.get("config").cloned().unwrap_or_else(|| json!({}));
        let own = folder.join("grant.yaml");
        let file = file.or_else(|| own.exists().then_some(own.as_path()));
        let grant = match (file, table.get("grant")) {
            (Some(path), _) => granted(path)?,
            (None, Some(grant)) => grant.clone(),
            (None, None) => everything(built)?,
        };
        Ok(Self { grant, config })
    }
}

fn yaml(path: &Path) -> Result<Value> {
    let text =
        named_file::text(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_norway::from_str(&text).with_context(|| format!("{}", path.display()))
}

/// The rights of a file with one Grant.
fn granted(path: &Path) -> Result<Value> {
    let document = yaml(path)?;
    let kind = document.get("kind").and_then(Value::as_str);
    match document.get("spec") {
        Some(spec @ Value::Object(_)) if kind == Some("Grant") => Ok(spec.clone()),
        _ => bail!("{} must contain one Grant", path.display()),
    }
}

/// Every field, and every import that needs no settings.
fn everything(built: &BuiltFilter) -> Result<Value> {
    let imports = tamis_engine::inspect(&built.component)?.imports;
    let settings: Vec<&str> = imports
        .iter()
        .map(String::as_str)
        .filter(|name| ["http-client", "quota", "secrets"].contains(name))
        .collect();
    if !settings.is_empty() {
        bail!(
            "the filter imports {}, whose rights have settings: write them in the grant of its table of cases, or give a file with --grant",
            settings.join(", ")
        );
    }
    let imports: Map<String, Value> =
        imports.into_iter().filter(|name| name != "types").map(|name| (name, json!({}))).collect();
    Ok(json!({
        "imports": imports,
        "request": {
            "readHeaders": ["*"], "attributes": ["*"], "body": "replace",
            "writeHeaders": ["*", ":path", ":authority", ":method"],
        },
        "response": {
            "readHeaders": ["*"], "writeHeaders": ["*", ":status", ":coding"], "body": "replace",
        },
    }))
}
