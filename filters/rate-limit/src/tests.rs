//! Keys, fields, settings and the order of limits.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tamis_sdk::{Config, view::packed};

use super::*;

/// Buckets with so many tokens each, which never refill.
struct Fixed {
    size: u32,
    taken: RefCell<BTreeMap<(String, String), u32>>,
}

impl Buckets for Fixed {
    fn take(&self, class: &str, key: &str, tokens: u32) -> Result<u32, u32> {
        let mut taken = self.taken.borrow_mut();
        let taken = taken.entry((class.to_owned(), key.to_owned())).or_default();
        if *taken + tokens > self.size {
            return Err(1500);
        }
        *taken += tokens;
        Ok(self.size - *taken)
    }
}

fn buckets(size: u32) -> Fixed {
    Fixed { size, taken: RefCell::default() }
}

fn rules(config: &str) -> RateLimitRules {
    RateLimitRules::check(&Config::parse(config).unwrap()).unwrap()
}

fn ask(rules: &RateLimitRules, fields: &[(&str, &[u8])], buckets: &Fixed) -> LimitOutcome {
    let reads = rules.reads();
    let raw = packed(&reads, fields);
    RateLimit::new(rules.clone()).ask(View::new(&raw, &reads), buckets)
}

fn passes(value: &str) -> LimitOutcome {
    LimitOutcome::Passes(Some(value.to_owned()))
}

