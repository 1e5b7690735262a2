//! A proxy and its director, with everything that may go wrong between them.

use serde_json::json;
use tamis_ambient::Clock;
use tamis_sync::{Activation, SHADOW, SlotReport, split};
use tamis_trust::{AssignmentMode, Digest};

use super::*;
use crate::testing::SigningStore;

mod director;
mod fleet;

use director::Lie;
use fleet::{BREAKER, Fleet, RETRY, Release, exchange, state};

#[test]
fn it_runs_what_the_director_wants_and_says_so() {
    let (mut fleet, following, first) = Fleet::serving();
    let running = fleet.serves(RETRY, &first.digest).running.unwrap();
    assert_eq!((running.assignment, running.version.to_string().as_str()), (1, "1.0.0"));
    assert_eq!(state(&following, RETRY), "serving");

    let second = fleet.release("retry", "1.1.0");
    let pulls = fleet.director.world().pulls;
    fleet.assign("retry", &second, 2);
    fleet.push();
    let running = fleet.serves(RETRY, &second.digest).running.unwrap();
    assert_eq!((running.assignment, running.version.to_string().as_str()), (2, "1.1.0"));
    assert!(fleet.director.world().pulls > pulls);

    // The return to the first is a higher version, and needs no fetch.
    fleet.director.world().blobs.clear();
    let pulls = fleet.director.world().pulls;
    fleet.assign("retry", &first, 3);
    fleet.push();
    assert_eq!(fleet.serves(RETRY, &first.digest).running.unwrap().assignment, 3);
    assert_eq!(fleet.director.world().pulls, pulls, "a rollback fetches nothing");
}

#[test]
fn a_slot_that_changes_is_all_that_is_sent_and_a_reconnect_sends_nothing() {
    let (mut fleet, _following, first) = Fleet::serving();
    let breaker = fleet.release("circuit-breaker", "1.0.0");
    fleet.assign("circuit-breaker", &breaker, 1);
    fleet.push();
    fleet.serves(BREAKER, &breaker.digest);
    let sent = fleet.director.world().sent;
    let second = fleet.release("retry", "1.1.0");
    fleet.assign("retry", &second, 2);
    fleet.push();
    fleet.serves(RETRY, &second.digest);
    assert_eq!(fleet.director.world().sent, sent + 1);

    let hellos = fleet.director.world().hellos;
    fleet.director.end();
    fleet.director.world().report = None;
    fleet.director.begin();
    fleet.director.until("it comes back", |world| world.hellos > hellos);
    fleet.serves(RETRY, &second.digest);
    assert_eq!(fleet.director.world().sent, sent + 1);
    assert_ne!(first.digest, second.digest);
}

#[test]
fn g5_it_starts_from_its_folder_with_nobody_there_and_a_damaged_file_refuses_its_slot_alone() {
    let (mut fleet, following, first) = Fleet::serving();
    let breaker = fleet.release("circuit-breaker", "1.0.0");
    fleet.assign("circuit-breaker", &breaker, 1);
    fleet.push();
    fleet.serves(BREAKER, &breaker.digest);
    let before = exchange(fleet.address);
    drop(following);
    fleet.director.end();

    let following = fleet.start();
    assert_eq!([state(&following, RETRY), state(&following, BREAKER)], ["serving", "serving"]);
    assert_eq!(exchange(fleet.address), before);
    drop(following);

    let component = fleet.kept(&first, "");
    let mut bytes = std::fs::read(&component).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&component, bytes).unwrap();
    let following = fleet.start();
    assert_eq!(state(&following, RETRY), "refused:trust.altered");
    assert_eq!(state(&following, BREAKER), "serving");

    // The director has all of it.
    fleet.director.world().report = None;
    fleet.director.begin();
    fleet.serves(RETRY, &first.digest);
    drop(following);
    fleet.director.end();

    std::fs::write(fleet.kept(&breaker, ".sigstore.json"), "").unwrap();
    let following = fleet.start();
    assert_eq!(state(&following, BREAKER), "refused:trust.unsigned");
    assert_eq!(state(&following, RETRY), "serving");
}

