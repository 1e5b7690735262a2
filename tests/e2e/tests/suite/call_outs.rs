//! Call-outs of filters to services of the mesh: by name, with the identity of the proxy that the filter runs in, over mTLS,
//! to the endpoints that answer, where the grant and the called service allow it.

use crate::connections::serve_each;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use tamis_e2e::{
    Backend, Folder, FolderOptions, Reply, RunningProcess, eventually, free_port, get, request,
};

/// A gateway and a service `app` behind a sidecar, where `tamis/ext-authz` asks the service `policy` with two endpoints,
/// each behind a sidecar that enforces who may call it.
struct Mesh {
    folder: Folder,
    /// The endpoints of `policy`.
    deciders: [Backend; 2],
    app: Backend,
}

/// Who asks, and how its proxy is recorded by the asked one.
const EDGE: &str = "spiffe://test.example/ns/test/gateway/edge";
const APP: &str = "spiffe://test.example/ns/test/service/app";

const ENFORCED: &str = "\
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: authz, namespace: tamis }
spec: { world: authorizer, receives: AuthorizationPolicy }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: authz, namespace: security }
spec:
  filter: tamis/authz
  request: { attributes: [peer.spiffe-id, source.address, listener.name, route.name, jwt.claims] }
  imports: { log: { perSecond: 1000 } }
  limits: { time: 2s, memory: 32MiB }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: authz, namespace: test }
spec: { targetRefs: [{ kind: Service, name: policy }], filter: tamis/authz, phase: authz, order: 10 }
";

/// Who may ask `policy`.
fn allows(identities: &[&str]) -> String {
    let allow = match identities {
        [] => "  allow: []\n".to_owned(),
        all => format!("  allow: [{{ name: asks, identities: [{}] }}]\n", all.join(", ")),
    };
    format!(
        "kind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: policy, namespace: test }}\n\
         spec:\n  targetRefs: [{{ kind: Service, name: policy }}]\n{allow}"
    )
}

/// The filter that asks, and what it may call.
fn asking(url: &str, callees: &str) -> String {
    format!(
        "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: ext-authz, namespace: tamis }}\nspec: {{ world: authorizer }}\n---\n\
         kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: ask, namespace: test }}\nspec:\n  \
         targetRefs: [{{ kind: Gateway, name: edge }}, {{ kind: Service, name: app }}]\n  filter: tamis/ext-authz\n  \
         phase: authz\n  order: 20\n  config: {{ url: \"{url}\", timeout: 10s }}\n---\n\
         kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: ext-authz, namespace: security }}\nspec:\n  \
         filter: tamis/ext-authz\n  request: {{ readHeaders: [authorization], attributes: [source.address] }}\n  \
         imports: {{ log: {{ perSecond: 1000 }}, http-client: {{ {callees}, timeout: 10s, perMinute: 60000, duringRequests: true }} }}\n  \
         limits: {{ time: 1s, memory: 8MiB }}\n"
    )
}

const URL: &str = "http://policy.test.mesh/check";
const GRANTED: &str = "services: [test/policy]";

fn identity(kind: &str, name: &str) -> String {
    format!(
        "  identity: spiffe://test.example/ns/test/{kind}/{name}\n  tls: {{ certificate: .tamis/certs/{name}.crt, \
         key: .tamis/certs/{name}.key, ca: .tamis/certs/ca.crt }}\n"
    )
}

/// The sockets of a sidecar.
fn sockets() -> String {
    let (sidecar, outbound, admin) = (free_port(), free_port(), free_port());
    format!(
        "sidecar: \"127.0.0.1:{sidecar}\", outbound: \"127.0.0.1:{outbound}\", admin: \"127.0.0.1:{admin}\""
    )
}

impl Mesh {
    fn new() -> Self {
        let (app, deciders) = (Backend::start(), [Backend::start(), Backend::start()]);
        let (gateway, service) = (identity("gateway", "edge"), identity("service", "app"));
        let folder = Folder::documents_with(
            &[app.address],
            &FolderOptions {
                gateway: &gateway,
                service: &service,
                endpoint: &sockets(),
                attempts: 1,
                consecutive_failures: 1,
                ..FolderOptions::default()
            },
        );
        let endpoint =
            |one: &Backend| format!("    - {{ address: \"{}\", {} }}\n", one.address, sockets());
        let endpoints: String = deciders.iter().map(endpoint).collect();
        folder.write(
            "policy-service.yaml",
            &format!(
                "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: policy, namespace: test }}\nspec:\n  \
                 ports: [{{ port: 80, protocol: http }}]\n{}  endpoints:\n{endpoints}",
                identity("service", "policy"),
            ),
        );
        folder.write("enforced.yaml", ENFORCED);
        folder.write("policy.yaml", &allows(&[EDGE, APP]));
        folder.write("asking.yaml", &asking(URL, GRANTED));
        folder.prepare();
        Self { folder, deciders, app }
    }

