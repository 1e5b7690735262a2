//! The policy as a whole, with a provider that signs, and hostile input for each of its parts.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tamis_jose::algorithm::SigningAlgorithm;
use tamis_jose::host::{Fetch, FetchedResponse, SharedStore, StoredValue, Verify};
use tamis_sdk::{Config, Edit, Method, View, request, view::packed};

use crate::config::OidcRules;
use crate::host::{FormPost, OidcHost, SwapFault};
use crate::policy::{OidcDecision, OidcPolicy};
use crate::provider::ProviderRefresher;

#[path = "../../jose/tests/harness/native.rs"]
mod native;

use native::Native;

mod answers;
mod attacks;
mod configuration;
mod kept;
mod sessions;

const ISSUER: &str = "https://idp.example";
const SITE: &str = "shop.example";
/// 2027-01-15, in seconds.
const NOW: u64 = 1_800_000_000;

/// A host whose provider answers as the test says.
struct Host {
    native: Native,
    now_ms: Cell<u64>,
    drawn: Cell<u64>,
    secrets: RefCell<HashMap<String, Vec<u8>>>,
    stored: RefCell<HashMap<String, (StoredValue, u64)>>,
    versions: Cell<u64>,
    room: Cell<bool>,
    /// Entries that the store has room for.
    entries: Cell<usize>,
    served: RefCell<HashMap<String, Value>>,
    posts: RefCell<Vec<FormPost>>,
    answer: RefCell<Result<(u16, Value), String>>,
    lines: RefCell<Vec<String>>,
    /// What happens while the provider is asked.
    meanwhile: RefCell<Option<Meanwhile>>,
}

/// What other requests do while one waits.
type Meanwhile = Box<dyn FnOnce(&Host)>;

impl Verify for Host {
    fn import_key(&self, jwk: &str) -> Result<u32, String> {
        self.native.import_key(jwk)
    }
    fn verify(
        &self,
        key: u32,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.native.verify(key, algorithm, message, signature)
    }
    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        self.native.sha256(message)
    }
    fn drop_key(&self, key: u32) {
        self.native.drop_key(key);
    }
}

impl SharedStore for Host {
    fn read(&self, key: &str) -> Option<StoredValue> {
        let stored = self.stored.borrow();
        let (value, ends_ms) = stored.get(key)?;
        (self.now_ms.get() < *ends_ms).then(|| value.clone())
    }
    fn write(&self, key: &str, value: &[u8], ttl_ms: u32) -> Result<(), String> {
        let stored = self.stored.borrow();
        let fits = stored.contains_key(key) || stored.len() < self.entries.get();
        drop(stored);
        if !(self.room.get() && fits) {
            return Err("no room".to_owned());
        }
        let version = self.versions.replace(self.versions.get() + 1) + 1;
        let stored = StoredValue { value: value.to_vec(), version };
        let ends_ms = self.now_ms.get() + u64::from(ttl_ms);
        self.stored.borrow_mut().insert(key.to_owned(), (stored, ends_ms));
        Ok(())
    }
    fn remove(&self, key: &str) {
        self.stored.borrow_mut().remove(key);
    }
}

impl Fetch for Host {
    fn fetch(&self, url: &str) -> Result<FetchedResponse, String> {
        let served = self.served.borrow();
        let body = served.get(url).ok_or("no connection")?.to_string().into_bytes();
        Ok(FetchedResponse { status: 200, body })
    }
}

