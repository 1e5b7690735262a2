//! Conditions on single values.

use std::borrow::Cow;
use std::cell::Cell;

use regex_lite::{Regex, RegexBuilder};
use tamis_sdk::ConfigError;

use crate::config::ValueKind;
use crate::literal::Affixes;

/// A value to be equal to, or an expression the whole value must match.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    /// Equal.
    Exact(String),
    /// Matches; anchored at both ends.
    Expression(Box<Expression>),
}

impl ValuePattern {
    /// Compiles a condition; `pointer` is its place in the configuration.
    ///
    /// # Errors
    /// The expression is not a regular expression, or one that costs too much.
    pub fn new(kind: ValueKind, value: &str, pointer: &str) -> Result<Self, ConfigError> {
        match kind {
            ValueKind::Exact => Ok(Self::Exact(value.to_owned())),
            ValueKind::RegularExpression => {
                Ok(Self::Expression(Box::new(Expression::new(value, pointer)?)))
            }
        }
    }

    /// Whether the value satisfies the condition.
    ///
    /// # Errors
    /// To know it, the expression would have to look at more than the request allows.
    pub fn matches(&self, value: &[u8], work: &WorkBudget) -> Result<bool, WorkSpent> {
        match self {
            Self::Exact(wanted) => Ok(wanted.as_bytes() == value),
            Self::Expression(expression) => match std::str::from_utf8(value) {
                Ok(text) => expression.matches(text, work),
                Err(_) => Ok(false),
            },
        }
    }

    /// How every value begins and ends that satisfies the condition.
    #[must_use]
    pub(crate) fn affixes(&self) -> Affixes {
        match self {
            Self::Exact(wanted) => {
                Affixes { prefix: wanted.clone(), suffix: wanted.clone(), inner: Vec::new() }
            }
            Self::Expression(expression) => expression.affixes().clone(),
        }
    }

    /// Whether a list satisfies the condition, with any white space around its commas (RFC 9110 §5.6.1).
    #[must_use]
    pub fn matches_as_list(&self, value: &[u8]) -> bool {
        fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
            list.split(|octet| *octet == b',').map(<[u8]>::trim_ascii)
        }
        match self {
            // Compared one by one: a client writes as many as it likes.
            Self::Exact(wanted) => {
                value.contains(&b',') && members(wanted.as_bytes()).eq(members(value))
            }
            Self::Expression(_) => false,
        }
    }
}

/// An expression that must match a complete text, and what it costs to ask it.
///
/// Matching takes up to as many steps as the expression has states, for each character. A client chooses the text, and all
/// routes share the time of the router, so an expression looks only at texts for which the request has [`WorkBudget`] left.
#[derive(Clone, Debug)]
pub struct Expression {
    regex: Regex,
    /// States of the automaton, at most.
    states: usize,
    literals: Affixes,
}

/// Most states of an expression: texts of 64 characters can be matched with all of them.
const MAX_STATES: usize = 2_048;
/// States below which expressions are not told apart.
const FEW_STATES: usize = 16;
/// Bytes of a state, with what it refers to, as the library counts them.
const STATE_BYTES: usize = 8 + 4 * size_of::<usize>();

impl Expression {
    /// Compiles an expression; `pointer` is its place in the configuration.
    ///
    /// # Errors
    /// The text is not a regular expression, or one with too many states.
    pub fn new(text: &str, pointer: &str) -> Result<Self, ConfigError> {
        let refuse = |why: String| ConfigError::at(pointer, why);
        // Checked without anchors first: `a)(b` is an error although its anchored form would parse.
        Regex::new(text).map_err(|error| refuse(format!("not a regular expression: {error}")))?;
        let anchored = format!("^(?:{text})$");
        let mut states = FEW_STATES;
        loop {
            let limit = states.saturating_mul(STATE_BYTES);
            match RegexBuilder::new(&anchored).size_limit(limit).build() {
                Ok(regex) => return Ok(Self { regex, states, literals: Affixes::of(text) }),
                Err(_) if states < MAX_STATES => states *= 2,
                Err(_) => {
                    return Err(refuse(format!(
                        "the expression has more than {MAX_STATES} states, so each request would cost too much: shorten counted repetitions such as `{{200}}` and lists of alternatives, or match a prefix and leave the rest to the service"
                    )));
                }
            }
        }
    }

    /// Whether it matches the whole text.
    ///
    /// # Errors
    /// [`WorkSpent`]: matching needs more steps than the request has left.
    pub fn matches(&self, text: &str, work: &WorkBudget) -> Result<bool, WorkSpent> {
        // What lacks a literal part costs nothing.
        if !self.literals.fit(text) {
            return Ok(false);
        }
        work.take(self.states.saturating_mul(text.len().saturating_add(1)))?;
        Ok(self.regex.is_match(text))
    }

    /// The literal parts of every text that it matches.
    pub(crate) fn affixes(&self) -> &Affixes {
        &self.literals
    }
}

/// What the expressions of all routes may cost for one request: their states times the bytes of the texts that they look at.
#[derive(Debug)]
pub struct WorkBudget(Cell<usize>);

/// An expression would have to look at more than the request allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkSpent;

/// Steps for one request: at most 3 ms, of the 5 ms that a router has.
const MAX_STEPS: usize = 1 << 17;

