//! Which verdicts a hook may give, and their effect on a head: the same rules and the same words in the
//! proxy and in tests of filters.

use crate::edit::{WritableFields, apply, check};
use crate::exchange::Exchange;
use crate::head_side::HeadSide;
use crate::hooks::Verdict;

/// Checks the verdict of a hook on heads and applies its edits: all, or none.
///
/// # Errors
/// The rule of the contract that the verdict breaks.
pub fn accept_head(
    verdict: &Verdict,
    writes: &WritableFields,
    exchange: &mut Exchange,
    side: HeadSide,
) -> Result<(), String> {
    match verdict {
        Verdict::Pass | Verdict::Answer(_) => Ok(()),
        Verdict::Change(edits) => check(edits, writes, side)
            .and_then(|()| apply(edits, writes, exchange, side))
            .map_err(|error| error.to_string()),
        Verdict::Replace(_) | Verdict::Rewrite { .. } | Verdict::Hold => {
            Err("`replace` without a body".to_owned())
        }
    }
}

/// Checks the verdict of a hook that sees a whole body, and applies its edits to the head, which is held.
///
/// # Errors
/// The rule of the contract that the verdict breaks.
pub fn accept_whole_body(
    verdict: &Verdict,
    writes: &WritableFields,
    exchange: &mut Exchange,
    side: HeadSide,
) -> Result<(), String> {
    match verdict {
        Verdict::Pass | Verdict::Answer(_) | Verdict::Replace(_) => Ok(()),
        Verdict::Rewrite { edits, .. } | Verdict::Change(edits) => check(edits, writes, side)
            .and_then(|()| apply(edits, writes, exchange, side))
            .map_err(|error| error.to_string()),
        Verdict::Hold => {
            Err("it answers `hold` to a whole body, after which no chunk follows".to_owned())
        }
    }
}

/// The rule of the contract that a verdict on a chunk breaks. `shown`: bytes of the chunk, with those held
/// before; `limit`: the declared `body-limit-bytes`; `last`: nothing comes after it.
#[must_use]
pub fn chunk_rule(verdict: &Verdict, shown: usize, limit: usize, last: bool) -> Option<String> {
    match verdict {
        Verdict::Change(_) => Some("`change` of a head that was sent before".to_owned()),
        Verdict::Rewrite { edits, .. } if !edits.is_empty() => Some(
            "edits of a head that was sent before; only a filter that buffers may edit it"
                .to_owned(),
        ),
        Verdict::Hold if last => {
            Some("it answers `hold` to the last chunk, after which no chunk follows".to_owned())
        }
        Verdict::Hold if shown > limit => Some(format!(
            "it holds {shown} bytes, and declared at most {limit} (`body-limit-bytes`)"
        )),
        Verdict::Pass
        | Verdict::Replace(_)
        | Verdict::Rewrite { .. }
        | Verdict::Hold
        | Verdict::Answer(_) => None,
    }
}
