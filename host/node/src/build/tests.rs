//! One slot at a time: what runs in it, what is reported about it, and what else it affects.

mod kept_states;

use super::*;
use crate::refusal_text::by_proxy;
use crate::testing::{SigningStore, code, plan};
use serde_json::json;
use std::borrow::Borrow;
use tamis_proxy::SlotOccupant;
use tamis_resources::plan::{self, OnFailure, Refused, World};
use tamis_sync::slots_of_filters;

impl Builder {
    /// Builds the filters of documents; each attachment is a slot.
    fn build_plans(
        &mut self,
        plans: &[impl Borrow<FilterPlan>],
        policies: &[SignaturePolicy],
    ) -> Vec<BuiltAttachment> {
        let of = |plan| DesiredSlot::of_documents(slot_of(plan), plan);
        let wanted: Vec<DesiredSlot<'_>> = plans.iter().map(|plan| of(plan.borrow())).collect();
        self.build(&wanted, PoliciesInForce { policies, age: Duration::ZERO })
    }
}

fn slot_of(plan: &FilterPlan) -> &str {
    &plan.attachment
}

fn running(built: &BuiltAttachment) -> &Filter {
    match &built.attached.as_ref().unwrap().occupant {
        SlotOccupant::Running(filter) => filter,
        SlotOccupant::Refused(refusal) => panic!("{}: {refusal}", refusal.code),
    }
}

fn known_rules(filter: &Filter) -> Vec<&str> {
    filter.rules().iter().map(|rule| &**rule).collect()
}

fn refused(built: &BuiltAttachment) -> &str {
    match &built.attached.as_ref().unwrap().occupant {
        SlotOccupant::Running(filter) => panic!("{filter:?} runs"),
        SlotOccupant::Refused(refusal) => &refusal.code,
    }
}

fn detail(built: &BuiltAttachment) -> &str {
    built.status.detail.as_deref().unwrap_or_default()
}

fn only(mut built: Vec<BuiltAttachment>) -> BuiltAttachment {
    assert_eq!(built.len(), 1);
    built.remove(0)
}

#[test]
fn a_signed_and_granted_filter_serves_and_says_who_signed_it() {
    let signed = SigningStore::new();
    let plan = plan("retry", &signed.add("retry", "1.0.0"));
    let built = only(
        signed.builder().build_plans(std::slice::from_ref(&plan), &[signed.policy(&json!({}))]),
    );
    assert_eq!(running(&built).version(), "1.0.0");
    let status = &built.status;
    assert_eq!((status.state.to_string().as_str(), status.detail.as_deref()), ("serving", None));
    assert_eq!(
        (status.signers.as_slice(), status.hooks.as_slice()),
        (&["release".to_owned()][..], &["retry".to_owned()][..])
    );
}

/// Writes one of the files of an artifact, or removes it.
fn put(base: &std::path::Path, end: &str, content: Option<&[u8]>) {
    let file = format!("{}{end}", base.display());
    match content {
        Some(content) => std::fs::write(&file, content).unwrap(),
        None => drop(std::fs::remove_file(&file)),
    }
}

#[test]
fn no_file_of_a_stranger_in_a_store_takes_a_filter_out_of_service() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let plan = plan("retry", &signed.add("retry", "1.0.0"));
    let whole = signed.file("retry");
    let own = |end: &str| std::fs::read(format!("{}{end}", whole.display())).unwrap();
    let (component, manifest, bundles) = (own(""), own(".manifest.json"), own(".sigstore.json"));
    let other = crate::testing::component("telemetry");
    let mut altered = component.clone();
    *altered.last_mut().unwrap() ^= 1;
    let blanks = [bundles.as_slice(), &b" \n".repeat(3 << 20)].concat();
    let junk = [format!("{{{}}}\n", " ".repeat(4_000)).repeat(1_200).into_bytes(), bundles.clone()]
        .concat();
    let long = [vec![b'x'; 5 << 20], b"\n".to_vec(), bundles.clone()].concat();
    type Content<'a> = Option<&'a [u8]>;
    // What stands beside copies that come first by their names; and the bundles beside the right component.
    let rows: [(&str, usize, Content<'_>, Content<'_>, Content<'_>); 11] = [
        ("the component of another filter", 1, Some(&other), Some(&bundles), Some(&bundles)),
        ("no component", 1, None, Some(&bundles), Some(&bundles)),
        ("no signature", 1, Some(&component), None, Some(&bundles)),
        ("a signature that is none", 1, Some(&component), Some(&component), Some(&bundles)),
        ("many other components", 100, Some(b"junk"), None, Some(&bundles)),
        ("many of the same length", 100, Some(&altered), Some(&bundles), Some(&bundles)),
        ("many without a signature", 100, Some(&component), Some(b"{}\n"), Some(&bundles)),
        ("many, with a part each", 100, Some(b"junk"), Some(&bundles), None),
        ("blanks behind the signature", 1, None, None, Some(&blanks)),
        ("lines before the signature", 1, None, None, Some(&junk)),
        ("a long line before the signature", 20, Some(&component), Some(&long), Some(&long)),
    ];
    for (what, copies, beside, beside_bundles, own_bundles) in rows {
        let names: Vec<_> = (0..copies).map(|at| signed.file(&format!("a{at:03}"))).collect();
        for name in &names {
            put(name, ".manifest.json", Some(&manifest));
            put(name, "", beside);
            put(name, ".sigstore.json", beside_bundles);
        }
        put(&whole, ".sigstore.json", own_bundles);
        let build = || {
            let mut builder = signed.builder();
            only(builder.build_plans(std::slice::from_ref(&plan), &policies))
        };
        assert_eq!(running(&build()).version(), "1.0.0", "{what}");
        // Where the right component is nowhere, the filter is refused; and where nobody signed it.
        put(&whole, "", Some(b""));
        let is_elsewhere = beside == Some(component.as_slice());
        let runs =
            build().attached.is_some_and(|it| matches!(it.occupant, SlotOccupant::Running(_)));
        assert_eq!(runs, is_elsewhere, "{what}");
        put(&whole, "", Some(&component));
        names.iter().chain([&whole]).for_each(|name| put(name, ".sigstore.json", None));
        assert!(refused(&build()).starts_with("trust."), "{what}");
        for end in ["", ".manifest.json"] {
            names.iter().for_each(|name| put(name, end, None));
        }
    }
}

