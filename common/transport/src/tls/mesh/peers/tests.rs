//! Every rule about certificates of peers, in real handshakes, in both directions.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    date_time_ymd,
};

use super::super::super::spiffe::SpiffeError;
use super::super::super::testing::{TestAuthority, TestSvid, bundles, shake};
use super::super::super::{ClientTls, OwnCertificate, ServerTls};
use super::*;

const GOOD: &str = "spiffe://shop.example/ns/shop/pay";
const PEER: &str = "spiffe://shop.example/ns/shop/cart";

/// Handshakes of a member of the mesh with a peer that shows this certificate: as a client, then as a server.
/// The reasons with which the member refuses.
async fn refusals(
    authority: &TestAuthority,
    member: &MeshIdentity,
    shown: &TestSvid,
) -> [Option<PeerRefusal>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("peer.pem"), &shown.chain).unwrap();
    std::fs::write(path("peer.key"), shown.key.serialize_pem()).unwrap();
    std::fs::write(path("ca.pem"), authority.bundle()).unwrap();
    let (certificate, key, ca) = (path("peer.pem"), path("peer.key"), path("ca.pem"));

    let server = ServerTls::from_identity(member, ClientCertificates::Required).unwrap();
    let own = OwnCertificate { certificate: &certificate, key: &key };
    let client = ClientTls::from_files(Some(own), &ca, Some(member.id()), "pay").unwrap();
    let (as_client, _) = shake(&server, &client).await;

    let server = ServerTls::from_files(&certificate, &key, None).unwrap();
    let client = ClientTls::from_identity(member, None, "cart").unwrap();
    let (_, as_server) = shake(&server, &client).await;

    [as_client, as_server].map(|outcome| {
        let error = outcome.err()?;
        Some(error.peer_refusal().unwrap_or_else(|| panic!("no refusal: {error:?}")).clone())
    })
}

