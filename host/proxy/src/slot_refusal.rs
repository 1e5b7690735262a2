//! The refusal of a slot, whole: from the rule that was broken to the admin listener and the report.

use std::fmt;

/// Why a slot does not run what was asked for, as it was said where it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRefusal {
    /// Stable name of the rule, like `trust.threshold`.
    pub code: String,
    /// The rule and the evidence.
    pub rule: String,
    /// Who set the rule.
    pub set_by: String,
    /// What would satisfy it.
    pub remedy: String,
}

impl fmt::Display for SlotRefusal {
    /// In one sentence: the rule, whose it is, the way out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        if !self.set_by.is_empty() {
            write!(f, " (set by {})", self.set_by)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
