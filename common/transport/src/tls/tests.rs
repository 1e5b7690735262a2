use std::path::Path;
use std::sync::Arc;

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

use super::testing::shake;
use super::*;

const SERVER: &str = "spiffe://shop/server";
const CLIENT: &str = "spiffe://shop/client";

/// A folder of certificates made by one authority.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn server(&self, ca: Option<&Path>) -> Result<ServerTls, TlsError> {
        ServerTls::from_files(&self.path("server.pem"), &self.path("server.key"), ca)
    }

    fn client(&self, ca: &Path, expected: Option<&str>) -> ClientTls {
        let (certificate, key) = (self.path("client.pem"), self.path("client.key"));
        let own = OwnCertificate { certificate: &certificate, key: &key };
        let expected = expected.map(|id| id.parse().unwrap());
        ClientTls::from_files(Some(own), ca, expected, "localhost").unwrap()
    }
}

fn shop() -> Authority {
    let authority = Authority::new();
    authority.issue("server", &[SERVER], |_| {});
    authority.issue("client", &[CLIENT], |_| {});
    authority
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let shop = shop();
    let ca = shop.path("ca.pem");
    let server = shop.server(Some(&ca)).unwrap();
    let (at_server, at_client) = shake(&server, &shop.client(&ca, Some(SERVER))).await;
    let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
    assert_eq!(at_server.spiffe_id.as_ref().map(SpiffeId::as_str), Some(CLIENT));
    assert_eq!(at_client.spiffe_id.as_ref().map(SpiffeId::as_str), Some(SERVER));
    assert_eq!(at_server.sni.as_deref(), Some("localhost"));
    assert!(at_server.is_http2() && at_client.is_http2());
    assert_eq!(at_server.tls_version, "TLSv1.3");
}

/// How two connections of one client begin, the second of which could resume the session of the first.
fn two_handshakes(server: &ServerTls, client: &ClientTls) -> [Option<rustls::HandshakeKind>; 2] {
    [(); 2].map(|()| {
        let mut at_server = rustls::ServerConnection::new(Arc::clone(&server.config)).unwrap();
        let (config, name) = (Arc::clone(&client.config), client.server_name.clone());
        let mut at_client = rustls::ClientConnection::new(config, name).unwrap();
        while at_client.wants_write() || at_server.wants_write() {
            let mut sent = Vec::new();
            while at_client.wants_write() {
                at_client.write_tls(&mut sent).unwrap();
            }
            at_server.read_tls(&mut sent.as_slice()).unwrap();
            at_server.process_new_packets().unwrap();
            let mut sent = Vec::new();
            while at_server.wants_write() {
                at_server.write_tls(&mut sent).unwrap();
            }
            at_client.read_tls(&mut sent.as_slice()).unwrap();
            at_client.process_new_packets().unwrap();
        }
        at_server.handshake_kind()
    })
}

