//! Who may call whom in a mesh that `tamis up` runs: nobody, until policies say so.

use std::collections::BTreeSet;

use serde_json::Value;
use tamis_e2e::{Reply, RunningProcess, eventually, eventually_or, request, root, tamis, up};

use super::{Shop, sh, shop, suggested};
use crate::docs::{blocks, shell};

impl Shop {
    /// Where the application of a service enters the mesh.
    fn outbound(&self, service: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("services.yaml")).unwrap();
        let (_, own) = text.split_once(&format!("name: {service}, namespace: shop")).unwrap();
        let (_, rest) = own.split_once("outbound: ").unwrap();
        rest.lines().next().unwrap().to_owned()
    }

    /// The records of all requests that arrived at a service.
    fn arrived(&self, service: &str) -> Vec<Value> {
        self.recorded(service, "inbound")
    }

    /// The records of a listener of a service.
    fn recorded(&self, service: &str, listener: &str) -> Vec<Value> {
        let mut records = Vec::new();
        for file in self.records(service) {
            let text = std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
            records
                .extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        records.retain(|record| record["listener"] == listener);
        records
    }

    /// The files with the records of the sidecars of a service.
    fn records(&self, service: &str) -> Vec<String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder.path().join(".tamis/access")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with(&format!("sidecar-shop-{service}-")) {
                names.push(format!(".tamis/access/{name}"));
            }
        }
        names.sort();
        names
    }
}

#[test]
fn the_call_that_no_policy_allows_passes_with_the_line_that_up_prints_and_no_other_does() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let refused = suggested(&event, "no policy allows");
    // Of all pairs only those pass that a policy names.
    let passes = |caller: &str, called: &str, path: &str| {
        let reply = request(&shop.outbound(caller), "GET", path, &[("host", called)], b"");
        let reason = reply.header("x-tamis-reason").map(str::to_owned);
        match (reply.status, reason.as_deref()) {
            (200, None) => true,
            (403, Some("authz.no-rule")) => false,
            _ => panic!("{caller} calls {called} {path}: {reply:?}"),
        }
    };
    let services = ["storefront", "payments", "catalog"];
    let allowed = |line: bool| {
        for (caller, called) in services.iter().flat_map(|one| services.map(|it| (*one, it))) {
            let named = caller == "storefront" && called != "storefront";
            let added = line && (caller, called) == ("catalog", "payments");
            assert_eq!(passes(caller, called, "/"), named || added, "{caller} calls {called}");
            assert!(!passes(caller, called, "/pay"), "{caller} calls {called} /pay");
        }
    };
    let said = sh(&shop, &refused);
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("x-tamis-reason: authz.no-rule"));
    allowed(false);

    // The line is the one that `explain` proposes, and it is in the file with the commands.
    let (policy, line) =
        (&refused["missing"]["policy"], refused["missing"]["allow"].as_str().unwrap());
    let from = "spiffe://shop.example/ns/shop/service/catalog";
    let asked = ["authz", "explain", ".", "--to", "shop/payments", "--from", from];
    let explained = tamis(shop.folder.path(), &asked);
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert_eq!(explained.lines().last().map(str::trim), Some(line), "{explained}");
    let printed = std::fs::read_to_string(shop.folder.path().join(".tamis/try.txt")).unwrap();
    assert!(printed.contains(&format!("#   {line}\n")), "{printed}");

    // Where it belongs is said, too: the file, and the policy in it.
    let file = refused["missing"]["file"].as_str().unwrap();
    let (space, name) = policy.as_str().unwrap().split_once('/').unwrap();
    let text = std::fs::read_to_string(shop.folder.path().join(file)).unwrap();
    let (before, own) = text.split_once(&format!("name: {name}, namespace: {space} }}")).unwrap();
    let own = own.replacen("  allow:\n", &format!("  allow:\n    {line}\n"), 1);
    shop.write(file, &format!("{before}name: {name}, namespace: {space} }}{own}"));
    eventually("the line allows it", || {
        sh(&shop, &refused).starts_with("HTTP/1.1 200").then_some(())
    });
    allowed(true);
    assert!(running.end("-INT").success());
}

/// A request inside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    /// The service that calls, or `edge` for the gateway.
    caller: &'static str,
    called: &'static str,
    method: &'static str,
    path: String,
}

