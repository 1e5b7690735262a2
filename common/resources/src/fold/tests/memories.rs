//! Attachments of one filter that would read the same cookies.

use super::{codes, files};
use crate::{NodeName, fold, parse};

const SHOP: &str = "kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: edge, namespace: shop }
spec: { listeners: [{ name: http, port: 8080, protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }] }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: oidc, namespace: tamis }
spec: { world: everything }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: other, namespace: tamis }
spec: { world: everything }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: oidc, namespace: security }
spec: { filter: tamis/oidc }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: other, namespace: security }
spec: { filter: tamis/other }
";

/// The lock with both filters.
fn lock() -> String {
    let digest = format!("sha256:{}", "0".repeat(64));
    let pin = |name: &str| {
        format!("{{ service: '*', filter: tamis/{name}, version: 0.1.0, digest: '{digest}' }}")
    };
    let (one, other) = (pin("oidc"), pin("other"));
    format!("---\nkind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilters: [{one}, {other}]\n")
}

const ISSUER: &str = "issuer: 'https://idp.example'";
const CLIENT: &str = "clientId: shop";
const SITE: &str = "redirectUrl: 'https://shop.example/oidc/callback'";

/// An attachment to a route of its own, with a configuration.
fn attachment(key: &str, filter: &str, config: &[&str]) -> String {
    let (namespace, name) = key.split_once('/').unwrap();
    let config = config.join(", ");
    format!(
        "---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: {{ name: {name}, namespace: {namespace} }}
spec: {{ ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: '127.0.0.1:9001' }}] }}
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  parentRefs: [{{ kind: Gateway, name: edge, namespace: shop }}]
  rules: [{{ name: all, matches: [{{ path: {{ value: /{name} }} }}], backendRefs: [{{ name: {name}, port: 80 }}] }}]
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  targetRefs: [{{ kind: HTTPRoute, name: {name} }}]
  filter: tamis/{filter}
  phase: authn
  order: 10
  config: {{ {config} }}
"
    )
}

#[test]
fn sessions_that_ended_at_one_attachment_pass_at_no_other() {
    let first = [ISSUER, CLIENT, SITE, "cookieSecretNames: [one, two]"];
    // What the second attachment has, and whether it would read the cookies of the first.
    for (what, key, filter, second, shares) in [
        ("the same", "shop/b", "oidc", first, true),
        (
            "an older secret of the first",
            "shop/b",
            "oidc",
            [ISSUER, CLIENT, SITE, "cookieSecretNames: [new, two]"],
            true,
        ),
        (
            "another name of the cookie, which a copy can have too",
            "shop/b",
            "oidc",
            [ISSUER, CLIENT, SITE, "cookieName: b, cookieSecretNames: [one]"],
            true,
        ),
        (
            "another callback of the site, and another spelling",
            "shop/b",
            "oidc",
            [
                ISSUER,
                CLIENT,
                "redirectUrl: 'HTTPS://Shop.example:443/b/callback'",
                "cookieSecretNames: [one]",
            ],
            true,
        ),
        (
            "secrets of its own",
            "shop/b",
            "oidc",
            [ISSUER, CLIENT, SITE, "cookieName: b, cookieSecretNames: [three]"],
            false,
        ),
        (
            "another site",
            "shop/b",
            "oidc",
            [
                ISSUER,
                CLIENT,
                "redirectUrl: 'https://other.example/oidc/callback'",
                "cookieSecretNames: [one]",
            ],
            false,
        ),
        (
            "another port",
            "shop/b",
            "oidc",
            [
                ISSUER,
                CLIENT,
                "redirectUrl: 'https://shop.example:8443/oidc/callback'",
                "cookieSecretNames: [one]",
            ],
            false,
        ),
        (
            "another client",
            "shop/b",
            "oidc",
            [ISSUER, "clientId: other", SITE, "cookieSecretNames: [one]"],
            false,
        ),
        (
            "another provider",
            "shop/b",
            "oidc",
            ["issuer: 'https://other.example'", CLIENT, SITE, "cookieSecretNames: [one]"],
            false,
        ),
        // Its secrets are others, whatever their names, and nobody stops the attachment of another namespace.
        ("another namespace", "other/b", "oidc", first, false),
        ("another filter", "shop/b", "other", first, false),
        ("no configuration", "shop/b", "oidc", ["a: 1", "b: 1", "c: 1", "d: 1"], false),
    ] {
        let text = [
            SHOP.to_owned(),
            attachment("shop/a", "oidc", &first),
            attachment(key, filter, &second),
            lock(),
        ];
        let (mut documents, problems) = parse("mesh.yaml", &text.concat());
        assert!(problems.is_empty(), "{what}: {problems:?}");
        let node: NodeName = "gateway:shop/edge".parse().unwrap();
        let shared = |documents: &[std::sync::Arc<crate::Document>]| {
            let folded = fold(documents, &node, &files);
            let found = codes(&folded.problems);
            let shared = found.into_iter().filter(|code| *code == "attachment.shared-secret");
            let count = shared.count();
            let plans = folded.plan.unwrap().filters;
            let refused: Vec<String> = plans
                .iter()
                .filter(|plan| {
                    plan.refused.as_ref().is_some_and(|it| it.code == "attachment.shared-secret")
                })
                .map(|plan| plan.attachment.clone())
                .collect();
            assert_eq!(refused.is_empty(), count == 0, "{what}");
            refused
        };
        let all = |documents: &[crate::Document]| -> Vec<_> {
            documents.iter().cloned().map(std::sync::Arc::new).collect()
        };
        let both: &[&str] = if shares { &["shop/a", "shop/b"] } else { &[] };
        assert_eq!(shared(&all(&documents)), both, "{what}");
        // The one that was there first stays, and what it guards is served.
        for document in &mut documents {
            document.since = if document.key() == "shop/a" { 1 } else { 2 };
        }
        let second: &[&str] = if shares { &["shop/b"] } else { &[] };
        assert_eq!(shared(&all(&documents)), second, "{what}");
    }
}
