//! Ownership of metrics, and limits of their cost.

use super::*;

#[test]
fn an_equal_definition_is_the_same_family_and_another_is_an_error() {
    let metrics = Metrics::new();
    let first = metrics.define(MetricKind::Counter, "a_total", "A.", &["x"]).unwrap();
    let again = metrics.define(MetricKind::Counter, "a_total", "A.", &["x"]).unwrap();
    first.series(&["1"]).add(1.0);
    again.series(&["1"]).add(2.0);
    assert!(metrics.define(MetricKind::Gauge, "a_total", "A.", &["x"]).is_err());
    assert!(metrics.render().contains("a_total{x=\"1\"} 3"), "{}", metrics.render());
}

#[test]
fn past_the_cap_series_share_one_overflow() {
    let metrics = Metrics::new();
    let family = metrics
        .define_with(MetricKind::Counter, "b_total", "B.", &["x"], 2, &DEFAULT_BUCKETS)
        .unwrap();
    for value in ["1", "2", "3", "4"] {
        family.series(&[value]).add(1.0);
    }
    let text = metrics.render();
    assert!(text.contains("b_total{x=\"overflow\"} 2"), "{text}");
    assert!(!text.contains("x=\"3\""), "{text}");
}

#[test]
fn a_value_has_no_character_that_ends_a_page_or_drives_a_terminal() {
    let metrics = Metrics::new();
    let family = metrics.define(MetricKind::Counter, "c_total", "C.", &["x"]).unwrap();
    for (value, shown) in [
        ("a\0b", "a\u{fffd}b"),
        ("\u{2028}\0\x1b[2J", "\u{2028}\u{fffd}\u{fffd}[2J"),
        ("a\r\nb", "a\u{fffd}\\nb"),
        ("\u{9b}2J\x7f", "\u{fffd}2J\u{fffd}"),
        ("a\"b\\", "a\\\"b\\\\"),
        ("ok é", "ok é"),
    ] {
        family.series(&[value]).add(1.0);
        let text = metrics.render();
        assert!(text.contains(&format!("c_total{{x=\"{shown}\"}} 1\n")), "{value:?}: {text:?}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{value:?}");
    }
}

fn define(metrics: &Metrics, filter: &str, name: &str) -> Result<Arc<Family>, MetricError> {
    metrics.define_for(filter, MetricKind::Counter, name, "H.", &["x"], 10, None)
}

