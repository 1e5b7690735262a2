//! The mesh: a thousand services with a sidecar each, ten slots in every sidecar, and everybody's certificates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use tamis_api::{ApplyRequest, FileText, SourceText};

/// Who the registry is to proxies.
pub(crate) const DIRECTOR: &str = "spiffe://fleet.example/registry";
/// The built-in filter in each place, and its phase. The router has a slot for either direction, so that nine attachments
/// make ten slots.
pub(crate) const FILTERS: [(&str, &str); 9] = [
    ("route", "traffic"),
    ("retry", "traffic"),
    ("circuit-breaker", "traffic"),
    ("telemetry", "observe"),
    ("jwt", "authn"),
    ("jwt", "authn"),
    ("jwt", "authn"),
    ("jwt", "authz"),
    ("jwt", "authz"),
];
/// Slots of a sidecar.
pub(crate) const SLOTS: usize = FILTERS.len() + 1;

/// The service of a sidecar.
pub(crate) fn service(at: usize) -> String {
    format!("shop/s{at}")
}

/// The filter in a place.
pub(crate) fn filter(place: usize) -> String {
    format!("bench/f{place}")
}

/// The slot of a filter that is not the router.
pub(crate) fn slot(place: usize) -> String {
    format!("shop/f{place}")
}

/// The documents in force. Sidecars find their certificate at one path, each on a machine of its own.
pub(crate) fn documents(services: usize, key: &str) -> ApplyRequest {
    let mut mesh: Vec<Value> = (0..services).flat_map(|at| [endpoint(at), policy(at)]).collect();
    for (place, (kind, phase)) in FILTERS.iter().enumerate() {
        mesh.extend(attachment(place, kind, phase));
    }
    mesh.push(document(
        "TrustPolicy",
        "fleet",
        "security",
        &json!({
            "namespaces": ["*"], "threshold": 1,
            "keys": [{ "name": "fleet", "publicKeyFile": "fleet.pub" }],
        }),
    ));
    let text: Vec<String> = mesh.iter().map(Value::to_string).collect();
    ApplyRequest {
        sources: vec![SourceText { source: "mesh.yaml".to_owned(), text: text.join("\n---\n") }],
        files: vec![FileText { path: "fleet.pub".to_owned(), text: key.to_owned() }],
        confirm: true,
        ..ApplyRequest::default()
    }
}

fn endpoint(at: usize) -> Value {
    let (high, low) = (at / 250, at % 250 + 1);
    document(
        "Service",
        &format!("s{at}"),
        "shop",
        &json!({
            "ports": [{ "port": 80, "protocol": "http" }],
            "identity": identity(at),
            "tls": { "certificate": "tls/own.crt", "key": "tls/own.key", "ca": "tls/ca.crt" },
            "endpoints": [{
                "address": "127.0.0.1:8080", "sidecar": format!("10.{high}.{low}.1:15006"),
                "outbound": "127.0.0.1:15001", "admin": "127.0.0.1:15000",
            }],
        }),
    )
}

fn policy(at: usize) -> Value {
    let spec = json!({
        "targetRefs": [{ "kind": "Service", "name": format!("s{at}") }],
        "connectTimeout": "500ms", "slowCall": "300ms", "maxConnections": 256,
        "retryBudget": { "percent": 10, "minPerSecond": 5 },
    });
    document("UpstreamPolicy", &format!("s{at}"), "shop", &spec)
}

