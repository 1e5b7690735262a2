//! Who the proxies of `tamis up` are: they join the folder's registry, and no certificate of theirs is in a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tamis_e2e::{
    Reply, RunningProcess, eventually, eventually_or, exchange, free_port, get, tamis, up,
};
use tamis_transport::{Address, ClientTls, TrustBundles, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Shop, shop};

const STOREFRONT: &str = "sidecar:shop/storefront/0";

/// A mesh that is up.
struct Running<'a> {
    shop: &'a Shop,
    process: RunningProcess,
    up: Value,
}

impl<'a> Running<'a> {
    fn start(shop: &'a Shop, arguments: &[&str]) -> Self {
        let process = up(shop.folder.path(), arguments);
        let up = process.event("the mesh is up", |event| event["event"] == "up");
        Self { shop, process, up }
    }

    /// The answer of a command to the folder's registry.
    fn did(&self, arguments: &[&str]) -> Value {
        let registry = &self.up["registry"];
        let word = |name: &str| registry[name].as_str().unwrap().to_owned();
        let (address, token) = (word("address"), word("tokenFile"));
        let ours = ["--registry", &address, "--token-file", &token, "--output", "json"];
        let done = tamis(self.shop.folder.path(), &[arguments, &ours[..]].concat());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// The identities that the registry gave, by proxy.
    fn identities(&self) -> Vec<(String, Value)> {
        let all = self.did(&["identity", "list"])["items"].as_array().cloned().unwrap();
        let all = all.into_iter();
        all.map(|one| (one["node"].as_str().unwrap().to_owned(), one)).collect()
    }

    fn identity(&self, node: &str) -> Value {
        self.did(&["identity", "show", node])
    }

    /// Waits until a request passes the gateway, a sidecar and the sidecars behind it.
    fn reaches_all(&self) {
        eventually_or("the storefront reaches the others", || {
            let reply = get(&self.shop.http, "/");
            let calls = || serde_json::from_str::<Value>(&reply.body).unwrap_or_default();
            let status = |name: &str| calls()["calls"][name]["status"].clone();
            if reply.status == 200 && ["payments", "catalog"].iter().all(|it| status(it) == 200) {
                return Ok(());
            }
            Err(format!("{reply:?}"))
        });
    }

    /// Where a proxy listens, from its status.
    fn listener(&self, node: &str, name: &str) -> String {
        let proxies = self.up["proxies"].as_array().unwrap();
        let proxy = proxies.iter().find(|one| one["node"] == node).unwrap();
        let listeners = proxy["listeners"].as_array().unwrap();
        let found = listeners.iter().find(|one| one["name"] == name).unwrap();
        found["address"].as_str().unwrap().to_owned()
    }

    fn admin(&self, node: &str) -> String {
        let proxies = self.up["proxies"].as_array().unwrap();
        let proxy = proxies.iter().find(|one| one["node"] == node).unwrap();
        proxy["admin"].as_str().unwrap().to_owned()
    }

    fn metric(&self, node: &str, parts: &[&str]) -> f64 {
        let text = get(&self.admin(node), "/metrics").body;
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
    }

    fn end(self) {
        assert!(self.process.end("-INT").success());
    }
}

impl Shop {
    /// Changes a document.
    pub(super) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        self.write(name, &text.replace(from, to));
    }

