//! A list of callers in a secret.

use tamis_sdk::{clock, log, secrets};

/// How long a list is used before the secret is read again.
const FRESH_US: u64 = 1_000_000;

/// What a list requires of the host: imports in a component, plain values in tests.
pub trait ListSource {
    /// A clock that never goes back.
    fn now_us(&self) -> u64;
    /// The value of a secret.
    ///
    /// # Errors
    /// Why the secret has no value, and the way out.
    fn list(&self, secret: &str) -> Result<Vec<u8>, String>;
    /// A line for the operator.
    fn warn(&self, line: &str);
}

/// The imports of a component.
#[derive(Clone, Copy, Debug)]
pub struct ListImports;

impl ListSource for ListImports {
    fn now_us(&self) -> u64 {
        clock::monotonic_us()
    }

    fn list(&self, secret: &str) -> Result<Vec<u8>, String> {
        secrets::reveal(secrets::open(secret)?).ok_or_else(|| {
            "the grant lets the filter use the list of hashes, and not read it: set `imports.secrets.reveal`".to_owned()
        })
    }

    fn warn(&self, line: &str) {
        log::write(log::Level::Error, line);
    }
}

/// The entries of a list, each a line with its number from 1; empty lines and those that begin with `#` are comments. `None`:
/// it is not text in UTF-8.
#[must_use]
pub fn entries(octets: &[u8]) -> Option<impl Iterator<Item = (usize, &str)>> {
    let lines = std::str::from_utf8(octets).ok()?.lines().map(str::trim);
    let entries = (1_usize..).zip(lines);
    Some(entries.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')))
}

/// How the octets of a list are read.
///
/// # Errors
/// The first line that is wrong.
pub type ReadList<T> = fn(&[u8]) -> Result<T, String>;

/// A list as it was last read.
#[derive(Debug)]
pub struct SecretList<T> {
    secret: String,
    /// What it lists, such as `keys`.
    what: &'static str,
    read: ReadList<T>,
    last: Option<LastList<T>>,
}

#[derive(Debug)]
struct LastList<T> {
    at_us: u64,
    /// `None`: it cannot be used.
    list: Option<T>,
}

impl<T> SecretList<T> {
    /// A list that was not read yet.
    #[must_use]
    pub fn new(secret: String, what: &'static str, read: ReadList<T>) -> Self {
        Self { secret, what, read, last: None }
    }

    /// The name of its secret.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The list, read again after a second: what was taken out of the secret is refused from then on. `None`: it cannot be
    /// used, and a line says why.
    pub fn now(&mut self, source: &impl ListSource) -> Option<&T> {
        let now_us = source.now_us();
        let fresh = |last: &LastList<T>| now_us.saturating_sub(last.at_us) < FRESH_US;
        if !self.last.as_ref().is_some_and(fresh) {
            let Self { secret, what, read, .. } = self;
            let list = source.list(secret).and_then(|octets| read(&octets));
            let list = list.map_err(|why| {
                source.warn(&format!("the {what} in the secret `{secret}` cannot be used: {why}"));
            });
            self.last = Some(LastList { at_us: now_us, list: list.ok() });
        }
        self.last.as_ref()?.list.as_ref()
    }
}
