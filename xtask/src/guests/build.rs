//! From the sources of each language to a component.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::tools::Tools;
use super::{Job, WORLD, files};
use crate::{setup, shell};

/// Only the SDK of this repository.
pub(super) fn rust(job: &Job, _: &Tools) -> Result<()> {
    setup::wasm_target()?;
    let target = job.component.parent().context("the component has no folder")?;
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--release", "--target", setup::WASM_TARGET, "--target-dir"]);
    shell::read(cargo.arg(target).current_dir(&job.sources))?;
    let module = format!("guest_{}.wasm", job.filter.replace('-', "_"));
    let module = fs::read(target.join(setup::WASM_TARGET).join("release").join(module))?;
    write(&job.component, &encode(&module)?)
}

/// A JavaScript engine around the source. Of WASI it keeps what `console` and the report of an exception are written with.
pub(super) fn javascript(job: &Job, tools: &Tools) -> Result<()> {
    let tool = tools.componentize_js(&job.sources)?;
    job.lay_out(&[("schema.js", |text| format!("export default {text:?};\n"))])?;
    let mut build = shell::command(tool);
    build
        .arg(format!("{}.js", job.filter))
        .arg("--wit")
        .arg(&job.wit)
        .args(["--world-name", WORLD]);
    build.arg("--out").arg(&job.component);
    build.args(["--disable", "random", "clocks", "http", "fetch-event"]);
    shell::read(build.current_dir(&job.folder)).map(drop)
}

/// An interpreter that has imported the source already. It imports WASI, which the host links to an empty world: `print` and
/// the report of an exception are written with it.
pub(super) fn python(job: &Job, tools: &Tools) -> Result<()> {
    let tool = tools.componentize_py()?;
    job.lay_out(&[("schema.py", |text| format!("SCHEMA = r\"\"\"{text}\"\"\"\n"))])?;
    let mut build = shell::command(tool);
    build.arg("--wit-path").arg(&job.wit).args(["--world", WORLD, "componentize"]);
    build.arg("--python-path").arg(&job.folder).arg(job.filter.replace('-', "_"));
    build.arg("--output").arg(&job.component);
    shell::read(build.current_dir(&job.folder)).map(drop)
}

/// Generated bindings, compiled with the sources as a library without a `main`.
pub(super) fn c(job: &Job, tools: &Tools) -> Result<()> {
    let mut zig = tools.zig_cc()?;
    job.lay_out(&[("schema.json", str::to_owned)])?;
    bind(job, tools, "c")?;
    let module = job.folder.join("module.wasm");
    zig.args(["-target", "wasm32-wasi", "-mexec-model=reactor", "-std=c23", "-O2", "-s"]);
    // The stack is a part of the instance's memory; zig would set 16 MiB aside.
    zig.args(["-Wl,-z,stack-size=131072"]);
    zig.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(&module);
    for path in files(&job.folder)? {
        if path.extension().is_some_and(|extension| extension == "c" || extension == "o") {
            zig.arg(path);
        }
    }
    shell::read(zig.current_dir(&job.folder))?;
    write(&job.component, &encode(&fs::read(module)?)?)
}

/// Go's own compiler. It emits WASI 0.1, which an adapter turns into imports of WASI 0.2.
pub(super) fn go(job: &Job, tools: &Tools) -> Result<()> {
    let mut go = tools.go()?;
    job.lay_out(&[("policy/schema.json", str::to_owned)])?;
    bind(job, tools, "go")?;
    let module = job.folder.join("module.wasm");
    go.env("GOOS", "wasip1").env("GOARCH", "wasm");
    go.args(["build", "-buildmode=c-shared", "-trimpath"]);
    // The bindings' runtime allocates before Go's own has started, through a name that is not public.
    go.arg("-ldflags=-s -w -checklinkname=0").arg("-o").arg(&module).arg(".");
    shell::read(go.current_dir(&job.folder))?;
    let mut module = fs::read(module)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(&job.wit)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    write(&job.component, &encode(&module)?)
}

/// Generates the bindings of the world in the build's folder.
fn bind(job: &Job, tools: &Tools, language: &str) -> Result<()> {
    let mut bindgen = shell::command(tools.wit_bindgen()?);
    bindgen.args([language, "--world", WORLD, "--out-dir"]).arg(&job.folder).arg(&job.wit);
    shell::read(&mut bindgen).map(drop)
}

/// Encodes and validates; the adapter is left out of a module that has no use for it.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode())
        .context("the module is not a filter of this contract")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("could not write {}", path.display()))
}