#[test]
fn a_filter_neither_takes_nor_alters_the_metrics_of_another_or_of_the_host() {
    let metrics = Metrics::new();
    metrics.reserve(["tamis_generation", "tamis_exchanges_total"]);
    // Defined before telemetry, as a filter that wants to take its names would.
    for name in ["tamis_requests_total", "tamis_generation", "hits_total"] {
        define(&metrics, "evil/squatter", name).unwrap().series(&["evil"]).add(1.0);
    }
    let requests = metrics.define_for(
        "tamis/telemetry",
        MetricKind::Gauge,
        "tamis_requests_total",
        "Another kind, another help.",
        &["y"],
        10,
        None,
    );
    requests.unwrap().series(&["good"]).set(1.0);
    define(&metrics, "acme/counter", "hits_total").unwrap().series(&["acme"]).add(1.0);
    let text = metrics.render();
    for line in [
        "tamis_requests_total{y=\"good\"} 1",
        "evil__squatter__tamis_requests_total{x=\"evil\"} 1",
        "evil__squatter__tamis_generation{x=\"evil\"} 1",
        "evil__squatter__hits_total{x=\"evil\"} 1",
        "acme__counter__hits_total{x=\"acme\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
    assert!(!text.lines().any(|line| line.starts_with("tamis_generation")), "{text}");
    // Even the project's own filters may not write the host's metrics.
    assert!(define(&metrics, "tamis/telemetry", "tamis_generation").is_err());
    assert!(define(&metrics, "tamis/other", "tamis_requests_total").is_err());
    assert!(
        metrics.define(MetricKind::Counter, "acme__counter__hits_total", "H.", &["x"]).is_err()
    );
}

#[test]
fn names_that_look_alike_are_shown_apart() {
    let filters = [
        "a/b",
        "a-b/c",
        "a/b-c",
        "a.b/c",
        "a--b/c",
        "a/b--c",
        "a/b.c",
        "a-/b",
        "1/b",
        "h1/b",
        "b",
        "tamis/x",
        "tamis-x/y",
    ];
    let shown: HashSet<String> = filters.iter().map(|it| shown_name(it, "n_total")).collect();
    assert_eq!(shown.len(), filters.len(), "{shown:?}");
    for name in &shown {
        assert_eq!(check_names(name, &[]), Ok(()), "{name}");
    }
    assert_eq!(shown_name("a-b/c", "n_total"), "a_b__c__n_total");
    assert_eq!(shown_name("tamis/telemetry", "tamis_n_total"), "tamis_n_total");
}

#[test]
fn sizes_that_a_filter_chooses_have_a_bound() {
    let metrics = Metrics::new();
    let long = "a".repeat(201);
    assert!(define(&metrics, "a/b", &long).is_err());
    let kind = MetricKind::Counter;
    assert!(metrics.define_for("a/b", kind, "a", &"h".repeat(2_000), &[], 1, None).is_err());
    assert!(metrics.define_for("a/b", kind, "a", "h", &[&"l".repeat(65)], 1, None).is_err());
    let family = define(&metrics, "a/b", "c").unwrap();
    family.series(&[&"v".repeat(1 << 20), "another", "and another"]).add(1.0);
    assert!(metrics.render().len() < 1_000);
}

#[test]
fn names_that_change_with_every_instance_come_to_an_end() {
    let metrics = Metrics::new();
    let defined = (0..1_000).filter(|n| define(&metrics, "a/b", &format!("n{n}_total")).is_ok());
    assert_eq!(defined.count(), MAX_OWN);
    assert!(define(&metrics, "a/b", "n0_total").is_ok(), "what is there is found");
    assert!(define(&metrics, "a/other", "n_total").is_ok(), "another filter has its own");
}

#[test]
fn bounds_of_a_histogram_are_in_the_unit_of_its_name() {
    for (name, first, last) in [
        ("a_seconds", 0.0005, 5.0),
        ("a_ms", 0.5, 5_000.0),
        ("a_us", 500.0, 5_000_000.0),
        ("a_bytes", 64.0, 16_777_216.0),
        ("a", 0.0005, 5.0),
    ] {
        let bounds = buckets_of(name);
        assert_eq!((bounds[0], bounds[bounds.len() - 1]), (first, last), "{name}");
    }
    let metrics = Metrics::new();
    let of = |name: &str, bounds: &[f64]| {
        metrics.define_for("a/b", MetricKind::Histogram, name, "H.", &[], 1, Some(bounds))
    };
    of("d_ms", &[10.0, 100.0]).unwrap().series(&[]).observe(50.0);
    let text = metrics.render();
    assert!(text.contains("a__b__d_ms_bucket{le=\"100\"} 1"), "{text}");
    for bad in [&[][..], &[2.0, 1.0], &[1.0, 1.0], &[f64::NAN], &[f64::INFINITY]] {
        assert!(of("e_ms", bad).is_err(), "{bad:?}");
    }
}

#[test]
fn malformed_names_and_values_are_refused_or_escaped() {
    let metrics = Metrics::new();
    for name in ["", "1a", "a-b", "a b"] {
        assert!(metrics.define(MetricKind::Gauge, name, "", &[]).is_err(), "{name}");
    }
    assert!(metrics.define(MetricKind::Gauge, "a", "h", &["le"]).is_err());
    let family = metrics.define(MetricKind::Gauge, "c", "Line\nbreak.", &["x"]).unwrap();
    family.series(&["a\"\n"]).set(1.0);
    assert!(metrics.render().contains(r#"c{x="a\"\n"} 1"#), "{}", metrics.render());
}

#[test]
fn the_metrics_of_a_filter_take_no_more_of_the_page_than_one_may() {
    let metrics = Metrics::new();
    let labels: Vec<String> = (0..16).map(|n| format!("label_{n}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let bounds: Vec<f64> = (0..64).map(f64::from).collect();
    let mut refused = 0;
    for family in 0..256 {
        let (name, help) = (format!("h{family}_{}", "n".repeat(150)), "h".repeat(1_000));
        let defined = metrics.define_for(
            "acme/greedy",
            MetricKind::Histogram,
            &name,
            &help,
            &labels,
            1_000,
            Some(&bounds),
        );
        let Ok(family) = defined else {
            refused += 1;
            continue;
        };
        for series in 0..40 {
            let values: Vec<String> =
                (0..16).map(|n| format!("{series}{n}{}", "\"".repeat(300))).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            family.series(&values).observe(1.0);
        }
    }
    let taken = metrics.render().len();
    assert!(taken <= MAX_OWN_OCTETS, "{taken} octets, {refused} refused");
    assert!(taken > MAX_OWN_OCTETS / 4, "{taken} octets: the count is far from what is written");
    // What one takes is no other's.
    let other = metrics.define_for("acme/modest", MetricKind::Counter, "c", "C.", &["l"], 10, None);
    other.unwrap().series(&["a"]).add(1.0);
    assert!(metrics.render().contains("acme__modest__c{l=\"a\"} 1"));
}

#[test]
fn values_that_would_break_a_line_are_escaped_on_it() {
    let metrics = Metrics::new();
    let family =
        metrics.define_for("a/b", MetricKind::Gauge, "g", "two\nlines \\ \"q\"", &["l"], 10, None);
    let family = family.unwrap();
    for value in ["a\nb", "\"} 1\ntamis_ready 0", "\\", "\u{0}", "\u{1b}[2J", "", "overflow"] {
        family.series(&[value]).set(f64::NAN);
    }
    let text = metrics.render();
    assert_eq!(text.lines().filter(|line| line.starts_with("a__b__g{")).count(), 7, "{text}");
    assert!(
        text.lines().all(|line| line.starts_with("# ") || line.starts_with("a__b__g{")),
        "{text}"
    );
}
