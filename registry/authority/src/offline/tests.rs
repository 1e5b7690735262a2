//! The three steps, and every rule that a certificate from elsewhere can break.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyUsagePurpose};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tamis_ambient::Clock;
use tamis_transport::{MeshIdentity, TrustBundles};
use tempfile::TempDir;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);

fn domain() -> TrustDomain {
    "shop.example".parse().unwrap()
}

fn now() -> SystemTime {
    Clock::system().wall()
}

fn moment() -> time::OffsetDateTime {
    now().into()
}

fn root() -> RootAuthority {
    RootAuthority::generate(&domain(), Random::system(), now()).unwrap()
}

fn signed(root: &RootAuthority, request: &str) -> String {
    root.sign(request, &domain(), (DAY, Random::system(), now())).unwrap()
}

fn install(
    folder: &TempDir,
    chain: (&str, Option<&str>),
) -> Result<CertificateAuthority, AuthorityError> {
    CertificateAuthority::install(folder.path(), &domain(), chain, Random::system(), now())
}

/// Whether a member with that bundle accepts what the authority signs.
fn accepted(authority: &CertificateAuthority, bundle: &str) -> bool {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    let id = "spiffe://shop.example/ns/shop/pay".parse().unwrap();
    let svid = authority.issue(&request, &id, HOUR, now()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let bundles = TrustBundles::from_pem([(domain(), bundle)]).unwrap();
    MeshIdentity::new(&svid.chain, key, bundles, UnixTime::now()).is_ok()
}

#[test]
fn a_registry_signs_with_an_intermediate_of_a_root_that_it_never_has() {
    let (folder, root) = (TempDir::new().unwrap(), root());
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    assert!(request.contains("CERTIFICATE REQUEST") && !request.contains("PRIVATE"), "{request}");
    let chain = signed(&root, &request);
    let authority = install(&folder, (&chain, Some(root.certificate()))).unwrap();
    assert!(!authority.has_root() && accepted(&authority, root.certificate()));
    for name in ["root.pem", "next.key"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
    // The next one, while a registry runs.
    let mut running =
        CertificateAuthority::open(folder.path(), &domain(), Random::system(), now()).unwrap();
    assert!(!running.reload(now()).unwrap());
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    install(&folder, (&signed(&root, &request), Some(root.certificate()))).unwrap();
    let before = running.intermediate().certificate().to_owned();
    assert!(running.reload(now()).unwrap() && running.intermediate().certificate() != before);
    assert!(accepted(&running, root.certificate()));
    // A new root: trusted first, used later.
    let next = self::root();
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    let of_next = signed(&next, &request);
    let early = install(&folder, (&of_next, Some(next.certificate()))).err().unwrap();
    assert!(early.to_string().contains("do not trust its root yet"), "{early}");
    CertificateAuthority::trust(folder.path(), &domain(), next.certificate(), now()).unwrap();
    assert!(running.reload(now()).unwrap() && running.bundle().contains(next.certificate().trim()));
    assert!(accepted(&running, running.bundle()));
    install(&folder, (&of_next, Some(next.certificate()))).unwrap();
    assert!(running.reload(now()).unwrap() && accepted(&running, next.certificate()));
}

#[test]
fn a_certificate_that_breaks_a_rule_is_not_installed_and_nothing_changes() {
    type Change = fn(&mut CertificateParams);
    let (random, root) = (Random::system(), root());
    let issuer =
        Issuer::from_ca_cert_pem(root.certificate(), KeyPair::from_pem(root.key()).unwrap());
    let issuer = issuer.unwrap();
    let rows: [(&str, Change, &str); 8] = [
        ("a leaf", |it| it.is_ca = IsCa::ExplicitNoCa, "not of an authority"),
        (
            "no path length",
            |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "path length is not 0",
        ),
        (
            "a path length of 1",
            |it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)),
            "path length is not 0",
        ),
        ("no usage", |it| it.key_usages = vec![KeyUsagePurpose::CrlSign], "no keyCertSign"),
        (
            "another domain",
            |it| {
                it.subject_alt_names =
                    vec![SanType::URI("spiffe://partner.example".try_into().unwrap())];
            },
            "not of spiffe://shop.example",
        ),
        ("no domain", |it| it.subject_alt_names.clear(), "it is of no name"),
        ("expired", |it| it.not_after = moment() - time::Duration::hours(1), "it expires at"),
        (
            "for ever",
            |it| it.not_after = moment() + time::Duration::days(3_650),
            "longer than 730 days",
        ),
    ];
    for (what, change, says) in rows {
        let folder = TempDir::new().unwrap();
        CertificateAuthority::request(folder.path(), &domain()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(NEXT)).unwrap();
        let key = KeyPair::from_pem(&text).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://shop.example".try_into().unwrap())];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = moment() - time::Duration::hours(2);
        params.not_after = moment() + time::Duration::days(30);
        change(&mut params);
        let chain = params.signed_by(&key, &issuer).unwrap().pem();
        let refused = install(&folder, (&chain, Some(root.certificate()))).err().unwrap();
        assert!(refused.to_string().contains(says), "{what}: {refused}");
        assert!(!folder.path().join("bundle.pem").exists(), "{what}");
        assert!(folder.path().join(NEXT).exists(), "{what}: another certificate may come");
    }
    let folder = TempDir::new().unwrap();
    let none = install(&folder, ("", Some(root.certificate()))).err().unwrap();
    assert!(none.to_string().contains("nothing was asked for"), "{none}");
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    assert_eq!(
        key_of(&request),
        key_of(&CertificateAuthority::request(folder.path(), &domain()).unwrap()),
        "the same key until its certificate comes"
    );
    let other = TempDir::new().unwrap();
    let asked = CertificateAuthority::request(other.path(), &domain()).unwrap();
    let chain = signed(&root, &asked);
    let refused = install(&folder, (&chain, Some(root.certificate()))).err().unwrap();
    assert!(refused.to_string().contains("another key"), "{refused}");
    let of_another = self::root();
    let chain = signed(&root, &request);
    for (what, given) in [("no root", None), ("another root", Some(of_another.certificate()))] {
        assert!(install(&folder, (&chain, given)).is_err(), "{what}");
    }
    let partner: TrustDomain = "partner.example".parse().unwrap();
    install(&folder, (&chain, Some(root.certificate()))).unwrap();
    let refused = CertificateAuthority::request(folder.path(), &partner);
    assert!(matches!(refused, Err(AuthorityError::OtherDomain { .. })));
    let foreign = RootAuthority::generate(&partner, random, now()).unwrap();
    let refused =
        CertificateAuthority::trust(folder.path(), &domain(), foreign.certificate(), now());
    assert!(refused.unwrap_err().to_string().contains("not of spiffe://shop.example"));
}