const SERVICES: [&str; 3] = ["storefront", "payments", "catalog"];

impl Call {
    /// Everybody calls everybody. One endpoint of payments is flaky, and what changes something is not tried again.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for called in SERVICES {
            for caller in SERVICES.into_iter().chain(["edge"]) {
                let path = match (caller, called) {
                    ("edge", "payments") => "/pay/card".to_owned(),
                    ("edge", "catalog") => "/catalog/shoes".to_owned(),
                    _ => format!("/of-{caller}"),
                };
                let methods: &[&str] =
                    if called == "payments" { &["GET"] } else { &["GET", "POST"] };
                all.extend(methods.iter().map(|method| Self {
                    caller,
                    called,
                    method,
                    path: path.clone(),
                }));
            }
        }
        all
    }

    fn id(&self) -> String {
        let kind = if self.caller == "edge" { "gateway" } else { "service" };
        format!("spiffe://shop.example/ns/shop/{kind}/{}", self.caller)
    }

    /// The rule that allows it.
    fn rule(&self) -> String {
        let Self { method, path, .. } = self;
        format!(
            r#"- {{ identities: ["{}"], methods: ["{method}"], paths: [{{ type: Exact, value: "{path}" }}] }}"#,
            self.id()
        )
    }

    fn send(&self, shop: &Shop, token: &str, phase: &str) -> Reply {
        let (bearer, path) = (format!("Bearer {token}"), format!("{}?{phase}", self.path));
        match self.caller {
            "edge" => request(&shop.http, self.method, &path, &[("authorization", &bearer)], b""),
            caller => {
                let headers = [("host", self.called)];
                request(&shop.outbound(caller), self.method, &path, &headers, b"")
            }
        }
    }
}

/// The mesh, and a token of its issuer.
fn started(shop: &Shop) -> (RunningProcess, String) {
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    (running, event["token"].as_str().unwrap().to_owned())
}

/// Calls of a phase, as the sidecars recorded them, whose reasons begin in that way.
fn recorded(shop: &Shop, phase: &str, reason: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for called in SERVICES {
        for record in shop.arrived(called) {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let (peer, method, path) = (text("peer"), text("method"), text("path"));
            if path.ends_with(&format!("?{phase}")) && text("reason").starts_with(reason) {
                found.insert(format!("{peer} {method} {called}{path}"));
            }
        }
    }
    found
}

fn as_recorded(calls: &[Call], phase: &str) -> BTreeSet<String> {
    let one =
        |call: &Call| format!("{} {} {}{}?{phase}", call.id(), call.method, call.called, call.path);
    calls.iter().map(one).collect()
}

/// Waits until the log has the line that would allow a call.
fn logged(running: &RunningProcess, call: &Call) {
    let head = format!("Service shop/{}: \"{}\" \"{}\"", call.called, call.method, call.path);
    eventually_or("the log has the line to add", || {
        let log = running.errors().replace("\\\"", "\"");
        let rule = call.rule();
        let has = log.lines().any(|line| line.contains(&head) && line.contains(&rule));
        if has { Ok(()) } else { Err(format!("{call:?}: no {rule} in {log}")) }
    });
}

