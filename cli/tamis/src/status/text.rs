//! A status as text: problems first.

use super::{Part, is_wrong};
use crate::plaintext_use::plaintext;
use crate::proxy_identities::identities;
use crate::table::{count, short, table};
use crate::when::ago;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use tamis_api::{FleetStatus, ProxyStatus, Refused, SlotStateView, SlotView};

pub(super) fn text(status: &FleetStatus, part: Part) -> String {
    if status.proxies.is_empty() {
        return match part {
            Part::Problems => "no problems\n".to_owned(),
            Part::All => "no slot matches\n".to_owned(),
            Part::Summary => "no document in force declares a proxy\n".to_owned(),
        };
    }
    if part == Part::All {
        return format!("{}\n{}", slots(status), line(status));
    }
    let problems = problems(status);
    let mut text = String::new();
    if !problems.is_empty() {
        let _ = writeln!(text, "{}\n", problems.trim_end());
    }
    if part == Part::Summary {
        let _ = writeln!(text, "{}{}", services(status), plain(status));
    }
    text.push_str(&line(status));
    text
}

/// The ports that are served in plain text too.
fn plain(status: &FleetStatus) -> String {
    let ports = status.proxies.iter().map(|one| (&*one.node, one.plaintext.as_slice()));
    plaintext(ports, status.now_ms)
}

