//! `cargo xtask filters`: from Rust crates to components.
//!
//! A filter is compiled for bare WebAssembly, then encoded as a component whose type is the world
//! that its bindings name. What comes out imports interfaces of the contract and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::workspace::{Package, Workspace};
use crate::{setup, shell};

/// Arguments of `filters`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The filters to build, like `route`; default: all.
    names: Vec<String>,
}

/// The packages that are built-in filters; the binary embeds them.
const PREFIX: &str = "tamis-filter-";

/// The packages of `examples/filters`: built in the same way, and embedded nowhere.
const EXAMPLE: &str = "tamis-example-";

/// The only package that a filter may import from.
const CONTRACT: &str = "tamis:filter/";

/// Builds the filters named, or all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::wasm_target()?;
    let workspace = Workspace::load()?;
    let every: Vec<_> = workspace.packages.iter().filter_map(Filter::of).collect();
    let chosen: Vec<_> = if arguments.names.is_empty() {
        every.iter().collect()
    } else {
        arguments.names.iter().map(|name| named(&every, name)).collect::<Result<_>>()?
    };
    compile(&chosen)?;
    let folders = [workspace.components(), workspace.examples()];
    for (folder, is_example) in folders.iter().zip([false, true]) {
        fs::create_dir_all(folder)?;
        if arguments.names.is_empty() {
            let every: Vec<_> = every.iter().filter(|one| one.is_example == is_example).collect();
            forget_others(folder, &every)?;
        }
    }
    let [built_in, examples] = &folders;
    let modules = workspace.target_directory.join(setup::WASM_TARGET).join("component");
    let mut failed = 0_usize;
    for filter in chosen {
        let folder = if filter.is_example { examples } else { built_in };
        match filter.encode(&modules, folder) {
            Ok(line) => println!("    {line}"),
            Err(error) => {
                failed += 1;
                println!("    {}: {error:#}", filter.name);
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of the filters did not become a component");
    }
    Ok(())
}

/// Builds every filter.
pub(crate) fn all() -> Result<()> {
    run(&Arguments { names: Vec::new() })
}

/// A filter's crate.
struct Filter<'a> {
    name: &'a str,
    is_example: bool,
    package: &'a Package,
}

impl<'a> Filter<'a> {
    fn of(package: &'a Package) -> Option<Self> {
        let built_in = package.name.strip_prefix(PREFIX).map(|name| (name, false));
        let example = || package.name.strip_prefix(EXAMPLE).map(|name| (name, true));
        let (name, is_example) = built_in.or_else(example)?;
        Some(Self { name, is_example, package })
    }

    /// Turns the compiled module into a component with its description; returns a line about it.
    fn encode(&self, modules: &Path, folder: &Path) -> Result<String> {
        let module = modules.join(format!("{}.wasm", self.package.name.replace('-', "_")));
        let module =
            fs::read(&module).with_context(|| format!("no module at {}", module.display()))?;
        let component = component(&module)?;
        let imports = imports(&component)?;
        let description = self.description();
        let description = fs::read(&description)
            .with_context(|| format!("no description at {}", description.display()))?;
        write(&folder.join(format!("{}.wasm", self.name)), &component)?;
        write(&folder.join(format!("{}.yaml", self.name)), &description)?;
        let size = component.len().div_ceil(1024);
        Ok(format!("{:<16} {size:>5} KiB  imports {}", self.name, imports.join(", ")))
    }

    /// The file that describes the configuration and the hooks of the filter.
    fn description(&self) -> PathBuf {
        self.package.manifest_path.with_file_name("filter.yaml")
    }
}

fn named<'a, 'b>(every: &'b [Filter<'a>], name: &str) -> Result<&'b Filter<'a>> {
    every.iter().find(|filter| filter.name == name).with_context(|| {
        let known: Vec<_> = every.iter().map(|filter| filter.name).collect();
        format!("there is no filter {name}; there are {}", known.join(", "))
    })
}

/// One call for all: cargo shares what they have in common and skips what has not changed.
fn compile(filters: &[&Filter<'_>]) -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--lib", "--profile", "component", "--target", setup::WASM_TARGET]);
    for filter in filters {
        build.args(["--package", &filter.package.name]);
    }
    shell::run(&mut build)
}

/// Encodes and validates. The module carries its world in a custom section.
fn component(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .context("the module is not a filter: does its lib.rs export a world of the contract?")
}

/// The interfaces that a component imports, without the package; fails when one is foreign.
fn imports(component: &[u8]) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("the encoder left no component");
    };
    let world = resolve.worlds.get(world).context("the component has no world")?;
    let mut imports = Vec::new();
    for key in world.imports.keys() {
        let name = resolve.name_world_key(key);
        let Some(own) = name.strip_prefix(CONTRACT) else {
            bail!("it imports {name}, which no host of the contract {CONTRACT} provides");
        };
        imports.push(own.split('@').next().unwrap_or(own).to_owned());
    }
    imports.sort();
    Ok(imports)
}

/// Writes only what differs: a new modification time would make cargo build the binary again.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("could not write {}", path.display()))
}

/// Removes components whose filter is gone: the binary embeds every one it finds.
fn forget_others(folder: &Path, filters: &[&Filter<'_>]) -> Result<()> {
    for file in fs::read_dir(folder)?.flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        let stem = name.split('.').next().unwrap_or_default();
        if !filters.iter().any(|filter| filter.name == stem) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    use super::*;

    /// A module that does nothing, of the world `filter` in the text.
    fn module(text: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", text).unwrap();
        let world = resolve.select_world(&[package], Some("filter")).unwrap();
        let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        module
    }

    #[test]
    fn a_filter_imports_from_the_contract_alone() {
        let own = "package tamis:filter@0.1.0;
            interface log { line: func(text: string); }
            world filter { import log; export act: func(); }";
        assert_eq!(imports(&component(&module(own)).unwrap()).unwrap(), ["log"]);

        let foreign = own.replace("tamis:filter", "other:place");
        let error = imports(&component(&module(&foreign)).unwrap()).unwrap_err();
        assert!(error.to_string().contains("it imports other:place/log@0.1.0"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_module_are_refused_with_what_to_do() {
        let error = component(b"not wasm").unwrap_err().to_string();
        assert!(error.contains("the module is not a filter"), "{error}");
    }

    #[test]
    fn an_unchanged_file_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("route.wasm");
        write(&path, b"one").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        write(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), old);
        write(&path, b"two").unwrap();
        assert_ne!(fs::metadata(&path).unwrap().modified().unwrap(), old);
    }

    #[test]
    fn components_of_filters_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["route.wasm", "route.wasm.manifest.json", "gone.wasm", "gone.yaml"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let package = Package { name: "tamis-filter-route".into(), manifest_path: PathBuf::new() };
        forget_others(folder.path(), &[&Filter::of(&package).unwrap()]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
