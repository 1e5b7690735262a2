//! A hostile guest or file costs one call and never the host.

use crate::guests::{behaviour, behaviour_bytes, given, rogue, view};
use proptest::prelude::*;
use std::time::{Duration, Instant};
use tamis_engine::{
    Admission, BreakerStatus, CallFault, Engine, Filter, FilterOptions, Grant, GrantPlace,
    InspectedComponent, Limits, inspect,
};

fn fault(what: &str) -> CallFault {
    let mut given = given();
    // Enough time, so that the fault itself ends the call.
    given.grant.limits.time_us = 2_000_000;
    let filter = given.does(what).unwrap();
    let mut instance = filter.instantiate().unwrap();
    let fault = instance.on_request(&view(filter.reads(), 1, "/a")).unwrap_err();
    assert!(instance.on_request(&view(filter.reads(), 0, "/a")).is_ok(), "respawned after {fault}");
    fault
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let filter = given().does("loop").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let start = Instant::now();
    let fault = instance.on_request(&view(filter.reads(), 1, "/a")).unwrap_err();
    assert_eq!(fault, CallFault::Deadline { limit_us: 5_000 });
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

/// Nothing ticks while no call runs; a call that begins then has its deadline all the same.
#[test]
fn an_endless_loop_in_an_engine_that_rests_ends_at_its_deadline() {
    let engine = Engine::new().unwrap();
    let compiled = engine.compile(behaviour_bytes(), None).unwrap();
    let config = r#"{"do":"loop","reads":[":path"],"writes":["x-path"]}"#;
    let filter = given().filter(&compiled, config).unwrap();
    let mut instance = filter.instantiate().unwrap();
    for _ in 0..3 {
        while !engine.rests() {
            std::thread::yield_now();
        }
        let resting = engine.epochs();
        let seen = view(filter.reads(), 1, "/a");
        let fault = loop {
            match instance.on_request(&seen).unwrap_err() {
                // The next instance is not ready yet.
                CallFault::Remaking => std::thread::yield_now(),
                fault => break fault,
            }
        };
        assert_eq!(fault, CallFault::Deadline { limit_us: 5_000 });
        assert!(engine.epochs() > resting);
    }
}

#[test]
fn memory_beyond_the_grant_is_refused() {
    let mut given = given();
    // Enough time, so that memory runs out first.
    given.grant.limits.time_us = 2_000_000;
    let filter = given.does("grow").unwrap();
    let seen = view(filter.reads(), 1, "/a");
    let fault = filter.instantiate().unwrap().on_request(&seen).unwrap_err();
    assert_eq!(fault, CallFault::Memory { limit_bytes: Limits::default().memory_bytes });
}

#[test]
fn a_panic_a_deep_recursion_and_a_made_up_handle_cost_the_instance_alone() {
    assert!(matches!(fault("trap"), CallFault::Trap(_)));
    assert_eq!(fault("recurse"), CallFault::Stack);
    assert!(matches!(fault("bad-handle"), CallFault::BadAnswer(why) if why.contains("handle")));
}

#[test]
fn a_filter_that_keeps_failing_is_not_called() {
    let mut given = given();
    given.grant.limits.time_us = 2_000_000;
    let filter = given.does("trap").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let seen = view(filter.reads(), 1, "/a");
    // Meanwhile the next instance may not be ready yet.
    let mut faults = Vec::new();
    while faults.last() != Some(&"breaker-open") {
        match instance.on_request(&seen).unwrap_err().kind() {
            "remaking" => std::thread::yield_now(),
            kind => faults.push(kind),
        }
    }
    assert_eq!(faults, ["trap", "trap", "trap", "trap", "trap", "breaker-open"]);
    let statistics = given.state.statistics();
    assert_eq!(statistics.breaker, BreakerStatus::Open);
    assert_eq!((statistics.hooks[0].calls, statistics.hooks[0].faults), (5, 5));
}

#[test]
fn a_filter_that_fails_its_self_test_or_configuration_never_serves() {
    for (what, code, part) in [
        ("trap-always", "filter.selftest", "`on-request`: it stopped with the trap"),
        ("refuse", "filter.configure", "/do: `refuse` is never accepted"),
        ("configure-loop", "filter.selftest", "`configure`: it ran longer than"),
        ("import-in-validate", "filter.selftest", "in `validate`: it called `clock.unix-ms`, and"),
    ] {
        let mut given = given();
        given.grant.limits.configure_us = 200_000;
        let error = given.does(what).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn what_is_not_granted_is_an_error_at_load_that_says_what_to_write() {
    let mut without = given();
    without.grant.imports.kv = None;
    let error = without.does("pass").unwrap_err();
    assert_eq!(error.code(), "grant.import");
    let remedy = error.grant_remedy(GrantPlace::Document).unwrap();
    assert!(remedy.contains("`kv: {}`") && remedy.contains("`spec.imports`"), "{remedy}");

    let mut narrow = given();
    narrow.grant = Grant { imports: narrow.grant.imports, ..Grant::default() };
    let error = narrow.does("edit").unwrap_err();
    assert_eq!(error.code(), "grant.field");
    assert!(error.to_string().contains("writes `x-path`"), "{error}");
    let remedy = error.grant_remedy(GrantPlace::Document).unwrap();
    assert!(remedy.contains("x-path") && remedy.contains("writeHeaders`"), "{remedy}");
    let error = narrow.filter(behaviour(), r#"{"do":"pass","reads":["cookie"]}"#).unwrap_err();
    assert_eq!(error.code(), "grant.field");
}

#[test]
fn a_grant_that_was_checked_for_another_component_makes_no_filter() {
    let other = rogue().inspection();
    let admission = Admission::of_grant("test/guest", other, Grant::everything()).unwrap();
    let whole = given().options(behaviour(), "{}").unwrap();
    let options = FilterOptions { admission, ..whole };
    let error = Filter::new(behaviour(), options).unwrap_err();
    assert!(error.to_string().contains("checked for another component"), "{error}");
}

#[test]
fn what_was_found_in_a_component_is_of_no_other() {
    let found = InspectedComponent::new(behaviour_bytes()).unwrap();
    let kept = found.keep();
    let known = InspectedComponent::known(behaviour_bytes(), &kept).unwrap();
    assert_eq!(known.inspection(), found.inspection());
    assert!(InspectedComponent::known(b"another", &kept).is_none());
}

#[test]
fn a_header_in_upper_case_is_refused_with_the_spelling_to_write_whatever_the_grant() {
    let mut narrow = given();
    narrow.grant = Grant { imports: narrow.grant.imports, ..Grant::default() };
    let wide = given();
    for (act, name, way) in [
        ("reads", "X-Canary", "write `x-canary`"),
        ("reads", "request:X-Canary", "write `request:x-canary`"),
        ("reads", "trailer:Grpc-Status", "write `trailer:grpc-status`"),
        ("reads", ":Path", "write `:path`"),
        ("writes", "X-Canary", "write `x-canary`"),
        ("writes", "trailer:X-Sum", "write `trailer:x-sum`"),
    ] {
        for given in [&wide, &narrow] {
            let config = format!(r#"{{"do":"pass","{act}":["{name}"]}}"#);
            let error = given.filter(behaviour(), &config).unwrap_err();
            assert_eq!(error.code(), "filter.configure", "{error}");
            let said = error.to_string();
            assert!(said.contains(way) && said.contains(&format!("`{act}`")), "{said}");
        }
    }
    // Attributes are spelt as their authors like.
    assert!(given().filter(behaviour(), r#"{"do":"pass","reads":["@Acme.Seen"]}"#).is_ok());
}

#[test]
fn a_refusal_without_a_reason_says_which_function_gave_none() {
    let error = given().filter(behaviour(), r#"{"do":"refuse-silently"}"#).unwrap_err();
    assert_eq!(error.code(), "filter.configure");
    let said = error.to_string();
    assert!(said.contains("`validate` of `test/guest`") && said.contains("empty"), "{said}");
}

#[test]
fn an_answer_that_cannot_be_sent_is_a_fault_with_its_reason() {
    for (what, part) in [
        ("status-99", "status 99"),
        ("upper-case", "`X-Upper`"),
        ("split", "`x-a`"),
        ("many-headers", "512 headers"),
        ("long-reply", "limits.body"),
        ("bad-reason", "Something Went Wrong!"),
    ] {
        let mut given = given();
        given.grant.limits.time_us = 2_000_000;
        let filter = given.does(what).unwrap();
        let mut instance = filter.instantiate().unwrap();
        let seen = view(filter.reads(), 1, "/a");
        let faults: Vec<_> = (0..5).map(|_| instance.on_request(&seen).unwrap_err()).collect();
        let fault = &faults[0];
        assert!(
            matches!(fault, CallFault::BadAnswer(why) if why.contains(part)),
            "{what}: {fault}"
        );
        assert_eq!(instance.on_request(&seen).unwrap_err(), CallFault::BreakerOpen, "{what}");
        assert_eq!(given.state.statistics().hooks[0].faults, 5, "{what}");
    }
}

#[test]
fn a_filter_that_would_state_facts_of_the_host_never_serves() {
    let given = given();
    for (field, part) in [
        ("@peer.spiffe-id", "only the host may set"),
        ("@source.address", "only the host may set"),
        ("x-forwarded-for", "writeHeaders"),
        ("forwarded", "writeHeaders"),
        ("via", "writeHeaders"),
    ] {
        let config = format!(r#"{{"do":"pass","writes":["{field}"]}}"#);
        let error = given.filter(behaviour(), &config).unwrap_err();
        let remedy = error.grant_remedy(GrantPlace::Document).unwrap_or_default();
        let said = format!("{error}; {remedy}");
        assert!(said.contains(part) && said.contains(field), "{said}");
    }
}

#[test]
fn a_panic_that_is_logged_says_what_and_where() {
    assert!(!fault("trap").to_string().contains("told to"), "without `log_panics` nobody knows");
    for (what, words) in [
        ("trap-said", "told to"),
        ("unwrap-said", "called `Option::unwrap()` on a `None` value"),
        ("expect-said", "a number: ParseIntError"),
        ("index-said", "index out of bounds: the len is 0"),
        ("overflow-said", "called `Option::unwrap()` on a `None` value"),
        // The target has no clock of its own: a filter asks for the import `clock`.
        ("clock-said", "time not implemented on this platform"),
    ] {
        let said = fault(what).to_string();
        assert!(said.contains(words) && said.contains(".rs:"), "{what}: {said}");
    }
}

#[test]
fn keys_and_records_of_any_size_cost_no_more_than_granted() {
    let mut given = given();
    given.grant.limits.time_us = 2_000_000;
    let classes = r#"{"classes":{"c":{"perSecond":0.001,"burst":1}}}"#;
    given.grant.imports.quota = Some(serde_json::from_str(classes).unwrap());
    let filter = given.does("long-keys").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let taken = |n| match instance.on_request(&view(filter.reads(), n, "/a")).unwrap().verdict {
        tamis_exchange::Verdict::Answer(reply) => reply.body,
        other => panic!("{other:?}"),
    };
    let all: Vec<_> = (1..=20).map(taken).collect();
    assert!(all.iter().all(|body| body == b"true"), "each key has a bucket of its own");

    let filter = given.does("records").unwrap();
    let before = given.state.statistics().dropped;
    filter.instantiate().unwrap().on_request(&view(filter.reads(), 1, "/a")).unwrap();
    assert_eq!(given.state.statistics().dropped - before, 8, "the small one is kept");
}

#[test]
fn a_body_limit_above_the_grant_is_refused_and_one_within_it_is_taken() {
    let mut given = given();
    for (grant, asked, passes) in [
        (1 << 20, 1 << 20, true),
        (1 << 20, (1 << 20) + 1, false),
        (1 << 20, u32::MAX, false),
        (8 << 20, 8 << 20, true),
    ] {
        given.grant.limits.body_bytes = grant;
        let filter = given.does(&format!("judge-whole-{asked}"));
        match (passes, filter) {
            (true, Ok(filter)) => assert_eq!(filter.body_limit_bytes(), asked),
            (false, Err(error)) => {
                assert_eq!(error.code(), "filter.configure", "{error}");
                assert!(error.to_string().contains("`limits.body` of the Grant"), "{error}");
            }
            (_, other) => panic!("{asked} of {grant}: {other:?}"),
        }
    }
    given.grant.limits.body_bytes = u64::MAX;
    assert_eq!(given.does("pass").unwrap_err().code(), "grant.limit");
}

#[test]
fn no_call_waits_for_configure_after_a_fault() {
    let mut given = given();
    given.grant.limits.configure_us = 60_000_000;
    let began = Instant::now();
    let filter = given.does("configure-slowly").unwrap();
    let dear = began.elapsed() / 4;
    let mut instance = filter.instance();
    let seen = view(filter.reads(), 1, "/a");
    assert_eq!(instance.on_request(&seen).unwrap_err().kind(), "trap");
    // The next instance is being made elsewhere: nobody waits for it, and a pause follows.
    let began = Instant::now();
    let kinds: Vec<_> = (0..50).map(|_| instance.on_request(&seen).unwrap_err().kind()).collect();
    assert!(began.elapsed() < dear, "{:?} of {dear:?}", began.elapsed());
    assert!(kinds.iter().all(|kind| *kind == "remaking"), "{kinds:?}");
    let made = given.state.statistics().instances;
    assert!(made <= 2, "{made} instances");
}

#[test]
fn what_waits_for_an_instance_takes_it_when_it_is_ready() {
    let mut given = given();
    given.grant.limits.time_us = 2_000_000;
    let filter = given.does("trap").unwrap();
    let (mut one, mut other) = (filter.instance(), filter.instance());
    let self_test = view(filter.reads(), 0, "/a");
    for instance in [&mut one, &mut other] {
        assert!(instance.on_request(&view(filter.reads(), 1, "/a")).is_err());
        let until = Instant::now() + Duration::from_secs(20);
        while instance.on_request(&self_test).is_err() {
            assert!(Instant::now() < until, "none was made");
            std::thread::yield_now();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_damaged_component_never_panics_the_host(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = behaviour_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = inspect(&bytes);
        bytes.truncate(at);
        // Cut off between two exports it may still be one, of fewer hooks.
        if let Ok(found) = inspect(&bytes) {
            prop_assert!(found.hooks.len() <= behaviour().inspection().hooks.len());
        }
    }
}
