//! The decision about one request.

use serde_json::{Map, Value};
use tamis_jose::claims::header_value;
use tamis_sdk::{Edit, Reply, View, reply, request};

use crate::browser;
use crate::callback;
use crate::config::{CLAIMS, OidcRules};
use crate::cookies::{COOKIE, Cookies, PresentedSession};
use crate::host::OidcHost;
use crate::login;
use crate::logout;
use crate::provider::Provider;
use crate::refusal::OidcRefusal;
use crate::renewal::{self, CheckedSession};
use crate::seal::Sealer;
use crate::session::{OidcSession, SessionFault};

/// Rules, keys and the provider as one instance knows them.
#[derive(Debug)]
pub struct OidcPolicy {
    rules: OidcRules,
    sealer: Sealer,
    provider: Provider,
}

/// A decision, and the lines that the response to the request carries in `set-cookie`.
#[derive(Debug)]
pub struct OidcDecision {
    /// About the request.
    pub decision: request::Decision,
    /// For the response of the upstream; an answer of this filter has its own.
    pub cookies: Vec<String>,
}

impl From<request::Decision> for OidcDecision {
    fn from(decision: request::Decision) -> Self {
        Self { decision, cookies: Vec::new() }
    }
}

impl OidcPolicy {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: OidcRules) -> Self {
        // A session of another provider, client or site does not open here, even with the same secret. Endpoints are part of
        // the key: whoever writes endpoints decides who the issuer is, whatever its name.
        let endpoints = rules.endpoints.as_ref();
        let endpoints =
            endpoints.map(|it| format!("\n{}\n{}\n{}", it.authorization, it.token, it.jwks));
        let context = format!(
            "{}\n{}\n{}{}",
            rules.issuer,
            rules.client_id,
            rules.callback.origin,
            endpoints.unwrap_or_default()
        );
        let sealer = Sealer::new(&rules.cookie_secrets, context);
        let provider = Provider::new(&rules);
        Self { rules, sealer, provider }
    }

    /// Decides about a request.
    pub fn decide<H: OidcHost>(&mut self, seen: View<'_>, host: &H) -> OidcDecision {
        if let Err(why) = self.sealer.look(host) {
            host.warn(&format!("no session can be opened: {why}"));
            return refuse(OidcRefusal::NoKey).into();
        }
        self.provider.look(host.now_ms(), host);
        let path = seen.path().unwrap_or("/");
        let (page, query) = path.split_once('?').unwrap_or((path, ""));
        if page == self.rules.callback.path {
            return self.finish_login(seen, query, host).into();
        }
        if let Some(logout) = self.rules.logout.as_ref().filter(|logout| logout.path == page) {
            let ended = logout::end(&self.rules, logout, &self.provider, &self.sealer, seen, host);
            return ended.map_or_else(refuse, logged_out).into();
        }
        match self.session(seen, host) {
            Ok(standing) => self.pass(seen, standing, host),
            Err(refusal) => self.without_session(seen, (path, page), refusal, host),
        }
    }

    /// The session of a request, confirmed.
    fn session<H: OidcHost>(
        &mut self,
        seen: View<'_>,
        host: &H,
    ) -> Result<CheckedSession, OidcRefusal> {
        let sealed = match self.rules.cookies.session(&Cookies::of(seen)) {
            PresentedSession::None => return Err(OidcRefusal::NoSession),
            PresentedSession::Broken => return Err(OidcRefusal::SessionInvalid),
            PresentedSession::Whole(sealed) => sealed,
        };
        let session = OidcSession::open(&self.sealer, &sealed, host.now_ms());
        let session = session.map_err(|fault| match fault {
            SessionFault::Invalid => OidcRefusal::SessionInvalid,
            SessionFault::Expired => OidcRefusal::SessionExpired,
        })?;
        renewal::confirm(&self.rules, &mut self.provider, &self.sealer, session, host)
    }

    fn pass<H: OidcHost>(
        &self,
        seen: View<'_>,
        standing: CheckedSession,
        host: &H,
    ) -> OidcDecision {
        let present = Cookies::of(seen);
        let (session, renewed) = match standing {
            CheckedSession::Same(session) => (session, false),
            CheckedSession::Newer(session) => (session, true),
        };
        let mut cookies = Vec::new();
        if renewed {
            let left_s = session.left_s(host.now_ms());
            let sealed = session.seal(&self.sealer, host);
            let names = &self.rules.cookies;
            let lines = sealed.and_then(|it| names.set_session(&it, left_s, &present));
            // The old cookie stays valid for as long as the provider said.
            cookies = lines.unwrap_or_else(|| {
                host.warn("a renewed session does not fit into cookies");
                Vec::new()
            });
        }
        let edits = self.edits(&present, Some(&session.claims));
        OidcDecision { decision: request::Decision::change(edits), cookies }
    }

    fn without_session<H: OidcHost>(
        &self,
        seen: View<'_>,
        (path, page): (&str, &str),
        refusal: OidcRefusal,
        host: &H,
    ) -> OidcDecision {
        let present = Cookies::of(seen);
        if refusal.status() != 401 {
            return refuse_to(seen, refusal).into();
        }
        if self.rules.is_optional(page) {
            return request::Decision::change(self.edits(&present, None)).into();
        }
        if browser::navigates(seen) {
            return self.begin_login(seen, path, &present, host).into();
        }
        let mut answer = answer(refusal).header("www-authenticate", "OpenIDConnect");
        for line in self.rules.cookies.remove_session(&present) {
            answer = answer.header("set-cookie", line);
        }
        request::Decision::answer(answer).because(refusal.reason()).into()
    }

    fn begin_login<H: OidcHost>(
        &self,
        seen: View<'_>,
        path: &str,
        present: &Cookies<'_>,
        host: &H,
    ) -> request::Decision {
        // The cookie of a login is for this host alone, and the provider sends the browser to the one of the callback.
        if !self.rules.callback.is_at(seen.authority().unwrap_or_default()) {
            return refuse(OidcRefusal::WrongHost);
        }
        let Some(endpoints) = self.provider.endpoints() else {
            return refuse(OidcRefusal::NoProvider);
        };
        match login::begin(&self.rules, endpoints, &self.sealer, path, present, host) {
            Some(login) => redirect(302, &login, "oidc.login"),
            None => refuse(OidcRefusal::NoKey),
        }
    }

    fn finish_login<H: OidcHost>(
        &mut self,
        seen: View<'_>,
        query: &str,
        host: &H,
    ) -> request::Decision {
        // A login is finished where it began: at the one host of the callback.
        if !self.rules.callback.is_at(seen.authority().unwrap_or_default()) {
            return refuse(OidcRefusal::WrongHost);
        }
        let (rules, sealer) = (&self.rules, &self.sealer);
        let finished = callback::finish(rules, &mut self.provider, sealer, seen, query, host);
        let refused = match finished {
            Ok(login) => return redirect(303, &login, "oidc.logged-in"),
            Err(refused) => refused,
        };
        // Somebody who goes back to the page of a login that is finished has a session, and wants to use it.
        if matches!(refused.refusal, OidcRefusal::LoginUnknown | OidcRefusal::Replayed)
            && self.session(seen, host).is_ok()
        {
            let location = format!("{}/", self.rules.callback.origin);
            let home = login::LoginRedirect { location, cookies: refused.cookies };
            return redirect(303, &home, "oidc.logged-in");
        }
        let mut answer = answer(refused.refusal);
        for line in refused.cookies {
            answer = answer.header("set-cookie", line);
        }
        request::Decision::answer(answer).because(refused.refusal.reason())
    }

    /// What the upstream receives: other cookies than those of this filter, and claims. What a client wrote in their place
    /// is replaced or removed.
    fn edits(&self, present: &Cookies<'_>, claims: Option<&Map<String, Value>>) -> Vec<Edit> {
        let mut edits = Vec::new();
        match self.rules.cookies.others(present) {
            None => {}
            Some(others) if others.is_empty() => edits.push(Edit::remove(COOKIE)),
            Some(others) => edits.push(Edit::set(COOKIE, others)),
        }
        for carried in &self.rules.claims_to_headers {
            let claim = claims.and_then(|claims| claims.get(&carried.claim));
            let value = claim.and_then(|claim| header_value(claim).ok().flatten());
            edits.push(match value {
                Some(value) => Edit::set(carried.header.as_str(), value),
                None => Edit::remove(carried.header.as_str()),
            });
        }
        if let Some(claims) = claims
            && !self.rules.claims_to_attribute.is_empty()
        {
            let named = |name: &String| Some((name.clone(), claims.get(name)?.clone()));
            let named = self.rules.claims_to_attribute.iter().filter_map(named).collect();
            edits.push(Edit::attribute(CLAIMS, Value::Object(named).to_string()));
        }
        edits
    }
}

