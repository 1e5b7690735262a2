//! Plans without files: the SVID is used, and without it nothing is opened, least of all in clear text.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use serde_json::json;
use tamis_ambient::Clock;
use tamis_resources::{Document, NodeName, fold, parse};
use tamis_transport::{Address, CertificateFacts, TrustBundles, connect};

use super::super::Sockets;
use super::*;
use crate::DocumentPlaces;

const PAY: &str = "spiffe://shop.example/ns/shop/service/pay";
const CART: &str = "spiffe://shop.example/ns/shop/service/cart";
const SIDECAR: &str = "127.0.0.1:15099";

/// An authority of `shop.example`.
struct MeshAuthority(CertifiedIssuer<'static, KeyPair>);

/// A chain in PEM, its key, and the bundles.
type Svid = (String, KeyPair, TrustBundles);

impl MeshAuthority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn svid(&self, id: &str) -> Svid {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let (domain, bundle) = ("shop.example".parse().unwrap(), self.0.pem());
        (leaf.pem(), key, TrustBundles::from_pem([(domain, bundle.as_str())]).unwrap())
    }

    fn member(&self, id: &str) -> MeshIdentity {
        let (chain, key, bundles) = self.svid(id);
        MeshIdentity::new(&chain, private(&key), bundles, UnixTime::now()).unwrap()
    }

    fn renew(&self, identity: &MeshIdentity) {
        let (chain, key, bundles) = self.svid(identity.id().as_str());
        identity.replace(&chain, private(&key), bundles, UnixTime::now()).unwrap();
    }
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn documents() -> Vec<Document> {
    let service = |name: &str, id: &str, sidecar: &str| {
        let endpoint = json!({ "address": "127.0.0.1:9", "sidecar": sidecar });
        let spec = json!({ "ports": [{ "port": 80, "protocol": "http" }], "identity": id, "endpoints": [endpoint] });
        let metadata = json!({ "name": name, "namespace": "shop" });
        json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": "Service", "metadata": metadata, "spec": spec }).to_string()
    };
    let text = [service("pay", PAY, SIDECAR), service("cart", CART, "127.0.0.1:15098")];
    let (documents, problems) = parse("shop.yaml", &text.join("\n---\n"));
    assert!(problems.is_empty(), "{problems:#?}");
    documents
}

fn plan() -> NodePlan {
    let node: NodeName = "sidecar:shop/pay/0".parse().unwrap();
    let folded = fold(&documents(), &node, &|_| Err("there is no file".to_owned()));
    assert!(folded.problems.is_empty(), "{:#?}", folded.problems);
    folded.plan.unwrap()
}

/// Names of listeners, addresses of endpoints with TLS, notes.
fn opened(membership: Membership) -> (Vec<String>, usize, Vec<String>) {
    let (plan, mut notes) = (plan(), Vec::new());
    let source = DocumentPlaces::folder(Path::new("."));
    let mut sockets = Sockets::new(Clock::system(), membership);
    sockets.begin(plan.identity.as_deref());
    let listeners = sockets.listeners(&source, &plan.listeners, &mut notes);
    assert!(listeners.iter().all(|one| one.tls.is_some()), "clear text");
    let services = sockets.services(&source, &plan.services, &mut notes);
    let meshed = services.iter().filter(|one| !one.name.starts_with("local/"));
    let endpoints: Vec<_> = meshed.flat_map(|one| &one.endpoints).collect();
    assert!(endpoints.iter().all(|one| one.tls.is_some()), "clear text");
    let names = listeners.into_iter().map(|one| one.name).collect();
    (names, endpoints.len(), notes)
}

#[test]
fn a_plan_without_files_opens_its_sockets_with_the_svid_of_the_right_member_only() {
    let authority = MeshAuthority::new();
    let joined = |id| Membership::Joined(authority.member(id));
    let rows = [
        ("right", joined(PAY), 1, None),
        ("another", joined(CART), 0, Some("identity.other")),
        ("none", Membership::Absent, 0, Some("identity.none")),
        ("examined", Membership::Assumed, 0, None),
    ];
    for (name, membership, listeners, code) in rows {
        let missing = membership.missing(&plan());
        assert_eq!(missing.as_ref().map(|it| it.code), code, "{name}");
        if let Some(missing) = missing {
            assert!(missing.message.contains(PAY) && missing.help.contains("join"), "{missing:?}");
        }
        let (names, endpoints, notes) = opened(membership);
        assert_eq!((names.len(), endpoints), (listeners, 2 * listeners), "{name}");
        assert_eq!(notes, [""; 0], "{name}: reported once, as the missing SVID");
    }
}

#[tokio::test]
async fn a_renewal_changes_no_socket_and_counts_from_the_next_handshake_on() {
    let authority = MeshAuthority::new();
    let (pay, cart) = (authority.member(PAY), authority.member(CART));
    let (plan, mut notes) = (plan(), Vec::new());
    let source = DocumentPlaces::folder(Path::new("."));
    let mut sockets = Sockets::new(Clock::system(), Membership::Joined(pay.clone()));
    sockets.begin(plan.identity.as_deref());
    let mut tls = || {
        sockets.begin(plan.identity.as_deref());
        let mut listeners = sockets.listeners(&source, &plan.listeners, &mut notes);
        let services = sockets.services(&source, &plan.services, &mut notes);
        let keys: Vec<String> =
            services.iter().flat_map(|it| &it.endpoints).map(|it| it.tls_key.clone()).collect();
        let stamp = sockets.stamp().join("");
        (listeners.remove(0).tls.unwrap(), keys, stamp)
    };
    let (server, keys, stamp) = tls();
    let before: Arc<CertificateFacts> = pay.facts();
    authority.renew(&pay);
    let (same, same_keys, same_stamp) = tls();
    assert!(Arc::ptr_eq(&server, &same) && keys == same_keys && stamp == same_stamp);
    assert_eq!(pay.renewals(Duration::ZERO).renewed, 1);
    assert_eq!(pay.facts().names, before.names);

    // The listener that was made before the renewal shows the new certificate.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let client = ClientTls::from_identity(&cart, Some(pay.id()), "pay").unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        server.accept(stream).await.map(|(_, peer)| peer)
    };
    let (address, wait) = (Address::Tcp(address), Duration::from_secs(10));
    let dial = connect(&address, Some(&client), wait);
    let (accepted, connected) = tokio::join!(serve, dial);
    assert_eq!(accepted.unwrap().spiffe_id, Some(cart.id()));
    assert!(connected.is_ok());
    assert_eq!(notes, [""; 0]);
}
