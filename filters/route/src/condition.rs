//! One compiled match of a rule: its place in the index, its rank, and its other conditions.

use std::borrow::Cow;
use std::cmp::Reverse;

use tamis_sdk::{ConfigError, View};

use crate::config::{GrpcMethod, Kind, Match, MethodMatch, PathMatchKind, ValueKind, ValueMatcher};
use crate::literal::Affixes;
use crate::pattern::{Expression, ValuePattern, WorkBudget, WorkSpent, query_value};

/// The parts of a request that conditions look at.
pub struct RoutedRequest<'a> {
    /// Path without query.
    pub path: &'a str,
    /// Query without `?`, empty when there is none.
    pub query: &'a str,
    /// Headers and method.
    pub view: View<'a>,
    /// What expressions may still cost.
    pub work: WorkBudget,
}

/// The part of a request that is too long for the expressions of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// Its path or query.
    Target,
    /// A header.
    Header,
}

/// The path condition, in the form that the index needs.
#[derive(Clone, Debug)]
pub enum PathPlace {
    /// Equal to this path.
    Exact(String),
    /// Equal to this prefix or below it, without its trailing slash; the empty prefix covers everything.
    Prefix(String),
    /// The path matches the expression.
    Path(Box<Expression>),
    /// Service and method of a gRPC path match; `None`: any.
    Call(Option<ValuePattern>, Option<ValuePattern>),
}

/// One compiled match.
#[derive(Clone, Debug)]
pub struct RouteCondition {
    /// Its place in the index.
    pub place: PathPlace,
    /// Characters of the path or service condition, then of the method condition.
    pub length: (usize, usize),
    method: Option<String>,
    headers: Vec<(String, ValuePattern)>,
    query: Vec<(String, ValuePattern)>,
}

impl RouteCondition {
    /// Compiles a match; `pointer` is its place in the configuration.
    ///
    /// # Errors
    /// A path does not begin with `/`, an expression is invalid, or a condition belongs to the other kind
    /// of route.
    pub fn new(kind: Kind, from: &Match, pointer: &str) -> Result<Self, ConfigError> {
        check_kind(kind, from, pointer)?;
        let (place, length, method) = match &from.method {
            Some(MethodMatch::Grpc(grpc)) => {
                let (place, length) = grpc_place(grpc, &format!("{pointer}/method"))?;
                (place, length, None)
            }
            Some(MethodMatch::Http(method)) => {
                let (place, length) = path_place(from, pointer)?;
                (place, length, Some(method.clone()))
            }
            None => {
                let (place, length) = path_place(from, pointer)?;
                (place, length, None)
            }
        };
        let headers = patterns(&from.headers, &format!("{pointer}/headers"), |name| {
            let name = name.to_ascii_lowercase();
            if name == "host" { ":authority".to_owned() } else { name }
        })?;
        let query = patterns(&from.query_params, &format!("{pointer}/queryParams"), str::to_owned)?;
        Ok(Self { place, length, method, headers, query })
    }

    /// Precedence among conditions in one place, smallest first (Gateway API, `HTTPRouteRule.matches`).
    #[must_use]
    pub fn rank(&self) -> impl Ord + use<> {
        (
            Reverse(self.length),
            Reverse(self.method.is_some()),
            Reverse(self.headers.len()),
            Reverse(self.query.len()),
        )
    }

    /// How every path begins and ends for which its expressions hold.
    pub(crate) fn affixes(&self) -> Affixes {
        let of = |pattern: &Option<ValuePattern>| {
            pattern.as_ref().map(ValuePattern::affixes).unwrap_or_default()
        };
        match &self.place {
            PathPlace::Exact(path) => {
                Affixes { prefix: path.clone(), suffix: path.clone(), inner: Vec::new() }
            }
            PathPlace::Prefix(prefix) => Affixes { prefix: prefix.clone(), ..Affixes::default() },
            PathPlace::Path(expression) => expression.affixes().clone(),
            PathPlace::Call(service, method) => Affixes {
                prefix: format!("/{}", of(service).prefix),
                suffix: of(method).suffix,
                inner: Vec::new(),
            },
        }
    }

