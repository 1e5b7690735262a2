//! Permits shared by owners: an owner holds at most as many as are left for others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A number of places. Whoever holds as many as are free waits until others had theirs: the first may take half of them, the
/// next half of the rest. Of those who wait, whoever holds the fewest comes first, then whoever waits longest since it began
/// to wait or got its last place. A clone is another handle on the same places.
#[derive(Clone)]
pub(crate) struct Shares(Arc<Mutex<Places>>);

struct Places {
    free: usize,
    /// Grows whenever an owner begins to wait or gets a place.
    moment: u64,
    /// Those who hold places or wait.
    owners: BTreeMap<String, Owner>,
}

#[derive(Default)]
struct Owner {
    held: usize,
    /// [`Places::moment`] when it began to wait or got its last place, whichever was later.
    since: u64,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place, given back when it is dropped.
pub(crate) struct Place {
    shares: Shares,
    owner: String,
}

/// Those who gave up are looked for each time that so many more wait.
const SWEEP: usize = 64;

impl Shares {
    pub(crate) fn new(places: usize) -> Self {
        let places = Places { free: places, moment: 0, owners: BTreeMap::new() };
        Self(Arc::new(Mutex::new(places)))
    }

    /// A place, as soon as one is for this owner. Whoever drops the future waits no longer.
    pub(crate) async fn place(&self, owner: &str) -> Place {
        loop {
            let (place, given) = oneshot::channel();
            {
                let mut places = self.places();
                places.moment += 1;
                let moment = places.moment;
                let owner = places.owners.entry(owner.to_owned()).or_default();
                // One that comes again and again stands behind those who wait already.
                if owner.waiting.is_empty() {
                    owner.since = moment;
                }
                let waiting = &mut owner.waiting;
                if waiting.len() % SWEEP == SWEEP - 1 {
                    waiting.retain(|one| !one.is_closed());
                }
                waiting.push_back(place);
            }
            self.give();
            // It cannot fail: the sender is among those who wait until it is used.
            if let Ok(place) = given.await {
                return place;
            }
        }
    }

    /// Gives free places to those who wait.
    fn give(&self) {
        let mut refused = Vec::new();
        let mut places = self.places();
        while let Some((owner, waits)) = places.next() {
            let place = Place { shares: self.clone(), owner };
            // Dropped only once the lock is free, since it takes the lock.
            refused.extend(waits.send(place).err());
        }
        drop(places);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Each change is a sequence of assignments that cannot panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Who gets a place now, which counts as held.
    fn next(&mut self) -> Option<(String, oneshot::Sender<Place>)> {
        let free = self.free;
        self.owners.retain(|_, one| {
            while one.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                one.waiting.pop_front();
            }
            one.held > 0 || !one.waiting.is_empty()
        });
        let waits = self.owners.iter_mut().filter(|(_, one)| one.held < free);
        let waits = waits.filter(|(_, one)| !one.waiting.is_empty());
        let (name, owner) = waits.min_by_key(|(_, one)| (one.held, one.since))?;
        let sender = owner.waiting.pop_front()?;
        owner.held += 1;
        self.moment += 1;
        owner.since = self.moment;
        self.free -= 1;
        Some((name.clone(), sender))
    }

    fn back(&mut self, name: &str) {
        self.free += 1;
        let Some(owner) = self.owners.get_mut(name) else { return };
        owner.held = owner.held.saturating_sub(1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares.places().back(&self.owner);
        self.shares.give();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn soon(shares: &Shares, owner: &str) -> Option<Place> {
        tokio::time::timeout(Duration::from_millis(20), shares.place(owner)).await.ok()
    }

    /// As many places as an owner gets.
    async fn all(shares: &Shares, owner: &str) -> Vec<Place> {
        let mut held = Vec::new();
        while let Some(place) = soon(shares, owner).await {
            held.push(place);
        }
        held
    }

    #[tokio::test]
    async fn nobody_takes_more_places_than_are_left_for_others() {
        for (places, wanted) in
            [(64, &[32, 16, 8, 4, 2, 1, 1, 0][..]), (2, &[1, 1, 0]), (1, &[1, 0])]
        {
            let shares = Shares::new(places);
            let mut held = Vec::new();
            for (at, wanted) in wanted.iter().enumerate() {
                let own = all(&shares, &format!("{at}")).await;
                assert_eq!(own.len(), *wanted, "{at} of {places}");
                held.push(own);
            }
            drop(held);
            let places = shares.places();
            assert!(places.owners.is_empty(), "those who are gone are forgotten");
        }
    }

    #[tokio::test]
    async fn of_those_who_wait_whoever_holds_the_fewest_comes_first() {
        let shares = Shares::new(4);
        let (mut many, last) = (all(&shares, "many").await, all(&shares, "some").await);
        let full = soon(&shares, "full").await.unwrap();
        assert_eq!((many.len(), last.len()), (2, 1));
        let wait = |owner: &'static str| {
            let shares = shares.clone();
            tokio::spawn(async move { shares.place(owner).await })
        };
        let greedy: Vec<_> = (0..100).map(|_| wait("many")).collect();
        tokio::task::yield_now().await;
        let patient = wait("new");
        tokio::task::yield_now().await;
        drop(many.pop());
        let patient = patient.await.unwrap();
        assert_eq!(greedy.iter().filter(|one| one.is_finished()).count(), 0);
        drop((patient, full, last));
        while greedy.iter().filter(|one| one.is_finished()).count() == 0 {
            tokio::task::yield_now().await;
        }
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn whoever_comes_again_and_again_stands_behind_those_who_wait() {
        let shares = Shares::new(2);
        let (first, second) = (shares.place("a").await, shares.place("b").await);
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let wait = |owner: &'static str| {
            let (shares, order) = (shares.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                let place = shares.place(owner).await;
                order.lock().unwrap().push(owner);
                tokio::task::yield_now().await;
                drop(place);
            })
        };
        // The last name of an alphabet is not the last in turn.
        let mut waiting = Vec::new();
        for owner in ["c", "z", "a", "b", "a"] {
            waiting.push(wait(owner));
            tokio::task::yield_now().await;
        }
        drop((first, second));
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(order.lock().unwrap()[..2], ["c", "z"]);
    }

    #[tokio::test]
    async fn whoever_gave_up_takes_no_place_and_is_forgotten() {
        let shares = Shares::new(1);
        let held = soon(&shares, "a").await.unwrap();
        for _ in 0..200 {
            let waits = shares.place("b");
            assert!(tokio::time::timeout(Duration::ZERO, waits).await.is_err());
        }
        assert!(shares.places().owners["b"].waiting.len() <= SWEEP);
        drop(held);
        assert!(soon(&shares, "c").await.is_some());
        assert!(shares.places().owners.is_empty());
    }
}
