//! Members of two meshes in real handshakes: each authority vouches for the ids of its own trust domain.

use std::collections::BTreeMap;

use super::super::super::refusal::PeerRefusal;
use super::super::super::testing::{TestAuthority, bundles, shake};
use super::super::super::{ClientTls, ServerTls};
use super::super::ClientCertificates;
use super::*;

const PAY: &str = "spiffe://shop.example/ns/shop/pay";
const LEDGER: &str = "spiffe://partner.example/ns/bank/ledger";

fn domains(all: &[(&str, &[&TestAuthority])]) -> BTreeMap<String, String> {
    let text = |of: &[&TestAuthority]| of.iter().map(|one| one.bundle()).collect();
    all.iter().map(|(domain, of)| ((*domain).to_owned(), text(of))).collect()
}

/// A member with that id, signed by somebody, who accepts members of `shop.example`: so nobody but those refuses.
fn stranger(id: &str, by: &TestAuthority, shop: &TestAuthority) -> MeshIdentity {
    let domain = id.parse::<SpiffeId>().unwrap().trust_domain().to_string();
    let mut trusted = BTreeMap::from([("shop.example".to_owned(), shop.bundle())]);
    trusted.entry(domain).or_default().push_str(&by.bundle());
    let trusted = trusted.iter().map(|(domain, text)| (domain.parse().unwrap(), text.as_str()));
    by.member(id, TrustBundles::from_pem(trusted).unwrap())
}

/// The reason with which each side of a handshake refuses the other: server, then client.
async fn refusals(server: &MeshIdentity, client: &MeshIdentity) -> [Option<&'static str>; 2] {
    let tls = ServerTls::from_identity(server, ClientCertificates::Required).unwrap();
    let to = ClientTls::from_identity(client, Some(server.id()), "mesh").unwrap();
    let (accepted, connected) = shake(&tls, &to).await;
    let reason = |error: Option<TlsError>| error?.peer_refusal().map(PeerRefusal::reason);
    [reason(accepted.err()), reason(connected.err())]
}

#[tokio::test]
async fn each_domain_vouches_for_its_own_ids_and_for_no_others() {
    let [shop, partner, third] = [(); 3].map(|()| TestAuthority::new());
    let pay = shop.member(PAY, bundles(&[("shop.example", &shop)]));
    let own = |id: &str, by: &TestAuthority| stranger(id, by, &shop);
    let ledger = own(LEDGER, &partner);
    assert_eq!(refusals(&pay, &ledger).await[0], Some("foreign-domain"), "nothing is federated");

    let faults = pay.federate(&domains(&[("partner.example", &[&partner])]));
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(pay.federated(), ["partner.example"]);
    for (what, peer, reason) in [
        ("a member of the partner", ledger.clone(), None),
        (
            "one of ours, signed by the partner",
            own("spiffe://shop.example/ns/shop/cart", &partner),
            Some("chain"),
        ),
        ("ourselves, signed by the partner", own(PAY, &partner), Some("chain")),
        (
            "our registry, signed by the partner",
            own("spiffe://shop.example/registry", &partner),
            Some("chain"),
        ),
        ("one of the partner, signed by us", own(LEDGER, &shop), Some("chain")),
        ("one of the partner, signed by a third", own(LEDGER, &third), Some("chain")),
        ("one of a third", own("spiffe://third.example/a", &third), Some("foreign-domain")),
        (
            "one of a third, signed by the partner",
            own("spiffe://third.example/a", &partner),
            Some("foreign-domain"),
        ),
        (
            "one of a domain below",
            own("spiffe://a.partner.example/a", &partner),
            Some("foreign-domain"),
        ),
    ] {
        assert_eq!(refusals(&pay, &peer).await[0], reason, "{what}, as a client");
        assert_eq!(refusals(&peer, &pay).await[1], reason, "{what}, as a server");
    }
    // A renewal keeps what is federated.
    let svid = shop.issue(&[PAY], |_| {});
    let now = rustls_pki_types::UnixTime::now();
    pay.replace(&svid.chain, svid.key(), bundles(&[("shop.example", &shop)]), now).unwrap();
    assert_eq!(refusals(&pay, &ledger).await, [None, None]);
    // Nobody else is trusted about one's own domain, whatever is asked for.
    let faults = pay.federate(&domains(&[("shop.example", &[&partner])]));
    assert_eq!(faults.len(), 1);
    let forged = own("spiffe://shop.example/ns/shop/cart", &partner);
    assert_eq!(refusals(&pay, &forged).await[0], Some("chain"));
}

#[tokio::test]
async fn a_peer_stands_until_its_domain_or_one_of_its_authorities_is_withdrawn() {
    let [shop, old, new] = [(); 3].map(|()| TestAuthority::new());
    let pay = shop.member(PAY, bundles(&[("shop.example", &shop)]));
    let id: SpiffeId = LEDGER.parse().unwrap();
    assert!(pay.federated_peer(&pay.id()).is_none(), "its own domain is nobody else's");
    // Between its proof and this question the domain was withdrawn: it is no member of the own mesh by that.
    let stranger_now = pay.federated_peer(&id).unwrap();
    assert!(!stranger_now.stands());
    let one = domains(&[("partner.example", &[&old])]);
    let both = domains(&[("partner.example", &[&old, &new])]);
    let next = domains(&[("partner.example", &[&new])]);
    let none = BTreeMap::new();
    for (what, steps, stands) in [
        ("the same again", vec![&one], true),
        ("one more authority", vec![&both], true),
        ("its authority is replaced", vec![&next], false),
        ("its authority is withdrawn after an overlap", vec![&both, &next], false),
        ("the domain goes", vec![&none], false),
        ("the domain goes and comes back", vec![&none, &one], false),
    ] {
        pay.federate(&none);
        assert!(pay.federate(&one).is_empty());
        assert!(!stranger_now.stands(), "{what}: what did not stand does not stand later");
        let peer = pay.federated_peer(&id).unwrap();
        assert!(peer.stands());
        for step in steps {
            // As a proxy does it: first what goes, then what comes.
            assert!(pay.federate_around(step, || Ok::<_, ()>(())).unwrap().is_empty());
        }
        assert_eq!(peer.stands(), stands, "{what}");
    }
    // What is withdrawn is so before anything is added, which is so only after a swap that succeeds.
    pay.federate(&one);
    let swap = || if pay.federated().is_empty() { Err("a swap fails") } else { Ok(()) };
    assert_eq!(pay.federate_around(&next, swap).unwrap_err(), "a swap fails");
    assert!(pay.federated().is_empty());
    let ledger = stranger(LEDGER, &old, &shop);
    assert_eq!(refusals(&pay, &ledger).await[0], Some("foreign-domain"));
}

#[test]
fn a_bundle_that_cannot_be_used_is_left_out_and_the_others_count() {
    let [shop, partner] = [(); 2].map(|()| TestAuthority::new());
    let pay = shop.member(PAY, bundles(&[("shop.example", &shop)]));
    let mut wanted = domains(&[("partner.example", &[&partner])]);
    wanted.insert("broken.example".to_owned(), "nothing".to_owned());
    wanted.insert("No Domain".to_owned(), partner.bundle());
    assert_eq!(pay.federate(&wanted).len(), 2);
    assert_eq!(pay.federated(), ["partner.example"]);
    let many: BTreeMap<String, String> =
        (0..64).map(|at| (format!("d{at}.example"), partner.bundle())).collect();
    assert_eq!(pay.federate(&many).len(), 1, "63 and its own");
    assert_eq!(pay.federated().len(), 63);
}
