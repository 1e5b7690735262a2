//! Proxies with certificate files beside proxies that joined, and the page on identities.

use std::fs;
use std::process::Stdio;

use tamis_e2e::{eventually, free_port, get, root, tamis};
use tempfile::TempDir;

use super::member::with_files;
use super::{Asked, Mesh, PAY, code};
use crate::control::said;
use crate::docs::{Background, blocks, renumber, shell};

#[test]
fn proxies_with_files_of_another_authority_are_accepted_and_renew_nothing() {
    let mesh = Mesh::start();
    for (name, id) in [
        ("pay", "spiffe://shop.example/ns/shop/service/pay"),
        ("far", "spiffe://else.example/ns/shop/service/pay"),
    ] {
        let arguments = ["keys", "certificate", name, "--authority", "ca.crt", "--id", id];
        let made = tamis(mesh.folder.path(), &arguments);
        assert!(made.status.success(), "{}", said(&made));
    }
    let mesh = mesh.again(&["--proxies-ca", "ca.crt"]);
    let member = mesh.member(PAY);
    let bundle = mesh.did(&["identity", "bundle"])["bundles"]["shop.example"].clone();
    let file = |name: &str| mesh.folder.path().join(name);
    fs::write(file("bundle.pem"), bundle.as_str().unwrap()).unwrap();
    let (certificate, key, ca) = (file("pay.crt"), file("pay.key"), file("bundle.pem"));
    let files = (certificate.as_path(), key.as_path(), ca.as_path());
    let blob = format!("/v1/blobs/sha256:{}", "0".repeat(64));
    let answer = with_files(&mesh.proxies, files, ("GET", &blob, String::new()));
    assert_eq!(code(&answer), (404, "not-found"), "{}", answer.1);
    let asked = Asked::renewal(PAY, member.bundles()).body.to_string();
    let answer = with_files(&mesh.proxies, files, ("POST", "/v1/identity/renew", asked));
    assert_eq!(code(&answer), (403, "identity.other-node"), "{}", answer.1);
    let far = [file("far.crt"), file("far.key")];
    let foreign = std::panic::catch_unwind(|| {
        let files = (far[0].as_path(), far[1].as_path(), ca.as_path());
        with_files(&mesh.proxies, files, ("GET", &blob, String::new()))
    });
    assert!(foreign.is_err(), "a certificate of a foreign domain is refused in the handshake");
}

#[test]
fn the_page_on_identities_does_what_it_says() {
    let folder = TempDir::new().unwrap();
    // What the shell finds is what the other tests run.
    assert!(tamis(folder.path(), &["--version"]).status.success());
    let page = fs::read_to_string(root().join("docs/how-to/identity.md")).unwrap();
    let ports = ["5000", "5001"].map(|port| (port.to_owned(), free_port().to_string()));
    let address = renumber("127.0.0.1:5000", &ports);
    let mut background = Vec::new();
    // What is done at an agent is done by `identity::supplied`, and by `cargo xtask conformance spire`.
    let here = blocks(&page).into_iter().filter(|(kind, _)| kind != "elsewhere");
    for (kind, commands) in here {
        let commands = renumber(&commands, &ports);
        if kind == "background" {
            let mut command = shell(folder.path(), &format!("exec {commands}"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            background.push(Background(command.spawn().unwrap()));
            eventually("the registry serves", || {
                let ready = folder.path().join("registry/admin.token").exists();
                (ready && get(&address, "/v2/").status == 401).then_some(())
            });
            continue;
        }
        let done = shell(folder.path(), &commands).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{commands}\n{said}");
    }
    assert!(folder.path().join("payments.join").exists());
    let bundle = fs::read_to_string(folder.path().join("bundle.pem")).unwrap();
    assert!(bundle.starts_with("-----BEGIN CERTIFICATE-----"), "{bundle}");
    assert_eq!(background.len(), 1);
}