#[test]
fn g1_an_altered_component_never_runs_and_is_fetched_again() {
    let (mut fleet, following, first) = Fleet::serving();
    let breaker = fleet.release("circuit-breaker", "1.0.0");
    let digest = Digest::of(&crate::testing::component("circuit-breaker")).to_string();
    let honest = fleet.director.world().blobs.get(&digest).unwrap().clone();
    let mut altered = honest.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    fleet.director.world().blobs.insert(digest.clone(), altered.into());
    fleet.assign("circuit-breaker", &breaker, 1);
    fleet.push();
    let (code, report) = fleet.refuses(BREAKER, &breaker.digest);
    assert!(code.starts_with("artifact."), "{code}");
    assert_eq!(report.running, None);
    assert!(!fleet.kept(&breaker, "").exists(), "what was altered is not kept");
    assert_eq!(state(&following, RETRY), "serving");

    let longer = [&honest[..], b"more"].concat();
    fleet.director.world().blobs.insert(digest.clone(), longer.into());
    let pulls = fleet.director.world().pulls;
    fleet.director.until("it asks again", |world| world.pulls > pulls + 1);
    assert!(!fleet.kept(&breaker, "").exists());

    fleet.director.world().blobs.insert(digest, honest);
    fleet.serves(BREAKER, &breaker.digest);
    fleet.serves(RETRY, &first.digest);
}

/// A fault of an activation by name, and the rule that detects it.
type ActivationFault = (&'static str, fn(&Fleet, &Release) -> Activation, &'static str);

#[test]
fn g1_what_is_not_proven_is_refused_by_its_rule_and_what_ran_goes_on() {
    let (mut fleet, following, first) = Fleet::serving();
    let second = fleet.release("retry", "1.1.0");
    fleet.assign("retry", &second, 2);
    let cases: [ActivationFault; 8] = [
        (
            "signature of another manifest",
            |fleet, release| {
                let stranger = SigningStore::new();
                stranger.add("retry", "1.1.0");
                let path = format!("{}.sigstore.json", stranger.file("retry").display());
                let bundle = std::fs::read_to_string(path).unwrap().trim_end().to_owned();
                let honest = fleet.activation("retry", release, |one| one.version = 2);
                Activation { bundles: vec![bundle], ..honest }
            },
            "trust.",
        ),
        (
            "no author's signature",
            |fleet, release| {
                let honest = fleet.activation("retry", release, |one| one.version = 2);
                Activation { bundles: Vec::new(), ..honest }
            },
            "trust.unsigned",
        ),
        (
            "envelope of another slot",
            |fleet, release| {
                fleet.activation("retry", release, |one| one.slot = BREAKER.to_owned())
            },
            "assign.other-slot",
        ),
        (
            "envelope of another service",
            |fleet, release| {
                fleet.activation("retry", release, |one| one.service = "test/other".to_owned())
            },
            "assign.other-service",
        ),
        (
            "envelope of another configuration",
            |fleet, release| {
                fleet.activation("retry", release, |one| one.config = Digest::of(b"other"))
            },
            "assign.other-config",
        ),
        (
            "no envelope",
            |fleet, release| {
                let honest = fleet.activation("retry", release, |one| one.version = 2);
                Activation { envelopes: Vec::new(), ..honest }
            },
            "assign.missing",
        ),
        (
            "an end that has passed",
            |fleet, release| {
                fleet.activation("retry", release, |one| {
                    (one.version, one.expires) = (2, Clock::system().unix_secs() - 1);
                })
            },
            "assign.expired",
        ),
        (
            "assigned as a shadow",
            |fleet, release| {
                fleet.activation("retry", release, |one| {
                    (one.version, one.mode) = (2, AssignmentMode::Shadow);
                })
            },
            "assign.mode",
        ),
    ];
    for (what, make, rule) in cases {
        let activation = make(&fleet, &second);
        fleet.slots.insert(RETRY.to_owned(), activation);
        fleet.push_answered();
        let (code, report) = fleet.refuses(RETRY, &second.digest);
        assert!(code.starts_with(rule), "{what}: {code}");
        assert_eq!(report.running.unwrap().digest, first.digest, "{what}");
        assert!(state(&following, RETRY).starts_with("refused:"), "{what}");
    }
    fleet.assign("retry", &second, 2);
    fleet.push();
    fleet.serves(RETRY, &second.digest);
}

