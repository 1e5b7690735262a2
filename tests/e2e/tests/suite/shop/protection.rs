//! What guards a rule goes only after somebody has seen that it goes.

use std::path::Path;
use std::process::Output;

use tamis_e2e::{eventually, get, tamis, up};
use tempfile::TempDir;

use super::shop;

/// A rule beside the guarded one that takes a part of its requests.
const OPEN: &str = "    - name: open\n      matches: [{ path: { type: PathPrefix, value: /pay/x } }]\n      \
    backendRefs: [{ name: payments, port: 80 }]\n";

/// The documents of a folder and the files that they name, in another one that nothing watches.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let kept = ["yaml", "json", "pub", "crt", "key"].map(Some);
        let ending = path.extension().and_then(|ending| ending.to_str());
        if entry.file_type().unwrap().is_dir() {
            if [".tamis", "keys", "certs"].iter().any(|one| name == *one) {
                copy(&path, &to.join(name));
            }
        } else if kept.contains(&ending) {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_guard_goes_only_with_a_confirmation_and_a_rule_beside_it_asks_too() {
    let shop = shop();
    let running = up(shop.folder.path(), &[]);
    let event = running.event("the mesh is up", |event| event["event"] == "up");
    let word = |name: &str| event["registry"][name].as_str().unwrap().to_owned();
    let (address, token) = (word("address"), word("tokenFile"));
    let elsewhere = TempDir::new().unwrap();
    copy(shop.folder.path(), elsewhere.path());
    let changed = elsewhere.path().to_str().unwrap().to_owned();
    let ask = |arguments: &[&str]| -> (Option<i32>, String) {
        let ours = ["--registry", &address, "--token-file", &token];
        let Output { status, stdout, stderr } =
            tamis(shop.folder.path(), &[arguments, &ours[..]].concat());
        let said = [stdout, stderr].concat();
        (status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    eventually("paying needs a token", || (get(&shop.http, "/pay").status == 401).then_some(()));

    // A rule that takes a part of what is guarded.
    let routes = elsewhere.path().join("routes.yaml");
    let text = std::fs::read_to_string(&routes).unwrap();
    let (before, after) = text.split_once("    - name: storefront\n").unwrap();
    std::fs::write(&routes, format!("{before}{OPEN}    - name: storefront\n{after}")).unwrap();
    for command in ["plan", "apply"] {
        let (code, said) = ask(&[command, "-f", &changed]);
        assert_eq!(code, Some(3), "{command}: {said}");
        let named =
            said.contains("guard.protection") && said.contains("\"shop/shop/open\" (/pay/x)");
        assert!(named, "{command}: {said}");
    }
    let (code, said) = ask(&["check", &changed, "--live"]);
    assert!(code == Some(0) && said.contains("\"shop/pay-jwt\" (tamis/jwt)"), "{code:?}: {said}");
    assert_eq!(get(&shop.http, "/pay/x").status, 401);

    let delete = ["delete", "filterattachment", "pay-jwt", "-n", "shop"];
    let (code, said) = ask(&delete);
    assert_eq!(code, Some(3), "{said}");
    let lost = "\"shop/pay-jwt\" (tamis/jwt) no longer guards rule \"shop/shop/pay\" of listener \"https\"";
    assert!(said.contains("guard.protection") && said.contains(lost), "{said}");
    assert_eq!(get(&shop.http, "/pay").status, 401, "it stays");
    let (code, said) = ask(&[&delete[..], &["--confirm"]].concat());
    assert!(code == Some(0) && said.contains(lost), "{code:?}: {said}");
    eventually("nothing guards paying", || (get(&shop.http, "/pay").status == 200).then_some(()));
    assert!(running.end("-INT").success());
}
