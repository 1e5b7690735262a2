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
            let settings = settings.ok_or_else(|| wasmtime::Error::msg(unknown(&class)))?;
            // A client may choose the length of a key: a long key is stored as its hash.
            let key = within(key, grant.key_bytes);
            let (quotas, now) = (&host.state.quotas, host.state.clock.now());
            Ok((quotas.take(&class, &key, tokens, settings, grant, now),))
        },
    )
}

fn unknown(class: &str) -> String {
    let (field, class) = (GrantField::QuotaClasses, printable(class, MAX_SHOWN));
    format!(
        "the grant names no quota class `{class}` in `{field}`: add it there, or take from one that is there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_class_is_named_in_few_characters() {
        assert!(unknown("burst").contains("`burst`"));
        for fill in ["a", "\u{1}", "é", "\n"] {
            assert!(unknown(&fill.repeat(1 << 20)).len() < 400, "{fill:?}");
        }
    }
}
