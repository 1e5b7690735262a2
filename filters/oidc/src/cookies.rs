//! Cookies (RFC 6265): those of this filter are found, written, and removed from what the upstream receives.

use tamis_sdk::{Edit, View};

/// The header of a request with cookies.
pub const COOKIE: &str = "cookie";
/// The header of a response with cookies.
pub const SET_COOKIE: &str = "set-cookie";
/// Headers that say whether caches keep a response. The last two count instead of the first, for the caches of a site that
/// know them (RFC 9213 §2.2, Edge Architecture Specification).
pub const CACHE_RULES: [&str; 3] = [CACHE_CONTROL, "cdn-cache-control", "surrogate-control"];
const CACHE_CONTROL: &str = "cache-control";

/// What gives a response of the upstream cookies of a session. A shared cache that keeps a response keeps its cookies
/// (RFC 9111 §7.3), and would give the session to others, so none may keep it (§5.2.2.7), whatever the upstream says. The
/// upstream's own words stay: `no-store` asks for more.
pub fn with_cookies<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Edit> {
    let mut edits: Vec<Edit> = lines.map(|line| Edit::add(SET_COOKIE, line)).collect();
    edits.push(Edit::add(CACHE_CONTROL, "private"));
    edits.extend(CACHE_RULES.into_iter().skip(1).map(Edit::remove));
    edits
}

/// Octets of a value; browsers keep 4,096 for name, value and attributes together (RFC 6265 §6.1).
const PIECE_OCTETS: usize = 3800;
/// Cookies of a session: more would fill the heads that servers accept.
pub const MAX_PIECES: usize = 3;

/// The names of this filter's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    base: String,
    secure: bool,
}

/// The cookie of a session, as a request shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresentedSession {
    /// There is none.
    None,
    /// The pieces, put together.
    Whole(String),
    /// A piece is missing, or there twice.
    Broken,
}

/// All cookies of a request, in order.
#[derive(Clone, Debug)]
pub struct Cookies<'a> {
    pairs: Vec<CookiePair<'a>>,
}

/// One cookie.
#[derive(Clone, Copy, Debug)]
struct CookiePair<'a> {
    /// As it was sent.
    whole: &'a [u8],
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Cookies<'a> {
    /// The cookies of a request.
    #[must_use]
    pub fn of(seen: View<'a>) -> Self {
        let mut pairs = Vec::new();
        for field in seen.headers(COOKIE) {
            for pair in field.split(|octet| *octet == b';') {
                let pair = pair.trim_ascii();
                let end = pair.iter().position(|octet| *octet == b'=').unwrap_or(pair.len());
                let (name, rest) = pair.split_at_checked(end).unwrap_or((pair, &[]));
                let value = rest.get(1..).unwrap_or_default();
                pairs.push(CookiePair { whole: pair, name, value });
            }
        }
        Self { pairs }
    }

    /// The value of a cookie; `None` if it is absent, or there twice: then somebody else set one of them.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let mut found = self.pairs.iter().filter(|pair| pair.name == name.as_bytes());
        let first = found.next()?;
        if found.next().is_some() {
            return None;
        }
        std::str::from_utf8(first.value).ok()
    }

    fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|pair| pair.name == name.as_bytes())
    }
}

impl CookieNames {
    /// Names that begin with this one. With `secure`, browsers send them over TLS only, and accept them from this
    /// host only (`__Host-`), so that no other host of the domain can set one.
    #[must_use]
    pub fn new(name: &str, secure: bool) -> Self {
        let prefix = if secure { "__Host-" } else { "" };
        Self { base: format!("{prefix}{name}"), secure }
    }

    /// The cookie of a login that is in progress.
    #[must_use]
    pub fn login(&self, id: &str) -> String {
        format!("{}-login-{id}", self.base)
    }

    fn piece(&self, index: usize) -> String {
        if index == 0 { self.base.clone() } else { format!("{}-{index}", self.base) }
    }

    /// The line that sets a cookie; 0 seconds remove it.
    #[must_use]
    pub fn set(&self, name: &str, value: &str, seconds: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}; Max-Age={seconds}; Path=/{secure}; HttpOnly; SameSite=Lax")
    }

    /// The lines that set a session. `None`: it does not fit.
    #[must_use]
    pub fn set_session(
        &self,
        sealed: &str,
        seconds: u64,
        present: &Cookies<'_>,
    ) -> Option<Vec<String>> {
        let pieces: Vec<&[u8]> = sealed.as_bytes().chunks(PIECE_OCTETS).collect();
        let count = pieces.len();
        if count > MAX_PIECES {
            return None;
        }
        let mut lines = Vec::with_capacity(count);
        for (index, piece) in pieces.into_iter().enumerate() {
            let text = std::str::from_utf8(piece).ok()?;
            let value = if index == 0 { format!("{count}.{text}") } else { text.to_owned() };
            lines.push(self.set(&self.piece(index), &value, seconds));
        }
        lines.extend((count..MAX_PIECES).filter_map(|index| self.removed(index, present)));
        Some(lines)
    }

    /// The lines that remove the session of a request.
    #[must_use]
    pub fn remove_session(&self, present: &Cookies<'_>) -> Vec<String> {
        (0..MAX_PIECES).filter_map(|index| self.removed(index, present)).collect()
    }

    fn removed(&self, index: usize, present: &Cookies<'_>) -> Option<String> {
        let name = self.piece(index);
        present.has(&name).then(|| self.set(&name, "", 0))
    }

    /// The session of a request.
    #[must_use]
    pub fn session(&self, present: &Cookies<'_>) -> PresentedSession {
        if !present.has(&self.base) {
            return PresentedSession::None;
        }
        self.whole(present).map_or(PresentedSession::Broken, PresentedSession::Whole)
    }

    fn whole(&self, present: &Cookies<'_>) -> Option<String> {
        let (count, first) = present.value(&self.base)?.split_once('.')?;
        let count: usize = count.parse().ok().filter(|count| (1..=MAX_PIECES).contains(count))?;
        let mut whole = first.to_owned();
        for index in 1..count {
            whole.push_str(present.value(&self.piece(index))?);
        }
        Some(whole)
    }

    /// The names of logins in progress that a request shows.
    pub fn logins<'a>(&self, present: &Cookies<'a>) -> Vec<&'a str> {
        let begin = self.login("");
        let names = present.pairs.iter().map(|pair| pair.name);
        let names = names.filter(|name| name.starts_with(begin.as_bytes()));
        names.filter_map(|name| std::str::from_utf8(name).ok()).collect()
    }

    fn is_own(&self, name: &[u8]) -> bool {
        let pieces = (0..MAX_PIECES).any(|index| self.piece(index).as_bytes() == name);
        pieces || name.starts_with(self.login("").as_bytes())
    }

    /// The cookies that the upstream receives; `None`: all that the request has.
    #[must_use]
    pub fn others(&self, present: &Cookies<'_>) -> Option<Vec<u8>> {
        if !present.pairs.iter().any(|pair| self.is_own(pair.name)) {
            return None;
        }
        let others = present.pairs.iter().filter(|pair| !self.is_own(pair.name));
        let others: Vec<&[u8]> =
            others.map(|pair| pair.whole).filter(|whole| !whole.is_empty()).collect();
        Some(others.join(&b"; "[..]))
    }
}
