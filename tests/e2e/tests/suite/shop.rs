//! `tamis up` on the shipped example: the first experience of a user.

mod default_deny;
mod identities;
mod protection;

use serde_json::Value;
use tamis_e2e::{RunningProcess, eventually, free_port, get, root, tamis, up};
use tempfile::TempDir;

/// A copy of `examples/shop` with its own ports.
pub(crate) struct Shop {
    pub(crate) folder: TempDir,
    pub(crate) http: String,
}

impl Shop {
    /// Writes a file beside, then renames it, as editors do.
    fn write(&self, name: &str, text: &str) {
        let beside = self.folder.path().join(format!("{name}.new"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, self.folder.path().join(name)).unwrap();
    }
}

pub(crate) fn shop() -> Shop {
    let folder = TempDir::new().unwrap();
    let mut http = String::new();
    for entry in std::fs::read_dir(root().join("examples/shop")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let mut text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_owned();
        for port in ["port: 8080", "port: 8443"] {
            if text.contains(port) {
                let free = free_port();
                if port == "port: 8080" {
                    http = format!("127.0.0.1:{free}");
                }
                text = text.replace(port, &format!("port: {free}"));
            }
        }
        // Every other address of the folder is written out.
        let mut rest = text.as_str();
        let mut own = String::new();
        while let Some(at) = rest.find("127.0.0.1:") {
            let (before, after) = rest.split_at(at + "127.0.0.1:".len());
            own.push_str(before);
            let digits = after.chars().take_while(char::is_ascii_digit).count();
            if after[..digits].is_empty() {
                rest = after;
                continue;
            }
            own.push_str(&free_port().to_string());
            rest = &after[digits..];
        }
        own.push_str(rest);
        std::fs::write(folder.path().join(name), own).unwrap();
    }
    Shop { folder, http }
}

#[test]
fn one_command_runs_a_mesh_and_ends_it() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let proxies = event["proxies"].as_array().unwrap().clone();
    assert_eq!(proxies.len(), 6);

    // Through the gateway, over mTLS to the storefront's sidecar, and from the storefront over two more sidecars.
    let page = eventually("the storefront reaches the others", || {
        let reply = get(&shop.http, "/");
        (reply.status == 200).then(|| reply.json())
    });
    assert_eq!(page["service"], "storefront");
    assert_eq!(page["calls"]["catalog"]["status"], 200, "{page}");
    assert_eq!(page["calls"]["payments"]["status"], 200, "{page}");
    assert_eq!(page["via"], "1.1 tamis, 2 tamis");

    for proxy in &proxies {
        let admin = proxy["admin"].as_str().unwrap();
        let filters = get(admin, "/filters").json();
        let slots = filters["filters"].as_array().unwrap();
        // Those that have a part in requests are not in the chain of a tcp port.
        let least = if proxy["node"] == "sidecar:shop/stock/0" { 3 } else { 5 };
        assert!(slots.len() >= least, "{} has {}", proxy["node"], slots.len());
        for slot in slots {
            assert_eq!(slot["state"], "serving", "{slot}");
            assert!(slot["digest"].as_str().unwrap().starts_with("sha256:"));
            assert_eq!(slot["signers"], serde_json::json!(["local-dev"]));
        }
        assert_eq!(get(admin, "/readyz").status, 200);
        assert!(get(admin, "/metrics").body.contains("tamis_generation 1"));
    }

    // The sidecar saw who called it: the gateway, by its SPIFFE id.
    let record = eventually("the sidecar's record", || {
        let name = ".tamis/access/sidecar-shop-storefront-0.jsonl";
        let text = std::fs::read_to_string(shop.folder.path().join(name)).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|record| record["listener"] == "inbound")
    });
    assert_eq!(record["peer"], "spiffe://shop.example/ns/shop/gateway/edge");
    assert_eq!(record["reason"], "authz.allowed.shop.storefront.allow.customers");

    assert!(running.end("-INT").success());
}

/// Where the application of the second endpoint of `payments` listens.
fn flaky(shop: &Shop) -> String {
    let text = std::fs::read_to_string(shop.folder.path().join("services.yaml")).unwrap();
    let payments = text.split("---\n").find(|one| one.contains("name: payments,")).unwrap();
    let second = payments.split("- address: ").nth(2).unwrap();
    second.lines().next().unwrap().to_owned()
}

