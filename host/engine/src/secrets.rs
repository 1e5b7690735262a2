//! Secrets that filters may use by name. They can be replaced while filters run: the new value applies from
//! the next use.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// All secrets, by name. Clones share them; no value is ever printed.
///
/// A name may have a namespace in front, `shop/db`: that secret is for the attachments of the namespace alone, and no secret of
/// that name is shared by all.
#[derive(Clone, Default)]
pub struct Secrets {
    all: Arc<RwLock<HashMap<String, NamedSecrets>>>,
    /// That of the attachment that asks; `None`: it has none.
    namespace: Option<Arc<str>>,
}

/// The secrets of one name.
#[derive(Default, PartialEq, Eq)]
struct NamedSecrets {
    /// The one for everybody.
    shared: Option<Arc<[u8]>>,
    by_namespace: HashMap<String, Arc<[u8]>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// With these values, by `NAME` or `NAMESPACE/NAME`.
    pub fn new(values: HashMap<String, Vec<u8>>) -> Self {
        let secrets = Self::default();
        secrets.replace(values);
        secrets
    }

    /// The same secrets, as the attachments of a namespace find them.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Self {
        Self { all: Arc::clone(&self.all), namespace: Some(namespace.into()) }
    }

    /// Replaces all values, for every clone. Returns whether anything changed.
    pub fn replace(&self, values: HashMap<String, Vec<u8>>) -> bool {
        let mut new: HashMap<String, NamedSecrets> = HashMap::new();
        for (name, value) in values {
            match name.split_once('/') {
                None => new.entry(name).or_default().shared = Some(value.into()),
                Some((namespace, name)) => {
                    let of = &mut new.entry(name.to_owned()).or_default().by_namespace;
                    of.insert(namespace.to_owned(), value.into());
                }
            }
        }
        let mut there = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *there != new;
        *there = new;
        changed
    }

    /// The secret of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<[u8]>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let named = all.get(name)?;
        match &self.namespace {
            _ if named.by_namespace.is_empty() => named.shared.clone(),
            Some(namespace) => named.by_namespace.get(&**namespace).cloned(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_secret_reaches_whoever_shares_it_and_none_is_printed() {
        let of = |value: &str| HashMap::from([("db".to_owned(), value.as_bytes().to_vec())]);
        let secrets = Secrets::new(of("hunter2"));
        let shared = secrets.clone();
        assert!(!secrets.replace(of("hunter2")), "nothing changed");
        assert!(secrets.replace(of("hunter3")));
        assert_eq!(shared.find("db").as_deref(), Some(&b"hunter3"[..]));
        assert!(!format!("{secrets:?}").contains("hunter"));
        secrets.replace(HashMap::new());
        assert!(shared.find("db").is_none(), "taken away, it is gone");
    }

    #[test]
    fn a_secret_of_a_namespace_is_for_its_attachments_alone() {
        let values = ["key", "shop/cookie", "blog/cookie", "shop/key2", "key2"];
        let values = values.map(|name| (name.to_owned(), name.as_bytes().to_vec()));
        let secrets = Secrets::new(HashMap::from(values));
        for (namespace, name, found) in [
            (Some("shop"), "cookie", Some("shop/cookie")),
            (Some("blog"), "cookie", Some("blog/cookie")),
            (Some("other"), "cookie", None),
            (None, "cookie", None),
            (Some("other"), "key", Some("key")),
            (None, "key", Some("key")),
            // What one namespace has of its own is not what all others share.
            (Some("shop"), "key2", Some("shop/key2")),
            (Some("blog"), "key2", None),
            // A name is no way into another namespace.
            (Some("blog"), "shop/cookie", None),
            (None, "shop/cookie", None),
            (Some(""), "cookie", None),
        ] {
            let seen = namespace.map_or_else(|| secrets.clone(), |it| secrets.of(it)).find(name);
            assert_eq!(seen.as_deref(), found.map(str::as_bytes), "{namespace:?} {name}");
        }
        // Whoever has a view of a namespace sees what replaces a secret.
        let of_shop = secrets.of("shop");
        assert!(secrets.replace(HashMap::from([("shop/cookie".to_owned(), b"new".to_vec())])));
        assert_eq!(of_shop.find("cookie").as_deref(), Some(&b"new"[..]));
    }
}
