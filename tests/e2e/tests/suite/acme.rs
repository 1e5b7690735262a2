//! Certificates that a gateway orders by itself, from Debian's `pebble`: both challenges, renewals, a server that is away, and
//! orders that it refuses. pebble rejects one nonce in twenty by itself, which no test notices.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use tamis_e2e::{Backend, Folder, FolderOptions, eventually, eventually_or, free_port, get, tamis};

/// A process that is killed when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A folder, and where an ACME server is or will be.
struct Setup {
    folder: Folder,
    directory: u16,
    management: u16,
    dns: u16,
    /// The port at which the server looks for answers to requests.
    looks_at: u16,
    /// Seconds that a certificate is valid.
    validity: u32,
    _names: Stopped,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "the authority of the directory");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

fn spawned(command: &mut Command) -> Stopped {
    Stopped(
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    )
}

/// A question for the address of a name (RFC 1035 §4.1).
const QUESTION: &[u8] =
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

impl Setup {
    /// A gateway whose port of TLS has these listeners, each a host and what its `tls` says.
    fn new(listeners: &[(&str, &str)], validity: u32) -> (Self, Backend) {
        let backend = Backend::start();
        let folder = Folder::gateway_with(&[backend.address], &FolderOptions::default());
        let (directory, management, dns) = (free_port(), free_port(), free_port());
        let ca = authority();
        let key = KeyPair::generate().unwrap();
        let own =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        folder.write("acme-ca.pem", &ca.pem());
        folder.write("pebble.crt", &own.pem());
        folder.write("pebble.key", &key.serialize_pem());
        let mesh = folder.read("mesh.yaml");
        let (before, after) = mesh.split_once("    - name: https\n").unwrap();
        let (_, after) = after.split_once("  admin:").unwrap();
        let https = port(&folder.https);
        let lines = listeners.iter().enumerate().map(|(at, (host, tls))| {
            format!("    - {{ name: tls{at}, port: {https}, protocol: HTTPS, hostname: {host}, tls: {{ {tls} }} }}\n")
        });
        let lines: String = lines.collect();
        let acme = format!(
            "  acme: {{ directory: \"https://127.0.0.1:{directory}/dir\", contact: [ops@test.example], \
             termsOfServiceAgreed: true, ca: acme-ca.pem }}\n"
        );
        folder.write("mesh.yaml", &format!("{before}{lines}{acme}  admin:{after}"));
        let names = spawned(
            Command::new("pebble-challtestsrv")
                .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""])
                .args(["-dns01", &format!("127.0.0.1:{dns}")])
                .args(["-management", &format!("127.0.0.1:{}", free_port())]),
        );
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        eventually("its names are answered", || {
            let _refused = socket.send_to(QUESTION, ("127.0.0.1", dns));
            socket.recv(&mut [0; 512]).ok()
        });
        let looks_at = port(&folder.http);
        (Self { folder, directory, management, dns, looks_at, validity, _names: names }, backend)
    }

    /// Starts the ACME server.
    fn pebble(&self) -> Stopped {
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.directory),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": "pebble.crt", "privateKey": "pebble.key",
            "httpPort": self.looks_at, "tlsPort": port(&self.folder.https),
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
            "domainBlocklist": ["blocked.test.example"],
            "certificateValidityPeriod": self.validity,
        }});
        self.folder.write("pebble.json", &config.to_string());
        let running = spawned(
            Command::new("pebble")
                .args(["-config", "pebble.json", "-strict", "-dnsserver"])
                .arg(format!("127.0.0.1:{}", self.dns))
                .env("PEBBLE_VA_NOSLEEP", "1")
                .current_dir(self.folder.path()),
        );
        eventually("the ACME server listens", || {
            TcpStream::connect(("127.0.0.1", self.directory)).ok()
        });
        running
    }

    /// What `openssl s_client` says of a handshake for a host.
    fn handshake(&self, host: &str, more: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &self.folder.https, "-servername", host, "-showcerts"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }

    /// The leaf that a client of a host sees; `None`: its handshake is refused.
    fn leaf(&self, host: &str) -> Option<String> {
        let said = self.handshake(host, &[]);
        let (_, rest) = said.split_once("-----BEGIN CERTIFICATE-----")?;
        Some(rest.split_once("-----END CERTIFICATE-----")?.0.to_owned())
    }

    /// A request to a host over TLS whose certificate must be signed by the server's root, in a file.
    fn status(&self, host: &str, root: &str) -> Result<String, String> {
        let address = format!("{host}:{}", port(&self.folder.https));
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--cacert", root])
            .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(["--resolve", &format!("{address}:127.0.0.1")])
            .arg(format!("https://{address}/"))
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// Fetches the root that signs certificates, into a file.
    fn root(&self) -> &'static str {
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "30", "--cacert", "acme-ca.pem"])
            .arg(format!("https://127.0.0.1:{}/roots/0", self.management))
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success());
        self.folder.write("root.pem", &String::from_utf8(output.stdout).unwrap());
        "root.pem"
    }

    fn config(&self) -> Value {
        serde_json::from_str(&get(&self.folder.admin, "/config").body).unwrap()
    }

    /// The problem of the order for a host; it must have one.
    fn problem(&self, host: &str, says: &str) -> Value {
        eventually_or(&format!("the order for {host} is a problem with {says:?}"), || {
            let config = self.config();
            let problems = config["problems"].as_array().unwrap();
            let of_host = |one: &&Value| {
                let message = one["message"].as_str().unwrap();
                one["code"] == "acme.order" && message.contains(host) && message.contains(says)
            };
            problems.iter().find(of_host).cloned().ok_or_else(|| config["problems"].to_string())
        })
    }

    fn kept(&self, host: &str) -> std::path::PathBuf {
        self.folder.file(".tamis/acme/gateway-test-edge").join(format!("{host}.pem"))
    }
}

