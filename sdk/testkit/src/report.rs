//! What came of the cases, as a developer likes to read it.

use serde::Serialize;
use std::fmt;

/// What came of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where the table was read from.
    pub source: String,
    /// In the table's order.
    pub cases: Vec<CaseReport>,
}

/// What came of one case.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// What was expected and what came instead; empty is passed.
    pub differences: Vec<String>,
    /// How long its calls took.
    pub duration_us: u64,
}

impl Report {
    /// How many cases failed.
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.differences.is_empty()).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.source)?;
        for case in &self.cases {
            let mark = if case.differences.is_empty() { "✓" } else { "✗" };
            writeln!(f, "  {mark} {}", case.name)?;
            for difference in &case.differences {
                writeln!(f, "      {difference}")?;
            }
        }
        let (failed, all) = (self.failed(), self.cases.len());
        match failed {
            0 => writeln!(f, "{all} cases passed"),
            _ => writeln!(f, "{failed} of {all} cases failed"),
        }
    }
}