    fn proxy(&self, node: &str, log: &str) -> RunningProcess {
        let arguments = ["proxy", "--node", node, "--documents", ".", "--store", ".tamis/store"];
        let rest = ["--cache", ".tamis/cache", "--access-log-file", log, "--run-folder", "run"];
        let running =
            RunningProcess::start(self.folder.path(), &[&arguments[..], &rest[..]].concat());
        running.event("it serves", |event| event["event"] == "ready");
        running
    }

    fn ask(&self, path: &str) -> Reply {
        request(&self.folder.http, "GET", path, &[("authorization", "Bearer a")], b"")
    }

    /// What the sidecars of `policy` recorded of checks of that path, each once.
    fn checks(&self, path: &str) -> Vec<Value> {
        let texts = ["policy0.jsonl", "policy1.jsonl"].map(|log| self.folder.read(log));
        let lines = texts.iter().flat_map(|text| text.lines());
        let records = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter(|record| record["path"] == format!("/check{path}")).collect()
    }

    /// The reply to a request of a path that nobody asked for before, once it is as wanted.
    fn becomes(&self, what: &str, is: impl Fn(&Reply) -> bool) -> Reply {
        let mut number = 0;
        eventually(what, || {
            number += 1;
            Some(self.ask(&format!("/{}/{number}", what.replace(' ', "-")))).filter(&is)
        })
    }
}

#[test]
fn a_filter_calls_a_service_by_its_name_with_the_identity_of_its_proxy() {
    let mesh = Mesh::new();
    // One after the other: the first compiles the filters for all.
    let first = mesh.proxy("sidecar:test/policy/0", "policy0.jsonl");
    let _second = mesh.proxy("sidecar:test/policy/1", "policy1.jsonl");
    let _app = mesh.proxy("sidecar:test/app/0", "app.jsonl");
    let gateway = mesh.folder.start(&[]);

    let reply = mesh.ask("/pay?a=1");
    assert_eq!(reply.status, 200, "{reply:?}");
    // The gateway asked, and then the sidecar of the service: each as itself.
    let mut peers: Vec<String> = eventually("both are recorded", || {
        let checks = mesh.checks("/pay?a=1");
        let peers = checks.iter().map(|one| one["peer"].as_str().unwrap().to_owned());
        (checks.len() == 2).then(|| peers.collect())
    });
    peers.sort();
    assert_eq!(peers, [EDGE, APP]);
    let asked = mesh.deciders.iter().find_map(Backend::last).unwrap();
    assert!(asked.line.starts_with("GET /check/pay?a=1"), "{asked:?}");
    let has = |name: &str, value: &str| {
        asked.headers.iter().any(|(n, v)| (n.as_str(), v.as_str()) == (name, value))
    };
    assert!(has("authorization", "Bearer a") && has("host", "policy.test.mesh"), "{asked:?}");

    // The endpoints share the calls, and a circuit keeps the calls from the one that is gone.
    eventually("both endpoints are asked", || {
        mesh.ask("/shared");
        mesh.deciders.iter().all(|one| one.count() > 2).then_some(())
    });
    drop(first);
    mesh.becomes("one fails", |reply| reply.status == 503);
    mesh.becomes("its circuit is open", |_| (0..20).all(|_| mesh.ask("/open").status == 200));
    let served = mesh.app.count();

    // Whom the called service does not allow is refused by it, whoever granted the call.
    mesh.folder.write("policy.yaml", &allows(&[EDGE]));
    let reply = mesh.becomes("the sidecar may not ask", |reply| reply.status == 403);
    assert_eq!(reply.header("x-tamis-reason"), Some("ext-authz.denied"), "{reply:?}");
    let denied = eventually("the refusal is recorded by the called service", || {
        let text = mesh.folder.read("policy1.jsonl");
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.into_iter().find(|one| one["status"] == 403)
    });
    assert_eq!((&denied["peer"], &denied["reason"]), (&APP.into(), &"authz.no-rule".into()));
    assert!(mesh.app.count() >= served);
    mesh.folder.write("policy.yaml", &allows(&[EDGE, APP]));
    mesh.becomes("both may ask again", |reply| reply.status == 200);

    // An endpoint that is back is asked again, so that no failure below is its.
    let _first = mesh.proxy("sidecar:test/policy/0", "policy0.jsonl");
    let count = mesh.deciders[0].count();
    eventually("the first endpoint is asked again", || {
        mesh.ask("/back");
        (mesh.deciders[0].count() > count + 4).then_some(())
    });

    // Without the grant, and with a name that nobody has, nothing is called and the log says why.
    for (what, url, callees, says) in [
        (
            "it is not granted",
            URL,
            "hosts: [\"policy.test.mesh\"]",
            "`imports.http-client.services`",
        ),
        (
            "it is called as a host",
            "https://policy.test.mesh/check",
            GRANTED,
            "http://policy.test.mesh",
        ),
        (
            "it does not exist",
            "http://nobody.test.mesh/check",
            "services: [test/nobody]",
            "the mesh has no service test/nobody",
        ),
        ("it has no such port", "http://policy.test.mesh:81/check", GRANTED, "has no port 81"),
    ] {
        let asked = || mesh.deciders.iter().map(Backend::count).sum::<u64>();
        mesh.folder.write("asking.yaml", &asking(url, callees));
        eventually(what, || {
            mesh.ask("/until-it-is-refused");
            let said = gateway.errors() + &format!("{:?}", gateway.events());
            said.contains(says).then_some(())
        });
        let before = asked();
        let reply = mesh.ask("/not-called");
        let seen = (reply.status, reply.header("x-tamis-reason"));
        assert_eq!(seen, (503, Some("ext-authz.unavailable")), "{what}");
        assert_eq!(asked(), before, "{what}: nobody is asked");
        mesh.folder.write("asking.yaml", &asking(URL, GRANTED));
        mesh.becomes("it works again", |reply| reply.status == 200);
    }
}

