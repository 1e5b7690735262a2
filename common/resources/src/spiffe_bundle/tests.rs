use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SanType, SignatureAlgorithm,
};

use super::*;

const DOMAIN: &str = "partner.example";

fn root(change: impl FnOnce(&mut CertificateParams)) -> String {
    root_of(&rcgen::PKCS_ECDSA_P256_SHA256, change)
}

fn root_of(
    algorithm: &'static SignatureAlgorithm,
    change: impl FnOnce(&mut CertificateParams),
) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names =
        vec![SanType::URI(format!("spiffe://{DOMAIN}").as_str().try_into().unwrap())];
    change(&mut params);
    params.self_signed(&KeyPair::generate_for(algorithm).unwrap()).unwrap().pem()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn a_bundle_is_the_same_in_both_forms_and_says_who_vouches() {
    let all: String = [
        root(|_| {}),
        root_of(&PKCS_ECDSA_P384_SHA384, |_| {}),
        root_of(&PKCS_ED25519, |it| it.subject_alt_names.clear()),
    ]
    .concat();
    let mut read = SpiffeBundle::read(&all, DOMAIN).unwrap();
    assert_eq!(read.authorities().len(), 3);
    (read.sequence, read.refresh_hint) = (Some(7), Some(3_600));
    let json = read.json();
    assert_eq!(json["spiffe_sequence"], 7);
    assert_eq!(json["spiffe_refresh_hint"], 3_600);
    for (at, kind, curve) in [(0, "EC", "P-256"), (1, "EC", "P-384"), (2, "OKP", "Ed25519")] {
        let key = &json["keys"][at];
        assert_eq!(
            (&key["use"], &key["kty"], &key["crv"]),
            (&json!("x509-svid"), &json!(kind), &json!(curve))
        );
        assert_eq!(key["x5c"].as_array().unwrap().len(), 1, "{key}");
        assert!(key["x"].as_str().unwrap().len() >= 43, "{key}");
    }
    let again = SpiffeBundle::read(&json.to_string(), DOMAIN).unwrap();
    assert_eq!(again, read);
    let pem = SpiffeBundle::read(&again.pem(), DOMAIN).unwrap();
    assert_eq!(pem.authorities(), read.authorities());
    // The same certificate twice is one authority.
    assert_eq!(SpiffeBundle::read(&format!("{all}{all}"), DOMAIN).unwrap().authorities().len(), 3);
}

#[test]
fn what_vouches_for_nobody_or_for_others_is_refused_with_its_rule() {
    let good = root(|_| {});
    let key = KeyPair::generate().unwrap().serialize_pem();
    let json_of = |keys: Json| json!({ "keys": keys }).to_string();
    let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    let many: String = (0..17).map(|_| root(|_| {})).collect();
    let rows = [
        ("nothing", " ".to_owned(), "no X.509 authority"),
        ("no text of ours", "hello".to_owned(), "no X.509 authority"),
        ("a key", format!("{good}{key}"), "private key"),
        ("no base64", good.replace("MII", "!!!"), "certificate 1 is not base64"),
        ("cut off", good.replace("-----END", "-----AND"), "has no end"),
        ("no certificate", good.replace(&body[..40], &"A".repeat(40)), "not a certificate"),
        ("a leaf", root(|it| it.is_ca = IsCa::ExplicitNoCa), "not an authority"),
        (
            "no right to sign",
            root(|it| it.key_usages = vec![KeyUsagePurpose::CrlSign]),
            "no keyCertSign",
        ),
        ("no usage", root(|it| it.key_usages.clear()), "no keyCertSign"),
        (
            "another domain",
            root(|it| it.subject_alt_names = vec![uri("spiffe://shop.example")]),
            "an authority of spiffe://shop.example",
        ),
        (
            "another domain, too",
            root(|it| it.subject_alt_names.push(uri("spiffe://shop.example"))),
            "an authority of spiffe://shop.example",
        ),
        (
            "a member",
            root(|it| it.subject_alt_names = vec![uri("spiffe://partner.example/x")]),
            "an authority of spiffe://partner.example/x",
        ),
        ("the second", format!("{good}{}", root(|it| it.key_usages.clear())), "certificate 2"),
        ("too many", many, "more than 16"),
        ("too long", " ".repeat(MAX_BUNDLE_BYTES + 1), "longer than 64 KiB"),
        ("no JSON", "{".to_owned(), "not JSON"),
        ("no keys", "{}".to_owned(), "no list `keys`"),
        ("no type", json_of(json!([{ "use": "x509-svid" }])), "no `kty`"),
        (
            "keys of tokens alone",
            json_of(json!([{ "kty": "EC", "use": "jwt-svid", "kid": "a" }])),
            "no X.509 authority",
        ),
        (
            "two in one",
            json_of(json!([{ "kty": "EC", "use": "x509-svid", "x5c": [body, body] }])),
            "exactly one certificate",
        ),
        (
            "none in one",
            json_of(json!([{ "kty": "EC", "use": "x509-svid" }])),
            "exactly one certificate",
        ),
        (
            "no base64 there",
            json_of(json!([{ "kty": "EC", "use": "x509-svid", "x5c": ["-"] }])),
            "not base64",
        ),
        (
            "a sequence that falls",
            json!({ "spiffe_sequence": -1, "keys": [{ "kty": "EC", "use": "x509-svid", "x5c": [body] }] })
                .to_string(),
            "`spiffe_sequence` is not a number",
        ),
    ];
    for (what, text, says) in rows {
        let refused = SpiffeBundle::read(&text, DOMAIN).unwrap_err();
        assert!(refused.contains(says), "{what}: {refused}");
    }
    // Uses that are unknown are for others.
    let both = json_of(json!([
        { "kty": "EC", "use": "x509-svid", "x5c": [body] },
        { "kty": "EC", "use": "jwt-svid" },
        { "kty": "EC", "use": "tomorrow" },
        { "kty": "EC" },
    ]));
    assert_eq!(SpiffeBundle::read(&both, DOMAIN).unwrap().authorities().len(), 1);
}
