use std::collections::BTreeSet;

use http::HeaderValue;

use super::*;

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

#[test]
fn a_pattern_covers_what_it_names_and_nothing_else() {
    for (pattern, yes, no) in [
        ("*", &["a", "a/b/c"][..], &[][..]),
        ("acme/*", &["acme/a", "acme/a/b"], &["acme", "acme2/a", "b/acme/a"]),
        ("acme/a", &["acme/a"], &["acme/a/b", "acme/ab", "acme"]),
    ] {
        let parsed: RepositoryPattern = pattern.parse().unwrap();
        assert_eq!(parsed.to_string(), pattern);
        assert!(yes.iter().all(|name| parsed.covers(&repository(name))), "{pattern}");
        assert!(!no.iter().any(|name| parsed.covers(&repository(name))), "{pattern}");
    }
    for bad in ["", "/*", "a*", "*/a", "A", "a/*/*", "**"] {
        assert!(bad.parse::<RepositoryPattern>().is_err(), "{bad}");
    }
}

#[test]
fn both_schemes_lead_to_the_token_and_anything_else_to_nobody() {
    let (secret, mut tokens) = (TokenSecret::generate().unwrap(), Tokens::default());
    let token = Token {
        name: "ci".to_owned(),
        sha256: secret.hash(),
        repositories: vec!["acme/*".parse().unwrap()],
        verbs: vec![Verb::Pull],
        expires_ms: None,
        created_ms: 0,
        by: String::new(),
        makers: BTreeSet::new(),
    };
    tokens.insert(token.clone());
    let caller = |value: Option<String>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        }
        Caller::of(&headers, &tokens, AnonymousRights::None, 0)
    };
    let text = secret.expose();
    let basic = STANDARD.encode(format!("anyone:{text}"));
    for good in [format!("Bearer {text}"), format!("bearer  {text}"), format!("Basic {basic}")] {
        assert_eq!(caller(Some(good)), Some(Caller::Token(token.clone())));
    }
    assert_eq!(caller(None), Some(Caller::Anonymous(AnonymousRights::None)));
    for bad in ["", "Bearer", "Bearer x", "Basic !", "Basic eDp5", "Digest x", text] {
        assert_eq!(caller(Some(bad.to_owned())), None, "{bad}");
    }
}

#[test]
fn a_token_does_what_its_verbs_say_where_its_patterns_say() {
    let token = Token {
        name: "ci".to_owned(),
        sha256: Hash::ZERO,
        repositories: vec!["acme/*".parse().unwrap()],
        verbs: vec![Verb::Pull, Verb::Push],
        expires_ms: None,
        created_ms: 0,
        by: String::new(),
        makers: BTreeSet::new(),
    };
    let caller = Caller::Token(token);
    let (inside, outside) = (repository("acme/a"), repository("b"));
    assert!(caller.may(Verb::Pull, &inside) && caller.may(Verb::Push, &inside));
    assert!(!caller.may(Verb::Delete, &inside) && !caller.may(Verb::Pull, &outside));
}

#[test]
fn anonymous_callers_never_delete() {
    let somewhere = repository("a");
    for (anonymous, pull, push) in [
        (AnonymousRights::None, false, false),
        (AnonymousRights::Pull, true, false),
        (AnonymousRights::Push, true, true),
    ] {
        let caller = Caller::Anonymous(anonymous);
        assert_eq!(caller.may(Verb::Pull, &somewhere), pull);
        assert_eq!(caller.may(Verb::Push, &somewhere), push);
        assert!(!caller.may(Verb::Delete, &somewhere));
        assert_eq!(caller.may_enter(), pull);
    }
}

#[test]
fn a_secret_is_never_printed_by_accident() {
    let secret = TokenSecret::generate().unwrap();
    assert_eq!(secret.expose().len(), 70);
    assert!(!format!("{secret:?}").contains(secret.expose()));
    assert_ne!(secret.expose(), TokenSecret::generate().unwrap().expose());
}

#[test]
fn a_pattern_includes_what_is_wholly_within_it() {
    let pattern = |text: &str| text.parse::<RepositoryPattern>().unwrap();
    for (own, yes, no) in [
        ("*", &["*", "a/*", "a/b"][..], &[][..]),
        ("a/*", &["a/*", "a/b/*", "a/b"], &["*", "a", "b/*", "ab/*"]),
        ("a/b", &["a/b"], &["*", "a/*", "a/b/*", "a/c"]),
    ] {
        assert!(yes.iter().all(|other| pattern(own).includes(&pattern(other))), "{own}");
        assert!(!no.iter().any(|other| pattern(own).includes(&pattern(other))), "{own}");
    }
}

#[test]
fn a_token_opens_nothing_from_its_end_on_and_nothing_by_a_secret_that_was_replaced() {
    let (secret, next, mut tokens) =
        (TokenSecret::generate().unwrap(), TokenSecret::generate().unwrap(), Tokens::default());
    tokens.insert(Token {
        name: "ci".to_owned(),
        sha256: secret.hash(),
        repositories: vec!["*".parse().unwrap()],
        verbs: vec![Verb::Pull],
        expires_ms: Some(10),
        created_ms: 0,
        by: String::new(),
        makers: BTreeSet::new(),
    });
    let opens =
        |tokens: &Tokens, secret: &TokenSecret, now| tokens.find(secret.expose(), now).is_some();
    assert!(opens(&tokens, &secret, 9));
    assert!(!opens(&tokens, &secret, 10));
    tokens.rotate("ci", next.hash(), None, "ci");
    assert!(!opens(&tokens, &secret, 9));
    assert!(opens(&tokens, &next, 11));
}
