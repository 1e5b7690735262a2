//! `mtls: permissive`: a service that is also called in plain text while its callers move into the mesh, and what that needs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tamis_e2e::{Reply, eventually, free_port, request, root, tamis};

use super::joined::{GUEST, PAY, Shop};
use crate::control::{json as read, said};
use crate::docs::follow;

const PAY_ID: &str = "spiffe://shop.example/ns/shop/service/pay";
const PATIENCE: Duration = Duration::from_secs(30);

impl Shop {
    /// Replaces a part of the documents.
    fn edit(&self, from: &str, to: &str) {
        let file = self.mesh.folder.path().join("mesh.yaml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    }

    /// A person with these verbs: the file of the token.
    pub(super) fn person(&self, name: &str, verbs: &[&str]) -> String {
        let mut all = vec!["registry", "token", "create", name, "--repository", "*"];
        all.extend(["--data", "data"]);
        verbs.iter().for_each(|verb| all.extend(["--verb", verb]));
        let made = tamis(self.mesh.folder.path(), &all);
        assert!(made.status.success(), "{}", said(&made));
        let file = format!("{name}.token");
        fs::write(self.mesh.folder.path().join(&file), made.stdout).unwrap();
        let known = || self.mesh.ask(&["pins", "--token-file", &file]).status.success();
        eventually("the registry knows the token", || known().then_some(()));
        file
    }

    /// A request in plain text to the address of the sidecar of `pay`.
    fn plain(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        request(&self.pay.inbound, "GET", path, &[&[("host", "pay")], headers].concat(), b"")
    }
}

/// The status of a request over HTTP/2 in plain text, by prior knowledge.
fn over_http2(address: &str, path: &str) -> u16 {
    let (address, path) = (address.to_owned(), path.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = http::Request::get(format!("http://pay{path}")).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let status = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap().status();
        driving.abort();
        status.as_u16()
    })
}

/// What a permissive service adds.
const LOOSE: &str = "  mtls: permissive\n  identity: spiffe://shop.example/ns/shop/service/pay\n";
const STRICT: &str = "  identity: spiffe://shop.example/ns/shop/service/pay\n";

#[test]
fn a_service_is_called_in_plain_text_once_somebody_else_agrees_and_until_it_is_strict_again() {
    let shop = Shop::start(&[]);
    let running = shop.joined();
    let plaintext = |name: &str| shop.pay.metric(&[name, "service=\"shop/pay\"", "port=\"80\""]);

    // Strict is what nobody wrote.
    assert_eq!(shop.plain("/early", &[]).status, 0);
    eventually("the log says why, and what to add", || {
        let said = running[0].errors() + &format!("{:?}", running[0].events());
        (said.contains("plaintext") && said.contains("mtls: permissive")).then_some(())
    });

    // To loosen it is growth: somebody else has to agree, and the plan says to what.
    shop.edit(STRICT, LOOSE);
    let grown = "Service shop/pay: plain text of callers without an identity (mtls: permissive)";
    let plan = read(&shop.mesh.ask(&["plan", "-f", "."]));
    let refusals = plan["refusals"].as_array().unwrap();
    let named = refusals.iter().find(|one| one["code"] == "guard.approvals");
    assert!(named.is_some_and(|one| one.to_string().contains(grown)), "{plan}");
    let refused = shop.mesh.ask(&["apply", "-f", ".", "--confirm"]);
    assert!(!refused.status.success() && said(&refused).contains(grown), "{}", said(&refused));
    let subject = read(&refused)["problem"]["subject"].as_str().unwrap().to_owned();
    assert_eq!(shop.plain("/early", &[]).status, 0, "nothing has changed");
    let bob = shop.person("bob", &["observe", "approve"]);
    shop.mesh.did(&["approve", &subject, "--token-file", &bob]);
    shop.mesh.did(&["apply", "-f", ".", "--confirm"]);

    // Nothing allows a caller without an identity, whatever it states.
    let refused = eventually("plain text is served", || {
        let reply = shop.plain("/pay", &[]);
        (reply.status != 0).then_some(reply)
    });
    assert_eq!((refused.status, refused.header("x-tamis-reason")), (403, Some("authz.no-rule")));
    let forged = [
        ("x-forwarded-client-cert", "URI=spiffe://shop.example/ns/shop/service/cart"),
        ("x-tamis-peer", "spiffe://shop.example/ns/shop/service/cart"),
    ];
    assert_eq!(shop.plain("/pay", &forged).status, 403);
    assert_eq!(over_http2(&shop.pay.inbound, "/pay"), 403);
    let record = shop.record("the record of a caller in plain text", |one| one["path"] == "/pay");
    assert!(record["peer"].is_null(), "{record}");
    // Members are who they were, at the same port.
    shop.reaches("/member");
    assert_eq!(shop.guest.call("/pay").status, 403);
    let member = shop.mesh.member(GUEST);
    assert_eq!(member.call(&shop.pay.inbound, PAY_ID), 403);

    // A rule without identities is for everybody, and what a stranger states about itself is not believed.
    shop.edit(
        "allow: [{ identities: [spiffe://shop.example/ns/shop/service/cart] }]",
        "allow: [{ identities: [spiffe://shop.example/ns/shop/service/cart] }, { paths: [{ value: /open }] }]",
    );
    shop.mesh.did(&["apply", "-f", ".", "--confirm"]);
    let claims = [
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-original-url", "/admin"),
        ("x-tamis-retries", "1"),
        ("x-tamis-peer", "spiffe://shop.example/ns/shop/service/cart"),
    ];
    let reply = eventually("the rule is in force", || {
        let reply = shop.plain("/open/a", &claims);
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(reply.status, 200);
    let seen = shop.backend.last().unwrap();
    let text = format!("{seen:?}");
    assert!(!text.contains("6.6.6.6") && !text.contains("/admin"), "{text}");
    assert!(!text.contains("x-tamis-peer") && text.contains("127.0.0.1"), "{text}");
    assert_eq!(over_http2(&shop.pay.inbound, "/open/b"), 200);
    assert_eq!(shop.plain("/pay", &[]).status, 403, "the other rule names an identity");

    // The operator sees who still needs it.
    let mut open = TcpStream::connect(&shop.pay.inbound).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    open.write_all(b"GET /open/kept HTTP/1.1\r\nhost: pay\r\n\r\n").unwrap();
    let mut some = [0; 4096];
    assert!(open.read(&mut some).unwrap() > 0);
    eventually("the connection is counted", || {
        let counted = plaintext("tamis_plaintext_connections{") >= 1.0
            && plaintext("tamis_plaintext_connections_total{") >= 6.0
            && plaintext("tamis_plaintext_used_seconds{") > 1_000_000_000.0;
        counted.then_some(())
    });
    eventually("the registry knows", || {
        let status = shop.mesh.did(&["status"]);
        let mut proxies = status["proxies"].as_array().unwrap().iter();
        let own = proxies.find(|one| one["node"] == PAY).unwrap();
        let port = &own["plaintext"][0];
        (port["port"] == 80 && port["open"] == 1 && port["usedMs"].is_u64()).then_some(())
    });
    let described = shop.mesh.did(&["describe", "service", "pay", "-n", "shop"]);
    assert_eq!(described["programmed"][0]["plaintext"][0]["port"], 80, "{described}");

    // To become strict needs nobody, and ends what is open.
    shop.edit("  mtls: permissive\n", "  mtls: strict\n");
    shop.mesh.did(&["apply", "-f", ".", "--confirm"]);
    let ended = loop {
        match open.read(&mut some) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    assert!(ended, "the open connection is closed");
    eventually("plain text is refused again", || {
        (shop.plain("/open/a", &[]).status == 0).then_some(())
    });
    shop.reaches("/after");
}

#[test]
fn the_page_on_moving_callers_into_the_mesh_does_what_it_says() {
    let page = fs::read_to_string(root().join("docs/how-to/strict-mtls.md")).unwrap();
    let mut moved = page;
    for port in ["9002", "15016", "15011", "15019"] {
        moved = moved.replace(port, &free_port().to_string());
    }
    let folder = tempfile::TempDir::new().unwrap();
    tamis(folder.path(), &["--version"]);
    let outputs = follow(folder.path(), &moved, |commands, out| {
        let wanted = [
            ("http_code", "403"),
            ("demo/policy.yaml", "paid"),
            ("/metrics", "tamis_plaintext_connections_total{"),
            ("mtls: strict", "refused"),
        ];
        wanted.iter().all(|(part, says)| !commands.contains(part) || out.contains(says))
    });
    let said = |part: &str| {
        let found = outputs.iter().find(|(commands, _)| commands.contains(part));
        found.unwrap_or_else(|| panic!("the page has no `{part}`")).1.clone()
    };
    let metrics = said("/metrics");
    let port = "{service=\"shop/payments\",port=\"80\"}";
    for name in ["connections", "connections_total", "used_seconds"] {
        assert!(metrics.contains(&format!("tamis_plaintext_{name}{port}")), "{metrics}");
    }
    assert!(!said("mtls: strict").contains("paid"));
}

#[test]
fn a_service_that_says_what_its_sidecars_cannot_keep_is_refused_by_check_plan_and_apply() {
    let shop = Shop::start(&[]);
    let held = || shop.mesh.did(&["get", "all"])["items"].clone();
    let before = held();
    let endpoint =
        format!("sidecar: \"{}\", outbound: \"{}\", ", shop.pay.inbound, shop.pay.outbound);
    let file = shop.mesh.folder.path().join("mesh.yaml");
    let good = fs::read_to_string(&file).unwrap();
    // What changes, and the code, the place and the words of the problem.
    for (what, change, code, says) in [
        (
            "an unknown word",
            vec![(STRICT, LOOSE.replace("permissive", "lenient"))],
            "field.choice",
            "permissive",
        ),
        (
            "an unknown field",
            vec![(STRICT, LOOSE.replace("mtls", "mTLS"))],
            "field.unknown",
            "did you mean `mtls`",
        ),
        ("nothing behind it", vec![(STRICT, LOOSE.replace(" permissive", ""))], "field", "mtls"),
        (
            "a mode per port",
            vec![(
                "ports: [{ port: 80, protocol: http }]",
                "ports: [{ port: 80, protocol: http, mtls: permissive }]".to_owned(),
            )],
            "field.unknown",
            "mtls",
        ),
        (
            "permissive without a sidecar",
            vec![(STRICT, LOOSE.to_owned()), (endpoint.as_str(), String::new())],
            "service.mtls",
            "endpoint 0 has none",
        ),
        (
            "strict without a sidecar",
            vec![
                (STRICT, LOOSE.replace("permissive", "strict")),
                (endpoint.as_str(), String::new()),
            ],
            "service.mtls",
            "`mtls: strict` is for sidecars",
        ),
    ] {
        let mut text = good.clone();
        for (from, to) in &change {
            // The other services come later in the file.
            assert!(text.contains(from), "{what}: {from}");
            text = text.replacen(from, to, 1);
        }
        fs::write(&file, text).unwrap();
        let checked = tamis(shop.mesh.folder.path(), &["check", ".", "--output", "json"]);
        for (command, done) in [
            ("check", checked),
            ("plan", shop.mesh.ask(&["plan", "-f", "."])),
            ("apply", shop.mesh.ask(&["apply", "-f", "."])),
        ] {
            let told = said(&done);
            assert!(told.contains(code) && told.contains(says), "{what}: {command}: {told}");
            assert!(told.contains("mesh.yaml"), "{what}: {command}: {told}");
            assert!(command == "plan" || !done.status.success(), "{what}: {command}: {told}");
        }
        assert_eq!(held(), before, "{what}: nothing changed");
    }
}
