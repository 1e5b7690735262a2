//! Lists, credentials, decisions. Real hashes are in `tests/cases.yaml`.

use std::cell::{Cell, RefCell};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use tamis_callers::list::ListSource;
use tamis_sdk::{Config, Edit, view::packed};

use super::*;
use users::{MAX_USERS, Users, UsersError};

/// A host whose slow hash of a password is `$2b$` and the password.
struct Host {
    list: RefCell<Result<Vec<u8>, String>>,
    now_us: Cell<u64>,
    lines: RefCell<Vec<String>>,
    proofs: RefCell<Vec<(String, u32)>>,
    compared: RefCell<Vec<String>>,
    fault: RefCell<Option<ComparisonFault>>,
}

impl ListSource for Host {
    fn now_us(&self) -> u64 {
        self.now_us.get()
    }
    fn list(&self, _: &str) -> Result<Vec<u8>, String> {
        self.list.borrow().clone()
    }
    fn warn(&self, line: &str) {
        self.lines.borrow_mut().push(line.to_owned());
    }
}

impl BasicAuthHost for Host {
    fn sha256(&self, octets: &[u8]) -> Vec<u8> {
        octets.to_vec()
    }
    fn verify(&self, password: &[u8], hash: &str) -> Result<bool, ComparisonFault> {
        self.compared.borrow_mut().push(hash.to_owned());
        match self.fault.borrow().clone() {
            Some(fault) => Err(fault),
            None => Ok(hash.strip_prefix("$2b$").map(str::as_bytes) == Some(password)),
        }
    }
    fn remembers(&self, proof: &str) -> bool {
        self.proofs.borrow().iter().any(|(kept, _)| kept == proof)
    }
    fn remember(&self, proof: &str, millis: u32) {
        self.proofs.borrow_mut().push((proof.to_owned(), millis));
    }
}

fn host(list: &str) -> Host {
    Host {
        list: RefCell::new(Ok(list.as_bytes().to_vec())),
        now_us: Cell::new(5),
        lines: RefCell::default(),
        proofs: RefCell::default(),
        compared: RefCell::default(),
        fault: RefCell::default(),
    }
}

fn policy(config: &str) -> (BasicAuthPolicy, Vec<String>) {
    let rules = BasicAuthRules::check(&Config::parse(config).unwrap()).unwrap();
    let reads = rules.interest().reads;
    (BasicAuthPolicy::new(rules), reads)
}

/// The reason of a refusal; otherwise how often the decision names the user.
fn decide(
    policy: &mut BasicAuthPolicy,
    reads: &[String],
    credentials: &str,
    host: &Host,
) -> String {
    let value = format!("Basic {}", STANDARD.encode(credentials));
    let raw = packed(reads, &[(CREDENTIALS, value.as_bytes())]);
    match policy.decide(View::new(&raw, reads), host) {
        UserDecision::Refused(refusal) => refusal.reason().to_owned(),
        UserDecision::Passes(edits) => {
            let removed =
                |edit: &Edit| matches!(edit, Edit::RemoveHeader(name) if name == CREDENTIALS);
            assert!(edits.iter().any(removed), "{edits:?}");
            "passes".to_owned()
        }
    }
}

const LIST: &str = "ada:$2b$one\nbob:$2b$two\n";

