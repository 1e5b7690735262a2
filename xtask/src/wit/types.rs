//! WIT types as one writes them.

use wit_parser::{Function, Handle, Resolve, Type, TypeDef, TypeDefKind, TypeId, TypeOwner};

/// A type, as written in a signature.
pub(super) fn name(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::S8 => "s8".into(),
        Type::S16 => "s16".into(),
        Type::S32 => "s32".into(),
        Type::S64 => "s64".into(),
        Type::F32 => "f32".into(),
        Type::F64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::ErrorContext => "error-context".into(),
        Type::Id(id) => named(resolve, *id),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> String {
    let Some(definition) = resolve.types.get(id) else { return "?".into() };
    definition.name.clone().unwrap_or_else(|| shape(resolve, definition))
}

/// What a type without a name, or the right side of `type x = …`, looks like.
pub(super) fn shape(resolve: &Resolve, definition: &TypeDef) -> String {
    let of = |ty: &Type| name(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), of);
    match &definition.kind {
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", of(ty)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", of(key), of(value)),
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".into(),
            (Some(ok), None) => format!("result<{}>", of(ok)),
            (ok, err) => format!("result<{}, {}>", maybe(ok), maybe(err)),
        },
        TypeDefKind::Handle(Handle::Own(id)) => named(resolve, *id),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", named(resolve, *id)),
        TypeDefKind::Future(ty) => {
            ty.as_ref().map_or("future".into(), |ty| format!("future<{}>", of(ty)))
        }
        TypeDefKind::Stream(ty) => {
            ty.as_ref().map_or("stream".into(), |ty| format!("stream<{}>", of(ty)))
        }
        TypeDefKind::Type(ty) => of(ty),
        TypeDefKind::Record(_)
        | TypeDefKind::Resource
        | TypeDefKind::Flags(_)
        | TypeDefKind::Variant(_)
        | TypeDefKind::Enum(_)
        | TypeDefKind::Unknown => definition.kind.as_str().into(),
    }
}

/// A function's parameters and result.
pub(super) fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<_> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, name(resolve, &parameter.ty)))
        .collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", name(resolve, ty)));
    format!("func({}){}", parameters.join(", "), result.unwrap_or_default())
}

/// Where `use` brought the type from, when it is not this interface's own.
pub(super) fn used_from(resolve: &Resolve, definition: &TypeDef) -> Option<String> {
    let TypeDefKind::Type(Type::Id(original)) = &definition.kind else { return None };
    let original = resolve.types.get(*original)?;
    let TypeOwner::Interface(theirs) = original.owner else { return None };
    if definition.owner == original.owner {
        return None;
    }
    resolve.interfaces.get(theirs)?.name.clone()
}
