//! Rights depend on what a document refers to: every kind, every field that names something, every token.

use serde_json::{Value, json};
use tamis_e2e::Reply;
use tamis_resources::{FieldReferent, names, schemas};
use tempfile::TempDir;

use super::{Caller, IMAGE, Registry, image, sha256, token};

mod documents;
mod ended;
mod tokens;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const TAMIS_API: &str = "tamis.dev/v1alpha1";
/// Namespaces that documents are of and name; the last is that of security.
const SPACES: [&str; 3] = ["acme", "shop", "security"];

const ALL: [&str; 3] = ["observe", "operate", "approve"];

impl Caller<'_> {
    fn post(self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, JSON, body.to_string().as_bytes())
    }

    fn apply(self, documents: &[Value]) -> Reply {
        self.apply_with(documents, &[], &[])
    }

    fn apply_with(self, documents: &[Value], files: &[(&str, &str)], removed: &[&str]) -> Reply {
        let sources: Vec<Value> = documents
            .iter()
            .map(|one| json!({ "source": "test.yaml", "text": one.to_string() }))
            .collect();
        let files: Vec<Value> =
            files.iter().map(|(path, text)| json!({ "path": path, "text": text })).collect();
        let body =
            json!({ "sources": sources, "files": files, "removed": removed, "confirm": true });
        self.post("/v1/apply", &body)
    }
}

fn document(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    let api = match kind {
        "Gateway" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "BackendTLSPolicy" => {
            GATEWAY_API
        }
        "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
        "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
        _ => TAMIS_API,
    };
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec })
}

/// A document of each kind that has a value in every field that names something, all of its own namespace.
fn example(kind: &str, namespace: &str) -> Option<Value> {
    let own = |kind: &str| json!({ "kind": kind, "name": "own", "namespace": namespace });
    let target = |kind: &str| json!({ "kind": kind, "name": "own" });
    let tls = json!({ "certificate": "c.crt", "key": "c.key", "ca": "ca.crt" });
    let mirror =
        || json!({ "type": "RequestMirror", "requestMirror": { "backendRef": own("Service") } });
    let route = || {
        let mut backend = own("Service");
        backend["filters"] = json!([mirror()]);
        json!({
            "parentRefs": [own("Gateway")], "hostnames": ["own.example"],
            "rules": [{ "filters": [mirror()], "backendRefs": [backend] }],
        })
    };
    let spec = match kind {
        "Gateway" => json!({
            "listeners": [{ "name": "http", "port": 8080, "protocol": "HTTP" }],
            "identity": format!("spiffe://m/ns/{namespace}/example"), "tls": tls,
            "acme": {
                "directory": "https://acme.example/dir", "termsOfServiceAgreed": true,
                "ca": format!("{namespace}.pem"),
            },
        }),
        "Service" => json!({
            "ports": [{ "port": 80, "protocol": "http" }, { "port": 81, "protocol": "tcp" }],
            "identity": format!("spiffe://m/ns/{namespace}/example"), "tls": tls,
            "endpoints": [{
                "address": "10.9.0.1:80", "sidecar": "10.9.0.1:15006",
                "ports": [{ "port": 81, "address": "10.9.0.1:81" }],
            }],
        }),
        "ExternalService" => json!({
            "hosts": ["outside.example"], "ports": [{
                "port": 80, "protocol": "http",
                "tls": { "caCertificateRefs": [{ "kind": "File", "name": format!("{namespace}.pem") }] },
            }],
            "addresses": ["203.0.113.1"],
        }),
        "HTTPRoute" | "GRPCRoute" => route(),
        "TLSRoute" => json!({
            "parentRefs": [own("Gateway")], "hostnames": ["own.example"],
            "rules": [{ "backendRefs": [own("Service")] }],
        }),
        "TCPRoute" | "UDPRoute" => json!({
            "parentRefs": [own("Gateway")], "rules": [{ "backendRefs": [own("Service")] }],
        }),
        "ReferenceGrant" => json!({
            "from": [{ "kind": "HTTPRoute", "namespace": namespace }], "to": [{ "kind": "Service" }],
        }),
        "Filter" => json!({ "world": "authorizer", "repository": format!("{namespace}/x") }),
        "FilterAttachment" => json!({
            "targetRefs": [target("Service")], "filter": format!("{namespace}/x"),
            "phase": "authn", "order": 1, "config": {},
        }),
        "Grant" => json!({
            "filter": format!("{namespace}/x"), "signedBy": { "keys": ["k"] },
            "imports": {
                "http-client": { "hosts": ["x.example"], "services": [format!("{namespace}/example")] },
                "secrets": { "names": ["s"] },
            },
        }),
        "TrustPolicy" => json!({
            "namespaces": [format!("{namespace}/x")], "threshold": 1,
            "keys": [{ "name": "k", "publicKeyFile": "example.pub" }],
            "floorVersions": { format!("{namespace}/x"): "1.0.0" },
        }),
        // Elsewhere nobody may write one, whatever it names.
        "FederatedTrustDomain" if namespace != "security" => return None,
        "FederatedTrustDomain" => json!({
            "trustDomain": "partner.example",
            "bundleRef": { "kind": "File", "name": format!("{namespace}.json") },
        }),
        "BackendTLSPolicy" => json!({
            "targetRefs": [target("Service")],
            "validation": {
                "hostname": "own.example",
                "caCertificateRefs": [{ "kind": "File", "name": format!("{namespace}.pem") }],
            },
        }),
        "UpstreamPolicy" => json!({ "targetRefs": [target("Service")] }),
        "AuthorizationPolicy" => json!({
            "targetRefs": [target("Service")], "mode": "audit",
            "allow": [{ "identities": [format!("spiffe://m/ns/{namespace}/example")] }],
            "cedar": { "file": format!("{namespace}.json") },
        }),
        // They are not applied: pins and rollouts have their own addresses.
        "Rollout" | "FiltersLock" => return None,
        other => panic!("write an example of {other}"),
    };
    Some(document(kind, namespace, "example", spec))
}

