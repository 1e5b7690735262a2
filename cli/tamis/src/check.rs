//! `tamis check`: what is wrong with a folder of resources.

use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::json;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_node::Source;
use tamis_resources::{Document, NodeName, Problem, Resource, fold};

/// What `check` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of resources.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Check the plan of this proxy alone; all of them when not said.
    #[arg(long)]
    node: Option<NodeName>,
}

/// Prints every problem with its place; fails if there is one.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let source = Source::folder(&arguments.folder);
    let read = source.read().context("no resources to check; name their folder")?;
    if read.documents.is_empty() && read.problems.is_empty() && read.unreadable.is_empty() {
        bail!("{} has no documents: no *.yaml, no *.yml", arguments.folder.display());
    }
    let nodes = match &arguments.node {
        Some(node) => vec![node.clone()],
        None => nodes(&read.documents),
    };
    let mut problems = read.problems;
    between(&read.documents, &nodes, &source.root, &mut problems);
    let sound = problems.is_empty() && read.unreadable.is_empty();
    let value = json!({
        "documents": read.documents.len(),
        "nodes": nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems": problems,
        "unreadable": read.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    output::result(output, &value, || {
        let mut text = problems.iter().map(render).collect::<String>();
        for file in &read.unreadable {
            let _ = writeln!(text, "{file}");
        }
        if sound {
            let (documents, proxies) = (read.documents.len(), nodes.len());
            let _ = writeln!(text, "{documents} documents for {proxies} proxies, nothing wrong.");
        }
        text
    });
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong between documents, for all proxies they plan.
pub(crate) fn problems(documents: &[Document], root: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    between(documents, &nodes(documents), root, &mut problems);
    problems
}

fn between(documents: &[Document], nodes: &[NodeName], root: &Path, problems: &mut Vec<Problem>) {
    let file =
        |name: &str| std::fs::read(root.join(name)).map_err(|error| format!("{name}: {error}"));
    for node in nodes {
        for problem in fold(documents, node, &file).problems {
            // Proxies share documents, and so their problems.
            let same = |one: &Problem| one.place == problem.place && one.code == problem.code;
            if !problems.iter().any(same) {
                problems.push(problem);
            }
        }
    }
}

/// Every proxy the documents plan.
pub(crate) fn nodes(documents: &[Document]) -> Vec<NodeName> {
    let mut nodes = Vec::new();
    for document in documents {
        match &document.resource {
            Resource::Gateway(_) => nodes.push(NodeName::Gateway { key: document.key() }),
            Resource::Service(spec) => {
                let with =
                    spec.endpoints.iter().enumerate().filter(|(_, one)| one.sidecar.is_some());
                nodes.extend(
                    with.map(|(index, _)| NodeName::Sidecar { key: document.key(), index }),
                );
            }
            _ => {}
        }
    }
    nodes
}

/// A problem as people like to see it.
pub(crate) fn render(problem: &Problem) -> String {
    let theme = if std::io::stdout().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut text = String::new();
    match GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .render_report(&mut text, problem)
    {
        Ok(()) => text,
        Err(_) => {
            let place = &problem.place;
            format!("{}:{}:{}: {problem}\n", place.source, place.line, place.column)
        }
    }
}

#[cfg(test)]
mod tests;
