//! `tamis check`: finds what is wrong with a folder of documents, by the proxy's own rules.

use crate::builtin;
use crate::change::{self, LiveFindings};
use crate::declared::nodes;
use crate::output::{self, Output};
use crate::problem_text::render;
use crate::remote::RegistryAccess;
use crate::table;
use crate::up;
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_node::{ArtifactStore, DocumentPlaces, Documents, Finding, PlanExaminer};
use tamis_resources::plan::World;
use tamis_resources::{Document, NodeName, Problem, Resource, fold};

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
    let source = DocumentPlaces::folder(&arguments.folder);
    let read = source.read().context("no folder given; name the folder with the documents")?;
    let has_nothing = read.problems.is_empty() && read.unreadable.is_empty();
    if read.documents.is_empty() && has_nothing && read.unread.is_empty() {
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
        let mut found = LiveFindings::default();
        if problems.is_empty() && read.unreadable.is_empty() {
            found = change::judged(&source, &read.documents, &arguments.at)?;
        }
        let read = Documents { problems, ..read };
        return Ok(report(&read, &[], found, output));
    }
    between(&read.documents, &nodes, &source.root, &mut problems);
    drop_consequences(&mut problems, &read.faulty);
    let stores = match arguments.store.as_slice() {
        [] => vec![arguments.folder.join(".tamis/store")],
        stores => stores.to_vec(),
    };
    let fresh = !stores.iter().any(|store| store.is_dir());
    let prepare = Preparation::of(&read.documents, &arguments.folder)?;
    prepare.advise(&mut problems);
    let mut notes: Vec<String> = unrouted(&read.documents).into_iter().collect();
    if fresh {
        prepare.summarize(&mut problems, &mut notes);
    } else {
        let busy = output::busy("asking the filters about their configurations");
        examine(&read.documents, &nodes, &source, stores, &mut problems, &mut notes)?;
        drop(busy);
    }
    let found = LiveFindings { problems: notes, asks: Vec::new() };
    Ok(report(&Documents { problems, ..read }, &nodes, found, output))
}

/// Prints what was found. `nodes` are the proxies that were checked; none: the registry checked them all.
fn report(
    read: &Documents,
    nodes: &[NodeName],
    LiveFindings { problems: notes, asks }: LiveFindings,
    output: Output,
) -> ExitCode {
    let problems = &read.problems;
    let left_out = || read.unreadable.iter().chain(&read.unread);
    let sound = problems.is_empty() && notes.is_empty() && left_out().next().is_none();
    let value = json!({
        "documents": read.documents.len(),
        "nodes": nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems": problems,
        "notes": notes,
        "asks": asks,
        "unreadable": read.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unread": read.unread.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    output::drawn_result(output, &value, || {
        let mut text = problems.iter().map(render).collect::<String>();
        for file in left_out() {
            let _ = writeln!(text, "{}", output::plain(&file.to_string()));
        }
        for note in notes.iter().chain(&asks) {
            let _ = writeln!(text, "{}", output::plain(note));
        }
        if sound {
            let documents = table::count(read.documents.len(), "document", "documents");
            let _ = match nodes.len() {
                0 => writeln!(text, "{documents} together with those in force, nothing wrong."),
                proxies => {
                    let proxies = table::count(proxies, "proxy", "proxies");
                    writeln!(text, "{documents} for {proxies}, nothing wrong.")
                }
            };
        }
        text
    });
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gateways with routes that nothing reads: every request would get 404. A filter that is attached and not described here
/// may be a router.
fn unrouted(documents: &[Document]) -> Option<String> {
    let has = |kinds: &[&str]| documents.iter().any(|one| kinds.contains(&one.kind()));
    if !has(&["Gateway"]) || !has(&["HTTPRoute", "GRPCRoute"]) {
        return None;
    }
    let other = |filter: &str| {
        documents.iter().any(|one| match &one.resource {
            Resource::Filter(spec) if one.key() == filter => {
                !matches!(spec.world, World::RoutePolicy | World::Everything)
            }
            _ => false,
        })
    };
    let router = |one: &Document| match &one.resource {
        Resource::FilterAttachment(spec) => !other(&spec.filter),
        _ => false,
    };
    if documents.iter().any(router) {
        return None;
    }
    Some(
        "no router is attached, so gateways answer 404 (route.none) to every request: add a Filter, a Grant and a FilterAttachment of `tamis/route`, as in `examples/shop`".to_owned(),
    )
}

/// What `tamis up --prepare` makes for a folder.
struct Preparation<'a> {
    folder: &'a Path,
    documents: &'a [Document],
    /// Names of the built-in filters.
    builtins: Vec<String>,
    /// The world of each, in the same order.
    worlds: Vec<Option<String>>,
    /// Whether a trust policy names a key that it makes; only with one it signs.
    signs: bool,
}

