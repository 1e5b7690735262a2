use super::text::text;
use super::*;
use clap::Parser;
use tamis_api::{AssignmentView, ProxyProblem, Refused, RunningView};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn select(line: &str, status: FleetStatus) -> (FleetStatus, Part) {
    let line = Line::try_parse_from(["status"].into_iter().chain(line.split_whitespace()));
    let arguments = line.unwrap_or_else(|error| panic!("{error}")).arguments;
    let part = arguments.part();
    (arguments.select(status), part)
}

fn slot(name: &str, state: SlotStateView) -> SlotView {
    let digest = format!("sha256:{}", "0".repeat(64));
    SlotView {
        slot: format!("shop/{name}"),
        filter: format!("acme/{name}"),
        assigned: Some(AssignmentView {
            digest: digest.clone(),
            config: String::new(),
            assignment: 4,
            expires_ms: 0,
            rollout: None,
        }),
        running: Some(RunningView {
            digest,
            config: String::new(),
            version: "1.4.2".into(),
            assignment: 4,
            since_ms: 60_000,
        }),
        state,
        why: None,
        refusal: None,
        revoked: None,
    }
}

fn proxy(node: &str) -> ProxyStatus {
    ProxyStatus {
        node: node.into(),
        service: node.split_once(':').unwrap().1.trim_end_matches("/0").into(),
        connected: true,
        disconnected_ms: None,
        seen_ms: Some(239_000),
        release: None,
        current: true,
        why: None,
        problems: Vec::new(),
        identity: None,
        plaintext: Vec::new(),
        slots: vec![slot("retry", SlotStateView::Serving), slot("jwt", SlotStateView::Serving)],
    }
}

/// Fifty services without problems.
fn fleet() -> FleetStatus {
    let proxies = (0..50).map(|at| proxy(&format!("sidecar:shop/service-{at:02}/0")));
    FleetStatus { revision: 9, now_ms: 240_000, proxies: proxies.collect() }
}

type Break = fn(&mut ProxyStatus);

fn refuse(proxy: &mut ProxyStatus) {
    let refused = &mut proxy.slots[1];
    refused.state = SlotStateView::Refused;
    refused.why = Some("filter.configure: /rate must be a number".into());
}

fn leave(proxy: &mut ProxyStatus) {
    proxy.connected = false;
    proxy.disconnected_ms = Some(60_000);
    proxy.slots.iter_mut().for_each(|slot| slot.state = SlotStateView::Disconnected);
}

fn lose(proxy: &mut ProxyStatus) {
    let message = "cannot read ca.crt; its endpoint is not used".into();
    proxy.problems = vec![ProxyProblem { code: "node.problem".into(), message }];
}

fn revoke(proxy: &mut ProxyStatus) {
    let (rule, remedy) = ("it is revoked (leak); it goes on".into(), "pin another".into());
    let (code, set_by) = ("pin.revoked".into(), "ada".into());
    proxy.slots[1].revoked = Some(Refused { code, rule, set_by, remedy });
}

