use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::assign::AssignmentTerms;
use crate::change::Change;
use crate::drift::drift;
use crate::fixture::{
    Entry, JWT, ROUTE, START_MS, World, applied, checked, digest, document, entry, mangled, name,
    pinned, removed, report, rollout, service, unpinned,
};
use crate::guard::{ChangeRequest, Consent, Guards, guard};
use crate::record::{FileRecord, PinRecord};
use crate::refused::code;
use crate::rollout::{Event, RolloutTerms};

fn fold(entries: &[Entry]) -> State {
    let mut state = State::default();
    feed(&mut state, entries, 0);
    state
}

fn feed(state: &mut State, entries: &[Entry], from: u64) {
    for (revision, entry) in (from + 1..).zip(entries) {
        state.apply(revision, entry.time_ms, &entry.actor, &entry.kind, &entry.body);
    }
}

#[test]
fn a_mesh_folds_without_a_fault() {
    let world = World::mesh();
    world.is_well();
    assert_eq!(world.state.head(), 3);
    assert_eq!(world.state.documents().len(), 12);
    let nodes: Vec<String> = world.state.nodes().iter().map(ToString::to_string).collect();
    assert_eq!(nodes[..2], ["gateway:shop/edge", "sidecar:shop/a/0"]);
    assert_eq!(nodes.len(), 7);
    let services = ["shop/a", "shop/b", "shop/c", "shop/edge"].map(str::to_owned);
    assert_eq!(world.state.services(), services.into());
}

#[test]
fn an_edit_keeps_the_age_of_what_a_route_asked_for_and_of_nothing_else() {
    let route = |host: &str, paths: &[&str], more: Value| {
        let matches: Vec<_> = paths
            .iter()
            .map(|path| json!({ "path": { "type": "RegularExpression", "value": path } }))
            .collect();
        let mut rule = json!({ "matches": matches });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let parent = json!({ "name": "edge", "namespace": "infra" });
        let spec = json!({ "parentRefs": [parent], "hostnames": [host], "rules": [rule] });
        applied([document("HTTPRoute", "shop/r", &spec)])
    };
    let mut world = World::empty();
    let ages = |world: &World| -> Vec<u64> {
        let held = &world.state.desired.documents.by_key["HTTPRoute/shop/r"].document;
        assert_eq!((held.since, held.paths().len()), (1, held.paths_since.len()));
        held.paths().iter().map(|path| held.paths_since[path]).collect()
    };
    world.append("ada", route("a.example", &["/a"], json!({})));
    assert_eq!(ages(&world), [1]);
    world.append("ada", route("a.example", &["/a", "/.*"], json!({})));
    assert_eq!(ages(&world), [1, 2]);
    world.append("ada", route("a.example", &["/a", "/.*"], json!({ "name": "x" })));
    assert_eq!(ages(&world), [1, 2]);
    // Taken out and put back it is new, and so is all of it at another host.
    world.append("ada", route("a.example", &["/.*"], json!({})));
    world.append("ada", route("a.example", &["/.*", "/a"], json!({})));
    assert_eq!(ages(&world), [2, 5]);
    world.append("ada", route("b.example", &["/.*", "/a"], json!({})));
    assert_eq!(ages(&world), [6, 6]);
    world.is_well();
}

#[test]
fn kinds_of_others_move_the_head_and_nothing_else() {
    let mut world = World::mesh();
    let before = world.state.clone();
    world.raw("oci", "tag-put", json!({ "service": 7 }));
    assert_eq!(world.state.head(), 4);
    assert_eq!(world.state.decided(), before.decided());
    world.state.head = before.head;
    assert_eq!(world.state, before);
}

#[test]
fn a_body_that_does_not_parse_is_a_fault_and_changes_nothing() {
    let mut world = World::mesh();
    let desired = world.state.desired.clone();
    world.raw("eve", "pinned", json!({ "service": "shop/a\n" }));
    let (faults, total) = world.state.faults();
    assert_eq!((faults.len(), total), (1, 1));
    assert_eq!((faults[0].kind.as_str(), faults[0].stamp.actor.as_str()), ("pinned", "eve"));
    assert_eq!(world.state.desired, desired);
}