impl<'a> Preparation<'a> {
    fn of(documents: &'a [Document], folder: &'a Path) -> Result<Self> {
        let (builtins, worlds) =
            builtin::all()?.into_iter().map(|one| (one.name, one.world)).unzip();
        let signs = up::makes_key(documents);
        Ok(Self { folder, documents, builtins, worlds, signs })
    }

    /// The filter that an attachment attaches and that has no pin.
    fn unpinned(&self, problem: &Problem) -> Option<&'a str> {
        if problem.code != "pin.missing" {
            return None;
        }
        let key = problem.of.as_deref()?.strip_prefix("FilterAttachment/")?;
        self.documents.iter().find_map(|document| match &document.resource {
            Resource::FilterAttachment(spec) if document.key() == key => Some(spec.filter.as_str()),
            _ => None,
        })
    }

    fn makes(&self, problem: &Problem) -> bool {
        let file = problem.code == "file.unreadable" || problem.code == "trust.key";
        let own = |filter| self.signs && self.builtins.iter().any(|name| name == filter);
        self.unpinned(problem).is_some_and(own) || (file && problem.message.contains(".tamis/"))
    }

    /// How the Filter document of a built-in filter is written that an attachment attaches without one.
    fn document_of(&self, problem: &Problem) -> Option<String> {
        let filter = problem.lacks.as_deref()?.strip_prefix("Filter/")?;
        let at = self.builtins.iter().position(|name| name == filter)?;
        let world = self.worlds.get(at)?.as_deref()?;
        let (space, name) = filter.split_once('/')?;
        Some(format!(
            "{filter} is built in, but has documents as any filter has: write a Filter (`metadata: {{ name: {name}, namespace: {space} }}`, `spec: {{ world: {world} }}`), a Grant for it in the namespace `security`, and a TrustPolicy with `publicKeyFile: .tamis/keys/local-dev.pub`; then `tamis up {} --prepare` makes that key, and signs and pins the filter with it",
            self.folder.display()
        ))
    }

    /// `tamis pin` asks a registry; a folder has pins of its own.
    fn advise(&self, problems: &mut [Problem]) {
        let folder = self.folder.display();
        for problem in problems {
            if problem.code == "filter.unknown" {
                problem.help = self.document_of(problem).or(problem.help.take());
            }
            let Some(filter) = self.unpinned(problem) else { continue };
            let built_in = self.builtins.iter().any(|name| name == filter);
            problem.help = Some(match (built_in, self.signs) {
                (true, true) => format!("`tamis up {folder} --prepare` signs and pins it"),
                (true, false) => format!(
                    "write a TrustPolicy with `publicKeyFile: .tamis/keys/local-dev.pub`; then `tamis up {folder} --prepare` makes that key, and signs and pins the filter with it"
                ),
                (false, _) => format!(
                    "`tamis filter sign COMPONENT --name {filter} --version VERSION --key KEY --store {folder}/.tamis/store --pin {folder}/.tamis/filters.lock.yaml` signs and pins it in this folder; in a registry `tamis pin` does"
                ),
            });
        }
    }

    /// When nothing has been signed and pinned yet, one command makes most of what is missing: one note for all of it.
    fn summarize(&self, problems: &mut Vec<Problem>, notes: &mut Vec<String>) {
        let before = problems.len();
        problems.retain(|one| !self.makes(one));
        let missing = before.saturating_sub(problems.len());
        if missing > 0 {
            notes.push(format!(
                "keys, signed filters and pins do not exist yet (they are missing in {}): `tamis up {} --prepare` makes them",
                table::count(missing, "place", "places"),
                self.folder.display()
            ));
        }
    }
}

/// What proxies would refuse: signatures, imports, fields, configurations, routes, certificates.
fn examine(
    documents: &[Document],
    nodes: &[NodeName],
    source: &DocumentPlaces,
    stores: Vec<PathBuf>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let shared = user_state::node_resources()?;
    let mut examiner = PlanExaminer::new(&shared, source.clone(), ArtifactStore::new(stores))?;
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

/// Removes what follows from another problem or repeats it: that something refers to a document that is there and has a fault
/// of its own, and the same sentence at each of the documents that it is about.
fn drop_consequences(problems: &mut Vec<Problem>, faulty: &[String]) {
    let follows = |one: &Problem| one.lacks.as_ref().is_some_and(|lacks| faulty.contains(lacks));
    problems.retain(|one| !follows(one));
    let mut kept: Vec<Problem> = Vec::new();
    // The document that was read last is the one that an author added, more often than not.
    for problem in problems.drain(..).rev() {
        let same = |one: &Problem| {
            let about = |one: &Problem| {
                one.also.iter().map(|it| (it.source.clone(), it.line)).collect::<Vec<_>>()
            };
            one.code == problem.code
                && one.message == problem.message
                && about(one).contains(&(problem.place.source.clone(), problem.place.line))
        };
        if !kept.iter().any(same) {
            kept.push(problem);
        }
    }
    kept.reverse();
    *problems = kept;
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
    let source = DocumentPlaces::new(root, Vec::new());
    let file = |name: &str| source.file(name);
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
