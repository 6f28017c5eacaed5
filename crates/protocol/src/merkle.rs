//! The Merkle tree of RFC 6962 section 2 (RFC 9162 section 2.1) over the hashes of leaves.
//!
//! Only complete subtrees are kept: each leaf brings its own node and, on average, one more. Every root and every proof of every size
//! comes from O(log n) of them. Nothing here keeps them: what is needed is named by its [`Node`], and the caller looks it up.

use sha2::{Digest as _, Sha256};

use crate::Hash;

/// A complete subtree: the `index`-th, counted from 0, of those with 2^`level` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// 0 for a leaf, at most 63.
    pub level: u8,
    pub index: u64,
}

/// Why a proof does not prove what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    #[error("there is no such leaf or tree inside a tree of this size")]
    Range,
    #[error("the proof has not the number of hashes that it must have")]
    Length,
    #[error("the proof leads to another root")]
    Root,
}

/// The hash of a leaf: SHA-256(0x00 || bytes).
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Hash::from_bytes(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
}

/// The hash of a subtree of two: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let both = Sha256::new().chain_update([1]).chain_update(left.as_bytes()).chain_update(right.as_bytes());
    Hash::from_bytes(both.finalize().into())
}

/// The right edge of a tree, from which it goes on: the roots of the complete subtrees that it is made of, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The subtrees that a tree of this size is made of, the largest first; there are at most 64.
    pub fn nodes(size: u64) -> Vec<Node> {
        range(0, size)
    }

    /// The edge of a tree of `size` leaves from the hashes of its [`Frontier::nodes`]; `None` if their number is another one.
    pub fn of(size: u64, roots: Vec<Hash>) -> Option<Self> {
        if roots.len() == size.count_ones() as usize { Some(Frontier { size, roots }) } else { None }
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree; of one without leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        fold(self.roots.iter().copied()).unwrap_or_else(|| Hash::of(b""))
    }

    /// Appends a leaf by its hash, and hands every node that it completes to `keep`, the leaf first.
    ///
    /// A tree of 2^64-1 leaves takes no further one; none will be that large.
    pub fn append(&mut self, leaf: Hash, mut keep: impl FnMut(Node, Hash)) {
        let Some(size) = self.size.checked_add(1) else { return };
        let (mut node, mut hash) = (Node { level: 0, index: self.size }, leaf);
        keep(node, hash);
        // A subtree that is the right one of two completes the one above it.
        while node.index & 1 == 1
            && let Some(left) = self.roots.pop()
        {
            hash = node_hash(&left, &hash);
            node = Node { level: node.level + 1, index: node.index >> 1 };
            keep(node, hash);
        }
        self.roots.push(hash);
        self.size = size;
    }
}

/// What a proof is made of: for each of its hashes, the subtrees that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof(Vec<Vec<Node>>);

impl Proof {
    /// The proof that a tree of `size` leaves has a leaf at `index`, counted from 0 (RFC 9162 section 2.1.3.1).
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::Range);
        }
        let (mut low, mut high) = (0, size);
        let mut parts = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                parts.push(range(middle, high));
                high = middle;
            } else {
                parts.push(range(low, middle));
                low = middle;
            }
        }
        parts.reverse();
        Ok(Proof(parts))
    }

    /// The proof that a tree of `size` leaves begins with the one of `first` leaves (RFC 9162 section 2.1.4.1). It is empty where
    /// `first` is 0 or `size`.
    pub fn consistency(first: u64, size: u64) -> Result<Self, ProofError> {
        if first > size {
            return Err(ProofError::Range);
        }
        let (mut low, mut high) = (0, size);
        let mut parts = Vec::new();
        while 0 < first && first < high {
            let middle = low + split(high - low);
            if first <= middle {
                parts.push(range(middle, high));
                high = middle;
            } else {
                parts.push(range(low, middle));
                low = middle;
            }
        }
        // The old tree itself is known to who asks, unless it is made of several subtrees.
        if low > 0 {
            parts.push(range(low, high));
        }
        parts.reverse();
        Ok(Proof(parts))
    }

    /// The nodes that must be looked up.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.0.iter().flatten().copied()
    }

    /// The hashes of the proof; `None` where a node is not known.
    pub fn hashes(&self, mut look_up: impl FnMut(Node) -> Option<Hash>) -> Option<Vec<Hash>> {
        let mut hash = |part: &Vec<Node>| {
            let hashes: Option<Vec<Hash>> = part.iter().map(|node| look_up(*node)).collect();
            fold(hashes?.into_iter())
        };
        self.0.iter().map(&mut hash).collect()
    }
}

