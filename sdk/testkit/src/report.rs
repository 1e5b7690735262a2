//! Results of the cases, as text for developers.

use serde::Serialize;
use std::fmt;

/// Results of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// File of the table.
    pub source: String,
    /// In the order of the table.
    pub cases: Vec<CaseReport>,
}

/// Result of one case.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// What was expected and what happened instead; empty: passed.
    pub differences: Vec<String>,
    /// Duration of its calls.
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
