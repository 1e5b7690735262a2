//! Whether this host can keep the state of a grant in the scopes that it states.

use crate::{Grant, StateScope};

/// A scope of a grant that this host cannot keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the grant of filter `{filter}` sets `{setting}: {}`, but proxies do not share state yet, each keeps its own; \
     write `scope: proxy`",
    scope.as_str()
)]
pub struct ScopeUnavailable {
    /// Name of the filter.
    pub filter: String,
    /// Its path in the grant.
    pub setting: &'static str,
    /// Its value.
    pub scope: StateScope,
}

/// Checks that this host can keep the state of a grant in the scope that it states: a bucket that it kept alone would
/// allow more than the grant.
///
/// # Errors
/// Names the first scope that it cannot keep.
pub fn check_scopes(filter: &str, grant: &Grant) -> Result<(), ScopeUnavailable> {
    let (quota, counters) = (&grant.imports.quota, &grant.imports.counters);
    for (setting, scope) in [
        ("imports.quota.scope", quota.as_ref().map(|it| it.scope)),
        ("imports.counters.scope", counters.as_ref().map(|it| it.scope)),
    ] {
        match scope {
            None | Some(StateScope::Proxy) => {}
            Some(scope @ (StateScope::Service | StateScope::Fleet)) => {
                return Err(ScopeUnavailable { filter: filter.to_owned(), setting, scope });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_beyond_the_proxy_is_refused_and_says_the_way_out() {
        for (imports, refused) in [
            (r#"{}"#, None),
            (r#"{"quota": {}, "counters": {}}"#, None),
            (r#"{"quota": {"scope": "proxy"}, "counters": {"scope": "proxy"}}"#, None),
            (r#"{"quota": {"scope": "service"}}"#, Some("imports.quota.scope: service")),
            (r#"{"quota": {"scope": "fleet"}}"#, Some("imports.quota.scope: fleet")),
            (
                r#"{"quota": {}, "counters": {"scope": "service"}}"#,
                Some("imports.counters.scope: service"),
            ),
            (r#"{"counters": {"scope": "fleet"}}"#, Some("imports.counters.scope: fleet")),
        ] {
            let grant: Grant =
                serde_json::from_str(&format!("{{\"imports\": {imports}}}")).unwrap();
            let said = check_scopes("acme/a", &grant).map_err(|error| error.to_string());
            match refused {
                None => assert_eq!(said, Ok(()), "{imports}"),
                Some(words) => {
                    let said = said.unwrap_err();
                    assert!(
                        said.contains(words) && said.ends_with("write `scope: proxy`"),
                        "{said}"
                    );
                }
            }
        }
        let unknown =
            serde_json::from_str::<Grant>(r#"{"imports": {"quota": {"scope": "world"}}}"#);
        assert!(unknown.is_err());
    }
}