#[test]
fn what_is_wrong_comes_first_in_words_and_once_for_all_proxies_it_is_wrong_for() {
    let rows: [(&str, Break, &str, &str); 5] = [
        (
            "refused",
            refuse,
            "! shop/jwt refused: filter.configure: /rate must be a number\n    sidecar:shop/service-03/0\n",
            "50 proxies, 1 refusing at revision 9\n",
        ),
        (
            "revoked",
            revoke,
            "! shop/jwt runs what is revoked: pin.revoked: it is revoked (leak); it goes on (rule of ada); pin another\n    \
             sidecar:shop/service-03/0\n",
            "50 proxies, 1 running what is revoked at revision 9\n",
        ),
        (
            "disconnected",
            leave,
            "! disconnected since 3m ago\n    sidecar:shop/service-03/0\n",
            "50 proxies, 1 disconnected at revision 9\n",
        ),
        (
            "problems",
            lose,
            "! cannot read ca.crt; its endpoint is not used (node.problem)\n    sidecar:shop/service-03/0\n",
            "50 proxies, 1 with problems of their own at revision 9\n",
        ),
        (
            "never",
            |proxy| {
                proxy.connected = false;
                proxy.slots.clear();
            },
            "! never connected\n    sidecar:shop/service-03/0\n",
            "50 proxies, 1 never connected at revision 9\n",
        ),
    ];
    for (what, wrong, first, last) in rows {
        let mut status = fleet();
        wrong(&mut status.proxies[3]);
        let told = text(&status, Part::Summary);
        assert!(told.starts_with(first), "{what}: {told}");
        assert!(told.ends_with(last), "{what}: {told}");
        let (of_all, _) = select("--problems", status.clone());
        assert_eq!(of_all.proxies.len(), 1, "{what}");
    }
    let mut status = fleet();
    revoke(&mut status.proxies[3]);
    let told = text(&status, Part::All);
    assert!(told.contains("serving, REVOKED") && told.contains("runs what is revoked"), "{told}");
    let mut status = fleet();
    status.proxies.iter_mut().for_each(refuse);
    let told = text(&status, Part::Problems);
    assert_eq!(told.lines().filter(|line| line.starts_with('!')).count(), 1, "{told}");
    assert!(told.contains("service-02/0 and 47 more"), "{told}");
}

#[test]
fn a_summary_of_fifty_services_has_a_line_each_that_fits_eighty_columns() {
    let told = text(&fleet(), Part::Summary);
    assert_eq!(told.lines().count(), 53, "{told}");
    assert!(told.lines().all(|line| console::measure_text_width(line) <= 80), "{told}");
    assert!(
        told.contains("shop/service-07  1/1        2/2      jwt 1.4.2, retry 1.4.2\n"),
        "{told}"
    );
    assert!(told.ends_with("50 proxies, all well at revision 9\n"), "{told}");
}

#[test]
fn slots_are_chosen_by_filter_and_by_state() {
    let mut status = fleet();
    refuse(&mut status.proxies[3]);
    leave(&mut status.proxies[5]);
    for (line, proxies, slots, part) in [
        ("", 50, 100, Part::Summary),
        ("--all", 50, 100, Part::All),
        ("--problems", 2, 3, Part::Problems),
        ("--filter acme/jwt", 50, 50, Part::All),
        ("--state refused", 1, 1, Part::All),
        ("--state disconnected", 1, 2, Part::All),
        ("--state refused --state disconnected", 2, 3, Part::All),
        ("--filter acme/jwt --state serving", 48, 48, Part::All),
        ("--filter acme/none", 0, 0, Part::All),
    ] {
        let (found, shown) = select(line, status.clone());
        let all: usize = found.proxies.iter().map(|proxy| proxy.slots.len()).sum();
        assert_eq!((found.proxies.len(), all, shown), (proxies, slots, part), "{line}");
    }
    let (none, part) = select("--filter acme/none", status);
    assert_eq!(text(&none, part), "no slot matches\n");
    let (none, part) = select("--problems", fleet());
    assert_eq!(text(&none, part), "no problems\n");
}

#[test]
fn a_refusal_is_printed_whole_as_json() {
    let refusal = Refused {
        code: "trust.threshold".into(),
        rule: "two keys must sign, one did".into(),
        set_by: "security/all".into(),
        remedy: "sign it with another".into(),
    };
    let mut status = fleet();
    status.proxies[0].slots[0].refusal = Some(refusal.clone());
    let value = dated(&status);
    let read = value["proxies"][0]["slots"][0]["refusal"].clone();
    assert_eq!(serde_json::from_value::<Refused>(read).unwrap(), refusal);
}

#[test]
fn time_alone_is_no_change() {
    let (one, mut other) = (fleet(), fleet());
    other.now_ms += 2_000;
    other.proxies[0].seen_ms = Some(241_000);
    assert_eq!(key(&one), key(&other));
    other.proxies[0].slots[0].state = SlotStateView::Pending;
    assert_ne!(key(&one), key(&other));
}
