//! Values by the beginning of a path: one walk over a path finds all of them, however many there are.

/// A radix tree over octets. Its first node stands for the empty text.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Debug, Default)]
struct Node<T> {
    /// The octets from the parent to here; empty only for the first node.
    label: Vec<u8>,
    /// Positions of the nodes below, in the order of the first octets of their labels, which differ.
    below: Vec<usize>,
    value: T,
}

impl<T: Default> Default for Trie<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "positions are those of nodes, which are never removed; `common` is within both texts"
)]
impl<T: Default> Trie<T> {
    /// The value of this text, made if there is none.
    pub(crate) fn entry(&mut self, text: &str) -> &mut T {
        let mut at = 0;
        let mut rest = text.as_bytes();
        while let Some(first) = rest.first() {
            at = match self.search(at, *first) {
                Err(place) => {
                    let new = self.push(rest.to_vec());
                    self.nodes[at].below.insert(place, new);
                    rest = &[];
                    new
                }
                Ok(place) => {
                    let next = self.nodes[at].below[place];
                    let label = &self.nodes[next].label;
                    let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    rest = &rest[common..];
                    if common == label.len() { next } else { self.split(at, place, common) }
                }
            };
        }
        &mut self.nodes[at].value
    }

    /// All values, in no particular order.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.nodes.iter_mut().map(|node| &mut node.value)
    }

    fn push(&mut self, label: Vec<u8>) -> usize {
        self.nodes.push(Node { label, below: Vec::new(), value: T::default() });
        self.nodes.len() - 1
    }

    /// Puts a node between `parent` and its child at `place`, after `common` octets of the child's label.
    fn split(&mut self, parent: usize, place: usize, common: usize) -> usize {
        let child = self.nodes[parent].below[place];
        let tail = self.nodes[child].label.split_off(common);
        let head = std::mem::replace(&mut self.nodes[child].label, tail);
        let between = self.push(head);
        self.nodes[between].below.push(child);
        self.nodes[parent].below[place] = between;
        between
    }
}

impl<T> Trie<T> {
    /// Calls `found` with the value of every beginning of `path` that is in the tree, shortest first, and with
    /// the length of that beginning.
    pub(crate) fn walk<'t>(&'t self, path: &str, mut found: impl FnMut(usize, &'t T)) {
        let path = path.as_bytes();
        let (mut at, mut done) = (0, 0);
        while let Some(node) = self.nodes.get(at) {
            found(done, &node.value);
            let Some(rest) = path.get(done..) else { return };
            let next = rest.first().and_then(|first| self.search(at, *first).ok());
            let Some(below) = next.and_then(|place| node.below.get(place)) else { return };
            let Some(label) = self.nodes.get(*below).map(|node| &node.label) else { return };
            if !rest.starts_with(label) {
                return;
            }
            (at, done) = (*below, done + label.len());
        }
    }

    fn search(&self, at: usize, first: u8) -> Result<usize, usize> {
        let below = self.nodes.get(at).map(|node| node.below.as_slice()).unwrap_or_default();
        let first_of = |node: &usize| self.nodes.get(*node).and_then(|node| node.label.first());
        below.binary_search_by(|node| first_of(node).cmp(&Some(&first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_walk_finds_every_beginning_and_nothing_else(
            texts in prop::collection::vec("[aé/]{0,6}", 0..20),
            path in "[aé/]{0,8}",
        ) {
            let mut trie = Trie::<Vec<usize>>::default();
            for (number, text) in texts.iter().enumerate() {
                trie.entry(text).push(number);
            }
            let mut found = Vec::new();
            trie.walk(&path, |length, numbers| {
                found.extend(numbers.iter().map(|number| (length, *number)));
            });
            let mut wanted: Vec<(usize, usize)> = (texts.iter().enumerate())
                .filter(|(_, text)| path.starts_with(text.as_str()))
                .map(|(number, text)| (text.len(), number))
                .collect();
            wanted.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
    }
}
