use std::collections::BTreeMap;

use proptest::prelude::*;
use tlog_tiles::tlog;

use super::*;

/// A tree whose nodes are kept.
#[derive(Default)]
struct Tree {
    frontier: Frontier,
    nodes: BTreeMap<Node, Hash>,
    roots: Vec<Hash>,
}

impl Tree {
    fn of(size: u64) -> Self {
        let mut tree = Tree { roots: vec![Hash::of(b"")], ..Tree::default() };
        for number in 0..size {
            let Tree { frontier, nodes, roots } = &mut tree;
            frontier.append(leaf(number), |node, hash| assert_eq!(nodes.insert(node, hash), None));
            roots.push(frontier.root());
        }
        tree
    }

    fn hashes(&self, proof: &Proof) -> Vec<Hash> {
        proof.hashes(|node| self.nodes.get(&node).copied()).unwrap()
    }
}

fn leaf(number: u64) -> Hash {
    leaf_hash(format!("leaf {number}").as_bytes())
}

/// The root as RFC 6962 defines it.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&defined(left), &defined(right))
        }
    }
}

#[test]
fn roots_are_those_of_the_definition_and_little_is_kept() {
    let tree = Tree::of(130);
    let leaves: Vec<Hash> = (0..130).map(leaf).collect();
    for size in 0..=130 {
        assert_eq!(tree.roots[size], defined(&leaves[..size]), "{size}");
        let nodes = Frontier::nodes(size as u64).iter().map(|node| tree.nodes[node]).collect();
        let frontier = Frontier::of(size as u64, nodes).unwrap();
        assert_eq!(frontier.root(), tree.roots[size], "{size}");
    }
    assert!(tree.nodes.len() < 2 * 130);
    assert_eq!(Frontier::of(3, vec![leaf(0)]), None);
}

#[test]
fn the_vectors_of_certificate_transparency_hold() {
    // The test tree of the reference implementation of RFC 6962.
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    let bytes = |hex: &str| {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2).unwrap(), 16).unwrap()).collect()
    };
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(frontier.root().to_string(), format!("sha-256:{root}"));
        if let Some(hex) = leaves.get(size) {
            let bytes: Vec<u8> = bytes(hex);
            frontier.append(leaf_hash(&bytes), |_, _| ());
        }
    }
}

#[test]
fn every_proof_of_small_trees_holds_for_what_it_proves_only() {
    let tree = Tree::of(70);
    for size in 1..=70_u64 {
        let root = tree.roots[size as usize];
        for index in 0..size {
            let proof = tree.hashes(&Proof::inclusion(index, size).unwrap());
            assert_eq!(verify_inclusion(leaf(index), index, size, root, &proof), Ok(()), "{index} of {size}");
            assert_ne!(verify_inclusion(leaf(index + 1), index, size, root, &proof), Ok(()));
            assert_ne!(verify_inclusion(leaf(index), (index + 1) % (size + 1), size, root, &proof), Ok(()));
            let longer = [&*proof, &[root]].concat();
            assert_eq!(verify_inclusion(leaf(index), index, size, root, &longer), Err(ProofError::Length));
            if let Some((_, shorter)) = proof.split_last() {
                assert_eq!(verify_inclusion(leaf(index), index, size, root, shorter), Err(ProofError::Length));
            }
        }
        for first in 0..=size {
            let old = tree.roots[first as usize];
            let proof = tree.hashes(&Proof::consistency(first, size).unwrap());
            assert_eq!(verify_consistency(first, old, size, root, &proof), Ok(()), "{first} of {size}");
            let other = tree.roots[(first as usize + 1) % 71];
            assert_ne!(verify_consistency(first, other, size, root, &proof), Ok(()));
            let longer = [&*proof, &[root]].concat();
            assert_eq!(verify_consistency(first, old, size, root, &longer), Err(ProofError::Length), "{first} {size}");
            if let Some((_, shorter)) = proof.split_last() {
                assert_ne!(verify_consistency(first, old, size, root, shorter), Ok(()));
            }
        }
    }
    assert_eq!(Proof::inclusion(70, 70), Err(ProofError::Range));
    assert_eq!(Proof::consistency(71, 70), Err(ProofError::Range));
}

