//! What the authority signs is judged by the verifier of the mesh, in real handshakes where it matters.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::BasicConstraints;
use tamis_ambient::Clock;
use tamis_transport::{ClientCertificates, ClientTls, ServerTls};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::request::REQUEST_BYTES_MAX;

const PAY: &str = "spiffe://shop.example/ns/shop/pay";
const CART: &str = "spiffe://shop.example/ns/shop/cart";
const HOUR: Duration = Duration::from_secs(3_600);

fn domain() -> TrustDomain {
    "shop.example".parse().unwrap()
}

fn now() -> SystemTime {
    Clock::system().wall()
}

fn open(folder: &TempDir) -> Result<CertificateAuthority, AuthorityError> {
    CertificateAuthority::open(folder.path(), &domain(), Random::system(), now())
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn member(authority: &CertificateAuthority, id: &str, bundle: &str) -> MeshIdentity {
    let key = KeyPair::generate().unwrap();
    let svid = authority.issue(&request(&key), &id.parse().unwrap(), HOUR, now()).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let bundles = TrustBundles::from_pem([(domain(), bundle)]).unwrap();
    MeshIdentity::new(&svid.chain, key, bundles, UnixTime::now()).unwrap()
}

/// Whether two members shake hands.
async fn meet(server: &MeshIdentity, client: &MeshIdentity) -> bool {
    let tls = ServerTls::from_identity(server, ClientCertificates::Required).unwrap();
    let to = ClientTls::from_identity(client, Some(server.id()), "mesh").unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (accepted, connected) = tokio::join!(tls.accept(far), to.handshake(near));
    accepted.is_ok_and(|(_, peer)| peer.spiffe_id == Some(client.id()))
        && connected.is_ok_and(|peer| peer.spiffe_id == Some(server.id()))
}

#[tokio::test]
async fn svids_of_one_authority_meet_before_and_after_a_rotation_and_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut authority = open(&folder).unwrap();
    let bundle = authority.bundle().to_owned();
    let before = member(&authority, PAY, &bundle);
    let old = authority.intermediate().certificate().to_owned();
    authority.rotate(now()).unwrap();
    assert_ne!(authority.intermediate().certificate(), old);
    assert_eq!(authority.bundle(), bundle, "members need no new bundle");
    let after = member(&authority, CART, &bundle);
    assert!(meet(&before, &after).await && meet(&after, &before).await);
    // The same authority after a restart.
    drop(authority);
    let again = open(&folder).unwrap();
    let restarted = member(&again, CART, &bundle);
    assert!(meet(&before, &restarted).await && meet(&restarted, &after).await);
    // One of another folder, for the same domain.
    let stranger = open(&TempDir::new().unwrap()).unwrap();
    let stranger = member(&stranger, CART, stranger.bundle());
    assert!(!meet(&before, &stranger).await && !meet(&stranger, &before).await);
}

#[tokio::test]
async fn a_root_that_stays_offline_signs_an_intermediate_and_a_new_root_overlaps_with_the_old_one()
{
    let folder = TempDir::new().unwrap();
    let (random, at) = (Random::system(), now());
    let root = RootAuthority::generate(&domain(), random, at).unwrap();
    let first = root.intermediate(&domain(), random, at).unwrap();
    let import = |folder: &TempDir, root: &str, intermediate| {
        CertificateAuthority::import(folder.path(), &domain(), root, intermediate, random, at)
    };
    let mut authority = import(&folder, root.certificate(), first).unwrap();
    assert!(!folder.path().join("root.pem").exists());
    assert!(matches!(authority.rotate(at), Err(AuthorityError::RootOffline)));
    let early = member(&authority, PAY, authority.bundle());
    authority.import_intermediate(root.intermediate(&domain(), random, at).unwrap(), at).unwrap();
    assert!(meet(&early, &member(&authority, CART, authority.bundle())).await);

    // A new root: trusted first, used later.
    let next = RootAuthority::generate(&domain(), random, at).unwrap();
    let signed = || next.intermediate(&domain(), random, at).unwrap();
    let refused = authority.import_intermediate(signed(), at).unwrap_err();
    assert!(matches!(refused, AuthorityError::Import { .. }), "{refused}");
    authority.accept_root(next.certificate()).unwrap();
    let knows_both = member(&authority, PAY, authority.bundle());
    authority.import_intermediate(signed(), at).unwrap();
    let of_new = member(&authority, CART, authority.bundle());
    assert!(meet(&knows_both, &of_new).await && meet(&of_new, &knows_both).await);
    assert!(!meet(&early, &of_new).await, "a member that has the old bundle only");

    let reopened = open(&folder).unwrap();
    assert_eq!(reopened.bundle(), authority.bundle());
    // A folder is never overwritten, and an intermediate of another root is no use.
    assert!(import(&folder, root.certificate(), signed()).is_err());
    let other = TempDir::new().unwrap();
    assert!(import(&other, root.certificate(), signed()).is_err());
    assert!(
        !other.path().join("bundle.pem").exists()
            && !other.path().join("intermediate.pem").exists()
    );
}

