//! Prefixes, settings and refusals.

use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use tamis_sdk::Config;

use super::*;
use prefixes::Prefixes;

fn policy(config: &str) -> IpAccess {
    IpAccess::configure(Config::parse(config).unwrap()).unwrap().0
}

#[test]
fn the_longest_prefix_decides_whatever_the_order_of_the_lists() {
    let policy = policy(
        r#"{"allow":["10.0.0.0/8","10.1.2.3","2001:db8::/32"],
            "deny":["10.1.0.0/16","2001:db8:1::/48","::/0"],"otherwise":"deny"}"#,
    );
    for (address, refusal) in [
        ("10.2.0.1", None),
        ("10.1.0.1", Some("ip-access.denied")),
        ("10.1.2.3", None),
        ("::ffff:10.2.0.1", None),
        ("::ffff:a01:1", Some("ip-access.denied")),
        ("11.0.0.1", Some("ip-access.not-allowed")),
        ("2001:db8:2::1", None),
        ("2001:db8:1::1", Some("ip-access.denied")),
        ("2001:db9::1", Some("ip-access.denied")),
        ("unix", Some("ip-access.not-allowed")),
        ("10.2.0.1:80", Some("ip-access.unknown-address")),
        ("010.2.0.1", Some("ip-access.unknown-address")),
        ("fe80::1%eth0", Some("ip-access.unknown-address")),
        ("", Some("ip-access.unknown-address")),
    ] {
        assert_eq!(policy.refusal(Some(address)), refusal, "{address}");
    }
    assert_eq!(policy.refusal(None), Some("ip-access.unknown-address"));
}

#[test]
fn a_unix_socket_passes_where_it_is_named() {
    assert_eq!(policy(r#"{"allow":["unix"]}"#).refusal(Some("unix")), None);
    let denied = policy(r#"{"deny":["unix"],"otherwise":"allow"}"#);
    assert_eq!(denied.refusal(Some("unix")), Some("ip-access.denied"));
    assert_eq!(denied.refusal(Some("192.0.2.1")), None);
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (config, pointer, part) in [
        (r"{}", "", "nobody would pass"),
        (r#"{"allow":["::1"],"otherwise":"allow"}"#, "", "everybody would pass"),
        (r#"{"allow":["10.0.0.1/8"]}"#, "/allow/0", "write 10.0.0.0/8"),
        (r#"{"allow":["10.0.0.0/33"]}"#, "/allow/0", "an address or a prefix"),
        (r#"{"allow":["localhost"]}"#, "/allow/0", "no name"),
        (r#"{"allow":["10.0.0.0/8"],"deny":["10.0.0.0/8"]}"#, "/deny/0", "twice"),
        (r#"{"allow":["10.0.0.1","::ffff:10.0.0.1"]}"#, "/allow/1", "twice"),
        (r#"{"allow":["unix"],"deny":["unix"]}"#, "/deny/0", "twice"),
        (r#"{"allow":["::/64"]}"#, "/allow/0", "write the prefixes of IPv4"),
    ] {
        let errors = IpAccessRules::check(&Config::parse(config).unwrap()).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{config}: {errors:?}");
        assert!(errors[0].message.contains(part), "{config}: {errors:?}");
    }
    let many: Vec<String> = (0..=10_000).map(|n| format!("\"{}\"", Ipv4Addr::from(n))).collect();
    let config = format!(r#"{{"allow":[{}]}}"#, many.join(","));
    let errors = IpAccessRules::check(&Config::parse(&config).unwrap()).unwrap_err();
    assert!(errors[0].message.contains("join prefixes"), "{errors:?}");
}

/// What the definition says, without any order or search.
fn slow(entries: &[(ipnet::IpNet, Access)], address: IpAddr) -> Option<Access> {
    let containing = entries.iter().filter(|(prefix, _)| prefix.contains(&address));
    containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, access)| *access)
}

fn same_as_slow(nets: Vec<(ipnet::IpNet, bool)>, addresses: Vec<IpAddr>) {
    let (mut prefixes, mut entries) = (Prefixes::default(), Vec::new());
    for (prefix, allow) in nets {
        let access = if allow { Access::Allow } else { Access::Deny };
        if prefixes.add(prefix, access).is_none() {
            entries.push((prefix.trunc(), access));
        }
    }
    let own: Vec<IpAddr> = entries.iter().map(|(prefix, _)| prefix.addr()).collect();
    for address in addresses.into_iter().chain(own) {
        assert_eq!(prefixes.find(address), slow(&entries, address), "{address} in {entries:?}");
    }
}

proptest! {
    #[test]
    fn prefixes_of_ipv4_are_found_as_the_definition_says(
        nets in proptest::collection::vec((0_u32..16, 0_u8..=32, any::<bool>()), 0..20),
        addresses in proptest::collection::vec(0_u32..16, 0..20),
    ) {
        // Few bits at the top, so that prefixes and addresses meet.
        let v4 = |bits: u32| Ipv4Addr::from(bits << 28 | bits);
        let nets = nets.into_iter().map(|(bits, length, allow)| {
            (ipnet::IpNet::new(v4(bits).into(), length).unwrap().trunc(), allow)
        });
        same_as_slow(nets.collect(), addresses.into_iter().map(|bits| v4(bits).into()).collect());
    }

    #[test]
    fn prefixes_of_ipv6_are_found_as_the_definition_says(
        nets in proptest::collection::vec((1_u128..16, 1_u8..=128, any::<bool>()), 0..20),
        addresses in proptest::collection::vec(1_u128..16, 0..20),
    ) {
        let v6 = |bits: u128| Ipv6Addr::from(bits << 124 | bits);
        let nets = nets.into_iter().map(|(bits, length, allow)| {
            (ipnet::IpNet::new(v6(bits).into(), length).unwrap().trunc(), allow)
        });
        same_as_slow(nets.collect(), addresses.into_iter().map(|bits| v6(bits).into()).collect());
    }

    #[test]
    fn an_address_of_ipv4_is_the_same_in_both_families(bits in any::<u32>(), length in 0_u8..=32) {
        let v4 = Ipv4Addr::from(bits);
        let mut prefixes = Prefixes::default();
        prefixes.add(ipnet::IpNet::new(v4.to_ipv6_mapped().into(), 96 + length).unwrap(), Access::Allow);
        prop_assert_eq!(prefixes.find(v4.into()), Some(Access::Allow));
        prop_assert_eq!(prefixes.find(v4.to_ipv6_mapped().into()), Some(Access::Allow));
    }

    #[test]
    fn any_text_is_a_prefix_or_refused(text in "[0-9a-fx:./%]{0,30}|\\PC{0,20}") {
        if let Ok(prefix) = prefixes::parse(&text) {
            prop_assert_eq!(prefix.addr(), prefix.network());
        }
    }
}