#[test]
fn a_document_that_is_not_what_its_record_says_leaves_the_one_in_force() {
    let mut world = World::mesh();
    let before = world.state.documents()["Service/shop/a"].clone();
    let mut other = service("shop/a", 3);
    other.text.push(' ');
    let mut moved = service("shop/b", 1);
    moved.key = "Service/shop/a".to_owned();
    let broken = document("Service", "shop/a", &json!({ "prots": [] }));
    let mut two = service("shop/a", 1);
    two.text = format!("{}\n---\n{}", two.text, service("shop/b", 1).text);
    two.digest = Digest::of(two.text.as_bytes());
    let mut lock = document("Service", "shop/a", &json!({}));
    lock.text = crate::pins::lock(std::iter::empty());
    lock.digest = Digest::of(lock.text.as_bytes());
    let waves = json!([{ "percent": 100 }]);
    let spec = json!({ "filter": JWT, "version": "1.1.0", "services": ["*"], "waves": waves });
    let begun = document("Rollout", "shop/r", &spec);
    let rows = [
        (other, "differs from the one in its record"),
        (moved, "contains Service/shop/b"),
        (broken, "is not a valid document"),
        (two, "must be one document"),
        (lock, "make pins with `tamis pin`"),
        (begun, "tamis rollout start"),
    ];
    for (document, why) in rows {
        world.append("eve", applied([document]));
        let (faults, _) = world.state.faults();
        assert!(faults.last().unwrap().why.contains(why), "{why}: {:?}", faults.last());
    }
    assert_eq!(world.state.documents()["Service/shop/a"], before);
    assert_eq!(world.state.faults().1, 6);
}

#[test]
fn faults_are_bounded_and_counted() {
    let mut world = World::empty();
    for _ in 0..MAX_FAULTS + 7 {
        world.raw("eve", "pinned", json!("é".repeat(400)));
    }
    let (faults, total) = world.state.faults();
    assert_eq!((faults.len(), total), (MAX_FAULTS, 1_007));
    assert!(faults.iter().all(|fault| fault.why.chars().count() <= 400));
}

#[test]
fn time_never_falls_and_an_entry_counts_once() {
    let mut state = World::mesh().state;
    let body = serde_json::to_value(pinned("shop/a", JWT, "1.1.0")).unwrap();
    state.apply(4, 5, "ada", "pinned", &body);
    assert_eq!(state.time_ms(), START_MS);
    let before = state.clone();
    state.apply(4, START_MS, "eve", "unpinned", &json!({ "service": "*", "filter": JWT }));
    assert_eq!(state, before);
}

#[test]
fn the_pin_of_a_service_wins_over_that_of_all() {
    let mut world = World::mesh();
    world.append("ada", pinned("shop/a", JWT, "1.1.0"));
    let filter = JWT.parse().unwrap();
    let version = |world: &World, service| {
        world.state.pin(service, &filter).map(|pin| pin.version.to_string())
    };
    assert_eq!(version(&world, "shop/a").as_deref(), Some("1.1.0"));
    assert_eq!(version(&world, "shop/b").as_deref(), Some("1.0.0"));
    world.append("ada", unpinned("shop/a", JWT));
    assert_eq!(version(&world, "shop/a").as_deref(), Some("1.0.0"));
    world.append("ada", unpinned("*", JWT));
    assert_eq!(version(&world, "shop/a"), None);
    world.is_well();
}

#[test]
fn a_pin_that_no_lock_could_hold_is_a_fault() {
    let mut world = World::mesh();
    for service in ["", "shop", "shop/a/b", "shop/a\n", "**"] {
        world.append("eve", pinned(service, JWT, "1.1.0"));
        world.append("eve", unpinned(service, JWT));
    }
    assert_eq!(world.state.faults().1, 10);
    assert_eq!(world.state.pins().count(), 2);
}

#[test]
fn of_two_revocations_of_a_key_the_one_that_takes_more_holds() {
    let mut world = World::empty();
    let revoked = |from_index| {
        let what = RevocationTarget::Key { key: "k".to_owned(), from_index };
        RevocationRecord { what, reason: "lost".to_owned(), now: true }
    };
    let rows = [(Some(9), Some(9)), (Some(12), Some(9)), (Some(3), Some(3)), (None, None)];
    for (from_index, holds) in rows {
        world.append("ada", revoked(from_index));
        assert_eq!(world.state.revoked_keys()["k"].from_index, holds);
    }
    world.append("ada", revoked(Some(1)));
    assert_eq!(world.state.revoked_keys()["k"].from_index, None);
}