fn key_of(request: &str) -> Vec<u8> {
    use rcgen::PublicKeyData as _;
    let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap();
    read_request(&der).unwrap().public_key.subject_public_key_info()
}

#[test]
fn a_root_signs_what_its_own_domain_asks_for_and_for_a_bounded_time() {
    let (folder, root) = (TempDir::new().unwrap(), root());
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    let sign = |request: &str, lifetime: Duration| {
        root.sign(request, &domain(), (lifetime, Random::system(), now()))
    };
    for (what, lifetime) in [("short", HOUR / 2), ("long", OFFLINE_LIFETIME_MAX + HOUR)] {
        let refused = sign(&request, lifetime);
        assert!(matches!(refused, Err(AuthorityError::IntermediateLifetime { .. })), "{what}");
    }
    let key = KeyPair::generate().unwrap();
    let asks = |uris: &[&str]| {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.serialize_request(&key).unwrap().pem().unwrap()
    };
    for request in [
        "hello".to_owned(),
        asks(&[]),
        asks(&["spiffe://partner.example"]),
        asks(&["spiffe://shop.example", "spiffe://partner.example"]),
        asks(&["spiffe://shop.example/registry"]),
    ] {
        assert!(matches!(sign(&request, DAY), Err(AuthorityError::Request { .. })), "{request}");
    }
    assert_eq!(root.domain(), Some(domain()));
}

#[test]
fn no_key_of_a_root_gets_into_what_everybody_reads() {
    let (folder, root) = (TempDir::new().unwrap(), root());
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    let chain = signed(&root, &request);
    let whole = format!("{}{}", root.certificate(), root.key());
    let refused = install(&folder, (&chain, Some(&whole))).err().unwrap();
    assert!(refused.to_string().contains("a private key beside"), "{refused}");
    install(&folder, (&chain, Some(root.certificate()))).unwrap();
    let next = self::root();
    let whole = format!("{}{}", next.certificate(), next.key());
    let refused =
        CertificateAuthority::trust(folder.path(), &domain(), &whole, now()).err().unwrap();
    assert!(refused.to_string().contains("a private key beside"), "{refused}");
    for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        for key in [root.key(), next.key()] {
            assert!(!text.contains(key.lines().nth(1).unwrap()), "{}", file.path().display());
        }
    }
}

#[test]
fn a_folder_that_waits_for_an_intermediate_makes_no_root_and_an_import_that_was_cut_off_is_made_again()
 {
    let (folder, root) = (TempDir::new().unwrap(), root());
    let request = CertificateAuthority::request(folder.path(), &domain()).unwrap();
    let opened = CertificateAuthority::open(folder.path(), &domain(), Random::system(), now());
    assert!(matches!(opened.err(), Some(AuthorityError::NoIntermediate { .. })));
    assert!(!folder.path().join("root.pem").exists());
    // It ended between the intermediate and the bundle.
    let chain = signed(&root, &request);
    std::fs::write(folder.path().join("intermediate.pem"), "half of it").unwrap();
    let authority = install(&folder, (&chain, Some(root.certificate()))).unwrap();
    assert!(accepted(&authority, root.certificate()));
}
