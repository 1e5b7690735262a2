//! From a component to machine code. Compiled code is never accepted from outside; [`Cache`] holds what was
//! compiled here.

use crate::engine::CompiledComponent;
use crate::error::{MAX_CAUSE, printable};
use crate::{Cache, Engine, EngineError, InspectedComponent, native};
use aws_lc_rs::digest;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use wasmtime::component::Component;

impl Engine {
    /// Compiles a component, or reads its code from the cache. This may last seconds: do not call it on a
    /// worker.
    ///
    /// # Errors
    /// [`inspect`](crate::inspect()) or the compiler refuses the component.
    pub fn compile(
        &self,
        bytes: &[u8],
        cache: Option<&Cache>,
    ) -> Result<CompiledComponent, EngineError> {
        self.compile_inspected(&InspectedComponent::new(bytes)?, cache)
    }

    /// The same for a component that was inspected before, which is not inspected again.
    ///
    /// # Errors
    /// The compiler refuses the component.
    pub fn compile_inspected(
        &self,
        component: &InspectedComponent<'_>,
        cache: Option<&Cache>,
    ) -> Result<CompiledComponent, EngineError> {
        let InspectedComponent { bytes, inspection } = component;
        let name = self.cache_name(bytes);
        let done = |component, cached| CompiledComponent {
            engine: self.clone(),
            component,
            inspection: Arc::clone(inspection),
            cached,
        };
        if let Some(component) = cache
            .and_then(|c| c.read(&name))
            .and_then(|sealed| native::load(self.wasmtime(), &sealed))
        {
            return Ok(done(component, true));
        }
        let component = Component::from_binary(self.wasmtime(), bytes)
            .map_err(|e| EngineError::Compile(printable(&format!("{e:#}"), MAX_CAUSE)))?;
        if let Some(cache) = cache {
            match component.serialize() {
                Ok(code) => cache.write(&name, &code),
                Err(error) => {
                    tracing::warn!(target: "tamis::engine", %error, "compiled code could not be written to the cache");
                }
            }
        }
        Ok(done(component, false))
    }

    /// File name from digest, engine version and flags, so that the file of another build is not even
    /// opened.
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
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut out, byte| {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        out
    })
}
