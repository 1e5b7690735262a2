//! The source of one crate as modules: their files, the names they import, the paths they name, and their public types.
//!
//! It reads tokens, not text: comments and strings do not count, the insides of macros do. What is compiled for tests
//! alone does not count either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The segments of a path like `crate::slot::Slot`, as they are written.
pub(crate) type Segments = Vec<String>;

/// One module of a crate.
#[derive(Default)]
pub(crate) struct Module {
    /// The file it is written in, as its path below `src`.
    pub(crate) file: String,
    /// What `use` brings in: the name here, and the path it stands for.
    imports: BTreeMap<String, Segments>,
    /// Every path that is named, imports included.
    paths: Vec<Segments>,
    /// The public types defined here.
    pub(crate) types: Vec<String>,
}

impl Module {
    /// Whether it calls a function of a type of the standard library, as it is imported here; tokio has an `Instant`
    /// of its own, the clock of the runtime's timers, which a test pauses.
    pub(crate) fn calls(&self, of: &str, function: &str) -> bool {
        let from_std = |path: &Segments| {
            let import = self.imports.get(of).map_or("std", |import| import[0].as_str());
            let written = if path.len() > 2 { path[0].as_str() } else { import };
            written != "tokio"
        };
        self.paths
            .iter()
            .any(|path| path.ends_with(&[of.into(), function.into()]) && from_std(path))
    }
}

/// The modules of a crate, by their path from its root.
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<Segments, Module>,
}

impl Crate {
    /// Reads the crate in a folder, from `src/lib.rs` or else `src/main.rs`.
    pub(crate) fn read(folder: &Path) -> Self {
        let source = folder.join("src");
        let root = ["lib.rs", "main.rs"].into_iter().find(|root| source.join(root).exists());
        let root = root.unwrap_or_else(|| panic!("{} has no root", source.display()));
        let load = |file: &str| std::fs::read_to_string(source.join(file)).ok();
        Self::parse(root, &load)
    }

    /// Parses the crate whose files `load` returns.
    pub(crate) fn parse(root: &str, load: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut modules = BTreeMap::new();
        let mut open = vec![(Vec::new(), root.to_owned())];
        while let Some((path, file)) = open.pop() {
            let text = load(&file).unwrap_or_else(|| panic!("{file} is declared and missing"));
            let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{file}: {e}"));
            let mut reader = Reader { file: &file, modules: &mut modules, declared: Vec::new() };
            reader.module(path, tokens);
            for child in reader.declared {
                let flat = format!("{}.rs", child.join("/"));
                let nested = format!("{}/mod.rs", child.join("/"));
                let file = if load(&flat).is_some() { flat } else { nested };
                open.push((child, file));
            }
        }
        Self { modules }
    }

    /// The files that each file names, without itself.
    pub(crate) fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let from = edges.entry(&module.file).or_default();
            for path in &module.paths {
                let named = self.resolve(at, path, 0).and_then(|at| self.modules.get(&at));
                if let Some(named) = named
                    && named.file != module.file
                {
                    from.insert(&named.file);
                }
            }
        }
        edges
    }

    /// The module in which the thing that a path names is defined; `None` for other crates and for what no import
    /// brings in.
    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        let (mut here, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (at.to_vec(), rest),
            "super" => (at.split_last()?.1.to_vec(), rest),
            _ => (at.to_vec(), path),
        };
        // Imports of imports; one that names itself would have no end.
        if depth > 16 {
            return None;
        }
        let mut moved = rest.len() < path.len();
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                here.pop()?;
                rest = after;
                continue;
            }
            let mut child = here.clone();
            child.push(next.clone());
            if self.modules.contains_key(&child) {
                (here, rest, moved) = (child, after, true);
                continue;
            }
            let import = self.modules.get(&here)?.imports.get(next);
            return match import {
                Some(import) if *import != path => {
                    let whole: Segments = import.iter().chain(after).cloned().collect();
                    self.resolve(&here, &whole, depth + 1)
                }
                _ => moved.then_some(here),
            };
        }
        Some(here)
    }
}

struct Reader<'a> {
    file: &'a str,
    modules: &'a mut BTreeMap<Segments, Module>,
    /// Modules that have a file of their own.
    declared: Vec<Segments>,
}

