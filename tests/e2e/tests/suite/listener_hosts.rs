//! The hosts of a TLS listener: server names of handshakes, and hosts of requests.

use std::process::{Command, Stdio};
use tamis_e2e::{Backend, Folder, eventually};

/// What `openssl s_client` reports about a handshake; `None`: without a server name.
fn handshake(address: &str, name: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address, "-brief"]);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The status of a request over TLS with that server name and that host.
fn status(address: &str, name: &str, host: &str, version: &str) -> String {
    let port = address.rsplit(':').next().unwrap();
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "30", version])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(["--header", &format!("host: {host}")])
        .arg(format!("https://{name}:{port}/"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_listener_serves_its_hosts_and_no_others() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let mesh = folder.read("mesh.yaml");
    let limited = |hostname: &str| {
        let https = format!("protocol: HTTPS\n      hostname: \"{hostname}\"\n");
        mesh.replace("protocol: HTTPS\n", &https)
    };
    folder.write("mesh.yaml", &limited("*.shop.example"));
    let _gateway = folder.start(&[]);
    for (name, served) in [
        (Some("a.shop.example"), true),
        (Some("A.B.Shop.Example"), true),
        (Some("shop.example"), false),
        (Some("ashop.example"), false),
        (Some("a.shop.example.evil"), false),
        (Some("localhost"), false),
        (None, false),
    ] {
        let report = handshake(&folder.https, name);
        assert_eq!(report.contains("CONNECTION ESTABLISHED"), served, "{name:?}: {report}");
        assert_eq!(report.contains("unrecognized name"), !served, "{name:?}: {report}");
    }
    eventually("they are counted", || {
        let count = folder.metric(&["tamis_handshakes_failed_total", "unknown-name"])?;
        (count >= 5.0).then_some(())
    });
    for version in ["--http1.1", "--http2"] {
        for (host, expected) in [
            ("a.shop.example", "200"),
            ("b.shop.example:8443", "200"),
            ("shop.example", "421"),
            ("a.other.example", "421"),
            ("127.0.0.1", "421"),
        ] {
            let found = status(&folder.https, "a.shop.example", host, version);
            assert_eq!(found, expected, "{host} {version}");
        }
    }
    let record = folder.record("its record", |record| record["status"] == 421);
    assert_eq!(record["reason"], "request.misdirected", "{record}");
    assert_eq!(backend.count(), 4);

    // A listener with one host; the next handshake follows the document.
    folder.write("mesh.yaml", &limited("one.example"));
    eventually("the listener has its new host", || {
        let report = handshake(&folder.https, Some("one.example"));
        report.contains("CONNECTION ESTABLISHED").then_some(())
    });
    assert!(handshake(&folder.https, Some("a.shop.example")).contains("unrecognized name"));
    assert_eq!(status(&folder.https, "one.example", "one.example", "--http2"), "200");
    assert_eq!(status(&folder.https, "one.example", "two.example", "--http2"), "421");
}
