//! Which nodes a wave contains: an exact share of the nodes, in an order that every replica computes.

use tamis_trust::Digest;

/// The order in which a rollout moves nodes: SHA-256 of the rollout's name, a zero byte and the node's
/// name. Different rollouts start with different nodes, so that no node is always the first.
#[must_use]
pub fn rank(rollout: &str, node: &str) -> [u8; 32] {
    *Digest::of(&[rollout.as_bytes(), &[0], node.as_bytes()].concat()).as_bytes()
}

/// The number of nodes for a percentage, rounded up: at least one for 1 percent and more; 100 and more is
/// all.
#[must_use]
pub fn share(percent: u8, nodes: usize) -> usize {
    nodes.saturating_mul(usize::from(percent.min(100))).div_ceil(100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wave_has_at_least_one_node_and_at_most_its_share_rounded_up() {
        let rows = [
            (0, 3, 0),
            (1, 0, 0),
            (1, 1, 1),
            (10, 1, 1),
            (25, 3, 1),
            (50, 3, 2),
            (99, 3, 3),
            (100, 3, 3),
            (10, 100, 10),
            (1, 101, 2),
            (255, 7, 7),
        ];
        for (percent, nodes, wanted) in rows {
            assert_eq!(share(percent, nodes), wanted, "{percent} % of {nodes}");
        }
    }

    proptest! {
        #[test]
        fn shares_rise_with_their_percentages(nodes in 0usize..10_000, one in 0u8..=100, more in 0u8..=100) {
            let (one, more) = (one.min(more), one.max(more));
            prop_assert!(share(one, nodes) <= share(more, nodes) && share(more, nodes) <= nodes);
            prop_assert!(nodes == 0 || one == 0 || share(one, nodes) >= 1);
        }

        #[test]
        fn two_rollouts_begin_with_other_nodes(one in "[a-z]{1,8}", other in "[A-Z]{1,8}", node in ".{1,20}") {
            prop_assert_ne!(rank(&one, &node), rank(&other, &node));
        }
    }
}
