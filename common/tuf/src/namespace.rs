//! The namespace of a policy document, and its notation as a path, a role and a file.

use std::fmt;
use std::str::FromStr;

use tamis_trust::{Name, NamePattern};

use crate::TufError;

/// Folder of policy documents among the targets.
const FOLDER: &str = "policy/";
/// File name of the document that covers everything. No namespace begins with `_`.
const ALL: &str = "_all";
/// Stands for `/` in names of files and roles, since a path pattern of TUF never crosses a `/`. No
/// component of a namespace contains it.
const SLASH: char = '~';
/// Prefix of the role of a namespace, so that a namespace `root` is not the role `root`.
const ROLE: &str = "ns.";

/// A namespace of filters, such as `acme` or `acme/team`, or everything (`*`).
///
/// The document of a namespace is at one path, `policy/acme~team.json` (`policy/_all.json` for everything),
/// and may cover only that namespace. So by the rules of TUF, whoever may sign for a path decides about the
/// filters below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Option<String>);

impl Namespace {
    /// Every filter.
    pub const ALL: Self = Self(None);

    /// The path of its document among the targets.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{FOLDER}{}.json", self.flat())
    }

    /// The name of the delegated role that signs for it; `None` for everything, which belongs to the role
    /// `targets`.
    #[must_use]
    pub fn role(&self) -> Option<String> {
        self.0.as_ref().map(|_| format!("{ROLE}{}", self.flat()))
    }

    /// The path patterns of its delegation: its own document and those of all namespaces below.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        match &self.0 {
            Some(_) => {
                let flat = self.flat();
                vec![format!("{FOLDER}{flat}.json"), format!("{FOLDER}{flat}{SLASH}*.json")]
            }
            None => vec![format!("{FOLDER}*.json")],
        }
    }

    /// The namespace whose document is at this path; `None` when the path is not a policy document.
    ///
    /// # Errors
    /// It is in the folder of policy documents but does not have a valid name.
    pub(crate) fn of_path(path: &str) -> Result<Option<Self>, TufError> {
        let Some(file) = path.strip_prefix(FOLDER) else { return Ok(None) };
        let broken = || TufError::Path(path.chars().take(80).collect());
        let flat = file.strip_suffix(".json").ok_or_else(broken)?;
        if flat == ALL {
            return Ok(Some(Self::ALL));
        }
        let namespace: Self = flat.replace(SLASH, "/").parse().map_err(|_| broken())?;
        // Only one notation is accepted, and `*` has its own.
        if namespace.path() == path { Ok(Some(namespace)) } else { Err(broken()) }
    }

    /// The namespace for which one of our roles signs.
    pub(crate) fn of_role(role: &str) -> Option<Self> {
        let namespace: Self = role.strip_prefix(ROLE)?.replace(SLASH, "/").parse().ok()?;
        (namespace.role().as_deref() == Some(role)).then_some(namespace)
    }

    /// Whether everything that the pattern matches is in this namespace.
    pub(crate) fn holds(&self, pattern: &NamePattern) -> bool {
        self.contains(pattern.as_str())
    }

    /// Whether the filter is in this namespace.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        self.contains(name.as_str())
    }

    /// Whether the other namespace is within this one, or equal to it.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(other)) => self.contains(other),
        }
    }

    fn contains(&self, text: &str) -> bool {
        match &self.0 {
            None => true,
            Some(own) => {
                text.strip_prefix(own.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
        }
    }

    fn flat(&self) -> String {
        match &self.0 {
            Some(namespace) => namespace.replace('/', &SLASH.to_string()),
            None => ALL.to_owned(),
        }
    }
}

impl FromStr for Namespace {
    type Err = TufError;

    fn from_str(text: &str) -> Result<Self, TufError> {
        if text == "*" {
            return Ok(Self::ALL);
        }
        let broken = || TufError::Namespace(text.chars().take(80).collect());
        // What may stand before `/*` in a pattern has the form of a namespace.
        let fits = text.len() <= 200 && !text.contains('*');
        let pattern: Result<NamePattern, _> = format!("{text}/*").parse();
        if fits && pattern.is_ok() { Ok(Self(Some(text.to_owned()))) } else { Err(broken()) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(text: &str) -> Namespace {
        text.parse().unwrap()
    }

    #[test]
    fn a_namespace_has_one_path_and_one_role() {
        for (text, path, role) in [
            ("acme", "policy/acme.json", Some("ns.acme")),
            ("acme/team", "policy/acme~team.json", Some("ns.acme~team")),
            ("root", "policy/root.json", Some("ns.root")),
            ("a.b/c_d", "policy/a.b~c_d.json", Some("ns.a.b~c_d")),
            ("*", "policy/_all.json", None),
        ] {
            let namespace = namespace(text);
            assert_eq!(namespace.to_string(), text);
            assert_eq!(namespace.path(), path);
            assert_eq!(namespace.role().as_deref(), role);
            assert_eq!(Namespace::of_path(path).unwrap(), Some(namespace.clone()));
            assert_eq!(role.and_then(Namespace::of_role), role.map(|_| namespace));
        }
        assert_eq!(Namespace::of_path("elsewhere/x").unwrap(), None);
        for path in ["policy/", "policy/a/b.json", "policy/*.json", "policy/A.json", "policy/a"] {
            assert!(Namespace::of_path(path).is_err(), "{path}");
        }
        for text in ["", "/", "acme/", "acme/*", "Acme", "a~b", "_all", "..", "**"] {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_namespace_holds_what_is_below_it_and_nothing_beside_it() {
        let acme = namespace("acme");
        for (pattern, inside) in [
            ("acme/*", true),
            ("acme/retry", true),
            ("acme/team/*", true),
            ("acmes/*", false),
            ("*", false),
            ("beta/x", false),
        ] {
            assert_eq!(acme.holds(&pattern.parse().unwrap()), inside, "{pattern}");
            assert!(Namespace::ALL.holds(&pattern.parse().unwrap()));
        }
        assert!(acme.includes(&namespace("acme/team")) && acme.includes(&acme));
        assert!(!acme.includes(&namespace("acmes")) && !acme.includes(&Namespace::ALL));
    }
}
