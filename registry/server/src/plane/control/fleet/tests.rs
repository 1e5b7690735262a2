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
    NodeReport { node, slots, statistics, shadows, problems, identity: None }.bounded()
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
