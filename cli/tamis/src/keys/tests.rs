//! Keys on disk.

use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_pair_can_be_read_again_and_its_secret_half_by_nobody_else() {
    let folder = TempDir::new().unwrap();
    // A dot in a name is part of the name.
    let pair = generate(&folder.path().join("release.2026")).unwrap();
    assert_eq!(pair.key, folder.path().join("release.2026.key"));
    assert_eq!(mode(&pair.key), 0o600);
    let public = read_public(&pair.public).unwrap();
    assert_eq!(read_private(&pair.key).unwrap().public_key().id(), public.id());
    assert_eq!(public.id().to_string(), pair.id);
}

#[test]
fn neither_half_is_ever_overwritten() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("release");
    let pair = generate(&name).unwrap();
    let before = std::fs::read(&pair.key).unwrap();
    for gone in [None, Some(&pair.public), Some(&pair.key)] {
        if let Some(gone) = gone {
            std::fs::remove_file(gone).unwrap();
        }
        let said = format!("{:#}", generate(&name).err().unwrap());
        assert!(said.contains("release.key") && said.contains("never overwritten"), "{said}");
        if gone == Some(&pair.public) {
            std::fs::write(&pair.public, "put back").unwrap();
        } else if gone.is_none() {
            assert_eq!(std::fs::read(&pair.key).unwrap(), before);
        }
    }
    assert_eq!(std::fs::read(&pair.public).unwrap(), b"put back");
}

#[test]
fn a_secret_takes_the_place_of_a_file_everybody_could_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "a longer text than the next").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    private_file::write(&path, b"secret").unwrap();
    assert_eq!((std::fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"secret"[..], 0o600));
}

#[test]
fn the_wrong_half_and_what_is_no_key_are_named() {
    let folder = TempDir::new().unwrap();
    let pair = generate(&folder.path().join("release")).unwrap();
    let said = |error: anyhow::Error| format!("{error:#}");
    let wrong = said(read_private(&pair.public).err().unwrap());
    assert!(wrong.contains("release.pub is not a private key"), "{wrong}");
    let wrong = said(read_public(&pair.key).err().unwrap());
    assert!(wrong.contains("release.key is not a public key"), "{wrong}");
    let missing = said(read_public(&folder.path().join("nobody.pub")).err().unwrap());
    assert!(missing.contains("nobody.pub cannot be read"), "{missing}");
    let unwritable = said(generate(&folder.path().join("no/such/folder")).err().unwrap());
    assert!(unwritable.contains("folder.key cannot be written"), "{unwritable}");
}

#[test]
fn a_certificate_stands_for_its_names_and_no_key_is_overwritten() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let make_or_renew = |name: &str, host: &[&str], renew: bool| {
        let arguments = Certificate {
            name: path(name),
            authority: path("ca.crt"),
            id: Some("spiffe://shop.example/registry".parse().unwrap()),
            host: host.iter().map(|host| (*host).to_owned()).collect(),
            renew,
        };
        certificate(&arguments, Output::Json).map(drop)
    };
    let make = |name: &str, host: &[&str]| make_or_renew(name, host, false);
    make("registry", &["127.0.0.1", "localhost"]).unwrap();
    let (certificate, key) = (path("registry.crt"), path("registry.key"));
    let ca = path("ca.crt");
    tamis_transport::ServerTls::from_files(&certificate, &key, Some(&ca)).unwrap();
    let before = std::fs::read(&ca).unwrap();
    assert!(make("registry", &[]).unwrap_err().to_string().contains("never overwritten"));
    make("other", &["shop.example"]).unwrap();
    assert_eq!(std::fs::read(&ca).unwrap(), before, "one authority for all");
    let nobody =
        Certificate { name: path("x"), authority: ca, id: None, host: Vec::new(), renew: false };
    assert!(super::certificate(&nobody, Output::Json).unwrap_err().to_string().contains("--id"));
}

#[test]
fn a_certificate_is_renewed_in_place_for_the_names_it_has_or_for_others() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |id: Option<&str>, host: &[&str], renew: bool| {
        let arguments = Certificate {
            name: path("edge"),
            authority: path("ca.crt"),
            id: id.map(|id| id.parse().unwrap()),
            host: host.iter().map(|host| (*host).to_owned()).collect(),
            renew,
        };
        certificate(&arguments, Output::Json).map(drop)
    };
    let id = "spiffe://shop.example/edge";
    let nothing = run(None, &[], true).unwrap_err().to_string();
    assert!(nothing.contains("no certificate to renew"), "{nothing}");
    run(Some(id), &["127.0.0.1", "edge.internal"], false).unwrap();
    let facts = || CertificateFacts::read(&path("edge.crt")).unwrap();
    let (before, key) = (facts(), std::fs::read(path("edge.key")).unwrap());
    assert_eq!(before.names, ["127.0.0.1", "edge.internal", id]);
    run(None, &[], true).unwrap();
    assert_eq!(facts().names, before.names);
    assert_ne!(std::fs::read(path("edge.key")).unwrap(), key, "a new key as well");
    let (certificate, key) = (path("edge.crt"), path("edge.key"));
    tamis_transport::ServerTls::from_files(&certificate, &key, None).unwrap();
    run(None, &["other.internal"], true).unwrap();
    assert_eq!(facts().names, ["other.internal"]);
}