#[test]
fn an_svid_has_what_the_caller_says_and_nothing_of_what_the_request_asks_for() {
    let authority = open(&TempDir::new().unwrap()).unwrap();
    let mut asks = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    asks.subject_alt_names.push(SanType::URI("spiffe://shop.example/admin".try_into().unwrap()));
    asks.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    asks.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    asks.distinguished_name.push(DnType::CommonName, "admin");
    let key = KeyPair::generate().unwrap();
    let request = asks.serialize_request(&key).unwrap();
    let at = now();
    let svid = authority.issue(request.der(), &PAY.parse().unwrap(), HOUR, at).unwrap();
    let facts = tamis_transport::CertificateFacts::of_pem(svid.chain.as_bytes()).unwrap();
    assert_eq!(facts.names, [PAY]);
    assert_eq!(u64::try_from(facts.not_after).unwrap(), svid.not_after);
    assert_eq!(svid.not_after, validity::seconds(at) + HOUR.as_secs());
    assert!(facts.not_before <= i64::try_from(validity::seconds(at)).unwrap() - 60);
    let der = leaf(&svid.chain);
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    assert!(!leaf.is_ca() && !leaf.subject().to_string().contains("admin"));
    assert_eq!(leaf.raw_serial_as_string().replace(':', ""), svid.serial);
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
}

fn leaf(chain: &str) -> Vec<u8> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap().to_vec()
}

#[test]
fn ids_lifetimes_and_requests_out_of_bounds_are_refused() {
    let authority = open(&TempDir::new().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let good = request(&key);
    let issue = |request: &[u8], id: &str, seconds: u64| {
        let lifetime = Duration::from_secs(seconds);
        authority.issue(request, &id.parse().unwrap(), lifetime, now())
    };
    for id in ["spiffe://shop.example", "spiffe://other.example/ns/shop/pay"] {
        let refused = issue(&good, id, 60).unwrap_err();
        assert!(matches!(refused, AuthorityError::OutsideDomain { .. }), "{refused}");
    }
    for own in ["spiffe://shop.example/registry", "spiffe://shop.example/trial"] {
        let refused = issue(&good, own, 60).unwrap_err();
        assert!(matches!(refused, AuthorityError::Reserved { .. }), "{refused}");
        let refused = authority.issue_to(
            ("sidecar:a/b/0", None),
            &good,
            &own.parse().unwrap(),
            Duration::from_secs(60),
            now(),
        );
        assert!(matches!(refused, Err(AuthorityError::Reserved { .. })), "{own}");
        assert!(issue(&good, &format!("{own}/1"), 60).is_ok(), "only the id itself");
    }
    for (seconds, right) in [(9, false), (10, true), (86_400, true), (86_401, false)] {
        let issued = issue(&good, PAY, seconds);
        assert_eq!(issued.is_ok(), right, "{seconds}");
        let of_lifetime = matches!(issued, Err(AuthorityError::Lifetime { .. }));
        assert_eq!(of_lifetime, !right, "{seconds}");
    }
    // Any changed byte breaks the signature, the key or the form.
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        let issued = issue(&changed, PAY, 60);
        let accepted_same = issued.as_ref().is_ok_and(|svid| {
            let der = leaf(&svid.chain);
            let (_, leaf) = X509Certificate::from_der(&der).unwrap();
            leaf.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
        });
        assert!(issued.is_err() || accepted_same, "byte {at}");
    }
    for broken in [Vec::new(), vec![0x30; 10], vec![0; REQUEST_BYTES_MAX + 1]] {
        let refused = issue(&broken, PAY, 60).unwrap_err();
        assert!(matches!(refused, AuthorityError::Request { .. }), "{refused}");
    }
}

#[test]
fn an_svid_never_outlives_its_intermediate() {
    let folder = TempDir::new().unwrap();
    let authority = open(&folder).unwrap();
    let key = KeyPair::generate().unwrap();
    let until = authority.intermediate().not_after();
    let at = |before: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(until - before);
    assert!(!authority.rotation_is_due(now()));
    assert!(authority.rotation_is_due(at(14 * 24 * 3_600)));
    let svid = authority.issue(&request(&key), &PAY.parse().unwrap(), HOUR, at(600)).unwrap();
    assert_eq!(svid.not_after, until);
    let late = authority.issue(&request(&key), &PAY.parse().unwrap(), HOUR, at(5)).unwrap_err();
    assert!(matches!(late, AuthorityError::Expiring { .. }), "{late}");
}

