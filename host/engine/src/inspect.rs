//! What a component imports and exports, read from its bytes: nothing is compiled, nothing runs.

use crate::error::printable;
use crate::inspection::Inspection;
use crate::{Contract, EngineError, Hook, function_bounds};
use aws_lc_rs::digest;
use std::sync::Arc;
use tamis_resources::MAX_COMPONENT_BYTES;
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload, WasmFeatures};

/// Namespace and package of the contract.
const PACKAGE: &str = "tamis:filter/";
/// Nested modules and components a file may contain.
const MAX_NESTED: usize = 256;
/// Most bytes of a refusal, which quotes the component.
const MAX_RULE: usize = 1_024;
/// Imports and exports of the outer component.
const MAX_NAMES: usize = 256;

/// Interfaces of the contract that a component may import without a grant, because they carry types only.
pub(crate) const TYPES_ONLY: [&str; 1] = ["types"];

/// A component that [`inspect`] accepts, with what it found: only such a component is compiled.
#[derive(Debug, Clone)]
pub struct InspectedComponent<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) inspection: Arc<Inspection>,
}

impl<'a> InspectedComponent<'a> {
    /// Inspects a component.
    ///
    /// # Errors
    /// Those of [`inspect`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, EngineError> {
        Ok(Self { bytes, inspection: Arc::new(inspect(bytes)?) })
    }

    /// A component that was inspected before, which is not inspected again; `None`: it is another one.
    pub fn known(bytes: &'a [u8], kept: &KeptInspection) -> Option<Self> {
        let KeptInspection { component, inspection } = kept;
        let same = digest::digest(&digest::SHA256, bytes).as_ref() == component.as_ref();
        same.then(|| Self { bytes, inspection: Arc::clone(inspection) })
    }

    /// What was found, to be kept without the bytes.
    pub fn keep(&self) -> KeptInspection {
        let component = digest::digest(&digest::SHA256, self.bytes);
        KeptInspection { component, inspection: Arc::clone(&self.inspection) }
    }

    /// What it imports and exports.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }
}

/// What was found in a component, without its bytes.
#[derive(Debug, Clone)]
pub struct KeptInspection {
    /// SHA-256 of the component.
    component: digest::Digest,
    inspection: Arc<Inspection>,
}

/// Reads and validates a component without compiling or running anything.
///
/// # Errors
/// The bytes are not a valid component, are too long, are precompiled code, do not export `lifecycle`,
/// import something unknown to this host, or have functions that would take the compiler too long.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, EngineError> {
    let invalid = |rule: String| Err(EngineError::Invalid { rule });
    if bytes.len() as u64 > MAX_COMPONENT_BYTES {
        return invalid(format!(
            "it has {} bytes; a component may have at most {MAX_COMPONENT_BYTES}",
            bytes.len()
        ));
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return invalid(
            "it is precompiled code; publish the component itself, the host compiles it".into(),
        );
    }
    if !bytes.starts_with(b"\0asm") {
        return invalid("it is not WebAssembly; expected a component".into());
    }
    if !Parser::is_component(bytes) {
        return invalid(
            "it is a core module; wrap it with `wasm-tools component new` or build a component"
                .into(),
        );
    }
    let mut found = Inspection {
        contract: Contract::NEWEST,
        hooks: Vec::new(),
        imports: Vec::new(),
        wasi: Vec::new(),
        others: Vec::new(),
        size: bytes.len(),
    };
    let (mut lifecycle, mut contract) = (false, None);
    read(bytes, |name, outward| -> Result<(), String> {
        one_contract(name, &mut contract)?;
        if outward { export(name, &mut found, &mut lifecycle) } else { import(name, &mut found) }
    })
    .map_err(|rule| EngineError::Invalid { rule: printable(&rule, MAX_RULE) })?;
    if !lifecycle {
        let name = contract.unwrap_or(Contract::NEWEST).interface("lifecycle");
        return invalid(format!("it does not export `{name}`"));
    }
    found.contract = contract.unwrap_or(Contract::NEWEST);
    if let Err(rule) = function_bounds::check(bytes, features()) {
        return invalid(printable(&rule, MAX_RULE));
    }
    found.hooks.sort_unstable();
    found.hooks.dedup();
    Ok(found)
}

