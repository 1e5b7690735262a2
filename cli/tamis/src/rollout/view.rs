//! Rollouts as text.

use crate::table::{count, short, table};
use crate::when::ago;
use std::fmt::Write as _;
use tamis_api::{RolloutSide, RolloutView};
use tamis_resources::Millis;

/// All rollouts, one per line.
pub(super) fn table_of(all: &[RolloutView], now: u64) -> String {
    if all.is_empty() {
        return "no rollouts yet\n".to_owned();
    }
    let row = |one: &RolloutView| {
        let proxies = format!("{} of {}", one.moved, one.moved.saturating_add(one.rest));
        let release = format!("{} {}", one.version, short(&one.to));
        let (name, filter, stage) = (one.name.clone(), one.filter.clone(), one.stage.clone());
        [name, filter, release, stage, proxies, ago(now, one.started_ms), one.why.clone()]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table(["NAME", "FILTER", "TO", "STAGE", "PROXIES", "STARTED", "WHY"], &rows)
}

/// One rollout with its measurements.
pub(super) fn text(view: &RolloutView, now: u64) -> String {
    let RolloutView { name, filter, from, to, version, services, stage, why, .. } = view;
    let mut text = format!("{name}: {stage}");
    if !why.is_empty() {
        let _ = write!(text, " ({why})");
    }
    let _ = writeln!(text, "\n{filter} {} → {version} {}", short(from), short(to));
    let _ = writeln!(text, "for {}", services.join(", "));
    let started = ago(now, view.started_ms);
    let _ = writeln!(
        text,
        "started {started} by {}; this step {}",
        view.started_by,
        ago(now, view.began_ms)
    );
    let all = view.moved.saturating_add(view.rest);
    let waves = view.waves.iter().enumerate().map(|(at, wave)| {
        let moves =
            view.proxies.get(at).map_or(String::new(), |proxies| format!(" ({proxies} of {all})"));
        format!("{}%{moves} for {}", wave.percent, Millis(wave.bake_ms))
    });
    let _ = writeln!(text, "waves: {}", waves.collect::<Vec<_>>().join(", "));
    let moved = count(view.moved, "proxy", "proxies");
    let _ = match (view.ended, view.stage.as_str()) {
        (false, _) => writeln!(text, "{moved} moved, {} left", view.rest),
        (true, "done") => writeln!(text, "{moved} moved, all of them"),
        (true, _) => writeln!(text, "{moved} of {all} had moved, and moved back"),
    };
    if let Some(judgement) = &view.judgement {
        let _ = writeln!(text, "gates: {judgement}");
    }
    let rows = [side("candidate", &view.candidate), side("current", &view.current)];
    let head = ["", "EXCHANGES", "TRAPS", "5XX", "DENIALS", "ADDED P99", "REFUSALS"];
    let _ = write!(text, "\n{}", table(head, &rows));
    for one in &view.candidate.refused {
        let _ = writeln!(text, "! {one}");
    }
    match view.candidate.refusals.saturating_sub(view.candidate.refused.len()) {
        0 => {}
        more => drop(writeln!(text, "! and {} more", count(more, "slot", "slots"))),
    }
    if view.samples > 0 {
        let samples = usize::try_from(view.samples).unwrap_or(usize::MAX);
        let _ =
            writeln!(text, "\n{} compared in the shadow", count(samples, "verdict", "verdicts"));
    }
    for one in &view.differences {
        let _ = writeln!(text, "  {} × {}", one.count, one.cause);
        for example in &one.examples {
            let _ = writeln!(text, "    {example}");
        }
    }
    text
}

fn side(name: &str, side: &RolloutSide) -> [String; 7] {
    let p99 = side.added_p99_ms.map(|ms| format!("{ms:.2} ms"));
    [
        name.to_owned(),
        side.exchanges.to_string(),
        side.traps.to_string(),
        side.server_errors.to_string(),
        side.denials.to_string(),
        p99.unwrap_or_default(),
        side.refusals.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{DifferenceView, Wave};

    fn view() -> RolloutView {
        RolloutView {
            name: "r".into(),
            filter: "acme/retry".into(),
            from: "sha256:00".into(),
            to: "sha256:01".into(),
            version: "1.4.2".into(),
            services: vec!["shop/a".into()],
            waves: vec![Wave { percent: 10, bake_ms: 300_000 }, Wave { percent: 100, bake_ms: 0 }],
            stage: "in wave 1".into(),
            ended: false,
            why: "the gates hold".into(),
            judgement: Some("hold".into()),
            proxies: vec![1, 10],
            moved: 1,
            rest: 9,
            candidate: RolloutSide {
                exchanges: 12,
                added_p99_ms: Some(0.5),
                ..RolloutSide::default()
            },
            current: RolloutSide { exchanges: 120, ..RolloutSide::default() },
            samples: 50,
            differences: vec![DifferenceView {
                cause: "decision: allow→deny 403".into(),
                count: 2,
                examples: vec!["GET /".into()],
            }],
            started_ms: 60_000,
            started_by: "ada".into(),
            began_ms: 120_000,
        }
    }

    #[test]
    fn a_rollout_tells_where_it_is_and_what_it_measured() {
        assert_eq!(
            text(&view(), 240_000),
            "r: in wave 1 (the gates hold)\nacme/retry sha256:00 → 1.4.2 sha256:01\nfor shop/a\n\
             started 3m ago by ada; this step 2m ago\nwaves: 10% (1 of 10) for 5m, 100% (10 of 10) for 0s\n\
             1 proxy moved, 9 left\ngates: hold\n\n\
             \x20          EXCHANGES  TRAPS  5XX  DENIALS  ADDED P99  REFUSALS\n\
             candidate  12         0      0    0        0.50 ms    0\n\
             current    120        0      0    0                   0\n\n\
             50 verdicts compared in the shadow\n  2 × decision: allow→deny 403\n    GET /\n"
        );
    }

    #[test]
    fn a_rollout_that_is_over_says_what_moved_and_what_refused_it() {
        let over = |stage: &str| {
            let mut view =
                RolloutView { ended: true, stage: stage.into(), judgement: None, ..view() };
            (view.moved, view.rest) = if stage == "done" { (10, 0) } else { (1, 9) };
            view.candidate.refusals = 2;
            view.candidate.refused = vec!["sidecar:shop/a/0 retry: filter.configure: no".into()];
            text(&view, 240_000)
        };
        for (stage, words) in [
            ("done", "10 proxies moved, all of them\n"),
            ("returned", "1 proxy of 10 had moved, and moved back\n"),
            ("aborted", "1 proxy of 10 had moved, and moved back\n"),
        ] {
            let text = over(stage);
            assert!(text.contains(words), "{text}");
            assert!(
                text.contains(
                    "! sidecar:shop/a/0 retry: filter.configure: no\n! and 1 slot more\n"
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn all_rollouts_are_a_table() {
        let text = table_of(&[view()], 240_000);
        assert!(text.contains("r     acme/retry  1.4.2 sha256:01  in wave 1  1 of 10"), "{text}");
        assert_eq!(table_of(&[], 0), "no rollouts yet\n");
    }
}
