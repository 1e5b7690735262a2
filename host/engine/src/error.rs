//! Why a component cannot become a filter, and why a call of one failed.

use crate::Hook;
use crate::field::{self, GrantPlace, UncoveredField};
use std::borrow::Cow;
use std::fmt;
use tamis_resources::acts_on_screen;

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
        "`{filter}` {}, and its Grant does not allow that",
        field::listed(lacks.iter().map(ToString::to_string))
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
    /// A part of its grant cannot be read.
    #[error("{0}")]
    GrantFormat(String),
    /// It does not implement the world of its Filter document.
    #[error(transparent)]
    World(#[from] Box<crate::WorldMismatch>),
    /// The interest that `configure` returned is invalid.
    #[error(
        "`configure` of `{filter}` returns an invalid `interest` (what it reads and writes): {rule}"
    )]
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
    /// `validate` or `configure` refused the configuration with an empty list of errors. JavaScript turns an exception that
    /// nobody catches into one.
    #[error("`{act}` of `{filter}` refused the configuration and gave no reason: its list of errors is empty{}", last_output(output.as_deref()))]
    NoReason {
        /// Name of the filter.
        filter: String,
        /// Function called.
        act: &'static str,
        /// What it wrote to standard output or error before, shortened.
        output: Option<String>,
    },
    /// The room for instances that all filters share is taken, or its owner has its share of it.
    #[error("filter `{filter}` does not start: {shortage}")]
    NoRoom {
        /// Name of the filter.
        filter: String,
        /// What is short, and whose share it exceeds.
        shortage: crate::RoomShortage,
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
    #[error("`{filter}` failed its self-test (a call of each hook before it serves) in `{act}`: {}", fault.in_self_test())]
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
            Self::GrantFormat(_) => "grant.format",
            Self::World(_) => "filter.world",
            Self::Interest { .. } | Self::Configure { .. } | Self::NoReason { .. } => {
                "filter.configure"
            }
            Self::NoRoom { .. } => "filter.no-room",
            Self::SelfTest { .. } => "filter.selftest",
        }
    }

    /// What to write where into the grant of the filter, so that it may run; `None`: no grant is at fault, or its values are
    /// too high.
    pub fn grant_remedy(&self, place: GrantPlace<'_>) -> Option<String> {
        match self {
            Self::Grant(missing) => Some(missing.remedy(place)),
            Self::Field { filter, lacks } => Some(field::remedy(filter, lacks, place)),
            Self::Start(_)
            | Self::Invalid { .. }
            | Self::Compile(_)
            | Self::Ceiling(_)
            | Self::Scope(_)
            | Self::GrantFormat(_)
            | Self::World(_)
            | Self::Interest { .. }
            | Self::Configure { .. }
            | Self::NoReason { .. }
            | Self::NoRoom { .. }
            | Self::Instantiate { .. }
            | Self::SelfTest { .. } => None,
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
    let acts = |one: char| one.is_control() || acts_on_screen(one);
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

fn last_output(output: Option<&str>) -> String {
    output.map(|output| format!("; it had written: {output}")).unwrap_or_default()
}

fn list(errors: &[(String, String)]) -> String {
    let lines: Vec<_> = errors
        .iter()
        .map(|(pointer, message)| match pointer.as_str() {
            // The whole configuration.
            "" => message.clone(),
            pointer => format!("{pointer}: {message}"),
        })
        .collect();
    lines.join("; ")
}

/// Why a call gave no answer. The instance behind it is discarded; the next call has a fresh one.
///
/// As text it is a sentence about `it`; [`CallFault::of`] names the hook instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// It trapped (a panic, an `unreachable`, memory out of bounds): what it did, after its name.
    Trap(String),
    /// It ran longer than its time limit.
    Deadline {
        /// The limit in force.
        limit_us: u64,
    },
    /// It asked for more memory than granted and failed when the request was refused.
    Memory {
        /// The limit in force.
        limit_bytes: u64,
    },
    /// Its stack overflowed.
    Stack,
    /// Its answer, or a call of a capability, breaks the contract: the rule and the way out.
    BadAnswer(String),
    /// It failed too often recently and is not called.
    BreakerOpen,
    /// Its last instance failed and the next one is not ready yet; it is not called until then.
    Remaking,
    /// The instance that knew the beginning of a body failed; a fresh one is not shown the rest, which could pass unseen.
    Lost,
    /// A fresh instance could not be made.
    Instantiate(String),
    /// It does not export that hook.
    NoHook(Hook),
    /// The declared fields do not fit into a view.
    ViewTruncated,
}

impl std::error::Error for CallFault {}

impl fmt::Display for CallFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it {}", self.predicate())
    }
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

    /// The fault in one sentence: `subject` is who failed, such as `on-request` of a filter.
    pub fn of(&self, subject: &str) -> String {
        format!("{subject} {}", self.predicate())
    }

    /// The fault after the name of the function that was tested: a broken rule has a subject of its own.
    fn in_self_test(&self) -> String {
        match self {
            Self::BadAnswer(rule) => rule.clone(),
            Self::Deadline { limit_us } => format!(
                "it ran longer than {}: do less there, or raise `limits.configure` of its Grant",
                time(*limit_us)
            ),
            other => other.to_string(),
        }
    }

    /// What became of the call, and the way out where it is in a grant.
    fn predicate(&self) -> Cow<'_, str> {
        match self {
            Self::Trap(what) => what.as_str().into(),
            Self::Deadline { limit_us } => format!(
                "ran longer than {}, the limit of one call: do less in one call, or raise `limits.time` of its Grant",
                time(*limit_us)
            )
            .into(),
            Self::Memory { limit_bytes } => format!(
                "needed more than {} of memory, its limit: keep less, or raise `limits.memory` of its Grant",
                size(*limit_bytes)
            )
            .into(),
            Self::Stack => "overflowed its stack".into(),
            Self::BadAnswer(rule) => format!("broke the contract: {rule}").into(),
            Self::BreakerOpen => "failed too often and is not called for now".into(),
            Self::Remaking => "has no instance: the last one failed and the next one is not ready yet".into(),
            Self::Lost => "cannot judge the rest of the body: the instance that read its beginning failed in another exchange (its access record says why), and a new one has not read it".into(),
            Self::Instantiate(why) => format!("could not be instantiated: {why}").into(),
            Self::NoHook(hook) => format!("does not export `{}`", hook.as_str()).into(),
            Self::ViewTruncated => "declares fields that are larger than a view may be".into(),
        }
    }

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