    /// Gives a service certificate files.
    fn with_files(&self, service: &str, ca: &str) {
        let identity = format!("identity: spiffe://shop.example/ns/shop/service/{service}\n");
        let tls = format!(
            "  tls: {{ certificate: .tamis/certs/{service}.crt, key: .tamis/certs/{service}.key, ca: {ca} }}\n"
        );
        self.edit("services.yaml", &identity, &format!("{identity}{tls}"));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

/// Files below a folder whose content has one of these words, relative to it.
fn with_words(folder: &Path, words: &[&str]) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(octets) = fs::read(&path) else { continue };
            let has = |word: &&str| octets.windows(word.len()).any(|at| at == word.as_bytes());
            if words.iter().any(has) {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

const PEM: [&str; 2] = ["PRIVATE KEY", "BEGIN CERTIFICATE"];

/// What somebody without a certificate gets from the sidecar of a member, over TLS.
fn without_a_certificate(shop: &Shop, address: &str, member: &str) -> String {
    let roots = shop.read(".tamis/registry/authority/bundle.pem");
    let bundles = TrustBundles::from_pem([("shop.example".parse().unwrap(), roots.as_str())]);
    let tls = ClientTls::from_bundles(bundles.unwrap(), member.parse().unwrap(), "storefront");
    let tls = tls.unwrap().with_alpn(&[b"http/1.1"]);
    let address: Address = address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stream = connect(&address, Some(&tls), Duration::from_secs(20)).await.unwrap();
        let asked = b"GET / HTTP/1.1\r\nhost: storefront\r\nconnection: close\r\n\r\n";
        // TLS 1.3 refuses after the client believes that it is connected.
        let _ = stream.write_all(asked).await;
        let mut answer = Vec::new();
        let outcome = stream.read_to_end(&mut answer).await;
        format!("{outcome:?} {}", String::from_utf8_lossy(&answer))
    })
}

#[test]
fn the_shop_starts_without_a_certificate_file_and_lets_nobody_in_without_a_certificate() {
    let shop = shop();
    let running = Running::start(&shop, &[]);
    assert_eq!(running.up["registry"]["trustDomain"], "shop.example");
    running.reaches_all();

    // What is in files: the certificate for clients outside the mesh, and the keys of those who sign.
    let dot = shop.folder.path().join(".tamis");
    let outside = ["ca.crt", "ca.key", "edge-server.crt", "edge-server.key"];
    let outside = outside.map(|name| format!("certs/{name}"));
    let found = with_words(&dot, &PEM);
    let inside: Vec<&String> = found.iter().filter(|path| !outside.contains(path)).collect();
    assert_eq!(found.len() - inside.len(), outside.len(), "{found:?}");
    for path in inside {
        let signs = ["registry/authority/", "keys/local-dev.key"];
        let signs = signs.iter().any(|start| path.starts_with(start));
        let director = ["registry/director.key", "registry/log.key"].contains(&path.as_str());
        assert!(signs || director, "a key or a certificate is in {path}");
    }
    assert_eq!(with_words(&dot, &["tamis-join-"]), Vec::<String>::new());

    let (id, inbound) = (
        "spiffe://shop.example/ns/shop/service/storefront",
        running.listener(STOREFRONT, "inbound"),
    );
    let failed = |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        running.metric(STOREFRONT, &["tamis_handshakes_failed_total", &reason])
    };
    let before = (failed("no-certificate"), failed("plaintext"));
    let answer = without_a_certificate(&shop, &inbound, id);
    assert!(answer.starts_with("Err") && !answer.contains("HTTP/1.1"), "{answer}");
    let clear = exchange(&inbound, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(!String::from_utf8_lossy(&clear).contains("HTTP/1.1"), "{clear:?}");
    eventually("both are counted", || {
        let after = (failed("no-certificate"), failed("plaintext"));
        (after.0 > before.0 && after.1 > before.1).then_some(())
    });
    running.end();
}

#[test]
fn status_and_describe_say_who_each_proxy_is_and_until_when() {
    let shop = shop();
    let running = Running::start(&shop, &[]);
    let all = running.identities();
    assert_eq!(all.len(), 6, "{all:?}");
    for (node, one) in &all {
        assert!(
            one["id"].as_str().unwrap().starts_with("spiffe://shop.example/ns/shop/"),
            "{node}"
        );
        assert_eq!(one["unusedTokens"], 0, "{node} used its token");
    }
    let status = running.did(&["status"]);
    let proxies = status["proxies"].as_array().unwrap();
    for proxy in proxies {
        let node = proxy["node"].as_str().unwrap();
        let (_, known) = all.iter().find(|(name, _)| name == node).unwrap();
        assert_eq!(proxy["identity"]["id"], known["id"], "{node}");
        assert_eq!(proxy["identity"]["expiresMs"], known["expiresMs"], "{node}");
    }
    assert_eq!(proxies.len(), 6);
    let described = running.did(&["describe", "service", "payments", "-n", "shop"]);
    let programmed = described["programmed"].as_array().unwrap().iter();
    let ids = programmed.filter(|one| one["identity"]["expiresMs"].is_u64()).count();
    assert_eq!(ids, 2, "{described}");
    // The command that `up` prints for it.
    let tries = running.up["try"].as_array().unwrap();
    let list = tries.iter().map(|one| one["command"].as_str().unwrap());
    assert_eq!(list.filter(|command| command.ends_with("identity list")).count(), 1);
    running.end();
}

#[test]
fn svids_are_renewed_while_up_runs_and_the_next_start_has_the_same_authority() {
    let shop = shop();
    let running = Running::start(&shop, &["--identity-seconds", "10"]);
    running.reaches_all();
    let first = running.identity(STOREFRONT);
    let expires = |one: &Value| one["expiresMs"].as_u64().unwrap();
    assert!(expires(&first) <= first["joinedMs"].as_u64().unwrap() + 11_000, "{first}");
    let renewed = || running.metric(STOREFRONT, &["tamis_svid_renewals_total"]);
    eventually("it is renewed twice, so the first would have expired", || {
        (renewed() >= 2.0).then_some(())
    });
    running.reaches_all();
    let later = running.identity(STOREFRONT);
    assert!(expires(&later) > expires(&first) && later["serial"] != first["serial"], "{later}");
    let root = shop.read(".tamis/registry/authority/root.pem");
    running.end();

    let running = Running::start(&shop, &[]);
    running.reaches_all();
    assert_eq!(shop.read(".tamis/registry/authority/root.pem"), root);
    let again = running.identity(STOREFRONT);
    assert!(again["serial"] != later["serial"] && again["joinedMs"] != first["joinedMs"]);
    running.end();
}

#[test]
fn a_proxy_whose_identity_changes_joins_again_and_one_of_another_domain_does_not() {
    let shop = shop();
    let running = Running::start(&shop, &[]);
    let old = "spiffe://shop.example/ns/shop/service/catalog";
    let node = "sidecar:shop/catalog/0";
    shop.edit("services.yaml", old, "spiffe://shop.example/ns/shop/service/offers");
    eventually("it is somebody else", || {
        let id = running.identity(node)["id"].clone();
        (id == "spiffe://shop.example/ns/shop/service/offers").then_some(())
    });
    eventually("and is reached again", || {
        (get(&shop.http, "/catalog").status == 200).then_some(())
    });
    shop.edit("services.yaml", "service/offers", "service/catalog");
    eventually("it is who it was", || (running.identity(node)["id"] == old).then_some(()));
    eventually("and is reached", || (get(&shop.http, "/catalog").status == 200).then_some(()));

    let ports = [(); 3].map(|()| free_port());
    shop.write(
        "far.yaml",
        &format!(
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: far, namespace: shop }}\nspec:\n  \
             ports: [{{ port: 80, protocol: http }}]\n  identity: spiffe://far.example/ns/shop/service/far\n  endpoints:\n    \
             - {{ address: 127.0.0.1:{}, sidecar: 127.0.0.1:{}, outbound: 127.0.0.1:{} }}\n",
            ports[0], ports[1], ports[2]
        ),
    );
    let refused = running.process.event("it is told", |event| {
        event["event"] == "proxy" && event["node"] == "sidecar:shop/far/0"
    });
    let why = refused["why"].as_str().unwrap();
    assert_eq!(refused["state"], "refused");
    assert!(why.contains("trust domain") && why.contains("shop.example"), "{why}");
    running.reaches_all();
    running.end();
}