#[test]
fn where_clients_are_verified_none_resumes_a_session() {
    use rustls::HandshakeKind::{Full, Resumed};
    let shop = shop();
    let ca = shop.path("ca.pem");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // A certificate that expires is noticed at a whole handshake only.
        for (authority, second) in [(None, Resumed), (Some(&*ca), Full)] {
            let server = shop.server(authority).unwrap();
            let mut client = shop.client(&ca, Some(SERVER));
            let (chain, key) = (shop.path("client.pem"), shop.path("client.key"));
            client.config = Arc::new(
                rustls::ClientConfig::builder_with_provider(verify::provider())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(verify::authorities(&ca).unwrap())
                    .with_client_auth_cert(
                        files::certificates(&chain).unwrap(),
                        files::key(&key).unwrap(),
                    )
                    .unwrap(),
            );
            let kinds = two_handshakes(&server, &client);
            assert_eq!(kinds, [Some(Full), Some(second)], "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused() {
    let shop = shop();
    let ca = shop.path("ca.pem");
    let server = shop.server(Some(&ca)).unwrap();
    let (_, at_client) = shake(&server, &shop.client(&ca, Some("spiffe://shop/other"))).await;
    assert!(matches!(at_client, Err(TlsError::Handshake(_))));
}

#[tokio::test]
async fn another_authority_proves_nothing() {
    let (shop, stranger) = (shop(), shop());
    let ca = shop.path("ca.pem");
    let server = shop.server(Some(&ca)).unwrap();
    let (at_server, _) = shake(&server, &stranger.client(&ca, Some(SERVER))).await;
    assert!(at_server.is_err());
    let (_, at_client) = shake(&server, &shop.client(&stranger.path("ca.pem"), Some(SERVER))).await;
    assert!(at_client.is_err());
}

#[tokio::test]
async fn a_bad_identity_is_refused_by_both_sides() {
    type Change = fn(&mut CertificateParams);
    let rows: [(&[&str], Change); 6] = [
        (&[], |_| {}),
        (&[CLIENT, "spiffe://shop/admin"], |_| {}),
        (&["spiffe://shop/../admin"], |_| {}),
        (&["https://shop/client"], |_| {}),
        (&[CLIENT], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)),
        (&[CLIENT], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    ];
    for (row, (uris, change)) in rows.into_iter().enumerate() {
        let shop = shop();
        let ca = shop.path("ca.pem");
        shop.issue("client", uris, change);
        let server = shop.server(Some(&ca)).unwrap();
        let (at_server, _) = shake(&server, &shop.client(&ca, Some(SERVER))).await;
        assert!(at_server.is_err(), "client row {row}");

        shop.issue("client", &[CLIENT], |_| {});
        shop.issue("server", uris, change);
        let server = shop.server(Some(&ca)).unwrap();
        let (_, at_client) = shake(&server, &shop.client(&ca, Some(CLIENT))).await;
        assert!(at_client.is_err(), "server row {row}");
    }
}

#[tokio::test]
async fn without_an_expected_identity_the_name_counts() {
    let shop = shop();
    let ca = shop.path("ca.pem");
    let server = shop.server(None).unwrap();
    let named = |name| ClientTls::from_files(None, &ca, None, name).unwrap();
    let (at_server, at_client) = shake(&server, &named("localhost")).await;
    assert_eq!(at_server.unwrap().spiffe_id, None);
    at_client.unwrap();
    let (_, at_client) = shake(&server, &named("elsewhere.example")).await;
    assert!(at_client.is_err());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let shop = shop();
    let ca = shop.path("ca.pem");
    let server = shop.server(Some(&ca)).unwrap();
    let client = ClientTls::from_files(None, &ca, None, "localhost").unwrap();
    let (at_server, at_client) = shake(&server, &client).await;
    assert!(at_server.is_err() && at_client.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_cut_off() {
    let shop = shop();
    let (_silent, far) = tokio::io::duplex(64);
    let outcome = shop.server(None).unwrap().accept(far).await;
    assert!(matches!(outcome, Err(TlsError::Timeout)));
}

#[test]
fn errors_name_the_file() {
    let shop = shop();
    std::fs::write(shop.path("empty"), "nothing").unwrap();
    let path = |name: &str| shop.path(name);
    let (server, key) = (path("server.pem"), path("server.key"));
    let missing = ServerTls::from_files(&path("missing"), &key, None).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
    let empty = ServerTls::from_files(&path("empty"), &key, None).unwrap_err();
    assert!(empty.to_string().contains("contains no certificate"), "{empty}");
    let keyless = ServerTls::from_files(&server, &path("empty"), None).unwrap_err();
    assert!(keyless.to_string().contains("contains no private key"), "{keyless}");
    let mismatch = ServerTls::from_files(&server, &path("client.key"), None).unwrap_err();
    assert!(matches!(mismatch, TlsError::Pair { .. }), "{mismatch}");
}

#[test]
fn what_is_no_file_or_has_no_end_is_read_for_no_field() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let shop = shop();
    let path = |name: &str| shop.path(name);
    mknodat(CWD, path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::File::create(path("huge")).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
    let (server, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let server_tls = |certificate: &Path, key: &Path, ca: &Path| {
        ServerTls::from_files(certificate, key, Some(ca)).map(drop)
    };
    let client_tls = |certificate: &Path, key: &Path, ca: &Path| {
        let own = Some(OwnCertificate { certificate, key });
        ClientTls::from_files(own, ca, None, "localhost").map(drop)
    };
    type Reader<'a> = &'a dyn Fn(&Path) -> Result<(), TlsError>;
    let fields: [(&str, Reader<'_>); 7] = [
        ("a server's certificate", &|file| server_tls(file, &key, &ca)),
        ("a server's key", &|file| server_tls(&server, file, &ca)),
        ("the authorities of clients", &|file| server_tls(&server, &key, file)),
        ("a client's certificate", &|file| client_tls(file, &key, &ca)),
        ("a client's key", &|file| client_tls(&server, file, &ca)),
        ("the authorities of servers", &|file| client_tls(&server, &key, file)),
        ("what is told of a certificate", &|file| CertificateFacts::read(file).map(drop)),
    ];
    for (field, read) in fields {
        for (name, why) in [
            ("pipe", "it is a pipe, not a file"),
            ("socket", "it is a socket, not a file"),
            ("folder", "it is a folder, not a file"),
            ("zero", "it is a device, not a file"),
            ("huge", "it is longer than"),
        ] {
            let said = crate::causes(&read(&path(name)).unwrap_err());
            assert!(said.contains(why) && said.contains(name), "{field}: {said}");
        }
    }
}

#[test]
fn a_certificate_that_does_not_work_is_refused_before_it_is_put_into_use() {
    let (shop, stranger) = (shop(), shop());
    let (ca, other) = (shop.path("ca.pem"), stranger.path("ca.pem"));
    let now = std::time::SystemTime::now();
    shop.issue("server", &[SERVER], |_| {});
    let before = CertificateFacts::clone(&shop.server(Some(&ca)).unwrap().facts());
    assert_eq!(before.names, ["localhost", SERVER]);
    type Change = fn(&mut CertificateParams);
    let rows: [(&str, &[&str], Change); 5] = [
        ("", &[SERVER], |_| {}),
        ("expired at", &[SERVER], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1)),
        ("not valid before", &[SERVER], |params| {
            params.not_before = rcgen::date_time_ymd(2999, 1, 1);
        }),
        ("must be for spiffe://shop/server", &[CLIENT], |_| {}),
        ("must be for spiffe://shop/server", &[], |_| {}),
    ];
    for (why, uris, change) in rows {
        shop.issue("server", uris, change);
        shop.issue("client", uris, change);
        let needs = CertificateNeeds {
            now: Some(now),
            name: Some(SERVER),
            authority: Some(&ca),
            before: Some(&before),
        };
        let server = shop.server(Some(&ca)).unwrap().check(&shop.path("server.pem"), &needs);
        let client = shop.client(&ca, None).check(&shop.path("client.pem"), &needs);
        for said in [server, client] {
            let said = said.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said.is_empty(), why.is_empty(), "{said}");
            assert!(said.contains(why), "{why}: {said}");
        }
    }
    // One that no peer trusts, and one that shares no name with the one in use.
    shop.issue("server", &[SERVER], |_| {});
    let server = shop.server(Some(&ca)).unwrap();
    let needs = CertificateNeeds { now: Some(now), authority: Some(&other), ..Default::default() };
    let error = server.check(&shop.path("server.pem"), &needs).unwrap_err();
    assert!(matches!(error, TlsError::Issuer { .. }), "{error}");
    let names = vec!["elsewhere.example".to_owned()];
    let elsewhere = CertificateFacts { names, ..before };
    let needs = CertificateNeeds { before: Some(&elsewhere), ..Default::default() };
    let error = server.check(&shop.path("server.pem"), &needs).unwrap_err();
    assert!(matches!(error, TlsError::OtherName { .. }), "{error}");
}
