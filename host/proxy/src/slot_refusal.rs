//! The refusal of a slot with all its parts: the broken rule, its owner and the remedy, for the admin
//! listener and the report.

use std::fmt;

/// Why a slot does not run the assigned version, unchanged since it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRefusal {
    /// Stable name of the rule, like `trust.threshold`.
    pub code: String,
    /// The rule and the evidence.
    pub rule: String,
    /// Where the rule was set.
    pub set_by: String,
    /// What would satisfy it.
    pub remedy: String,
}

impl fmt::Display for SlotRefusal {
    /// In one sentence: the rule, its owner, the way out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        if !self.set_by.is_empty() {
            // A rule may end with the lines of a document.
            let space = if self.rule.contains('\n') { '\n' } else { ' ' };
            write!(f, "{space}(set by {})", self.set_by)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
