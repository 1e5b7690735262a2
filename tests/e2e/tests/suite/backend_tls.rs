//! Services outside the mesh over TLS: what their certificates must prove, and what is sent where they do not.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tamis_e2e::{Backend, Folder, eventually, eventually_or, get, root, tamis};
use tamis_transport::ServerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::docs::{follow, renumber};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A server with the certificate that is in its files when a client comes.
struct Server {
    address: SocketAddr,
    /// The heads of the requests that it got.
    heads: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// With the pair `server.crt` and `server.key` of a folder.
    fn start(folder: &Path) -> Self {
        let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = ServerTls::from_files(&certificate, &key, None).unwrap();
                // Clients that refuse the certificate end the handshake.
                let Ok((mut stream, peer)) = tls.accept(stream).await else { continue };
                let (mut head, mut octets) = (Vec::new(), [0; 4096]);
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut octets).await {
                        Ok(length @ 1..) => head.extend_from_slice(&octets[..length]),
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                seen.lock().unwrap().push(format!("{:?} {head}", peer.sni));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-tamis-reason: forged\r\nconnection: close\r\n\r\nok";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, heads, _runtime: runtime }
    }

    fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn authority() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of an authority: DNS names, URIs, and for how many days around now it is valid.
fn certify(folder: &Folder, ca: &Issuer, hosts: &[&str], uris: &[&str], days: (i64, i64)) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
    }
    let day = |days: i64| {
        let now = SystemTime::now();
        let span = Duration::from_secs(days.unsigned_abs() * 86_400);
        if days < 0 { now - span } else { now + span }
    };
    params.not_before = day(days.0).into();
    params.not_after = day(days.1).into();
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, ca).unwrap();
    folder.write("server.crt", &own.pem());
    folder.write("server.key", &key.serialize_pem());
}

fn policy(hostname: &str, more: &str) -> String {
    format!(
        "kind: BackendTLSPolicy\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: app, namespace: test }}\nspec:\n  \
         targetRefs: [{{ group: \"\", kind: Service, name: app }}]\n  validation: {{ hostname: {hostname}, {more} }}\n"
    )
}

const OURS: &str = "caCertificateRefs: [{ kind: File, name: ours.pem }]";

#[test]
fn nothing_is_sent_to_a_server_outside_the_mesh_that_does_not_prove_what_its_policy_asks_for() {
    let any: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let folder = Folder::gateway(&[any]);
    let (ours, theirs) = (authority(), authority());
    folder.write("ours.pem", &ours.pem());
    let valid = (-1, 1);
    certify(&folder, &ours, &["bank.example"], &[], valid);
    let server = Server::start(folder.path());
    folder.edit("mesh.yaml", "127.0.0.1:1\n", &format!("{}\n", server.address));
    folder.write("tls.yaml", &policy("bank.example", OURS));
    let _gateway = folder.start(&[]);
    let uri = "spiffe://bank.example/api";
    let names = |names: &str| format!("{OURS}, subjectAltNames: [{names}]");
    let dns = names("{ type: Hostname, hostname: api.bank.example }");
    let by_uri = names(&format!("{{ type: URI, uri: \"{uri}\" }}"));
    let either = names(&format!(
        "{{ type: Hostname, hostname: no.example }}, {{ type: URI, uri: \"{uri}\" }}"
    ));
    for (what, (ca, hosts, uris, days), validation, status) in [
        ("the right name", (&ours, &["bank.example"][..], &[][..], valid), OURS, 200),
        ("another name", (&ours, &["other.example"], &[], valid), OURS, 503),
        ("a name below it", (&ours, &["a.bank.example"], &[], valid), OURS, 503),
        ("no name", (&ours, &[], &[], valid), OURS, 503),
        ("another authority", (&theirs, &["bank.example"], &[], valid), OURS, 503),
        ("expired", (&ours, &["bank.example"], &[], (-2, -1)), OURS, 503),
        ("not valid yet", (&ours, &["bank.example"], &[], (1, 2)), OURS, 503),
        ("a name of the list", (&ours, &["api.bank.example"], &[], valid), &dns, 200),
        ("only the server name", (&ours, &["bank.example"], &[], valid), &dns, 503),
        ("a URI", (&ours, &[], &[uri], valid), &by_uri, 200),
        (
            "a URI that begins so",
            (&ours, &[], &["spiffe://bank.example/api/x"], valid),
            &by_uri,
            503,
        ),
        ("the URI as a DNS name", (&ours, &["bank.example"], &[], valid), &by_uri, 503),
        ("one of several", (&ours, &["bank.example"], &[uri], valid), &either, 200),
        ("none of several", (&ours, &["bank.example"], &[], valid), &either, 503),
        ("a URI of another authority", (&theirs, &[], &[uri], valid), &by_uri, 503),
        (
            "the authorities of the system",
            (&ours, &["bank.example"], &[], valid),
            "wellKnownCACertificates: System",
            503,
        ),
    ] {
        certify(&folder, ca, hosts, uris, days);
        folder.write("tls.yaml", &policy("bank.example", validation));
        eventually_or(what, || {
            let reply = get(&folder.http, "/");
            if reply.status == status { Ok(()) } else { Err(format!("{reply:?}")) }
        });
        let sent = server.count();
        let reply = get(&folder.http, "/");
        assert_eq!(reply.status, status, "{what}");
        assert_eq!(server.count() - sent, usize::from(status == 200), "{what}");
        assert_ne!(reply.header("x-tamis-reason"), Some("forged"), "{what}");
    }
    let heads = server.heads.lock().unwrap().clone();
    assert!(heads.iter().all(|it| it.starts_with("Some(\"bank.example\")")), "{heads:?}");
    // It is no proxy of the mesh: it is not told that this one retries, and its claims are not believed.
    assert!(heads.iter().all(|it| !it.to_lowercase().contains("x-tamis-retries")), "{heads:?}");
}

