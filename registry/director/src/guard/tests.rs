use super::*;
use crate::effect::effect;
use crate::fixture::{
    JWT, World, applied, checked, digest, guard_of, pinned, removed, rollout, service, unpinned,
};
use crate::record::{ApplyRecord, ApprovalRecord, RevocationRecord, RevocationTarget};
use crate::rollout::Event;

/// Everybody whose approval counts in these tests.
fn people() -> BTreeSet<String> {
    ["ada", "ben", "eve"].map(str::to_owned).into()
}

/// Codes of all refusals when ada asks.
fn codes(world: &World, change: &Change, guards: &Guards, consent: Consent) -> Vec<String> {
    let change_effect = effect(&world.state, change).unwrap();
    let may_agree = people();
    let asked =
        ChangeRequest { actor: "ada", now_ms: world.now_ms, consent, may_agree: &may_agree };
    let refused =
        guard(&world.state, change, &change_effect, guards, &asked).err().unwrap_or_default();
    for one in &refused {
        assert!(!one.rule.is_empty() && !one.set_by.is_empty() && !one.remedy.is_empty());
    }
    refused.into_iter().map(|one| one.code.into_owned()).collect()
}

fn pin(service: &str, version: &str) -> Change {
    Change::Pin(pinned(service, JWT, version))
}

#[test]
fn a_small_change_needs_nobody() {
    let world = World::mesh();
    let guards = Guards::default();
    assert!(codes(&world, &pin("shop/a", "1.1.0"), &guards, Consent::NotGiven).is_empty());
}

#[test]
fn g17_a_wide_change_needs_consent_from_one_service_too_many_on() {
    let world = World::mesh();
    let wide = pin("*", "1.1.0");
    let guards = |services, percent| Guards {
        blast_radius_services: services,
        blast_radius_percent: percent,
        ..Guards::default()
    };
    // It touches three of four services.
    let rows =
        [(2, 25, 1), (3, 25, 0), (0, 74, 1), (0, 75, 0), (0, 100, 0), (0, 255, 0), (0, 0, 1)];
    for (services, percent, refusals) in rows {
        let guards = guards(services, percent);
        let found = codes(&world, &wide, &guards, Consent::NotGiven);
        assert_eq!(found, vec![code::BLAST_RADIUS; refusals], "{services} {percent}");
        assert!(codes(&world, &wide, &guards, Consent::Given).is_empty());
    }
}

#[test]
fn g17_an_emptied_chain_needs_consent() {
    let world = World::mesh();
    let change = Change::Apply(removed("FilterAttachment/shop/route"));
    let found = codes(&world, &change, &Guards::default(), Consent::NotGiven);
    assert_eq!(found, [code::EMPTY_CHAIN, code::BLAST_RADIUS]);
    assert!(codes(&world, &change, &Guards::default(), Consent::Given).is_empty());
}

#[test]
fn protection_that_goes_needs_consent_and_is_named() {
    let world = World::mesh();
    let change = Change::Apply(removed("FilterAttachment/shop/a-jwt"));
    let found = codes(&world, &change, &Guards::default(), Consent::NotGiven);
    assert_eq!(found, [code::PROTECTION]);
    assert!(codes(&world, &change, &Guards::default(), Consent::Given).is_empty());
    let keys = ["a", "b", "c"].map(|name| format!("FilterAttachment/shop/{name}-jwt"));
    let all = ApplyRecord { removed: keys.to_vec(), ..ApplyRecord::default() };
    let told = protection(&effect(&world.state, &Change::Apply(all)).unwrap()).unwrap();
    let words = |name| {
        format!(
            "\"shop/{name}-jwt\" (acme/jwt) no longer guards listener \"inbound\" in shop/{name}"
        )
    };
    assert_eq!(told.rule, ["a", "b", "c"].map(words).join("; "));
    // However many there are, three are named.
    let unguarded = (0..5).map(|at| (format!("shop/{at}"), [format!("guard {at} is gone")].into()));
    let many = ChangeEffect { unguarded: unguarded.collect(), ..ChangeEffect::default() };
    let rule = protection(&many).unwrap().rule;
    assert!(rule.ends_with("guard 2 is gone in shop/2; and 2 more"), "{rule}");
}

#[test]
fn consent_passes_neither_revocation_nor_age_nor_a_rollout() {
    let mut world = World::mesh();
    let refused = |world: &World, change| codes(world, &change, &Guards::default(), Consent::Given);
    assert_eq!(refused(&world, pin("shop/a", "0.9.0")), [code::PIN_OLDER]);
    let older = PinRecord { allow_older: true, ..pinned("shop/a", JWT, "0.9.0") };
    assert!(refused(&world, Change::Pin(older)).is_empty());
    let what = RevocationTarget::Digest { digest: digest(JWT, "1.2.0") };
    world.append("ada", RevocationRecord { what, reason: "stolen".to_owned(), now: true });
    assert_eq!(refused(&world, pin("shop/a", "1.2.0")), [code::PIN_REVOKED]);
    world.start(checked(rollout("r", JWT, "1.0.0", "1.1.0")));
    assert_eq!(refused(&world, pin("shop/a", "1.0.1")), [code::PIN_ROLLOUT]);
    assert_eq!(refused(&world, Change::Unpin(unpinned("*", JWT))), [code::PIN_ROLLOUT]);
    world.step("r", Event::Kill);
    assert!(refused(&world, pin("shop/a", "1.0.1")).is_empty());
}

