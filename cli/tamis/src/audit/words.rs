//! An entry of the journal as one line of text.

use crate::table::{count, short};
use serde_json::Value;

/// What happened and why, in words; the unchanged body for kinds of entries that this release does not
/// know.
pub(super) fn sentence(kind: &str, body: &Value) -> String {
    let of = |name: &str| text(body.get(name));
    let digest = || short(&of("digest"));
    let filter =
        || format!("{} {} for {} ({})", of("filter"), of("version"), of("service"), digest());
    match kind {
        "applied" => applied(body),
        "pinned" if body.get("rollback") == Some(&Value::Bool(true)) => {
            format!("rolled back to {}", filter())
        }
        "pinned" => format!("pinned {}", filter()),
        "unpinned" => format!("unpinned {} for {}", of("filter"), of("service")),
        "approved" => format!("agreed to {}", short(&of("subject"))),
        "rollout-started" => rollout(body.get("rollout").unwrap_or(body)),
        "rollout-moved" => {
            because(format!("rollout {} took `{}`", of("rollout"), of("event")), &of("why"))
        }
        "rollout-ended" => {
            because(format!("rollout {} is {}", of("rollout"), of("outcome")), &of("why"))
        }
        "revoked" => {
            let what =
                if body.get("digest").is_some() { digest() } else { format!("key {}", of("key")) };
            because(format!("withdrew {what}"), &of("reason"))
        }
        "assigned" => assigned(body),
        "reassigned" => {
            let whose =
                if of("service") == "*" { "all services".to_owned() } else { of("service") };
            because(format!("assigned {whose} again, in epoch {}", of("epoch")), &of("reason"))
        }
        "node-reported" => reported(body),
        "node-connections" => connections(body),
        "registry-keys" => {
            let log = of("log");
            let log = log.split('+').next().unwrap_or_default();
            format!("signs assignments with key {} and the log {log}", of("director"))
        }
        "identity-authority" => format!("is the authority of {}", of("domain")),
        "identity-token" => match of("event").as_str() {
            "created" => format!("made a join token for {}", of("node")),
            "withdrawn" => format!("withdrew the join tokens of {}", of("node")),
            _ => format!("{kind} {body}"),
        },
        "identity-joined" => {
            format!("{} joined as {} (serial {})", of("node"), of("id"), of("serial"))
        }
        "identity-renewed" => format!("renewed the identities of {}", renewed(body)),
        "identity-revoked" => {
            because(format!("revoked the identity of {}", of("node")), &of("reason"))
        }
        "identity-rotated" => "rotated the intermediate".to_owned(),
        "blob-linked" => format!("pushed {} to {}", digest(), of("repository")),
        "blob-unlinked" => format!("took {} out of {}", digest(), of("repository")),
        "manifest-put" => pushed(body),
        "manifest-deleted" => format!("deleted {} of {}", digest(), of("repository")),
        "tag-put" => format!("tagged {} of {} as {}", digest(), of("repository"), of("tag")),
        "tag-deleted" => format!("deleted tag {} of {}", of("tag"), of("repository")),
        "blobs-condemned" => format!("marked {} for deletion", blobs(body)),
        "blobs-collected" => format!("collected {}", blobs(body)),
        "token-created" => {
            format!(
                "made token {} for {}: {}",
                of("name"),
                listed(body, "repositories"),
                listed(body, "verbs")
            )
        }
        "token-revoked" => format!("revoked token {}", of("name")),
        _ => format!("{kind} {body}"),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "?".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn because(what: String, why: &str) -> String {
    if why.is_empty() || why == "?" { what } else { format!("{what}: {why}") }
}

fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn listed(body: &Value, name: &str) -> String {
    let all: Vec<String> = list(body, name).iter().map(|one| text(Some(one))).collect();
    some(&all)
}

/// The first three names, and the number of the rest.
fn some(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(3).map(String::as_str).collect();
    match all.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn applied(body: &Value) -> String {
    let keys = |name: &str, key: &str| -> Vec<String> {
        list(body, name).iter().map(|one| text(one.get(key))).collect()
    };
    let taken_out: Vec<String> = list(body, "removed")
        .iter()
        .chain(list(body, "removed_files"))
        .map(|one| text(Some(one)))
        .collect();
    let parts = [
        ("put in force ", keys("documents", "key")),
        ("put in files ", keys("files", "path")),
        ("took out ", taken_out),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, all)| !all.is_empty())
        .map(|(what, all)| format!("{what}{}", some(all)))
        .collect();
    if parts.is_empty() { "put nothing in force".to_owned() } else { parts.join("; ") }
}

fn rollout(spec: &Value) -> String {
    let of = |name: &str| text(spec.get(name));
    format!(
        "began rollout {}: {} {} for {} ({})",
        of("name"),
        of("filter"),
        of("version"),
        listed(spec, "services"),
        short(&of("to"))
    )
}

fn assigned(body: &Value) -> String {
    let of = |name: &str| text(body.get(name));
    let version = body.get("version").and_then(Value::as_u64).map(tamis_trust::version_words);
    let by = match body.get("rollout").and_then(Value::as_str) {
        Some(rollout) => format!(" by rollout {rollout}"),
        None => String::new(),
    };
    format!(
        "assigned {} of {}: {} {} (version {}){by}",
        of("slot"),
        of("service"),
        of("filter"),
        short(&of("digest")),
        version.unwrap_or_else(|| "?".to_owned()),
    )
}

fn reported(body: &Value) -> String {
    let slots = list(body, "slots");
    let running = slots.iter().filter(|slot| slot.get("running").is_some()).count();
    let refused = slots.iter().filter_map(|slot| {
        Some(format!("{}: {}", text(slot.get("slot")), text(slot.get("refused")?.get("code"))))
    });
    let refused: Vec<String> = refused.collect();
    let mut said = format!("{} runs {}", text(body.get("node")), count(running, "slot", "slots"));
    if !refused.is_empty() {
        said.push_str(&format!(", refuses {}", some(&refused)));
    }
    match list(body, "problems").len() {
        0 => {}
        problems => said.push_str(&format!(", has {}", count(problems, "problem", "problems"))),
    }
    said
}

fn renewed(body: &Value) -> String {
    let nodes: Vec<String> = list(body, "svids").iter().map(|one| text(one.get("node"))).collect();
    some(&nodes)
}

fn connections(body: &Value) -> String {
    let parts = [("connected: ", "joined"), ("disconnected: ", "left")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, name)| !list(body, name).is_empty())
        .map(|(what, name)| format!("{what}{}", listed(body, name)))
        .collect();
    parts.join("; ")
}

fn pushed(body: &Value) -> String {
    let of = |name: &str| text(body.get(name));
    let tags = match list(body, "tags") {
        [] => String::new(),
        _ => format!(" as {}", listed(body, "tags")),
    };
    let about = match body.get("subject").and_then(Value::as_str) {
        Some(subject) => format!(" about {}", short(subject)),
        None => String::new(),
    };
    format!("pushed manifest {} to {}{tags}{about}", short(&of("digest")), of("repository"))
}

fn blobs(body: &Value) -> String {
    count(list(body, "digests").len(), "blob", "blobs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_entry_says_what_happened_and_why_in_a_line() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let cut = "sha256:000000000000…";
        let pin = json!({ "filter": "acme/jwt", "version": "1.4.2", "service": "shop/a", "digest": digest });
        let mut back = pin.clone();
        back["rollback"] = true.into();
        let rows = [
            (
                "applied",
                json!({ "documents": [{ "key": "Service/shop/a" }, { "key": "Service/shop/b" }], "removed": ["Grant/a/b"] }),
                "put in force Service/shop/a, Service/shop/b; took out Grant/a/b".to_owned(),
            ),
            ("pinned", pin, format!("pinned acme/jwt 1.4.2 for shop/a ({cut})")),
            ("pinned", back, format!("rolled back to acme/jwt 1.4.2 for shop/a ({cut})")),
            (
                "unpinned",
                json!({ "filter": "a/b", "service": "*" }),
                "unpinned a/b for *".to_owned(),
            ),
            ("approved", json!({ "subject": digest }), format!("agreed to {cut}")),
            (
                "rollout-started",
                json!({ "rollout": { "name": "r", "filter": "a/b", "version": "2.0.0", "services": ["*"], "to": digest } }),
                format!("began rollout r: a/b 2.0.0 for * ({cut})"),
            ),
            (
                "rollout-moved",
                json!({ "rollout": "r", "event": "pause", "why": "ada: a spike" }),
                "rollout r took `pause`: ada: a spike".to_owned(),
            ),
            (
                "rollout-ended",
                json!({ "rollout": "r", "outcome": "returned", "why": "1 slot refuses" }),
                "rollout r is returned: 1 slot refuses".to_owned(),
            ),
            (
                "revoked",
                json!({ "digest": digest, "reason": "leaks" }),
                format!("withdrew {cut}: leaks"),
            ),
            ("revoked", json!({ "key": "k", "reason": "lost" }), "withdrew key k: lost".to_owned()),
            (
                "assigned",
                json!({ "slot": "shop/jwt", "service": "shop/a", "filter": "acme/jwt", "digest": digest, "version": 7 }),
                format!("assigned shop/jwt of shop/a: acme/jwt {cut} (version 7)"),
            ),
            (
                "reassigned",
                json!({ "service": "*", "epoch": 1, "reason": "restored" }),
                "assigned all services again, in epoch 1: restored".to_owned(),
            ),
            (
                "registry-keys",
                json!({ "director": "AAA=", "log": "tamis-registry+1a+BBB" }),
                "signs assignments with key AAA= and the log tamis-registry".to_owned(),
            ),
            (
                "identity-authority",
                json!({ "domain": "shop.example", "bundle": digest }),
                "is the authority of shop.example".to_owned(),
            ),
            (
                "identity-token",
                json!({ "event": "created", "node": "sidecar:shop/a/0", "token": digest }),
                "made a join token for sidecar:shop/a/0".to_owned(),
            ),
            (
                "identity-token",
                json!({ "event": "withdrawn", "node": "sidecar:shop/a/0" }),
                "withdrew the join tokens of sidecar:shop/a/0".to_owned(),
            ),
            (
                "identity-joined",
                json!({ "node": "sidecar:shop/a/0", "id": "spiffe://x/a", "serial": "4a" }),
                "sidecar:shop/a/0 joined as spiffe://x/a (serial 4a)".to_owned(),
            ),
            (
                "identity-renewed",
                json!({ "svids": [{ "node": "a" }, { "node": "b" }, { "node": "c" }, { "node": "d" }] }),
                "renewed the identities of a, b, c and 1 more".to_owned(),
            ),
            (
                "identity-revoked",
                json!({ "node": "sidecar:shop/a/0", "reason": "stolen" }),
                "revoked the identity of sidecar:shop/a/0: stolen".to_owned(),
            ),
            ("identity-rotated", json!({ "asked": true }), "rotated the intermediate".to_owned()),
            (
                "node-reported",
                json!({ "node": "sidecar:shop/a/0", "slots": [{ "slot": "s", "running": {} }, { "slot": "t", "refused": { "code": "a.b" } }], "problems": [{}] }),
                "sidecar:shop/a/0 runs 1 slot, refuses t: a.b, has 1 problem".to_owned(),
            ),
            (
                "node-connections",
                json!({ "replica": "x", "joined": ["a"], "left": ["b", "c", "d", "e"] }),
                "connected: a; disconnected: b, c, d and 1 more".to_owned(),
            ),
            (
                "manifest-put",
                json!({ "repository": "a/b", "digest": digest, "tags": ["1.0.0"] }),
                format!("pushed manifest {cut} to a/b as 1.0.0"),
            ),
            ("blobs-collected", json!({ "digests": [1] }), "collected 1 blob".to_owned()),
            (
                "token-created",
                json!({ "name": "ci", "repositories": ["*"], "verbs": ["pull"] }),
                "made token ci for *: pull".to_owned(),
            ),
            ("token-revoked", json!({ "name": "ci" }), "revoked token ci".to_owned()),
            ("something-new", json!({ "a": 1 }), r#"something-new {"a":1}"#.to_owned()),
        ];
        for (kind, body, wanted) in rows {
            assert_eq!(sentence(kind, &body), wanted, "{kind}");
        }
    }

    #[test]
    fn bodies_of_any_form_are_told_without_a_fault() {
        for kind in
            ["applied", "pinned", "rollout-started", "assigned", "node-reported", "token-created"]
        {
            for body in
                [json!(null), json!([]), json!({ "documents": 3, "slots": [1], "rollout": [] })]
            {
                assert!(!sentence(kind, &body).is_empty());
            }
        }
    }
}