impl OidcHost for Host {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn random(&self, octets: u32) -> Vec<u8> {
        let drawn = self.drawn.replace(self.drawn.get() + 1);
        let seed = self.native.sha256(&drawn.to_be_bytes());
        seed.into_iter().cycle().take(octets as usize).collect()
    }
    fn derive(&self, secret: &str, label: &str) -> Result<Vec<u8>, String> {
        let secret = self.reveal(secret)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(hmac::sign(&key, label.as_bytes()).as_ref().to_vec())
    }
    fn reveal(&self, secret: &str) -> Result<Vec<u8>, String> {
        self.secrets.borrow().get(secret).cloned().ok_or_else(|| format!("no secret {secret}"))
    }
    fn post(&self, post: &FormPost) -> Result<FetchedResponse, String> {
        self.posts.borrow_mut().push(post.clone());
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self);
        }
        let (status, body) = self.answer.borrow().clone()?;
        Ok(FetchedResponse { status, body: body.to_string().into_bytes() })
    }
    fn swap(&self, key: &str, expect: u64, value: &[u8], ttl_ms: u32) -> Result<u64, SwapFault> {
        let stored = self.read(key);
        if stored.as_ref().map_or(0, |stored| stored.version) != expect {
            return Err(SwapFault::Changed(stored));
        }
        self.write(key, value, ttl_ms).map_err(|_| SwapFault::NoRoom)?;
        Ok(self.versions.get())
    }
    fn warn(&self, line: &str) {
        self.lines.borrow_mut().push(line.to_owned());
    }
}

/// A provider, a proxy with the filter, and a browser.
struct Scene {
    host: Host,
    key: EcdsaKeyPair,
    policy: OidcPolicy,
    reads: Vec<String>,
    refresher: ProviderRefresher,
}

/// A request of the browser.
#[derive(Clone)]
struct Asked {
    method: Method,
    fields: Vec<(String, Vec<u8>)>,
}

fn asked(path: &str) -> Asked {
    let asked = Asked { method: Method::Get, fields: Vec::new() };
    asked.with(":path", path).with(":authority", SITE).with("accept", "text/html,*/*;q=0.8")
}

impl Asked {
    fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }
    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(one, _)| one != name);
        self
    }
    fn by(mut self, method: Method) -> Self {
        self.method = method;
        self
    }
}

fn jwk(key: &EcdsaKeyPair, id: &str) -> Value {
    let point = key.public_key().as_ref();
    let part = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
    json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": part(&point[1..33]), "y": part(&point[33..]) })
}

fn settings() -> Value {
    json!({
        "issuer": ISSUER, "clientId": "shop", "redirectUrl": "https://shop.example/back",
        "cookieSecretNames": ["new", "old"], "algorithms": ["ES256"],
        "scopes": ["openid", "profile"],
        "claimsToHeaders": [{ "claim": "sub", "header": "X-User" }, { "claim": "groups", "header": "x-groups" }],
        "claimsToAttribute": ["sub", "email"],
        "logout": { "path": "/logout", "returnTo": "https://shop.example/bye", "sendIdToken": true },
    })
}

fn rules(settings: &Value) -> OidcRules {
    OidcRules::check(&Config::parse(&settings.to_string()).unwrap()).unwrap()
}

fn metadata() -> Value {
    json!({
        "issuer": ISSUER, "authorization_endpoint": "https://idp.example/login",
        "token_endpoint": "https://idp.example/token", "jwks_uri": "https://idp.example/keys",
        "end_session_endpoint": "https://idp.example/logout?a=b",
    })
}

fn scene() -> Scene {
    scene_of(&settings())
}

fn scene_of(settings: &Value) -> Scene {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let served = [
        (format!("{ISSUER}/.well-known/openid-configuration"), metadata()),
        ("https://idp.example/keys".to_owned(), json!({ "keys": [jwk(&key, "one")] })),
    ];
    let secrets = [("new", 3), ("old", 9)].map(|(name, octet)| (name.to_owned(), vec![octet; 32]));
    let host = Host {
        native: Native::default(),
        now_ms: Cell::new(NOW * 1000),
        drawn: Cell::new(0),
        secrets: RefCell::new(secrets.into()),
        stored: RefCell::default(),
        versions: Cell::new(0),
        room: Cell::new(true),
        entries: Cell::new(usize::MAX),
        served: RefCell::new(served.into()),
        posts: RefCell::default(),
        answer: RefCell::new(Err("nobody answers".to_owned())),
        lines: RefCell::default(),
        meanwhile: RefCell::default(),
    };
    let rules = rules(settings);
    let (reads, refresher) = (rules.interest().reads, ProviderRefresher::new(&rules));
    let mut scene = Scene { host, key, policy: OidcPolicy::new(rules), reads, refresher };
    scene.tick();
    scene
}

