//! `cargo xtask guests`: two filters in the languages that they are written in, each built with the tools of its language.
//!
//! The sources are `tests/guests/LANGUAGE/FILTER`, the contract is `wit/`, and the results are
//! `target/guests/FILTER-LANGUAGE.wasm`. The tools are installed only for this checkout, in versions
//! named in `guests/tools.rs` and in the package files of the sources.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

mod build;
mod tools;

use tools::Tools;

/// Arguments of `guests`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The languages to build; default: all.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(LANGUAGES.map(|l| l.name)))]
    names: Vec<String>,
}

/// The filters that are written in several languages: one to copy, and one that prints and fails.
const FILTERS: [&str; 2] = ["header-policy", "outcry"];

/// The world that they are filters of.
const WORLD: &str = "head-policy";

/// The build instructions and tools: a change builds the components again.
const BUILD: [&str; 2] = [include_str!("guests/build.rs"), include_str!("guests/tools.rs")];

const LANGUAGES: [Language; 5] = [
    Language { name: "rust", tracked: false, build: build::rust },
    Language { name: "javascript", tracked: true, build: build::javascript },
    Language { name: "python", tracked: true, build: build::python },
    Language { name: "c", tracked: true, build: build::c },
    Language { name: "go", tracked: true, build: build::go },
];

/// How a language becomes a component.
struct Language {
    name: &'static str,
    /// Whether this program decides from the sources whether to build; cargo decides itself.
    tracked: bool,
    build: fn(&Job, &Tools) -> Result<()>,
}

/// How the text of the schema is written down for a language.
type Render = fn(&str) -> String;

/// One build.
struct Job {
    /// The filter.
    filter: &'static str,
    /// The sources as they are in the repository.
    sources: PathBuf,
    /// A fresh copy of them with the generated files.
    folder: PathBuf,
    /// The contract.
    wit: PathBuf,
    /// The component to write.
    component: PathBuf,
}

/// Builds the languages named, or all; continues after a failure, and reports it at the end.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    let tools = Tools::new(&workspace);
    let target = workspace.target_directory.join("guests");
    fs::create_dir_all(&target)?;
    let chosen = |language: &&Language| {
        arguments.names.is_empty() || arguments.names.iter().any(|name| name == language.name)
    };
    let mut failed = Vec::new();
    for language in LANGUAGES.iter().filter(chosen) {
        for filter in FILTERS.into_iter().filter(|filter| sources(language.name, filter).exists()) {
            let name = format!("{filter}-{}", language.name);
            match language.component(filter, &target, &tools) {
                Ok(line) => println!("    {name:<26} {line}"),
                Err(error) => {
                    println!("    {name:<26} {error:#}");
                    failed.push(name);
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("no component of {}; see above", failed.join(", "));
    }
    Ok(())
}

/// Builds what the suites serve: the language whose tools are the lightest to install, and come with what `setup` installs.
pub(crate) fn tested() -> Result<()> {
    run(&Arguments { names: vec!["python".to_owned()] })
}

impl Language {
    /// Builds unless nothing has changed; hands back a line about the component.
    fn component(&self, filter: &'static str, target: &Path, tools: &Tools) -> Result<String> {
        let job = Job {
            filter,
            sources: sources(self.name, filter),
            folder: target.join("build").join(self.name),
            wit: shell::root().join("wit"),
            component: target.join(format!("{filter}-{}.wasm", self.name)),
        };
        let stamp = job.component.with_extension("inputs");
        let inputs = format!("{:016x}", self.inputs(&job)?);
        let current = self.tracked
            && job.component.is_file()
            && fs::read_to_string(&stamp).is_ok_and(|text| text == inputs);
        let start = Instant::now();
        if !current {
            // A component of other sources must not be mistaken for this one if the build fails.
            match fs::remove_file(&job.component) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            (self.build)(&job, tools)?;
            if self.tracked {
                fs::write(&stamp, inputs)?;
            }
        }
        let size = fs::metadata(&job.component).context("the build left no component")?.len();
        let took = if current {
            "as it was".to_owned()
        } else {
            format!("{:.1} s", start.elapsed().as_secs_f64())
        };
        Ok(format!("{:>6} KiB, {took}", size.div_ceil(1024)))
    }

    /// A hash of everything that the component is made from.
    fn inputs(&self, job: &Job) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        BUILD.hash(&mut hasher);
        let language = job.sources.parent().unwrap_or(&job.sources);
        for folder in [language, &job.wit] {
            for path in files(folder)? {
                path.hash(&mut hasher);
                hash_file(&path, &mut hasher)?;
            }
        }
        hash_file(&schema(), &mut hasher)?;
        Ok(hasher.finish())
    }
}

impl Job {
    /// Copies the sources to the build's folder, with the schema of the configuration in each place
    /// that asks for it.
    fn lay_out(&self, schemas: &[(&str, Render)]) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        for path in files(&self.sources)? {
            let copy = self.folder.join(path.strip_prefix(&self.sources)?);
            fs::create_dir_all(copy.parent().unwrap_or(&self.folder))?;
            fs::copy(&path, &copy)?;
        }
        let text = fs::read_to_string(schema())?;
        for (place, render) in schemas {
            let place = self.folder.join(place);
            fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
            fs::write(place, render(&text))?;
        }
        Ok(())
    }
}

fn sources(language: &str, filter: &str) -> PathBuf {
    shell::root().join("tests/guests").join(language).join(filter)
}

/// The JSON Schema that the filter `header-policy` returns in every language.
fn schema() -> PathBuf {
    shell::root().join("tests/guests/header-policy.schema.json")
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.append(&mut files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    fs::read(path).with_context(|| format!("no {}", path.display()))?.hash(hasher);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(folder: &Path) -> Job {
        Job {
            filter: "filter",
            sources: folder.join("go/filter"),
            folder: folder.join("build"),
            wit: folder.join("wit"),
            component: folder.join("filter.wasm"),
        }
    }

    #[test]
    fn a_changed_source_or_contract_changes_the_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        let [go, ..] = &LANGUAGES;
        for path in ["go/filter/main.go", "wit/types.wit"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "one").unwrap();
        }
        let before = go.inputs(&job).unwrap();
        assert_eq!(go.inputs(&job).unwrap(), before);
        fs::write(folder.path().join("wit/types.wit"), "two").unwrap();
        let after = go.inputs(&job).unwrap();
        assert_ne!(after, before);
        fs::write(folder.path().join("go/filter/new.go"), "").unwrap();
        assert_ne!(go.inputs(&job).unwrap(), after);
    }

    #[test]
    fn a_build_begins_with_a_fresh_copy_and_the_schema() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        fs::create_dir_all(job.sources.join("policy")).unwrap();
        fs::write(job.sources.join("policy/main.go"), "go").unwrap();
        fs::create_dir_all(&job.folder).unwrap();
        fs::write(job.folder.join("old"), "").unwrap();
        job.lay_out(&[("policy/schema.json", str::to_owned)]).unwrap();
        let names: Vec<_> = files(&job.folder).unwrap();
        let expected = ["main.go", "schema.json"].map(|name| job.folder.join("policy").join(name));
        assert_eq!(names, expected);
    }
}
