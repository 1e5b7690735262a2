//! Configurations: defaults, and an error at the place of each mistake.

use tamis_sdk::Config;

use super::*;

const KEY: &str = r#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;

fn check(text: &str) -> Result<JwtRules, Vec<ConfigError>> {
    JwtRules::check(&Config::parse(text)?)
}

fn pointers(text: &str) -> Vec<String> {
    check(text).unwrap_err().into_iter().map(|error| error.pointer).collect()
}

fn issuer(rest: &str) -> String {
    format!(r#"{{"issuer":"i","audiences":["a"],"algorithms":["HS256"]{rest}}}"#)
}

#[test]
fn defaults_are_those_stated() {
    let jwks = format!(r#","jwks":{{"inline":{KEY}}}"#);
    let rules = check(&format!(r#"{{"issuers":[{}]}}"#, issuer(&jwks))).unwrap();
    assert_eq!((rules.absent, rules.spent), (MissingTokenRule::Refused, TokenForwarding::Removed));
    assert_eq!(
        (rules.token_header.as_str(), rules.token_prefix.as_str()),
        ("authorization", "Bearer ")
    );
    assert_eq!((rules.cache_size, rules.issuers[0].clock_skew), (1024, Duration::from_secs(60)));
}

#[test]
fn every_error_names_its_place() {
    assert_eq!(pointers(r#"{"issuers":[]}"#), ["/issuers"]);
    assert_eq!(
        pointers(&format!(r#"{{"issuers":[{}]}}"#, issuer(r#","jwks":{}"#))),
        ["/issuers/0/jwks"]
    );
    let published = issuer(r#","jwks":{"url":"http://idp/","refresh":"1s"}"#);
    assert_eq!(
        pointers(&format!(r#"{{"issuers":[{published}]}}"#)),
        ["/issuers/0/jwks/refresh", "/issuers/0/jwks/url", "/issuers/0/algorithms"],
    );
    let claims = format!(
        r#","jwks":{{"inline":{KEY}}},"claimsToHeaders":[{{"claim":"a","header":"Host"}},
           {{"claim":"a","header":"X-A"}},{{"claim":"b","header":"x-a"}}]"#
    );
    assert_eq!(
        pointers(&format!(r#"{{"issuers":[{}]}}"#, issuer(&claims))),
        ["/issuers/0/claimsToHeaders/0/header", "/issuers/0/claimsToHeaders/2/header"],
    );
    for header in
        ["transfer_encoding", "Content.Length", "x_forwarded_for", "X-Tamis-A", "x_tamis_a"]
    {
        let claims = format!(
            r#","jwks":{{"inline":{KEY}}},"claimsToHeaders":[{{"claim":"a","header":"{header}"}}]"#
        );
        assert_eq!(
            pointers(&format!(r#"{{"issuers":[{}]}}"#, issuer(&claims))),
            ["/issuers/0/claimsToHeaders/0/header"],
            "{header}"
        );
    }
    let short = issuer(r#","jwks":{"inline":{"kty":"oct","k":"AAEC"}}"#);
    assert_eq!(pointers(&format!(r#"{{"issuers":[{short}]}}"#)), ["/issuers/0/jwks/inline"]);
    let none = issuer(r#","jwks":{}"#).replace("HS256", "none");
    assert_eq!(pointers(&format!(r#"{{"issuers":[{none}]}}"#)), ["/issuers/0/algorithms/0"]);
}