impl Default for WorkBudget {
    fn default() -> Self {
        Self(Cell::new(MAX_STEPS))
    }
}

impl WorkBudget {
    fn take(&self, steps: usize) -> Result<(), WorkSpent> {
        let left = self.0.get().checked_sub(steps).ok_or(WorkSpent)?;
        self.0.set(left);
        Ok(())
    }
}

/// Host of an authority: no port, lower case.
#[must_use]
pub fn host_of(authority: &str) -> Cow<'_, str> {
    let host = without_port(authority);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Host, unchanged; an IPv6 address keeps its brackets.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// First value of a query parameter, percent-decoded.
#[must_use]
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key).as_ref() == name.as_bytes()).then(|| decoded(value))
    })
}

/// `application/x-www-form-urlencoded`; broken escapes stay unchanged.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, escape(after)) {
            (b'%', Some((octet, after))) => {
                out.push(octet);
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(first),
        }
    }
    Cow::Owned(out)
}

fn escape(after: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = after.split_at_checked(2)?;
    let text = std::str::from_utf8(digits).ok().filter(|t| !t.starts_with('+'))?;
    Some((u8::from_str_radix(text, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_the_host() {
        for (authority, host) in
            [("A.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:8080", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        assert_eq!(query_value("a=1&b=x%20y+z&b=2", "b").as_deref(), Some(&b"x y z"[..]));
        assert_eq!(query_value("a", "a").as_deref(), Some(&b""[..]));
        assert_eq!(query_value("a=%zz%4", "a").as_deref(), Some(&b"%zz%4"[..]));
        assert_eq!(query_value("a=1", "b"), None);
    }

    #[test]
    fn an_expression_matches_the_whole_value() {
        let pattern = ValuePattern::new(ValueKind::RegularExpression, "a|b", "/x").unwrap();
        let matches = |value: &[u8]| pattern.matches(value, &WorkBudget::default());
        assert_eq!((matches(b"a"), matches(b"b"), matches(b"ab")), (Ok(true), Ok(true), Ok(false)));
        let error = ValuePattern::new(ValueKind::RegularExpression, "a)(b", "/x").unwrap_err();
        assert_eq!(error.pointer, "/x");
    }

    #[test]
    fn an_expression_looks_at_no_more_than_a_request_allows() {
        let long = "a".repeat(60_000);
        for (text, value, answer) in [
            // Costs nothing: a literal part is missing.
            (".*a[ab]{200}c", &*long, Ok(false)),
            ("[a-z]+/x", &long, Ok(false)),
            ("[a-z]+/x/[a-z]+", &long, Ok(false)),
            ("b.*", &long, Ok(false)),
            // All of it would have to be looked at.
            (".*a[ab]{200}", &long, Err(WorkSpent)),
            (".*a[ab]{200}c?", &long, Err(WorkSpent)),
            ("(a*)*", &long, Err(WorkSpent)),
            (".*", &long, Err(WorkSpent)),
            // What people write, with what clients send.
            (".*a[ab]{200}", &long[..201], Ok(true)),
            ("/v[0-9]+/(users|orders)/[a-z0-9-]{1,36}(/.*)?", "/v1/users/7f-a/b", Ok(true)),
            (
                "(?i)(.*; *)?session=[a-z0-9]+(;.*)?",
                &format!("a={}; Session=7", &long[..2_000]),
                Ok(true),
            ),
            ("[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+", "someone@mail.example.com", Ok(true)),
        ] {
            let expression = Expression::new(text, "").unwrap();
            assert_eq!(expression.matches(value, &WorkBudget::default()), answer, "{text}");
        }
    }

    #[test]
    fn all_expressions_of_a_request_share_its_work() {
        let (expression, work) = (Expression::new("[a-z]*", "").unwrap(), WorkBudget::default());
        let value = "a".repeat(1_000);
        let asked = (0..1_000).take_while(|_| expression.matches(&value, &work).is_ok()).count();
        assert!((2..=MAX_STEPS / 1_000 / 3).contains(&asked), "{asked}");
        assert_eq!(expression.matches("1", &work), expression.matches("1", &WorkBudget::default()));
    }

    #[test]
    fn an_expression_that_costs_too_much_is_refused_at_its_place_with_a_way_out() {
        for (text, fine) in [
            ("a{20}", true),
            ("[a-z]{1,63}([.][a-z]{1,63}){0,3}", true),
            ("[ab]{5000}", false),
            ("([ab]{100}){100}", false),
            ("(a?){3000}", false),
        ] {
            match Expression::new(text, "/x") {
                Ok(_) => assert!(fine, "{text}"),
                Err(error) => {
                    assert!(!fine, "{text}: {error:?}");
                    assert!(error.pointer == "/x" && error.message.contains("prefix"), "{error:?}");
                }
            }
        }
    }

    #[test]
    fn a_list_of_many_members_is_compared_without_being_copied() {
        let exact = ValuePattern::Exact("a, b".to_owned());
        for (value, same) in
            [("a,b", true), ("a , b", true), ("a", false), ("a,b,c", false), ("a,,b", false)]
        {
            assert_eq!(exact.matches_as_list(value.as_bytes()), same, "{value}");
        }
    }
}