#[test]
fn a_rollout_of_one_service_leaves_the_pins_of_others_free() {
    let mut world = World::mesh();
    let mut spec = rollout("r", JWT, "1.0.0", "1.1.0");
    spec.services = vec!["shop/b".to_owned()];
    world.start(checked(spec));
    let refused =
        |service| codes(&world, &pin(service, "1.0.1"), &Guards::default(), Consent::Given);
    assert!(refused("shop/a").is_empty());
    assert_eq!(refused("shop/b"), [code::PIN_ROLLOUT]);
    assert_eq!(refused("*"), [code::PIN_ROLLOUT]);
}

const TWO: Guards = Guards {
    blast_radius_percent: 100,
    blast_radius_services: 0,
    approvals: 2,
    approval_ms: 1_000,
};

#[test]
fn k_of_n_people_other_than_the_one_who_asks_must_agree_in_time() {
    let mut world = World::mesh();
    let change = pin("shop/a", "1.1.0");
    let subject = change.subject();
    let missing = |world: &World| codes(world, &change, &TWO, Consent::Given).len();
    // Her own approval and that of another change do not count, and one person is counted once.
    let rows = [("ada", 1), ("ben", 1), ("ben", 1), ("eve", 0)];
    for (actor, refusals) in rows {
        world.append("eve", ApprovalRecord { subject: pin("shop/b", "1.1.0").subject() });
        world.append(actor, ApprovalRecord { subject });
        assert_eq!(missing(&world), refusals, "{actor}");
    }
    assert_eq!(world.state.approved(&subject).count(), 3);
    world.now_ms += 1_000;
    assert_eq!(missing(&world), 0);
    world.now_ms += 1;
    assert_eq!(missing(&world), 1);
}

#[test]
fn agreement_is_used_up_by_what_it_was_for() {
    let mut world = World::mesh();
    let change = pin("shop/a", "1.1.0");
    let agree = |world: &mut World, subject| {
        world.append("ben", ApprovalRecord { subject });
        world.append("eve", ApprovalRecord { subject });
    };
    agree(&mut world, change.subject());
    world.append("ada", pinned("shop/a", JWT, "1.1.0"));
    world.append("ada", unpinned("shop/a", JWT));
    assert_eq!(codes(&world, &change, &TWO, Consent::Given), [code::APPROVALS]);
    let apply = Change::Apply(applied([guard_of("shop/a", "https://x.example")]));
    agree(&mut world, apply.subject());
    assert!(codes(&world, &apply, &TWO, Consent::Given).is_empty());
    world.append("ada", applied([service("shop/a", 1)]));
    assert_eq!(codes(&world, &apply, &TWO, Consent::Given), [code::APPROVALS]);
}

#[test]
fn a_rollout_needs_the_agreement_that_its_pin_would() {
    let mut world = World::mesh();
    let rollout = checked(rollout("r", JWT, "1.0.0", "1.1.0"));
    let refused = |world: &World| {
        let (now_ms, may_agree) = (world.now_ms, people());
        let consent = Consent::Given;
        let asked = ChangeRequest { actor: "ada", now_ms, consent, may_agree: &may_agree };
        guard_rollout(&world.state, &rollout, &TWO, &asked).map_err(|one| one.code.into_owned())
    };
    world.append("ben", ApprovalRecord { subject: rollout.subject() });
    assert_eq!(refused(&world), Err(code::APPROVALS.to_owned()));
    world.append("eve", ApprovalRecord { subject: rollout.subject() });
    assert_eq!(refused(&world), Ok(()));
    world.append("ada", pinned("shop/a", JWT, "1.0.1"));
    assert_eq!(refused(&world), Err(code::APPROVALS.to_owned()));
}

#[test]
fn numbers_stand_with_their_words() {
    for (approvals, words) in [(1, "1 person other than ada"), (2, "2 people other than ada")] {
        let world = World::mesh();
        let guards = Guards { approvals, ..Guards::default() };
        let change = Change::Pin(pinned("shop/a", JWT, "1.1.0"));
        let (now_ms, consent, may_agree) = (world.now_ms, Consent::Given, people());
        let asked = ChangeRequest { actor: "ada", now_ms, consent, may_agree: &may_agree };
        let change_effect = effect(&world.state, &change).unwrap();
        let refused = guard(&world.state, &change, &change_effect, &guards, &asked).unwrap_err();
        assert!(refused[0].rule.starts_with(words), "{}", refused[0].rule);
    }
}

#[test]
fn agreement_of_somebody_who_could_not_make_the_change_does_not_count() {
    let mut world = World::mesh();
    let change = pin("shop/a", "1.1.0");
    for actor in ["ben", "mallory"] {
        world.append(actor, ApprovalRecord { subject: change.subject() });
    }
    assert_eq!(codes(&world, &change, &TWO, Consent::Given), [code::APPROVALS]);
    world.append("eve", ApprovalRecord { subject: change.subject() });
    assert!(codes(&world, &change, &TWO, Consent::Given).is_empty());
}