/// A server of gRPC, by prior knowledge: it greets by name, and has no greeting for `/nobody`. What a client of gRPC must not
/// send or leave out, it says.
fn greeter() -> SocketAddr {
    serve_each(async |stream| {
        let served = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(greet));
        // A connection that breaks is one that the proxy has ended.
        drop(served.await);
    })
}

async fn greet(
    request: Request<hyper::body::Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let field = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let wrong = [
        (head.method == "POST" && head.uri.path() == "/acme.Greeter/Greet", "the method"),
        (field("content-type").as_deref() == Some("application/grpc"), "content-type"),
        (field("te").as_deref() == Some("trailers"), "te"),
        (field("grpc-timeout").as_deref() == Some("10000m"), "grpc-timeout"),
        (field("x-caller").as_deref() == Some("guest"), "metadata"),
        (body.len() > 5 && body[..4] == [0, 0, 0, 0], "the frame"),
    ];
    let wrong: Vec<&str> =
        wrong.iter().filter(|(right, _)| !right).map(|(_, what)| *what).collect();
    let name = String::from_utf8_lossy(body.get(5..).unwrap_or_default()).into_owned();
    let said = if wrong.is_empty() { format!("hello {name}") } else { format!("wrong: {wrong:?}") };
    let (status, content) = match name.as_str() {
        "/nobody" => ("5", Bytes::new()),
        _ => {
            let length = u32::try_from(said.len()).unwrap().to_be_bytes();
            ("0", Bytes::from([&[0][..], &length, said.as_bytes()].concat()))
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", "no%20such%20name".parse().unwrap());
    let body = Full::new(content).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    Ok(response)
}

#[test]
fn a_filter_calls_a_method_of_grpc_through_a_sidecar_and_reads_its_status() {
    let app = Backend::start();
    let gateway = identity("gateway", "edge");
    let options = FolderOptions { gateway: &gateway, ..FolderOptions::default() };
    let folder = Folder::documents_with(&[app.address], &options);
    folder.write(
        "greeter.yaml",
        &format!(
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: greeter, namespace: test }}\nspec:\n  \
             ports: [{{ port: 80, protocol: grpc }}]\n{}  endpoints:\n    - {{ address: \"{}\", {} }}\n",
            identity("service", "greeter"),
            greeter(),
            sockets()
        ),
    );
    folder.prepare();
    crate::guests::sign(&folder, "1.0.0");
    let grant = crate::guests::GRANT
        .replace("hosts: []", "services: [test/greeter], duringRequests: true, timeout: 10s")
        .replace("20ms", "1s");
    folder.attach("guest", "test/guest", "{ do: grpc, reads: [\":path\"] }", &grant, "");
    let arguments = [
        "proxy",
        "--node",
        "sidecar:test/greeter/0",
        "--documents",
        ".",
        "--store",
        ".tamis/store",
    ];
    let rest = ["--cache", ".tamis/cache", "--run-folder", "run"];
    let sidecar = RunningProcess::start(folder.path(), &[&arguments[..], &rest[..]].concat());
    sidecar.event("it serves", |event| event["event"] == "ready");
    let _gateway = folder.start(&[]);
    for (path, says) in [
        ("/ada", "hello /ada"),
        ("/nobody", "the call failed with 5: no such name"),
        ("/bob", "hello /bob"),
    ] {
        let reply = get(&folder.http, path);
        assert_eq!((reply.status, reply.body.as_str()), (200, says), "{path}");
    }
    drop(sidecar);
    let reply = get(&folder.http, "/ada");
    assert!(reply.body.starts_with("the call has no response: no connection: "), "{reply:?}");
}
