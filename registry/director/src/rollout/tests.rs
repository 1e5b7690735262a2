use proptest::prelude::*;

use super::*;
use tamis_sync::{CallCounts, ComparisonReport, DifferenceReport};

fn spec() -> RolloutTerms {
    let wave = |percent| WaveSpec { percent, bake_ms: 1_000 };
    RolloutTerms {
        name: "retry-1.5".to_owned(),
        filter: "acme/retry".parse().unwrap(),
        from: Digest::of(b"from"),
        to: Digest::of(b"to"),
        version: "1.5.0".parse().unwrap(),
        services: vec!["shop/a".to_owned()],
        waves: vec![wave(10), wave(50), wave(100)],
        gates: GateSpec {
            min_exchanges: 100,
            max_trap_rate: Some(0.01),
            max_5xx_delta: Some(0.02),
            max_denial_delta: Some(0.05),
            max_added_p99_ms: Some(2.0),
            max_refusals: Some(0),
        },
        shadow: Some(ShadowSpec { min_samples: 50, max_differences: 2 }),
        on_breach: BreachAction::Return,
        progress_deadline_ms: None,
    }
}

fn rollout() -> Rollout {
    Rollout::try_from(spec()).unwrap()
}

type Break = fn(&mut RolloutTerms);

#[test]
fn a_rollout_whose_numbers_make_no_sense_is_refused() {
    let rows: [(&str, Break); 15] = [
        ("name", |it| it.name = String::new()),
        ("name", |it| it.name = "a\nb".to_owned()),
        ("digest", |it| it.to = it.from),
        ("services", |it| it.services.clear()),
        ("services", |it| it.services.push("shop/a".to_owned())),
        ("waves", |it| it.waves.clear()),
        ("waves", |it| it.waves = vec![WaveSpec { percent: 100, bake_ms: 0 }; 17]),
        ("rise", |it| it.waves[1].percent = 10),
        ("rise", |it| it.waves[0].percent = 0),
        ("rise", |it| it.waves[2].percent = 99),
        ("bakes", |it| it.waves[2].bake_ms = MAX_BAKE_MS + 1),
        ("rates", |it| it.gates.max_trap_rate = Some(f64::NAN)),
        ("min_exchanges", |it| it.gates.min_exchanges = 0),
        ("min_samples", |it| it.shadow = Some(ShadowSpec { min_samples: 0, max_differences: 0 })),
        ("compare", |it| it.waves = vec![WaveSpec { percent: 100, bake_ms: 0 }]),
    ];
    for (part, break_it) in rows {
        let mut broken = spec();
        break_it(&mut broken);
        let error = Rollout::try_from(broken).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_record_cannot_smuggle_in_an_unchecked_rollout() {
    let mut json = serde_json::to_value(rollout()).unwrap();
    assert_eq!(serde_json::from_value::<Rollout>(json.clone()).unwrap(), rollout());
    json["waves"][2]["percent"] = 80.into();
    assert!(serde_json::from_value::<Rollout>(json).is_err());
}

#[test]
fn a_rollout_goes_through_shadow_and_waves_to_its_end() {
    let rollout = rollout();
    let mut stage = RolloutStage::first(&rollout);
    let mut seen = vec![stage.to_string()];
    while stage.step().is_some() {
        stage = stage.next(Event::Passed, &rollout).unwrap();
        seen.push(stage.to_string());
    }
    assert_eq!(seen, ["in the shadow", "in wave 1", "in wave 2", "in wave 3", "done"]);
}

#[test]
fn a_breach_returns_or_holds_as_the_rollout_says() {
    let wave = RolloutStage::Running(RolloutStep::Wave(1));
    assert_eq!(
        wave.next(Event::Breached, &rollout()),
        Ok(RolloutStage::Ended(RolloutOutcome::Returned))
    );
    let holding =
        Rollout::try_from(RolloutTerms { on_breach: BreachAction::Hold, ..spec() }).unwrap();
    let held = wave.next(Event::Breached, &holding).unwrap();
    assert_eq!(held, RolloutStage::Paused(RolloutStep::Wave(1)));
    assert!(held.next(Event::Passed, &holding).is_err());
    assert_eq!(
        held.next(Event::Advance, &holding),
        Ok(RolloutStage::Running(RolloutStep::Wave(2)))
    );
}

fn judged(tally: &RolloutTally, stage: RolloutStage, now_ms: u64) -> Judgement {
    judge(&rollout(), stage, tally, Cohort { moved: 1, rest: 9 }, (0, now_ms))
}

fn counts(exchanges: u64, traps: u64, server_errors: u64, denials: u64, us: u64) -> CallCounts {
    let mut counts =
        CallCounts { exchanges, traps, server_errors, denials, ..CallCounts::default() };
    (0..exchanges).for_each(|_| counts.added.count(us));
    counts
}

const WAVE: RolloutStage = RolloutStage::Running(RolloutStep::Wave(0));

#[test]
fn each_gate_stops_what_it_is_for() {
    let good = counts(1_000, 0, 10, 100, 100);
    let rows = [
        (counts(1_000, 11, 10, 100, 100), GateBreach::MaxTrapRate),
        (counts(10, 2, 0, 0, 100), GateBreach::MaxTrapRate),
        (counts(1_000, 0, 31, 100, 100), GateBreach::Max5xxDelta),
        (counts(1_000, 0, 10, 151, 100), GateBreach::MaxDenialDelta),
        (counts(1_000, 0, 10, 49, 100), GateBreach::MaxDenialDelta),
        (counts(1_000, 0, 10, 100, 4_000), GateBreach::MaxAddedP99Ms),
    ];
    for (candidate, wanted) in rows {
        let tally = RolloutTally { candidate, current: good.clone(), ..RolloutTally::default() };
        let judgement = judged(&tally, WAVE, 0);
        assert!(
            matches!(judgement, Judgement::Breached { gate, .. } if gate == wanted),
            "{wanted:?}: {judgement:?}"
        );
    }
    let refusals = refusals(1);
    let tally = RolloutTally {
        candidate: good.clone(),
        current: good,
        refusals,
        ..RolloutTally::default()
    };
    assert!(matches!(
        judged(&tally, WAVE, 0),
        Judgement::Breached { gate: GateBreach::MaxRefusals, .. }
    ));
}

/// Refusals of so many slots.
fn refusals(slots: usize) -> std::collections::BTreeMap<String, String> {
    let why = "filter.configure: /rate must be a number";
    (0..slots).map(|at| (format!("sidecar:shop/a/{at} shop/retry"), why.to_owned())).collect()
}

#[test]
fn a_refused_candidate_says_which_slots_refuse_it_and_why() {
    let gates = GateSpec { max_refusals: Some(0), ..no_gates() };
    for (slots, most, wanted) in [
        (
            1,
            0,
            "1 slot refuses the candidate: sidecar:shop/a/0 shop/retry (filter.configure: /rate must be a number), none may",
        ),
        (5, 2, "/rate must be a number) and 2 more, 2 may"),
    ] {
        let gates = GateSpec { max_refusals: Some(most), ..gates };
        let rollout = Rollout::try_from(RolloutTerms { gates, ..spec() }).unwrap();
        let tally = RolloutTally { refusals: refusals(slots), ..RolloutTally::default() };
        let judged = judge(&rollout, WAVE, &tally, Cohort { moved: 1, rest: 9 }, (0, 0));
        let Judgement::Breached { gate: GateBreach::MaxRefusals, why } = judged else {
            panic!("{judged:?}")
        };
        assert!(why.ends_with(wanted), "{why}");
    }
}

#[test]
fn a_rollout_without_gates_does_not_say_that_gates_held() {
    let rollout = Rollout::try_from(RolloutTerms { gates: no_gates(), ..spec() }).unwrap();
    let mut tally = RolloutTally::default();
    for (exchanges, words) in [(0, "0 exchanges"), (1, "1 exchange"), (2, "2 exchanges")] {
        tally.candidate.exchanges = exchanges;
        let judged = judge(&rollout, WAVE, &tally, Cohort { moved: 1, rest: 9 }, (0, 1_000));
        let why = format!("no gate is set; it baked for 1s, with {words}");
        assert_eq!(judged, Judgement::Passed { why });
    }
}

#[test]
fn what_nobody_could_judge_stalls_after_its_deadline() {
    let shadow = RolloutStage::Running(RolloutStep::Shadow);
    let cohort = Cohort { moved: 1, rest: 9 };
    for (deadline, stage, now, stalls) in [
        (None, WAVE, 1_000 + PROGRESS_MS, false),
        (None, WAVE, 1_001 + PROGRESS_MS, true),
        (Some(60_000), WAVE, 61_001, true),
        (Some(60_000), WAVE, 60_000, false),
        (Some(60_000), shadow, 60_001, true),
        (Some(60_000), RolloutStage::Paused(RolloutStep::Wave(0)), u64::MAX, false),
    ] {
        let spec = RolloutTerms { progress_deadline_ms: deadline, ..spec() };
        let rollout = Rollout::try_from(spec).unwrap();
        let judged = judge(&rollout, stage, &RolloutTally::default(), cohort, (0, now));
        assert_eq!(
            matches!(judged, Judgement::Stalled { .. }),
            stalls,
            "{stage} {now}: {judged:?}"
        );
    }
    let late = RolloutTerms { progress_deadline_ms: Some(60_000), ..spec() };
    let late = Rollout::try_from(late).unwrap();
    let judged = judge(&late, WAVE, &RolloutTally::default(), cohort, (0, 99_000));
    let why = "no progress for 1m: the candidate has 0 of the 100 exchanges that a rate needs";
    assert_eq!(judged, Judgement::Stalled { why: why.to_owned() });
    for wrong in [0, MAX_BAKE_MS + 1] {
        let spec = RolloutTerms { progress_deadline_ms: Some(wrong), ..spec() };
        assert!(Rollout::try_from(spec).unwrap_err().to_string().contains("progress deadline"));
    }
}

fn no_gates() -> GateSpec {
    GateSpec {
        min_exchanges: 100,
        max_trap_rate: None,
        max_5xx_delta: None,
        max_denial_delta: None,
        max_added_p99_ms: None,
        max_refusals: None,
    }
}

fn tally_of_good() -> CallCounts {
    counts(1_000, 0, 10, 100, 100)
}

#[test]
fn what_no_gate_could_judge_keeps_baking() {
    let good = counts(1_000, 0, 10, 100, 100);
    let tally =
        RolloutTally { candidate: good.clone(), current: good.clone(), ..RolloutTally::default() };
    assert!(matches!(judged(&tally, WAVE, 999), Judgement::Baking { .. }));
    assert!(matches!(judged(&tally, WAVE, 1_000), Judgement::Passed { .. }));
    for (candidate, current) in
        [(CallCounts::default(), good.clone()), (good, CallCounts::default())]
    {
        let tally = RolloutTally { candidate, current, ..RolloutTally::default() };
        assert!(matches!(judged(&tally, WAVE, 1_000_000), Judgement::Baking { .. }));
    }
    let gates = GateSpec { max_refusals: Some(0), ..no_gates() };
    let refusals_alone = Rollout::try_from(RolloutTerms { gates, ..spec() }).unwrap();
    let cohort = Cohort { moved: 1, rest: 9 };
    let quiet = judge(&refusals_alone, WAVE, &RolloutTally::default(), cohort, (0, 1_000));
    assert!(matches!(quiet, Judgement::Passed { .. }), "{quiet:?}");
    let mut few = counts(1_000, 0, 10, 100, 4_000);
    few.added = counts(99, 0, 0, 0, 4_000).added;
    let tally =
        RolloutTally { candidate: few, current: tally_of_good(), ..RolloutTally::default() };
    assert!(matches!(judged(&tally, WAVE, 1_000_000), Judgement::Baking { .. }), "too few timings");
    let nobody =
        judge(&rollout(), WAVE, &RolloutTally::default(), Cohort { moved: 0, rest: 3 }, (0, 1_000));
    assert!(matches!(nobody, Judgement::Passed { .. }));
}

#[test]
fn the_shadow_passes_when_enough_verdicts_are_the_same() {
    let shadow = RolloutStage::Running(RolloutStep::Shadow);
    let seen = |samples, count| {
        let one = DifferenceReport { count, examples: vec!["deny instead of allow".to_owned()] };
        let (slot, digest) = ("shop/retry".to_owned(), Digest::of(b"to"));
        let differences = [("verdict".to_owned(), one)].into();
        let mut tally = RolloutTally::default();
        tally.differences.add(&ComparisonReport { slot, digest, samples, differences });
        judged(&tally, shadow, 0)
    };
    assert!(matches!(seen(49, 2), Judgement::Baking { .. }));
    assert!(matches!(seen(50, 2), Judgement::Passed { .. }));
    assert!(matches!(seen(49, 3), Judgement::Breached { gate: GateBreach::MaxDifferences, .. }));
}

fn event() -> impl Strategy<Value = Event> {
    use Event::{Abort, Advance, Breached, Kill, Passed, Pause, Resume};
    prop::sample::select(vec![Passed, Breached, Pause, Resume, Advance, Abort, Kill])
}

proptest! {
    #[test]
    fn no_order_of_events_skips_a_wave_or_comes_back_from_an_end(
        events in prop::collection::vec(event(), 0..30),
        hold in any::<bool>(),
    ) {
        let on_breach = if hold { BreachAction::Hold } else { BreachAction::Return };
        let rollout = Rollout::try_from(RolloutTerms { on_breach, ..spec() }).unwrap();
        let mut stage = RolloutStage::first(&rollout);
        for event in events {
            let Ok(next) = stage.next(event, &rollout) else { continue };
            prop_assert!(stage.step().is_some());
            if let (Some(old), Some(new)) = (stage.step(), next.step()) {
                prop_assert!(rollout.share(old, 10) <= rollout.share(new, 10));
                let wave = |step| match step { RolloutStep::Shadow => 0, RolloutStep::Wave(at) => at + 1 };
                prop_assert!(wave(new) - wave(old) <= 1);
            }
            if next == RolloutStage::Ended(RolloutOutcome::Done) {
                prop_assert_eq!(stage.step(), Some(RolloutStep::Wave(2)));
            }
            stage = next;
        }
    }
}
