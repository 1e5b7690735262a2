//! Responses to the calls of a filter (`http-client`), kept and used again by the rules of its grant.

use crate::{CallCacheGrant, FetchRequest, FetchResponse, FetchTarget};
use aws_lc_rs::digest;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Headers of one caller alone, and of a part of a response: a request that has one is kept only where the grant names it.
const TELLING: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "range"];
/// Memory of a response besides its octets.
const OVERHEAD: usize = 128;

/// What distinguishes one response from another, as a hash: clients may choose parts of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ResponseKey([u8; 32]);

impl ResponseKey {
    /// The key of a request whose response may be kept; `None`: it may not. Every header of the request is a part of it: a
    /// server may answer by any of them, such as `x-api-key`, and need not say so in `vary`.
    pub(crate) fn of(request: &FetchRequest, rules: &CallCacheGrant) -> Option<Self> {
        let safe = matches!(request.method.as_str(), "GET" | "HEAD") && request.body.is_empty();
        let named = |name: &str| rules.headers.iter().any(|one| one.eq_ignore_ascii_case(name));
        let told = |name: &str| TELLING.contains(&name) && !named(name);
        if !safe || request.headers.iter().any(|(name, _)| told(name)) {
            return None;
        }
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |part: &[u8]| {
            // With its length, so that no two lists of parts are the same octets.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        };
        add(request.method.as_bytes());
        add(request.url.as_bytes());
        match &request.target {
            FetchTarget::Host { ca } => add(ca.as_deref().unwrap_or_default().as_bytes()),
            FetchTarget::Service { service, .. } => add(service.as_bytes()),
        }
        for (name, value) in &request.headers {
            add(name.as_bytes());
            add(value);
        }
        context.finish().as_ref().try_into().ok().map(Self)
    }
}

/// The responses of an attachment.
#[derive(Debug, Default)]
pub(crate) struct KeptResponses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: HashMap<ResponseKey, KeptResponse>,
    /// In the order in which they came, each with the number that it had; some are gone or replaced by now.
    order: VecDeque<(ResponseKey, u64)>,
    octets: usize,
    last_number: u64,
}

#[derive(Debug)]
struct KeptResponse {
    response: FetchResponse,
    since: Instant,
    /// How long it may be used.
    life: Duration,
    number: u64,
}

impl KeptResponses {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response to such a request that is still good, with its age (RFC 9111 §5.1).
    pub(crate) fn find(
        &self,
        key: ResponseKey,
        rules: &CallCacheGrant,
        now: Instant,
    ) -> Option<FetchResponse> {
        let inner = self.lock();
        let kept = inner.kept.get(&key)?;
        let age = now.saturating_duration_since(kept.since);
        if age >= kept.life.min(Duration::from_millis(rules.ttl_ms)) {
            return None;
        }
        let mut response = kept.response.clone();
        response.headers.retain(|(name, _)| name != "age");
        response.headers.push(("age".to_owned(), age.as_secs().to_string().into_bytes()));
        Some(response)
    }

    /// Keeps a response if its server lets it, in place of the oldest ones where there is no room.
    pub(crate) fn keep(
        &self,
        key: ResponseKey,
        response: &FetchResponse,
        rules: &CallCacheGrant,
        now: Instant,
    ) {
        let Some(life) = life(response, rules) else { return };
        let size = size(response);
        if size > rules.total_bytes || rules.entries == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.take(key);
        while inner.kept.len() >= rules.entries
            || inner.octets.saturating_add(size) > rules.total_bytes
        {
            let Some((oldest, number)) = inner.order.pop_front() else { return };
            if inner.kept.get(&oldest).is_some_and(|kept| kept.number == number) {
                inner.take(oldest);
            }
        }
        inner.last_number = inner.last_number.saturating_add(1);
        let number = inner.last_number;
        inner.octets = inner.octets.saturating_add(size);
        let response = response.clone();
        inner.kept.insert(key, KeptResponse { response, since: now, life, number });
        inner.order.push_back((key, number));
        inner.tidy();
    }
}

impl Inner {
    fn take(&mut self, key: ResponseKey) {
        if let Some(kept) = self.kept.remove(&key) {
            self.octets = self.octets.saturating_sub(size(&kept.response));
        }
    }

