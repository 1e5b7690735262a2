use super::*;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::duplex;

use super::super::testing::client_offering;

fn certified(host: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (certificate.der().clone(), key.into())
}

fn asked(name: Option<&str>, protocol: AskedProtocol) -> AskedHandshake {
    AskedHandshake { server_name: name.map(str::to_owned), protocol }
}

#[test]
fn a_request_is_answered_for_the_token_and_host_of_a_live_order_alone() {
    let orders = CertificateOrders::default();
    assert!(orders.is_quiet());
    let live = orders.answer_requests("Pay.Example", "abc".to_owned(), "abc.def".to_owned());
    let at = |host: &str, path: &str| orders.answer(host, path);
    let path = "/.well-known/acme-challenge/abc";
    assert_eq!(at("pay.example", path).as_deref(), Some("abc.def"));
    assert_eq!(at("PAY.example", path).as_deref(), Some("abc.def"));
    for (host, path) in [
        ("other.example", path),
        ("pay.example.", path),
        ("", path),
        ("pay.example", "/.well-known/acme-challenge/"),
        ("pay.example", "/.well-known/acme-challenge/abcd"),
        ("pay.example", "/.well-known/acme-challenge/ab"),
        ("pay.example", "/.well-known/acme-challenge/ABC"),
        ("pay.example", "/.well-known/acme-challenge//abc"),
        ("pay.example", "/.well-known/acme-challenge/abc/"),
        ("pay.example", "/abc"),
    ] {
        assert_eq!(at(host, path), None, "{host} {path}");
    }
    assert!(!orders.is_quiet());
    drop(live);
    assert!(orders.is_quiet());
    assert_eq!(orders.answer("pay.example", path), None);
}

#[test]
fn a_handshake_of_an_acme_server_gets_the_certificate_of_its_name_alone() {
    let orders = CertificateOrders::default();
    let (certificate, key) = certified("pay.example");
    let live = orders.answer_handshakes("pay.example", certificate, key).unwrap();
    let acme = AskedProtocol::AcmeChallenge;
    assert!(orders.handshake(&asked(Some("pay.example"), acme)).is_some());
    assert!(orders.handshake(&asked(Some("other.example"), acme)).is_none());
    assert!(orders.handshake(&asked(None, acme)).is_none());
    for other in [AskedProtocol::Http, AskedProtocol::Unclear] {
        assert!(orders.handshake(&asked(Some("pay.example"), other)).is_none());
    }
    drop(live);
    assert!(orders.handshake(&asked(Some("pay.example"), acme)).is_none());
}

#[test]
fn an_order_that_ends_leaves_the_answers_of_the_others() {
    let orders = CertificateOrders::default();
    let path = "/.well-known/acme-challenge/t";
    let one = orders.answer_requests("a.example", "t".to_owned(), "1".to_owned());
    let two = orders.answer_requests("b.example", "t".to_owned(), "2".to_owned());
    drop(one);
    assert_eq!(orders.answer("a.example", path), None);
    assert_eq!(orders.answer("b.example", path).as_deref(), Some("2"));
    drop(two);
}

#[tokio::test]
async fn the_handshake_of_a_challenge_agrees_on_its_protocol_and_no_other_client_gets_its_certificate()
 {
    let orders = CertificateOrders::default();
    let (certificate, key) = certified("pay.example");
    let _live = orders.answer_handshakes("pay.example", certificate.clone(), key).unwrap();
    let of = |asked: &AskedHandshake| Some(((), orders.handshake(asked)?));
    for (offered, is_shown) in [
        (&[ACME_TLS][..], true),
        (&[b"h2", ACME_TLS], false),
        (&[b"acme-tls/2"], false),
        (&[], false),
    ] {
        let (client, server) = duplex(1 << 16);
        let (seen, accepted) = tokio::join!(
            client_offering(client, "pay.example", offered),
            ServerTls::accept_chosen(server, of)
        );
        assert_eq!(accepted.is_ok(), is_shown, "{offered:?}");
        match seen {
            Ok((chain, protocol)) => {
                assert!(is_shown, "{offered:?}");
                assert_eq!(chain, std::slice::from_ref(&certificate));
                assert_eq!(protocol.as_deref(), Some(ACME_TLS));
            }
            Err(_) => assert!(!is_shown, "{offered:?}"),
        }
    }
}

#[tokio::test]
async fn a_handshake_for_a_challenge_that_nobody_placed_gets_an_alert() {
    let (client, server) = duplex(1 << 16);
    let (seen, accepted) = tokio::join!(
        client_offering(client, "pay.example", &[ACME_TLS]),
        ServerTls::accept_chosen(server, |_| None::<((), Arc<ServerTls>)>)
    );
    assert_eq!(accepted.unwrap_err().reason(), "no-challenge");
    assert!(seen.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

#[tokio::test]
async fn a_listener_that_awaits_its_certificate_refuses_with_an_alert() {
    let tls = Arc::new(ServerTls::awaiting("pay.example").unwrap());
    let (client, server) = duplex(1 << 16);
    let (seen, accepted) = tokio::join!(
        client_offering(client, "pay.example", &[b"h2"]),
        ServerTls::accept_chosen(server, |_| Some(((), Arc::clone(&tls))))
    );
    let error = accepted.unwrap_err();
    assert_eq!(error.reason(), "awaits-certificate");
    assert!(error.to_string().contains("pay.example"), "{error}");
    assert!(seen.unwrap_err().to_string().contains("InternalError"));
    let (client, server) = duplex(1 << 16);
    let (_, accepted) =
        tokio::join!(client_offering(client, "pay.example", &[]), tls.accept(server));
    assert_eq!(accepted.unwrap_err().reason(), "awaits-certificate");
}