#[test]
fn keys_are_for_their_owner_and_a_broken_file_is_named_and_never_replaced() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder).unwrap());
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("root.pem"), mode("intermediate.pem"), mode(".")), (0o600, 0o600, 0o700));
    for name in ["root.pem", "intermediate.pem"] {
        let good = std::fs::read(path(name)).unwrap();
        std::fs::write(path(name), "rubbish").unwrap();
        let error = open(&folder).err().unwrap();
        assert!(matches!(error, AuthorityError::Broken { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(std::fs::read(path(name)).unwrap(), b"rubbish");
        std::fs::write(path(name), good).unwrap();
    }
    // What is no file, and one without an end.
    for name in ["root.pem", "intermediate.pem"] {
        let good = std::fs::read(path(name)).unwrap();
        for (planted, why) in [("/dev/zero", "a device"), ("/", "a folder")] {
            std::fs::remove_file(path(name)).unwrap();
            std::os::unix::fs::symlink(planted, path(name)).unwrap();
            let Some(AuthorityError::File { source, .. }) = open(&folder).err() else {
                panic!("{name}: {planted}");
            };
            assert!(source.to_string().contains(why), "{name}: {source}");
        }
        std::fs::remove_file(path(name)).unwrap();
        std::fs::File::create(path(name)).unwrap().set_len(1 << 40).unwrap();
        let Some(AuthorityError::File { source, .. }) = open(&folder).err() else {
            panic!("{name}");
        };
        assert!(source.to_string().contains("longer than"), "{name}: {source}");
        std::fs::write(path(name), good).unwrap();
    }
    // Another trust domain.
    let other = "bank.example".parse().unwrap();
    let error = CertificateAuthority::open(folder.path(), &other, Random::system(), now());
    assert!(matches!(error, Err(AuthorityError::OtherDomain { .. })));
    // The root's key was taken away: what is there goes on; without an intermediate nothing can.
    std::fs::remove_file(path("root.pem")).unwrap();
    assert!(matches!(open(&folder).unwrap().rotate(now()), Err(AuthorityError::RootOffline)));
    std::fs::remove_file(path("intermediate.pem")).unwrap();
    assert!(matches!(open(&folder), Err(AuthorityError::NoIntermediate { .. })));
}

#[tokio::test]
async fn an_svid_of_a_proxy_names_it_and_the_registry_accepts_it_with_its_own() {
    let folder = TempDir::new().unwrap();
    let authority = open(&folder).unwrap();
    let long = format!("sidecar:shop/{}/0", "n".repeat(64));
    for (node, subject) in [("sidecar:shop/pay/0", "sidecar:shop/pay/0"), (long.as_str(), "")] {
        let key = KeyPair::generate().unwrap();
        let request = request(&key);
        let lineage = SvidLineage::of_token(&Digest::of(node.as_bytes()));
        let (id, member) = (PAY.parse().unwrap(), (node, Some(lineage)));
        let svid = authority.issue_to(member, &request, &id, HOUR, now()).unwrap();
        let again = authority.issue_to(member, &request, &id, HOUR, now()).unwrap();
        let of = |svid: &IssuedSvid| SvidLineage::of_serial(&svid.serial);
        assert_eq!((of(&svid), of(&again)), (Some(lineage), Some(lineage)));
        assert_ne!(svid.serial, again.serial);
        let alone = authority.issue_to((node, None), &request, &id, HOUR, now()).unwrap();
        assert!(alone.serial.len() == 32 && of(&alone) != Some(lineage));
        let pem = x509_parser::pem::parse_x509_pem(svid.chain.as_bytes()).unwrap().1;
        let (_, leaf) = X509Certificate::from_der(&pem.contents).unwrap();
        let name = leaf.subject().iter_common_name().next().unwrap().as_str().unwrap();
        assert_eq!(name, node_subject(node));
        assert!(name.len() <= 64 && (subject.is_empty() || name == subject), "{name}");
        assert!(validity::issued(leaf.validity().not_before.timestamp()) <= svid.not_after);
    }
    assert_ne!(node_subject(&long), node_subject(&long.replace("/0", "/1")));
    let id: SpiffeId = "spiffe://shop.example/registry".parse().unwrap();
    let own = authority.own_identity(&id, "", HOUR, now()).unwrap();
    let pay = member(&authority, PAY, authority.bundle());
    assert!(meet(&own, &pay).await);
    let before = own.facts();
    authority.renew_own(&own, "", 2 * HOUR, now()).unwrap();
    assert!(own.facts().not_after > before.not_after && meet(&own, &pay).await);
}
