use std::path::Path;
use std::time::Duration;

use rcgen::date_time_ymd;

use super::super::super::files::certificates_of;
use super::super::super::testing::{TestAuthority, TestSvid};
use super::*;

const PAY: &str = "spiffe://shop.example/ns/shop/pay";
const CART: &str = "spiffe://shop.example/ns/shop/cart";
const LEDGER: &str = "spiffe://partner.example/ns/bank/ledger";

fn der(pem: &str) -> Vec<CertificateDer<'static>> {
    certificates_of(Path::new("a test"), pem.as_bytes()).unwrap()
}

/// What an agent sends that has this SVID and federates with these domains.
fn sent(
    svid: &TestSvid,
    authorities: &[&TestAuthority],
    federated: &[(&str, &[&TestAuthority])],
) -> SuppliedSvid {
    let all = |of: &[&TestAuthority]| of.iter().flat_map(|one| der(&one.bundle())).collect();
    SuppliedSvid {
        id: PAY.parse().unwrap(),
        chain: der(&svid.chain),
        key: svid.key(),
        authorities: all(authorities),
        federated: federated.iter().map(|(name, of)| (name.parse().unwrap(), all(of))).collect(),
    }
}

fn now() -> UnixTime {
    UnixTime::now()
}

#[test]
fn what_an_agent_sends_replaces_the_svid_or_changes_nothing() {
    let [shop, other] = [(); 2].map(|()| TestAuthority::new());
    let first = shop.issue(&[PAY], |_| {});
    let (pay, faults) = MeshIdentity::supplied(sent(&first, &[&shop], &[]), now()).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
    let before = pay.facts();
    let next = shop.issue(&[PAY], |_| {});
    let wrong_key = SuppliedSvid { key: first.key(), ..sent(&next, &[&shop], &[]) };
    let no_chain = SuppliedSvid { chain: Vec::new(), ..sent(&next, &[&shop], &[]) };
    let many = sent(&next, &[&shop; 17], &[]);
    let rows = [
        ("the key of another", wrong_key, "installed cryptography"),
        ("no certificate", no_chain, "certificate"),
        ("no authority", sent(&next, &[], &[]), "no certificate"),
        ("too many authorities", many, "more than 16"),
        ("another authority", sent(&next, &[&other], &[]), "SVID cannot be used"),
        ("another id", sent(&shop.issue(&[CART], |_| {}), &[&shop], &[]), CART),
        (
            "another domain",
            sent(&shop.issue(&[LEDGER], |_| {}), &[&shop], &[]),
            "SVID cannot be used",
        ),
        (
            "expired",
            sent(&shop.issue(&[PAY], |it| it.not_after = date_time_ymd(2001, 1, 1)), &[&shop], &[]),
            "SVID cannot be used",
        ),
    ];
    for (what, svid, why) in rows {
        let error = pay.replace_supplied(svid, now()).unwrap_err();
        let text = crate::causes(&error);
        assert_eq!(pay.facts(), before, "{what}: {text}");
        assert!(text.contains(why), "{what}: {text}");
    }
    assert_eq!(pay.renewals(Duration::ZERO).renewed, 0);
    let again = sent(&first, &[&shop, &other], &[]);
    assert!(pay.replace_supplied(again, now()).unwrap().is_empty());
    assert_eq!(pay.renewals(Duration::ZERO).renewed, 0, "the same is no renewal");
    pay.replace_supplied(sent(&next, &[&shop], &[]), now()).unwrap();
    assert_eq!(pay.renewals(Duration::ZERO).renewed, 1);
    // What a person reads who looks for the way out.
    let until = Duration::from_secs(u64::try_from(pay.facts().not_after).unwrap());
    let problem = pay.renewals(until).problem.unwrap();
    assert!(problem.contains("SPIFFE agent") && !problem.contains("token"), "{problem}");
}

#[test]
fn of_two_sources_for_a_domain_the_agent_counts_and_the_other_is_a_fault() {
    let [shop, one, two] = [(); 3].map(|()| TestAuthority::new());
    let svid = shop.issue(&[PAY], |_| {});
    let document =
        |of: &TestAuthority| BTreeMap::from([("partner.example".to_owned(), of.bundle())]);
    let id: SpiffeId = LEDGER.parse().unwrap();
    let agent: [(&str, &[&TestAuthority]); 1] = [("partner.example", &[&one])];
    let (pay, _) = MeshIdentity::supplied(sent(&svid, &[&shop], &agent), now()).unwrap();
    assert_eq!(pay.federated(), ["partner.example"]);
    let peer = pay.federated_peer(&id).unwrap();
    // The same authorities from both are no conflict.
    assert!(pay.federate(&document(&one)).is_empty());
    let faults = pay.federate(&document(&two));
    assert!(faults.iter().any(|fault| fault.to_string().contains("SPIFFE agent")), "{faults:?}");
    assert!(peer.stands(), "the agent's authorities are still the same");
    // A document neither takes away what the agent supplies, nor adds to it.
    let swap = || if peer.stands() { Ok(()) } else { Err("it is withdrawn") };
    assert!(pay.federate_around(&BTreeMap::new(), swap).unwrap().is_empty() && peer.stands());
    assert!(pay.federate(&document(&one)).is_empty());
    // Without the agent's federation the document counts; as the authorities are the same, the peer stands.
    pay.replace_supplied(sent(&svid, &[&shop], &[]), now()).unwrap();
    assert!(peer.stands() && pay.federated() == ["partner.example"]);
    pay.federate(&BTreeMap::new());
    assert!(!peer.stands() && pay.federated().is_empty());
    // An authority that the agent removes is gone at once.
    pay.replace_supplied(sent(&svid, &[&shop], &agent), now()).unwrap();
    let peer = pay.federated_peer(&id).unwrap();
    pay.replace_supplied(sent(&svid, &[&shop], &[("partner.example", &[&two])]), now()).unwrap();
    assert!(!peer.stands());
    // A bundle that cannot be used closes its domain only, and nobody else speaks for the own domain.
    let agent: [(&str, &[&TestAuthority]); 3] =
        [("partner.example", &[]), ("shop.example", &[&two]), ("third.example", &[&one])];
    let faults = pay.replace_supplied(sent(&svid, &[&shop], &agent), now()).unwrap();
    assert!(faults.iter().any(|fault| fault.to_string().contains("partner.example")), "{faults:?}");
    assert_eq!(pay.federated(), ["third.example"]);
}
