//! Which address is the client's, and what an attacker can change about it.

use super::*;
use proptest::prelude::*;

const LB: &str = "10.0.0.1";

fn proxies(field: ForwardedField, trusted: &[&str], hops: Option<u8>) -> TrustedProxies {
    let trusted: Vec<String> = trusted.iter().map(|&text| text.to_owned()).collect();
    TrustedProxies::new(field, Some(trusted.as_slice()).filter(|it| !it.is_empty()), hops).unwrap()
}

fn headers(field: ForwardedField, lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (field.name(), line.parse().unwrap())).collect()
}

fn chain_of(
    field: ForwardedField,
    trusted: &TrustedProxies,
    lines: &[&str],
) -> Option<ClientChain> {
    trusted.chain(&headers(field, lines), LB.parse().unwrap())
}

/// Client and chain; `-`: the peer is the client.
fn shown(chain: Option<ClientChain>, of: fn(&ClientChain) -> String) -> (String, String) {
    chain.map_or(("-".to_owned(), "-".to_owned()), |chain| (chain.client().to_string(), of(&chain)))
}

#[test]
fn the_client_is_the_last_address_that_is_no_proxy() {
    let trusted = proxies(ForwardedField::XForwardedFor, &["10.0.0.0/24", "2001:db8:1::/48"], None);
    for (lines, client, kept) in [
        (&["192.0.2.1"][..], "192.0.2.1", "192.0.2.1"),
        (&["192.0.2.1, 10.0.0.2"], "192.0.2.1", "192.0.2.1, 10.0.0.2"),
        (&["192.0.2.1", "10.0.0.2"], "192.0.2.1", "192.0.2.1, 10.0.0.2"),
        (&["192.0.2.1,10.0.0.2 ,\t10.0.0.3"], "192.0.2.1", "192.0.2.1, 10.0.0.2, 10.0.0.3"),
        // Entries of the client, in any form, are to the left of its own address.
        (&["6.6.6.6, 192.0.2.1"], "192.0.2.1", "192.0.2.1"),
        (&["6.6.6.6", "192.0.2.1, 10.0.0.2"], "192.0.2.1", "192.0.2.1, 10.0.0.2"),
        (&["10.0.0.9, 192.0.2.1"], "192.0.2.1", "192.0.2.1"),
        (&["<script>, \", 192.0.2.1"], "192.0.2.1", "192.0.2.1"),
        (&["unknown, _x, 192.0.2.1"], "192.0.2.1", "192.0.2.1"),
        (&[",,192.0.2.1,, ,10.0.0.2,"], "192.0.2.1", "192.0.2.1, 10.0.0.2"),
        // Spellings of one address.
        (&["192.0.2.1:4711"], "192.0.2.1", "192.0.2.1"),
        (&["2001:DB8::0:1"], "2001:db8::1", "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1", "2001:db8::1"),
        (&["[2001:db8::1]:80, 2001:db8:1::5"], "2001:db8::1", "2001:db8::1, 2001:db8:1::5"),
        (&["::ffff:192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1", "192.0.2.1, 10.0.0.2"),
        // A client with the address of a proxy.
        (&["10.0.0.5"], "10.0.0.5", "10.0.0.5"),
        (&["10.0.0.5, 10.0.0.2"], "10.0.0.5", "10.0.0.5, 10.0.0.2"),
        // No address: the peer counts.
        (&[], "-", "-"),
        (&[""], "-", "-"),
        (&["unknown"], "-", "-"),
        (&["192.0.2.1, unknown"], "-", "-"),
        (&["192.0.2.1, _hidden, 10.0.0.2"], "-", "-"),
        (&["192.0.2.1, 10.0.0.2x"], "-", "-"),
        (&["192.0.2.1 10.0.0.2"], "-", "-"),
        (&["192.0.2.1, 010.0.0.2"], "-", "-"),
        (&["192.0.2.1:"], "-", "-"),
        (&["192.0.2.1:123456"], "-", "-"),
        (&["[192.0.2.1]"], "-", "-"),
        (&["[2001:db8::1"], "-", "-"),
        (&["fe80::1%eth0"], "-", "-"),
        (&["\"192.0.2.1\""], "-", "-"),
        (&["for=192.0.2.1"], "-", "-"),
        (&["http://192.0.2.1"], "-", "-"),
        (&["192.0.2.1/32"], "-", "-"),
    ] {
        let chain = chain_of(ForwardedField::XForwardedFor, &trusted, lines);
        let found = shown(chain, ClientChain::x_forwarded_for);
        assert_eq!(found, (client.to_owned(), kept.to_owned()), "{lines:?}");
    }
}

#[test]
fn a_number_of_hops_counts_from_the_end() {
    for (hops, lines, client, kept) in [
        (1, &["6.6.6.6, 192.0.2.1"][..], "192.0.2.1", "192.0.2.1"),
        (2, &["6.6.6.6, 192.0.2.1, 198.51.100.7"], "192.0.2.1", "192.0.2.1, 198.51.100.7"),
        (2, &["192.0.2.1", "unknown"], "192.0.2.1", "192.0.2.1, unknown"),
        (2, &["192.0.2.1, _cdn"], "192.0.2.1", "192.0.2.1, _cdn"),
        (2, &["unknown, 192.0.2.1"], "-", "-"),
        (2, &["192.0.2.1, x y"], "-", "-"),
        (2, &["192.0.2.1"], "-", "-"),
        (1, &[], "-", "-"),
    ] {
        let trusted = proxies(ForwardedField::XForwardedFor, &[], Some(hops));
        let chain = chain_of(ForwardedField::XForwardedFor, &trusted, lines);
        let found = shown(chain, ClientChain::x_forwarded_for);
        assert_eq!(found, (client.to_owned(), kept.to_owned()), "{hops} {lines:?}");
    }
}

#[test]
fn elements_of_forwarded_are_read_in_every_spelling_and_kept_as_they_are() {
    let trusted = proxies(ForwardedField::Forwarded, &["10.0.0.0/24"], None);
    for (lines, client, kept) in [
        (&["for=192.0.2.1"][..], "192.0.2.1", "for=192.0.2.1"),
        (&["For=192.0.2.1;Proto=https"], "192.0.2.1", "For=192.0.2.1;Proto=https"),
        (&["proto=https; FOR=\"192.0.2.1:80\""], "192.0.2.1", "proto=https; FOR=\"192.0.2.1:80\""),
        (&["for=\"[2001:db8::1]:80\""], "2001:db8::1", "for=\"[2001:db8::1]:80\""),
        (&["for=[2001:db8::1]"], "2001:db8::1", "for=[2001:db8::1]"),
        (
            &["for=6.6.6.6", "for=192.0.2.1, for=10.0.0.2"],
            "192.0.2.1",
            "for=192.0.2.1, for=10.0.0.2",
        ),
        // A quote that the client opens does not swallow what a proxy adds.
        (&["for=\", for=192.0.2.1"], "192.0.2.1", "for=192.0.2.1"),
        (&["for=\"a, for=192.0.2.1;by=\"_lb\""], "192.0.2.1", "for=192.0.2.1;by=\"_lb\""),
        (
            &["for=192.0.2.1;by=10.0.0.1;host=a.example"],
            "192.0.2.1",
            "for=192.0.2.1;by=10.0.0.1;host=a.example",
        ),
        (&["for=unknown"], "-", "-"),
        (&["for=\"_hidden\""], "-", "-"),
        (&["for=_hidden:_port"], "-", "-"),
        (&["proto=https"], "-", "-"),
        (&["for=192.0.2.1;for=192.0.2.2"], "-", "-"),
        (&["for=\"192.0.2.1"], "-", "-"),
        (&["for=192.0.2.1\""], "-", "-"),
        (&["for=\"192.0\\.2.1\""], "-", "-"),
        (&["for="], "-", "-"),
        (&["for =192.0.2.1"], "-", "-"),
        (&["=192.0.2.1"], "-", "-"),
        (&["192.0.2.1"], "-", "-"),
    ] {
        let chain = chain_of(ForwardedField::Forwarded, &trusted, lines);
        let found = shown(chain, ClientChain::forwarded);
        assert_eq!(found, (client.to_owned(), kept.to_owned()), "{lines:?}");
    }
}

#[test]
fn a_chain_is_written_as_the_other_field_too() {
    let trusted = proxies(ForwardedField::XForwardedFor, &[], Some(4));
    let chain = chain_of(trusted.field, &trusted, &["2001:db8::1, unknown, _cdn, 10.0.0.2"]);
    assert_eq!(
        chain.unwrap().forwarded(),
        "for=\"[2001:db8::1]\", for=unknown, for=_cdn, for=10.0.0.2"
    );
    let trusted = proxies(ForwardedField::Forwarded, &[], Some(2));
    let chain = chain_of(trusted.field, &trusted, &["for=\"[2001:db8::1]:5\", for=_cdn"]);
    assert_eq!(chain.unwrap().x_forwarded_for(), "2001:db8::1, _cdn");
}

#[test]
fn only_an_address_that_is_named_is_that_of_a_proxy() {
    let named = |trusted: Option<&[&str]>, hops, peer: &str| {
        let trusted = trusted.map(|all| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let proxies = TrustedProxies::new(ForwardedField::Forwarded, trusted.as_deref(), hops);
        proxies.unwrap().names(peer.parse().unwrap())
    };
    for (trusted, hops, peer, is_named) in [
        (Some(&["10.0.0.7", "2001:db8::/64"][..]), None, "10.0.0.7", true),
        (Some(&["10.0.0.7", "2001:db8::/64"]), Some(2), "2001:db8::9", true),
        (Some(&["10.0.0.7"]), None, "::ffff:10.0.0.7", true),
        (Some(&["10.0.0.7"]), Some(1), "10.0.0.8", false),
        // Whoever connects may be a client.
        (None, Some(1), "10.0.0.7", false),
        (None, None, "10.0.0.7", false),
        (Some(&[]), None, "10.0.0.7", false),
    ] {
        assert_eq!(named(trusted, hops, peer), is_named, "{trusted:?} {hops:?} {peer}");
    }
}

#[test]
fn only_a_trusted_peer_is_believed_and_only_its_field() {
    let trusted = proxies(ForwardedField::XForwardedFor, &["10.0.0.0/24", "192.0.2.7"], None);
    let said = headers(ForwardedField::XForwardedFor, &["198.51.100.1"]);
    for (peer, believed) in [
        ("10.0.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("10.0.1.1", false),
        ("::1", false),
    ] {
        assert_eq!(trusted.chain(&said, peer.parse().unwrap()).is_some(), believed, "{peer}");
    }
    let other = headers(ForwardedField::Forwarded, &["for=198.51.100.1"]);
    assert_eq!(trusted.chain(&other, LB.parse().unwrap()), None);
    let nobody = TrustedProxies::new(ForwardedField::XForwardedFor, None, None).unwrap();
    assert_eq!(nobody.chain(&said, LB.parse().unwrap()), None);
    let both = proxies(ForwardedField::XForwardedFor, &["10.0.0.1"], Some(1));
    assert!(both.chain(&said, LB.parse().unwrap()).is_some());
    assert_eq!(both.chain(&said, "10.0.0.2".parse().unwrap()), None);
    let wrong = TrustedProxies::new(ForwardedField::Forwarded, Some(&["10.0.0.0/33".into()]), None);
    assert_eq!(wrong, Err(InvalidPrefix("10.0.0.0/33".to_owned())));
}

#[test]
fn a_chain_has_a_bound_on_the_side_of_the_proxies_alone() {
    let trusted = proxies(ForwardedField::XForwardedFor, &["10.0.0.0/8"], None);
    let of = |proxies: usize, junk: usize| {
        let text = format!("{}192.0.2.1{}", "6.6.6.6, ".repeat(junk), ", 10.0.0.2".repeat(proxies));
        let chain = chain_of(trusted.field, &trusted, &[&text]);
        chain.map(|chain| (chain.client().to_string(), chain.entries.len()))
    };
    assert_eq!(of(MAX_CHAIN - 1, 0), Some(("192.0.2.1".to_owned(), MAX_CHAIN)));
    assert_eq!(of(MAX_CHAIN, 0), None);
    assert_eq!(of(1, 2_000), Some(("192.0.2.1".to_owned(), 2)), "what a client adds has no effect");
    let long = format!("for=192.0.2.1;host=\"{}\"", "a".repeat(MAX_ENTRY));
    let forwarded = proxies(ForwardedField::Forwarded, &["10.0.0.0/8"], None);
    assert_eq!(chain_of(forwarded.field, &forwarded, &[&long]), None);
}

fn fields() -> impl Strategy<Value = ForwardedField> {
    prop::sample::select([ForwardedField::XForwardedFor, ForwardedField::Forwarded].as_slice())
}

proptest! {
    /// Whatever a client sends, on one line or several, its own address counts once a proxy added it.
    #[test]
    fn nothing_that_a_client_sends_changes_its_address(
        field in fields(), sent in prop::collection::vec("[ -~\t]{0,40}", 0..4),
        client in any::<std::net::Ipv4Addr>(), own_line in any::<bool>(), hops in any::<bool>(),
    ) {
        let client = IpAddr::V4(client);
        prop_assume!(client != IpAddr::from([10, 0, 0, 1]));
        let added = match field {
            ForwardedField::XForwardedFor => client.to_string(),
            ForwardedField::Forwarded => format!("for={client}"),
        };
        let mut lines = sent;
        match lines.last_mut().filter(|_| !own_line) {
            Some(last) => *last = format!("{last}, {added}"),
            None => lines.push(added),
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let trusted = match hops {
            true => proxies(field, &[], Some(1)),
            false => proxies(field, &["10.0.0.1"], None),
        };
        let chain = chain_of(field, &trusted, &lines).unwrap();
        prop_assert_eq!(chain.client(), client);
        prop_assert_eq!(chain.x_forwarded_for(), client.to_string());
        prop_assert_eq!(chain.forwarded(), format!("for={client}"));
    }

    /// What is forwarded is one list of valid nodes, which the next hop reads in the same way.
    #[test]
    fn what_is_forwarded_is_read_in_the_same_way(
        field in fields(), sent in prop::collection::vec("[ -~]{0,40}|(for=)?(10\\.0\\.0\\.[1-9]|1\\.2\\.3\\.4|_a|unknown|\"\\[::1\\]:5\")(;by=a)?", 0..6),
        hops in prop::option::of(1_u8..4),
    ) {
        let lines: Vec<&str> = sent.iter().map(String::as_str).collect();
        let trusted = match hops {
            Some(_) => proxies(field, &[], hops),
            None => proxies(field, &["10.0.0.0/24"], None),
        };
        let Some(chain) = chain_of(field, &trusted, &lines) else { return Ok(()) };
        for (again, text) in [
            (ForwardedField::XForwardedFor, chain.x_forwarded_for()),
            (ForwardedField::Forwarded, chain.forwarded()),
        ] {
            let number = u8::try_from(chain.entries.len()).unwrap();
            let next = proxies(again, &[], Some(number));
            let read = chain_of(again, &next, &[&text]).unwrap();
            prop_assert_eq!(read.client(), chain.client(), "{}", text);
        }
    }
}
