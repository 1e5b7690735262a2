//! Secrets that filters may use by name. They can be replaced while filters run: the new value applies from
//! the next use.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// All secrets, by name. Clones share them; no value is ever printed.
#[derive(Clone, Default)]
pub struct Secrets(Arc<RwLock<HashMap<String, Arc<[u8]>>>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// With these values.
    pub fn new(values: HashMap<String, Vec<u8>>) -> Self {
        let secrets = Self::default();
        secrets.replace(values);
        secrets
    }

    /// Replaces all values, for every clone. Returns whether anything changed.
    pub fn replace(&self, values: HashMap<String, Vec<u8>>) -> bool {
        let mut there = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = there.len() == values.len()
            && values
                .iter()
                .all(|(name, value)| there.get(name).is_some_and(|old| **old == **value));
        if !same {
            *there = values.into_iter().map(|(name, value)| (name, value.into())).collect();
        }
        !same
    }

    /// The secret of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
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
}
