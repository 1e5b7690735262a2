//! Identities as text.

use crate::table::table;
use crate::when::{ago, rfc3339};
use tamis_api::{AuthorityView, IdentityView};

/// A table of identities.
pub(super) fn listed(all: &[IdentityView], now: u64) -> String {
    if all.is_empty() {
        return "no proxy has an identity; `tamis identity token NODE` lets one join\n".to_owned();
    }
    let rows: Vec<_> = all.iter().map(|one| row(one, now)).collect();
    table(["PROXY", "STATE", "EXPIRES", "RENEWED", "TOKENS", "IDENTITY"], &rows)
}

fn row(one: &IdentityView, now: u64) -> [String; 6] {
    let none = || "-".to_owned();
    let renewed = one.renewed_ms.or(one.joined_ms);
    [
        one.node.clone(),
        state(one, now).to_owned(),
        one.expires_ms.map_or_else(none, |expires| ago(now, expires)),
        renewed.map_or_else(none, |renewed| ago(now, renewed)),
        one.unused_tokens.to_string(),
        one.id.clone().unwrap_or_else(none),
    ]
}

/// Whether the proxy can prove who it is.
fn state(one: &IdentityView, now: u64) -> &'static str {
    let joined = one.joined_ms.unwrap_or(0);
    match (&one.revoked, one.expires_ms) {
        // A proxy that joined again after a revocation has a new identity.
        (Some(revoked), _) if joined <= revoked.time_ms => "revoked",
        (_, None) => "expected",
        (_, Some(expires)) if expires < now => "expired",
        (_, Some(_)) => "valid",
    }
}

/// Everything about one identity, a line each.
pub(super) fn one(one: &IdentityView, now: u64) -> String {
    let mut text = format!("{}: {}\n", one.node, state(one, now));
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<10}{value}\n"));
    let at = |ms: u64| format!("{} ({})", rfc3339(ms), ago(now, ms));
    if let Some(id) = &one.id {
        line("identity", id.clone());
    }
    if let Some(serial) = &one.serial {
        line("serial", serial.clone());
    }
    for (name, ms) in
        [("joined", one.joined_ms), ("renewed", one.renewed_ms), ("expires", one.expires_ms)]
    {
        if let Some(ms) = ms {
            line(name, at(ms));
        }
    }
    line("tokens", format!("{} unused", one.unused_tokens));
    if let Some(revoked) = &one.revoked {
        let again = if revoked.readmitted { "; a token admits it again" } else { "" };
        let (by, reason) = (&revoked.by, &revoked.reason);
        line("revoked", format!("{} by {by}: {reason}{again}", at(revoked.time_ms)));
    }
    text
}

/// The authority and the trust domains that it recognises, a line each.
pub(super) fn authority(one: &AuthorityView, now: u64) -> String {
    let mut text = format!("trust domain {}\n", one.trust_domain);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<14}{value}\n"));
    let at = |ms: u64| format!("{} ({})", rfc3339(ms), ago(now, ms));
    line("registry", format!("{} at {}", one.registry_id, one.registry));
    line("intermediate", format!("until {}", at(one.intermediate_until_ms)));
    line(
        "root",
        match one.root_here {
            true => "its key is here; the intermediate is rotated by itself".to_owned(),
            false => "its key is elsewhere; somebody signs each intermediate".to_owned(),
        },
    );
    line("roots", format!("change number {}", one.sequence));
    for domain in &one.federated {
        text.push_str(&format!("recognises {}\n", domain.trust_domain));
        for authority in &domain.authorities {
            let (name, digest) = (&authority.name, &authority.digest);
            let until = at(authority.expires_ms);
            text.push_str(&format!("  {name}, until {until}, {digest}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::IdentityRevocationView;

    const NOW: u64 = 10_000_000;

    fn joined(expires_ms: u64) -> IdentityView {
        IdentityView {
            node: "sidecar:shop/pay/0".into(),
            id: Some("spiffe://shop.example/pay".into()),
            serial: Some("4a".into()),
            joined_ms: Some(NOW - 120_000),
            expires_ms: Some(expires_ms),
            ..IdentityView::default()
        }
    }

    fn revoked(time_ms: u64) -> Option<IdentityRevocationView> {
        let (by, reason) = ("ada".to_owned(), "machine lost".to_owned());
        Some(IdentityRevocationView { by, reason, time_ms, readmitted: true })
    }

    #[test]
    fn the_state_says_whether_a_proxy_can_prove_who_it_is() {
        let expected = IdentityView { unused_tokens: 1, ..IdentityView::default() };
        for (view, wanted) in [
            (joined(NOW + 1), "valid"),
            (joined(NOW - 1), "expired"),
            (expected, "expected"),
            (IdentityView { revoked: revoked(NOW), ..joined(NOW + 1) }, "revoked"),
            (IdentityView { revoked: revoked(NOW - 180_000), ..joined(NOW + 1) }, "valid"),
        ] {
            assert_eq!(state(&view, NOW), wanted, "{view:?}");
        }
    }

    #[test]
    fn a_list_is_a_table_and_one_identity_a_few_lines() {
        assert!(listed(&[], NOW).contains("tamis identity token NODE"));
        let view = joined(NOW + 3_600_000);
        let table = listed(&[view.clone(), IdentityView::default()], NOW);
        for part in ["PROXY", "valid", "in 1h", "2m ago", "spiffe://shop.example/pay", "-"] {
            assert!(table.contains(part), "{table}");
        }
        let lines = one(&IdentityView { revoked: revoked(NOW), ..view }, NOW);
        for part in ["sidecar:shop/pay/0: revoked\n", "serial    4a\n", "by ada: machine lost"] {
            assert!(lines.contains(part), "{lines}");
        }
    }
}