#[test]
fn a_revocation_holds_across_starts_until_somebody_makes_a_token() {
    let shop = shop();
    let running = Running::start(&shop, &[]);
    running.did(&["identity", "revoke", STOREFRONT, "--reason", "machine lost"]);
    running.end();

    let running = Running::start(&shop, &[]);
    let refused = running.process.event("it does not start", |event| {
        event["event"] == "proxy" && event["node"] == STOREFRONT
    });
    let why = refused["why"].as_str().unwrap();
    assert!(why.contains("machine lost") && why.contains("tamis identity token"), "{why}");
    assert_eq!(get(&shop.http, "/catalog").status, 200, "the others run");
    let storefront: Reply = get(&shop.http, "/");
    assert!(storefront.status >= 500, "{storefront:?}");
    running.did(&["identity", "token", STOREFRONT]);
    running.end();

    let running = Running::start(&shop, &[]);
    running.reaches_all();
    running.end();
}

#[test]
fn proxies_with_files_and_proxies_with_svids_accept_each_other() {
    let shop = shop();
    // All with files, as folders had them.
    let gateway = shop.read("gateway.yaml");
    let id = "  identity: spiffe://shop.example/ns/shop/gateway/edge\n";
    let tls = "  tls: { certificate: .tamis/certs/edge.crt, key: .tamis/certs/edge.key, ca: .tamis/certs/ca.crt }\n";
    shop.edit("gateway.yaml", id, &format!("{id}{tls}"));
    for service in ["storefront", "payments", "catalog", "stock"] {
        shop.with_files(service, ".tamis/certs/ca.crt");
    }
    let running = Running::start(&shop, &[]);
    assert_eq!(running.up["registry"]["trustDomain"], Value::Null);
    running.reaches_all();
    let authority = shop.folder.path().join(".tamis/registry/authority");
    assert!(!authority.exists());
    let services = shop.read("services.yaml");
    let tls = |service: &str| {
        format!(
            "  tls: {{ certificate: .tamis/certs/{service}.crt, key: .tamis/certs/{service}.key, ca: .tamis/certs/ca.crt }}\n"
        )
    };
    running.end();

    // The gateway and two services without: the storefront, with files, is called and calls.
    shop.write("gateway.yaml", &gateway);
    shop.write(
        "services.yaml",
        &["payments", "catalog", "stock"]
            .iter()
            .fold(services, |text, service| text.replace(&tls(service), "")),
    );
    let running = Running::start(&shop, &[]);
    assert_eq!(running.up["registry"]["trustDomain"], "shop.example");
    running.reaches_all();
    running.end();

    // None with files: the same folder still starts, and nothing of the registry's old certificate is left.
    shop.edit("services.yaml", &tls("storefront"), "");
    let running = Running::start(&shop, &[]);
    running.reaches_all();
    for name in ["registry.crt", "registry.key"] {
        assert!(!shop.folder.path().join(".tamis/registry").join(name).exists(), "{name}");
    }
    // Files again: the registry remembers who joined and stays the authority.
    shop.with_files("storefront", ".tamis/certs/ca.crt");
    running.end();
    let running = Running::start(&shop, &[]);
    running.reaches_all();
    running.end();
}