    /// Forgets the places of what was replaced once there are as many of them as of what is kept.
    fn tidy(&mut self) {
        if self.order.len() > self.kept.len().saturating_mul(2).saturating_add(16) {
            let kept = &self.kept;
            self.order
                .retain(|(key, number)| kept.get(key).is_some_and(|one| one.number == *number));
        }
    }
}

fn size(response: &FetchResponse) -> usize {
    let fields =
        response.headers.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    fields.fold(response.body.len().saturating_add(OVERHEAD), usize::saturating_add)
}

/// How long a response may be used again; `None`: not at all. Errors are never kept, and a server can only shorten what the
/// grant says (RFC 9111 §3, §5.2.2).
fn life(response: &FetchResponse, rules: &CallCacheGrant) -> Option<Duration> {
    if !(200..300).contains(&response.status) || response.status == 206 {
        return None;
    }
    let values = |name: &'static str| {
        let fields = response.headers.iter().filter(move |(known, _)| known == name);
        let texts = fields.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
        texts.flat_map(|text| {
            text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<String>>()
        })
    };
    let named = |name: &String| rules.headers.iter().any(|one| one.eq_ignore_ascii_case(name));
    let varies = values("vary").any(|name| name == "*" || !named(&name));
    if varies || values("set-cookie").next().is_some() {
        return None;
    }
    let mut life = Duration::from_millis(rules.ttl_ms);
    let aged = values("age").filter_map(|age| age.parse().ok()).max().unwrap_or(0_u64);
    for directive in values("cache-control") {
        let (name, value) = directive.split_once('=').unwrap_or((&directive, ""));
        match name {
            "no-store" | "no-cache" | "private" => return None,
            "max-age" | "s-maxage" => {
                let seconds = value.trim_matches('"').parse::<u64>().unwrap_or(0);
                life = life.min(Duration::from_secs(seconds.saturating_sub(aged)));
            }
            _ => {}
        }
    }
    (!life.is_zero()).then_some(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> FetchRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        FetchRequest {
            method: method.into(),
            url: url.into(),
            headers: headers.collect(),
            body: vec![],
            timeout: Duration::from_secs(1),
            max_bytes: 100,
            target: FetchTarget::Host { ca: None },
        }
    }

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> FetchResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        FetchResponse { status, headers: headers.collect(), body: body.into() }
    }

    fn rules(ttl_ms: u64, headers: &[&str]) -> CallCacheGrant {
        let headers = headers.iter().map(ToString::to_string).collect();
        CallCacheGrant { ttl_ms, headers, ..CallCacheGrant::default() }
    }

    #[test]
    fn what_a_server_answers_in_another_way_has_another_key_or_none() {
        let rules = rules(1_000, &["Accept", "authorization"]);
        let key = |request: &FetchRequest| ResponseKey::of(request, &rules);
        let plain = request("GET", "https://a/1", &[]);
        let of = |headers| key(&request("GET", "https://a/1", headers));
        let others = [
            // Nobody named it, and a server may answer by it.
            of(&[("x-api-key", "a")]),
            of(&[("x-api-key", "b")]),
            of(&[("x-api-key", "a"), ("x-tenant", "a")]),
            of(&[("x-api", "key"), ("a", "")]),
            of(&[("traceparent", "00-1")]),
            of(&[("accept", "a")]),
            of(&[("accept", "b")]),
            of(&[("accept", "a"), ("accept", "b")]),
            of(&[("accept", "ab")]),
            of(&[("authorization", "a")]),
            key(&request("HEAD", "https://a/1", &[])),
            key(&request("GET", "https://a/1?x", &[])),
            key(&FetchRequest {
                target: FetchTarget::Host { ca: Some("PEM".into()) },
                ..plain.clone()
            }),
            key(&FetchRequest {
                target: FetchTarget::Service { service: "a/b".into(), port: None },
                ..plain.clone()
            }),
            key(&plain),
        ];
        let different: std::collections::HashSet<_> = others.iter().collect();
        assert_eq!((different.len(), others.iter().all(Option::is_some)), (others.len(), true));
        let (one, other) = (("accept", "a"), ("x-api-key", "b"));
        assert_eq!(of(&[one, other]), of(&[one, other]), "the same request has the same key");
        for none in [
            request("POST", "https://a/1", &[]),
            request("DELETE", "https://a/1", &[]),
            request("GET", "https://a/1", &[("cookie", "a=1")]),
            request("GET", "https://a/1", &[("proxy-authorization", "Basic YTpi")]),
            request(
                "GET",
                "https://a/1",
                &[("accept", "a"), ("proxy-authorization", "Basic YTpi")],
            ),
            request("GET", "https://a/1", &[("range", "bytes=0-1")]),
            FetchRequest { body: vec![1], ..plain },
        ] {
            assert_eq!(key(&none), None, "{none:?}");
        }
    }

    #[test]
    fn a_response_is_kept_as_long_as_grant_and_server_say() {
        let rules = rules(10_000, &["accept"]);
        for (status, headers, seconds) in [
            (200, &[][..], 10),
            (204, &[], 10),
            (299, &[("cache-control", "public")], 10),
            (200, &[("cache-control", "max-age=3")], 3),
            (200, &[("cache-control", "Max-Age=3, s-maxage=\"2\"")], 2),
            (200, &[("cache-control", "max-age=3"), ("age", "1")], 2),
            (200, &[("cache-control", "max-age=3600")], 10),
            (200, &[("cache-control", "max-age=soon")], 0),
            (200, &[("cache-control", "max-age=3"), ("age", "3")], 0),
            (200, &[("cache-control", "no-store")], 0),
            (200, &[("cache-control", "max-age=3, private")], 0),
            (200, &[("cache-control", "no-cache")], 0),
            (200, &[("vary", "Accept")], 10),
            (200, &[("vary", "accept, accept-language")], 0),
            (200, &[("vary", "*")], 0),
            (200, &[("set-cookie", "a=1")], 0),
            (206, &[], 0),
            (301, &[], 0),
            (403, &[], 0),
            (404, &[], 0),
            (503, &[], 0),
        ] {
            let found = life(&response(status, headers, ""), &rules).unwrap_or_default();
            assert_eq!(found, Duration::from_secs(seconds), "{status} {headers:?}");
        }
    }

    #[test]
    fn what_is_kept_ends_and_has_its_room() {
        let (store, now) = (KeptResponses::default(), Instant::now());
        let mut rules = rules(1_000, &[]);
        rules.entries = 2;
        let key = |n: usize| {
            let request = request("GET", &format!("https://a/{n}"), &[]);
            ResponseKey::of(&request, &CallCacheGrant::default()).unwrap()
        };
        let at = |ms| now + Duration::from_millis(ms);
        let found = |n: usize, rules: &CallCacheGrant, ms| store.find(key(n), rules, at(ms));
        store.keep(key(1), &response(200, &[("age", "7")], "one"), &rules, now);
        let first = found(1, &rules, 999).unwrap();
        assert_eq!(
            (first.body.as_slice(), &first.headers[..]),
            (&b"one"[..], &[("age".to_owned(), b"0".to_vec())][..])
        );
        assert_eq!(found(1, &rules, 1_000), None, "its time is over");
        let shorter = CallCacheGrant { ttl_ms: 100, ..rules.clone() };
        assert_eq!(found(1, &shorter, 100), None, "a grant that says less holds at once");
        // The oldest makes room, whatever was replaced meanwhile.
        for n in [2, 1, 1, 1, 3] {
            store.keep(key(n), &response(200, &[], "two"), &rules, now);
        }
        let there: Vec<bool> = (1..=3).map(|n| found(n, &rules, 1).is_some()).collect();
        assert_eq!(there, [true, false, true]);
        for _ in 0..1_000 {
            store.keep(key(1), &response(200, &[], "again"), &rules, now);
        }
        assert!(store.lock().order.len() < 100);
        // Neither of them fits beside the long one, and what is longer than all is not kept.
        rules.total_bytes = 1_000;
        store.keep(key(4), &response(200, &[], &"a".repeat(800)), &rules, now);
        store.keep(key(5), &response(200, &[], &"a".repeat(1_001)), &rules, now);
        let there: Vec<bool> = (1..=5).map(|n| found(n, &rules, 1).is_some()).collect();
        assert_eq!(there, [false, false, false, true, false]);
        assert!(store.lock().octets <= 1_000);
    }
}
