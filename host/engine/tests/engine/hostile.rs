//! Guests and files that mean harm cost one call, never the host.

use crate::guests::{behaviour, behaviour_bytes, engine, given, view};
use proptest::prelude::*;
use std::time::{Duration, Instant};
use tamis_engine::{BreakerStatus, Cache, CallFault, Grant, Limits, inspect};

fn fault(what: &str) -> CallFault {
    let mut given = given();
    // Time enough that the fault itself is what ends the call.
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

#[test]
fn memory_beyond_the_grant_is_refused() {
    let mut given = given();
    // Time enough that memory is what runs out.
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
    assert!(matches!(fault("bad-handle"), CallFault::Lift(why) if why.contains("handle")));
}

#[test]
fn a_filter_that_keeps_failing_is_not_called() {
    let mut given = given();
    given.grant.limits.time_us = 2_000_000;
    let filter = given.does("trap").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let seen = view(filter.reads(), 1, "/a");
    let faults: Vec<_> = (0..7).map(|_| instance.on_request(&seen).unwrap_err().kind()).collect();
    assert_eq!(faults, ["trap", "trap", "trap", "trap", "trap", "breaker-open", "breaker-open"]);
    let statistics = given.state.statistics();
    assert_eq!(statistics.breaker, BreakerStatus::Open);
    assert_eq!((statistics.hooks[0].calls, statistics.hooks[0].faults), (5, 5));
}

#[test]
fn a_filter_that_fails_its_self_test_or_configuration_never_serves() {
    for (what, code, part) in [
        ("trap-always", "filter.selftest", "`request`: it trapped"),
        ("refuse", "filter.configure", "/do: never"),
        ("configure-loop", "filter.selftest", "`configure`: it ran into its time limit"),
        ("import-in-validate", "filter.selftest", "`validate`"),
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
    assert!(error.to_string().contains("imports: { kv: {} }"), "{error}");

    let mut narrow = given();
    narrow.grant = Grant { imports: narrow.grant.imports, ..Grant::default() };
    let error = narrow.does("edit").unwrap_err();
    assert_eq!(error.code(), "grant.field");
    assert!(error.to_string().contains("writes `x-path`"), "{error}");
    let error = narrow.filter(behaviour(), r#"{"do":"pass","reads":["cookie"]}"#).unwrap_err();
    assert_eq!(error.code(), "grant.field");
}

#[test]
fn a_cache_file_with_one_changed_byte_is_ignored_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    assert!(!engine().compile(behaviour_bytes(), Some(&cache)).unwrap().was_cached());
    assert!(engine().compile(behaviour_bytes(), Some(&cache)).unwrap().was_cached());
    let file = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "code"))
        .unwrap();
    let mut octets = std::fs::read(&file).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    std::fs::write(&file, octets).unwrap();
    assert!(!engine().compile(behaviour_bytes(), Some(&cache)).unwrap().was_cached());
    assert!(engine().compile(behaviour_bytes(), Some(&cache)).unwrap().was_cached());

    // A key of another host makes all files worthless; one that others can read is refused.
    let key = folder.path().join("cache.key");
    std::fs::remove_file(&key).unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    assert!(!engine().compile(behaviour_bytes(), Some(&cache)).unwrap().was_cached());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, open).unwrap();
    assert!(Cache::open(folder.path()).is_err());
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
        prop_assert!(inspect(&bytes).is_err());
    }
}
