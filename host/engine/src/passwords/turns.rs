//! The queue of what filters want done: namespaces take turns, and in each of them its filters.

use std::collections::VecDeque;
use std::sync::Arc;

/// Who waits: a namespace, and one of its filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TurnOwner {
    /// The namespace of an attachment.
    pub(crate) namespace: Arc<str>,
    /// Of one attachment.
    pub(crate) filter: usize,
}

/// No more can wait, or its owner has all that it leaves to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// Items that wait, in the order in which they get their turns.
#[derive(Debug)]
pub(super) struct Turns<T> {
    most: usize,
    namespaces: VecDeque<(Arc<str>, FilterTurns<T>)>,
}

/// Those of a namespace. No filter in it is without items.
type FilterTurns<T> = VecDeque<(usize, VecDeque<T>)>;

fn count<T>(filters: &FilterTurns<T>) -> usize {
    filters.iter().fold(0, |sum, (_, items)| sum.saturating_add(items.len()))
}

impl<T> Turns<T> {
    /// Holds at most so many items.
    pub(super) fn new(most: usize) -> Self {
        Self { most, namespaces: VecDeque::new() }
    }

    /// Adds an item behind those of its filter. A namespace has at most as many places as it leaves free for others, and a
    /// filter at most as many as it leaves free for the other filters of its namespace.
    pub(super) fn push(&mut self, owner: &TurnOwner, item: T) -> Result<(), QueueFull> {
        let all = self.namespaces.iter().map(|(_, filters)| count(filters));
        let left = self.most.saturating_sub(all.fold(0, usize::saturating_add));
        let place = self.namespaces.iter().position(|(name, _)| *name == owner.namespace);
        let filters = place.and_then(|at| self.namespaces.get(at)).map(|(_, filters)| filters);
        let own = filters.map_or(0, count);
        let of_filter = filters.and_then(|filters| filters.iter().find(|it| it.0 == owner.filter));
        let of_filter = of_filter.map_or(0, |(_, items)| items.len());
        // As many as it could have, if nobody else came.
        let share = own.saturating_add(left).checked_div(2).unwrap_or(0);
        if own >= left || of_filter >= share.saturating_sub(own) {
            return Err(QueueFull);
        }
        let filters = match place.and_then(|at| self.namespaces.get_mut(at)) {
            Some((_, filters)) => filters,
            None => {
                self.namespaces.push_back((Arc::clone(&owner.namespace), VecDeque::new()));
                match self.namespaces.back_mut() {
                    Some((_, filters)) => filters,
                    None => return Err(QueueFull),
                }
            }
        };
        match filters.iter_mut().find(|(filter, _)| *filter == owner.filter) {
            Some((_, items)) => items.push_back(item),
            None => filters.push_back((owner.filter, VecDeque::from([item]))),
        }
        Ok(())
    }

    /// The next one: the oldest of the filter whose turn it is, of the namespace whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (name, mut filters) = self.namespaces.pop_front()?;
        let (filter, mut items) = filters.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            filters.push_back((filter, items));
        }
        if !filters.is_empty() {
            self.namespaces.push_back((name, filters));
        }
        item
    }

    /// Drops those that nobody waits for any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        for (_, filters) in &mut self.namespaces {
            filters.iter_mut().for_each(|(_, items)| items.retain(&wanted));
            filters.retain(|(_, items)| !items.is_empty());
        }
        self.namespaces.retain(|(_, filters)| !filters.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(namespace: &str, filter: usize) -> TurnOwner {
        TurnOwner { namespace: namespace.into(), filter }
    }

    /// After how many others the newcomer has its turn, whoever filled the queue before.
    #[test]
    fn a_newcomer_waits_for_one_of_each_namespace_and_not_for_all_that_came_before() {
        for (greedy, newcomer, before) in [
            (vec![owner("a", 1)], owner("b", 1), 1),
            (vec![owner("a", 1), owner("a", 2), owner("a", 3)], owner("b", 1), 1),
            (vec![owner("a", 1)], owner("a", 2), 1),
            (vec![owner("a", 1), owner("a", 2)], owner("a", 3), 2),
            (vec![owner("a", 1), owner("c", 1)], owner("b", 1), 2),
        ] {
            let mut turns = Turns::new(256);
            for one in &greedy {
                while turns.push(one, "greedy").is_ok() {}
            }
            turns.push(&newcomer, "newcomer").unwrap();
            let waited = std::iter::from_fn(|| turns.pop()).position(|it| it == "newcomer");
            assert_eq!(waited, Some(before), "{greedy:?}, {newcomer:?}");
        }
    }

    #[test]
    fn a_namespace_and_a_filter_have_no_more_than_they_leave() {
        let mut turns = Turns::new(256);
        let fill = |turns: &mut Turns<u8>, one: &TurnOwner| {
            std::iter::from_fn(|| turns.push(one, 0).ok()).count()
        };
        let counts = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 1)]
            .map(|(namespace, filter)| fill(&mut turns, &owner(namespace, filter)));
        assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
        assert!(counts[..3].iter().sum::<usize>() <= 128, "{counts:?}");
    }

    proptest! {
        #[test]
        fn what_is_in_comes_out_once_and_in_the_order_of_its_filter(steps in prop::collection::vec((0_usize..3, 0_usize..3, any::<bool>()), 0..300)) {
            let mut turns = Turns::new(64);
            let (mut within, mut seen) = (0_usize, std::collections::HashMap::new());
            for (number, (namespace, filter, pops)) in steps.into_iter().enumerate() {
                if pops {
                    let popped: Option<(usize, usize, usize)> = turns.pop();
                    prop_assert_eq!(popped.is_some(), within > 0);
                    if let Some((namespace, filter, number)) = popped {
                        within -= 1;
                        let last = seen.insert((namespace, filter), number);
                        prop_assert!(last.is_none_or(|last| last < number));
                    }
                } else if turns.push(&owner(&namespace.to_string(), filter), (namespace, filter, number)).is_ok() {
                    within += 1;
                }
                prop_assert!(within <= 64);
            }
            turns.retain(|_| false);
            prop_assert!(turns.pop().is_none());
        }
    }
}