#[test]
fn the_largest_sizes_are_a_question_as_any_other() {
    let (most, root) = (u64::MAX, leaf(0));
    for index in [0, 1, most / 2, most - 2, most - 1] {
        let proof = Proof::inclusion(index, most).unwrap();
        assert!(proof.nodes().count() <= 2 * 64);
        let hashes = proof.hashes(|_| Some(root)).unwrap();
        assert_eq!(verify_inclusion(root, index, most, root, &hashes), Err(ProofError::Root), "{index}");
        assert_eq!(verify_inclusion(root, index, most, root, &[root; 65]), Err(ProofError::Length));
        let proof = Proof::consistency(index, most).unwrap();
        assert!(proof.nodes().count() <= 2 * 64);
        let hashes = proof.hashes(|_| Some(root)).unwrap();
        assert_eq!(verify_consistency(index, root, most, root, &hashes), Err(ProofError::Root), "{index}");
    }
    assert_eq!(verify_inclusion(root, most, most, root, &[]), Err(ProofError::Range));
    let mut full = Frontier::of(most, vec![root; 64]).unwrap();
    full.append(root, |node, _| assert_eq!(node.level, u8::MAX, "no node"));
    assert_eq!(full.size(), most);
}

/// Nodes for `tlog_tiles`, by its own numbers.
struct Theirs<'a>(&'a Tree);

impl tlog::HashReader for Theirs<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let node = |index: &u64| {
            let (level, index) = tlog::split_stored_hash_index(*index);
            theirs(&self.0.nodes[&Node { level, index }])
        };
        Ok(indexes.iter().map(node).collect())
    }
}

fn theirs(hash: &Hash) -> tlog::Hash {
    tlog::Hash(*hash.as_bytes())
}

fn ours(hash: &tlog::Hash) -> Hash {
    Hash::from_bytes(hash.0)
}

proptest! {
    #[test]
    fn another_implementation_makes_and_takes_the_same((size, index, first) in (1..600_u64).prop_flat_map(|size| (Just(size), 0..size, 1..=size))) {
        let tree = Tree::of(size);
        let root = tree.roots[size as usize];
        let reader = Theirs(&tree);
        prop_assert_eq!(ours(&tlog::tree_hash(size, &reader).unwrap()), root);
        prop_assert_eq!(tree.nodes.len() as u64, tlog::stored_hash_count(size));

        let made = tlog::prove_record(size, index, &reader).unwrap();
        let proof = tree.hashes(&Proof::inclusion(index, size).unwrap());
        prop_assert_eq!(made.iter().map(ours).collect::<Vec<_>>(), proof.clone());
        let proof = proof.iter().map(theirs).collect();
        prop_assert!(tlog::check_record(&proof, size, theirs(&root), index, theirs(&leaf(index))).is_ok());

        let made = tlog::prove_tree(size, first, &reader).unwrap();
        let proof = tree.hashes(&Proof::consistency(first, size).unwrap());
        prop_assert_eq!(made.iter().map(ours).collect::<Vec<_>>(), proof.clone());
        let proof = proof.iter().map(theirs).collect();
        let old = theirs(&tree.roots[first as usize]);
        prop_assert!(tlog::check_tree(&proof, size, theirs(&root), first, old).is_ok());
    }

    /// No proof makes a verifier do more than it should, or accept what another one refuses.
    #[test]
    fn hostile_proofs_are_judged_alike(size in prop_oneof![0..9_u64, Just(u64::MAX), any::<u64>()], at in prop_oneof![0..9_u64, any::<u64>()],
                                       proof in prop::collection::vec((0..3_u64).prop_map(leaf), 0..70)) {
        let (root, leaf) = (leaf(1), leaf(2));
        prop_assert!(verify_inclusion(leaf, at, size, root, &proof).is_err() || (size == 1 && leaf == root));
        let verdict = verify_consistency(at, leaf, size, root, &proof);
        let their_proof = proof.iter().map(theirs).collect();
        if (1..=size).contains(&at) && size < 1 << 62 {
            let theirs = tlog::check_tree(&their_proof, size, theirs(&root), at, theirs(&leaf));
            prop_assert_eq!(verdict.is_ok(), theirs.is_ok());
        }
    }
}
