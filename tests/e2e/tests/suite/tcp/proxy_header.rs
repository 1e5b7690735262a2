//! The address of the caller, in a PROXY header, at a server that reads one.

use super::{Mesh, dial, ports, rest};
use std::io::Write as _;
use tamis_e2e::Nginx;

/// Answers with what a PROXY header states.
const SERVER: &str = "
    listen @LISTEN@ proxy_protocol;
    location / { return 200 'from $proxy_protocol_addr at $proxy_protocol_server_addr:$proxy_protocol_server_port'; }
";

#[test]
fn an_application_learns_the_address_of_its_caller_by_a_proxy_header() {
    let nginx = Nginx::start(SERVER);
    for version in ["V1", "V2"] {
        let second = format!(", proxyProtocol: {version}");
        let mesh = Mesh::open(&ports("", &second), nginx.address, nginx.address);
        let _running = mesh.start();
        let ask = |address: &str| {
            let mut stream = dial(address);
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
            String::from_utf8_lossy(&rest(&mut stream)).into_owned()
        };
        let said = ask(&mesh.web.second);
        let stated = format!("from 127.0.0.1 at {}", mesh.inbound);
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with(&stated), "{version}: {said}");
        // Without the field no header is sent, and a server that waits for one refuses the connection.
        assert!(!ask(&mesh.web.first).starts_with("HTTP/1.1 200"), "{version}");
    }
}