#[test]
fn a_lower_version_is_refused_and_after_a_restart_as_well() {
    let (mut fleet, following, first) = Fleet::serving();
    let second = fleet.release("retry", "1.1.0");
    fleet.assign("retry", &second, 7);
    fleet.push();
    fleet.serves(RETRY, &second.digest);

    fleet.assign("retry", &first, 6);
    fleet.push();
    let (code, report) = fleet.refuses(RETRY, &first.digest);
    assert_eq!(code, "assign.rollback");
    assert_eq!(report.running.unwrap().digest, second.digest);
    drop(following);

    let following = fleet.start();
    assert_eq!(state(&following, RETRY), "refused:assign.rollback");
    fleet.assign("retry", &second, 7);
    fleet.push();
    fleet.serves(RETRY, &second.digest);
}

#[test]
fn g4_a_stream_that_breaks_the_protocol_ends_and_the_next_goes_on() {
    let (mut fleet, following, first) = Fleet::serving();
    let second = fleet.release("retry", "1.1.0");
    fleet.assign("retry", &second, 2);
    let before = (exchange(fleet.address), following.node().proxy().generation().number);
    let other = json!({ "push": { "nonce": 1, "revision": 1, "last": true, "upserts": [
        { "name": "slot/test/retry", "version": Digest::of(b"other"), "body": {} } ] } });
    let lies = [
        Lie::Says(b"rubbish\n".to_vec()),
        Lie::Says(b"\xff\xfe\n".to_vec()),
        Lie::Says(b"{\"push\":{\"nonce\":1}}\n".to_vec()),
        Lie::Says(format!("{other}\n").into_bytes()),
        Lie::Says(vec![b'x'; 5 << 20]),
        Lie::Half,
    ];
    let count = lies.len();
    fleet.director.end();
    fleet.director.world().lies.extend(lies);
    let hellos = fleet.director.world().hellos;
    fleet.push();
    fleet.director.begin();
    fleet.director.until("each lie is told", |world| world.hellos >= hellos + count);
    // The last of them may be in progress: the next stream continues with it.
    fleet.serves(RETRY, &second.digest);
    assert_eq!(exchange(fleet.address), before.0);
    assert_eq!(following.node().proxy().generation().number, before.1 + 1, "one change, once");
    assert_ne!(first.digest, second.digest);
}

#[test]
fn a_push_that_makes_no_plan_is_refused_and_nothing_changes() {
    let (fleet, following, first) = Fleet::serving();
    let mut parts = split(&fleet.plan, &fleet.slots);
    parts.remove("slot/test/retry");
    fleet.director.wants(parts);
    fleet.director.until("refused", |world| {
        world.outcome.as_ref().is_some_and(|(taken, why)| {
            !taken && why.as_deref().is_some_and(|why| why.contains("slot/test/retry"))
        })
    });
    let mut other = fleet.plan.clone();
    other.node = "gateway:test/other".to_owned();
    fleet.director.wants(split(&other, &fleet.slots));
    fleet.director.until("refused", |world| {
        world.outcome.as_ref().is_some_and(|(_, why)| {
            why.as_deref().is_some_and(|why| why.contains("gateway:test/other"))
        })
    });
    assert_eq!(state(&following, RETRY), "serving");
    fleet.push();
    fleet.serves(RETRY, &first.digest);
}

