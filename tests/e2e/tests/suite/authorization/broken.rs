//! A policy that cannot be used closes what it guards, and nothing else.

use super::{ALLOW_ALL, APP, Mesh, WEB, policy};
use tamis_e2e::{eventually, request};

/// What is wrong, and the rest of the policy.
const BREAKS: [(&str, &str); 6] = [
    ("an unknown field", "  alow: [{}]\n"),
    ("an identity", "  allow: [{ identities: [web] }]\n"),
    ("a path that is not in normal form", "  allow: [{ paths: [{ value: /a//b }] }]\n"),
    ("a file that is not there", "  cedar: { file: gone.cedar }\n"),
    ("a syntax error", "  cedar: { policies: \"permit (principal, action;\" }\n"),
    (
        "a field that the schema has not",
        "  cedar: { policies: \"permit (principal, action, resource) when { context.user };\" }\n",
    ),
];

/// A policy for the service `web`, which stays as it is.
fn other() -> String {
    policy("test", "web", WEB, ALLOW_ALL)
}

fn other_status(mesh: &Mesh) -> u16 {
    request(&mesh.web, "GET", "/", &[("host", "web")], b"").status
}

#[test]
fn a_policy_that_breaks_while_proxies_run_closes_its_target_until_it_is_mended() {
    let sound = policy("test", "app", APP, ALLOW_ALL);
    let mesh = Mesh::new(&(sound.clone() + &other()));
    let _running = mesh.start();
    mesh.becomes("the policy is in force", "/", 200);
    for (what, rest) in BREAKS {
        mesh.set(&(policy("test", "app", APP, rest) + &other()));
        mesh.becomes(what, "/", 503);
        assert_eq!(other_status(&mesh), 200, "{what}: the other service is none of its business");
        mesh.set(&(sound.clone() + &other()));
        mesh.becomes("mended", "/", 200);
    }
    // A second one that is broken, next to a sound one.
    mesh.set(&(sound.clone() + &policy("test", "more", APP, BREAKS[0].1) + &other()));
    mesh.becomes("a second policy is broken", "/", 503);
    mesh.set(&(sound + &other()));
    mesh.becomes("it is gone", "/", 200);
}

#[test]
fn proxies_that_start_with_a_broken_policy_are_closed_where_it_guards() {
    let mesh = Mesh::new("");
    for (what, rest) in BREAKS {
        mesh.set(&(policy("test", "app", APP, rest) + &other()));
        let _running = mesh.start();
        assert_eq!(mesh.call("web", "GET", "/").status, 503, "{what}");
        assert_eq!(mesh.call("edge", "GET", "/").status, 503, "{what}");
        assert_eq!(other_status(&mesh), 200, "{what}");
    }
    assert_eq!(mesh.backend.count(), BREAKS.len() as u64, "only those of the other service");
    let _running = mesh.start();
    mesh.set(&policy("test", "app", APP, ALLOW_ALL));
    eventually("mended", || (mesh.call("web", "GET", "/").status == 200).then_some(()));
}