#[test]
fn what_is_recorded_of_the_own_bundles_of_a_proxy_is_taken_for_no_others() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("retry", "1.0.0");
    let from = signed.file("retry");
    let bundle = std::fs::read(format!("{}.sigstore.json", from.display())).unwrap();
    let own = signed.folder.path().join(format!("{}.wasm", digest.hex()));
    let logged = [Some(1), Some(2), Some(3)];
    let places = |own_bundles: &[u8]| {
        for end in ["", ".manifest.json"] {
            std::fs::copy(format!("{}{end}", from.display()), format!("{}{end}", own.display()))
                .unwrap();
        }
        put(&own, ".sigstore.json", Some(own_bundles));
        let builder = signed.builder();
        let artifact = builder.store.reading(&policies).artifact(&digest).unwrap().unwrap();
        let lines = tamis_trust::bundle_lines(&artifact.bundles).len();
        let found = artifact.logged(&logged);
        assert_eq!(lines, found.len());
        found
    };
    // The second line of its own file is the signature; the same text elsewhere adds nothing.
    let third = [b"{}\n[]\n".as_slice(), &bundle].concat();
    assert_eq!(places(&third), [Some(3), Some(1), Some(2)]);
    assert_eq!(places(b"\n \n{}\n"), [None, Some(1)]);
    assert_eq!(places(b""), [None]);
}

#[test]
fn the_same_digest_and_configuration_is_one_filter_and_one_compilation() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("retry", "1.0.0");
    let (one, mut two) = (plan("retry", &digest), plan("retry", &digest));
    two.attachment = "test/second".to_owned();
    two.config = json!({ "attempts": 2 }).into();
    let mut builder = signed.builder();
    let first = builder.build_plans(&[one.clone(), two.clone()], &policies);
    let key = Digest::of(&crate::testing::component("retry")).to_string();
    assert!(code().get(&key).is_some(), "compiled code is shared by digest");

    let again = builder.build_plans(&[one.clone(), two.clone()], &policies);
    for (before, now) in first.iter().zip(&again) {
        assert!(running(before).is_same(running(now)), "nothing changed, so nothing is built");
    }
    assert!(!running(&again[0]).is_same(running(&again[1])), "each attachment has its own state");

    two.config = json!({ "attempts": 4 }).into();
    let changed = builder.build_plans(&[one, two], &policies);
    assert!(running(&changed[0]).is_same(running(&again[0])));
    assert!(!running(&changed[1]).is_same(running(&again[1])));
    let (old, new) = (running(&again[1]).state(), running(&changed[1]).state());
    assert!(Arc::ptr_eq(old, new), "what an attachment keeps outlives its configuration");
}

#[test]
fn an_attachment_that_differs_between_listeners_keeps_what_ran_in_each() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("retry", "1.0.0");
    let of = |config: serde_json::Value| {
        Arc::new(FilterPlan { config: config.into(), ..plan("retry", &digest) })
    };
    let listener = |name: &str, at: usize| {
        json!({
            "name": name, "address": { "tcp": "127.0.0.1:1" }, "tls": null,
            "direction": "inbound", "chain": { "attachments": [at] },
        })
    };
    let mut node: plan::NodePlan = serde_json::from_value(json!({
        "node": "gateway:test/edge", "identity": null, "admin": null, "trust": [],
        "listeners": [listener("one", 0), listener("two", 1)], "services": [], "filters": [],
    }))
    .unwrap();
    let mut builder = signed.builder();
    let mut build = |configs: [serde_json::Value; 2]| {
        node.filters = configs.into_iter().map(of).collect();
        let slots = slots_of_filters(&node);
        assert_eq!(slots, ["test/retry/one", "test/retry/two"]);
        let wanted = slots.iter().zip(&node.filters);
        let wanted: Vec<_> =
            wanted.map(|(slot, plan)| DesiredSlot::of_documents(slot, plan)).collect();
        builder.build(&wanted, PoliciesInForce { policies: &policies, age: Duration::ZERO })
    };
    let first = build([json!({ "attempts": 2 }), json!({ "attempts": 3 })]);
    let again = build([json!({ "attempts": 2 }), json!({ "attempt": 3 })]);
    assert!(again[0].status.state.is_serving() && !again[1].status.state.is_serving());
    for (before, now) in first.iter().zip(&again) {
        assert!(running(before).is_same(running(now)), "{}", detail(now));
    }
}

