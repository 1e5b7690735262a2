//! Who may make join tokens, look, revoke and rotate.

use serde_json::Value;
use tamis_e2e::{RunningProcess, eventually, tamis};
use tempfile::TempDir;

use super::member::Asked;
use super::{CART, Mesh, PAY, PAY_1, service};
use crate::control::said;

/// A token for these places, in a file.
fn token(mesh: &Mesh, name: &str, place: &str, verbs: &[&str]) -> String {
    let mut all = vec!["registry", "token", "create", name, "--repository", place];
    all.extend(["--data", "data"]);
    verbs.iter().for_each(|verb| all.extend(["--verb", verb]));
    let made = tamis(mesh.folder.path(), &all);
    assert!(made.status.success(), "{}", said(&made));
    let file = format!("{name}.token");
    std::fs::write(mesh.folder.path().join(&file), &made.stdout).unwrap();
    eventually("the registry knows the token", || {
        mesh.ask(&["identity", "list", "--token-file", &file]).status.success().then_some(())
    });
    file
}

#[test]
fn who_may_make_tokens_revoke_and_rotate() {
    let mesh = Mesh::start();
    drop((mesh.member(PAY), mesh.member(CART)));
    let shop = token(&mesh, "shop", "shop/*", &["observe", "operate"]);
    let other = token(&mesh, "other", "other/*", &["observe", "operate"]);
    let reader = token(&mesh, "reader", "*", &["observe"]);
    let security = token(&mesh, "guard", "security/*", &["observe", "operate"]);
    let revoke = ["identity", "revoke", PAY_1, "--reason", "lost"];
    let allowed = "";
    mesh.join_file(PAY_1);
    for (file, command, wanted) in [
        (&shop, &["identity", "token", PAY][..], allowed),
        (&other, &["identity", "token", PAY], "denied"),
        (&other, &["identity", "token", CART], allowed),
        (&reader, &["identity", "token", PAY], "denied"),
        (&security, &["identity", "token", PAY], "denied"),
        (&shop, &["identity", "token", "sidecar:shop/pay/7"], "not-found"),
        (&shop, &["identity", "token", PAY, "--ttl", "169h"], "bad-request"),
        (&shop, &revoke, "denied"),
        (&shop, &["identity", "rotate"], "denied"),
        (&reader, &["identity", "rotate"], "denied"),
        (&security, &["identity", "rotate"], allowed),
        (&security, &revoke, allowed),
        // Whoever may not revoke may not undo it.
        (&shop, &["identity", "token", PAY_1], "identity.revoked"),
        (&reader, &["identity", "bundle"], allowed),
    ] {
        let done = mesh.ask(&[command, &["--token-file", file]].concat());
        let read: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        let code = read["problem"]["code"].as_str().unwrap_or_default();
        assert_eq!(code, wanted, "{file} {command:?}: {}", said(&done));
        assert_eq!(done.status.success(), wanted.is_empty(), "{file} {command:?}");
    }
    // Each sees its own proxies.
    for (file, seen) in
        [(&shop, vec![PAY, PAY_1]), (&other, vec![CART]), (&reader, vec![CART, PAY, PAY_1])]
    {
        let list = mesh.did(&["identity", "list", "--token-file", file]);
        let nodes =
            list["items"].as_array().unwrap().iter().map(|one| one["node"].as_str().unwrap());
        assert_eq!(nodes.collect::<Vec<_>>(), seen, "{file}");
        let log = said(&mesh.ask(&["audit", "log", "--token-file", file]));
        for node in [PAY, CART] {
            let told = log.contains(&format!("{node}\""));
            assert_eq!(told, seen.contains(&node), "{file} {node}: {log}");
        }
    }
}

