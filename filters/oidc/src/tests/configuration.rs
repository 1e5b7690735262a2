//! Configurations: an error at the place of each mistake.

use super::*;

fn pointers(settings: &Value) -> Vec<String> {
    let settings = match Config::parse(&settings.to_string()) {
        Ok(settings) => settings,
        Err(errors) => return errors.into_iter().map(|error| error.pointer).collect(),
    };
    let errors = OidcRules::check(&settings).err().unwrap_or_default();
    errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn every_error_names_its_place() {
    assert_eq!(pointers(&settings()), Vec::<String>::new());
    let long = "a".repeat(2048);
    for (name, value, at) in [
        ("issuer", json!("http://idp.example"), "/issuer"),
        ("issuer", json!("https://idp.example?a"), "/issuer"),
        ("issuer", json!("https://a@idp.example"), "/issuer"),
        ("issuer", json!("idp.example"), "/issuer"),
        ("clientId", json!(""), "/clientId"),
        ("clientAuthentication", json!("post"), "/clientAuthentication"),
        ("clientAuthentication", json!("none"), "/clientAuthentication"),
        ("clientSecretName", json!(""), "/clientSecretName"),
        ("clientSecretName", json!("old"), "/cookieSecretNames/1"),
        ("redirectUrl", json!("http://shop.example/back"), "/redirectUrl"),
        ("redirectUrl", json!("http://shop.test.mesh/back"), "/redirectUrl"),
        ("redirectUrl", json!("https://shop.example"), "/redirectUrl"),
        ("redirectUrl", json!("https://shop.example/"), "/redirectUrl"),
        ("redirectUrl", json!("https://shop.example/back?a"), "/redirectUrl"),
        ("redirectUrl", json!("https://shop.example/a/../back"), "/redirectUrl"),
        ("redirectUrl", json!("https://shop.example//back"), "/redirectUrl"),
        ("redirectUrl", json!("https://shop.example/b%61ck"), "/redirectUrl"),
        ("redirectUrl", json!("https://a@shop.example/back"), "/redirectUrl"),
        ("redirectUrl", json!("https:///back"), "/redirectUrl"),
        ("redirectUrl", json!(format!("https://shop.example/{long}")), "/redirectUrl"),
        ("cookieSecretNames", json!([]), "/cookieSecretNames"),
        ("cookieSecretNames", json!(["a", "b", "c", "d", "e"]), "/cookieSecretNames"),
        ("cookieSecretNames", json!(["a", "a"]), "/cookieSecretNames/1"),
        ("cookieSecretNames", json!([""]), "/cookieSecretNames/0"),
        ("cookieName", json!("a b"), "/cookieName"),
        ("cookieName", json!("a;Domain"), "/cookieName"),
        ("cookieName", json!(""), "/cookieName"),
        ("optionalPaths", json!(["/a", "open"]), "/optionalPaths/1"),
        ("optionalPaths", json!([""]), "/optionalPaths/0"),
        ("optionalPaths", json!(["//"]), "/optionalPaths/0"),
        ("optionalPaths", json!(["/a//"]), "/optionalPaths/0"),
        ("optionalPaths", json!(["/a/../b"]), "/optionalPaths/0"),
        ("optionalPaths", json!(["/a%2fb"]), "/optionalPaths/0"),
        ("optionalPaths", json!(["/a?b"]), "/optionalPaths/0"),
        ("optionalPaths", json!(vec!["/a"; 65]), "/optionalPaths"),
        ("scopes", json!(["profile"]), "/scopes"),
        ("scopes", json!(["openid", "a b"]), "/scopes"),
        ("algorithms", json!([]), "/algorithms"),
        ("algorithms", json!(["HS256"]), "/algorithms"),
        ("algorithms", json!(["none"]), "/algorithms/0"),
        ("clockSkew", json!("11m"), "/clockSkew"),
        ("sessionLength", json!("59s"), "/sessionLength"),
        ("sessionLength", json!("721h"), "/sessionLength"),
        ("renewBefore", json!("2h"), "/renewBefore"),
        ("timeout", json!("11s"), "/timeout"),
        ("refresh", json!("9s"), "/refresh"),
        ("authorizationParameters", json!({ "state": "a" }), "/authorizationParameters/state"),
        (
            "authorizationParameters",
            json!({ "request_uri": "a" }),
            "/authorizationParameters/request_uri",
        ),
        ("authorizationParameters", json!({ "a": long }), "/authorizationParameters"),
        (
            "claimsToHeaders",
            json!([{ "claim": "sub", "header": "Cookie" }]),
            "/claimsToHeaders/0/header",
        ),
        (
            "claimsToHeaders",
            json!([{ "claim": "sub", "header": "authorization" }]),
            "/claimsToHeaders/0/header",
        ),
        (
            "claimsToHeaders",
            json!([{ "claim": "sub", "header": "x_forwarded_for" }]),
            "/claimsToHeaders/0/header",
        ),
        (
            "claimsToHeaders",
            json!([{ "claim": "a", "header": "x-a" }, { "claim": "b", "header": "X-A" }]),
            "/claimsToHeaders/1/header",
        ),
        (
            "endpoints",
            json!({ "authorization": "https://a/", "token": "http://a/", "jwks": "https://a/" }),
            "/endpoints/token",
        ),
        ("endpoints", json!({ "authorization": "https://a/" }), "/endpoints"),
        ("logout", json!({ "path": "logout" }), "/logout/path"),
        ("logout", json!({ "path": "/back" }), "/logout/path"),
        ("logout", json!({ "path": "/bye", "returnTo": "/" }), "/logout/returnTo"),
        ("logout", json!({ "path": "/bye", "to": "/" }), "/logout/to"),
        ("cookieSecret", json!("a"), "/cookieSecret"),
    ] {
        let mut changed = settings();
        changed[name] = value.clone();
        assert_eq!(pointers(&changed), [at], "{name} {value}");
    }
}

#[test]
fn the_place_that_a_browser_comes_back_to_is_known_as_browsers_write_it() {
    for (url, secure, at, origin) in [
        ("http://127.0.0.1:8080/back", false, "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost/back", false, "LOCALHOST:80", "http://localhost"),
        ("http://[::1]:80/back", false, "[::1]", "http://[::1]"),
        ("https://Shop.Example:8443/a/b", true, "shop.example:8443", "https://shop.example:8443"),
        ("https://shop.example:443/a", true, "shop.example", "https://shop.example"),
    ] {
        let mut changed = settings();
        changed["redirectUrl"] = url.into();
        let callback = rules(&changed).callback;
        assert_eq!((callback.secure, callback.origin.as_str()), (secure, origin), "{url}");
        assert!(callback.is_at(at) && !callback.is_at("evil.example"), "{url}");
    }
}