fn attachment(place: usize, kind: &str, phase: &str) -> [Value; 3] {
    let (name, filter) = (format!("f{place}"), filter(place));
    let (world, config, grant) = match kind {
        "route" => (
            "route-policy",
            Value::Null,
            json!({
                "request": { "readHeaders": ["*"], "writeHeaders": ["*", ":path", ":authority"], "attributes": ["*"] },
                "response": { "writeHeaders": ["*"] }, "imports": { "log": {} },
                "limits": { "time": "5ms", "memory": "16MiB" },
            }),
        ),
        "retry" => (
            "retry-policy",
            json!({ "attempts": 3, "statuses": [502, 503, 504], "backoff": { "base": "25ms", "max": "250ms" } }),
            json!({ "request": { "attributes": ["route.name"] }, "imports": { "random": {}, "log": {} } }),
        ),
        "circuit-breaker" => (
            "breaker-policy",
            json!({ "consecutiveFailures": 5, "failureRatio": 0.5, "minimumRequests": 20, "openFor": "5s" }),
            json!({ "imports": { "log": {} } }),
        ),
        "telemetry" => (
            "telemetry-policy",
            json!({ "labels": ["route", "upstream", "status_class"] }),
            json!({ "imports": { "metrics": { "series": 1000 }, "log": {} } }),
        ),
        _ => (
            "refreshing-authorizer",
            tokens(place),
            json!({
                "request": { "readHeaders": ["authorization"], "writeHeaders": ["authorization"], "body": "none" },
                "imports": {
                    "clock": {}, "crypto": {}, "log": { "perSecond": 10 }, "kv": { "entries": 64 },
                    "http-client": { "hosts": [], "timeout": "5s" },
                },
                "limits": { "time": "5ms", "memory": "16MiB" },
            }),
        ),
    };
    let mut spec = json!({
        "targetRefs": [{ "kind": "Mesh" }], "filter": filter, "phase": phase, "order": 10 * place,
    });
    if !config.is_null()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("config".to_owned(), config);
    }
    let mut grant = grant;
    if let Some(grant) = grant.as_object_mut() {
        grant.insert("filter".to_owned(), json!(filter));
        grant.insert("signedBy".to_owned(), json!({ "keys": ["fleet"], "threshold": 1 }));
    }
    [
        document("FilterAttachment", &name, "shop", &spec),
        document("Filter", &name, "bench", &json!({ "world": world })),
        document("Grant", &name, "security", &grant),
    ]
}

/// What an issuer of tokens has: two keys of P-256 (RFC 7518 §6.2).
fn tokens(place: usize) -> Value {
    let key = |kid: &str| {
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": format!("{kid}-{place}"),
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    };
    json!({
        "required": false, "forward": true,
        "issuers": [{
            "issuer": format!("https://idp{place}.fleet.example"), "audiences": ["shop"],
            "algorithms": ["ES256"], "jwks": { "inline": { "keys": [key("now"), key("next")] } },
        }],
    })
}

fn document(kind: &str, name: &str, namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "tamis.dev/v1alpha1", "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

fn identity(at: usize) -> String {
    format!("spiffe://fleet.example/ns/shop/service/s{at}")
}

/// Certificate and key of a sidecar.
pub(crate) fn own_files(folder: &Path, at: usize) -> (PathBuf, PathBuf) {
    (folder.join(format!("certs/s{at}.crt")), folder.join(format!("certs/s{at}.key")))
}

/// Makes the authority (`ca.crt`), the registry's certificate (`registry.crt`), and one for each sidecar.
pub(crate) fn certificates(folder: &Path, services: usize) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pair = KeyPair::generate()?;
    let authority = params.self_signed(&pair)?;
    fs::write(folder.join("ca.crt"), authority.pem())?;
    let issuer = Issuer::from_ca_cert_pem(&authority.pem(), pair)?;
    let own = (folder.join("registry.crt"), folder.join("registry.key"));
    let address = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    issue(&issuer, &own, vec![SanType::URI(DIRECTOR.try_into()?), address])?;
    fs::create_dir_all(folder.join("certs"))?;
    for at in 0..services {
        let id = identity(at);
        issue(&issuer, &own_files(folder, at), vec![SanType::URI(id.as_str().try_into()?)])?;
    }
    Ok(())
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    (certificate, key): &(PathBuf, PathBuf),
    names: Vec<SanType>,
) -> Result<()> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pair = KeyPair::generate()?;
    fs::write(certificate, params.signed_by(&pair, issuer)?.pem())
        .with_context(|| format!("{} cannot be written", certificate.display()))?;
    Ok(fs::write(key, pair.serialize_pem())?)
}
