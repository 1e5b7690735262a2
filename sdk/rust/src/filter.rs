//! The trait that every filter implements.

use std::cell::RefCell;

use crate::lifecycle::{BodyMode, ConfigError, Interest, Responses};

/// A filter: built once per instance from its configuration, then called by the host through the hooks it
/// exports.
pub trait Filter: Sized {
    /// The configuration as the operator writes it. Let it refuse unknown fields (`#[serde(deny_unknown_fields)]`).
    type Settings: serde::de::DeserializeOwned;

    /// JSON Schema of [`Self::Settings`].
    const SCHEMA: &'static str;

    /// Checks what the types cannot express. Pure: it runs in CI and in the registry, where every
    /// capability traps.
    ///
    /// # Errors
    /// All errors in the settings, each with its place.
    fn check(_settings: &Self::Settings) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    /// Builds the filter from settings that passed [`Self::check`], and declares what it reads and writes.
    ///
    /// # Errors
    /// All errors in the settings, each with its place.
    fn configure(settings: Self::Settings) -> Result<(Self, Interest), Vec<ConfigError>>;
}

impl Interest {
    /// Reads these fields, writes nothing, sees no bodies. See `interest.reads` in the WIT for the names;
    /// `[]` reads nothing.
    pub fn reading<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self {
            reads: names.into_iter().map(str::to_owned).collect(),
            writes: Vec::new(),
            request_body: BodyMode::None,
            response_body: BodyMode::None,
            body_limit_bytes: 0,
            responses: Responses::Upstream,
            extra: Vec::new(),
        }
    }

    /// Edits may change these fields as well.
    #[must_use]
    pub fn writing<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.writes.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Its hook on response heads sees these responses; without it, those of upstreams.
    #[must_use]
    pub fn seeing(mut self, responses: Responses) -> Self {
        self.responses = responses;
        self
    }

    /// Buffers bodies, each up to `limit_bytes`.
    #[must_use]
    pub fn buffering(mut self, request: BodyMode, response: BodyMode, limit_bytes: u32) -> Self {
        self.request_body = request;
        self.response_body = response;
        self.body_limit_bytes = limit_bytes;
        self
    }
}

/// Makes panics write their message and place through [`log`](crate::log): the proxy's log and its record
/// of the request then name the file and line instead of an `unreachable` instruction.
///
/// Call it at the beginning of `configure`. The component then imports `log`, which its grant has to allow.
///
/// In native builds (unit tests) it does nothing: there is no proxy with a log.
pub fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                let text = panic.to_string().replace('\n', " ");
                crate::log::write(crate::log::Level::Error, &text);
            }));
        });
    }
}

/// Keeps the filter of a component's instance between calls. Used by [`export!`](crate::export).
pub struct Slot<F>(RefCell<Option<(F, Vec<String>)>>);

impl<F> Slot<F> {
    /// A slot before `configure`.
    #[must_use]
    pub const fn empty() -> Self {
        Self(RefCell::new(None))
    }
}

impl<F: Filter> Slot<F> {
    /// Checks a configuration without storing anything.
    ///
    /// # Errors
    /// All errors in it.
    pub fn validate(config: &str) -> Result<(), Vec<ConfigError>> {
        F::check(&crate::Config::parse(config)?)
    }

    /// Builds the filter and stores it with the order of the fields it reads.
    ///
    /// # Errors
    /// All errors in the configuration; a filter configured before stays.
    pub fn configure(&self, config: &str) -> Result<Interest, Vec<ConfigError>> {
        let settings = crate::Config::parse(config)?;
        F::check(&settings)?;
        let (filter, interest) = F::configure(settings)?;
        self.0.replace(Some((filter, interest.reads.clone())));
        Ok(interest)
    }

    /// Calls a hook with the filter and the names it reads.
    ///
    /// # Panics
    /// Before a successful [`Self::configure`]: a host that calls an unconfigured filter receives a trap,
    /// never a verdict.
    #[expect(
        clippy::panic,
        reason = "a trap is the only result that cannot be mistaken for a verdict"
    )]
    pub fn call<R>(&self, hook: impl FnOnce(&mut F, &[String]) -> R) -> R {
        match self.0.borrow_mut().as_mut() {
            Some((filter, reads)) => hook(filter, reads),
            None => panic!("a hook was called before configure succeeded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_may_read_and_write_nothing() {
        let interest = Interest::reading([]).writing([]);
        assert!(interest.reads.is_empty() && interest.writes.is_empty());
        let names = vec!["x-a".to_owned()];
        let interest = Interest::reading(names.iter().map(String::as_str)).writing(["x-b"]);
        assert_eq!((interest.reads, interest.writes), (names, vec!["x-b".to_owned()]));
    }
}