#[test]
fn without_policies_every_call_is_refused_and_audit_reports_exactly_those_that_learn_then_allows() {
    let shop = shop();
    std::fs::remove_file(shop.folder.path().join("policies.yaml")).unwrap();
    shop.edit("grants.yaml", "{ log: { perSecond: 10 } }", "{ log: { perSecond: 1000 } }");
    let calls = Call::all();
    assert_eq!(calls.len(), 20);
    let matches = |what: &str, phase: &str, reason: &str| {
        let wanted = as_recorded(&calls, phase);
        eventually_or(what, || {
            let found = recorded(&shop, phase, reason);
            if found == wanted { Ok(()) } else { Err(format!("{found:#?}")) }
        });
    };

    // No policy: each is refused, and the log has the line that would allow it.
    let (running, token) = started(&shop);
    for call in &calls {
        let reply = call.send(&shop, &token, "closed");
        let reason = reply.header("x-tamis-reason");
        assert_eq!((reply.status, reason), (403, Some("authz.no-rule")), "{call:?}");
    }
    matches("each is refused for that reason", "closed", "authz.no-rule");
    for call in &calls {
        logged(&running, call);
    }
    assert!(running.end("-INT").success());

    // Audit: each passes, and the report is of these and of nothing else.
    let filter = "  filter: tamis/authz\n  phase: authz\n  order: 10\n";
    let audit = format!("{filter}  config: {{ mode: audit }}\n");
    shop.edit("attachments.yaml", filter, &audit);
    let (running, token) = started(&shop);
    for call in &calls {
        let reply = call.send(&shop, &token, "audit");
        assert_eq!(reply.status, 200, "{call:?}: {reply:?}");
    }
    matches("each is reported", "audit", "authz.audit.no-rule");
    matches("and nothing for another reason", "audit", "");
    assert!(running.end("-INT").success());

    // What is learned from the report allows these, and nothing else.
    let mut learned = Vec::new();
    for called in SERVICES {
        let (to, files) = (format!("shop/{called}"), shop.records(called));
        let mut arguments = vec!["authz", "learn", "--to", &to];
        arguments.extend(files.iter().map(String::as_str));
        let done = tamis(shop.folder.path(), &arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        learned.push(String::from_utf8(done.stdout).unwrap());
    }
    shop.write("policies.yaml", &learned.join("---\n"));
    shop.edit("attachments.yaml", &audit, filter);
    let (running, token) = started(&shop);
    for call in &calls {
        let reply = call.send(&shop, &token, "learned");
        assert_eq!(reply.status, 200, "{call:?}: {reply:?}\n{learned:#?}");
        let other = Call { path: format!("{}/else", call.path), ..call.clone() };
        assert_eq!(other.send(&shop, &token, "else").status, 403, "{other:?}");
        let other = Call { method: "DELETE", ..call.clone() };
        assert_eq!(other.send(&shop, &token, "else").status, 403, "{other:?}");
    }
    matches("each is allowed by a rule", "learned", "authz.allowed.shop.");
    assert!(running.end("-INT").success());
}

/// The commands of a page between two of its lines, with the addresses of this copy of the shop.
fn printed(shop: &Shop, has: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("examples/shop/README.md")).unwrap();
    let all = blocks(&page).into_iter().map(|(_, text)| text.replace("127.0.0.1:8080", &shop.http));
    let found: Vec<String> = all.filter(|text| text.contains(has)).collect();
    assert_eq!(found.len(), 1, "{has}");
    found[0].lines().map(str::to_owned).collect()
}

#[test]
fn the_stock_answers_the_catalogue_over_tcp_and_is_closed_to_everybody_without_the_policy() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    running.event("the mesh is up", |event| event["event"] == "up");
    let [page, explain] = &printed(&shop, "--port 700")[..] else { panic!("two commands") };
    let ran = |command: &str| {
        let done = shell(shop.folder.path(), command).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let asks = || serde_json::from_str::<Value>(&ran(page)).unwrap()["asks"]["stock"].clone();
    let answer = eventually("the stock answers", || asks()["answer"].as_str().map(str::to_owned));
    assert!(answer.starts_with("shoes "), "{answer}");
    let record = eventually("the connection has a record", || {
        let mut all = shop.recorded("stock", "inbound:700");
        all.pop()
    });
    assert_eq!(record["peer"], "spiffe://shop.example/ns/shop/service/catalog");
    assert_eq!(record["reason"], "authz.allowed.shop.stock.allow.catalogue");

    // Somebody else would be refused, and the line that is printed would change that.
    let said = ran(explain);
    let line = said.lines().last().unwrap().trim();
    assert!(said.starts_with("refused: authz.no-rule"), "{said}");
    assert_eq!(
        line,
        "- { identities: [\"spiffe://shop.example/ns/shop/service/storefront\"], ports: [700] }"
    );

    // Without the rule the catalogue's connection is closed; its pages are still served.
    shop.edit("policies.yaml", "      ports: [700]\n", "      ports: [701]\n");
    eventually("the connection is closed", || {
        (asks()["error"] == "the connection was closed").then_some(())
    });
    let refused = eventually("the refusal has a record", || {
        shop.recorded("stock", "inbound:700").into_iter().find(|one| one["status"] == 403)
    });
    assert_eq!(refused["reason"], "authz.no-rule");
    assert!(running.end("-INT").success());
}
