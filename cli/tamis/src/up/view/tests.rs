//! The live view as text.

use super::*;

#[test]
fn counters_of_the_telemetry_filter_are_read() {
    let text = "tamis_requests_total{route=\"a\",status_class=\"2xx\"} 9\n\
        tamis_requests_total{route=\"a\",status_class=\"5xx\"} 1\n\
        tamis_request_duration_ms_bucket{route=\"a\",le=\"5\"} 9\n\
        tamis_request_duration_ms_bucket{route=\"a\",le=\"+Inf\"} 10\n";
    let seen = seen(text);
    assert!((seen.requests - 10.0).abs() < 0.1 && (seen.good - 9.0).abs() < 0.1);
    assert!((seen.success() - 90.0).abs() < 0.1);
    assert_eq!((seen.quantile(0.5), seen.quantile(0.99)), ("≤5ms".into(), "more".into()));
}

#[test]
fn only_what_happened_since_the_last_picture_counts() {
    let text = |good: u32, late: u32| {
        format!(
            "# TYPE tamis_requests_total counter\ntamis_requests_total{{status_class=\"2xx\"}} {good}\n\
             tamis_request_duration_ms_bucket{{le=\"5\"}} {good}\n\
             tamis_request_duration_ms_bucket{{le=\"10\"}} {}\nno number here\n",
            good + late
        )
    };
    let (before, now) = (seen(&text(100, 0)), seen(&text(101, 9)));
    let since = now.since(Some(&before));
    assert!((since.requests - 1.0).abs() < 0.1);
    assert_eq!((since.quantile(0.1), since.quantile(0.99)), ("≤5ms".into(), "≤10ms".into()));
    let nothing = now.since(Some(&now));
    assert_eq!(nothing.quantile(0.5), "–");
    assert!((nothing.success() - 100.0).abs() < 0.1);
}

fn row(name: &str, filters: &str) -> Row {
    Row {
        name: name.to_owned(),
        rate: 12.34,
        success: 99.5,
        p50: "≤5ms".to_owned(),
        p99: "–".to_owned(),
        filters: filters.to_owned(),
        addresses: "http http://127.0.0.1:8080  admin http://127.0.0.1:15000".to_owned(),
    }
}

#[test]
fn columns_stand_below_their_headings_whatever_the_names() {
    let rows = [
        row("gateway:shop/edge", "route 0.1.0"),
        row("sidecar:shop/a-much-longer-name/12", "jwt 0.1.0"),
    ];
    let text = picture(&rows, &[], &[], 200);
    let lines: Vec<&str> = text.lines().collect();
    let column = lines[0].find("filters").unwrap();
    // Counted in columns, not in bytes: `≤` is one of the former and three of the latter.
    let at =
        |line: &str, what: &str| console::measure_text_width(&line[..line.find(what).unwrap()]);
    assert_eq!((at(lines[1], "route"), at(lines[2], "jwt")), (column, column));
    assert!(lines[1].contains("12.3") && lines[1].contains("99.5%"));
    assert!(lines[4].starts_with("gateway:shop/edge") && lines[4].contains("15000"));
}

#[test]
fn no_terminal_is_too_narrow_and_no_line_of_the_table_wraps() {
    let filters =
        "route 0.1.0 · jwt 0.1.0 refused:trust.altered · Ünï 1.0.0 · 漢字漢字 2.0.0".repeat(4);
    let rows = [row("gateway:shop/edge", &filters), row(&"n".repeat(300), "")];
    for width in [0, 1, 2, 3, 10, 29, 30, 79, 80, 81, 500] {
        let text = picture(&rows, &[], &[], width);
        let table = text.split("Try, in").next().unwrap();
        for line in table.lines() {
            assert!(console::measure_text_width(line) <= width.max(1), "{width}: {line}");
        }
    }
    assert!(picture(&[], &[], &[], 80).starts_with("proxy"));
}

#[test]
fn commands_to_try_are_never_cut_and_names_move_no_cursor() {
    let command = format!("tamis filter sign {}", "x".repeat(300));
    let tries = [("what it shows".to_owned(), command.clone())];
    let text = picture(&[row("evil\x1b[2J\n", "\x07\r")], &["a\x1b[2Jb".to_owned()], &tries, 40);
    assert!(text.contains(&command));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}