#[test]
fn a_folder_whose_proxies_could_not_trust_each_other_does_not_start_and_is_told_what_to_write() {
    let domain = |shop: &Shop| {
        let id = "spiffe://shop.example/ns/shop/service/catalog";
        shop.edit("services.yaml", id, "spiffe://far.example/ns/shop/service/catalog");
    };
    let authorities = |shop: &Shop| {
        shop.with_files("catalog", ".tamis/certs/ca.crt");
        shop.with_files("payments", ".tamis/certs/other.crt");
    };
    let foreign = |shop: &Shop| {
        let folder = shop.folder.path();
        let made = ["keys", "certificate", "catalog", "--authority", "ca.crt", "--id"];
        let id = "spiffe://shop.example/ns/shop/service/catalog";
        assert!(tamis(folder, &[&made[..], &[id]].concat()).status.success());
        shop.with_files("catalog", "ca.crt");
        shop.edit("services.yaml", ".tamis/certs/catalog", "catalog");
    };
    type Row<'a> = (&'a str, &'a dyn Fn(&Shop), &'a [&'a str]);
    let rows: [Row<'_>; 3] = [
        ("two trust domains", &domain, &["far.example", "shop.example", "one trust domain"]),
        ("two authorities of files", &authorities, &["ca.crt", "other.crt", "same authority"]),
        ("an authority of others", &foreign, &["append", "authority/bundle.pem", "ca.crt", "tls"]),
    ];
    for (what, change, wanted) in rows {
        let shop = shop();
        change(&shop);
        let done = tamis(shop.folder.path(), &["up", ".", "--no-apps"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{what}: {said}");
        for word in wanted {
            assert!(said.contains(word), "{what}: no {word} in {said}");
        }
    }
}

#[test]
fn an_authority_of_another_domain_is_told_with_the_way_out() {
    let shop = shop();
    Running::start(&shop, &[]).end();
    for name in ["gateway.yaml", "services.yaml", "policies.yaml"] {
        shop.edit(name, "spiffe://shop.example/", "spiffe://else.example/");
    }
    let done = tamis(shop.folder.path(), &["up", ".", "--no-apps"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "{said}");
    for word in ["shop.example", "else.example", "rm -r ./.tamis/registry"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    fs::remove_dir_all(shop.folder.path().join(".tamis/registry")).unwrap();
    let running = Running::start(&shop, &[]);
    running.reaches_all();
    assert_eq!(running.up["registry"]["trustDomain"], "else.example");
    running.end();
}