#[test]
fn only_what_may_run_is_compiled_ahead_and_each_component_once() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let retry = plan("retry", &signed.add("retry", "1.0.0"));
    let breaker = plan("circuit-breaker", &signed.add("circuit-breaker", "1.0.0"));
    // It imports what its grant does not name.
    let denied = plan("telemetry", &signed.add("telemetry", "1.0.0"));
    let again = FilterPlan { attachment: "test/again".to_owned(), ..retry.clone() };
    let plans = [breaker, retry, denied, again];
    let wanted: Vec<DesiredSlot<'_>> =
        plans.iter().map(|plan| DesiredSlot::of_documents(slot_of(plan), plan)).collect();
    let mut builder = signed.builder();
    builder.code = Code::default();
    let missing = |builder: &Builder, policies: &[SignaturePolicy]| -> Vec<String> {
        let all: Vec<&DesiredSlot<'_>> = wanted.iter().collect();
        let proven = builder.prove(&all, PoliciesInForce { policies, age: Duration::ZERO });
        let admitted = builder.admit_all(&proven);
        compile::missing(&admitted).iter().map(|component| component.digest.clone()).collect()
    };
    let digest = |name: &str| Digest::of(&crate::testing::component(name)).to_string();
    let (retry, breaker) = (digest("retry"), digest("circuit-breaker"));
    assert_eq!(missing(&builder, &policies), [retry.clone(), breaker.clone()], "largest first");
    let strangers = [SigningStore::new().policy(&json!({}))];
    assert_eq!(missing(&builder, &strangers), [""; 0], "nothing is compiled before it is verified");

    builder.build(&wanted, PoliciesInForce { policies: &policies, age: Duration::ZERO });
    let mut expected = [retry, breaker];
    expected.sort();
    assert_eq!(builder.code.digests(), expected);
    assert_eq!(missing(&builder, &policies), [""; 0]);
}

#[test]
fn what_a_slot_keeps_is_shown_to_no_other_authors_filter() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let (retry, breaker) = (signed.add("retry", "1.0.0"), signed.add("circuit-breaker", "1.0.0"));
    let mut builder = signed.builder();
    let (first, mut then) = (plan("retry", &retry), plan("circuit-breaker", &breaker));
    then.attachment.clone_from(&first.attachment);
    let before = only(builder.build_plans(std::slice::from_ref(&first), &policies));
    let after = only(builder.build_plans(&[then], &policies));
    assert!(!Arc::ptr_eq(running(&before).state(), running(&after).state()));
    let back = only(builder.build_plans(&[first], &policies));
    assert!(!Arc::ptr_eq(running(&before).state(), running(&back).state()), "and it is gone");
}

#[test]
fn a_capability_that_is_not_granted_refuses_its_slot_alone() {
    let signed = SigningStore::new();
    let (retry, breaker) = (signed.add("retry", "1.0.0"), signed.add("circuit-breaker", "1.0.0"));
    let mut bad = plan("retry", &retry);
    bad.grant.imports.clear();
    let plans = [bad.clone(), plan("circuit-breaker", &breaker)];
    let built = signed.builder().build_plans(&plans, &[signed.policy(&json!({}))]);
    assert_eq!(built[0].status.state.to_string(), "refused:grant.import");
    assert!(detail(&built[0]).contains("random"), "{}", detail(&built[0]));
    assert_eq!(refused(&built[0]), "grant.import");
    assert_eq!(built[1].status.state.to_string(), "serving");

    bad.on_failure = OnFailure::Open;
    let left_out = only(signed.builder().build_plans(&[bad], &[signed.policy(&json!({}))]));
    assert!(left_out.attached.is_none() && detail(&left_out).ends_with("it is left out"));
}

