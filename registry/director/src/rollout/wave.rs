//! Which nodes a wave has: always the same ones, without anybody keeping a list.

use tamis_trust::Digest;

/// Nodes are spread over so many slices, as Bottlerocket's waves are.
pub const SLICES: u16 = 2048;

/// The slice of a node: the first two bytes, modulo 2048, of SHA-256 of the rollout's name, a zero byte and the node's
/// name. Of two rollouts each begins with other nodes, so that no node is always the first.
#[must_use]
pub fn slice(rollout: &str, node: &str) -> u16 {
    let digest = Digest::of(&[rollout.as_bytes(), &[0], node.as_bytes()].concat());
    let [first, second, ..] = *digest.as_bytes();
    u16::from_be_bytes([first, second]) % SLICES
}

/// How many slices a percentage has, rounded up; 100 and more is all.
#[must_use]
pub fn share(percent: u8) -> u16 {
    (u16::from(percent.min(100)) * 512).div_ceil(25)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_nodes_are_in_a_hundred_percent_and_none_in_zero() {
        assert_eq!((share(0), share(1), share(50), share(100)), (0, 21, 1024, SLICES));
    }

    #[test]
    fn shares_are_near_their_percentages() {
        for percent in [1, 5, 10, 25, 50, 90] {
            let nodes = (0..20_000).map(|at| format!("sidecar:shop/a/{at}"));
            let moved = nodes.filter(|node| slice("retry-1.5", node) < share(percent)).count();
            let found = 100.0 * f64::from(u32::try_from(moved).unwrap()) / 20_000.0;
            // Four standard deviations of a binomial of 20,000 are at most 1.4 percent.
            assert!((found - f64::from(percent)).abs() < 1.5, "{percent}: {found}");
        }
    }

    proptest! {
        #[test]
        fn a_node_never_leaves_a_growing_wave(name in ".{1,20}", node in ".{1,20}", one in 0u8..=100, more in 0u8..=100) {
            let (one, more) = (one.min(more), one.max(more));
            prop_assert!(share(one) <= share(more) && share(more) <= SLICES);
            if slice(&name, &node) < share(one) {
                prop_assert!(slice(&name, &node) < share(more));
            }
            prop_assert!(slice(&name, &node) < share(100));
        }
    }
}