/// A redirect or a refusal, as the browser sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    reason: String,
    location: String,
    cookies: Vec<String>,
}

impl Scene {
    fn tick(&mut self) {
        let (failures, next_ms) = self.refresher.tick(self.host.now_ms(), &self.host);
        self.host.lines.borrow_mut().extend(failures);
        assert_eq!(next_ms, 1000);
    }

    fn wait_s(&self, seconds: u64) {
        self.host.now_ms.set(self.host.now_ms.get() + seconds * 1000);
    }

    fn decide(&mut self, asked: &Asked) -> OidcDecision {
        decide(&mut self.policy, &self.reads, &self.host, asked)
    }

    /// Another worker, for what happens while this one waits.
    fn worker(&self) -> impl FnMut(&Host, &Asked) -> OidcDecision + 'static {
        let (mut policy, reads) = (OidcPolicy::new(rules(&settings())), self.reads.clone());
        move |host, asked| decide(&mut policy, &reads, host, asked)
    }

    /// The answer of the filter.
    fn answer(&mut self, asked: &Asked) -> Seen {
        let decided = self.decide(asked);
        let reason = decided.decision.reason.unwrap_or_default();
        let request::Verdict::Answer(answer) = decided.decision.verdict else {
            panic!("it passes: {:?}", decided.decision.verdict)
        };
        let of = |name: &str| {
            let fields = answer.headers.iter().filter(|field| field.name == name);
            fields.map(|field| String::from_utf8(field.value.clone()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of("cache-control"), ["no-store"], "{answer:?}");
        let location = of("location").pop().unwrap_or_default();
        Seen { status: answer.status, reason, location, cookies: of("set-cookie") }
    }

    /// The edits and the cookies of a request that passes.
    fn pass(&mut self, asked: &Asked) -> (Vec<Edit>, Vec<String>) {
        let decided = self.decide(asked);
        let request::Verdict::Change(edits) = decided.decision.verdict else {
            panic!("it does not pass: {:?}", decided.decision)
        };
        (edits, decided.cookies)
    }

    /// The reason of a refusal, or `passes`.
    fn reason(&mut self, asked: &Asked) -> String {
        let decided = self.decide(asked);
        decided.decision.reason.unwrap_or_else(|| "passes".to_owned())
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(head), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// Claims of a token for the login with this nonce.
    fn claims(&self, nonce: &str) -> Value {
        let now = self.host.now_ms() / 1000;
        json!({
            "iss": ISSUER, "aud": "shop", "sub": "ada", "nonce": nonce, "iat": now, "exp": now + 300,
            "groups": ["a", "b"], "email": "ada@shop.example", "other": "not kept",
        })
    }

    /// Lets the token endpoint answer with these claims.
    fn answers(&self, claims: &Value, more: &Value) {
        let head = json!({ "alg": "ES256", "kid": "one" });
        let mut body = json!({ "token_type": "Bearer", "access_token": "access" });
        body["id_token"] = self.sign(&head, claims).into();
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        *self.host.answer.borrow_mut() = Ok((200, body));
    }

    /// A login that was begun: where the browser was sent, and the request that it comes back with.
    fn begun(&mut self, path: &str) -> (Seen, Asked) {
        let sent = self.answer(&asked(path));
        assert_eq!((sent.status, sent.reason.as_str()), (302, "oidc.login"));
        let state = parameter(&sent.location, "state");
        let back = asked(&format!("/back?code=abc&state={state}"));
        let back = back.with("cookie", cookie(&sent.cookies));
        (sent, back)
    }

    /// Logs in; returns the value of `cookie` of later requests.
    fn log_in(&mut self, more: &Value) -> String {
        let (sent, back) = self.begun("/page?a=b");
        let nonce = parameter(&sent.location, "nonce");
        self.answers(&self.claims(&nonce), more);
        let done = self.answer(&back);
        assert_eq!((done.status, done.reason.as_str()), (303, "oidc.logged-in"), "{done:?}");
        cookie(&done.cookies)
    }
}

fn decide(policy: &mut OidcPolicy, reads: &[String], host: &Host, asked: &Asked) -> OidcDecision {
    let fields: Vec<(&str, &[u8])> =
        asked.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let mut raw = packed(reads, &fields);
    raw.method = asked.method;
    policy.decide(View::new(&raw, reads), host)
}

/// The parameter of an address, decoded.
fn parameter(address: &str, name: &str) -> String {
    let (_, query) = address.split_once('?').unwrap();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(one, _)| one == name).unwrap_or_else(|| panic!("{address}: {name}")).1.into_owned()
}

/// The value of `cookie` that a browser sends after these lines.
fn cookie(lines: &[String]) -> String {
    let kept = lines.iter().filter(|line| !line.contains("Max-Age=0;"));
    kept.map(|line| line.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_login_ends_with_a_session_that_the_upstream_knows_by_its_claims_alone() {
    let mut scene = scene();
    let (sent, back) = scene.begun("/page?a=b");
    assert!(sent.location.starts_with("https://idp.example/login?response_type=code&"));
    for (name, value) in [
        ("client_id", "shop"),
        ("redirect_uri", "https://shop.example/back"),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(&sent.location, name), value);
    }
    let [line] = &sent.cookies[..] else { panic!("{sent:?}") };
    assert!(line.starts_with("__Host-oidc-login-"), "{line}");
    assert!(line.ends_with("; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"), "{line}");

    let nonce = parameter(&sent.location, "nonce");
    scene.answers(&scene.claims(&nonce), &json!({}));
    let done = scene.answer(&back);
    assert_eq!(done.location, "https://shop.example/page?a=b");
    let posts = scene.host.posts.take();
    let [post] = &posts[..] else { panic!("{posts:?}") };
    let form = format!("?{}", post.form);
    assert_eq!(post.url, "https://idp.example/token");
    assert_eq!(
        (parameter(&form, "code"), parameter(&form, "client_id")),
        ("abc".into(), "shop".into())
    );
    assert_eq!(parameter(&form, "redirect_uri"), "https://shop.example/back");
    let challenge = scene.host.sha256(parameter(&form, "code_verifier").as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(challenge), parameter(&sent.location, "code_challenge"));
    let line = &done.cookies[0];
    assert!(line.starts_with("__Host-oidc=1."), "{line}");
    assert!(line.ends_with("; Max-Age=28800; Path=/; Secure; HttpOnly; SameSite=Lax"), "{line}");
    assert!(done.cookies[1].contains("-login-") && done.cookies[1].contains("=; Max-Age=0;"));

    let kept = cookie(&done.cookies);
    let (checks, _) = scene.host.native.take_counts();
    assert_eq!(checks, 1, "the signature of the ID token");
    let next = asked("/x").with("cookie", format!("theme=dark; {kept}; odd; b=\"1;2\""));
    let (edits, cookies) = scene.pass(&next);
    assert_eq!(cookies, Vec::<String>::new());
    let attribute = r#"{"sub":"ada","email":"ada@shop.example"}"#;
    assert_eq!(
        edits,
        [
            Edit::set("cookie", "theme=dark; odd; b=\"1; 2\""),
            Edit::set("x-user", "ada"),
            Edit::set("x-groups", "a b"),
            Edit::attribute("jwt.claims", attribute),
        ]
    );
    let (edits, _) = scene.pass(&asked("/x").with("cookie", &kept));
    assert_eq!(edits[0], Edit::remove("cookie"));
    assert_eq!(scene.host.native.take_counts(), (0, 0), "a session costs no call of cryptography");
    scene.wait_s(8 * 3600);
    assert_eq!(scene.reason(&asked("/x").with("cookie", &kept)), "oidc.login");
    let script = asked("/x").with("cookie", &kept).with("sec-fetch-mode", "cors");
    assert_eq!(scene.reason(&script), "oidc.session-expired");
}

#[test]
fn a_secret_of_the_client_goes_where_the_configuration_says() {
    let mut settings = settings();
    settings["clientId"] = "sh op".into();
    settings["clientSecretName"] = "client".into();
    for (how, authorization, form) in [("basic", true, false), ("post", false, true)] {
        settings["clientAuthentication"] = how.into();
        let mut scene = scene_of(&settings);
        scene.host.secrets.borrow_mut().insert("client".to_owned(), b"s:e%c\n".to_vec());
        let (sent, back) = scene.begun("/");
        let mut claims = scene.claims(&parameter(&sent.location, "nonce"));
        claims["aud"] = "sh op".into();
        scene.answers(&claims, &json!({}));
        assert_eq!(scene.answer(&back).reason, "oidc.logged-in", "{how}");
        let post = scene.host.posts.take().remove(0);
        // `sh+op:s%3Ae%25c`
        let basic = authorization.then(|| "Basic c2grb3A6cyUzQWUlMjVj".to_owned());
        assert_eq!(
            (post.authorization, post.form.contains("client_secret=s%3Ae%25c")),
            (basic, form)
        );
    }
}

#[test]
fn without_the_need_of_a_session_requests_pass_without_claims() {
    let mut settings = settings();
    settings["optionalPaths"] = json!(["/open", "/a/b/"]);
    let mut scene = scene_of(&settings);
    let kept = scene.log_in(&json!({}));
    // People are known there too.
    for (cookie, known) in [(kept.as_str(), true), ("__Host-oidc=1.x; a=b", false), ("a=b", false)]
    {
        let (edits, _) = scene.pass(&asked("/open").with("cookie", cookie).with("x-user", "root"));
        let user = if known { Edit::set("x-user", "ada") } else { Edit::remove("x-user") };
        assert!(edits.contains(&user), "{cookie}: {edits:?}");
        let attribute = edits.iter().any(|edit| matches!(edit, Edit::SetAttribute(_)));
        assert_eq!(attribute, known, "{cookie}");
        let sealed = format!("{edits:?}").contains("__Host-oidc");
        assert!(!sealed, "{cookie}: {edits:?}");
    }
    // A logout counts there at once.
    let form = asked("/logout").by(Method::Post).with("origin", "https://shop.example");
    assert_eq!(scene.answer(&form.with("cookie", &kept)).reason, "oidc.logout");
    let (edits, _) = scene.pass(&asked("/open").with("cookie", &kept));
    assert!(edits.contains(&Edit::remove("x-user")), "{edits:?}");
    assert_eq!(scene.reason(&asked("/x").with("cookie", &kept)), "oidc.login");
}

#[test]
fn a_path_is_optional_only_where_each_reader_finds_it_there() {
    let scene_with = |paths: &Value| {
        let mut settings = settings();
        settings["optionalPaths"] = paths.clone();
        scene_of(&settings)
    };
    let mut scene = scene_with(&json!(["/open", "/a/b/"]));
    for path in [
        "/open",
        "/open/",
        "/open?x=/../..",
        "/open/x.html",
        "/open/...",
        "/open/.well-known/x",
        "/open/%20a/%C3%A4",
        "/open/a@b:c,d=e",
        "/a/b",
        "/a/b/c",
    ] {
        assert_eq!(scene.reason(&asked(path)), "passes", "{path}");
    }
    for path in [
        "/",
        "/x",
        "/opening",
        "/Open",
        "/open%2fx",
        "/open/..",
        "/open/../x",
        "/open/./x",
        "/open/.",
        "/open//x",
        "//open",
        "/open/%2e%2e/x",
        "/open/%2E./x",
        "/open/%252e%252e/x",
        "/open/%5c../x",
        "/open/..\\x",
        "/open/..;/x",
        "/open/;x",
        "/open/%3b",
        "/open/%3f",
        "/open/%00",
        "/open/%",
        "/open/%a",
        "/open/%zz",
        "/open/%+1",
        "/open#x",
        "/a",
        "/a/bc",
        "open",
        "*",
        "",
    ] {
        assert_eq!(scene.reason(&asked(path)), "oidc.login", "{path}");
    }
    let mut all = scene_with(&json!(["/"]));
    assert_eq!(all.reason(&asked("/any/page")), "passes");
    assert_eq!(all.reason(&asked("/")), "passes");
    assert_eq!(all.reason(&asked("/any/../page")), "oidc.login");
    let mut none = scene_with(&json!([]));
    assert_eq!(none.reason(&asked("/")), "oidc.login");
}
