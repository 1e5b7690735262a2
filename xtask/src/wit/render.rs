//! The page for people: worlds first, then every interface in alphabetical order.

use std::fmt::Write as _;

use wit_parser::{
    Docs, Interface, Package, PackageId, Resolve, TypeDef, TypeDefKind, World, WorldItem, WorldKey,
};

use super::types;

/// How a filter is built and served; an end-to-end test runs its commands.
pub(super) const TO_SERVE: &str = include_str!("to-serve.md");

/// The whole page, in Markdown.
pub(super) fn page(resolve: &Resolve, package: PackageId) -> String {
    let mut page = Page { resolve, text: String::new() };
    if let Some(package) = resolve.packages.get(package) {
        page.package(package);
    }
    page.text
}

struct Page<'a> {
    resolve: &'a Resolve,
    text: String,
}

impl Page<'_> {
    /// Adds a line and an empty one.
    fn paragraph(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push_str("\n\n");
    }

    fn docs(&mut self, docs: &Docs) {
        if let Some(text) = &docs.contents {
            self.paragraph(text);
        }
    }

    fn package(&mut self, package: &Package) {
        self.paragraph(
            "<!-- Rendered from wit/ by `cargo xtask wit`; edit the comments there. -->",
        );
        self.paragraph(&format!("# The contract `{}`", package.name));
        self.docs(&package.docs);
        self.paragraph(TO_SERVE);
        self.paragraph(
            "What a filter may import and must export. A world is a role that a filter plays.",
        );
        self.paragraph("## Worlds");
        for (name, id) in &package.worlds {
            if let Some(world) = self.resolve.worlds.get(*id) {
                self.world(name, world);
            }
        }
        self.paragraph("## Interfaces");
        let mut interfaces: Vec<_> = package.interfaces.iter().collect();
        interfaces.sort_by_key(|(name, _)| *name);
        for (name, id) in interfaces {
            if let Some(interface) = self.resolve.interfaces.get(*id) {
                self.interface(name, interface);
            }
        }
        self.text.truncate(self.text.trim_end().len());
        self.text.push('\n');
    }

    fn world(&mut self, name: &str, world: &World) {
        self.paragraph(&format!("### world `{name}`"));
        self.docs(&world.docs);
        let imports: Vec<_> = world.imports.iter().map(|item| self.item(item)).collect();
        let exports: Vec<_> = world.exports.iter().map(|item| self.item(item)).collect();
        for (verb, items) in [("Imports", imports), ("Exports", exports)] {
            if !items.is_empty() {
                self.paragraph(&format!("{verb}: {}.", items.join(", ")));
            }
        }
    }

    /// An import or export, with a link when it is an interface of this page.
    fn item(&self, (key, item): (&WorldKey, &WorldItem)) -> String {
        match (key, item) {
            (WorldKey::Interface(id), _) => {
                let name = self.resolve.interfaces.get(*id).and_then(|own| own.name.as_deref());
                let name = name.unwrap_or("?");
                format!("[`{name}`](#interface-{name})")
            }
            (WorldKey::Name(name), WorldItem::Function(function)) => {
                format!("`{name}: {}`", types::signature(self.resolve, function))
            }
            (WorldKey::Name(name), WorldItem::Interface { .. } | WorldItem::Type { .. }) => {
                format!("`{name}`")
            }
        }
    }

    fn interface(&mut self, name: &str, interface: &Interface) {
        self.paragraph(&format!("### interface `{name}`"));
        self.docs(&interface.docs);
        self.used(interface);
        for function in interface.functions.values() {
            let signature = types::signature(self.resolve, function);
            self.paragraph(&format!("#### `{}: {signature}`", function.name));
            self.docs(&function.docs);
        }
        for (name, id) in &interface.types {
            let Some(definition) = self.resolve.types.get(*id) else { continue };
            if types::used_from(self.resolve, definition).is_none() {
                self.definition(name, definition);
            }
        }
    }

    fn used(&mut self, interface: &Interface) {
        let used: Vec<_> = interface
            .types
            .iter()
            .filter_map(|(name, id)| {
                let from = types::used_from(self.resolve, self.resolve.types.get(*id)?)?;
                Some(format!("`{name}` from [`{from}`](#interface-{from})"))
            })
            .collect();
        if !used.is_empty() {
            self.paragraph(&format!("Uses {}.", used.join(", ")));
        }
    }

    fn definition(&mut self, name: &str, definition: &TypeDef) {
        let resolve = self.resolve;
        let kind = match &definition.kind {
            TypeDefKind::Record(_)
            | TypeDefKind::Variant(_)
            | TypeDefKind::Enum(_)
            | TypeDefKind::Flags(_)
            | TypeDefKind::Resource => format!("{} {name}", definition.kind.as_str()),
            _ => format!("type {name} = {}", types::shape(resolve, definition)),
        };
        self.paragraph(&format!("#### `{kind}`"));
        self.docs(&definition.docs);
        let parts: Vec<_> = match &definition.kind {
            TypeDefKind::Record(record) => (record.fields.iter())
                .map(|field| (field.name.as_str(), Some(&field.ty), &field.docs))
                .collect(),
            TypeDefKind::Variant(variant) => (variant.cases.iter())
                .map(|case| (case.name.as_str(), case.ty.as_ref(), &case.docs))
                .collect(),
            TypeDefKind::Enum(of) => {
                of.cases.iter().map(|case| (case.name.as_str(), None, &case.docs)).collect()
            }
            TypeDefKind::Flags(of) => {
                of.flags.iter().map(|flag| (flag.name.as_str(), None, &flag.docs)).collect()
            }
            _ => return,
        };
        self.table(&parts);
    }

    fn table(&mut self, parts: &[(&str, Option<&wit_parser::Type>, &Docs)]) {
        let typed = parts.iter().any(|(_, ty, _)| ty.is_some());
        let head = if typed {
            "| name | type | meaning |\n| --- | --- | --- |"
        } else {
            "| name | meaning |\n| --- | --- |"
        };
        let mut table = head.to_owned();
        for (name, ty, docs) in parts {
            let meaning = docs.contents.as_deref().map(cell).unwrap_or_default();
            let ty =
                ty.map(|ty| format!("`{}`", types::name(self.resolve, ty))).unwrap_or_default();
            let ty = if typed { format!(" {ty} |") } else { String::new() };
            let _infallible = write!(table, "\n| `{name}` |{ty} {meaning} |");
        }
        self.paragraph(&table);
    }
}

/// Text that stays in its cell: one line, with the separator escaped.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::tests::contract;
    use super::*;

    #[test]
    fn a_page_shows_worlds_signatures_and_meanings() {
        let (resolve, package) = contract(
            "package a:b@1.0.0;
            /// What passes between them.
            interface types {
                /// A head.
                record head {
                    /// The path | with
                    /// its query.
                    path: option<string>,
                }
            }
            /// Decides on requests.
            interface request {
                use types.{head};
                /// Decides.
                act: func(h: head) -> result<list<u8>, string>;
            }
            /// A role.
            world filter { export request; }",
        );
        let page = page(&resolve, package);
        for expected in [
            "# The contract `a:b@1.0.0`\n",
            "### world `filter`\n\nA role.\n\nImports: [`types`](#interface-types).\n\nExports: [`request`](#interface-request).\n",
            "#### `act: func(h: head) -> result<list<u8>, string>`\n\nDecides.\n",
            "Uses `head` from [`types`](#interface-types).\n",
            "#### `record head`\n\nA head.\n\n| name | type | meaning |\n| --- | --- | --- |\n| `path` | `option<string>` | The path \\| with its query. |\n",
        ] {
            assert!(page.contains(expected), "no {expected:?} in:\n{page}");
        }
    }
}