#[test]
fn what_ran_before_goes_on_when_its_successor_may_not_run() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let good = plan("retry", &signed.add("retry", "1.0.0"));
    let mut builder = signed.builder();
    let first = only(builder.build_plans(std::slice::from_ref(&good), &policies));
    let mut cases = Vec::new();
    let mut case = |code: &'static str, change: &dyn Fn(&mut FilterPlan)| {
        let mut plan = good.clone();
        change(&mut plan);
        cases.push((code, plan));
    };
    case("grant.import", &|plan| plan.grant.imports.clear());
    case("filter.configure", &|plan| plan.config = json!({ "attempt": 1 }).into());
    case("artifact.missing", &|plan| plan.digest = Digest::of(b"another").to_string());
    case("pin.missing", &|plan| plan.digest = String::new());
    case("grant.missing", &|plan| {
        plan.refused = Some(Refused {
            code: "grant.missing".into(),
            rule: "none".into(),
            set_by: "the documents in force".into(),
            remedy: "apply a Grant".into(),
        });
    });
    case("trust.wrong-name", &|plan| plan.filter = "tamis/route".to_owned());
    case("trust.threshold", &|plan| {
        plan.signed_by = Some(plan::SignedByPlan { keys: vec!["security".into()], threshold: 1 });
    });
    for (code, plan) in cases {
        let wrong_name = code == "trust.wrong-name";
        let built = only(builder.build_plans(&[plan], &policies));
        assert_eq!(built.status.state.to_string(), format!("refused:{code}"));
        if wrong_name {
            // Another filter is asked for: the old one is not its predecessor.
            assert_eq!(refused(&built), code);
            continue;
        }
        assert!(running(&built).is_same(running(&first)), "{code}");
        assert!(detail(&built).ends_with("Version 1.0.0 keeps serving"), "{}", detail(&built));
    }
    let back = only(builder.build_plans(&[good], &policies));
    assert!(running(&back).is_same(running(&first)) && back.status.state.is_serving());
}

#[test]
fn altered_octets_are_refused_and_put_right_they_serve() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let plans = [plan("retry", &signed.add("retry", "1.0.0"))];
    let file = signed.file("retry");
    let whole = std::fs::read(&file).unwrap();
    let altered = [whole.as_slice(), b"\0"].concat();

    std::fs::write(&file, &altered).unwrap();
    let mut builder = signed.builder();
    let never = only(builder.build_plans(&plans, &policies));
    assert_eq!(refused(&never), "trust.altered");
    std::fs::write(&file, &whole).unwrap();
    let first = only(builder.build_plans(&plans, &policies));
    assert_eq!(first.status.state.to_string(), "serving");
    std::fs::write(&file, &altered).unwrap();
    let kept = only(builder.build_plans(&plans, &policies));
    assert_eq!(kept.status.state.to_string(), "refused:trust.altered");
    assert!(running(&kept).is_same(running(&first)));
}

#[test]
fn an_artifact_nobody_signed_or_without_component_is_refused_by_its_own_rule() {
    let signed = SigningStore::new();
    let plans = [plan("retry", &signed.add("retry", "1.0.0"))];
    let policies = [signed.policy(&json!({}))];
    std::fs::remove_file(signed.folder.path().join("retry.wasm.sigstore.json")).unwrap();
    assert_eq!(refused(&only(signed.builder().build_plans(&plans, &policies))), "trust.unsigned");
    std::fs::remove_file(signed.file("retry")).unwrap();
    let built = only(signed.builder().build_plans(&plans, &policies));
    assert_eq!(refused(&built), "artifact.unreadable");
    assert!(detail(&built).contains("retry.wasm"), "{}", detail(&built));
    let elsewhere = SigningStore::new();
    let built = only(elsewhere.builder().build_plans(&plans, &policies));
    assert_eq!(refused(&built), "artifact.missing");
    let folder = elsewhere.folder.path().display().to_string();
    assert!(detail(&built).contains(&folder), "{}", detail(&built));
}

#[test]
fn what_is_revoked_stops_serving_though_it_ran_before() {
    let signed = SigningStore::new();
    let digest = signed.add("retry", "1.0.0");
    let plans = [plan("retry", &digest)];
    let mut builder = signed.builder();
    let trusting = [signed.policy(&json!({}))];
    for (code, more) in [
        ("trust.revoked-digest", json!({ "revokedDigests": [digest.to_string()] })),
        ("trust.revoked-key", json!({ "revokedKeys": ["release"] })),
        // A folder has no log, so nothing proves that it was signed before.
        ("trust.revoked-key", json!({ "revokedKeys": [{ "key": "release", "fromIndex": 9 }] })),
    ] {
        assert_eq!(
            only(builder.build_plans(&plans, &trusting)).status.state.to_string(),
            "serving"
        );
        let built = only(builder.build_plans(&plans, &[signed.policy(&more)]));
        assert_eq!(refused(&built), code, "{}", detail(&built));
        assert!(detail(&built).ends_with("exchanges in its scope are refused"));
    }
    let nobody = only(builder.build_plans(&plans, &[]));
    assert!(refused(&nobody).starts_with("trust."), "without a policy nobody is trusted");
}

