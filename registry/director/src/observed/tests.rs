use proptest::prelude::*;

use super::*;
use crate::fixture::{JWT, START_MS, World, digest, name, report};

const NODE: &str = "sidecar:shop/a/0";
const SLOT: &str = "shop/a-jwt";

/// When a report was written, and the version that runs with its start; `None`: nothing runs.
type ReportedRun = (u64, Option<(&'static str, u64)>);

fn world(said: &[ReportedRun]) -> World {
    let mut world = World::mesh();
    for (at_ms, running) in said {
        world.now_ms = START_MS + at_ms;
        let slots = running.map(|(version, since)| (SLOT, JWT, version, 1, START_MS + since));
        world.append("proxies", report(NODE, slots.as_slice()));
    }
    world.is_well();
    world
}

fn ran(world: &World, at_ms: u64) -> Vec<Digest> {
    let runs = world.state.who_ran("shop/a", (START_MS + at_ms, START_MS + at_ms));
    runs.iter().map(|one| one.digest).collect()
}

#[test]
fn who_ran_is_known_to_the_millisecond_a_node_says() {
    let world = world(&[(10, Some(("1.0.0", 5))), (20, Some(("1.1.0", 17))), (30, None)]);
    let (old, new) = (digest(JWT, "1.0.0"), digest(JWT, "1.1.0"));
    let rows = [(4, None), (5, Some(old)), (16, Some(old)), (17, Some(new)), (29, Some(new))];
    for (at_ms, expected) in rows {
        assert_eq!(ran(&world, at_ms), Vec::from_iter(expected), "{at_ms}");
    }
    assert!(ran(&world, 30).is_empty());
    let runs = world.state.who_ran("shop/a", (START_MS + 20, START_MS + 20));
    let run = runs[0];
    assert_eq!((run.from_ms, run.until_ms), (START_MS + 17, Some(START_MS + 30)));
    assert_eq!((run.revision, run.seen_ms), (5, START_MS + 20));
    assert_eq!((run.from_revision, run.seen_revision, run.until_revision), (None, 5, Some(6)));
    assert!(world.state.who_ran("shop/b", (START_MS + 20, START_MS + 20)).is_empty());
}

#[test]
fn a_clock_that_is_wrong_is_believed_between_two_reports_only() {
    let world =
        world(&[(10, Some(("1.0.0", 10))), (20, Some(("1.1.0", 3))), (30, Some(("1.2.0", 99)))]);
    assert_eq!(ran(&world, 10), [digest(JWT, "1.1.0")]);
    assert_eq!(ran(&world, 29), [digest(JWT, "1.1.0")]);
    assert_eq!(ran(&world, 30), [digest(JWT, "1.2.0")]);
    let runs = world.state.who_ran("shop/a", (START_MS, START_MS + 30));
    let revisions =
        |one: &&SlotRun| (one.from_revision, one.revision, one.seen_revision, one.until_revision);
    let revisions: Vec<_> = runs.iter().map(revisions).collect();
    // The first began and ended at one report, and so is none.
    assert_eq!(revisions, [(Some(4), 5, 5, Some(6)), (None, 6, 6, None)]);
}

#[test]
fn of_two_reports_about_one_slot_the_first_counts() {
    let mut world = World::mesh();
    let slots = [(SLOT, JWT, "1.0.0", 1, 0), (SLOT, JWT, "1.1.0", 2, 0)];
    world.append("proxies", report(NODE, &slots));
    assert_eq!(ran(&world, 0), [digest(JWT, "1.0.0")]);
    let last = world.state.last_report(&name(NODE)).unwrap();
    assert_eq!(last.slots.len(), 1);
}

/// The same answer computed directly from the two reports around the moment.
fn naive(said: &[ReportedRun], at_ms: u64) -> Option<&'static str> {
    let (mut before_ms, mut before): (u64, Option<&'static str>) = (0, None);
    for (time_ms, running) in said {
        if at_ms < *time_ms {
            return match *running {
                Some((version, since_ms)) if at_ms >= since_ms.clamp(before_ms, *time_ms) => {
                    Some(version)
                }
                Some(_) | None => before,
            };
        }
        (before_ms, before) = (*time_ms, running.map(|(version, _)| version));
    }
    before
}

fn said() -> impl Strategy<Value = Vec<ReportedRun>> {
    let version = prop::sample::select(vec!["1.0.0", "1.1.0"]);
    let running = prop::option::weighted(0.7, (version, 0u64..60));
    prop::collection::vec((0u64..50, running), 0..8).prop_map(|mut said| {
        said.sort_by_key(|(time_ms, _)| *time_ms);
        said
    })
}

proptest! {
    #[test]
    fn who_ran_is_what_the_reports_around_the_moment_say(said in said(), at_ms in 0u64..60) {
        // Before the first report only that report applies, from the beginning of time on.
        let expected = naive(&said, at_ms).map(|version| digest(JWT, version));
        prop_assert_eq!(ran(&world(&said), at_ms), Vec::from_iter(expected));
    }
}