#[test]
fn a_director_of_another_identity_is_never_told_anything() {
    let (fleet, following, _) = Fleet::serving();
    drop(following);
    let (hellos, strangers) = {
        let world = fleet.director.world();
        (world.hellos, world.strangers)
    };
    let other = "spiffe://test.example/ns/test/sa/other".to_owned();
    let following = fleet
        .try_start(|follow| {
            if let DirectorLogin::Files { director, .. } = &mut follow.login {
                *director = Some(other);
            }
        })
        .unwrap();
    fleet.director.until("it turns away", |world| world.strangers > strangers);
    assert_eq!(fleet.director.world().hellos, hellos);
    assert_eq!(state(&following, RETRY), "serving", "it goes on with what it has");
}

#[test]
fn of_several_directors_the_next_is_asked_when_one_is_gone() {
    let (fleet, following, first) = Fleet::serving();
    drop(following);
    let nobody = tamis_harness::ports::address();
    let hellos = fleet.director.world().hellos;
    let following = fleet.try_start(|follow| {
        follow.director = format!("{nobody}, nowhere, {}", follow.director);
    });
    assert!(following.is_ok());
    fleet.director.until("it is asked", |world| world.hellos > hellos);
    fleet.serves(RETRY, &first.digest);
}

#[test]
fn kept_parts_that_were_altered_are_not_believed() {
    let (fleet, following, first) = Fleet::serving();
    drop(following);
    let path = fleet.state.path().join("parts.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let altered = text.replace("\"onFailure\":\"closed\"", "\"onFailure\":\"open\"");
    let altered = if altered == text { text.replace("closed", "open") } else { altered };
    assert_ne!(altered, text);
    std::fs::write(&path, altered).unwrap();
    fleet.director.world().report = None;
    let following = fleet.start();
    fleet.serves(RETRY, &first.digest);
    assert_eq!(state(&following, RETRY), "serving");
    assert!(!std::fs::read_to_string(&path).unwrap().contains("\"open\""));
    drop(following);

    let seen = fleet.state.path().join("seen.json");
    for (content, what) in [
        ("rubbish", "it is damaged"),
        ("", "it is empty"),
        ("\0\0\0\0", "it is damaged"),
        ("null", "it is damaged"),
        ("{", "it is damaged"),
    ] {
        std::fs::write(&seen, content).unwrap();
        let error = tamis_transport::causes(&fleet.try_start(|_| {}).err().unwrap());
        for part in ["seen.json", what, "put it back from a copy", "remove it"] {
            assert!(error.contains(part), "{content:?}: {error}");
        }
    }
    // The way out is one.
    std::fs::remove_file(&seen).unwrap();
    let following = fleet.start();
    fleet.serves(RETRY, &first.digest);
    assert_eq!(state(&following, RETRY), "serving");
}

#[test]
fn a_candidate_runs_in_the_shadow_when_it_is_assigned_to() {
    let (mut fleet, following, first) = Fleet::serving();
    let second = fleet.release("retry", "1.1.0");
    let shadow = format!("{RETRY}{SHADOW}");
    let honest = fleet.activation("retry", &second, |one| {
        (one.slot, one.mode) = (shadow.clone(), AssignmentMode::Shadow);
    });
    let serving = fleet.activation("retry", &second, |one| one.slot.clone_from(&shadow));
    fleet.slots.insert(shadow.clone(), serving);
    fleet.push();
    assert_eq!(fleet.refuses(&shadow, &second.digest).0, "assign.mode");
    fleet.serves(RETRY, &first.digest);

    fleet.slots.insert(shadow.clone(), honest);
    fleet.push();
    fleet.serves(&shadow, &second.digest);
    fleet.serves(RETRY, &first.digest);
    let generation = following.node().proxy().generation();
    assert!(generation.filters.iter().any(|one| one.name == RETRY && one.shadow.is_some()));

    fleet.slots.remove(&shadow);
    fleet.push();
    let gone = |slots: &[SlotReport]| slots.iter().all(|one| one.slot != shadow);
    fleet.director.until("the shadow is gone", |world| {
        world.report.as_ref().is_some_and(|report| gone(&report.slots))
    });
    let generation = following.node().proxy().generation();
    assert!(generation.filters.iter().all(|one| one.shadow.is_none()));
}