#[test]
fn a_join_token_ends_with_the_token_that_made_it() {
    let mesh = Mesh::start();
    let of_token = |command: &str, name: &str, more: &[&str]| {
        let all = [&["registry", "token", command, name, "--data", "data"], more].concat();
        let done = tamis(mesh.folder.path(), &all);
        assert!(done.status.success(), "{}", said(&done));
    };
    let rights = ["--repository", "shop/*", "--verb", "operate"];
    type End<'a> = &'a dyn Fn(&str);
    let rows: [(&str, End<'_>, bool); 5] = [
        ("kept", &|_| {}, true),
        ("rotated", &|name| of_token("rotate", name, &[]), true),
        ("revoked", &|name| of_token("revoke", name, &[]), false),
        (
            "replaced",
            &|name| {
                of_token("revoke", name, &[]);
                of_token("create", name, &rights);
            },
            false,
        ),
        // It was made by one that ends, and ends with it.
        ("maker-ci", &|_| of_token("revoke", "maker", &[]), false),
    ];
    let maker = token(&mesh, "maker", "shop/*", &["observe", "operate"]);
    for (name, end, admits) in rows {
        let file = if name == "maker-ci" {
            let made = mesh.ask(
                &[&["registry", "token", "create", name][..], &rights, &["--token-file", &maker]]
                    .concat(),
            );
            assert!(made.status.success(), "{}", said(&made));
            let read: Value = serde_json::from_slice(&made.stdout).unwrap();
            let file = format!("{name}.token");
            std::fs::write(mesh.folder.path().join(&file), read["token"].as_str().unwrap())
                .unwrap();
            file
        } else {
            token(&mesh, name, "shop/*", &["observe", "operate"])
        };
        let join = mesh.did(&["identity", "token", PAY, "--token-file", &file]);
        let asked = Asked::join(&join);
        end(name);
        let (status, answer) = asked.send(&mesh.proxies, None);
        assert_eq!(status == 200, admits, "{name}: {answer}");
        if !admits {
            assert_eq!(answer["code"], "join.withdrawn", "{name}");
            let title = answer["title"].as_str().unwrap();
            assert!(title.contains(&format!("{name:?}")), "{title}");
        }
    }
}

#[test]
fn nobody_claims_the_identity_of_another_namespace_of_the_mesh_or_of_the_registry() {
    let mesh = Mesh::start();
    let other = token(&mesh, "other", "other/*", &["observe", "operate"]);
    let admin = "data/admin.token".to_owned();
    let apply = |id: &str, file: &str| {
        let text = service("other", "new", 1);
        let text = text.replace("spiffe://shop.example/ns/other/service/new", id);
        // Its addresses are those of no other service, and other proxies reach it on another machine.
        let text = text.replace("127.0.0.1:200", "127.0.0.1:201");
        let text = text.replace("sidecar: 127.0.0.1", "sidecar: 192.0.2.1");
        assert!(text.contains(&format!("identity: {id}\n")), "{text}");
        std::fs::create_dir_all(mesh.folder.path().join("new")).unwrap();
        std::fs::write(mesh.folder.path().join("new/new.yaml"), text).unwrap();
        mesh.ask(&["apply", "-f", "new", "--confirm", "--token-file", file])
    };
    let code = |done: &std::process::Output| {
        let read: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        read["problem"]["code"].as_str().unwrap_or_default().to_owned()
    };
    for (id, own) in [
        ("spiffe://shop.example/registry", false),
        ("spiffe://shop.example/trial", false),
        ("spiffe://shop.example/ns/shop/service/new", false),
        ("spiffe://shop.example/ns/shop/service/pay", false),
        ("spiffe://shop.example/gateway", false),
        ("spiffe://shop.example/ns/other/service/new", true),
    ] {
        let done = apply(id, &other);
        assert_eq!(done.status.success(), own, "{id}: {}", said(&done));
        assert_eq!(code(&done), if own { "" } else { "denied" }, "{id}: {}", said(&done));
    }
    // Whoever may do everything still makes no second registry.
    for id in ["spiffe://shop.example/registry", "spiffe://shop.example/trial"] {
        let done = apply(id, &admin);
        assert!(done.status.success(), "{id}: {}", said(&done));
        assert_eq!(mesh.refused(&["identity", "token", "sidecar:other/new/0"]), "identity.domain");
    }
    // A token made before the identity changed brings no such SVID.
    assert!(apply("spiffe://shop.example/ns/other/service/new", &admin).status.success());
    let asked = Asked::join(&mesh.join_file("sidecar:other/new/0"));
    assert!(apply("spiffe://shop.example/registry", &admin).status.success());
    let answer = asked.send(&mesh.proxies, None);
    assert_eq!(super::code(&answer), (409, "identity.domain"), "{answer:?}");
}

#[test]
fn a_registry_without_a_trust_domain_says_so_and_one_that_nobody_reaches_does_not_start() {
    let folder = TempDir::new().unwrap();
    let arguments = ["registry", "--data", "data", "--listen", "127.0.0.1:0"];
    let running = RunningProcess::start(folder.path(), &arguments);
    let ready = running.event("the registry serves", |event| event["event"] == "ready");
    let address = ready["address"].as_str().unwrap().to_owned();
    let mesh = Mesh { folder, running, address, proxies: String::new() };
    for command in
        [&["identity", "token", PAY][..], &["identity", "rotate"], &["identity", "bundle"]]
    {
        assert_eq!(mesh.refused(command), "identity.no-authority", "{command:?}");
    }
    assert_eq!(mesh.did(&["identity", "list"])["items"], serde_json::json!([]));
    for (arguments, wanted) in [
        (&["--proxies", "127.0.0.1:0"][..], "--trust-domain"),
        (&["--trust-domain", "shop.example"], "--proxies"),
        (&["--proxies", "0.0.0.0:0", "--trust-domain", "shop.example"], "--proxies-advertise"),
        (&["--proxies", "127.0.0.1:0", "--trust-domain", "Shop"], "not a trust domain"),
    ] {
        let start = ["registry", "--data", "data2", "--listen", "127.0.0.1:0"];
        let done = tamis(mesh.folder.path(), &[&start[..], arguments].concat());
        assert!(!done.status.success() && said(&done).contains(wanted), "{}", said(&done));
    }
}