impl Reader<'_> {
    fn module(&mut self, path: Segments, tokens: TokenStream) {
        let mut module = Module { file: self.file.to_owned(), ..Module::default() };
        self.tokens(&path, &mut module, &tokens.into_iter().collect::<Vec<_>>(), true);
        self.modules.insert(path, module);
    }

    /// Reads tokens of a module; types and modules count at its top and in the macros there, not inside functions.
    fn tokens(&mut self, path: &Segments, module: &mut Module, all: &[TokenTree], top: bool) {
        let mut left = all;
        while let Some((token, after)) = left.split_first() {
            left = match token {
                TokenTree::Punct(sign) if sign.as_char() == '#' => match after.split_first() {
                    Some((TokenTree::Group(attribute), item)) if is_for_tests(attribute) => {
                        skip_item(item)
                    }
                    _ => after,
                },
                TokenTree::Group(group) => {
                    self.tokens(path, module, &trees(group), false);
                    after
                }
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "macro_rules" if top => self.macro_definition(path, module, after),
                    "use" => import(module, after),
                    "mod" if top => self.child(path, after),
                    "pub" if top => {
                        module.types.extend(public_type(after));
                        after
                    }
                    _ if top => match after {
                        [sign, TokenTree::Group(items), after @ ..] if is_sign(sign, '!') => {
                            self.tokens(path, module, &trees(items), true);
                            after
                        }
                        _ => named(module, left),
                    },
                    _ => named(module, left),
                },
                _ => after,
            };
        }
    }

    /// Reads what a macro expands to as items of its module.
    fn macro_definition<'t>(
        &mut self,
        path: &Segments,
        module: &mut Module,
        after: &'t [TokenTree],
    ) -> &'t [TokenTree] {
        let [_, _, TokenTree::Group(arms), after @ ..] = after else { return after };
        for (at, token) in trees(arms).iter().enumerate() {
            // An arm: a pattern, `=>`, what it expands to, `;`.
            if let (3, TokenTree::Group(items)) = (at % 5, token) {
                self.tokens(path, module, &trees(items), true);
            }
        }
        after
    }

    fn child<'t>(&mut self, path: &Segments, after: &'t [TokenTree]) -> &'t [TokenTree] {
        let [TokenTree::Ident(name), body, left @ ..] = after else { return after };
        let mut child = path.clone();
        child.push(name.to_string());
        match body {
            TokenTree::Group(body) => self.module(child, body.stream()),
            _ => self.declared.push(child),
        }
        left
    }
}

fn trees(group: &proc_macro2::Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// Whether an attribute is `#[cfg(test)]`, or another condition that only tests meet.
fn is_for_tests(attribute: &proc_macro2::Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// What follows an item: it ends with `;` or with its block; a `use` has blocks within.
fn skip_item(item: &[TokenTree]) -> &[TokenTree] {
    let is_use =
        item.iter().take(4).any(|token| matches!(token, TokenTree::Ident(i) if i == "use"));
    let end = item.iter().position(|token| match token {
        TokenTree::Punct(sign) => sign.as_char() == ';',
        TokenTree::Group(group) => !is_use && group.delimiter() == Delimiter::Brace,
        _ => false,
    });
    end.and_then(|end| item.get(end + 1..)).unwrap_or_default()
}

/// The type that follows `pub`; `pub(crate)` is followed by a group and is none.
fn public_type(after: &[TokenTree]) -> Option<String> {
    let words: Vec<_> = (after.iter())
        .map_while(|token| match token {
            TokenTree::Ident(word) => Some(word.to_string()),
            _ => None,
        })
        .take(3)
        .collect();
    let mut words = words.iter().map(String::as_str).filter(|word| *word != "unsafe");
    let kind = words.next()?;
    ["struct", "enum", "trait", "union", "type"]
        .contains(&kind)
        .then(|| words.next())?
        .map(Into::into)
}

/// Takes a `use` up to its `;`.
fn import<'t>(module: &mut Module, after: &'t [TokenTree]) -> &'t [TokenTree] {
    let end = after.iter().position(|token| is_sign(token, ';')).unwrap_or(after.len());
    tree(module, &[], &after[..end]);
    &after[(end + 1).min(after.len())..]
}

/// Takes one or more trees of a `use`, separated by commas, below a path.
fn tree(module: &mut Module, above: &[String], tokens: &[TokenTree]) {
    for one in tokens.split(|token| is_sign(token, ',')) {
        let mut path = above.to_vec();
        let mut name = None;
        let mut words = one.iter().peekable();
        while let Some(token) = words.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    name = words.next().map(ToString::to_string);
                }
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    tree(module, &path, &group.stream().into_iter().collect::<Vec<_>>());
                    path.clear();
                }
                _ => {}
            }
        }
        // `use a::{self}` brings in `a`.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(last) = name.or_else(|| path.last().cloned()) {
            module.imports.insert(last, path.clone());
            module.paths.push(path);
        }
    }
}

/// Takes the path that begins with the first token.
fn named<'t>(module: &mut Module, tokens: &'t [TokenTree]) -> &'t [TokenTree] {
    let mut path = Vec::new();
    let mut left = tokens;
    while let [TokenTree::Ident(word), after @ ..] = left {
        path.push(word.to_string());
        left = after;
        match after {
            [one, two, rest @ ..] if is_sign(one, ':') && is_sign(two, ':') => left = rest,
            _ => break,
        }
    }
    if path.len() > 1 {
        module.paths.push(path);
    }
    left
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folders of the crates that ship, like `host/proxy`.
pub(crate) fn shipped() -> Vec<String> {
    crates_of(&["common", "host", "registry", "cli", "sdk"])
}

/// The folders of the crates that ship, and of the built-in filters.
pub(crate) fn with_filters() -> Vec<String> {
    crates_of(&["common", "host", "registry", "cli", "sdk", "filters"])
}

fn crates_of(wings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for wing in wings {
        for entry in std::fs::read_dir(workspace().join(wing)).expect("a wing of the workspace") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            if workspace().join(wing).join(&name).join("Cargo.toml").exists() {
                found.push(format!("{wing}/{name}"));
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "only {found:?}");
    found
}
