//! `tamis check`: finds what is wrong with a folder of documents, by the proxy's own rules.

use crate::change;
use crate::declared::nodes;
use crate::output::{self, Output};
use crate::problem_text::render;
use crate::remote::RegistryAccess;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_ambient::{Clock, Random};
use tamis_node::{ArtifactStore, Documents, Examiner, Finding, NodeResources, Source};
use tamis_resources::{Document, NodeName, Problem, fold};

/// Arguments of `check`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with the documents.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Check only the plan of this proxy; default: all proxies.
    #[arg(long)]
    node: Option<NodeName>,
    /// Folder of signed filters; default: `.tamis/store` in the folder; may be repeated.
    #[arg(long)]
    store: Vec<PathBuf>,
    /// Let a running registry check the documents, together with those in force there: the folder may then contain a part
    /// of the mesh. Nothing is changed.
    #[arg(long, conflicts_with_all = ["node", "store"])]
    live: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Prints every problem with its place; fails if there is one.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let source = Source::folder(&arguments.folder);
    let read = source.read().context("no folder given; name the folder with the documents")?;
    if read.documents.is_empty() && read.problems.is_empty() && read.unreadable.is_empty() {
        bail!(
            "{} has no documents: it contains no *.yaml or *.yml file",
            arguments.folder.display()
        );
    }
    let nodes = match &arguments.node {
        Some(node) => vec![node.clone()],
        None => nodes(&read.documents),
    };
    let mut problems = read.problems;
    if arguments.live {
        let mut found = Vec::new();
        if problems.is_empty() && read.unreadable.is_empty() {
            found = change::judged(&source, &read.documents, &arguments.at)?;
        }
        let read = Documents { problems, ..read };
        return Ok(report(&read, &[], found, output));
    }
    between(&read.documents, &nodes, &source.root, &mut problems);
    let stores = match arguments.store.as_slice() {
        [] => vec![arguments.folder.join(".tamis/store")],
        stores => stores.to_vec(),
    };
    let fresh = !stores.iter().any(|store| store.is_dir());
    let mut notes = Vec::new();
    if fresh {
        way_out(&mut problems, &arguments.folder, &mut notes);
    } else {
        let busy = output::busy("asking the filters about their configurations");
        examine(&read.documents, &nodes, &source, stores, &mut problems, &mut notes)?;
        drop(busy);
    }
    Ok(report(&Documents { problems, ..read }, &nodes, notes, output))
}

/// Prints what was found. `nodes` are the proxies that were checked; none: the registry checked them all.
fn report(read: &Documents, nodes: &[NodeName], notes: Vec<String>, output: Output) -> ExitCode {
    let problems = &read.problems;
    let sound = problems.is_empty() && notes.is_empty() && read.unreadable.is_empty();
    let value = json!({
        "documents": read.documents.len(),
        "nodes": nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems": problems,
        "notes": notes,
        "unreadable": read.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    output::result(output, &value, || {
        let mut text = problems.iter().map(render).collect::<String>();
        for file in &read.unreadable {
            let _ = writeln!(text, "{file}");
        }
        for note in &notes {
            let _ = writeln!(text, "{note}");
        }
        if sound {
            let (documents, proxies) = (read.documents.len(), nodes.len());
            let _ = match proxies {
                0 => writeln!(
                    text,
                    "{documents} documents together with those in force, nothing wrong."
                ),
                _ => writeln!(text, "{documents} documents for {proxies} proxies, nothing wrong."),
            };
        }
        text
    });
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When nothing has been signed and pinned yet, one command makes all that is missing, and it is not `tamis
/// pin`.
fn way_out(problems: &mut Vec<Problem>, folder: &Path, notes: &mut Vec<String>) {
    let made = |one: &Problem| {
        let file = one.code == "file.unreadable" || one.code == "trust.key";
        one.code == "pin.missing" || (file && one.message.contains(".tamis/"))
    };
    let before = problems.len();
    problems.retain(|one| !made(one));
    let missing = before - problems.len();
    if missing > 0 {
        notes.push(format!(
            "keys, signed filters and pins do not exist yet (they are missing in {missing} places): `tamis up {} --prepare` makes them",
            folder.display()
        ));
    }
}

/// What proxies would refuse: signatures, imports, fields, configurations, routes, certificates.
fn examine(
    documents: &[Document],
    nodes: &[NodeName],
    source: &Source,
    stores: Vec<PathBuf>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let shared = NodeResources::new(None, Clock::system(), Random::system())?;
    let mut examiner = Examiner::new(&shared, source.clone(), ArtifactStore::new(stores))?;
    for node in nodes {
        for finding in examiner.look(documents, node) {
            match finding {
                Finding::Note(note) => notes.push(note),
                Finding::Problem(problem) => add(problems, *problem),
            }
        }
    }
    Ok(())
}

/// Adds a problem unless it is listed: proxies share documents, and so their problems.
fn add(problems: &mut Vec<Problem>, problem: Problem) {
    let same = |one: &Problem| {
        one.place == problem.place && one.code == problem.code && one.message == problem.message
    };
    if !problems.iter().any(same) {
        problems.push(problem);
    }
}

/// Problems between documents, over all proxies that the documents declare.
pub(crate) fn problems(documents: &[Document], root: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    between(documents, &nodes(documents), root, &mut problems);
    problems
}

fn between(documents: &[Document], nodes: &[NodeName], root: &Path, problems: &mut Vec<Problem>) {
    let file =
        |name: &str| std::fs::read(root.join(name)).map_err(|error| format!("{name}: {error}"));
    // No proxy is declared: report what is wrong for a proxy that has every pin.
    let nobody = [NodeName::Gateway { key: "*".to_owned() }];
    let nodes = if nodes.is_empty() { &nobody } else { nodes };
    for node in nodes {
        for problem in fold(documents, node, &file).problems {
            add(problems, problem);
        }
    }
}

#[cfg(test)]
mod tests;
