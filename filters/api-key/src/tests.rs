//! Lists, places of keys, decisions.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use tamis_callers::list::ListSource;
use tamis_sdk::{Config, Edit, view::packed};

use super::*;
use keys::{KeyList, KeyListError, MAX_KEYS};

/// A host whose hash is no hash: a key of 32 bytes is its own, others are padded.
struct Host {
    list: RefCell<Result<Vec<u8>, String>>,
    now_us: Cell<u64>,
    lines: RefCell<Vec<String>>,
    reads: Cell<usize>,
}

impl ListSource for Host {
    fn now_us(&self) -> u64 {
        self.now_us.get()
    }
    fn list(&self, _: &str) -> Result<Vec<u8>, String> {
        self.reads.set(self.reads.get() + 1);
        self.list.borrow().clone()
    }
    fn warn(&self, line: &str) {
        self.lines.borrow_mut().push(line.to_owned());
    }
}

impl ApiKeyHost for Host {
    fn sha256(&self, octets: &[u8]) -> Vec<u8> {
        let mut hash = octets.to_vec();
        hash.resize(32, 0);
        hash
    }
}

fn line(name: &str, key: &str) -> String {
    let digits: String = key.bytes().map(|octet| format!("{octet:02x}")).collect();
    format!("{name} {digits:0<64}\n")
}

fn host(list: &str) -> Host {
    Host {
        list: RefCell::new(Ok(list.as_bytes().to_vec())),
        now_us: Cell::new(5),
        lines: RefCell::default(),
        reads: Cell::new(0),
    }
}

fn policy(config: &str) -> (ApiKeyPolicy, Vec<String>) {
    let rules = ApiKeyRules::check(&Config::parse(config).unwrap()).unwrap();
    let reads = rules.interest().reads;
    (ApiKeyPolicy::new(rules), reads)
}

const BOTH: &str = r#"{"secretName":"s","query":"key","consumerHeader":"X-Consumer"}"#;

/// The decision in short: the reason of a refusal, or the edits.
fn decide(
    policy: &mut ApiKeyPolicy,
    reads: &[String],
    fields: &[(&str, &str)],
    host: &Host,
) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let raw = packed(reads, &fields);
    match policy.decide(View::new(&raw, reads), host) {
        KeyDecision::Refused(refusal) => refusal.reason().to_owned(),
        KeyDecision::Passes(edits) => edits.iter().map(short).collect::<Vec<_>>().join(" "),
    }
}