#[tokio::test]
async fn a_peer_with_an_svid_is_accepted_and_every_broken_rule_has_its_reason() {
    use SpiffeError::{Authority, Names, Syntax};
    type Change = fn(&mut CertificateParams);
    type Reason = fn(&PeerRefusal) -> bool;
    let syntax: Reason = |it| matches!(it, PeerRefusal::Identity(Syntax { .. }));
    let usage: Reason = |it| matches!(it, PeerRefusal::Usage { .. });
    let rows: &[(&str, &[&str], Change, Option<Reason>)] = &[
        ("valid", &[PEER], |_| {}, None),
        ("no extended key usage", &[PEER], |it| it.extended_key_usages.clear(), None),
        (
            "expired",
            &[PEER],
            |it| it.not_after = date_time_ymd(2001, 1, 1),
            Some(|it| *it == PeerRefusal::Expired { at: "2001-01-01T00:00:00Z".to_owned() }),
        ),
        (
            "not yet valid",
            &[PEER],
            |it| it.not_before = date_time_ymd(2999, 1, 1),
            Some(|it| *it == PeerRefusal::NotYetValid { from: "2999-01-01T00:00:00Z".to_owned() }),
        ),
        (
            "foreign domain",
            &["spiffe://other.example/ns/shop/cart"],
            |_| {},
            Some(
                |it| matches!(it, PeerRefusal::ForeignDomain { accepted, .. } if accepted == "shop.example"),
            ),
        ),
        ("no key usage", &[PEER], |it| it.key_usages.clear(), Some(usage)),
        (
            "wrong key usage",
            &[PEER],
            |it| it.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            Some(usage),
        ),
        (
            "wrong extended key usage",
            &[PEER],
            |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
            Some(usage),
        ),
        (
            "may sign certificates",
            &[PEER],
            |it| it.key_usages.push(KeyUsagePurpose::KeyCertSign),
            Some(|it| *it == PeerRefusal::Identity(Authority)),
        ),
        (
            "may sign revocation lists",
            &[PEER],
            |it| it.key_usages.push(KeyUsagePurpose::CrlSign),
            Some(|it| *it == PeerRefusal::Identity(Authority)),
        ),
        (
            "an authority",
            &[PEER],
            |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Some(|it| *it == PeerRefusal::Identity(Authority)),
        ),
        (
            "two URIs",
            &[PEER, "spiffe://shop.example/admin"],
            |_| {},
            Some(|it| *it == PeerRefusal::Identity(Names { found: 2 })),
        ),
        (
            "a URI and an id",
            &["https://shop.example", PEER],
            |_| {},
            Some(|it| *it == PeerRefusal::Identity(Names { found: 2 })),
        ),
        ("no URI", &[], |_| {}, Some(|it| *it == PeerRefusal::Identity(Names { found: 0 }))),
        (
            "no path",
            &["spiffe://shop.example"],
            |_| {},
            Some(|it| matches!(it, PeerRefusal::NoPath { .. })),
        ),
        ("another scheme", &["https://shop.example/ns/shop/cart"], |_| {}, Some(syntax)),
        ("parent segment", &["spiffe://shop.example/ns/../admin"], |_| {}, Some(syntax)),
        ("dot segment", &["spiffe://shop.example/./admin"], |_| {}, Some(syntax)),
        ("empty segment", &["spiffe://shop.example//admin"], |_| {}, Some(syntax)),
        ("trailing slash", &["spiffe://shop.example/admin/"], |_| {}, Some(syntax)),
        ("escaped", &["spiffe://shop.example/%2e%2e/admin"], |_| {}, Some(syntax)),
        ("upper-case domain", &["spiffe://SHOP.example/admin"], |_| {}, Some(syntax)),
        ("port", &["spiffe://shop.example:443/admin"], |_| {}, Some(syntax)),
        ("user", &["spiffe://admin@shop.example/cart"], |_| {}, Some(syntax)),
        ("query", &["spiffe://shop.example/cart?admin"], |_| {}, Some(syntax)),
        ("fragment", &["spiffe://shop.example/cart#admin"], |_| {}, Some(syntax)),
    ];
    let authority = TestAuthority::new();
    let member = authority.member(GOOD, bundles(&[("shop.example", &authority)]));
    for (name, uris, change, reason) in rows {
        let shown = authority.issue(uris, change);
        for (side, refusal) in
            ["client", "server"].into_iter().zip(refusals(&authority, &member, &shown).await)
        {
            match (refusal, reason) {
                (None, None) => {}
                (Some(refusal), Some(expected)) => {
                    assert!(expected(&refusal), "{name}, a {side}: {refusal:?}");
                }
                (refusal, _) => panic!("{name}, a {side}: {refusal:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_failed_handshake_has_a_reason_of_one_word() {
    let authority = TestAuthority::new();
    let member = authority.member(GOOD, bundles(&[("shop.example", &authority)]));
    let word = async |uris: &[&str], change: fn(&mut CertificateParams)| {
        let [at_member, _] = refusals(&authority, &member, &authority.issue(uris, change)).await;
        at_member.unwrap().reason()
    };
    assert_eq!(word(&[], |_| {}).await, "no-id");
    assert_eq!(word(&[PEER, GOOD], |_| {}).await, "several-ids");
    assert_eq!(word(&["spiffe://shop.example/../x"], |_| {}).await, "invalid-id");
    assert_eq!(word(&["spiffe://shop.example"], |_| {}).await, "no-path");
    assert_eq!(word(&["spiffe://other.example/x"], |_| {}).await, "foreign-domain");
    assert_eq!(word(&[PEER], |it| it.not_after = date_time_ymd(2001, 1, 1)).await, "expired");
    assert_eq!(
        word(&[PEER], |it| it.not_before = date_time_ymd(2999, 1, 1)).await,
        "not-yet-valid"
    );
    assert_eq!(word(&[PEER], |it| it.key_usages.clear()).await, "usage");

    let server = ServerTls::from_identity(&member, ClientCertificates::Required).unwrap();
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], "plaintext"),
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], "plaintext"),
        (&b""[..], "closed"),
    ] {
        let (mut near, far) = tokio::io::duplex(1 << 16);
        tokio::io::AsyncWriteExt::write_all(&mut near, bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut near).await.unwrap();
        let error = server.accept(far).await.err().unwrap();
        assert_eq!(error.reason(), reason, "{error:?}");
    }
    let id = member.id();
    let stranger =
        ClientTls::from_bundles(bundles(&[("shop.example", &authority)]), id, "pay").unwrap();
    let (at_server, at_client) = shake(&server, &stranger).await;
    assert_eq!(at_server.unwrap_err().reason(), "no-certificate");
    assert_eq!(at_client.unwrap_err().reason(), "refused-by-peer");
}

#[tokio::test]
async fn the_authority_of_one_trust_domain_proves_nothing_about_another() {
    let (shop, bank) = (TestAuthority::new(), TestAuthority::new());
    let both = bundles(&[("shop.example", &shop), ("bank.example", &bank)]);
    let member = shop.member(GOOD, both);
    let theirs = "spiffe://bank.example/ledger";
    let chain = |it: &Option<PeerRefusal>| matches!(it, Some(PeerRefusal::Chain { .. }));
    let accepted = refusals(&shop, &member, &bank.issue(&[theirs], |_| {})).await;
    assert_eq!(accepted, [None, None]);
    for (authority, id) in [(&bank, PEER), (&shop, theirs), (&TestAuthority::new(), PEER)] {
        let refusals = refusals(&shop, &member, &authority.issue(&[id], |_| {})).await;
        assert!(refusals.iter().all(chain), "{id}: {refusals:?}");
    }
}

