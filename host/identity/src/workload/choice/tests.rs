use super::super::testing::{CART, LEDGER, PAY, TestDomain, message};
use super::*;

/// What is wanted, what is given, and the id that is chosen, or what the refusal says.
type Row<'a> = (&'a WantedSvid, &'a [&'a AgentSvidEntry], Result<&'a str, &'a [&'a str]>);

fn socket() -> AgentSocket {
    "unix:///agent.sock".parse().unwrap()
}

#[test]
fn one_svid_is_chosen_and_every_other_case_lists_what_there_is() {
    let shop = TestDomain::new("shop.example");
    let [pay, cart, again] = [PAY, CART, PAY].map(|id| shop.entry(id));
    let odd = AgentSvidEntry { spiffe_id: "\u{7}http://x".to_owned(), ..pay.clone() };
    let wanted = WantedSvid::Id(PAY.parse().unwrap());
    let rows: [Row<'_>; 9] = [
        (&wanted, &[&pay], Ok(PAY)),
        (&wanted, &[&cart, &pay], Ok(PAY)),
        (&wanted, &[], Err(&["no SVID", PAY, "register"])),
        (&wanted, &[&cart], Err(&[CART, PAY, "register"])),
        (&wanted, &[&pay, &cart, &again], Err(&["3 SVIDs", PAY, CART, "once"])),
        (&WantedSvid::Only, &[&cart], Ok(CART)),
        (&WantedSvid::Only, &[&cart, &pay], Err(&["2 SVIDs", CART, PAY, "selectors"])),
        (&WantedSvid::Only, &[], Err(&["no SVID", "selectors"])),
        (&WantedSvid::Only, &[&odd], Err(&["not a SPIFFE id"])),
    ];
    for (wanted, given, expected) in rows {
        let given: Vec<_> = given.iter().copied().cloned().collect();
        let chosen = wanted.choose(&socket(), message(&given));
        match (chosen, expected) {
            (Ok((svid, faults)), Ok(id)) => assert!(svid.id.as_str() == id && faults.is_empty()),
            (Err(error), Err(parts)) => {
                let text = error.to_string();
                assert!(text.contains("/agent.sock"), "{text}");
                parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
            }
            (chosen, expected) => panic!("{expected:?}: {:?}", chosen.err()),
        }
    }
    let many: Vec<_> = (0..64).map(|_| cart.clone()).collect();
    let error = wanted.choose(&socket(), message(&many)).err().unwrap().to_string();
    assert!(error.contains('…') && error.len() < 1_000, "{error}");
    let text = shown(&odd.spiffe_id);
    assert_eq!(text, "http://x");
}

#[test]
fn certificates_are_counted_and_what_is_none_is_named_by_its_place() {
    let (shop, partner) = (TestDomain::new("shop.example"), TestDomain::new("partner.example"));
    let pay = shop.entry(PAY);
    let wanted = WantedSvid::Id(PAY.parse().unwrap());
    let refused = |entry: &AgentSvidEntry| {
        let chosen = wanted.choose(&socket(), message(std::slice::from_ref(entry)));
        chosen.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&pay), "");
    let chain = pay.x509_svid.clone();
    let cut = chain.len() - 1;
    for (entry, parts) in [
        (
            AgentSvidEntry { x509_svid: chain[..cut].to_vec(), ..pay.clone() },
            ["the SVID", "certificate 2"],
        ),
        (
            AgentSvidEntry { x509_svid: chain.repeat(9), ..pay.clone() },
            ["the SVID", "more than 16"],
        ),
        (
            AgentSvidEntry { bundle: b"-----BEGIN".to_vec(), ..pay.clone() },
            ["the bundle", "certificate 1"],
        ),
        (
            AgentSvidEntry { bundle: pay.bundle.repeat(65), ..pay.clone() },
            ["the bundle", "more than 64"],
        ),
    ] {
        let text = refused(&entry);
        parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
    }
    // A bundle of another domain that cannot be read closes that domain only.
    let mut several = message(&[pay]);
    let of = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    several.federated_bundles.extend([
        of("spiffe://partner.example", partner.bundle()),
        of("third.example", shop.bundle()),
        of("Bad", partner.bundle()),
        of("fourth.example", vec![1, 2, 3]),
    ]);
    let (svid, faults) = wanted.choose(&socket(), several).unwrap();
    let domains: Vec<_> = svid.federated.keys().map(|one| one.as_str()).collect();
    assert_eq!(domains, ["partner.example", "third.example"]);
    assert!(faults.len() == 2 && faults.iter().any(|it| it.contains("fourth")), "{faults:?}");
    assert!(LEDGER.contains("partner.example"));
}