#[test]
fn the_flaky_endpoint_fails_in_the_records_and_no_client_notices() {
    let shop = shop();
    let _running = up(shop.folder.path(), &[]);
    // Itself, past the mesh: one request in three fails.
    let application = flaky(&shop);
    let seen: Vec<u16> = (0..6).map(|_| get(&application, "/").status).collect();
    assert_eq!(seen, [200, 200, 503, 200, 200, 503]);
    // Through the mesh a client sees no failure, while the record of the caller's sidecar shows the second attempt.
    let record = eventually("a call of payments is tried again", || {
        let page = get(&shop.http, "/");
        if page.status == 200 {
            assert_eq!(page.json()["calls"]["payments"]["status"], 200, "{}", page.body);
        }
        let name = ".tamis/access/sidecar-shop-storefront-0.jsonl";
        let text = std::fs::read_to_string(shop.folder.path().join(name)).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|record| record["authority"] == "payments" && record["attempts"] == 2)
    });
    assert_eq!((&record["status"], &record["listener"]), (&200.into(), &"outbound".into()));
}

#[test]
fn the_registry_of_up_listens_where_it_is_told_to_or_up_does_not_start() {
    let (first, second) = (shop(), shop());
    let address = format!("127.0.0.1:{}", free_port());
    let running = up(first.folder.path(), &["--registry", &address, "--no-apps"]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let (url, token) = (&event["registry"]["address"], &event["registry"]["tokenFile"]);
    assert_eq!(*url, format!("http://{address}"));
    let (url, token) = (url.as_str().unwrap(), token.as_str().unwrap());
    let status = ["status", "--registry", url, "--token-file", token, "--output", "json"];
    let done = tamis(first.folder.path(), &status);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let status: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(status["proxies"].as_array().unwrap().len(), 6, "{status}");
    // An address that was asked for is not exchanged for a free one.
    let taken = tamis(second.folder.path(), &["up", ".", "--registry", &address, "--no-apps"]);
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && said.contains(&address), "{said}");
}