#[tokio::test]
async fn a_chain_without_its_intermediate_proves_nothing() {
    let authority = TestAuthority::new();
    let member = authority.member(GOOD, bundles(&[("shop.example", &authority)]));
    let mut shown = authority.issue(&[PEER], |_| {});
    let end = "-----END CERTIFICATE-----\n";
    let leaf = shown.chain.find(end).unwrap() + end.len();
    shown.chain.truncate(leaf);
    let refusals = refusals(&authority, &member, &shown).await;
    let chain = |it: &Option<PeerRefusal>| matches!(it, Some(PeerRefusal::Chain { .. }));
    assert!(refusals.iter().all(chain), "{refusals:?}");
}

#[tokio::test]
async fn a_server_that_is_another_member_is_refused_by_name() {
    let authority = TestAuthority::new();
    let trust = bundles(&[("shop.example", &authority)]);
    let (pay, cart) = (authority.member(GOOD, trust.clone()), authority.member(PEER, trust));
    let server = ServerTls::from_identity(&cart, ClientCertificates::Required).unwrap();
    let wrong = ClientTls::from_identity(&pay, Some(pay.id()), "cart").unwrap();
    let (_, at_client) = shake(&server, &wrong).await;
    let expected = PeerRefusal::OtherPeer { found: cart.id(), expected: pay.id() };
    assert_eq!(at_client.unwrap_err().peer_refusal(), Some(&expected));
    let right = ClientTls::from_identity(&pay, Some(cart.id()), "cart").unwrap();
    let (at_server, at_client) = shake(&server, &right).await;
    let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
    assert_eq!((at_server.spiffe_id, at_client.spiffe_id), (Some(pay.id()), Some(cart.id())));
    assert_eq!(at_server.tls_version, "TLSv1.3");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_accepted_only_where_that_is_said_and_has_no_identity() {
    let authority = TestAuthority::new();
    let member = authority.member(GOOD, bundles(&[("shop.example", &authority)]));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.bundle()).unwrap();
    let client = ClientTls::from_files(None, &ca, Some(member.id()), "pay").unwrap();
    let required = ServerTls::from_identity(&member, ClientCertificates::Required).unwrap();
    let (at_server, _) = shake(&required, &client).await;
    assert!(at_server.is_err());
    let optional = ServerTls::from_identity(&member, ClientCertificates::Optional).unwrap();
    let (at_server, at_client) = shake(&optional, &client).await;
    assert_eq!(at_server.unwrap().spiffe_id, None);
    assert_eq!(at_client.unwrap().spiffe_id, Some(member.id()));
    // A certificate that is shown is verified all the same.
    let stranger = TestAuthority::new();
    let shown = stranger.issue(&[PEER], |_| {});
    let (certificate, key) = (folder.path().join("peer.pem"), folder.path().join("peer.key"));
    std::fs::write(&certificate, &shown.chain).unwrap();
    std::fs::write(&key, shown.key.serialize_pem()).unwrap();
    let own = OwnCertificate { certificate: &certificate, key: &key };
    let client = ClientTls::from_files(Some(own), &ca, Some(member.id()), "pay").unwrap();
    let (at_server, _) = shake(&optional, &client).await;
    assert!(at_server.is_err());
}

#[tokio::test]
async fn a_client_without_an_identity_knows_the_server_by_bundle_and_id() {
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let trust = bundles(&[("shop.example", &authority)]);
    let member = authority.member(GOOD, trust.clone());
    let server = ServerTls::from_identity(&member, ClientCertificates::Optional).unwrap();
    let stranger = |trust, id: &str| {
        ClientTls::from_bundles(trust, id.parse().unwrap(), "registry.mesh").unwrap()
    };
    let (at_server, at_client) = shake(&server, &stranger(trust.clone(), GOOD)).await;
    assert_eq!(at_server.unwrap().spiffe_id, None);
    assert_eq!(at_client.unwrap().spiffe_id, Some(member.id()));
    let of_other = bundles(&[("shop.example", &other)]);
    for (trust, id) in [(trust, PEER), (of_other, GOOD), (TrustBundles::default(), GOOD)] {
        let (_, at_client) = shake(&server, &stranger(trust, id)).await;
        assert!(at_client.unwrap_err().peer_refusal().is_some(), "{id}");
    }
}
