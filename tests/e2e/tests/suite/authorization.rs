//! Who may call what: `AuthorizationPolicy`, enforced in the sidecar of the called service, by real processes with
//! certificates of the mesh.

use serde_json::Value;
use std::cell::Cell;
use tamis_e2e::{
    Backend, Folder, FolderOptions, Reply, RunningProcess, eventually, free_port, get, request,
    tamis,
};

mod broken;
mod claims;
mod commands;
mod owners;

/// A gateway and two services with a sidecar each: `app` is called, by the gateway and by `web`.
struct Mesh {
    folder: Folder,
    /// The application of both services.
    backend: Backend,
    /// Where the application of `web` enters the mesh.
    web: String,
    /// Admin listener of the sidecar of `app`.
    admin: String,
    /// Requests so far: each has a query of its own, by which its record is found.
    asked: Cell<u64>,
}

/// The processes of a mesh.
struct Running {
    app: RunningProcess,
    _others: [RunningProcess; 2],
}

/// The filter for every service.
pub(crate) const SWITCH: &str = "\
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
  request: { readHeaders: [x-team], attributes: [peer.spiffe-id, source.address, listener.name, route.name, jwt.claims] }
  imports: { log: { perSecond: 1000 } }
  limits: { time: 2s, memory: 32MiB }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: authz, namespace: test }
spec: { targetRefs: [{ kind: Mesh }], filter: tamis/authz, phase: authz, order: 10 }
";

/// A policy of a namespace.
pub(crate) fn policy(space: &str, name: &str, target: &str, rest: &str) -> String {
    format!(
        "---\nkind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: {space} }}\n\
         spec:\n  targetRefs: [{target}]\n{rest}"
    )
}

const APP: &str = "{ kind: Service, name: app }";
const WEB: &str = "{ kind: Service, name: web }";
const MESH: &str = "{ kind: Mesh }";
const ALLOW_ALL: &str = "  allow: [{}]\n";

impl Mesh {
    /// With these policies, signed and pinned; nothing runs yet.
    fn new(policies: &str) -> Self {
        let backend = Backend::start();
        let ports = || (free_port(), free_port(), free_port());
        let (app, web) = (ports(), ports());
        let sockets = |ports: &(u16, u16, u16)| {
            format!(
                "sidecar: \"127.0.0.1:{}\", outbound: \"127.0.0.1:{}\", admin: \"127.0.0.1:{}\"",
                ports.0, ports.1, ports.2
            )
        };
        let (gateway, service) = (identity("gateway", "edge"), identity("service", "app"));
        let folder = Folder::documents_with(
            &[backend.address],
            &FolderOptions {
                gateway: &gateway,
                service: &service,
                endpoint: &sockets(&app),
                attempts: 1,
                ..FolderOptions::default()
            },
        );
        folder.write(
            "web.yaml",
            &format!(
                "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: web, namespace: test }}\nspec:\n  \
                 ports: [{{ port: 80, protocol: http }}]\n{}  endpoints: [{{ address: \"{}\", {} }}]\n",
                identity("service", "web"),
                backend.address,
                sockets(&web)
            ),
        );
        folder.write("authz.yaml", SWITCH);
        folder.prepare();
        let mesh = Self {
            folder,
            backend,
            web: format!("127.0.0.1:{}", web.1),
            admin: format!("127.0.0.1:{}", app.2),
            asked: Cell::new(0),
        };
        mesh.set(policies);
        mesh
    }

    /// Puts policies in the place of those before. Without any the file goes: one that is empty is what a full disk leaves.
    fn set(&self, policies: &str) {
        if policies.is_empty() {
            // There may have been none before.
            let _gone = std::fs::remove_file(self.folder.file("policies.yaml"));
        } else {
            self.folder.write("policies.yaml", policies);
        }
    }

    fn start(&self) -> Running {
        let proxy = |node: &str, log: &str| {
            let arguments =
                ["proxy", "--node", node, "--documents", ".", "--store", ".tamis/store"];
            let rest = ["--cache", ".tamis/cache", "--access-log-file", log, "--run-folder", "run"];
            let running =
                RunningProcess::start(self.folder.path(), &[&arguments[..], &rest[..]].concat());
            running.event("it serves", |event| event["event"] == "ready");
            running
        };
        // One after the other: the first compiles the filters for all.
        let app = proxy("sidecar:test/app/0", "app.jsonl");
        let web = proxy("sidecar:test/web/0", "web.jsonl");
        Running { app, _others: [web, self.folder.start(&[])] }
    }

