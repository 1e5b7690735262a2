//! From octets to machine code, and the local cache of the latter.
//!
//! Compiled code is never accepted from outside. A cache file is `MAC ‖ code`; the MAC is HMAC-SHA-256 under a key
//! that was made in the cache's directory with mode 0600 and covers the file's name as well, so that no file can
//! stand in for another. What does not check is ignored and written anew.

use crate::engine::Compiled;
use crate::{Engine, EngineError, inspect, native};
use aws_lc_rs::{digest, hmac, rand};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::component::Component;

const MAC_BYTES: usize = 32;
const KEY_FILE: &str = "cache.key";

/// A directory of compiled code only this host trusts.
pub struct Cache {
    directory: PathBuf,
    key: hmac::Key,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens a cache directory, making it and its key when there is none.
    ///
    /// # Errors
    /// When the directory cannot be written, or its key can be read by others.
    pub fn open(directory: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(key) if key.len() == MAC_BYTES => {
                if fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
                    return Err(std::io::Error::other(format!(
                        "{} can be read by others; `chmod 600` it or remove it",
                        path.display()
                    )));
                }
                key
            }
            _ => make_key(&path)?,
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(Self { directory: directory.to_owned(), key })
    }

    fn read(&self, name: &str) -> Option<Sealed> {
        let file = fs::read(self.directory.join(name)).ok()?;
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        let message = [name.as_bytes(), code].concat();
        hmac::verify(&self.key, &message, mac).ok()?;
        Some(Sealed(file))
    }

    /// Writes beside and renames, so that a reader sees a whole file or none. A full disk costs the cache only.
    fn write(&self, name: &str, code: &[u8]) {
        let mac = hmac::sign(&self.key, &[name.as_bytes(), code].concat());
        let temporary = self.directory.join(format!("{name}.{}.tmp", std::process::id()));
        let written = private(&temporary, true)
            .and_then(|mut file| file.write_all(mac.as_ref()).and_then(|()| file.write_all(code)))
            .and_then(|()| fs::rename(&temporary, self.directory.join(name)));
        if let Err(error) = written {
            tracing::warn!(target: "tamis::engine", %error, "compiled code was not cached");
            drop(fs::remove_file(&temporary));
        }
    }
}

fn make_key(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; MAC_BYTES];
    rand::fill(&mut key).map_err(|_| std::io::Error::other("no randomness for the cache's key"))?;
    drop(fs::remove_file(path));
    private(path, false)?.write_all(&key)?;
    Ok(key)
}

fn private(path: &Path, replace: bool) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if replace {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)
}

/// Octets of a cache file whose MAC was right.
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    /// The code, without the MAC.
    pub(crate) fn octets(&self) -> &[u8] {
        self.0.get(MAC_BYTES..).unwrap_or_default()
    }
}

impl Engine {
    /// Compiles a component, or takes its code from the cache. Takes up to seconds: call it off the workers.
    ///
    /// # Errors
    /// When [`inspect`](crate::inspect()) refuses it or the compiler does.
    pub fn compile(&self, bytes: &[u8], cache: Option<&Cache>) -> Result<Compiled, EngineError> {
        let inspection = Arc::new(inspect(bytes)?);
        let name = self.cache_name(bytes);
        let done = |component, cached| Compiled {
            engine: self.clone(),
            component,
            inspection: Arc::clone(&inspection),
            cached,
        };
        if let Some(component) = cache
            .and_then(|c| c.read(&name))
            .and_then(|sealed| native::load(self.wasmtime(), &sealed))
        {
            return Ok(done(component, true));
        }
        let component = Component::from_binary(self.wasmtime(), bytes)
            .map_err(|e| EngineError::Compile(format!("{e:#}")))?;
        if let Some(cache) = cache {
            match component.serialize() {
                Ok(code) => cache.write(&name, &code),
                Err(error) => {
                    tracing::warn!(target: "tamis::engine", %error, "compiled code was not cached");
                }
            }
        }
        Ok(done(component, false))
    }

    /// Names digest, engine version and flags, so that a file of another build is not even opened.
    fn cache_name(&self, bytes: &[u8]) -> String {
        let mut hasher = Sha256Hasher(digest::Context::new(&digest::SHA256));
        self.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
        let engine = hasher.0.finish();
        let component = digest::digest(&digest::SHA256, bytes);
        format!(
            "{}-{}.code",
            hex(component.as_ref()),
            hex(engine.as_ref().get(..8).unwrap_or_default())
        )
    }
}

struct Sha256Hasher(digest::Context);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        out
    })
}