#[test]
fn a_rollback_goes_to_the_pin_before_and_back_again() {
    let mut world = World::mesh();
    let filter = JWT.parse().unwrap();
    assert_eq!(world.state.rollback("shop/a", &filter).unwrap_err().code, code::ROLLBACK_NONE);
    world.append("ada", pinned("shop/a", JWT, "1.1.0"));
    let back = world.state.rollback("shop/a", &filter).unwrap();
    assert_eq!((back.version.to_string().as_str(), back.allow_older), ("1.0.0", true));
    world.append("ada", back);
    let forth = world.state.rollback("shop/a", &filter).unwrap();
    assert_eq!(forth.digest, digest(JWT, "1.1.0"));
    let what = RevocationTarget::Digest { digest: forth.digest };
    world.append("ada", RevocationRecord { what, reason: "stolen".to_owned(), now: true });
    assert_eq!(world.state.rollback("shop/a", &filter).unwrap_err().code, code::PIN_REVOKED);
}

#[test]
fn the_history_of_a_filter_has_everything_that_happened_to_it() {
    let mut world = World::mesh();
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    world.step("r", Event::Advance);
    world.step("r", Event::Kill);
    world.append("ada", unpinned("*", JWT));
    let history = world.state.history("shop/a", &JWT.parse().unwrap());
    let words: Vec<String> = history
        .iter()
        .map(|one| serde_json::to_value(one).unwrap()["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["pinned", "rollout-started", "rollout-moved", "rollout-ended", "unpinned"]);
    assert!(history.iter().all(|one| one.stamp.actor == "ada"));
    assert_eq!(world.state.filters().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_prefix_and_the_rest_fold_to_what_all_at_once_does(
        entries in prop::collection::vec(entry(), 1..40),
        at in any::<prop::sample::Index>(),
    ) {
        let entries = [World::mesh().entries, entries].concat();
        let cut = at.index(entries.len());
        let mut parts = fold(&entries[..cut]);
        feed(&mut parts, &entries[cut..], u64::try_from(cut).unwrap());
        // Entries applied before do not count again.
        feed(&mut parts, &entries, 0);
        prop_assert_eq!(parts, fold(&entries));
    }

    #[test]
    fn no_journal_makes_a_director_fail(
        entries in prop::collection::vec((mangled(), any::<u64>()), 1..30),
        now in any::<u64>(),
    ) {
        let mut world = World::mesh();
        for (entry, time_ms) in entries {
            world.now_ms = time_ms;
            world.raw(&entry.actor, &entry.kind, entry.body);
        }
        world.assign();
        let (state, plans) = (&world.state, &mut world.plans);
        plans.drafts(state, now, &AssignmentTerms::default());
        plans.everything(state);
        prop_assert!(drift(state, plans, now).len() < 1_000);
        for name in state.rollouts().keys() {
            prop_assert!(state.judge(name, now).is_some());
            prop_assert!(state.step(name, Event::Passed, "so").is_ok() || state.cohort(name).is_some());
        }
        for (service, filter) in [("*", JWT), ("shop/a", ROUTE), ("?", JWT)] {
            let filter = filter.parse().unwrap();
            if let Ok(back) = state.rollback(service, &filter) {
                let change = Change::Pin(back);
                if let Ok(diff) = plans.effect(state, &change) {
                    let may_agree = BTreeSet::new();
                    let consent = Consent::NotGiven;
                    let asked = ChangeRequest { actor: "ada", now_ms: now, consent, may_agree: &may_agree };
                    let _ = guard(state, &change, &diff, &Guards::default(), &asked);
                }
            }
            let seen = (state.history(service, &filter), state.who_ran(service, (now, now)));
            prop_assert!(seen.0.len() < 1_000 && seen.1.len() < 1_000);
        }
    }

    #[test]
    fn an_ended_rollout_that_is_not_done_leaves_exactly_the_pins_from_before(
        entries in prop::collection::vec(entry(), 0..20),
        events in prop::collection::vec(prop::sample::select(vec![Event::Advance, Event::Pause, Event::Resume]), 0..6),
        end in prop::sample::select(vec![Event::Abort, Event::Kill]),
    ) {
        let mut world = World::mesh();
        for entry in entries {
            world.raw(&entry.actor, &entry.kind, entry.body);
        }
        let spec = rollout("last", JWT, "1.0.0", "1.9.0");
        let Ok(start) = world.state.start(checked(spec), Vec::new()) else { return Ok(()) };
        let before: Vec<ServicePin> = world.state.pins().cloned().collect();
        let nodes = world.state.nodes();
        let plan = |world: &mut World, node| {
            let now = world.now();
            world.plans.node(&world.state, node, now).plan
        };
        let planned: Vec<_> = nodes.iter().map(|node| plan(&mut world, node)).collect();
        world.append("ada", start);
        for event in events {
            if let Ok(body) = world.state.step("last", event, "so") {
                world.append("ada", body);
            }
        }
        let Ok(end) = world.state.step("last", end, "so") else { return Ok(()) };
        world.append("ada", end);
        prop_assert_eq!(world.state.pins().cloned().collect::<Vec<_>>(), before);
        let after: Vec<_> = nodes.iter().map(|node| plan(&mut world, node)).collect();
        prop_assert_eq!(after, planned);
    }
}

#[test]
fn a_rollout_that_is_done_is_the_pin_everywhere_it_was_at_work() {
    let mut world = World::mesh();
    world.append("ada", pinned("shop/b", JWT, "0.9.0"));
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    for _ in 0..3 {
        world.step("r", Event::Advance);
    }
    world.is_well();
    let pins = world.state.pins().filter(|pin| pin.filter.as_str() == JWT);
    let pins: Vec<_> = pins.map(|pin| (pin.service.as_str(), pin.version.to_string())).collect();
    // Another digest than the one it started from is a person's decision, and stays.
    assert_eq!(pins, [("*", "1.1.0".to_owned()), ("shop/b", "0.9.0".to_owned())]);
}

#[test]
fn a_pin_for_all_follows_what_ran_last_wherever_it_would_run() {
    type Steps<'a> = &'a [(&'a str, Option<&'a str>)];
    // Pins and, without a version, removals; then what a pin for all is compared with.
    let rows: [(&str, Steps<'_>, &[&str]); 8] = [
        ("nothing was pinned", &[], &[]),
        ("a service has its own pin, and keeps it", &[("shop/a", Some("1.0.0"))], &[]),
        (
            "its pin was removed: it would follow",
            &[("shop/a", Some("1.0.0")), ("shop/a", None)],
            &["1.0.0"],
        ),
        (
            "of several pins the last one ran",
            &[("shop/a", Some("1.0.0")), ("shop/a", Some("0.9.0")), ("shop/a", None)],
            &["0.9.0"],
        ),
        (
            "each of those that would follow",
            &[
                ("shop/a", Some("1.0.0")),
                ("shop/b", Some("1.1.0")),
                ("shop/a", None),
                ("shop/b", None),
            ],
            &["1.0.0", "1.1.0"],
        ),
        (
            "one follows, and one keeps its own",
            &[("shop/a", Some("1.0.0")), ("shop/b", Some("1.1.0")), ("shop/a", None)],
            &["1.0.0"],
        ),
        (
            "one that was pinned again keeps that",
            &[("shop/a", Some("1.0.0")), ("shop/a", None), ("shop/a", Some("1.1.0"))],
            &[],
        ),
        // What it followed ran last.
        (
            "it followed a pin for all, which was removed as well",
            &[("*", Some("1.2.0")), ("shop/a", Some("1.0.0")), ("shop/a", None), ("*", None)],
            &["1.2.0"],
        ),
    ];
    for (what, steps, wanted) in rows {
        let mut world = World::empty();
        for (service, version) in steps {
            match version {
                Some(version) => {
                    let pin = PinRecord { allow_older: true, ..pinned(service, ROUTE, version) };
                    world.append("ada", pin);
                }
                None => world.append("ada", unpinned(service, ROUTE)),
            }
        }
        let found = world.state.pinned_last_of_followers(&ROUTE.parse().unwrap());
        let wanted = wanted.iter().map(|version| digest(ROUTE, version)).collect();
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn a_rollout_of_services_that_there_are_not_is_refused_with_the_first_of_them() {
    let mut world = World::mesh();
    let refusal = |world: &World, services: Vec<String>| {
        let spec = RolloutTerms { services, ..rollout("r", JWT, "1.0.0", "1.1.0") };
        let refused = world.state.may_start(&checked(spec)).unwrap_err();
        assert_eq!(refused.code, code::ROLLOUT_SERVICE);
        refused.rule
    };
    let named = |count: usize| (0..count).map(|number| format!("shop/no{number}")).collect();
    for (count, shown) in [
        (1, "no document declares shop/no0"),
        (3, "no document declares shop/no0, shop/no1, shop/no2"),
        (4, "no document declares shop/no0, shop/no1, shop/no2 and 1 more"),
        (256, "no document declares shop/no0, shop/no1, shop/no2 and 253 more"),
        (257, "it names 257 services, 256 at most"),
        (900, "it names 900 services, 256 at most"),
    ] {
        assert_eq!(refusal(&world, named(count)), shown);
    }
    // Beside those that there are, and after its documents are gone.
    let services = || vec!["shop/a".to_owned(), "shop/no".to_owned()];
    assert_eq!(refusal(&world, services()), "no document declares shop/no");
    let all = vec!["*".to_owned()];
    let everywhere = RolloutTerms { services: all, ..rollout("r", JWT, "1.0.0", "1.1.0") };
    assert!(world.state.may_start(&checked(everywhere)).is_ok());
    world.append("ada", removed("Service/shop/a"));
    assert_eq!(refusal(&world, vec!["shop/a".to_owned()]), "no document declares shop/a");
}

#[test]
fn a_rollout_is_refused_where_it_would_not_start_from_what_is_pinned() {
    let mut world = World::mesh();
    let code_of =
        |world: &World, spec| world.state.start(checked(spec), Vec::new()).unwrap_err().code;
    assert_eq!(code_of(&world, rollout("r", JWT, "0.1.0", "1.1.0")), code::ROLLOUT_FROM);
    let mut elsewhere = rollout("r", JWT, "1.0.0", "1.1.0");
    elsewhere.services = vec!["shop/a".to_owned()];
    world.append("ada", pinned("shop/a", JWT, "1.0.1"));
    assert_eq!(code_of(&world, elsewhere), code::ROLLOUT_FROM);
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    assert_eq!(code_of(&world, rollout("r", JWT, "1.0.0", "1.2.0")), code::ROLLOUT_NAME);
    assert_eq!(code_of(&world, rollout("s", JWT, "1.0.0", "1.2.0")), code::ROLLOUT_BUSY);
    let what = RevocationTarget::Digest { digest: digest(ROUTE, "1.1.0") };
    world.append("ada", RevocationRecord { what, reason: "stolen".to_owned(), now: true });
    assert_eq!(code_of(&world, rollout("s", ROUTE, "1.0.0", "1.1.0")), code::PIN_REVOKED);
}

#[test]
fn a_revoked_candidate_breaches_and_is_never_pinned() {
    let mut world = World::mesh();
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    world.step("r", Event::Advance);
    world.step("r", Event::Advance);
    let what = RevocationTarget::Digest { digest: digest(JWT, "1.1.0") };
    world.append("ada", RevocationRecord { what, reason: "stolen".to_owned(), now: true });
    let judged = serde_json::to_value(world.state.judge("r", world.now_ms)).unwrap();
    assert_eq!((&judged["judgement"], &judged["gate"]), (&json!("breached"), &json!("revoked")));
    let refused = world.state.step("r", Event::Advance, "so").unwrap_err();
    assert_eq!(refused.code, code::PIN_REVOKED);
    world.raw("eve", "rollout-ended", json!({ "rollout": "r", "outcome": "done", "why": "" }));
    assert_eq!(world.state.faults().1, 1);
    assert_eq!(world.state.cohort("r").map(|it| it.moved), Some(0));
    world.step("r", Event::Breached);
    assert_eq!(world.state.rollouts()["r"].stage, RolloutStage::Ended(RolloutOutcome::Returned));
}

#[test]
fn files_come_and_go_with_their_documents() {
    let mut world = World::empty();
    let file = FileRecord { path: "k.pub".to_owned(), text: "PEM".to_owned() };
    world.append("ada", ApplyRecord { files: vec![file], ..ApplyRecord::default() });
    assert_eq!(world.state.desired.documents.file("k.pub").unwrap(), b"PEM");
    let gone = vec!["k.pub".to_owned()];
    world.append("ada", ApplyRecord { removed_files: gone, ..ApplyRecord::default() });
    assert!(world.state.desired.documents.file("k.pub").is_err());
}

#[test]
fn a_report_under_a_name_that_is_none_is_a_fault() {
    let mut world = World::mesh();
    world.append("proxies", report("nobody", &[]));
    assert_eq!(world.state.faults().1, 1);
    world.append("proxies", report("sidecar:shop/a", &[]));
    assert!(world.state.last_report(&name("sidecar:shop/a/0")).is_some());
}