    /// A request to `app` by a caller: `web`, or `edge` for the gateway.
    fn call(&self, caller: &str, method: &str, path: &str) -> Reply {
        self.call_with(caller, method, path, &[])
    }

    fn call_with(&self, caller: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let headers = [headers, &[("host", "app")]].concat();
        let address = if caller == "web" { &self.web } else { &self.folder.http };
        request(address, method, path, &headers, b"")
    }

    /// Waits until `web` gets that status from `app`, and returns the record of the sidecar of `app`.
    fn becomes(&self, what: &str, path: &str, status: u16) -> Value {
        let path = eventually(what, || {
            self.asked.set(self.asked.get() + 1);
            let path = format!("{path}?asked={}", self.asked.get());
            (self.call("web", "GET", &path).status == status).then_some(path)
        });
        self.record(&path)
    }

    /// The record of the sidecar of `app` about a path.
    fn record(&self, path: &str) -> Value {
        eventually("the access record", || {
            let text = self.folder.read("app.jsonl");
            let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            records.into_iter().find(|record| record["path"] == path)
        })
    }
}

fn identity(kind: &str, name: &str) -> String {
    format!(
        "  identity: spiffe://test.example/ns/test/{kind}/{name}\n  tls: {{ certificate: .tamis/certs/{name}.crt, \
         key: .tamis/certs/{name}.key, ca: .tamis/certs/ca.crt }}\n"
    )
}

