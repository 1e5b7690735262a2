//! Several owners: what each can open and close.

use super::{ALLOW_ALL, APP, MESH, Mesh, policy};

#[test]
fn policies_of_two_owners_hold_together() {
    let guard =
        policy("security", "mesh", MESH, "  deny: [{ name: admin, paths: [{ value: /admin }] }]\n");
    let mesh = Mesh::new(&guard);
    let _running = mesh.start();
    mesh.becomes("nobody allows it", "/pay", 403);
    // The team opens its service, and not what the security team refuses everywhere.
    mesh.set(&(guard.clone() + &policy("test", "app", APP, ALLOW_ALL)));
    mesh.becomes("the team opens it", "/pay", 200);
    let record = mesh.becomes("the mesh refuses it", "/admin", 403);
    assert_eq!(record["reason"], "authz.denied.security.mesh.deny.admin", "{record}");
    // What either allows is allowed; an audit of the team takes nothing away from the other.
    let health = policy("security", "health", MESH, "  allow: [{ paths: [{ value: /health }] }]\n");
    let pay = policy("test", "app", APP, "  allow: [{ paths: [{ value: /pay }] }]\n");
    mesh.set(&(guard.clone() + &health + &pay));
    mesh.becomes("neither allows it", "/other", 403);
    mesh.becomes("the mesh allows it", "/health", 200);
    mesh.becomes("the team allows it", "/pay", 200);
    let audit = pay.replace("  allow:", "  mode: audit\n  allow:");
    mesh.set(&(guard + &health + &audit));
    let record = mesh.becomes("the team only watches", "/pay", 403);
    assert_eq!(record["reason"], "authz.no-rule", "{record}");
}

#[test]
fn a_policy_of_one_namespace_opens_and_closes_nothing_of_another() {
    let mesh = Mesh::new(&policy("other", "app", APP, ALLOW_ALL));
    let _running = mesh.start();
    let record = mesh.becomes("a stranger's policy opens nothing", "/pay", 403);
    assert_eq!(record["reason"], "authz.no-rule", "{record}");
    let own = policy("test", "app", APP, ALLOW_ALL);
    mesh.set(&(own.clone() + &policy("other", "app", APP, "  deny: [{}]\n")));
    mesh.becomes("a stranger's policy closes nothing", "/pay", 200);
    mesh.set(&(own + &policy("other", "app", APP, "  alow: [{}]\n")));
    mesh.becomes("nor does a broken one", "/pay", 200);
}