/// Checks that the tree of `size` leaves with this `root` has `leaf` at `index` (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, root: Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let mut path = Path { at: index, last: size - 1 };
    let mut hash = leaf;
    for other in proof {
        hash = match path.up()? {
            Side::Right => node_hash(other, &hash),
            Side::Left => node_hash(&hash, other),
        };
    }
    path.ends(hash == root)
}

/// Checks that the tree of `size` leaves with this `root` begins with the one of `first` leaves whose root is `first_root`
/// (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(
    first: u64,
    first_root: Hash,
    size: u64,
    root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let is_root = |fits: bool| if fits { Ok(()) } else { Err(ProofError::Root) };
    match first {
        _ if first > size => return Err(ProofError::Range),
        0 if proof.is_empty() => return is_root(first_root == Hash::of(b"") && (size > 0 || root == first_root)),
        _ if first == size && proof.is_empty() => return is_root(root == first_root),
        0 => return Err(ProofError::Length),
        _ if first == size => return Err(ProofError::Length),
        _ => {}
    }
    let mut path = Path { at: first - 1, last: size - 1 };
    path.skip_right();
    let (start, rest) = match proof.split_first() {
        _ if first.is_power_of_two() => (first_root, proof),
        Some((start, rest)) => (*start, rest),
        None => return Err(ProofError::Length),
    };
    let (mut old, mut new) = (start, start);
    for other in rest {
        match path.up()? {
            Side::Right => (old, new) = (node_hash(other, &old), node_hash(other, &new)),
            Side::Left => new = node_hash(&new, other),
        }
    }
    path.ends(old == first_root && new == root)
}

/// The way from a node up to the root: where it and the last node of its level stand.
struct Path {
    at: u64,
    last: u64,
}

/// On which side of its parent a node stands.
enum Side {
    Left,
    Right,
}

impl Path {
    /// One step of a proof upwards. Levels on which the node is the last one and has no sibling take no step.
    fn up(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        let side = if self.at & 1 == 1 || self.at == self.last { Side::Right } else { Side::Left };
        if matches!(side, Side::Right) && self.at != 0 {
            let alone = self.at.trailing_zeros();
            (self.at, self.last) = (self.at >> alone, self.last >> alone);
        }
        (self.at, self.last) = (self.at >> 1, self.last >> 1);
        Ok(side)
    }

    /// To the largest complete subtree that ends with this leaf.
    fn skip_right(&mut self) {
        let ones = self.at.trailing_ones();
        // 64 levels would be a tree of 2^64 leaves.
        (self.at, self.last) = (self.at.checked_shr(ones).unwrap_or(0), self.last.checked_shr(ones).unwrap_or(0));
    }

    fn ends(&self, fits: bool) -> Result<(), ProofError> {
        match (self.last, fits) {
            (0, true) => Ok(()),
            (0, false) => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        }
    }
}

/// How many leaves the left one of two subtrees has: the largest power of two below `leaves`, which are at least 2.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// The complete subtrees that make the leaves from `low` to below `high`, the largest first; `low` ends a complete subtree at least
/// as large, or is 0.
fn range(mut low: u64, high: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while low < high {
        let level = (high - low).ilog2();
        nodes.push(Node { level: level as u8, index: low >> level });
        low += 1 << level;
    }
    nodes
}

/// The root over subtrees that stand side by side, each smaller than the one before it.
fn fold(hashes: impl DoubleEndedIterator<Item = Hash>) -> Option<Hash> {
    hashes.rev().reduce(|right, left| node_hash(&left, &right))
}

#[cfg(test)]
mod tests;