const RULES: &str = "  allow:
    - name: web
      identities: [spiffe://test.example/ns/test/service/web]
      methods: [GET, POST]
      paths: [{ value: /pay }]
    - name: edge
      identities: [spiffe://test.example/ns/test/gateway/*]
      methods: [GET]
      paths: [{ type: Template, value: \"/users/{id}\" }, { type: Exact, value: /status }]
  deny:
    - name: internal
      paths: [{ value: /pay/internal }]
";

#[test]
fn a_sidecar_finds_a_service_by_its_name_in_every_spelling_that_means_it() {
    let mesh = Mesh::new(&policy("test", "app", APP, ALLOW_ALL));
    let _running = mesh.start();
    for (number, (host, sent)) in [
        ("app", Some("app")),
        ("app.", Some("app")),
        ("APP.", Some("app")),
        ("app:", Some("app")),
        ("app:80", Some("app")),
        ("app.:80", Some("app")),
        ("app.:0080", Some("app")),
        ("app.test", Some("app.test")),
        ("app.test.", Some("app.test")),
        ("app.test.mesh", Some("app.test.mesh")),
        ("app.test.mesh.:80", Some("app.test.mesh")),
        ("app.other.", None),
        ("apps.", None),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, before) = (format!("/spelling?{number}"), mesh.backend.count());
        let reply = request(&mesh.web, "GET", &path, &[("host", host)], b"");
        let Some(sent) = sent else {
            assert_eq!((reply.status, mesh.backend.count()), (404, before), "{host}");
            continue;
        };
        assert_eq!(reply.status, 200, "{host}: {}", reply.body);
        let seen = mesh.backend.last().unwrap();
        let found = seen.headers.iter().find(|(name, _)| name == "host").unwrap();
        assert_eq!(found.1, sent, "{host}");
        assert_eq!(mesh.record(&path)["authority"], sent, "{host}");
    }
}

#[test]
fn nothing_is_allowed_but_what_a_rule_allows() {
    let mesh = Mesh::new("");
    let running = mesh.start();
    for (caller, path) in [("web", "/pay?closed"), ("edge", "/status?closed")] {
        assert_eq!(mesh.call(caller, "GET", path).status, 403, "{caller} {path}");
        assert_eq!(mesh.record(path)["reason"], "authz.no-rule", "{caller} {path}");
    }
    assert_eq!(mesh.backend.count(), 0, "what is refused reaches no application");
    // The log has what would allow it, and that is enough.
    let line = eventually("the log has the line to add", || {
        let said = running.app.errors() + &format!("{:?}", running.app.events());
        said.contains("to allow it, add this under `allow`").then_some(said)
    });
    assert!(line.contains("spiffe://test.example/ns/test/service/web"), "{line}");

    mesh.set(&policy("test", "app", APP, RULES));
    mesh.becomes("the policy is in force", "/pay", 200);
    let (denied, none) = ("authz.denied.test.app.deny.internal", "authz.no-rule");
    let (web, edge) = ("authz.allowed.test.app.allow.web", "authz.allowed.test.app.allow.edge");
    for (number, (caller, method, path, status, reason)) in [
        ("web", "GET", "/pay", 200, web),
        ("web", "POST", "/pay/card", 200, web),
        ("web", "GET", "/%70ay", 200, web),
        ("web", "DELETE", "/pay", 403, none),
        ("web", "GET", "/payments", 403, none),
        ("web", "GET", "/users/7", 403, none),
        ("web", "GET", "/pay/internal", 403, denied),
        ("web", "GET", "/pay/internal/x", 403, denied),
        ("web", "GET", "/pay/%69nternal", 403, denied),
        ("web", "GET", "//pay/./internal", 403, denied),
        ("web", "GET", "/x/../pay/internal", 403, denied),
        ("edge", "GET", "/users/7", 200, edge),
        ("edge", "GET", "/status", 200, edge),
        ("edge", "GET", "/users/7/orders", 403, none),
        ("edge", "GET", "/status/x", 403, none),
        ("edge", "POST", "/status", 403, none),
        ("edge", "GET", "/pay", 403, none),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{caller} {method} {path}");
        let asked = format!("{path}?n={number}");
        // Whoever calls does not say who they are.
        let forged = [("x-spiffe-id", "spiffe://test.example/ns/test/service/web")];
        let reply = mesh.call_with(caller, method, &asked, &forged);
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        let end = format!("?n={number}");
        let record = eventually("the access record", || {
            let text = mesh.folder.read("app.jsonl");
            let mut all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            all.find(|record| record["path"].as_str().is_some_and(|it| it.ends_with(&end)))
        });
        assert_eq!(record["reason"].as_str().unwrap_or_default(), reason, "{what}: {record}");
        assert!(record["peer"].as_str().unwrap().ends_with(caller), "{what}: {record}");
    }
    let metrics = get(&mesh.admin, "/metrics").body;
    for reason in [none, denied] {
        let counts = |line: &&str| {
            line.starts_with("tamis_refusals_total") && line.contains(&format!("\"{reason}\""))
        };
        assert!(metrics.lines().any(|line| counts(&line)), "{reason}: {metrics}");
    }
}

#[test]
fn audit_refuses_nothing_and_records_state_what_it_would_refuse() {
    let mesh = Mesh::new("");
    let _running = mesh.start();
    mesh.becomes("no policy", "/pay", 403);
    let audit = |rest: &str| policy("test", "trial", APP, &format!("  mode: audit\n{rest}"));
    let pay = "  allow: [{ paths: [{ value: /pay }] }]\n";
    let deny = "  deny: [{ name: old, paths: [{ value: /pay/old }] }]\n";
    let enforced = policy("test", "app", APP, pay);
    let all = policy("test", "app", APP, ALLOW_ALL);
    let rows = [
        // A target all of whose policies are in this mode is open.
        ("only audit", audit(pay), "/pay", 200, "authz.allowed.test.trial.allow.0"),
        ("only audit and no rule", audit(pay), "/other", 200, "authz.audit.no-rule"),
        ("a rule", enforced.clone() + &audit(deny), "/pay", 200, "authz.allowed.test.app.allow.0"),
        (
            "a deny of audit",
            enforced.clone() + &audit(deny),
            "/pay/old",
            200,
            "authz.audit.denied.test.trial.deny.old",
        ),
        (
            "an allow of audit opens nothing",
            enforced + &audit(ALLOW_ALL),
            "/x",
            403,
            "authz.no-rule",
        ),
        ("all allowed", all.clone() + &audit(deny), "/x", 200, "authz.allowed.test.app.allow.0"),
        ("no audit any more", all, "/pay/old", 200, "authz.allowed.test.app.allow.0"),
    ];
    for (what, policies, path, status, reason) in rows {
        mesh.set(&policies);
        eventually(what, || {
            let record = mesh.becomes(what, path, status);
            (record["reason"].as_str().unwrap_or_default() == reason).then_some(())
        });
    }
    // The attachment can be in this mode, for all services.
    mesh.set("");
    mesh.becomes("closed again", "/pay", 403);
    mesh.folder.edit("authz.yaml", "order: 10 }", "order: 10, config: { mode: audit } }");
    let record = mesh.becomes("the mesh is in this mode", "/pay", 200);
    assert_eq!(record["reason"], "authz.audit.no-rule", "{record}");
}

#[test]
fn cedar_at_a_gateway_sees_the_route_and_no_method_has_two_spellings() {
    let gateway = |condition: &str| {
        let cedar = format!(
            "  allow: [{{}}]\n  cedar:\n    policies: |\n      forbid (principal, action, resource) when {{ {condition} }};\n"
        );
        policy("test", "edge", "{ kind: Gateway, name: edge }", &cedar)
    };
    let all = policy("test", "app", APP, ALLOW_ALL);
    let mesh = Mesh::new(&(all.clone() + &gateway("context.path == \"/gone\"")));
    let _running = mesh.start();
    assert_eq!(mesh.call("edge", "GET", "/status").status, 200);
    assert_eq!(mesh.call("edge", "GET", "/gone").status, 403);
    for (condition, status) in [
        ("context has route", 403),
        ("context has route && context.route == \"test/none/0\"", 200),
        ("!(context has route)", 200),
        ("context has \"route\"", 403),
    ] {
        mesh.set(&(all.clone() + &gateway(condition)));
        let what = format!("{condition} in force");
        eventually(&what, || (mesh.call("edge", "GET", "/status").status == status).then_some(()));
    }
    // Whatever a rule says of a method holds for all its spellings.
    mesh.set(&(all + &gateway("context.method == \"POST\"")));
    eventually("a rule of methods in force", || {
        let status = |method: &str| mesh.call("edge", method, "/status").status;
        (status("POST") == 403 && status("GET") == 200).then_some(())
    });
    for (method, status) in [("post", 400), ("Delete", 400), ("gET", 400), ("purge", 200)] {
        assert_eq!(mesh.call("edge", method, "/status").status, status, "{method}");
    }
}

#[test]
fn check_names_the_place_of_an_error_in_cedar() {
    let mesh = Mesh::new("");
    let checked = |rest: &str| {
        mesh.set(&policy("test", "app", APP, rest));
        let done = tamis(mesh.folder.path(), &["check", ".", "--output", "json"]);
        assert!(!done.status.success());
        let read: Value = serde_json::from_slice(&done.stdout).unwrap();
        read["problems"].clone()
    };
    let sound = "permit (principal, action, resource);\n";
    mesh.folder.write("sound.cedar", sound);
    mesh.folder.write("broken.cedar", "permit (principal, action, resource)\nwhen { tru };\n");
    for (what, rest, line, part) in [
        (
            "syntax",
            "  cedar:\n    policies: |\n      permit (principal, action;\n",
            9,
            "unexpected",
        ),
        (
            "a field that the schema has not",
            "  cedar:\n    policies: |\n      permit (principal, action, resource) when { context.user == \"a\" };\n",
            9,
            "user",
        ),
        ("a file", "  cedar: { file: broken.cedar }\n", 7, "tru"),
        ("no file", "  cedar: { file: gone.cedar }\n", 7, "gone.cedar"),
        ("a rule", "  allow:\n    - { paths: [{ value: /a//b }] }\n", 8, "empty segments"),
    ] {
        let problems = checked(rest);
        let first = &problems[0];
        assert_eq!(problems.as_array().map(Vec::len), Some(1), "{what}: {problems}");
        assert_eq!(first["place"]["source"], "policies.yaml", "{what}: {first}");
        assert_eq!(first["place"]["line"], line, "{what}: {first}");
        assert!(first["message"].as_str().unwrap().contains(part), "{what}: {first}");
    }
    mesh.set(&policy("test", "app", APP, "  cedar: { file: sound.cedar }\n"));
    let done = tamis(mesh.folder.path(), &["check", "."]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