fn short(edit: &Edit) -> String {
    match edit {
        Edit::SetHeader(field) => {
            format!("{}={}", field.name, String::from_utf8_lossy(&field.value))
        }
        Edit::RemoveHeader(name) => format!("-{name}"),
        Edit::SetPath(path) => format!("path={path}"),
        Edit::SetAttribute(attribute) => format!("@{}={}", attribute.name, attribute.value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_is_found_in_one_place_and_removed_from_it() {
    let list = line("shop", "one") + &line("till", "t/o");
    let shop = "@api-key.consumer=shop x-consumer=shop";
    for (fields, expected) in [
        (&[("x-api-key", "one")][..], format!("{shop} -x-api-key")),
        (&[("x-api-key", "one"), ("x-consumer", "admin")], format!("{shop} -x-api-key")),
        (&[(":path", "/a?x=1&key=one&y")], format!("{shop} path=/a?x=1&y")),
        (&[(":path", "/a?key=one")], format!("{shop} path=/a")),
        (&[(":path", "/a?%6bey=%6fne")], format!("{shop} path=/a")),
        (&[(":path", "/a?key=t%2Fo")], "@api-key.consumer=till x-consumer=till path=/a".to_owned()),
        (&[(":path", "/a?key=one&key=one")], "api-key.ambiguous".to_owned()),
        (&[(":path", "/a?key=one&%6Bey=two")], "api-key.ambiguous".to_owned()),
        (&[("x-api-key", "one"), (":path", "/?key=one")], "api-key.ambiguous".to_owned()),
        (&[("x-api-key", "one"), ("x-api-key", "two")], "api-key.ambiguous".to_owned()),
        (&[("x-api-key", "One")], "api-key.unknown".to_owned()),
        (&[("x-api-key", "one ")], "api-key.unknown".to_owned()),
        (&[("x-api-key", "")], "api-key.unknown".to_owned()),
        (&[(":path", "/a?key")], "api-key.unknown".to_owned()),
        (&[(":path", "/a?KEY=one")], "api-key.missing".to_owned()),
        (&[(":path", "/key=one")], "api-key.missing".to_owned()),
        (&[], "api-key.missing".to_owned()),
    ] {
        let (mut policy, reads) = policy(BOTH);
        assert_eq!(decide(&mut policy, &reads, fields, &host(&list)), expected, "{fields:?}");
    }
}

#[test]
fn a_long_key_is_nobodys() {
    let (mut policy, reads) = policy(BOTH);
    let long = "k".repeat(513);
    let host = host(&line("shop", "one"));
    assert_eq!(decide(&mut policy, &reads, &[("x-api-key", &long)], &host), "api-key.unknown");
}

#[test]
fn without_a_key_nobody_is_named() {
    let (mut policy, reads) =
        policy(r#"{"secretName":"s","required":false,"consumerHeader":"x-consumer"}"#);
    let host = host(&line("shop", "one"));
    assert_eq!(decide(&mut policy, &reads, &[], &host), "-x-consumer");
    assert_eq!(decide(&mut policy, &reads, &[("x-api-key", "two")], &host), "api-key.unknown");
}

#[test]
fn a_key_that_was_taken_out_is_refused_after_a_second() {
    let (mut policy, reads) = policy(BOTH);
    let host = host(&line("shop", "one"));
    let mut ask = |now_us| {
        host.now_us.set(now_us);
        decide(&mut policy, &reads, &[("x-api-key", "one")], &host)
    };
    assert!(ask(5).starts_with('@'));
    *host.list.borrow_mut() = Ok(line("till", "two").into_bytes());
    assert!(ask(1_000_004).starts_with('@'));
    assert_eq!((ask(1_000_005), host.reads.get()), ("api-key.unknown".to_owned(), 2));
}

#[test]
fn a_list_that_cannot_be_used_refuses_all_and_says_why_once_a_second() {
    for (list, part) in [
        (Err("this proxy has no secret `s`".to_owned()), "no secret"),
        (Ok(b"shop".to_vec()), "line 1"),
        (Ok(b"# none\n".to_vec()), "no key"),
        (Ok(vec![0xff]), "UTF-8"),
    ] {
        let (mut policy, reads) = policy(BOTH);
        let host = host("");
        *host.list.borrow_mut() = list;
        for _ in 0..3 {
            assert_eq!(
                decide(&mut policy, &reads, &[("x-api-key", "one")], &host),
                "api-key.no-keys"
            );
        }
        let lines = host.lines.borrow();
        assert!(lines.len() == 1 && lines[0].contains(part), "{lines:?}");
    }
}

#[test]
fn a_list_is_lines_of_a_consumer_and_a_hash() {
    let hash = "ab".repeat(32);
    for (list, expected) in [
        (format!("# keys\n\n shop\t{hash} \r\n"), Ok(1)),
        (format!("shop {}", hash.to_uppercase()), Ok(1)),
        (format!("shop {hash}\nshop {}", "cd".repeat(32)), Ok(2)),
        (format!("shop {hash}\ntill {hash}"), Err(KeyListError::Twice(2))),
        (format!("shop {hash} x"), Err(KeyListError::Line(1))),
        (format!("shop {hash}0"), Err(KeyListError::Line(1))),
        (format!("shop {}", "xy".repeat(32)), Err(KeyListError::Line(1))),
        (format!("\nshöp {hash}"), Err(KeyListError::Line(2))),
        (format!("{} {hash}", "a".repeat(65)), Err(KeyListError::Line(1))),
        (String::new(), Err(KeyListError::Empty)),
    ] {
        let count = KeyList::parse(list.as_bytes())
            .map(|keys| format!("{keys:?}").matches('"').count() / 2);
        assert_eq!(count, expected, "{list}");
    }
    let many: String = (0..=MAX_KEYS).map(|number| format!("a {number:064x}\n")).collect();
    assert_eq!(KeyList::parse(many.as_bytes()), Err(KeyListError::Many));
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (config, pointer) in [
        (r#"{"secretName":""}"#, "/secretName"),
        (r#"{"secretName":"s","header":"x key"}"#, "/header"),
        (r#"{"secretName":"s","header":"Host"}"#, "/header"),
        (r#"{"secretName":"s","query":""}"#, "/query"),
        (r#"{"secretName":"s","query":"a%b"}"#, "/query"),
        (r#"{"secretName":"s","consumerHeader":"X-API-Key"}"#, "/consumerHeader"),
        (r#"{"secretName":"s","consumerHeader":"x-forwarded-for"}"#, "/consumerHeader"),
        (r#"{"secretName":"s","consumerHeader":"authorization"}"#, "/consumerHeader"),
    ] {
        let errors = ApiKeyRules::check(&Config::parse(config).unwrap()).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{config}: {errors:?}");
    }
}

proptest! {
    #[test]
    fn any_octets_are_a_list_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = KeyList::parse(&octets) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn only_the_whole_hash_of_an_entry_finds_its_consumer(hashes in proptest::collection::vec(any::<[u8; 32]>(), 1..20), bit in any::<prop::sample::Index>()) {
        let list: String = hashes.iter().enumerate().map(|(number, hash)| {
            let digits: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("c{number} {digits}\n")
        }).collect();
        let keys = KeyList::parse(list.as_bytes()).unwrap();
        for (number, hash) in hashes.iter().enumerate() {
            prop_assert_eq!(keys.consumer(hash), Some(&*format!("c{number}")));
            let mut other = *hash;
            let bit = bit.index(256);
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(keys.consumer(&other), None);
            prop_assert_eq!(keys.consumer(&hash[..31]), None);
        }
        prop_assert_eq!(keys.consumer(b""), None);
    }

    #[test]
    fn no_key_stays_in_a_query(pairs in proptest::collection::vec(("(key|k%65y|x|)", "(=[a-z%+]{0,5})?"), 0..6)) {
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}{value}")).collect();
        let path = format!("/p?{}", query.join("&"));
        let rules = ApiKeyRules::check(&Config::parse(BOTH).unwrap()).unwrap();
        let reads = rules.interest().reads;
        let raw = packed(&reads, &[(":path", path.as_bytes())]);
        match shown::find(&rules, View::new(&raw, &reads)) {
            shown::PresentedKeys::One { path: Some(rest), .. } => {
                prop_assert!(!rest.contains("key") && !rest.contains("k%65y"), "{}", rest);
            }
            shown::PresentedKeys::One { path: None, .. } => prop_assert!(false),
            shown::PresentedKeys::None => prop_assert!(!path.contains("key") && !path.contains("k%65y")),
            shown::PresentedKeys::Many => {}
        }
    }
}