#[test]
fn a_broken_guard_that_is_added_while_up_runs_closes_what_it_was_to_guard() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    running.event("the mesh is up", |event| event["event"] == "up");
    let status = |path: &str| get(&shop.http, path).status;
    eventually("the catalogue answers", || (status("/catalog") == 200).then_some(()));
    let guard = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: late, namespace: shop }\nspec:\n  \
        targetRefs: [{ kind: HTTPRoute, name: shop, sectionName: catalog }]\n  filter: tamis/jwt\n  phase: authn\n  order: 30\n  \
        config: { required: true, issuers: [{ issuer: https://idp.shop.example, audiences: [shop], algorithms: [ES256], jwks: { file: .tamis/jwks.json } }] }\n";
    let twice = format!("{guard}---\n{guard}");
    let grant = "---\nkind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: again, namespace: security }\nspec: { filter: tamis/jwt }\n";
    let rows = [
        ("its phase", guard.replace("phase: authn", "phase: auth")),
        ("its order", guard.replace("order: 30", "order: ten")),
        ("a field of it", guard.replace("order: 30", "order: 30\n  onFailur: closed")),
        (
            "its target",
            guard.replace("name: shop, sectionName: catalog", "name: shp, sectionName: catalog"),
        ),
        ("its section", guard.replace("sectionName: catalog", "sectionName: catalogue")),
        ("its kind", guard.replace("kind: FilterAttachment", "kind: FilterAtachment")),
        ("its filter", guard.replace("filter: tamis/jwt", "filter: tamis/jtw")),
        ("its configuration", guard.replace("required: true", "requird: true")),
        ("its key set", guard.replace(".tamis/jwks.json", "gone.json")),
        ("it is there twice", twice),
        ("its order is taken", guard.replace("order: 30", "order: 20").replace("catalog", "pay")),
    ];
    for (what, text) in rows {
        let path = if text.contains("sectionName: pay") { "/pay" } else { "/catalog" };
        shop.write("late.yaml", &text);
        eventually(&format!("{what} is wrong, and nothing passes"), || {
            (status(path) == 503).then_some(())
        });
        std::fs::remove_file(shop.folder.path().join("late.yaml")).unwrap();
        let open = if path == "/pay" { 401 } else { 200 };
        eventually(&format!("{what}: it is gone"), || (status(path) == open).then_some(()));
    }
    // A second grant for its filter: the one in force stays, and so does the guard.
    shop.write("late.yaml", &format!("{guard}{grant}"));
    eventually("the guard guards", || (status("/catalog") == 401).then_some(()));
}

#[test]
fn a_service_that_is_added_while_up_runs_gets_its_sidecar_and_one_that_goes_loses_it() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    running.event("the mesh is up", |event| event["event"] == "up");
    let ports = [(); 4].map(|()| free_port());
    let service = format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: reviews, namespace: shop }}\nspec:\n  \
         ports: [{{ port: 80, protocol: http }}]\n  identity: spiffe://shop.example/ns/shop/service/reviews\n  endpoints:\n    \
         - {{ address: 127.0.0.1:{}, sidecar: 127.0.0.1:{}, outbound: 127.0.0.1:{}, admin: 127.0.0.1:{} }}\n",
        ports[0], ports[1], ports[2], ports[3]
    );
    let route = "---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: reviews, namespace: shop }\nspec:\n  \
        parentRefs: [{ kind: Gateway, name: edge }]\n  rules:\n    - matches: [{ path: { type: PathPrefix, value: /reviews } }]\n      \
        backendRefs: [{ name: reviews, port: 80 }]\n";
    let is = |state: &'static str| {
        move |event: &Value| {
            event["event"] == "proxy"
                && event["node"] == "sidecar:shop/reviews/0"
                && event["state"] == state
        }
    };
    shop.write("reviews.yaml", &format!("{service}{route}"));
    running.event("its sidecar serves", is("serving"));
    eventually("nobody may call it without a policy", || {
        let reply = get(&shop.http, "/reviews");
        (reply.status == 403 && reply.header("x-tamis-reason") == Some("authz.no-rule"))
            .then_some(())
    });
    let policy = "---\nkind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: reviews, namespace: shop }\nspec:\n  \
        targetRefs: [{ kind: Service, name: reviews }]\n  allow: [{ identities: [spiffe://shop.example/ns/shop/gateway/edge] }]\n";
    shop.write("reviews.yaml", &format!("{service}{route}{policy}"));
    let page = eventually("it is reached over its sidecar", || {
        let reply = get(&shop.http, "/reviews");
        (reply.status == 200).then(|| reply.json())
    });
    assert_eq!((&page["service"], &page["via"]), (&"reviews".into(), &"1.1 tamis, 2 tamis".into()));
    let admin = format!("127.0.0.1:{}", ports[3]);
    assert_eq!(get(&admin, "/readyz").status, 200);

    // A document that cannot be used any more takes nothing away, one that is gone does.
    shop.write("reviews.yaml", &service.replace("ports:", "prots:"));
    running.event("it is told", |event| {
        event["event"] == "sent" && event["wrong"].to_string().contains("reviews.yaml")
    });
    assert_eq!(get(&admin, "/readyz").status, 200);
    std::fs::remove_file(shop.folder.path().join("reviews.yaml")).unwrap();
    running.event("its sidecar ends", is("ended"));
    eventually("nobody listens there", || {
        std::net::TcpStream::connect(("127.0.0.1", ports[1])).is_err().then_some(())
    });
    // One that cannot be anybody is told, with what to write.
    let nobody = service.replace("  identity: spiffe://shop.example/ns/shop/service/reviews\n", "");
    shop.write("reviews.yaml", &nobody);
    let refused = running.event("it is told", is("refused"));
    assert!(refused["why"].as_str().unwrap().contains("identity: spiffe://"), "{refused}");
    assert!(running.end("-INT").success());
}

#[test]
fn the_shipped_folder_has_nothing_wrong() {
    let shop = shop();
    let prepared = tamis(shop.folder.path(), &["up", ".", "--prepare"]);
    assert!(prepared.status.success());
    let checked = tamis(shop.folder.path(), &["check", "."]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("6 proxies, nothing wrong"), "{said}");
}

/// A command that `up` printed, by a part of what it says about it.
fn suggested(event: &Value, part: &str) -> Value {
    let all = event["try"].as_array().unwrap();
    let found = all.iter().find(|one| one["what"].as_str().unwrap().contains(part));
    found.unwrap_or_else(|| panic!("`up` printed nothing about `{part}`: {all:?}")).clone()
}