#[test]
fn a_policy_that_is_broken_or_gone_wrong_sends_nothing_in_clear_text_instead() {
    let clear = Backend::start();
    let folder = Folder::gateway(&[clear.address]);
    folder.write("ours.pem", &authority().pem());
    let gateway = folder.start(&[]);
    assert_eq!(get(&folder.http, "/").status, 200, "in clear text without a policy");
    let good = policy("bank.example", OURS);
    let unknown = good.replace("hostname:", "hostnam:");
    for (what, text, part) in [
        ("a server in clear text", good.clone(), ""),
        ("no file", good.replace("ours.pem", "gone.pem"), "gone.pem"),
        ("no certificate in it", good.replace("ours.pem", "mesh.yaml"), "mesh.yaml"),
        (
            "both authorities",
            policy("a.b", &format!("{OURS}, wellKnownCACertificates: System")),
            "either",
        ),
        (
            "a port that is not there",
            good.replace("name: app }]", "name: app, sectionName: https }]"),
            "https",
        ),
        (
            "the same twice",
            format!("{good}---\n{}", good.replace("{ name: app,", "{ name: other,")),
            "more than one",
        ),
        ("a field that nobody knows", unknown, "hostnam"),
    ] {
        folder.write("tls.yaml", &text);
        eventually_or(what, || {
            let reply = get(&folder.http, "/");
            if reply.status == 503 { Ok(()) } else { Err(format!("{reply:?}")) }
        });
        let before = clear.count();
        assert_eq!(get(&folder.http, "/").status, 503, "{what}");
        assert_eq!(clear.count(), before, "{what}");
        let checked = tamis(folder.path(), &["check", "."]);
        let said = [checked.stdout, checked.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(part), "{what}: {said}");
    }
    std::fs::remove_file(folder.file("tls.yaml")).unwrap();
    eventually("without a policy it is reached again", || {
        (get(&folder.http, "/").status == 200).then_some(())
    });
    drop(gateway);
}

#[test]
fn the_page_on_services_over_https_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/how-to/https-upstreams.md")).unwrap();
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let folder = Folder::gateway(&[nobody]);
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let ports = [
        ("8080".to_owned(), port(&folder.http)),
        ("9443".to_owned(), tamis_e2e::free_port().to_string()),
    ];
    let page = renumber(&page, &ports)
        .replace("\"127.0.0.1\", 9443", &format!("\"127.0.0.1\", {}", ports[1].1));
    // The page is about a service of a gateway that runs.
    let mesh = folder.read("mesh.yaml");
    let (before, after) = mesh.split_once("---\nkind: Service\n").unwrap();
    let (_, after) = after.split_once("---\n").unwrap();
    folder.write(
        "mesh.yaml",
        &format!("{before}---\n{}", after.replace("name: app, port: 80", "name: bank, port: 443")),
    );
    let _gateway = folder.start(&[]);
    let outputs = follow(
        folder.path(),
        &page.replace("namespace: shop", "namespace: test"),
        |commands, said| {
            !commands.contains("curl")
                || said.ends_with(if commands.contains("other.example") {
                    "503\n"
                } else {
                    "200\n"
                })
        },
    );
    assert_eq!(outputs.iter().filter(|(_, said)| said == "200\n").count(), 1, "{outputs:?}");
    assert_eq!(outputs.iter().filter(|(_, said)| said == "503\n").count(), 1, "{outputs:?}");
}