/// A time in the unit in which a Grant states it.
fn time(us: u64) -> String {
    if us.is_multiple_of(1_000) {
        format!("{} ms", us.div_euclid(1_000))
    } else {
        format!("{us} µs")
    }
}

/// A size in the largest unit that leaves no rest.
pub(crate) fn size(octets: u64) -> String {
    const UNITS: [(u64, &str); 2] = [(1024 * 1024, "MiB"), (1024, "KiB")];
    let fits = |unit: u64| octets.checked_div(unit).filter(|_| octets.is_multiple_of(unit));
    let count = UNITS.into_iter().find_map(|(unit, name)| Some((fits(unit)?, name)));
    match count {
        Some((count, name)) if count > 0 => format!("{count} {name}"),
        _ => format!("{octets} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_hook_and_the_limit_as_a_grant_writes_it() {
        let of = |fault: CallFault| fault.of("`on-request` of acme/ssn");
        for (fault, said) in [
            (CallFault::Deadline { limit_us: 5_000 }, "ran longer than 5 ms, the limit"),
            (CallFault::Deadline { limit_us: 1_500 }, "ran longer than 1500 µs, the limit"),
            (CallFault::Memory { limit_bytes: 16 << 20 }, "needed more than 16 MiB of memory"),
            (CallFault::Memory { limit_bytes: 96 << 10 }, "needed more than 96 KiB of memory"),
            (CallFault::Memory { limit_bytes: 1_000 }, "needed more than 1000 bytes of memory"),
            (CallFault::BadAnswer("it has no name".into()), "broke the contract: it has no name"),
        ] {
            let text = of(fault.clone());
            assert!(text.starts_with(&format!("`on-request` of acme/ssn {said}")), "{text}");
            assert!(fault.to_string().starts_with(&format!("it {said}")), "{fault}");
        }
    }

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