/// What a command prints in the folder of the shop.
fn sh(shop: &Shop, suggestion: &Value) -> String {
    let command = suggestion["command"].as_str().unwrap();
    let done = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(shop.folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn the_commands_that_up_prints_do_what_they_say() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let gateway = event["proxies"][0]["admin"].as_str().unwrap().to_owned();
    let slot = || {
        let filters = get(&gateway, "/filters").json();
        let slots = filters["filters"].as_array().unwrap().clone();
        slots.into_iter().find(|slot| slot["attachment"] == "shop/retry").unwrap()
    };
    assert_eq!(event["try"].as_array().unwrap().len(), 7);
    let run = |part: &str| sh(&shop, &suggested(&event, part));
    let serves = |version: &str| {
        eventually(&format!("{version} serves"), || {
            let slot = slot();
            (slot["version"] == version && slot["state"] == "serving").then_some(slot)
        })
    };
    assert!(run("a request through gateway").contains("storefront"));
    assert!(run("no policy allows").starts_with("HTTP/1.1 403"));

    run("upgraded to");
    let upgraded = serves("0.1.1");
    assert_eq!(upgraded["running"], upgraded["digest"]);
    assert_eq!(get(&shop.http, "/").status, 200);

    // A rollback in the registry does not change the folder, and a change of the folder other than its lock
    // does not undo the rollback.
    assert!(run("back to its previous version").contains("0.1.0"));
    let back = serves("0.1.0");
    assert_ne!(back["digest"], upgraded["digest"]);

    run("tampered with");
    let told = running.event("the component that was tampered with is told", |event| {
        event["event"] == "sent"
            && event["wrong"][0].as_str().is_some_and(|it| it.contains("0.1.0.wasm"))
    });
    assert_eq!(
        (&told["pushed"], &told["pinned"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert_eq!(slot()["running"], back["digest"]);
    assert_eq!(get(&shop.http, "/").status, 200);

    let status = run("what each proxy runs");
    assert!(status.contains("shop/edge") && status.contains("all well"), "{status}");
    let identities = run("who each proxy is");
    assert!(identities.contains("spiffe://shop.example/ns/shop/gateway/edge"), "{identities}");

    // The next start knows the rollback too, and the registry is where it was asked for.
    let address = std::fs::read_to_string(shop.folder.path().join(".tamis/registry/address"));
    assert_eq!(address.unwrap().trim(), event["registry"]["address"].as_str().unwrap());
    assert!(running.end("-INT").success());
    let _running = up(shop.folder.path(), &[]);
    assert_eq!(slot()["running"], back["digest"]);
}

#[test]
fn the_filters_of_a_second_folder_of_a_user_are_not_compiled_again() {
    let state = TempDir::new().unwrap();
    let code = || {
        let files = std::fs::read_dir(state.path().join("tamis/code")).unwrap();
        let files = files.map(|file| {
            let file = file.unwrap();
            (file.file_name(), file.metadata().unwrap().modified().unwrap())
        });
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let mut first = None;
    for _ in 0..2 {
        let shop = shop();
        let home = [("XDG_STATE_HOME", state.path())];
        let running = RunningProcess::start_as(shop.folder.path(), &["up", "."], &home);
        running.event("the mesh is up", |event| event["event"] == "up");
        assert!(running.end("-INT").success());
        let own = std::fs::read_dir(shop.folder.path().join(".tamis/cache")).unwrap().count();
        assert_eq!(own, 0, "what is compiled already is not compiled by a proxy");
        let now = code();
        assert_eq!(now.len(), 6, "{now:?}");
        assert_eq!(first.get_or_insert_with(|| now.clone()), &now, "compiled once");
    }
}

#[test]
fn what_is_wrong_in_the_folder_is_told_and_what_runs_goes_on() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let gateway = event["proxies"][0]["admin"].as_str().unwrap().to_owned();
    let routes = shop.folder.path().join("routes.yaml");
    let good = std::fs::read_to_string(&routes).unwrap();
    let first = good.split("\n---").next().unwrap();
    std::fs::write(&routes, good.replace(first, "kind: [")).unwrap();
    running.event("its place is told", |event| {
        event["wrong"][0].as_str().is_some_and(|it| it.starts_with("routes.yaml:"))
    });
    assert_eq!(get(&shop.http, "/").status, 200);
    assert_eq!(get(&gateway, "/config").json()["generation"], 1);
    std::fs::write(&routes, good).unwrap();
    running.event("its mending too", |event| {
        event["event"] == "sent" && event["wrong"] == serde_json::json!([])
    });
    assert_eq!(get(&shop.http, "/").status, 200);
    assert!(running.end("-INT").success());
}
