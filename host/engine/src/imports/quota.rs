//! `quota`: token buckets. The operator sets the rates in the grant; the filter names class and key.

use super::MAX_SHOWN;
use crate::error::printable;
use crate::state::bounds::within;
use crate::{GrantField, Host, QuotaClass, QuotaGrant};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

/// A class of the developer's sandbox.
const ENDLESS: QuotaClass = QuotaClass { per_second: 1e9, burst: u32::MAX };

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "take",
        |store: StoreContextMut<'_, Host>, (class, key, tokens): (String, String, u32)| {
            let host = store.data();
            let default = QuotaGrant::default();
            let grant = host.settings.grant.imports.quota.as_ref().unwrap_or(&default);
            let endless = grant.endless.then_some(&ENDLESS);
            let settings = grant.classes.get(&class).or(endless);
            let settings = settings.ok_or_else(|| wasmtime::Error::msg(unknown(&class, grant)))?;
            // A client may choose the length of a key: a long key is stored as its hash.
            let key = within(key, grant.key_bytes);
            let (quotas, now) = (&host.state.quotas, host.state.clock.now());
            Ok((quotas.take(&class, &key, tokens, settings, grant, now),))
        },
    )
}

/// Classes of the grant that are named.
const MAX_NAMED: usize = 3;

fn unknown(class: &str, grant: &QuotaGrant) -> String {
    let (field, class) = (GrantField::QuotaClasses, printable(class, MAX_SHOWN));
    let named = grant.classes.keys().take(MAX_NAMED);
    let known: Vec<String> =
        named.map(|name| format!("`{}`", printable(name, MAX_SHOWN))).collect();
    let (has, other) = if known.is_empty() {
        ("none".to_owned(), "")
    } else {
        (known.join(", "), ", or use a class that it has")
    };
    format!(
        "its Grant has no quota class `{class}` (`{field}` has {has}): add `{class}: {{ rate: 10/s, burst: 20 }}` there{other}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_class_is_named_in_few_characters() {
        let mut grant = QuotaGrant::default();
        assert!(unknown("burst", &grant).contains("`burst`"));
        assert!(
            unknown("burst", &grant)
                .ends_with("has none): add `burst: { rate: 10/s, burst: 20 }` there")
        );
        for name in ["a", "b", "c", "d"] {
            grant.classes.insert(name.repeat(1 << 10), QuotaClass { per_second: 1.0, burst: 1 });
        }
        let said = unknown("burst", &grant);
        assert!(said.contains(" has `a") && said.ends_with("use a class that it has"));
        for fill in ["a", "\u{1}", "é", "\n"] {
            assert!(unknown(&fill.repeat(1 << 20), &grant).len() < 1_000, "{fill:?}");
        }
    }
}