const HTTP: &str = "acme: http-01";
const TLS: &str = "acme: tls-alpn-01";

#[test]
fn a_gateway_gets_certificates_over_both_challenges_and_renews_them_while_it_serves() {
    let own = "certificate: own.crt, key: own.key";
    let hosts = [("pay.test.example", HTTP), ("shop.test.example", TLS), ("own.test.example", own)];
    let (setup, backend) = Setup::new(&hosts, 24);
    let made = tamis(
        setup.folder.path(),
        &["keys", "certificate", "own", "--authority", "ca.crt", "--host", "own.test.example"],
    );
    assert!(made.status.success());
    let gateway = setup.folder.start(&[]);

    // Nobody gives a certificate yet: two hosts are refused clearly, the third one serves.
    for host in ["pay.test.example", "shop.test.example"] {
        assert!(setup.handshake(host, &[]).contains("alert number 80"), "{host}");
        let problem = setup.problem(host, "cannot be asked");
        assert!(problem["message"].as_str().unwrap().contains("no certificate for"), "{problem}");
        assert!(problem["help"].as_str().unwrap().contains("spec.acme.directory"), "{problem}");
    }
    assert_eq!(setup.status("own.test.example", "ca.crt"), Ok("200".to_owned()));
    let refused = |reason: &str| setup.folder.metric(&["tamis_handshakes_failed_total", reason]);
    assert!(refused("awaits-certificate") >= Some(2.0));

    let _pebble = setup.pebble();
    let first: Vec<String> = ["pay.test.example", "shop.test.example"]
        .map(|host| eventually("the host has its certificate", || setup.leaf(host)))
        .to_vec();
    let root = setup.root();
    for host in ["pay.test.example", "shop.test.example"] {
        assert_eq!(setup.status(host, root), Ok("200".to_owned()), "{host}");
        let kept = std::fs::metadata(setup.kept(host)).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    }
    let folder = setup.kept("x");
    let folder = folder.parent().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
    assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    eventually("no order is a problem any more", || {
        let config = setup.config();
        let problems = config["problems"].as_array().unwrap().clone();
        problems.iter().all(|one| one["code"] != "acme.order").then_some(())
    });

    // What no order asked for is nobody's but the routes'.
    let before = backend.count();
    let path = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
    assert_eq!(get(&setup.folder.http, path).status, 200);
    assert_eq!(backend.count(), before + 1);
    assert!(backend.last().unwrap().line.contains(path));
    let said = setup.handshake("shop.test.example", &["-alpn", "acme-tls/1"]);
    assert!(said.contains("alert number 120"), "{said}");
    assert!(refused("no-challenge") >= Some(1.0));

    // Both are renewed at two thirds of their life, and not one handshake fails meanwhile.
    let mut seen: BTreeSet<String> = first.iter().cloned().collect();
    eventually("both have renewed certificates", || {
        for host in ["pay.test.example", "shop.test.example"] {
            seen.insert(setup.leaf(host).expect("a handshake is refused during a renewal"));
        }
        (seen.len() >= 4).then_some(())
    });
    for host in ["pay.test.example", "shop.test.example"] {
        let labels = [format!("host=\"{host}\"")];
        let of = |name: &str| setup.folder.metric(&[&format!("{name}{{"), &labels[0]]);
        assert!(of("tamis_acme_orders_total") >= Some(2.0), "{host}");
        assert!(of("tamis_acme_order_due_seconds") > Some(1e9), "{host}");
    }
    let expiry = setup.folder.metric(&["tamis_certificate_not_after_seconds", "pay.test.example"]);
    assert!(expiry > Some(1e9));
    let told = gateway.errors() + &format!("{:?}", gateway.events());
    assert!(told.contains("uses the renewed"), "{told}");
}