#[test]
fn a_right_password_is_compared_once_while_it_is_remembered() {
    for (config, compared) in [
        (r#"{"secretName":"s"}"#, 1),
        (r#"{"secretName":"s","rememberFor":"1s"}"#, 1),
        (r#"{"secretName":"s","rememberFor":"0s"}"#, 3),
    ] {
        let ((mut policy, reads), host) = (policy(config), host(LIST));
        for _ in 0..3 {
            assert_eq!(decide(&mut policy, &reads, "ada:one", &host), "passes");
        }
        assert_eq!(host.compared.borrow().len(), compared, "{config}");
    }
}

#[test]
fn what_is_remembered_is_of_one_user_one_password_and_one_hash() {
    let ((mut policy, reads), host) = (policy(r#"{"secretName":"s"}"#), host(LIST));
    assert_eq!(decide(&mut policy, &reads, "ada:one", &host), "passes");
    for credentials in ["ada:two", "bob:one", "ada:one ", "adaone:", "ada:"] {
        let reason = decide(&mut policy, &reads, credentials, &host);
        assert_eq!(reason, "basic-auth.wrong", "{credentials}");
    }
    // A second later the list has a new password of the same user.
    host.now_us.set(2_000_000);
    *host.list.borrow_mut() = Ok(b"ada:$2b$new\n".to_vec());
    assert_eq!(decide(&mut policy, &reads, "ada:one", &host), "basic-auth.wrong");
    assert_eq!(decide(&mut policy, &reads, "bob:two", &host), "basic-auth.wrong");
    assert_eq!(decide(&mut policy, &reads, "ada:new", &host), "passes");
}

#[test]
fn an_unknown_user_costs_a_comparison_and_never_passes() {
    let ((mut policy, reads), host) = (policy(r#"{"secretName":"s"}"#), host(LIST));
    // The password of the hash that unknown users are compared with.
    assert_eq!(decide(&mut policy, &reads, "mal:one", &host), "basic-auth.wrong");
    assert_eq!(*host.compared.borrow(), ["$2b$one"]);
    assert!(host.proofs.borrow().is_empty());
}

#[test]
fn a_comparison_that_cannot_be_made_is_no_fault_of_the_client() {
    for (fault, reason, lines) in [
        (ComparisonFault::Busy, "basic-auth.busy", 0),
        (ComparisonFault::Unusable("costs too much".into()), "basic-auth.no-users", 1),
    ] {
        let ((mut policy, reads), host) = (policy(r#"{"secretName":"s"}"#), host(LIST));
        *host.fault.borrow_mut() = Some(fault);
        assert_eq!(decide(&mut policy, &reads, "ada:one", &host), reason);
        assert_eq!(host.lines.borrow().len(), lines);
        assert!(host.proofs.borrow().is_empty());
    }
}

#[test]
fn a_list_is_read_whole_or_refused_at_its_line() {
    let many = (0..=MAX_USERS).map(|it| format!("u{it}:$2b$x\n")).collect::<String>();
    for (list, error) in [
        ("", UsersError::Empty),
        ("# nobody\n\n", UsersError::Empty),
        (many.as_str(), UsersError::Many),
        ("ada:$2b$x\nbob\n", UsersError::Line(2)),
        ("ada:$2b$x\nbob:\n", UsersError::Line(2)),
        (":$2b$x\n", UsersError::Line(1)),
        ("a b:$2b$x\n", UsersError::Line(1)),
        ("a\u{e4}:$2b$x\n", UsersError::Line(1)),
        ("ada:secret\n", UsersError::Form(1)),
        ("ada:$apr1$x$y\n", UsersError::Form(1)),
        ("ada:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", UsersError::Form(1)),
        ("ada:$2b$x\n\nada:$2b$y\n", UsersError::Twice(3)),
    ] {
        assert_eq!(Users::parse(list.as_bytes()), Err(error), "{list:.40}");
    }
    assert_eq!(Users::parse(b"ada:$2b$\xff"), Err(UsersError::Text));
    let users = Users::parse(b"# all\r\n ada:$2b$x \r\nbob:$argon2id$y").unwrap();
    assert_eq!((users.hash("ada"), users.hash("bob")), (Some("$2b$x"), Some("$argon2id$y")));
    assert_eq!((users.hash("Ada"), users.hash("")), (None, None));
}

#[test]
fn credentials_have_the_form_of_the_standard_or_are_refused() {
    for (value, reason) in [
        ("Basic", "basic-auth.malformed"),
        ("Basic ", "basic-auth.malformed"),
        ("Basic YWRhOm9uZQ", "basic-auth.malformed"),
        ("Basic YWRhOm9uZQ== x", "basic-auth.malformed"),
        ("Basic YWRhOm9u\tZQ==", "basic-auth.malformed"),
        // `ada:o\0ne`, `a\nda:one`.
        ("Basic YWRhOm8AbmU=", "basic-auth.malformed"),
        ("Basic YQpkYTpvbmU=", "basic-auth.malformed"),
        // What a server that splits at any blank takes for the scheme.
        ("Basic\tYWRhOm9uZQ==", "basic-auth.malformed"),
        ("Basic\u{a0}YWRhOm9uZQ==", "basic-auth.malformed"),
        ("Basic\u{85}YWRhOm9uZQ==", "basic-auth.malformed"),
        ("\u{a0}basic YWRhOm9uZQ==", "basic-auth.malformed"),
        ("Basic,YWRhOm9uZQ==", "basic-auth.malformed"),
        ("Basicx YWRhOm9uZQ==", "basic-auth.missing"),
        ("Basic-x YWRhOm9uZQ==", "basic-auth.missing"),
        ("", "basic-auth.missing"),
        ("Digest username=ada", "basic-auth.missing"),
    ] {
        let ((mut policy, reads), host) = (policy(r#"{"secretName":"s"}"#), host(LIST));
        let raw = packed(&reads, &[(CREDENTIALS, value.as_bytes())]);
        match policy.decide(View::new(&raw, &reads), &host) {
            UserDecision::Refused(refusal) => assert_eq!(refusal.reason(), reason, "{value}"),
            UserDecision::Passes(_) => panic!("{value} passes"),
        }
        assert!(host.compared.borrow().is_empty(), "{value}");
    }
}

proptest! {
    #[test]
    fn no_octets_are_a_panic_and_none_but_the_right_ones_pass(
        value in proptest::collection::vec(any::<u8>(), 0..80), basic in any::<bool>()
    ) {
        let ((mut policy, reads), host) = (policy(r#"{"secretName":"s"}"#), host(LIST));
        let mut field = if basic { b"Basic ".to_vec() } else { Vec::new() };
        field.extend(&value);
        let raw = packed(&reads, &[(CREDENTIALS, &field)]);
        let passes = matches!(policy.decide(View::new(&raw, &reads), &host), UserDecision::Passes(_));
        prop_assert!(!passes);
        let _ = Users::parse(&value);
    }
}
