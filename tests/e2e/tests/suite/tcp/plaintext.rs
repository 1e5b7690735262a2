//! A `tcp` port that is also reached in plain text, beside members, and what cannot be told apart.

use super::{
    Mesh, PATIENCE, Running, address, dial, echoes, greeted, greeter, reaches, rest, server,
    service,
};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use tamis_e2e::eventually;

/// The ports of `db`, of which the first is opaque.
const PORTS: &str =
    "{ port: 5432, protocol: tcp, maxConnections: 4 }, { port: 6379, protocol: tcp }";

/// A mesh whose `db` has no port for requests.
fn mesh(mtls: &str) -> Mesh {
    let echo = server(|mut stream| {
        let mut octets = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut octets) {
            if stream.write_all(&octets[..length]).is_err() {
                return;
            }
        }
    });
    let mesh = Mesh::new(&super::ports("", ""), echo, greeter());
    let endpoint = format!(
        "address: \"{echo}\", sidecar: \"{}\", outbound: \"{}\", admin: \"{}\", ports: [{{ port: 6379, address: \"{}\" }}]",
        mesh.inbound,
        address(),
        mesh.admin,
        greeter()
    );
    mesh.folder.write("db.yaml", &service("db", PORTS, &endpoint));
    mesh.permit(mtls);
    mesh
}

impl Mesh {
    /// Sets `mtls` of `db`.
    fn permit(&self, mtls: &str) {
        let text = self.folder.read("db.yaml");
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("mtls:")).collect();
        let text = lines.join("\n").replace("spec:", &format!("spec:\n  mtls: {mtls}")) + "\n";
        self.folder.write("db.yaml", &text);
    }
}

/// Whether a word comes back over a new connection.
fn answers(address: &str, word: &str) -> bool {
    let mut stream = dial(address);
    if stream.write_all(word.as_bytes()).is_err() || stream.shutdown(Shutdown::Write).is_err() {
        return false;
    }
    let heard = rest(&mut stream);
    // What takes TLS alone answers plain text with an alert of its own.
    let is_alert = heard.first() == Some(&21);
    assert!(is_alert || heard.is_empty() || heard == word.as_bytes(), "{heard:?}");
    !is_alert && !heard.is_empty()
}

fn ended(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(rest(&mut stream), b"", "it is closed");
}

#[test]
fn a_tcp_port_takes_plain_text_beside_members_and_policies_decide_about_both() {
    let mesh = mesh("permissive");
    mesh.set(
        "  allow: [{ identities: [spiffe://test.example/ns/test/service/web], ports: [5432] }]\n",
    );
    let Running { db: _db, web: _web, guest: _guest } = mesh.start();
    eventually("a member gets through", || answers(&mesh.web.first, "member").then_some(()));
    // A rule by identity is never one about a caller in plain text.
    assert!(!answers(&mesh.inbound, "stranger"));
    let refused = mesh.record("db", "the refusal", |one| one["status"] == 403);
    assert_eq!(
        (&refused["reason"], &refused["listener"]),
        (&"authz.no-rule".into(), &"inbound:5432".into())
    );
    assert!(refused["peer"].is_null(), "{refused}");

    mesh.set("  allow: [{ ports: [5432] }]\n");
    eventually("plain text gets through", || answers(&mesh.inbound, "plain").then_some(()));
    assert!(answers(&mesh.web.first, "member") && answers(&mesh.guest.first, "guest"));
    // What comes first is not HTTP's or anybody's to read, and the proxy adds no octet of its own.
    for word in
        ["GET / HTTP/1.1\r\n\r\n", "\0\0\0\u{8}\u{4}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "x"]
    {
        assert!(answers(&mesh.inbound, word), "{word:?}");
    }
    // The second port is asked for in a handshake alone.
    assert!(greeted(&mesh.web.second).is_none(), "no rule opens it");

    // One that sends nothing, or a handshake of its own, is none of both.
    let silent = TcpStream::connect(&mesh.inbound).unwrap();
    let mut strange = dial(&mesh.inbound);
    strange.write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]).unwrap();
    let _alert = rest(&mut strange);
    ended(silent);
    reaches(&mesh.admin, &["tamis_handshakes_failed_total", "reason=\"silent\""], |it| it == 1.0);

    // One address has its share.
    let hold = || {
        let mut stream = dial(&mesh.inbound);
        stream.write_all(b"held").ok()?;
        let mut back = [0; 4];
        stream.read_exact(&mut back).ok()?;
        Some(stream)
    };
    // Those before may take a moment to end.
    let held = [eventually("one is held", hold), eventually("another is held", hold)];
    assert!(!answers(&mesh.inbound, "more"), "two of four are its share");
    assert!(answers(&mesh.web.first, "member"), "others have the rest");
    let port = ["service=\"test/db\"", "port=\"5432\""];
    reaches(&mesh.admin, &[&["tamis_plaintext_connections{"][..], &port].concat(), |it| it == 2.0);
    reaches(&mesh.admin, &[&["tamis_plaintext_connections_total{"][..], &port].concat(), |it| {
        it >= 7.0
    });

    // Strict again: what is open is closed, and members notice nothing.
    let mut member = dial(&mesh.web.first);
    echoes(&mut member, "before");
    mesh.permit("strict");
    held.into_iter().for_each(ended);
    eventually("plain text is refused", || (!answers(&mesh.inbound, "plain")).then_some(()));
    echoes(&mut member, "after");
    let removed = mesh.record("db", "the record of what was open", |one| {
        one["listener"] == "inbound:5432"
            && one["status"] == 200
            && one["peer"].is_null()
            && one["bytes_in"] == 4
    });
    assert_eq!(removed["bytes_out"], 4, "{removed}");
    reaches(&mesh.admin, &["tamis_handshakes_failed_total", "reason=\"plaintext\""], |it| {
        it >= 1.0
    });
}