#[test]
fn what_is_not_trusted_any_more_is_not_asked_by_exchanges_that_had_it_before() {
    let signed = SigningStore::new();
    let digest = signed.add("retry", "1.0.0");
    let trusting = [signed.policy(&json!({}))];
    let revoked = [signed.policy(&json!({ "revokedDigests": [digest.to_string()] }))];
    let nobody: [SignaturePolicy; 0] = [];
    let old = [plan("retry", &digest)];
    let new = [FilterPlan { on_failure: OnFailure::Open, ..plan("retry", &digest) }];
    for (what, then, policies, ended) in [
        ("nothing changed", Some(&old), &trusting[..], false),
        ("another filter is there", Some(&new), &trusting, false),
        ("it is detached", None, &trusting, false),
        ("it is revoked", Some(&old), &revoked, true),
        ("it is revoked, and another filter would be there", Some(&new), &revoked, true),
        ("it is revoked, and detached", None, &revoked, true),
        ("nobody is trusted", Some(&old), &nobody, true),
    ] {
        let mut builder = signed.builder();
        let before = running(&only(builder.build_plans(&old, &trusting))).clone();
        let built = builder.build_plans(then.map_or(&[][..], |then| then), policies);
        assert_eq!(before.has_ended(), ended, "{what}");
        for one in built.iter().filter(|one| one.running.is_some()) {
            assert!(!running(one).has_ended(), "{what}");
        }
        // Trusted again, it is made again.
        let again = running(&only(builder.build_plans(&old, &trusting))).clone();
        assert!(!again.has_ended(), "{what}");
    }
    // It may have left its slot before it was revoked.
    let mut builder = signed.builder();
    let before = running(&only(builder.build_plans(&old, &trusting))).clone();
    builder.build_plans(&new, &trusting);
    assert!(!before.has_ended());
    builder.build_plans(&new, &revoked);
    assert!(before.has_ended());
}

#[test]
fn an_attachment_that_is_gone_leaves_nothing_behind() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let plans = [plan("retry", &signed.add("retry", "1.0.0"))];
    let mut builder = signed.builder();
    let first = only(builder.build_plans(&plans, &policies));
    assert!(builder.build_plans(&[] as &[FilterPlan], &policies).is_empty());
    assert!(builder.good.is_empty() && builder.shadows.is_empty() && builder.verdicts.is_empty());
    drop(first);
}

#[test]
fn a_manifest_that_claims_what_its_component_is_not_is_refused_though_it_is_signed() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let less = signed.add_claiming("retry", "1.0.0", |claims| claims.imports.clear());
    let built = only(signed.builder().build_plans(&[plan("retry", &less)], &policies));
    assert_eq!(refused(&built), "trust.claims");
    assert!(
        detail(&built).contains("`random`, which the manifest does not claim"),
        "{}",
        detail(&built)
    );
    let more = signed.add_claiming("retry", "1.0.1", |claims| {
        claims.exports.push("tamis:filter/request@0.2.0".to_owned());
    });
    let built = only(signed.builder().build_plans(&[plan("retry", &more)], &policies));
    assert_eq!(refused(&built), "trust.claims");
    let honest = signed.add("retry", "1.0.2");
    let built = only(signed.builder().build_plans(&[plan("retry", &honest)], &policies));
    assert_eq!(built.status.state.to_string(), "serving");
}

/// A second version of an artifact, in its own files.
fn second(signed: &SigningStore, name: &str) -> (Digest, Digest) {
    let first = signed.add(name, "1.0.0");
    for suffix in ["", ".manifest.json", ".sigstore.json"] {
        let file = format!("{}{suffix}", signed.file(name).display());
        std::fs::rename(&file, signed.folder.path().join(format!("first.wasm{suffix}"))).unwrap();
    }
    (first, signed.add(name, "1.1.0"))
}

fn shadow(built: &BuiltAttachment) -> Option<&Shadow> {
    built.attached.as_ref().and_then(|attached| attached.shadow.as_ref())
}

#[test]
fn a_candidate_stays_in_the_shadow_of_its_slot_until_it_changes() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let (first, second) = second(&signed, "retry");
    let (plan, mut other) = (plan("retry", &first), plan("retry", &second));
    let mut builder = signed.builder();
    let mut build = |candidate: Option<&FilterPlan>| {
        let of =
            |plan, slot, shadow| DesiredSlot { slot, plan, refused: None, logged: &[], shadow };
        let candidate = candidate.map(|plan| Box::new(of(plan, "test/retry~shadow", None)));
        let rules = PoliciesInForce { policies: &policies, age: Duration::ZERO };
        only(builder.build(&[of(&plan, "test/retry", candidate)], rules))
    };
    let built = build(Some(&other));
    assert_eq!(running(&built).version(), "1.0.0");
    let before = shadow(&built).unwrap().filter().clone();
    assert_eq!((before.version(), before.digest()), ("1.1.0", second.to_string().as_str()));
    assert!(!Arc::ptr_eq(before.state(), running(&built).state()), "it has a state of its own");

    let again = build(Some(&other));
    assert!(
        shadow(&again).unwrap().filter().is_same(&before),
        "unchanged filters are not built again"
    );
    other.config = json!({ "attempts": 2 }).into();
    let changed = build(Some(&other));
    assert!(!shadow(&changed).unwrap().filter().is_same(&before));
    assert!(running(&changed).is_same(running(&built)), "the slot itself stays as it is");
    assert!(shadow(&build(None)).is_none());
}

