//! From a component to machine code. Compiled code is never accepted from outside; [`Cache`] holds what was
//! compiled here.

use crate::engine::CompiledComponent;
use crate::engine::{MAX_MEMORIES, MAX_TABLES};
use crate::error::{MAX_CAUSE, printable};
use crate::room::InstanceNeeds;
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
        let done = |component: Component, cached| {
            Ok(CompiledComponent {
                engine: self.clone(),
                needs: needs(&component)?,
                component,
                inspection: Arc::clone(inspection),
                cached,
            })
        };
        if let Some(component) = cache
            .and_then(|c| c.read(&name))
            .and_then(|sealed| native::load(self.wasmtime(), &sealed))
        {
            return done(component, true);
        }
        let component = Component::from_binary(self.wasmtime(), bytes)
            .map_err(|e| EngineError::Compile(compile_fault(&format!("{e:#}"))))?;
        if let Some(cache) = cache {
            match component.serialize() {
                Ok(code) => cache.write(&name, &code),
                Err(error) => {
                    tracing::warn!(target: "tamis::engine", %error, "compiled code could not be written to the cache");
                }
            }
        }
        done(component, false)
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

/// What one instance of a component takes of the room for all.
///
/// # Errors
/// More than one component may have.
fn needs(component: &Component) -> Result<InstanceNeeds, EngineError> {
    let required = component.resources_required();
    let required = required.ok_or_else(|| EngineError::Invalid {
        rule: "it imports a core module; build a component that contains its modules".to_owned(),
    })?;
    let needs = InstanceNeeds {
        instances: 1,
        memories: required.num_memories,
        tables: required.num_tables,
    };
    for (what, number, most) in
        [("tables", needs.tables, MAX_TABLES), ("memories", needs.memories, MAX_MEMORIES)]
    {
        if number > most {
            return Err(EngineError::Invalid { rule: too_many(number, what, most) });
        }
    }
    Ok(needs)
}

fn too_many(number: u32, what: &str, most: u32) -> String {
    format!(
        "each of its instances has {number} {what}; at most {most} are allowed, since all filters share the room for them: link its modules into one"
    )
}

/// What the compiler says, and the way out where the rule is the pool's.
fn compile_fault(said: &str) -> String {
    let remedy = if said.contains("in the pooling allocator") {
        ". All filters share that room: link its modules into fewer"
    } else {
        ""
    };
    format!("{}{remedy}", printable(said, MAX_CAUSE))
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
