use proptest::prelude::*;

use super::super::{verify_consistency, verify_inclusion};
use super::*;

const LARGEST: u64 = 300;

fn leaf(index: u64) -> Hash {
    Hash::leaf(&index.to_be_bytes())
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree::new();
    (0..size).for_each(|index| tree.push(leaf(index)));
    tree
}

/// The definition in RFC 6962 §2.1, literally.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [one] => *one,
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            Hash::node(&defined(&leaves[..split]), &defined(&leaves[split..]))
        }
    }
}

#[test]
fn every_root_is_the_one_that_the_definition_gives() {
    let tree = tree(LARGEST);
    let leaves: Vec<Hash> = (0..LARGEST).map(leaf).collect();
    for size in 0..=LARGEST {
        let wanted = defined(&leaves[..usize::try_from(size).unwrap()]);
        assert_eq!(tree.root(size).unwrap(), wanted, "{size}");
    }
}

#[test]
fn the_roots_are_those_of_the_test_vectors_of_certificate_transparency() {
    let inputs: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let mut tree = Tree::new();
    inputs.iter().for_each(|input| tree.push(Hash::leaf(input)));
    for (size, root) in [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ] {
        assert_eq!(tree.root(size).unwrap().to_string(), root);
    }
}

#[test]
fn every_inclusion_proof_up_to_300_holds_for_its_leaf_and_no_other() {
    let tree = tree(LARGEST);
    for size in 1..=LARGEST {
        let root = tree.root(size).unwrap();
        for index in 0..size {
            let proof = tree.inclusion(index, size).unwrap();
            verify_inclusion(&leaf(index), index, size, &proof, &root).unwrap();
            verify_inclusion(&leaf(index + 1), index, size, &proof, &root).unwrap_err();
            verify_inclusion(&leaf(index), size, size, &proof, &root).unwrap_err();
        }
    }
}

#[test]
fn every_consistency_proof_up_to_300_holds_for_its_roots_and_no_others() {
    let tree = tree(LARGEST);
    let roots: Vec<Hash> = (0..=LARGEST).map(|size| tree.root(size).unwrap()).collect();
    for (new, new_root) in (0..).zip(&roots) {
        for (old, old_root) in (0..=new).zip(&roots) {
            let proof = tree.consistency(old, new).unwrap();
            verify_consistency(old, old_root, new, new_root, &proof).unwrap();
            let other = leaf(1_000);
            verify_consistency(old, &other, new, new_root, &proof).unwrap_err();
            if old > 0 {
                verify_consistency(old, old_root, new, &other, &proof).unwrap_err();
            }
        }
    }
}

#[test]
fn what_is_not_in_the_tree_has_no_proof() {
    let tree = tree(5);
    assert!(matches!(tree.root(6), Err(LogError::Size { asked: 6, size: 5 })));
    assert!(matches!(tree.inclusion(3, 3), Err(LogError::Index { .. })));
    assert!(matches!(tree.inclusion(0, u64::MAX), Err(LogError::Size { .. })));
    assert!(matches!(tree.consistency(4, 3), Err(LogError::Size { .. })));
    assert!(matches!(tree.consistency(1, 6), Err(LogError::Size { .. })));
}

fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut hash = *hash;
    hash.0[bit / 8 % 32] ^= 1 << (bit % 8);
    hash
}

proptest! {
    #[test]
    fn a_flipped_bit_anywhere_in_an_inclusion_proof_fails(
        size in 1..=LARGEST, place in any::<u64>(), which in any::<usize>(), bit in 0_usize..256,
    ) {
        let (tree, index) = (tree(size), place % size);
        let root = tree.root(size).unwrap();
        let mut proof = tree.inclusion(index, size).unwrap();
        prop_assert!(verify_inclusion(&flipped(&leaf(index), bit), index, size, &proof, &root).is_err());
        prop_assert!(verify_inclusion(&leaf(index), index, size, &proof, &flipped(&root, bit)).is_err());
        if !proof.is_empty() {
            let which = which % proof.len();
            proof[which] = flipped(&proof[which], bit);
            prop_assert!(verify_inclusion(&leaf(index), index, size, &proof, &root).is_err());
            proof.pop();
            prop_assert!(verify_inclusion(&leaf(index), index, size, &proof, &root).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_consistency_proof_fails(
        new in 1..=LARGEST, place in any::<u64>(), which in any::<usize>(), bit in 0_usize..256,
    ) {
        let (tree, old) = (tree(new), place % new + 1);
        let (old_root, new_root) = (tree.root(old).unwrap(), tree.root(new).unwrap());
        let mut proof = tree.consistency(old, new).unwrap();
        prop_assert!(verify_consistency(old, &flipped(&old_root, bit), new, &new_root, &proof).is_err());
        prop_assert!(verify_consistency(old, &old_root, new, &flipped(&new_root, bit), &proof).is_err());
        proof.push(leaf(7));
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof).is_err());
        proof.pop();
        if !proof.is_empty() {
            let which = which % proof.len();
            proof[which] = flipped(&proof[which], bit);
            prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof).is_err());
        }
    }

    #[test]
    fn no_proof_makes_the_verifiers_panic(
        index in any::<u64>(), size in any::<u64>(), proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let proof: Vec<Hash> = proof.into_iter().map(Hash).collect();
        let _ = verify_inclusion(&leaf(1), index, size, &proof, &leaf(2));
        let _ = verify_consistency(index, &leaf(1), size, &leaf(2), &proof);
    }
}
