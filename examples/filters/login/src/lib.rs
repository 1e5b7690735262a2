//! Sends a browser without a session to a login page, and gives it a session when it comes back: the shape of an
//! OpenID Connect code flow, with a `state` that only this browser can bring back.
//!
//! The session is a cookie that the proxy signs with a secret which the filter never sees. A real deployment also
//! checks the identity token of the provider; here the token endpoint says who it is in one line of text.

mod cookie;

use cookie::{found, set};
use tamis_sdk::{
    ConfigError, Edit, Filter, Interest, Request, View, clock, http_client, log_panics, random,
    reply, request, secrets,
};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoginSettings {
    /// Login page of the provider, without a query.
    authorize: String,
    /// Its token endpoint.
    token: String,
    client_id: String,
    /// Absolute URL of this site's `/callback`, as the provider knows it.
    redirect: String,
    /// Length of a session.
    session_seconds: u64,
}

/// The filter.
#[derive(Debug)]
pub struct Login(LoginSettings);

const SECRET: &str = "login";
const SESSION: &str = "__Host-session";
const STATE: &str = "__Host-login";
const CALLBACK: &str = "/callback";
/// How long a login may take.
const LOGIN_SECONDS: u64 = 600;
const TIMEOUT_MS: u32 = 2_000;

impl Filter for Login {
    type Settings = LoginSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "authorize": { "type": "string" },
            "token": { "type": "string" },
            "clientId": { "type": "string" },
            "redirect": { "type": "string" },
            "sessionSeconds": { "type": "integer", "minimum": 1 }
        },
        "required": ["authorize", "token", "clientId", "redirect", "sessionSeconds"],
        "additionalProperties": false
    }"#;

    fn configure(settings: LoginSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let interest = Interest::reading([":path", "cookie"]).writing(["x-user", "cookie"]);
        Ok((Self(settings), interest))
    }
}

impl Request for Login {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let Ok(secret) = secrets::open(SECRET) else {
            return refused(503, "login.no-secret");
        };
        let path = seen.path().unwrap_or("/");
        let (path_only, query) = path.split_once('?').unwrap_or((path, ""));
        let cookies = seen.text("cookie").unwrap_or_default();
        if path_only == CALLBACK {
            return self.back(secret, query, cookies);
        }
        match found(cookies, SESSION).and_then(|session| opened(secret, "session", session)) {
            Some(user) => request::Decision::change(vec![
                Edit::set("x-user", user),
                // The service needs no key to the sessions of its users.
                Edit::remove("cookie"),
            ]),
            None => self.away(secret, path),
        }
    }
}

impl Login {
    /// To the login page, with a state that is also in a cookie of this browser.
    fn away(&self, secret: u32, path: &str) -> request::Decision {
        let nonce = hex(&random::octets(16));
        let state = sealed(secret, "state", &format!("{nonce}|{path}"), LOGIN_SECONDS);
        let location = format!(
            "{}?response_type=code&client_id={}&redirect_uri={}&state={nonce}",
            self.0.authorize,
            escaped(&self.0.client_id),
            escaped(&self.0.redirect)
        );
        request::Decision::answer(
            reply(302)
                .header("location", location)
                .header("cache-control", "no-store")
                .header("set-cookie", set(STATE, &state, LOGIN_SECONDS)),
        )
        .because("login.sent-away")
    }

    /// The browser comes back from the login: the state must be that of this browser, and the code must name a user.
    fn back(&self, secret: u32, query: &str, cookies: &str) -> request::Decision {
        let value = |name: &str| {
            query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name))
        };
        let kept = found(cookies, STATE).and_then(|state| opened(secret, "state", state));
        let Some((nonce, path)) = kept.as_deref().and_then(|kept| kept.split_once('|')) else {
            return refused(400, "login.no-state");
        };
        if value("state").is_none_or(|(_, state)| state != nonce) {
            return refused(400, "login.wrong-state");
        }
        let Some((_, code)) = value("code") else { return refused(400, "login.no-code") };
        let question = http_client::Outgoing {
            method: "POST".to_owned(),
            url: self.0.token.clone(),
            headers: Vec::new(),
            body: format!(
                "grant_type=authorization_code&code={code}&client_id={}&redirect_uri={}",
                escaped(&self.0.client_id),
                escaped(&self.0.redirect)
            )
            .into_bytes(),
            timeout_ms: TIMEOUT_MS,
        };
        let user = match http_client::send(&question) {
            Ok(answer) if answer.status == 200 => {
                String::from_utf8_lossy(&answer.body).trim().to_owned()
            }
            Ok(_) => return refused(403, "login.code-refused"),
            Err(_) => return refused(503, "login.provider-unreachable"),
        };
        let session = sealed(secret, "session", &user, self.0.session_seconds);
        request::Decision::answer(
            reply(302)
                .header("location", path)
                .header("cache-control", "no-store")
                .header("set-cookie", set(SESSION, &session, self.0.session_seconds))
                .header("set-cookie", set(STATE, "", 0)),
        )
        .because("login.done")
    }
}

fn refused(status: u16, reason: &str) -> request::Decision {
    request::Decision::answer(reply(status).text("the login failed; begin again\n")).because(reason)
}

/// A value with an end and a signature: `hex(value).end.hex(hmac)`. `what` keeps a state from being a session.
fn sealed(secret: u32, what: &str, value: &str, seconds: u64) -> String {
    let end = clock::unix_ms() / 1_000 + seconds;
    let text = format!("{}.{end}", hex(value.as_bytes()));
    let mac = secrets::hmac_sha256(secret, format!("{what}:{text}").as_bytes());
    format!("{text}.{}", hex(&mac))
}

/// The value again, if it was sealed here and its time is not over.
fn opened(secret: u32, what: &str, sealed: &str) -> Option<String> {
    let (text, mac) = sealed.rsplit_once('.')?;
    let right = hex(&secrets::hmac_sha256(secret, format!("{what}:{text}").as_bytes()));
    // In constant time: all bytes are compared.
    let differs = right.bytes().zip(mac.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    if differs != 0 || right.len() != mac.len() {
        return None;
    }
    let (value, end) = text.split_once('.')?;
    let end: u64 = end.parse().ok()?;
    (clock::unix_ms() / 1_000 < end).then(|| unhex(value)).flatten()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let pairs = text.as_bytes().chunks_exact(2);
    let octets: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(octets?).ok()
}

/// For a query (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

tamis_sdk::export_authorizer!(Login);
