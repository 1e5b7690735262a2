//! The verifiers of proofs: RFC 9162 §2.1.3.2 and §2.1.4.2, which verify the proofs of RFC 6962.

use super::LogError;
use crate::Hash;

const WRONG_ROOT: LogError = LogError::Proof("it leads to another root");
const TOO_LONG: LogError = LogError::Proof("it has more hashes than the tree has levels");
const TOO_SHORT: LogError = LogError::Proof("it has fewer hashes than the tree has levels");

/// Checks that `leaf` is the leaf of `index` (from 0) in the tree of `size` leaves with this root.
///
/// # Errors
/// [`LogError::Proof`] when the proof fails, [`LogError::Index`] when `index` is not below `size`.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), LogError> {
    if index >= size {
        return Err(LogError::Index { index, size });
    }
    let (mut place, mut last) = (index, size.saturating_sub(1));
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(TOO_LONG);
        }
        if place % 2 == 1 || place == last {
            hash = Hash::node(sibling, &hash);
            climb_to_sibling(&mut place, &mut last);
        } else {
            hash = Hash::node(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    match (last == 0, hash == *root) {
        (true, true) => Ok(()),
        (true, false) => Err(WRONG_ROOT),
        (false, _) => Err(TOO_SHORT),
    }
}

/// Checks that the tree of `old` leaves is the beginning of the tree of `new` leaves.
///
/// # Errors
/// [`LogError::Proof`] when the proof fails, [`LogError::Size`] when `old` is above `new`.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), LogError> {
    if old > new {
        return Err(LogError::Size { asked: old, size: new });
    }
    if old == 0 || old == new {
        // The empty tree is the beginning of every tree, but only the empty tree has its root.
        let wanted = if old == 0 { Hash::of(b"") } else { *new_root };
        let settled = proof.is_empty() && *old_root == wanted;
        return if settled { Ok(()) } else { Err(WRONG_ROOT) };
    }
    // A complete old tree is itself the first hash.
    let (first, rest) = if old.is_power_of_two() {
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(TOO_SHORT)?;
        (*first, rest)
    };
    let (mut place, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    let odd = place.trailing_ones();
    place >>= odd;
    last >>= odd;
    let (mut of_old, mut of_new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(TOO_LONG);
        }
        if place % 2 == 1 || place == last {
            of_old = Hash::node(sibling, &of_old);
            of_new = Hash::node(sibling, &of_new);
            climb_to_sibling(&mut place, &mut last);
        } else {
            of_new = Hash::node(&of_new, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    match (last == 0, of_old == *old_root && of_new == *new_root) {
        (true, true) => Ok(()),
        (true, false) => Err(WRONG_ROOT),
        (false, _) => Err(TOO_SHORT),
    }
}

/// A last node without a right sibling goes up unchanged until it is a right child itself.
fn climb_to_sibling(place: &mut u64, last: &mut u64) {
    while *place != 0 && place.is_multiple_of(2) {
        *place >>= 1;
        *last >>= 1;
    }
}