fn features() -> WasmFeatures {
    WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL
}

/// Walks the outer component's imports and exports.
fn read(
    bytes: &[u8],
    mut name: impl FnMut(&str, bool) -> Result<(), String>,
) -> Result<(), String> {
    let (mut depth, mut nested, mut names) = (0_usize, 0_usize, 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| e.to_string())? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err("it is a core module, not a component".into());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth = depth.saturating_add(1);
                nested = nested.saturating_add(1);
                if nested > MAX_NESTED {
                    return Err(format!(
                        "it contains more than {MAX_NESTED} nested modules and components"
                    ));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|e| e.to_string())?;
                    names = names.saturating_add(1);
                    name(import.name.name, false)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|e| e.to_string())?;
                    names = names.saturating_add(1);
                    if export.kind == ComponentExternalKind::Instance {
                        name(export.name.name, true)?;
                    }
                }
            }
            _ => {}
        }
        if names > MAX_NAMES {
            return Err(format!("it has more than {MAX_NAMES} imports and exports"));
        }
    }
    Ok(())
}

/// Refuses a component of two versions of the contract: nobody could say what its values mean.
fn one_contract(name: &str, known: &mut Option<Contract>) -> Result<(), String> {
    let Some((_, contract)) = ours(name)? else { return Ok(()) };
    match known.replace(contract) {
        Some(other) if other != contract => Err(format!(
            "it mixes contract {other} and contract {contract} (`{name}`); build all of it for one"
        )),
        _ => Ok(()),
    }
}

fn export(name: &str, found: &mut Inspection, lifecycle: &mut bool) -> Result<(), String> {
    let Some((interface, contract)) = ours(name)? else {
        found.others.push(name.to_owned());
        return Ok(());
    };
    if interface == "lifecycle" {
        *lifecycle = true;
    } else if let Some(hook) = Hook::from_name(interface).filter(|_| contract.may_have(interface)) {
        found.hooks.push(hook);
    } else if !TYPES_ONLY.contains(&interface) {
        return Err(format!("it exports `{name}`, which is not a hook of this host"));
    }
    Ok(())
}

fn import(name: &str, found: &mut Inspection) -> Result<(), String> {
    if name.starts_with("wasi:") {
        found.wasi.push(name.to_owned());
        return Ok(());
    }
    let Some((interface, contract)) = ours(name)? else {
        return Err(format!(
            "it imports `{name}`; a filter may import only `tamis:filter` and WASI"
        ));
    };
    // When two worlds share types, a hook's interface is imported for its types only; it carries no
    // function.
    if TYPES_ONLY.contains(&interface) || Hook::from_name(interface).is_some() {
        return Ok(());
    }
    if !crate::grant::CAPABILITIES.contains(&interface) || !contract.may_have(interface) {
        return Err(format!("it imports `{name}`, which this host does not offer"));
    }
    found.imports.push(interface.to_owned());
    Ok(())
}

/// The interface of a name in our package and its version of the contract, such as `lifecycle` and 0.2 of
/// `tamis:filter/lifecycle@0.2.0`; `None`: another package.
pub(crate) fn ours(name: &str) -> Result<Option<(&str, Contract)>, String> {
    let Some(rest) = name.strip_prefix(PACKAGE) else { return Ok(None) };
    let Some((interface, version)) = rest.split_once('@') else {
        return Err(format!("`{name}` has no version; expected `@{}.0`", Contract::NEWEST));
    };
    match Contract::of(version) {
        Some(contract) => Ok(Some((interface, contract))),
        None => {
            let served = Contract::ALL.map(Contract::as_str).join(" and ");
            Err(format!(
                "`{name}` is of another version of the contract; this host serves {served}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_component_is_refused_with_the_reason() {
        for (bytes, part) in [
            (&b"hello"[..], "not WebAssembly"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"\0asm\x0d\0\x01\0", "does not export"),
        ] {
            let error = inspect(bytes).unwrap_err();
            assert_eq!(error.code(), "filter.invalid");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(tail in prop::collection::vec(any::<u8>(), 0..512)) {
            let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
            bytes.extend(&tail);
            prop_assert!(inspect(&bytes).is_err());
            prop_assert!(inspect(&tail).is_err());
        }
    }
}