fn answer(refusal: OidcRefusal) -> Reply {
    let answer = reply(refusal.status())
        .header("cache-control", "no-store")
        .header("referrer-policy", "no-referrer");
    let answer = if refusal.status() == 503 { answer.header("retry-after", "1") } else { answer };
    answer.text(format!("{refusal}\n"))
}

fn refuse(refusal: OidcRefusal) -> request::Decision {
    request::Decision::answer(answer(refusal)).because(refusal.reason())
}

/// As [`refuse`]; a page is loaded again by itself where a moment helps.
fn refuse_to(seen: View<'_>, refusal: OidcRefusal) -> request::Decision {
    let mut answer = answer(refusal);
    if refusal == OidcRefusal::Renewing && browser::navigates(seen) {
        answer = answer.header("refresh", "1");
    }
    request::Decision::answer(answer).because(refusal.reason())
}

/// The code in the address of a callback, and what a login returns to, are for nobody else: neither caches nor the page of the
/// next address see them.
fn redirect(status: u16, to: &login::LoginRedirect, reason: &str) -> request::Decision {
    let mut answer = reply(status)
        .header("location", to.location.as_str())
        .header("cache-control", "no-store")
        .header("referrer-policy", "no-referrer");
    for line in &to.cookies {
        answer = answer.header("set-cookie", line.as_str());
    }
    request::Decision::answer(answer).because(reason)
}

fn logged_out(ended: logout::EndedSession) -> request::Decision {
    let reason = "oidc.logout";
    if let Some(location) = ended.location {
        let to = login::LoginRedirect { location, cookies: ended.cookies };
        return redirect(303, &to, reason);
    }
    let mut answer = reply(200).header("cache-control", "no-store");
    for line in ended.cookies {
        answer = answer.header("set-cookie", line);
    }
    request::Decision::answer(answer.text("you are logged out here\n")).because(reason)
}
