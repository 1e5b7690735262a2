//! Something written very often: each place of it contradicts each other one, and no more is reported than somebody reads.

use super::{Problem, files};
use crate::{NodeName, fold, parse};

/// How often it is written.
const OFTEN: usize = 400;

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "kind: {kind}\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: shop }}\nspec: {spec}\n"
    )
}

fn documents(kind: &str, spec: &str) -> String {
    let all: Vec<String> = (0..OFTEN).map(|at| document(kind, &format!("a{at}"), spec)).collect();
    all.join("---\n")
}

fn list(one: &str) -> String {
    vec![one; OFTEN].join(", ")
}

#[test]
fn what_is_written_very_often_is_reported_as_often_as_somebody_reads() {
    let shop = document(
        "Service",
        "a",
        "{ ports: [{ port: 80, protocol: http }], endpoints: [{ address: '127.0.0.1:9001', sidecar: '127.0.0.1:15006' }] }",
    );
    let target = "targetRefs: [{ kind: Service, name: a }]";
    let keys = "keys: [{ name: k, publicKeyFile: k.pub }], threshold: 1";
    for (name, text, code) in [
        (
            "patterns of one policy",
            document(
                "TrustPolicy",
                "t",
                &format!("{{ namespaces: [{}], {keys} }}", list("acme/*")),
            ),
            "trust.conflict",
        ),
        (
            "policies of one pattern",
            documents("TrustPolicy", &format!("{{ namespaces: [acme/*], {keys} }}")),
            "trust.conflict",
        ),
        ("grants", documents("Grant", "{ filter: acme/x }"), "grant.conflict"),
        (
            "policies of an upstream",
            format!("{shop}---\n{}", documents("UpstreamPolicy", &format!("{{ {target} }}"))),
            "policy.conflict",
        ),
        (
            "attachments of one order",
            format!(
                "{shop}---\n{}",
                documents(
                    "FilterAttachment",
                    &format!("{{ {target}, filter: acme/x, phase: authn, order: 1 }}")
                ),
            ),
            "attachment.tie",
        ),
        ("names", vec![shop.as_str(); OFTEN].join("---\n"), "document.duplicate"),
    ] {
        let (documents, problems) = parse("t.yaml", &text);
        assert!(problems.is_empty(), "{name}: {problems:?}");
        let node = NodeName::Sidecar { key: "shop/a".to_owned(), index: 0 };
        let found = fold(&documents, &node, &files).problems;
        let known = found.iter().filter(|one| one.code == code).count();
        assert!(known > 0, "{name}: {:?}", super::codes(&found));
        let most = documents.len().saturating_mul(100);
        assert!(found.len() <= most, "{name}: {} problems", found.len());
        let places: Vec<usize> = found.iter().map(|one: &Problem| one.also.len()).collect();
        assert!(places.iter().all(|one| *one <= 8), "{name}: {places:?}");
    }
}
