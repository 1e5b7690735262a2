//! What of the contract nobody has explained.

use wit_parser::{Docs, Interface, PackageId, Resolve, TypeDef, TypeDefKind};

use super::types;

/// Every item without a doc comment, like `request.view.headers`. Types that `use` brought in are
/// explained where they come from.
pub(super) fn undocumented(resolve: &Resolve, package: PackageId) -> Vec<String> {
    let mut bare = NameList(Vec::new());
    let Some(package) = resolve.packages.get(package) else { return bare.0 };
    for (name, id) in &package.worlds {
        if let Some(world) = resolve.worlds.get(*id) {
            bare.note(&world.docs, format!("world {name}"));
        }
    }
    for (name, id) in &package.interfaces {
        if let Some(interface) = resolve.interfaces.get(*id) {
            bare.interface(resolve, name, interface);
        }
    }
    bare.0
}

/// The names found so far.
struct NameList(Vec<String>);

impl NameList {
    fn note(&mut self, docs: &Docs, name: String) {
        if docs.contents.as_ref().is_none_or(|text| text.trim().is_empty()) {
            self.0.push(name);
        }
    }

    fn interface(&mut self, resolve: &Resolve, name: &str, interface: &Interface) {
        self.note(&interface.docs, format!("interface {name}"));
        for function in interface.functions.values() {
            self.note(&function.docs, format!("{name}.{}", function.name));
        }
        for (type_name, id) in &interface.types {
            let Some(definition) = resolve.types.get(*id) else { continue };
            if types::used_from(resolve, definition).is_none() {
                self.definition(&format!("{name}.{type_name}"), definition);
            }
        }
    }

    fn definition(&mut self, name: &str, definition: &TypeDef) {
        self.note(&definition.docs, name.to_owned());
        for (part, docs) in parts(&definition.kind) {
            self.note(docs, format!("{name}.{part}"));
        }
    }
}

/// The fields or cases of a type with their documentation.
fn parts(kind: &TypeDefKind) -> Vec<(&str, &Docs)> {
    match kind {
        TypeDefKind::Record(record) => {
            record.fields.iter().map(|field| (field.name.as_str(), &field.docs)).collect()
        }
        TypeDefKind::Variant(variant) => {
            variant.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect()
        }
        TypeDefKind::Enum(of) => {
            of.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect()
        }
        TypeDefKind::Flags(of) => {
            of.flags.iter().map(|flag| (flag.name.as_str(), &flag.docs)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::contract;
    use super::*;

    #[test]
    fn every_item_without_a_comment_is_named_and_used_types_are_not() {
        let (resolve, package) = contract(
            "package a:b;
            /// Documented.
            interface types {
                /// Documented.
                record head { path: string }
                enum kind { request }
            }
            interface request {
                use types.{head};
                act: func(h: head);
            }
            world filter { export request; }",
        );
        let expected = [
            "world filter",
            "types.head.path",
            "types.kind",
            "types.kind.request",
            "interface request",
            "request.act",
        ];
        assert_eq!(undocumented(&resolve, package), expected);
    }
}