#[test]
fn a_candidate_that_may_not_run_leaves_its_slot_as_it_is() {
    let (signed, stranger) = (SigningStore::new(), SigningStore::new());
    let policies = [signed.policy(&json!({}))];
    let serving = plan("retry", &signed.add("retry", "1.0.0"));
    let candidate = plan("retry", &stranger.add("retry", "1.1.0"));
    let mut builder = signed.builder();
    let folders = [&signed, &stranger].map(|one| one.folder.path().to_owned());
    builder.store = ArtifactStore::new(folders.to_vec());
    let of = |plan, slot, shadow| DesiredSlot { slot, plan, refused: None, logged: &[], shadow };
    let wanted =
        of(&serving, "test/retry", Some(Box::new(of(&candidate, "test/retry~shadow", None))));
    let rules = PoliciesInForce { policies: &policies, age: Duration::ZERO };
    let built = only(builder.build(&[wanted], rules));
    assert_eq!(
        (running(&built).version(), built.status.state.to_string().as_str()),
        ("1.0.0", "serving")
    );
    assert!(shadow(&built).is_none());
    let refusal = built.shadow.unwrap().unwrap_err();
    assert!(refusal.code.starts_with("trust."), "{refusal:?}");
}

/// A router of `tamis/route` with these routes.
fn router(digest: &Digest, routes: serde_json::Value) -> FilterPlan {
    let mut router = plan("route", digest);
    router.world = Some(World::RoutePolicy);
    router.config = json!({ "routes": routes }).into();
    router.grant.writes.extend([":path".to_owned(), ":authority".to_owned()]);
    router.grant.imports.insert("log".to_owned(), json!({}));
    router
}

fn route(name: &str, rules: serde_json::Value) -> serde_json::Value {
    let host = format!("{}.example", name.replace('/', "."));
    json!({ "name": name, "kind": "HTTPRoute", "hostnames": [host], "rules": rules })
}

#[test]
fn a_route_that_the_router_refuses_is_left_out_cold_and_warm_and_all_others_are_routed() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("route", "1.0.0");
    let good = || json!([{ "name": "all", "backendRefs": [{ "service": "f/app:80" }] }]);
    let backend = json!([{ "service": "f/app:80" }]);
    let rows = [
        (
            "a path",
            json!([{ "name": "x", "matches": [{ "path": { "type": "RegularExpression", "value": "/a(" } }] }]),
            true,
        ),
        (
            "a look-ahead",
            json!([{ "name": "x", "matches": [{ "path": { "type": "RegularExpression", "value": "/(?!x).*" } }] }]),
            true,
        ),
        (
            "no absolute path",
            json!([{ "name": "x", "matches": [{ "path": { "value": "foo" } }] }]),
            true,
        ),
        (
            "a header's expression",
            json!([{ "name": "x", "matches": [{ "headers": [{ "name": "a", "type": "RegularExpression", "value": "(" }] }] }]),
            true,
        ),
        (
            "a query's expression",
            json!([{ "name": "x", "matches": [{ "queryParams": [{ "name": "a", "type": "RegularExpression", "value": "(" }] }] }]),
            true,
        ),
        (
            "a status",
            json!([{ "name": "x", "filters": [{ "type": "RequestRedirect", "requestRedirect": { "statusCode": 200 } }] }]),
            false,
        ),
        (
            "a scheme",
            json!([{ "name": "x", "filters": [{ "type": "RequestRedirect", "requestRedirect": { "scheme": "ftp" } }] }]),
            false,
        ),
        (
            "an empty filter",
            json!([{ "name": "x", "filters": [{ "type": "RequestHeaderModifier" }], "backendRefs": backend }]),
            false,
        ),
        (
            "a redirect of a backend",
            json!([{ "name": "x", "backendRefs": [{ "service": "f/app:80", "filters": [{ "type": "RequestRedirect", "requestRedirect": {} }] }] }]),
            false,
        ),
        (
            "a mirror's share",
            json!([{ "name": "x", "filters": [{ "type": "RequestMirror", "requestMirror": { "backendRef": { "service": "f/app:80" }, "percent": 101 } }] }]),
            false,
        ),
        ("a field that is none", json!([{ "name": "x", "colour": "red" }]), false),
    ];
    for (name, rules, whole) in rows {
        let bad = route("f/bad", rules);
        let mut builder = signed.builder();
        let cold = router(&digest, json!([route("f/good", good()), bad]));
        let built = only(builder.build_plans(&[cold], &policies));
        assert!(built.status.state.is_serving(), "{name}: {}", detail(&built));
        assert_eq!(known_rules(running(&built)), ["f/good/all", "f/bad/x"], "{name}");
        let [left] = &built.left_out[..] else { panic!("{name}: {:?}", built.left_out) };
        assert_eq!((left.route.as_str(), left.whole), ("f/bad", whole), "{name}: {left:?}");
        assert!(left.pointer.starts_with("/spec/rules/0"), "{name}: {left:?}");
        let warm = router(&digest, json!([route("f/good", good()), bad, route("g/new", good())]));
        let built = only(builder.build_plans(&[warm], &policies));
        assert!(known_rules(running(&built)).contains(&"g/new/all"), "{name}: a later change");
    }
}

