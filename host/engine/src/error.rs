//! Why a component cannot become a filter, and why a call of one failed.

use crate::Hook;
use crate::field::{self, UncoveredField};

/// A component that was refused, or could not be built into a filter.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine itself cannot start.
    #[error("the WebAssembly engine cannot start: {0}")]
    Start(String),
    /// The bytes are not a component that this host runs.
    #[error("not a filter: {rule}")]
    Invalid {
        /// What is wrong and what is expected.
        rule: String,
    },
    /// The compiler refused it.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// It imports what its grant does not cover.
    #[error(transparent)]
    Grant(#[from] crate::MissingGrant),
    /// It declares fields its grant does not cover.
    #[error(
        "filter `{filter}` {}, which its grant does not cover; if it should, add to the `spec` of its Grant: {}",
        lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        field::additions(lacks)
    )]
    Field {
        /// Name of the filter.
        filter: String,
        /// Declared fields that the grant does not cover; at least one.
        lacks: Vec<UncoveredField>,
    },
    /// Its grant exceeds the limits of this host.
    #[error(transparent)]
    Ceiling(#[from] crate::CeilingExcess),
    /// Its grant has a scope that this host cannot keep.
    #[error(transparent)]
    Scope(#[from] crate::ScopeUnavailable),
    /// The interest that `configure` returned is invalid.
    #[error("filter `{filter}` declares an invalid interest: {rule}")]
    Interest {
        /// Name of the filter.
        filter: String,
        /// What is wrong.
        rule: String,
    },
    /// `validate` or `configure` refused the configuration.
    #[error("filter `{filter}` refuses its configuration: {}", list(errors))]
    Configure {
        /// Name of the filter.
        filter: String,
        /// JSON pointer and message of each error, the first 32, shortened.
        errors: Vec<(String, String)>,
    },
    /// The component could not be linked or instantiated.
    #[error("filter `{filter}` does not start: {cause}")]
    Instantiate {
        /// Name of the filter.
        filter: String,
        /// What failed.
        cause: String,
    },
    /// A call during configuration or the self-test failed.
    #[error("filter `{filter}` failed its self-test in `{act}`: {fault}")]
    SelfTest {
        /// Name of the filter.
        filter: String,
        /// Function called.
        act: &'static str,
        /// How it failed.
        fault: CallFault,
    },
}

impl EngineError {
    /// The stable refusal code shown in status.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start(_) | Self::Invalid { .. } | Self::Compile(_) => "filter.invalid",
            Self::Instantiate { .. } => "filter.invalid",
            Self::Grant(_) => "grant.import",
            Self::Ceiling(_) => "grant.limit",
            Self::Scope(_) => "grant.scope",
            Self::Field { .. } => "grant.field",
            Self::Interest { .. } | Self::Configure { .. } => "filter.configure",
            Self::SelfTest { .. } => "filter.selftest",
        }
    }
}

/// Octets of what the engine says of why an instance does not start: it quotes the component.
pub(crate) const MAX_CAUSE: usize = 2_048;

/// Number of configuration errors that are reported at most.
const MAX_ERRORS: usize = 32;

