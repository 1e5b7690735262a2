//! DNS for the application of a sidecar: who answers where, by the plan in force.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use tamis_ambient::{Clock, Random};
use tamis_dns::{Answerer, Resolvers, Zone};
use tamis_resources::plan::DnsPlan;
use tamis_transport::causes;

/// The addresses at which DNS is answered.
pub(crate) struct AnsweredNames {
    ambient: (Clock, Random),
    answerers: BTreeMap<SocketAddr, Answerer>,
}

impl AnsweredNames {
    /// None yet.
    pub(crate) fn new(clock: Clock, random: Random) -> Self {
        Self { ambient: (clock, random), answerers: BTreeMap::new() }
    }

    /// Answers as a plan says from now on. An address at which nobody can listen is reported in `notes`, and tried again
    /// with the next plan; the others answer.
    pub(crate) fn follow(&mut self, plan: Option<&DnsPlan>, notes: &mut Vec<String>) {
        let addresses = plan.map(|plan| plan.addresses.as_slice()).unwrap_or_default();
        let addresses: Vec<SocketAddr> =
            addresses.iter().filter_map(|address| address.parse().ok()).collect();
        self.answerers.retain(|address, _| addresses.contains(address));
        let zone = plan.map(zone).unwrap_or_default();
        for address in addresses {
            if let Some(answerer) = self.answerers.get(&address) {
                answerer.set(zone.clone());
                continue;
            }
            match Answerer::start(address, zone.clone(), Resolvers::OfMachine, self.ambient) {
                Ok(answerer) => _ = self.answerers.insert(address, answerer),
                Err(error) => notes.push(causes(&error)),
            }
        }
    }
}

fn zone(plan: &DnsPlan) -> Zone {
    let mut zone = Zone::default();
    for (name, address) in &plan.names {
        if let Ok(address) = address.parse() {
            zone.insert(name, address);
        }
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn plan(addresses: &[SocketAddr]) -> DnsPlan {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let names = BTreeMap::from([("a.test.mesh".to_owned(), "240.0.0.1".to_owned())]);
        DnsPlan { addresses, names }
    }

    #[test]
    fn an_address_in_use_is_reported_and_answers_with_a_later_plan() {
        let [first, second] = std::array::from_fn(|_| tamis_harness::ports::address());
        let taken = UdpSocket::bind(first).unwrap();
        let mut names = AnsweredNames::new(Clock::system(), Random::system());
        let mut notes = Vec::new();
        names.follow(Some(&plan(&[first, second])), &mut notes);
        assert!(notes.len() == 1 && notes[0].contains(&first.to_string()), "{notes:?}");
        assert_eq!(names.answerers.keys().collect::<Vec<_>>(), [&second]);
        drop(taken);
        notes.clear();
        names.follow(Some(&plan(&[first, second])), &mut notes);
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(names.answerers.len(), 2);
        names.follow(None, &mut notes);
        assert!(names.answerers.is_empty());
    }
}
