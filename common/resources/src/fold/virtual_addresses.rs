//! The addresses by which DNS names services.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::Ipv4Addr;

use fnv::FnvHasher;

use super::{Claim, Fold};
use crate::kinds::ServiceSpec;
use crate::machine::{VIRTUAL, VIRTUAL_BITS};

impl<'a> Fold<'a> {
    /// The address of each service by which DNS names it: computed from its name, so that every proxy answers the same and
    /// goes on to do so. Two names that lead to one address are rare, and may be chosen: then the service longest in force
    /// keeps it, and the other has none.
    pub(super) fn assign_addresses(&mut self) -> BTreeMap<String, Ipv4Addr> {
        let services = self.all::<ServiceSpec>().into_iter().map(|(document, _)| {
            (document.key(), Claim { document, pointer: "/metadata/name".to_owned() })
        });
        // A host has no slash, and every service has one.
        let named: Vec<_> = services.chain(self.external_hosts()).collect();
        let claims: Vec<(Ipv4Addr, Claim<'a>)> =
            named.iter().map(|(name, claim)| (virtual_address(name), claim.clone())).collect();
        let lost = self.contradictions(&claims, "service.virtual-address", |address| {
            format!("several names would have the address {address} in DNS")
        });
        let kept = named.into_iter().zip(lost).filter(|(_, lost)| !lost);
        kept.map(|((name, _), _)| (name.clone(), virtual_address(&name))).collect()
    }
}

fn virtual_address(key: &str) -> Ipv4Addr {
    let mut hasher = FnvHasher::default();
    hasher.write(key.as_bytes());
    let sum = hasher.finish();
    // The upper half of the sum spreads better over short names; both together best.
    let mixed = (sum ^ (sum >> 32)) & ((1 << VIRTUAL_BITS) - 1);
    Ipv4Addr::from(VIRTUAL | u32::try_from(mixed).unwrap_or_default())
}