/// At most `max` bytes of a text from a guest: it goes into logs, status and reports.
pub(crate) fn short(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// A text of a guest, safe to show: at most `max` octets, with characters that act on a reader's screen escaped. Control
/// characters move the cursor of a terminal and end lines of a log; marks of direction reorder the text around them.
pub(crate) fn printable(text: &str, max: usize) -> String {
    let acts = |one: char| {
        let turns = matches!(one, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        one.is_control() || turns || matches!(one, '\u{2028}' | '\u{2029}')
    };
    let mut shown = String::new();
    for one in short(text, max).chars() {
        let before = shown.len();
        if acts(one) {
            shown.extend(one.escape_debug());
        } else {
            shown.push(one);
        }
        // An escape is longer than what it stands for.
        if shown.len() > max {
            shown.truncate(before);
            break;
        }
    }
    shown
}

/// The errors of a configuration as a guest returns them, limited in number and length and safe to show.
pub(crate) fn places(errors: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let plain = |(pointer, message): (String, String)| {
        (printable(&pointer, 256), printable(&message, 1_024))
    };
    errors.into_iter().take(MAX_ERRORS).map(plain).collect()
}

fn list(errors: &[(String, String)]) -> String {
    let lines: Vec<_> = errors
        .iter()
        .map(|(pointer, message)| {
            let pointer = if pointer.is_empty() { "/" } else { pointer };
            format!("{pointer}: {message}")
        })
        .collect();
    lines.join("; ")
}

/// Why a call gave no answer. The instance behind it is discarded; the next call has a fresh one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// It trapped (a panic, an `unreachable`, memory out of bounds).
    #[error("it trapped: {0}")]
    Trap(String),
    /// It ran longer than its time limit.
    #[error("it exceeded its time limit of {limit_us} µs")]
    Deadline {
        /// The limit in force.
        limit_us: u64,
    },
    /// It asked for more memory than granted and failed when the request was refused.
    #[error("it exceeded its limit of {limit_bytes} bytes of memory")]
    Memory {
        /// The limit in force.
        limit_bytes: u64,
    },
    /// Its stack overflowed.
    #[error("its stack overflowed")]
    Stack,
    /// Its answer, or a call of a capability, breaks the contract.
    #[error("it breaks the contract: {0}")]
    BadAnswer(String),
    /// It failed too often recently and is not called.
    #[error("it failed too often and is not called for now")]
    BreakerOpen,
    /// Its last instance failed and the next one is not ready yet; it is not called until then.
    #[error("its last instance failed and the next one is not ready yet")]
    Remaking,
    /// The instance that knew the beginning of a body failed; a fresh one is not shown the rest, which could pass unseen.
    #[error("the instance that saw the beginning of the body failed")]
    Lost,
    /// A fresh instance could not be made.
    #[error("no instance could be made: {0}")]
    Instantiate(String),
    /// It does not export that hook.
    #[error("it does not export `{}`", .0.as_str())]
    NoHook(Hook),
    /// The declared fields do not fit into a view.
    #[error("the declared fields are larger than a view may be")]
    ViewTruncated,
}

impl CallFault {
    /// The values of [`Self::kind`] that a table of cases can expect.
    pub const KINDS: [&str; 9] = [
        "trap",
        "deadline",
        "memory",
        "stack",
        "bad-answer",
        "breaker-open",
        "instantiate",
        "no-hook",
        "view-truncated",
    ];

    /// A short name for metrics and records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline { .. } => "deadline",
            Self::Memory { .. } => "memory",
            Self::Stack => "stack",
            Self::BadAnswer(_) => "bad-answer",
            Self::BreakerOpen => "breaker-open",
            Self::Remaking => "remaking",
            Self::Lost => "lost",
            Self::Instantiate(_) => "instantiate",
            Self::NoHook(_) => "no-hook",
            Self::ViewTruncated => "view-truncated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_acts_on_nobody_who_reads_it() {
        for (said, shown) in [
            ("plain `text`, \"quoted\", with ä and 漢", "plain `text`, \"quoted\", with ä and 漢"),
            ("a\nlevel=error forged", "a\\nlevel=error forged"),
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", "\\u{1b}[2J\\u{1b}]0;owned\\u{7}"),
            ("\0\r\t\u{9b}31m", "\\0\\r\\t\\u{9b}31m"),
            ("\u{202e}txet\u{2066}\u{2028}", "\\u{202e}txet\\u{2066}\\u{2028}"),
        ] {
            assert_eq!(printable(said, 256), shown);
        }
        assert_eq!(printable(&"ä".repeat(100), 3), "ä");
        assert_eq!(printable(&"\u{1b}".repeat(100), 14), "\\u{1b}\\u{1b}");
        let many = (0..1_000).map(|_| ("/\u{1b}".to_owned(), "m".repeat(1 << 16)));
        let kept = places(many);
        assert_eq!((kept.len(), kept[0].0.as_str()), (MAX_ERRORS, "/\\u{1b}"));
        assert!(kept.iter().all(|(_, message)| message.len() <= 1_024));
    }
}