/// The place in an example that a rule is about, with the map that it stands in.
fn place<'a>(example: &'a mut Value, pattern: &str) -> &'a mut Value {
    let pointer = pattern.replace('*', "0").replace("/{}", "");
    let found = example.pointer_mut(&pointer);
    found.unwrap_or_else(|| panic!("the example has nothing at {pattern}; write it there"))
}

/// The rights of the tokens.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Space(&'static str),
    Nobody,
}

/// A case: the document, and the namespaces that a token needs rights over; `None`: rights over everything.
struct Case {
    what: String,
    document: Value,
    needs: Option<Vec<&'static str>>,
    /// Nobody may write it: it would decide about what is not its own to decide about.
    beyond: bool,
}

/// What a field names in the namespace `far`, in a document of the namespace `own`.
fn case(
    kind: &str,
    pattern: &str,
    rule: FieldReferent,
    own: &'static str,
    far: &'static str,
) -> Option<Case> {
    let mut document = example(kind, own)?;
    let mut needs = Some(vec![own]);
    let beyond =
        rule == FieldReferent::Filters && kind == "TrustPolicy" && own != "security" && far != own;
    let mut also = |space: &'static str| needs.as_mut().into_iter().for_each(|all| all.push(space));
    match rule {
        FieldReferent::Nothing | FieldReferent::Itself | FieldReferent::OfReference => return None,
        FieldReferent::Common => {
            // Everybody may use it, in any namespace.
            if pattern == "/spec/filter" {
                *place(&mut document, pattern) = json!(format!("{far}/x"));
            } else if far != own {
                return None;
            }
        }
        FieldReferent::Reference(_) => {
            let parent = pattern.rsplit_once('/')?.0;
            let reference = place(&mut document, parent);
            if reference.get("namespace").is_some() {
                reference["namespace"] = json!(far);
                also(far);
            } else if far != own {
                return None;
            }
        }
        FieldReferent::Target => {
            if far != own {
                return None;
            }
            *place(&mut document, "/spec/targetRefs/*") = json!({ "kind": "Mesh" });
            needs = None;
        }
        // Pins and rollouts are not applied. A grant of security names services of others with rights to them, one of
        // others only takes away.
        FieldReferent::Service if kind == "Grant" => {
            *place(&mut document, pattern) = json!(format!("{far}/seed"));
            if own == "security" {
                also(far);
            }
        }
        FieldReferent::Service => return None,
        FieldReferent::Filters => {
            // Security decides about all of them; a grant of others narrows what they attach themselves.
            if pattern.ends_with("{}") {
                *place(&mut document, pattern) = json!({ format!("{far}/x"): "1.0.0" });
            } else {
                *place(&mut document, pattern) = json!(format!("{far}/x"));
            }
        }
        FieldReferent::File => {
            *place(&mut document, pattern) = json!(format!("{far}.json"));
            also(far);
        }
        FieldReferent::Configuration => {
            *place(&mut document, pattern) =
                json!({ "issuers": [{ "jwks": { "file": format!("{far}.json") } }] });
            also(far);
        }
        FieldReferent::Identity => {
            *place(&mut document, pattern) = json!(format!("spiffe://m/ns/{far}/seed"));
            also(far);
        }
        FieldReferent::Socket => {
            *place(&mut document, pattern) = json!(socket(far));
            also(far);
        }
        FieldReferent::Host => {
            document["spec"]["parentRefs"] = json!([{ "name": "open", "namespace": "infra" }]);
            *place(&mut document, pattern) = json!(format!("{far}.example"));
            also(far);
        }
        FieldReferent::Repository => {
            *place(&mut document, pattern) = json!(format!("{far}/x"));
            also(far);
        }
    }
    Some(Case { what: format!("{kind} {pattern} of {own} names {far}"), document, needs, beyond })
}

