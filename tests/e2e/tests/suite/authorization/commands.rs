//! `tamis authz test`, `explain` and `learn`.

use serde_json::Value;
use tamis_e2e::{root, tamis};
use tempfile::TempDir;

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
