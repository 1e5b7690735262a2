//! Claims of a verified token in rules.

use super::{APP, Mesh, policy};
use crate::tokens::{key, now, token_with};
use serde_json::json;

const JWT: &str = "kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: tamis }
spec: { world: refreshing-authorizer }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: security }
spec:
  filter: tamis/jwt
  request: { readHeaders: [authorization], writeHeaders: [authorization], writeAttributes: [jwt.claims] }
  imports: { clock: {}, crypto: {}, log: {}, kv: { entries: 64 }, http-client: { hosts: [] } }
  limits: { time: 2s }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: test }
spec:
  targetRefs: [{ kind: Mesh }]
  filter: tamis/jwt
  phase: authn
  order: 10
  config:
    required: false
    claimsToAttribute: [roles, scope]
    issuers:
      - { issuer: https://idp.shop.example, audiences: [shop], algorithms: [ES256], jwks: { file: .tamis/jwks.json } }
";

#[test]
fn rules_name_claims_of_a_verified_token() {
    let mesh = Mesh::new("");
    mesh.folder.write("jwt.yaml", JWT);
    mesh.folder.prepare();
    mesh.set(&policy(
        "test",
        "app",
        APP,
        "  allow:\n    - { name: staff, claims: [{ name: roles, values: [admin, staff] }] }\n    \
         - { name: reader, methods: [GET], claims: [{ name: scope, values: [read] }] }\n",
    ));
    let _running = mesh.start();
    let issuer = key(&mesh.folder.file(".tamis/jwks.test-key.p8"));
    let (staff, reader) =
        ("authz.allowed.test.app.allow.staff", "authz.allowed.test.app.allow.reader");
    let none = "authz.no-rule";
    for (number, (claims, method, status, reason)) in [
        (json!({ "roles": ["admin"] }), "POST", 200, staff),
        (json!({ "roles": "staff" }), "POST", 200, staff),
        (json!({ "roles": ["guest"], "scope": "write read" }), "GET", 200, reader),
        (json!({ "roles": ["guest"], "scope": "write read" }), "POST", 403, none),
        (json!({ "roles": ["guest"] }), "GET", 403, none),
        (json!({ "roles": { "admin": true } }), "GET", 403, none),
        (json!({ "group": "admin" }), "GET", 403, none),
        (json!(null), "GET", 403, none),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/?claims={number}");
        let bearer = format!("Bearer {}", token_with(&issuer, now() + 3600, &claims));
        // Clients write headers, and no attributes.
        let mut headers = vec![("jwt.claims", r#"{"roles":["admin"]}"#)];
        if !claims.is_null() {
            headers.push(("authorization", bearer.as_str()));
        }
        let reply = mesh.call_with("web", method, &path, &headers);
        assert_eq!(reply.status, status, "{claims} {method}: {reply:?}");
        assert_eq!(mesh.record(&path)["reason"], reason, "{claims} {method}");
    }
    // A token that does not verify has no claims, and is refused before.
    let expired =
        format!("Bearer {}", token_with(&issuer, now() - 3600, &json!({ "roles": "admin" })));
    let reply = mesh.call_with("web", "GET", "/?expired", &[("authorization", &expired)]);
    assert_eq!(reply.status, 401, "{reply:?}");
}