#[test]
fn what_is_kept_serves_at_once_while_the_server_is_away_and_an_account_that_is_gone_is_made_again()
{
    let (setup, _backend) = Setup::new(&[("pay.test.example", TLS)], 3_600);
    let pebble = setup.pebble();
    let gateway = setup.folder.start(&[]);
    let first = eventually("the host has its certificate", || setup.leaf("pay.test.example"));
    drop((pebble, gateway));

    let gateway = setup.folder.start(&[]);
    assert_eq!(setup.leaf("pay.test.example"), Some(first.clone()), "it serves from the start");
    drop(gateway);

    // What others may have written, or nobody can use, is not served; the order for it waits for the server.
    setup.folder.write(".tamis/acme/gateway-test-edge/pay.test.example.pem", "no certificate");
    let _gateway = setup.folder.start(&[]);
    assert_eq!(setup.leaf("pay.test.example"), None);
    setup.problem("pay.test.example", "cannot be asked");

    // This server has never heard of the account.
    let _pebble = setup.pebble();
    let second = eventually("the host has a certificate again", || setup.leaf("pay.test.example"));
    assert_ne!(second, first);
}

#[test]
fn an_order_that_is_refused_is_told_with_the_way_out_and_disturbs_no_other() {
    let hosts = [
        ("blocked.test.example", TLS),
        ("unreached.test.example", HTTP),
        ("pay.test.example", TLS),
    ];
    let (mut setup, _backend) = Setup::new(&hosts, 3_600);
    // The server looks where nobody answers.
    setup.looks_at = free_port();
    let _pebble = setup.pebble();
    let _gateway = setup.folder.start(&[]);
    eventually("the host has its certificate", || setup.leaf("pay.test.example"));
    let blocked = setup.problem("blocked.test.example", "rejectedIdentifier");
    assert!(blocked["help"].as_str().unwrap().contains("gives no certificate"), "{blocked}");
    let unreached = setup.problem("unreached.test.example", "connection");
    assert!(unreached["help"].as_str().unwrap().contains("port 80"), "{unreached}");
    for host in ["blocked.test.example", "unreached.test.example"] {
        assert_eq!(setup.leaf(host), None, "{host}");
        let failed = setup.folder.metric(&["tamis_acme_orders_failed_total", host]);
        assert!(failed >= Some(1.0), "{host}");
    }
    let orders = setup.config()["orders"].clone();
    let order = |host: &str| {
        let all = orders.as_array().unwrap();
        all.iter().find(|one| one["host"] == host).cloned().unwrap()
    };
    assert!(order("blocked.test.example")["problem"].is_string());
    assert!(order("pay.test.example")["problem"].is_null(), "{orders}");
    assert!(order("pay.test.example")["notAfter"].is_number(), "{orders}");

    // A host that is written instead is ordered at once, whatever pause the former one had.
    setup.folder.edit(
        "mesh.yaml",
        "hostname: blocked.test.example",
        "hostname: other.test.example",
    );
    eventually("the new host has its certificate", || setup.leaf("other.test.example"));
    let problems = setup.config()["problems"].to_string();
    assert!(!problems.contains("blocked.test.example"), "{problems}");
}