    /// Names of the fields it reads in addition to `:path`.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        let extension = self.method.as_deref().is_some_and(|method| !REGISTERED.contains(&method));
        self.headers.iter().map(|(name, _)| name.as_str()).chain(extension.then_some(":method"))
    }

    /// Whether it looks at path or query.
    #[must_use]
    pub fn reads_path(&self) -> bool {
        !self.query.is_empty()
            || !matches!(&self.place, PathPlace::Prefix(prefix) if prefix.is_empty())
    }

    /// Whether all conditions hold except an exact path or a prefix, which the index has checked.
    ///
    /// # Errors
    /// Nobody knows: a part of the request is too long for an expression, and no other condition fails.
    pub fn holds(&self, asked: &RoutedRequest<'_>) -> Result<bool, TooLong> {
        if self.method.as_deref().is_some_and(|method| method != asked.view.method_name()) {
            return Ok(false);
        }
        let headers = self.headers.iter().map(|(name, pattern)| {
            let matched = header_matches(asked, name, pattern);
            matched.map_err(|WorkSpent| TooLong::Header)
        });
        let query = self.query.iter().map(|(name, pattern)| {
            let value = query_value(asked.query, name);
            let matched = value.map_or(Ok(false), |value| pattern.matches(&value, &asked.work));
            matched.map_err(|WorkSpent| TooLong::Target)
        });
        let place =
            std::iter::once_with(|| self.place_holds(asked).map_err(|WorkSpent| TooLong::Target));
        let mut unknown = None;
        // The path first: it decides most often.
        for one in place.chain(headers).chain(query) {
            match one {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(part) => unknown = unknown.or(Some(part)),
            }
        }
        unknown.map_or(Ok(true), Err)
    }

    fn place_holds(&self, asked: &RoutedRequest<'_>) -> Result<bool, WorkSpent> {
        match &self.place {
            PathPlace::Exact(_) | PathPlace::Prefix(_) => Ok(true),
            PathPlace::Path(expression) => expression.matches(asked.path, &asked.work),
            PathPlace::Call(service, method) => {
                let Some((s, m)) = call_of(asked.path) else { return Ok(false) };
                for (pattern, part) in [(service, s), (method, m)] {
                    if let Some(pattern) = pattern
                        && !pattern.matches(part.as_bytes(), &asked.work)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// Each kind of route has conditions of its own.
fn check_kind(kind: Kind, from: &Match, pointer: &str) -> Result<(), ConfigError> {
    let (field, message) = match (kind, &from.method) {
        (Kind::Http, Some(MethodMatch::Grpc(_))) => {
            ("method", "an HTTPRoute matches a method by its name, such as \"GET\"")
        }
        (Kind::Grpc, Some(MethodMatch::Http(_))) => {
            ("method", "a GRPCRoute matches {service, method}, not an HTTP method")
        }
        (Kind::Grpc, _) if from.path.is_some() => {
            ("path", "a GRPCRoute matches {service, method}, not a path")
        }
        (Kind::Grpc, _) if !from.query_params.is_empty() => {
            ("queryParams", "a GRPCRoute has no query parameters")
        }
        (Kind::Http | Kind::Grpc, _) => return Ok(()),
    };
    Err(ConfigError::at(format!("{pointer}/{field}"), message))
}

/// Methods that the view distinguishes by number; others need `:method`.
const REGISTERED: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A repeated header is one value, its lines joined by a comma and a space (RFC 9110 §5.2).
fn header_matches(
    asked: &RoutedRequest<'_>,
    name: &str,
    pattern: &ValuePattern,
) -> Result<bool, WorkSpent> {
    let mut values = asked.view.headers(name);
    let Some(first) = values.next() else {
        return Ok(false);
    };
    let mut value = Cow::Borrowed(first);
    for next in values {
        let joined = value.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(next);
    }
    Ok(pattern.matches(&value, &asked.work)? || pattern.matches_as_list(&value))
}

/// Service and method of `/service/method`.
fn call_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.split_once('/').filter(|(_, method)| !method.contains('/'))
}

type SpannedPath = (PathPlace, (usize, usize));

fn path_place(from: &Match, pointer: &str) -> Result<SpannedPath, ConfigError> {
    let Some(path) = &from.path else {
        return Ok((PathPlace::Prefix(String::new()), (0, 0)));
    };
    let pointer = format!("{pointer}/path/value");
    if path.kind != PathMatchKind::RegularExpression && !path.value.starts_with('/') {
        return Err(ConfigError::at(pointer, "a path must begin with \"/\""));
    }
    let place = match path.kind {
        PathMatchKind::Exact => PathPlace::Exact(path.value.clone()),
        PathMatchKind::PathPrefix => PathPlace::Prefix(path.value.trim_end_matches('/').to_owned()),
        PathMatchKind::RegularExpression => {
            PathPlace::Path(Box::new(Expression::new(&path.value, &pointer)?))
        }
    };
    // `/a` and `/a/` are the same prefix, so neither is longer.
    let length = match &place {
        PathPlace::Prefix(prefix) => prefix.len(),
        PathPlace::Exact(_) | PathPlace::Path(_) | PathPlace::Call(..) => path.value.len(),
    };
    Ok((place, (length, 0)))
}

fn grpc_place(grpc: &GrpcMethod, pointer: &str) -> Result<SpannedPath, ConfigError> {
    let service = grpc.service.as_deref().filter(|name| !name.is_empty());
    let method = grpc.method.as_deref().filter(|name| !name.is_empty());
    let length = (service.map_or(0, str::len), method.map_or(0, str::len));
    let place = match (grpc.kind, service, method) {
        (_, None, None) => PathPlace::Prefix(String::new()),
        (ValueKind::Exact, Some(service), Some(method)) => {
            PathPlace::Exact(format!("/{service}/{method}"))
        }
        (ValueKind::Exact, Some(service), None) => PathPlace::Prefix(format!("/{service}")),
        (kind, service, method) => {
            let pattern = |part: Option<&str>, field: &str| {
                part.map(|text| ValuePattern::new(kind, text, &format!("{pointer}/{field}")))
                    .transpose()
            };
            PathPlace::Call(pattern(service, "service")?, pattern(method, "method")?)
        }
    };
    Ok((place, length))
}

/// Of entries with the same name only the first counts (Gateway API, `HTTPHeaderMatch.name`).
fn patterns(
    from: &[ValueMatcher],
    pointer: &str,
    name_of: impl Fn(&str) -> String,
) -> Result<Vec<(String, ValuePattern)>, ConfigError> {
    let mut out: Vec<(String, ValuePattern)> = Vec::with_capacity(from.len());
    for (index, wanted) in from.iter().enumerate() {
        let name = name_of(&wanted.name);
        let pattern =
            ValuePattern::new(wanted.kind, &wanted.value, &format!("{pointer}/{index}/value"))?;
        if !out.iter().any(|(known, _)| *known == name) {
            out.push((name, pattern));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_sdk::view::packed;

    #[test]
    fn a_header_matches_the_same_over_one_line_and_over_two() {
        let reads = ["x-a".to_owned()];
        for (kind, wanted) in
            [("Exact", "a, b"), ("Exact", "a,b"), ("Exact", "a ,b"), ("RegularExpression", "a, ?b")]
        {
            let json =
                serde_json::json!({"headers": [{"type": kind, "name": "x-a", "value": wanted}]});
            let wanted: Match = serde_json::from_value(json).unwrap();
            let condition = RouteCondition::new(Kind::Http, &wanted, "").unwrap();
            let holds = |lines: &[&[u8]]| {
                let fields: Vec<_> = lines.iter().map(|line| ("x-a", *line)).collect();
                let raw = packed(&reads, &fields);
                let view = View::new(&raw, &reads);
                let work = WorkBudget::default();
                condition.holds(&RoutedRequest { path: "/", query: "", view, work }).unwrap()
            };
            assert!(holds(&[b"a, b"]) && holds(&[b"a", b"b"]) && holds(&[b"a,b"]), "{wanted:?}");
            for lines in
                [&[&b"a"[..]][..], &[b"b", b"a"], &[b"a", b"b", b"c"], &[b"a b"], &[b"a,", b"b"]]
            {
                assert!(!holds(lines), "{wanted:?} {lines:?}");
            }
        }
    }
}