/// A summary on one line.
fn line(status: &FleetStatus) -> String {
    let number =
        |is: &dyn Fn(&ProxyStatus) -> bool| status.proxies.iter().filter(|it| is(it)).count();
    let has =
        |proxy: &ProxyStatus, state: SlotStateView| proxy.slots.iter().any(|it| it.state == state);
    let mut parts = vec![count(status.proxies.len(), "proxy", "proxies")];
    for (number, word) in [
        (number(&|it| it.disconnected_ms.is_some()), "disconnected"),
        (number(&|it| !it.connected && it.disconnected_ms.is_none()), "never connected"),
        (number(&|it| has(it, SlotStateView::Refused)), "refusing"),
        (number(&|it| has(it, SlotStateView::KeptLastGood)), "on the last good version"),
        (number(&|it| has(it, SlotStateView::Drift)), "in drift"),
        (
            number(&|it| it.slots.iter().any(|slot| slot.revoked.is_some())),
            "running what is revoked",
        ),
        (number(&|it| !it.problems.is_empty()), "with problems of their own"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    if !status.proxies.iter().any(is_wrong) {
        parts.push("all well".to_owned());
    }
    format!("{} at revision {}\n", parts.join(", "), status.revision)
}

/// Problems, worst first; equal ones once, with the proxies that have them.
fn problems(status: &FleetStatus) -> String {
    let mut wrong: BTreeMap<(u8, String), Vec<&str>> = BTreeMap::new();
    for proxy in &status.proxies {
        let mut note = |weight: u8, what: String| {
            wrong.entry((weight, what)).or_default().push(proxy.node.as_str());
        };
        match (proxy.connected, proxy.disconnected_ms) {
            (true, _) => {}
            (false, Some(since)) => {
                note(3, format!("disconnected since {}", ago(status.now_ms, since)));
            }
            (false, None) => note(5, "never connected".to_owned()),
        }
        for problem in &proxy.problems {
            note(2, format!("{} ({})", problem.message, problem.code));
        }
        if let Some(why) = &proxy.why {
            note(1, format!("rejects the plan it was sent: {why}"));
        }
        for slot in &proxy.slots {
            if let Some(revoked) = &slot.revoked {
                note(0, format!("{} runs what is revoked: {}", slot.slot, sentence(revoked)));
            }
            if let Some((weight, state)) = weight(proxy, slot.state) {
                let why = slot.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                note(weight, format!("{} {state}{why}", slot.slot));
            }
        }
    }
    let mut text = String::new();
    for ((_, what), proxies) in wrong {
        let _ = writeln!(text, "! {what}\n    {}", named(&proxies));
    }
    text
}

/// The first names, and the number of the rest.
fn named(proxies: &[&str]) -> String {
    let all: BTreeSet<&str> = proxies.iter().copied().collect();
    let shown: Vec<&str> = all.iter().copied().take(3).collect();
    match all.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A refusal with its code.
fn sentence(refused: &Refused) -> String {
    format!("{}: {}", refused.code, refused.sentence())
}

/// How bad a state is, from 0 (worst); `None` when the proxy's own line already reports it.
fn weight(proxy: &ProxyStatus, state: SlotStateView) -> Option<(u8, &'static str)> {
    let weight = match state {
        SlotStateView::Serving | SlotStateView::Disconnected => return None,
        SlotStateView::Pending if !proxy.connected => return None,
        SlotStateView::Refused => 0,
        SlotStateView::KeptLastGood | SlotStateView::Drift => 1,
        SlotStateView::Unassigned => 2,
        SlotStateView::Pending => 4,
    };
    Some((weight, word(state)))
}

/// One line per service: its proxies, and what runs in them.
fn services(status: &FleetStatus) -> String {
    let mut services: BTreeMap<&str, Vec<&ProxyStatus>> = BTreeMap::new();
    for proxy in &status.proxies {
        services.entry(&proxy.service).or_default().push(proxy);
    }
    let mut rows: Vec<(bool, [String; 4])> = services
        .into_iter()
        .map(|(service, proxies)| {
            let connected = proxies.iter().filter(|one| one.connected).count();
            let slots: Vec<&SlotView> = proxies.iter().flat_map(|one| &one.slots).collect();
            let serving = slots.iter().filter(|one| one.state == SlotStateView::Serving).count();
            let wrong = proxies.iter().any(|one| is_wrong(one));
            let row = [
                service.to_owned(),
                format!("{connected}/{}", proxies.len()),
                format!("{serving}/{}", slots.len()),
                releases(&slots),
            ];
            (wrong, row)
        })
        .collect();
    // Services with problems stay in sight: they come last, next to the prompt. Their problems are in the
    // list above.
    rows.sort_by_key(|(wrong, row)| (!*wrong, row[0].clone()));
    let rows: Vec<[String; 4]> = rows.into_iter().map(|(_, row)| row).collect();
    table(["SERVICE", "CONNECTED", "SERVING", "RUNS"], &rows)
}

/// What runs in slots, by filter: as many as fit on a line.
fn releases(slots: &[&SlotView]) -> String {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for slot in slots {
        if let Some(running) = &slot.running {
            let name = slot.filter.rsplit('/').next().unwrap_or(&slot.filter);
            versions.entry(name).or_default().insert(&running.version);
        }
    }
    let all: Vec<String> = versions
        .iter()
        .map(|(filter, all)| {
            let all: Vec<&str> = all.iter().copied().collect();
            format!("{filter} {}", all.join("+"))
        })
        .collect();
    let (mut text, mut more) = (String::new(), 0);
    for one in all {
        if text.len() + one.len() > WIDTH {
            more += 1;
            continue;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&one);
    }
    if more > 0 { format!("{text} +{more}") } else { text }
}

/// Columns for what runs in a service, so that a line fits in 80.
const WIDTH: usize = 38;

/// Every slot, one per line; the reason below if it does not serve.
fn slots(status: &FleetStatus) -> String {
    let mut rows = Vec::new();
    let mut whys: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for proxy in &status.proxies {
        let own = proxy.problems.iter().map(|one| one.message.clone()).chain(proxy.why.clone());
        for why in own {
            whys.entry(why).or_default().push(&proxy.node);
        }
        if proxy.slots.is_empty() {
            rows.push(row(proxy, None, status.now_ms));
        }
        for slot in &proxy.slots {
            rows.push(row(proxy, Some(slot), status.now_ms));
            if let Some(revoked) = &slot.revoked {
                let why = format!("{} runs what is revoked: {}", slot.slot, sentence(revoked));
                whys.entry(why).or_default().push(&proxy.node);
            }
            if let Some(why) = &slot.why {
                whys.entry(format!("{}: {why}", slot.slot)).or_default().push(&proxy.node);
            }
        }
    }
    let head = ["PROXY", "SLOT", "FILTER", "ASSIGNED", "RUNNING", "SINCE", "STATE"];
    let mut text = table(head, &rows);
    let joined = status.proxies.iter().filter_map(|one| Some((&*one.node, one.identity.as_ref()?)));
    text.push_str(&identities(joined, status.now_ms));
    text.push_str(&plain(status));
    for (why, proxies) in whys {
        let _ = write!(text, "\n! {why}\n    {}", named(&proxies));
    }
    if text.ends_with('\n') { text } else { text + "\n" }
}

fn row(proxy: &ProxyStatus, slot: Option<&SlotView>, now: u64) -> [String; 7] {
    let Some(slot) = slot else {
        let state = match (proxy.connected, proxy.disconnected_ms, proxy.current) {
            (false, Some(since), _) => format!("disconnected since {}", ago(now, since)),
            (false, None, _) => "never connected".to_owned(),
            (true, _, true) => "no slots".to_owned(),
            (true, _, false) => "pending".to_owned(),
        };
        let none = String::new;
        return [proxy.node.clone(), none(), none(), none(), none(), none(), state];
    };
    let assigned = slot.assigned.as_ref().map(|one| match &one.rollout {
        Some(rollout) => format!("{} by {rollout}", short(&one.digest)),
        None => short(&one.digest),
    });
    let running =
        slot.running.as_ref().map(|one| format!("{} {}", one.version, short(&one.digest)));
    let since = slot.running.as_ref().map(|one| ago(now, one.since_ms));
    let state = match (slot.state, proxy.disconnected_ms) {
        (SlotStateView::Disconnected, Some(since)) => {
            format!("disconnected since {}", ago(now, since))
        }
        (SlotStateView::Serving, _) if slot.revoked.is_some() => "serving, REVOKED".to_owned(),
        (state, _) => word(state).to_owned(),
    };
    [
        proxy.node.clone(),
        slot.slot.clone(),
        slot.filter.clone(),
        assigned.unwrap_or_else(|| "nothing".to_owned()),
        running.unwrap_or_else(|| "nothing".to_owned()),
        since.unwrap_or_default(),
        state,
    ]
}

fn word(state: SlotStateView) -> &'static str {
    match state {
        SlotStateView::Serving => "serving",
        SlotStateView::Pending => "pending",
        SlotStateView::KeptLastGood => "kept last good",
        SlotStateView::Refused => "refused",
        // In capitals: something was changed without an assignment.
        SlotStateView::Drift => "DRIFT",
        SlotStateView::Unassigned => "unassigned",
        SlotStateView::Disconnected => "disconnected",
    }
}
