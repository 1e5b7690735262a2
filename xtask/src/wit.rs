//! `cargo xtask wit`: the contract is whole, documented, encodable, and its page is current.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, PackageId, Resolve};

use crate::shell;

mod audit;
mod render;
mod types;

/// What `wit` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when docs/reference/contract.md differs from wit/.
    #[arg(long)]
    check: bool,
}

/// Checks the contract, then writes its page or compares it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (resolve, package) = parse()?;
    documented(&resolve, package)?;
    let worlds = encodable(&resolve, package)?;
    let text = render::page(&resolve, package);
    let path = page();
    if arguments.check {
        if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("{} is not what wit/ says; run: cargo xtask wit", path.display());
        }
    } else {
        fs::create_dir_all(path.parent().context("the page has no folder")?)?;
        fs::write(&path, text)?;
    }
    println!("    the contract is documented, and its {worlds} worlds encode");
    Ok(())
}

/// Checks it and writes its page.
pub(crate) fn write() -> Result<()> {
    run(&Arguments { check: false })
}

/// Checks all of it, and writes nothing.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true })
}

/// The page that is rendered.
fn page() -> PathBuf {
    shell::root().join("docs/reference/contract.md")
}

fn parse() -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(shell::root().join("wit"))?;
    Ok((resolve, package))
}

/// Fails when an item of the package has no doc comment, and names every such item.
fn documented(resolve: &Resolve, package: PackageId) -> Result<()> {
    let bare = audit::undocumented(resolve, package);
    if !bare.is_empty() {
        bail!("these items of the contract lack a doc comment:\n  {}", bare.join("\n  "));
    }
    Ok(())
}

/// Encodes a component that does nothing for each world and validates it: a contract that no
/// component can satisfy must not be published.
fn encodable(resolve: &Resolve, package: PackageId) -> Result<usize> {
    let package = resolve.packages.get(package).context("the package is gone")?;
    for (name, world) in &package.worlds {
        let mut module = dummy_module(resolve, *world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8)
            .and_then(|()| ComponentEncoder::default().validate(true).module(&module))
            .and_then(|mut encoder| encoder.encode())
            .with_context(|| format!("no component can be of world {name}"))?;
    }
    Ok(package.worlds.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn contract(text: &str) -> (Resolve, PackageId) {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", text).unwrap();
        (resolve, package)
    }

    #[test]
    fn the_world_of_ones_own_on_the_page_encodes_and_imports_no_capability() {
        let (_, rest) = render::TO_SERVE.split_once("```wit\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let (mut resolve, _) = parse().unwrap();
        let package = resolve.push_str("gate.wit", text).unwrap();
        assert_eq!(encodable(&resolve, package).unwrap(), 1);
        let world = &resolve.worlds[resolve.packages[package].worlds["gate"]];
        let names = |items: &wit_parser::IndexMap<wit_parser::WorldKey, wit_parser::WorldItem>| {
            items.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>()
        };
        assert_eq!(names(&world.imports), ["tamis:filter/types@0.2.0"]);
        let hooks = ["tamis:filter/lifecycle@0.2.0", "tamis:filter/request@0.2.0"];
        assert_eq!(names(&world.exports), hooks);
    }

    #[test]
    fn every_world_of_the_contract_encodes() {
        let (resolve, package) = parse().unwrap();
        assert!(encodable(&resolve, package).unwrap() > 0);
    }
}