#[test]
fn what_guards_a_part_of_a_route_that_is_left_out_guards_all_routes_of_its_namespace_refused() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let router = router(
        &signed.add("route", "1.0.0"),
        json!([
            route(
                "f/bad",
                json!([{ "name": "admin", "matches": [{ "path": { "type": "RegularExpression", "value": "/a(" } }] }])
            ),
            route("f/wide", json!([{ "name": "all" }])),
            route("g/other", json!([{ "name": "all" }])),
        ]),
    );
    let mut guard = plan("retry", &signed.add("retry", "1.0.0"));
    guard.phase = plan::Phase::Authn;
    guard.scope = Some(vec!["f/bad/admin".to_owned()]);
    let built = signed.builder().build_plans(&[guard, router], &policies);
    assert_eq!(refused(&built[0]), "route.refused");
    let scope = built[0].attached.as_ref().unwrap().scope.clone().unwrap();
    assert_eq!(scope, ["f/bad/admin", "f/bad/", "f/wide/"]);
}

#[test]
fn what_is_refused_before_it_runs_is_never_compiled() {
    /// What a row changes.
    type Change = fn(&mut FilterPlan);
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("retry", "1.0.0");
    let rows: [(&str, Change, &str); 3] = [
        ("grant.import", |plan| plan.grant.imports.clear(), "random"),
        ("grant.limit", |plan| plan.grant.limits.time_us = 60_000_000, "limits.time"),
        ("filter.world", |plan| plan.world = Some(World::Authorizer), "retry"),
    ];
    for (rule, change, part) in rows {
        let mut plan = plan("retry", &digest);
        change(&mut plan);
        let code = Code::default();
        let built = only(signed.builder_with(code.clone()).build_plans(&[plan], &policies));
        assert_eq!(refused(&built), rule);
        assert!(detail(&built).contains(part), "{rule}: {}", detail(&built));
        assert!(code.digests().is_empty(), "{rule}: it was compiled");
    }
    // A manifest that claims other things than the component does.
    let claims = signed.add_claiming("telemetry", "1.0.0", |input| input.exports.clear());
    let code = Code::default();
    let mut builder = signed.builder_with(code.clone());
    let built = only(builder.build_plans(&[plan("telemetry", &claims)], &policies));
    assert_eq!(refused(&built), "trust.claims", "{}", detail(&built));
    assert!(code.digests().is_empty());
    // What is not refused is compiled, here too.
    assert!(
        only(builder.build_plans(&[plan("retry", &digest)], &policies)).status.state.is_serving()
    );
    assert_eq!(code.digests().len(), 1);
}

#[test]
fn a_router_whose_rules_do_not_cover_what_is_attached_to_them_is_refused_and_the_one_before_stays()
{
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("route", "1.0.0");
    let rules = json!([{ "name": "admin" }, { "backendRefs": [] }]);
    let router = router(&digest, json!([route("f/r", rules)]));
    let filter = only(signed.builder().build_plans(std::slice::from_ref(&router), &policies));
    let filter = running(&filter);
    assert_eq!(known_rules(filter), ["f/r/admin", "f/r/1"]);
    for (scope, covered) in [
        (vec!["f/r/admin"], true),
        (vec!["f/r/"], true),
        (vec!["f/r/1"], true),
        (vec!["f/other/"], true),
    ] {
        let covers: Vec<String> = scope.into_iter().map(str::to_owned).collect();
        let router = FilterPlan { covers, ..router.clone() };
        let refused = router.uncovered_rules(filter.rules());
        assert_eq!(refused.is_none(), covered, "{:?}", router.covers);
    }
    // The same filter under configurations with rules that it does not have.
    for (name, rules, scope, missing) in [
        ("f/r", json!([{ "name": "my-rule-0" }]), "f/r/my-rule-0", "but not `f/r/my-rule-0`,"),
        ("f/r", json!([{ "name": "Admin" }]), "f/r/Admin", "but not `f/r/Admin`,"),
        ("f/r", json!([{ "name": "admin" }, {}, {}]), "f/r/2", "but not `f/r/2`,"),
        ("f/r", json!([{ "name": "a" }, { "name": "b" }]), "f/r/", "but not `f/r/a` and 1 more,"),
        ("f/other", json!([{}]), "f/other/", "but not `f/other/0`,"),
        ("g/r", json!([{ "name": "admin" }]), "g/r/admin", "but not `g/r/admin`,"),
    ] {
        let mut other = router.clone();
        other.config = json!({ "routes": [route(name, rules)] }).into();
        let mut covering = |covers: &[&str]| {
            other.covers = covers.iter().map(|one| (*one).to_owned()).collect();
            other.uncovered_rules(filter.rules())
        };
        let refusal = covering(&[scope]).unwrap();
        assert_eq!(refusal.code, "router.rules", "{scope:?}");
        assert!(refusal.rule.contains(missing), "{scope:?}: {refusal:?}");
        // Nothing is lost where nothing is attached, or only to what the router has.
        assert!(covering(&[]).is_none(), "{scope:?}");
        assert!(covering(&["f/elsewhere/"]).is_none(), "{scope:?}");
        // A check without a proxy says the same, and so does the proxy.
        covering(&[scope]);
    }
}

