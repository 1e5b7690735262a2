//! Why a component cannot become a filter, and why a call of one failed.

use crate::Hook;
use crate::field::{self, Lack};

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
        "filter `{filter}` {}, which its grant does not cover; if it should, write:\n{}",
        lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        field::lines(filter, lacks)
    )]
    Field {
        /// Name of the filter.
        filter: String,
        /// Declared fields that the grant does not cover; at least one.
        lacks: Vec<Lack>,
    },
    /// Its grant exceeds the limits of this host.
    #[error(transparent)]
    Ceiling(#[from] crate::OverCeiling),
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
        /// JSON pointer and message of each error.
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
            Self::Field { .. } => "grant.field",
            Self::Interest { .. } | Self::Configure { .. } => "filter.configure",
            Self::SelfTest { .. } => "filter.selftest",
        }
    }
}

/// Number of configuration errors that are reported at most.
const MAX_ERRORS: usize = 32;

/// At most `max` bytes of a text from a guest: it goes into logs, status and reports.
pub(crate) fn short(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

fn list(errors: &[(String, String)]) -> String {
    let lines: Vec<_> = errors
        .iter()
        .take(MAX_ERRORS)
        .map(|(pointer, message)| {
            let (pointer, message) = (short(pointer, 256), short(message, 1_024));
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
    /// Its answer breaks the contract.
    #[error("its answer is malformed: {0}")]
    Lift(String),
    /// It failed too often recently and is not called.
    #[error("it failed too often and is not called for now")]
    BreakerOpen,
    /// Its last instance failed and the next one is not ready yet; it is not called until then.
    #[error("its last instance failed and the next one is not ready yet")]
    Remaking,
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
    /// All values of [`Self::kind`].
    pub const KINDS: [&str; 9] = [
        "trap",
        "deadline",
        "memory",
        "stack",
        "lift",
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
            Self::Lift(_) => "lift",
            Self::BreakerOpen => "breaker-open",
            Self::Remaking => "remaking",
            Self::Instantiate(_) => "instantiate",
            Self::NoHook(_) => "no-hook",
            Self::ViewTruncated => "view-truncated",
        }
    }
}
