use tamis_sync::{RefusedReport, SlotReport};
use tamis_trust::Digest;

use super::*;

fn slot(name: &str, words: usize) -> SlotReport {
    let text = "x".repeat(words);
    let why = tamis_sync::Refused::new("a.b", text.clone(), text.clone(), text);
    let refused = Some(RefusedReport { digest: Digest::of(b"a"), why });
    SlotReport { slot: name.to_owned(), filter: "acme/a".parse().unwrap(), running: None, refused }
}

fn report(slots: Vec<SlotReport>) -> NodeReport {
    let node = "sidecar:shop/a/0".to_owned();
    let (statistics, shadows, problems) = (Vec::new(), Vec::new(), Vec::new());
    NodeReport { node, slots, statistics, shadows, problems, identity: None, plaintext: Vec::new() }
        .bounded()
}

/// What is written of a proxy that sends these reports in turn, in so many passes.
fn written(reports: &[NodeReport], passes: u64) -> usize {
    let mut member = Member::new();
    let mut bytes = 0;
    for (pass, last) in (0..passes).zip(reports.iter().cycle()) {
        member.last = Some(last.clone());
        let now_ms = pass * 250;
        if now_ms < member.quiet_until_ms {
            continue;
        }
        let taken = member.take(&|_| false, None, now_ms);
        bytes += taken.map_or(0, |report| serde_json::to_string(&report).unwrap().len());
    }
    bytes
}

#[test]
fn what_a_proxy_reports_is_written_once_and_no_faster_than_the_journal_may_grow() {
    let many = |words| (0..300).map(|at| slot(&format!("a/{at}"), words)).collect::<Vec<_>>();
    let twice = vec![slot("a/b", 1), slot("a/b", 2), slot("a/b", 1)];
    let one = report(vec![slot("a/b", 1)]);
    let passes = 4 * 600;
    for (what, reports) in [
        ("one", vec![one.clone()]),
        ("a slot twice", vec![report(twice)]),
        // Its texts are cut before it is written, so that what is written is another than what is reported.
        ("long texts", vec![report(many(900)[..80].to_vec())]),
        ("too large", vec![report(many(900))]),
    ] {
        let (first, all) = (written(&reports, 1), written(&reports, passes));
        assert_eq!(first, all, "{what}");
        assert!(all <= MAX_BODY_BYTES, "{what}");
    }
    let other = report(many(900)[..60].to_vec());
    for (what, reports) in
        [("two large ones", vec![one.clone(), other.clone()]), ("two", vec![one, report(vec![])])]
    {
        let all = u64::try_from(written(&reports, passes)).unwrap();
        let most = passes * 250 * PACE + u64::try_from(MAX_BODY_BYTES).unwrap();
        assert!(all > 0 && all <= most, "{what}: {all} of {most} bytes");
    }
}

#[test]
fn counts_of_slots_that_somebody_makes_up_are_bounded() {
    let mut pending = PendingCounts::default();
    for at in 0..10_000_u32 {
        let digest = Digest::of(&at.to_be_bytes());
        let slot = format!("a/{at}");
        let counts = CallCounts::default();
        let one = SlotStatistics { slot: slot.clone(), digest, counts };
        let shadow =
            ComparisonReport { slot, digest, samples: 1, differences: BTreeMap::default() };
        pending.add(vec![one], vec![shadow]);
    }
    assert_eq!((pending.counts.len(), pending.shadows.len()), (MAX_PENDING, MAX_PENDING));
}

#[test]
fn connections_are_recorded_however_many_proxies_connect_and_however_long_their_names_are() {
    let label = |at: usize| format!("{at:03}{}", "n".repeat(250));
    let replica = Replica { id: "a".repeat(16), former: "b".repeat(16) };
    for (what, count, long) in [("few", 3, false), ("many", 5_000, false), ("long", 600, true)] {
        let fleet = Fleet::new(0);
        let name = |at: usize| match long {
            true => format!("sidecar:{}/{}/{at}", label(at), label(at)),
            false => format!("sidecar:shop/a/{at}"),
        };
        let names: std::collections::BTreeSet<String> = (0..count).map(name).collect();
        for name in &names {
            let connected = Member { connection: Some(1), ..Member::new() };
            fleet.members().insert(name.clone(), connected);
        }
        let mut state = State::default();
        let joined = fleet.connections(&state, &replica, 1);
        recorded(&mut state, &joined, &names, what);
        assert!(joined.iter().all(|one| one.left.is_empty()), "{what}");
        assert_eq!(fleet.connections(&state, &replica, 1), [], "{what}: once");
        fleet.members().values_mut().for_each(|member| member.connection = None);
        let left = fleet.connections(&state, &replica, GRACE_MS + 1);
        recorded(&mut state, &left, &names, what);
        assert!(left.iter().all(|one| one.joined.is_empty()), "{what}");
    }
}

/// Applies records, each of which fits into an entry, and which name each of these proxies once.
fn recorded(
    state: &mut State,
    records: &[NodeConnections],
    names: &std::collections::BTreeSet<String>,
    what: &str,
) {
    let mut all = Vec::new();
    for record in records {
        all.extend(record.joined.iter().chain(&record.left).cloned());
        let body = RecordBody::from(record.clone());
        let written = body.to_body().unwrap_or_else(|error| panic!("{what}: {error}"));
        let next = state.head() + 1;
        state.apply(next, next, ACTOR, body.kind(), &written);
    }
    assert_eq!(all.len(), names.len(), "{what}");
    assert_eq!(&all.into_iter().collect::<std::collections::BTreeSet<_>>(), names, "{what}");
}

#[test]
fn a_proxy_is_named_as_everybody_names_it() {
    for (text, title) in [
        ("sidecar:shop/a/0", None),
        ("gateway:shop/a", None),
        ("sidecar:shop/a", Some("sidecar:shop/a is another spelling of sidecar:shop/a/0")),
        ("sidecar:shop/a/00", Some("`sidecar:shop/a/00` is not the name of a proxy")),
        ("sidecar:shop/a/+0", Some("`sidecar:shop/a/+0` is not the name of a proxy")),
    ] {
        let named = canonical(text);
        let refused = named.err().map(|problem| (problem.status, problem.code, problem.title));
        match (title, &refused) {
            (None, None) => {}
            (Some(title), Some((400, code, said))) => {
                assert!(code == "node.name" && said.starts_with(title), "{said}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}
