use rcgen::date_time_ymd;

use super::super::testing::{TestAuthority, bundles, shake};
use super::super::{ClientTls, ServerTls};
use super::*;
use crate::PeerRefusal;

const PAY: &str = "spiffe://shop.example/ns/shop/pay";
const CART: &str = "spiffe://shop.example/ns/shop/cart";

#[tokio::test]
async fn a_new_svid_and_a_new_authority_count_from_the_next_handshake_on() {
    let (old, new) = (TestAuthority::new(), TestAuthority::new());
    let of_old = bundles(&[("shop.example", &old)]);
    let (pay, cart) = (old.member(PAY, of_old.clone()), old.member(CART, of_old));
    let server = ServerTls::from_identity(&pay, ClientCertificates::Required).unwrap();
    let client = ClientTls::from_identity(&cart, Some(pay.id()), "pay").unwrap();
    let (at_server, at_client) = shake(&server, &client).await;
    assert!(at_server.is_ok() && at_client.is_ok());

    // The same configurations, after an SVID of another authority came for one side only.
    let of_new = bundles(&[("shop.example", &new)]);
    let svid = new.issue(&[PAY], |_| {});
    pay.replace(&svid.chain, svid.key(), of_new.clone(), UnixTime::now()).unwrap();
    let (at_server, at_client) = shake(&server, &client).await;
    assert!(at_server.is_err() && at_client.is_err());
    let refusal = at_client.unwrap_err().peer_refusal().cloned();
    assert!(matches!(refusal, Some(PeerRefusal::Chain { .. })), "{refusal:?}");

    let svid = new.issue(&[CART], |_| {});
    cart.replace(&svid.chain, svid.key(), of_new, UnixTime::now()).unwrap();
    let (at_server, at_client) = shake(&server, &client).await;
    assert_eq!(at_server.unwrap().spiffe_id, Some(cart.id()));
    assert_eq!(at_client.unwrap().spiffe_id, Some(pay.id()));
}

#[tokio::test]
async fn no_session_is_resumed_so_an_svid_that_expired_does_not_live_on() {
    let authority = TestAuthority::new();
    let trust = bundles(&[("shop.example", &authority)]);
    let (pay, cart) = (authority.member(PAY, trust.clone()), authority.member(CART, trust));
    let server = ServerTls::from_identity(&pay, ClientCertificates::Required).unwrap();
    let client = ClientTls::from_identity(&cart, Some(pay.id()), "pay").unwrap();
    for _ in 0..2 {
        let (at_server, at_client) = shake(&server, &client).await;
        assert!(at_server.is_ok() && at_client.is_ok());
    }
    // Nobody accepts the authority any more: a resumed session would not notice.
    let svid = TestAuthority::new();
    let trust = bundles(&[("shop.example", &svid)]);
    let renewed = svid.issue(&[PAY], |_| {});
    pay.replace(&renewed.chain, renewed.key(), trust, UnixTime::now()).unwrap();
    let (at_server, _) = shake(&server, &client).await;
    assert!(at_server.is_err());
}

#[test]
fn an_svid_that_peers_would_refuse_is_not_taken_and_the_previous_one_stays() {
    let authority = TestAuthority::new();
    let trust = || bundles(&[("shop.example", &authority)]);
    let pay = authority.member(PAY, trust());
    let before = pay.facts();
    let rows = [
        authority.issue(&[CART], |_| {}),
        authority.issue(&[PAY, CART], |_| {}),
        authority.issue(&[PAY], |it| it.not_after = date_time_ymd(2001, 1, 1)),
        TestAuthority::new().issue(&[PAY], |_| {}),
    ];
    for (row, svid) in rows.iter().enumerate() {
        let taken = pay.replace(&svid.chain, svid.key(), trust(), UnixTime::now());
        assert!(taken.is_err(), "row {row}");
        assert_eq!(pay.facts(), before, "row {row}");
    }
    // The key of another certificate.
    let (one, two) = (authority.issue(&[PAY], |_| {}), authority.issue(&[PAY], |_| {}));
    assert!(pay.replace(&one.chain, two.key(), trust(), UnixTime::now()).is_err());
    assert_eq!(pay.id().as_str(), PAY);
    assert!(pay.replace(&one.chain, one.key(), trust(), UnixTime::now()).is_ok());
}

#[test]
fn a_bundle_has_bounds_and_names_its_trust_domain() {
    let authority = TestAuthority::new();
    let text = authority.bundle();
    let many = text.repeat(17);
    let rows = [("", "contains no certificate"), ("nothing", "contains no certificate")];
    for (bundle, why) in rows.into_iter().chain([(many.as_str(), "more than 16")]) {
        let error = TrustBundles::from_pem([("shop.example".parse().unwrap(), bundle)]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("shop.example") && error.contains(why), "{error}");
    }
    let domains = (0..65).map(|at| (format!("d{at}").parse().unwrap(), text.as_str()));
    assert!(TrustBundles::from_pem(domains).unwrap_err().to_string().contains("64"));
}
