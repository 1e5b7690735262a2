//! `tamis authz test`, `explain` and `learn`.

use serde_json::Value;
use tamis_e2e::{root, tamis};
use tempfile::TempDir;

/// A service with a port for requests and a `tcp` port, one without the former, and policies of the first.
const PORTS: &str = r#"
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: db, namespace: shop }
spec:
  ports: [{ port: 80, protocol: http }, { port: 5432, protocol: tcp }]
  identity: spiffe://shop.example/ns/shop/service/db
  endpoints:
    - { address: "127.0.0.1:1", sidecar: "127.0.0.1:2", ports: [{ port: 5432, address: "127.0.0.1:3" }] }
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: raw, namespace: shop }
spec:
  ports: [{ port: 5432, protocol: tcp }]
  identity: spiffe://shop.example/ns/shop/service/raw
  endpoints: [{ address: "127.0.0.1:4", sidecar: "127.0.0.1:5" }]
---
kind: AuthorizationPolicy
apiVersion: tamis.dev/v1alpha1
metadata: { name: db, namespace: shop }
spec:
  targetRefs: [{ kind: Service, name: db }]
  allow:
    - { name: web, identities: ["spiffe://shop.example/ns/shop/service/web"], ports: [5432] }
    - { name: all, identities: ["*"] }
    - { name: reads, methods: [GET], ports: [5432] }
  deny: [{ name: guest, identities: ["spiffe://shop.example/ns/shop/service/guest"] }]
"#;

/// A guard that has no hook for connections.
const GUARD: &str = "\
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: tamis }
spec: { world: authorizer }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: shop }
spec: { targetRefs: [{ kind: Service, name: db }], filter: tamis/jwt, phase: authn, order: 10 }
";