fn socket(namespace: &str) -> String {
    let at = SPACES.iter().position(|one| *one == namespace).unwrap();
    format!("10.0.0.{}:15006", at + 1)
}

/// What each namespace has: a service with a sidecar, a file that a document names, a host of the shared gateway.
fn seeds() -> Vec<Value> {
    let allowed = json!({ "namespaces": { "from": "All" } });
    let listener =
        json!({ "name": "http", "port": 8080, "protocol": "HTTP", "allowedRoutes": allowed });
    let mut seeds = vec![document("Gateway", "infra", "open", json!({ "listeners": [listener] }))];
    for space in SPACES {
        let tls = json!({ "certificate": "c.crt", "key": "c.key", "ca": "ca.crt" });
        let service = json!({
            "ports": [{ "port": 80, "protocol": "http" }],
            "identity": format!("spiffe://m/ns/{space}/seed"), "tls": tls,
            "endpoints": [{ "address": "127.0.0.1:80", "sidecar": socket(space) }],
        });
        seeds.push(document("Service", space, "seed", service));
        let attachment = json!({
            "targetRefs": [{ "kind": "Service", "name": "seed" }], "filter": format!("{space}/x"),
            "phase": "authn", "order": 9, "config": { "jwks": { "file": format!("{space}.json") } },
        });
        seeds.push(document("FilterAttachment", space, "seed", attachment));
        let route = json!({
            "parentRefs": [{ "name": "open", "namespace": "infra" }],
            "hostnames": [format!("{space}.example")], "rules": [{}],
        });
        seeds.push(document("HTTPRoute", space, "seed", route));
    }
    seeds
}

fn key(item: &Value) -> String {
    let word = |name: &str| item[name].as_str().unwrap().to_owned();
    format!("{}/{}/{}", word("kind"), word("namespace"), word("name"))
}