#[test]
fn a_component_of_another_world_than_its_catalogue_says_is_refused() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let digest = signed.add("retry", "1.0.0");
    let rows = [
        (World::RetryPolicy, true),
        (World::Everything, true),
        (World::Authorizer, false),
        (World::RefreshingAuthorizer, false),
        (World::Transformer, false),
        (World::RoutePolicy, false),
        (World::BreakerPolicy, false),
        (World::HedgePolicy, false),
        (World::BalancePolicy, false),
        (World::TelemetryPolicy, false),
        (World::ConnectionPolicy, false),
        (World::MeteringPolicy, false),
    ];
    for (world, fits) in rows {
        let mut plan = plan("retry", &digest);
        plan.world = Some(world);
        let built = only(signed.builder().build_plans(&[plan], &policies));
        if fits {
            assert!(built.status.state.is_serving(), "{world:?}");
        } else {
            assert_eq!(refused(&built), "filter.world", "{world:?}");
            assert!(detail(&built).contains("retry"), "{world:?}: {}", detail(&built));
        }
    }
}

#[test]
fn a_slot_that_failed_slowly_is_not_made_again_while_others_change() {
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let (digest, other) = (signed.add("retry", "1.0.0"), signed.add("circuit-breaker", "1.0.0"));
    let (mut slow, other) = (plan("retry", &digest), plan("circuit-breaker", &other));
    let mut builder = signed.builder();
    let wanted = DesiredSlot::of_documents(slot_of(&slow), &slow);
    let rules = PoliciesInForce { policies: &policies, age: Duration::ZERO };
    let key = builder.proven(&wanted, rules, &mut builder.store.reading(&[])).map(|it| it.key);
    let Ok(key) = key else { panic!("it may run") };
    let refusal = by_proxy("filter.configure", "it says no", "correct it");
    let (took, now) = (Duration::from_secs(2), builder.clock.now());
    builder.slow.keep(slot_of(&slow), &key, refusal, took, now);
    for _ in 0..2 {
        let built = builder.build_plans(&[slow.clone(), other.clone()], &policies);
        assert!(detail(&built[0]).contains("took 2000 ms"), "{}", detail(&built[0]));
        assert_eq!(running(&built[1]).version(), "1.0.0", "the other one is in force");
    }
    slow.config = json!({ "attempts": 2 }).into();
    let built = builder.build_plans(&[slow, other], &policies);
    assert_eq!(running(&built[0]).version(), "1.0.0", "what changed is tried at once");
}

#[test]
fn a_candidate_that_failed_slowly_is_not_made_again_while_others_change() {
    fn of<'a>(
        plan: &'a FilterPlan,
        slot: &'a str,
        shadow: Option<Box<DesiredSlot<'a>>>,
    ) -> DesiredSlot<'a> {
        DesiredSlot { slot, plan, refused: None, logged: &[], shadow }
    }
    let signed = SigningStore::new();
    let policies = [signed.policy(&json!({}))];
    let (first, second) = second(&signed, "retry");
    let other = plan("circuit-breaker", &signed.add("circuit-breaker", "1.0.0"));
    let (serving, mut candidate) = (plan("retry", &first), plan("retry", &second));
    let mut builder = signed.builder();
    let rules = PoliciesInForce { policies: &policies, age: Duration::ZERO };
    let name = format!("test/retry{SHADOW}");
    let wanted = of(&candidate, &name, None);
    let key = builder.proven(&wanted, rules, &mut builder.store.reading(&[])).map(|it| it.key);
    let Ok(key) = key else { panic!("it may run") };
    let refusal = by_proxy("filter.configure", "it says no", "correct it");
    let (took, now) = (Duration::from_secs(2), builder.clock.now());
    builder.slow.keep(&name, &key, refusal, took, now);
    let mut build = |candidate: &FilterPlan| {
        let shadow = Box::new(of(candidate, &name, None));
        let wanted =
            [of(&serving, "test/retry", Some(shadow)), of(&other, "test/circuit-breaker", None)];
        builder.build(&wanted, rules)
    };
    for _ in 0..2 {
        let built = build(&candidate);
        let refusal = built[0].shadow.as_ref().unwrap().as_ref().unwrap_err();
        assert!(refusal.rule.contains("took 2000 ms"), "{}", refusal.rule);
        assert!(shadow(&built[0]).is_none());
        for one in &built {
            assert_eq!(running(one).version(), "1.0.0", "the slots serve");
            assert_eq!(one.status.state.to_string(), "serving");
        }
    }
    candidate.config = json!({ "attempts": 2 }).into();
    let built = build(&candidate);
    assert_eq!(shadow(&built[0]).unwrap().filter().version(), "1.1.0", "what changed is tried");
}
