use super::*;
use clap::Parser as _;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

struct Desk(tempfile::TempDir);

impl Desk {
    /// A folder with key pairs of these names.
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            keys::generate(&folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    /// Runs a command line in which `@` is the folder.
    fn run(&self, line: &str) -> Result<ExitCode> {
        let folder = self.0.path().display().to_string();
        let line = format!("policy {line} --folder @/policy").replace('@', &folder);
        let line = Line::try_parse_from(line.split(' '))?;
        run(&line.arguments, Output::Json)
    }

    fn write(&self, name: &str, value: &Value) {
        std::fs::write(self.0.path().join(name), value.to_string()).unwrap();
    }

    fn read(&self) -> TrustedPolicies {
        let repository = PolicyRepository::open(&self.0.path().join("policy")).unwrap();
        repository.verify(&repository.first_root().unwrap(), when::now_ms() / 1_000).unwrap()
    }
}

#[test]
fn several_people_publish_policies_and_hand_a_namespace_on() {
    let desk = Desk::new(&["ann", "bob", "eve", "sec", "team", "online", "release"]);
    let release = keys::read_public(&desk.0.path().join("release.pub")).unwrap();
    desk.write(
        "acme.json",
        &json!({ "name": "acme", "namespaces": ["acme/*"], "threshold": 1,
                 "keys": [{ "name": "release", "publicKey": release.to_pem() }] }),
    );
    desk.write(
        "team.json",
        &json!({ "name": "team", "namespaces": ["acme/team/*"], "threshold": 1,
                 "keys": [{ "name": "release", "publicKey": release.to_pem() }] }),
    );
    for line in [
        "init --root-key @/ann.pub --root-key @/bob.pub --targets-key @/sec.pub --online-key @/online.pub",
        "sign --key @/ann.key",
        "sign --key @/bob.key",
        "sign --key @/sec.key",
        "refresh --key @/online.key",
        "delegate acme --key @/team.pub",
        "set acme @/acme.json",
        "sign --key @/sec.key",
        "sign --key @/team.key",
        "refresh --key @/online.key --timestamp-hours 2 --snapshot-days 3",
        "revoke acme --key release --from-index 7",
        "sign --key @/team.key",
        "rotate-root --add @/eve.pub --remove @/ann.pub",
        "sign --key @/ann.key",
        "sign --key @/bob.key",
        "sign --key @/eve.key",
        "refresh --key @/online.key",
        "renew targets",
        "set acme/team @/team.json",
        "unset acme/team",
        "add-key namespace:acme @/sec.pub",
        "show",
        "verify",
        "verify --root @/policy/metadata/2.root.json",
    ] {
        assert_eq!(desk.run(line).unwrap(), ExitCode::SUCCESS, "{line}");
    }
    let trusted = desk.read();
    assert_eq!(trusted.expires()[0].version, 2);
    let revoked = trusted.policies()[0].revocation(&release.id());
    assert_eq!(revoked, Some(tamis_trust::Revocation::From(7)));
}

#[test]
fn what_goes_wrong_is_said_in_one_line() {
    let desk = Desk::new(&["ann", "sec", "online"]);
    let init = "init --root-key @/ann.pub --targets-key @/sec.pub --online-key @/online.pub";
    for (line, part) in [
        ("show", "policy init"),
        (&format!("{init} --root-threshold 2"), "between 1 and the number of keys, 1"),
        (&format!("{init} --root-key @/nobody.pub"), "nobody.pub"),
    ] {
        let error = desk.run(line).unwrap_err();
        let error = tamis_node::causes(error.as_ref());
        assert!(error.contains(part) && !error.contains('\n'), "{line}: {error}");
    }
    desk.run(init).unwrap();
    desk.write("none.json", &json!({}));
    for (line, part) in [
        (init, "contains policy metadata already"),
        ("verify", "not published yet"),
        ("refresh --key @/online.key", "no root has enough signatures"),
        ("sign --key @/online.key", "waits for the key"),
        ("set acme @/none.json", "missing field"),
        ("set acme @/missing.json", "missing.json"),
        ("revoke acme --key release", "no document"),
        ("revoke acme --digest sha256:1", "64 lower-case hex digits"),
        ("revoke acme", "--digest"),
        ("delegate Acme --key @/ann.pub", "namespace"),
        ("renew online", "refresh"),
        ("unset acme", "no document"),
        ("remove-key root @/sec.pub", "not assigned to root"),
    ] {
        let error = desk.run(line).unwrap_err();
        let error = tamis_node::causes(error.as_ref());
        assert!(error.contains(part), "{line}: {error}");
    }
}