#[test]
fn connections_are_asked_about_by_their_port_and_have_nothing_of_a_request() {
    let (folder, _) = page();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("demo/ports.yaml", PORTS);
    let authz = std::fs::read_to_string(folder.path().join("demo/authz.yaml")).unwrap();
    write("demo/authz.yaml", &authz.replace("[peer.spiffe-id]", "[peer.spiffe-id, listener.name]"));
    let ask = |to: &str, who: &str, more: &[&str]| {
        let from = format!("spiffe://shop.example/ns/shop/service/{who}");
        let all = ["authz", "explain", "demo", "--to", to, "--from", &from];
        tamis(folder.path(), &[&all[..], more].concat())
    };
    let explain = |to: &str, who: &str, more: &[&str]| -> Value {
        let done = ask(to, who, &[more, &["--output", "json"]].concat());
        let said = String::from_utf8_lossy(&[&done.stdout[..], &done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{said}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let port = ["--port", "5432"];
    for (who, more, decision, reason) in [
        ("web", &port[..], "allowed", "authz.allowed.shop.db.allow.web"),
        ("other", &port, "refused", "authz.no-rule"),
        ("guest", &port, "refused", "authz.denied.shop.db.deny.guest"),
        // A request of the same client is another matter.
        ("other", &[], "allowed", "authz.allowed.shop.db.allow.all"),
        ("guest", &[], "refused", "authz.denied.shop.db.deny.guest"),
    ] {
        let found = explain("shop/db", who, more);
        assert_eq!(
            (&found["decision"], &found["reason"]),
            (&decision.into(), &reason.into()),
            "{who}"
        );
    }
    let found = explain("shop/db", "other", &port);
    let missing: Vec<&Value> =
        found["rules"].as_array().unwrap().iter().map(|one| &one["missing"]).collect();
    let web = r#"identities ["spiffe://shop.example/ns/shop/service/web"]"#;
    let guest = r#"identities ["spiffe://shop.example/ns/shop/service/guest"]"#;
    let wanted = [vec![web], vec!["it names no port"], vec![r#"methods ["GET"]"#], vec![guest]];
    assert_eq!(serde_json::json!(missing), serde_json::json!(wanted));
    // A guard that cannot judge connections closes the port, for this command too.
    write("demo/guard.yaml", GUARD);
    let found = explain("shop/db", "web", &port);
    assert_eq!((&found["decision"], &found["reason"]), (&"closed".into(), &"tcp.unguarded".into()));
    std::fs::remove_file(folder.path().join("demo/guard.yaml")).unwrap();

    for (to, more, part) in [
        ("shop/db", &["--port", "80"][..], "Service shop/db has no tcp port 80"),
        ("shop/db", &["--port", "6379"], "Service shop/db has no tcp port 6379"),
        ("shop/raw", &[], "Service shop/raw takes no requests"),
        ("shop/db", &["--listener", "inbound:5432"], "has no listener `inbound:5432`"),
        ("shop/db", &["--port", "5432", "--path", "/"], "cannot be used with"),
        ("shop/db", &["--port", "5432", "--method", "GET"], "cannot be used with"),
        ("shop/db", &["--port", "5432", "--route", "a/b/c"], "cannot be used with"),
        ("gateway:shop/edge", &["--port", "5432"], "a gateway has no tcp ports"),
    ] {
        let done = ask(to, "web", more);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(part), "{to} {more:?}: {said}");
    }
    for (field, value) in
        [("path", "/"), ("method", "GET"), ("route", "a/b/c"), ("listener", "inbound")]
    {
        write(
            "mixed.yaml",
            &format!(
                "cases: [{{ name: a, to: shop/db, port: 5432, {field}: {value}, expect: allowed }}]
"
            ),
        );
        let done = tamis(folder.path(), &["authz", "test", "demo", "--cases", "mixed.yaml"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains(&format!("a connection of a tcp port has no `{field}`")), "{said}");
    }
}

/// The folder after the blocks of the page, and what each printed.
fn page() -> (TempDir, Vec<(String, String)>) {
    let page = std::fs::read_to_string(root().join("docs/how-to/authorization.md")).unwrap();
    let folder = TempDir::new().unwrap();
    tamis(folder.path(), &["--version"]);
    let outputs = crate::docs::follow(folder.path(), &page, |_, _| true);
    (folder, outputs)
}

#[test]
fn the_page_on_authorization_does_what_it_says() {
    let text = std::fs::read_to_string(root().join("docs/how-to/authorization.md")).unwrap();
    let (folder, outputs) = page();
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the page has no `{part}`")).1.clone()
    };
    assert!(said("authz test").contains("3 cases, all as expected"), "{}", said("authz test"));
    let shown = text.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(said("authz explain demo"), shown, "what the page shows is what is printed");
    let learned = said("authz learn");
    assert!(learned.contains("2 of 2 requests need it"), "{learned}");
    assert!(learned.contains("allowed: authz.allowed.shop.payments-learned.allow.0"), "{learned}");

    let run = |arguments: &[&str]| tamis(folder.path(), arguments);
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    // A case that fails: one clear line, and the exit code.
    let cases = std::fs::read_to_string(folder.path().join("cases.yaml")).unwrap();
    write("wrong.yaml", &cases.replace("expect: allowed", "expect: refused"));
    let done = run(&["authz", "test", "demo", "--cases", "wrong.yaml"]);
    assert_eq!(done.status.code(), Some(1));
    let last = lines(&done.stdout).lines().last().unwrap().to_owned();
    assert_eq!(
        last,
        "1 of 3 cases failed; the first: `the storefront pays` expected refused, is allowed (authz.allowed.shop.payments.allow.storefront)"
    );
    let done = run(&["authz", "test", "demo", "--cases", "wrong.yaml", "--output", "json"]);
    let read: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&read["failed"], &read["cases"][2]["decision"]), (&1.into(), &"refused".into()));
    // A policy that cannot be used closes its target, for these commands too.
    let authz = std::fs::read_to_string(folder.path().join("demo/authz.yaml")).unwrap();
    write("demo/authz.yaml", &authz.replace("value: /pay }", "value: /pay//x }"));
    let done = run(&["authz", "explain", "demo", "--to", "shop/payments", "--output", "json"]);
    let read: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&read["decision"], &read["reason"]),
        (&"closed".into(), &"authorization.rule".into())
    );
    // What makes no sense is one line, and the exit code.
    write("demo/authz.yaml", &authz);
    write("none.yaml", "cases: []\n");
    write("field.yaml", "cases: [{ name: a, to: shop/payments, pathh: /, expect: allowed }]\n");
    write("target.yaml", "cases: [{ name: a, to: shop/paymnts, expect: allowed }]\n");
    write("expect.yaml", "cases: [{ name: a, to: shop/payments }]\n");
    for (arguments, part) in [
        (&["test", "demo", "--cases", "none.yaml"][..], "0 cases"),
        (&["test", "demo", "--cases", "field.yaml"], "pathh"),
        (&["test", "demo", "--cases", "target.yaml"], "no Service shop/paymnts"),
        (&["test", "demo", "--cases", "expect.yaml"], "no `expect`"),
        (&["test", "demo", "--cases", "gone.yaml"], "gone.yaml cannot be read"),
        (&["test", "nowhere", "--cases", "cases.yaml"], "nowhere"),
        (&["explain", "demo", "--to", "gateway:shop/edge"], "no Gateway shop/edge"),
        (&["explain", "demo", "--to", "shop/payments", "--header", "a"], "NAME=VALUE"),
        (&["explain", "demo", "--to", "shop/payments", "--claims", "[]"], "--claims"),
        (&["learn", "--to", "shop/payments", "cases.yaml"], "no access record"),
        (&["learn", "--to", "shop/payments", "--since", "1s", "access.jsonl"], "no access record"),
    ] {
        let done = run(&[&["authz"], arguments].concat());
        let said = lines(&done.stderr);
        assert!(!done.status.success(), "{arguments:?}");
        assert!(said.contains(part) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}
