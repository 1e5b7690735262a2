//! The live view as text.

use super::*;

fn row(name: &str) -> Row {
    let nothing: TrafficCounts = TrafficCounts::default();
    Row {
        name: name.to_owned(),
        seconds: 10.0,
        traffic: nothing,
        retries: 0,
        slots: (6, 6),
        open: Vec::new(),
        astray: Vec::new(),
        problems: Vec::new(),
        addresses: "http 127.0.0.1:8080  admin 127.0.0.1:15000".to_owned(),
    }
}

/// A row with the given number of responses of each class, from those without a status to 5xx.
fn busy(name: &str, classes: [u64; 6]) -> Row {
    let mut row = row(name);
    row.traffic.responses[0] = classes;
    row
}

fn around<'a>(wrongs: &'a [String], tries: &'a [Suggestion]) -> FolderSurroundings<'a> {
    FolderSurroundings {
        registry: "http://127.0.0.1:5000",
        wrongs,
        tries,
        try_file: "shop/.tamis/try.txt",
    }
}

fn shown(
    rows: &[Row],
    around: &FolderSurroundings<'_>,
    width: usize,
    height: usize,
) -> Vec<String> {
    picture(rows, around, Duration::from_secs(75), width, height)
}

const NAMES: [&str; 5] = [
    "gateway:shop/edge",
    "sidecar:shop/catalog/0",
    "sidecar:shop/payments/0",
    "sidecar:shop/payments/1",
    "sidecar:shop/storefront/0",
];

#[test]
fn percentages_are_of_something_and_what_is_refused_is_no_success() {
    assert_eq!(row("a").cells(), ["0", "–", "–", "–", "–", "–", "0", "6/6"]);
    let cells = busy("a", [1, 0, 60, 20, 10, 9]).cells();
    assert_eq!(&cells[..4], ["10.0", "80%", "10%", "10%"]);
    let cells = busy("a", [0, 0, 999, 0, 1, 0]).cells();
    assert_eq!(&cells[..4], ["100", "99%", "<1%", "0%"], "all is said of all alone");
}

#[test]
fn times_are_as_exact_as_they_are_read() {
    for (micros, text) in [
        (0, "0.0ms"),
        (1_250, "1.2ms"),
        (12_500, "12ms"),
        (1_500_000, "1500ms"),
        (61_000_000, "61s"),
    ] {
        assert_eq!(took(Duration::from_micros(micros)), text);
    }
}

#[test]
fn everything_that_matters_fits_a_terminal_of_80_by_24() {
    let mut rows: Vec<Row> = NAMES.iter().map(|name| busy(name, [0, 0, 9_999, 0, 1, 9])).collect();
    rows[0]
        .open
        .push("circuit open: shop/payments:80 at 127.0.0.1:15016, from gateway:shop/edge".into());
    rows[1].slots = (5, 6);
    rows[1].astray.push("sidecar:shop/catalog/0: shop/jwt 0.1.0 refused:trust.altered: x".into());
    let tries = [Suggestion::new("what it shows", "curl -s http://127.0.0.1:8080/")];
    let wrongs: Vec<String> = (0..40).map(|at| format!("routes.yaml:{at}: wrong")).collect();
    let lines = shown(&rows, &around(&wrongs, &tries), 80, 24);
    assert!(lines.len() < 24, "{}", lines.len());
    for line in &lines {
        assert!(measure_text_width(line) <= 80, "{line}");
    }
    let text = lines.join("\n");
    for part in NAMES {
        assert!(text.contains(part), "{part}: {text}");
    }
    for part in [
        "circuit open: shop/payments:80",
        "registry http://127.0.0.1:5000",
        "more;",
        "5/6",
        "1:15",
        "try.txt",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let quiet = shown(&rows[2..], &around(&[], &tries), 80, 24).join("\n");
    assert!(quiet.contains("all circuits closed") && quiet.contains("curl -s"), "{quiet}");
    assert!(quiet.contains("admin 127.0.0.1:15000"), "{quiet}");
}

#[test]
fn columns_stand_below_their_headings_whatever_the_names() {
    let rows = [
        row("gateway:shop/edge"),
        row("sidecar:shop/a-much-longer-name-than-there-is-room-for/12"),
    ];
    let lines = shown(&rows, &around(&[], &[]), 80, 24);
    let end = |line: &str| measure_text_width(line);
    assert_eq!((end(&lines[2]), end(&lines[3])), (end(&lines[1]), end(&lines[1])));
    assert!(lines[3].starts_with("sidecar:shop/a-much") && lines[3].contains('…'));
}

#[test]
fn no_terminal_is_too_small_and_no_line_but_a_command_wraps() {
    let mut rows = [row("gateway:shop/edge"), row(&"n".repeat(300)), row("Ünï/漢字漢字")];
    rows[0].astray.push("漢字".repeat(100));
    for width in [0, 1, 2, 3, 10, 29, 30, 79, 80, 81, 500] {
        for height in [0, 1, 2, 5, 24, 100] {
            let lines = shown(&rows, &around(&["x".repeat(500)], &[]), width, height);
            assert!(lines.len() < height.max(2), "{width}×{height}: {}", lines.len());
            for line in lines {
                assert!(measure_text_width(&line) <= width.max(1), "{width}: {line}");
            }
        }
    }
}

#[test]
fn commands_to_try_are_never_cut_and_names_move_no_cursor() {
    let command = format!("tamis filter sign {}", "x".repeat(300));
    let tries = [Suggestion::new("what it shows", command.clone())];
    let wrongs = ["a\x1b[2Jb".to_owned()];
    let all = shown(&[row("evil\x1b[2J\n")], &around(&wrongs, &tries), 40, 40);
    let text = all.join("\n");
    assert!(text.contains(&command), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    // A command that does not fit is omitted; the last line names its file.
    let few = shown(&[row("a")], &around(&wrongs, &tries), 40, 10).join("\n");
    assert!(!few.contains("filter sign") && few.contains("try.txt"), "{few}");
}
