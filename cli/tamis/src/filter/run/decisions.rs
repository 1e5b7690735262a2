//! What the filter decided, read from the gateway's access records.

use crate::named_file;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use console::Term;
use serde_json::Value;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The records of a gateway, from its start.
pub(super) struct Decisions {
    path: PathBuf,
    file: File,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

/// Bytes that are read at once; the next look reads on.
const MAX_BYTES: u64 = 1 << 20;

impl Decisions {
    /// Begins an empty file of records.
    pub(super) fn begin(place: &Path) -> Result<Self> {
        let path = place.join("access.jsonl");
        let made = tamis_private::file(&path).and_then(|_| named_file::open(&path));
        let file = made.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { path, file, rest: Vec::new() })
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Prints what was recorded since the last look.
    pub(super) fn show(&mut self, output: Output) {
        let columns = match Term::stdout() {
            terminal if terminal.is_term() => usize::from(terminal.size().1),
            // A file or a pipe has no width.
            _ => usize::MAX,
        };
        for record in self.next() {
            let value = serde_json::json!({ "event": "exchange", "record": record });
            output::event(output, &value, || line(&record, columns));
        }
    }

    fn next(&mut self) -> Vec<Value> {
        // What cannot be read now is read at the next look.
        let _ = (&self.file).take(MAX_BYTES).read_to_end(&mut self.rest);
        let Some(end) = self.rest.iter().rposition(|octet| *octet == b'\n') else {
            return Vec::new();
        };
        let after = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, after);
        whole
            .split(|octet| *octet == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// A record in one line that fits a terminal; below it, whole, what went wrong and the way out.
fn line(record: &Value, columns: usize) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| record.get(name).and_then(Value::as_f64).unwrap_or_default();
    if let Some(own) = record.get("record") {
        return cut(&format!("record {own}"), columns);
    }
    let milliseconds = number("duration_us") / 1_000.0;
    let mut line =
        format!("{} {milliseconds:>7.2} ms  {} {}", number("status"), text("method"), text("path"));
    if !text("reason").is_empty() {
        line.push_str("  ");
        line.push_str(text("reason"));
    }
    let line = cut(&line, columns);
    match text("detail") {
        "" => line,
        detail => format!("{line}\n    {}", output::one_line(detail)),
    }
}

fn cut(line: &str, columns: usize) -> String {
    console::truncate_str(&output::one_line(line), columns, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write as _;

    #[test]
    fn each_decision_is_one_line_that_fits() {
        let record = json!({ "method": "GET", "path": "/a", "status": 403, "duration_us": 1_234, "reason": "agents.blocked" });
        assert_eq!(line(&record, 80), "403    1.23 ms  GET /a  agents.blocked");
        let why =
            "the router chose `kay/canary` of its `backends`, which is not a service of this proxy";
        let record = json!({ "method": "GET", "path": "/a", "status": 500, "duration_us": 1_234, "reason": "route.backend-unknown", "detail": why });
        let shown = line(&record, 40);
        let (first, second) = shown.split_once('\n').unwrap();
        assert!(first.chars().count() <= 40 && second.trim() == why, "{shown}");
        let long = json!({ "method": "GET", "path": "/a\u{1b}[2J".repeat(40), "status": 200, "duration_us": 10 });
        let shown = line(&long, 80);
        assert!(shown.chars().count() <= 80 && !shown.contains('\u{1b}'), "{shown:?}");
        assert_eq!(
            line(&json!({ "filter": "run/filter", "record": { "a": 1 } }), 80),
            "record {\"a\":1}"
        );
    }

    #[test]
    fn a_line_is_read_once_and_only_when_it_is_complete() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut decisions = Decisions::begin(folder.path()).unwrap();
        let mut file = File::options().append(true).open(decisions.path()).unwrap();
        let mut write = |text: &str| file.write_all(text.as_bytes()).unwrap();
        assert_eq!(decisions.next(), Vec::<Value>::new());
        write("{\"a\":1}\n{\"a\"");
        assert_eq!(decisions.next(), [json!({ "a": 1 })]);
        assert_eq!(decisions.next(), Vec::<Value>::new());
        write(":2}\nnonsense\n{\"a\":3}\n");
        assert_eq!(decisions.next(), [json!({ "a": 2 }), json!({ "a": 3 })]);
    }
}