#[test]
fn a_client_that_took_its_tokens_waits_and_another_does_not() {
    let (rules, buckets) = (rules(r#"{"limits":[{"class":"client"}]}"#), buckets(2));
    let from = |address: &str| ask(&rules, &[("@source.address", address.as_bytes())], &buckets);
    assert_eq!(from("192.0.2.1"), passes(r#""client";r=1"#));
    assert_eq!(from("::ffff:192.0.2.1"), passes(r#""client";r=0"#));
    let refused =
        LimitOutcome::Refused { remaining: r#""client";r=0;t=2"#.to_owned(), after: Some(2) };
    assert_eq!(from("192.0.2.1"), refused);
    assert_eq!(from("192.0.2.2"), passes(r#""client";r=1"#));
}

#[test]
fn the_addresses_of_a_network_of_ipv6_share_a_bucket() {
    for (length, one, other, shared) in [
        (64, "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
        (64, "2001:db8:0:1::1", "2001:db8:0:2::1", false),
        (128, "2001:db8::1", "2001:db8::2", false),
        (0, "2001:db8::1", "fe80::1", true),
        (64, "unix", "192.0.2.1", false),
    ] {
        let config = format!(r#"{{"limits":[{{"class":"c","ipv6PrefixLength":{length}}}]}}"#);
        let (rules, buckets) = (rules(&config), buckets(9));
        for address in [one, other] {
            ask(&rules, &[("@source.address", address.as_bytes())], &buckets);
        }
        assert_eq!(buckets.taken.borrow().len() == 1, shared, "{length} {one} {other}");
    }
}

#[test]
fn limits_are_asked_in_order_and_each_is_named() {
    let rules = rules(
        r#"{"limits":[{"class":"user","key":["x-user"],"absent":"skip","quota":10,"window":"1m"},
                      {"class":"all","key":[],"tokens":3,"quota":100}]}"#,
    );
    assert_eq!(rules.policy.as_deref(), Some(r#""user";q=10;w=60, "all";q=100"#));
    let buckets = buckets(7);
    let user: [(&str, &[u8]); 1] = [("x-user", b"ann")];
    assert_eq!(ask(&rules, &user, &buckets), passes(r#""user";r=6, "all";r=1"#));
    assert_eq!(ask(&rules, &[], &buckets), passes(r#""all";r=0"#));
    let refused = LimitOutcome::Refused {
        remaining: r#""user";r=5, "all";r=0;t=2"#.to_owned(),
        after: Some(2),
    };
    assert_eq!(ask(&rules, &user, &buckets), refused);
}

#[test]
fn a_wait_without_end_is_not_promised_an_end() {
    let refused = RateLimitHeader::default().refused("c", u32::MAX);
    assert_eq!(refused, LimitOutcome::Refused { remaining: r#""c";r=0"#.to_owned(), after: None });
    for (wait_ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (u32::MAX - 1, 4_294_968)] {
        let LimitOutcome::Refused { after, .. } = RateLimitHeader::default().refused("c", wait_ms)
        else {
            panic!()
        };
        assert_eq!(after, Some(seconds), "{wait_ms}");
    }
}

#[test]
fn the_query_is_no_part_of_a_path_and_the_case_none_of_an_authority() {
    let (rules, buckets) =
        (rules(r#"{"limits":[{"class":"c","key":[":authority",":path"]}]}"#), buckets(9));
    for (authority, path) in [("a.example", "/x?1"), ("A.example", "/x?2"), ("a.example", "/x")] {
        ask(&rules, &[(":authority", authority.as_bytes()), (":path", path.as_bytes())], &buckets);
    }
    assert_eq!(buckets.taken.borrow().len(), 1);
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (limit, pointer, part) in [
        ("", "/limits", "0 limits"),
        (r#"{"class":""}"#, "/limits/0/class", "lower-case"),
        (r#"{"class":"a\"b"}"#, "/limits/0/class", "lower-case"),
        (r#"{"class":"a"},{"class":"a"}"#, "/limits/1/class", "share buckets"),
        (r#"{"class":"a","key":["X-User"]}"#, "/limits/0/key/0", "lower-case"),
        (r#"{"class":"a","key":["*"]}"#, "/limits/0/key/0", "lower-case"),
        (r#"{"class":"a","key":["@"]}"#, "/limits/0/key/0", "an attribute"),
        (r#"{"class":"a","key":[":status"]}"#, "/limits/0/key/0", ":path"),
        (
            r#"{"class":"a","key":["a","a","a","a","a","a","a","a","a"]}"#,
            "/limits/0/key",
            "at most 8",
        ),
        (r#"{"class":"a","tokens":0}"#, "/limits/0/tokens", "1 to 10000"),
        (r#"{"class":"a","ipv6PrefixLength":129}"#, "/limits/0/ipv6PrefixLength", "128 bits"),
        (r#"{"class":"a","quota":0}"#, "/limits/0/quota", "1 to"),
        (r#"{"class":"a","window":"1m"}"#, "/limits/0/window", "write `quota`"),
        (r#"{"class":"a","quota":1,"window":"500ms"}"#, "/limits/0/window", "whole seconds"),
    ] {
        let settings = Config::parse(&format!(r#"{{"limits":[{limit}]}}"#)).unwrap();
        let errors = RateLimitRules::check(&settings).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{limit}: {errors:?}");
        assert!(errors[0].message.contains(part), "{limit}: {errors:?}");
    }
}

proptest! {
    #[test]
    fn different_values_have_different_keys(
        requests in proptest::collection::vec((proptest::option::of("[-0-9:a]{0,4}"), proptest::option::of("[-0-9:a]{0,4}")), 1..30),
    ) {
        let rules = rules(r#"{"limits":[{"class":"c","key":["x-a","x-b"]}]}"#);
        let buckets = buckets(u32::MAX);
        for (a, b) in &requests {
            let fields: Vec<(&str, &[u8])> = [("x-a", a), ("x-b", b)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_ref()?.as_bytes())))
                .collect();
            ask(&rules, &fields, &buckets);
        }
        let different: BTreeSet<_> = requests.iter().collect();
        prop_assert_eq!(buckets.taken.borrow().len(), different.len());
    }

    #[test]
    fn any_octets_have_a_key(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        let rules = rules(r#"{"limits":[{"class":"c","key":["@source.address","x-a",":path"]}]}"#);
        let fields = [("@source.address", &octets[..]), ("x-a", &octets[..]), (":path", &octets[..])];
        prop_assert_eq!(ask(&rules, &fields, &buckets(1)), passes(r#""c";r=0"#));
    }
}
