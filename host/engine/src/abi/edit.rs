//! Header lines, attributes, and the edits that a filter returns.

use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lower, Lift, Clone)]
#[component(record)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
}

impl From<Field> for x::FieldLine {
    fn from(field: Field) -> Self {
        Self { name: field.name, value: field.value }
    }
}

#[derive(ComponentType, Lower, Lift, Clone)]
#[component(record)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Edit {
    #[component(name = "set-header")]
    SetHeader(Field),
    #[component(name = "add-header")]
    AddHeader(Field),
    #[component(name = "remove-header")]
    RemoveHeader(String),
    #[component(name = "set-path")]
    SetPath(String),
    #[component(name = "set-authority")]
    SetAuthority(String),
    #[component(name = "set-attribute")]
    SetAttribute(Attribute),
    #[component(name = "set-status")]
    SetStatus(u16),
    #[component(name = "set-method")]
    SetMethod(String),
}

impl From<Edit> for x::Edit {
    fn from(edit: Edit) -> Self {
        match edit {
            // No field has such a name: it stands for what is no case of the type, which cannot grow.
            Edit::SetHeader(field) if field.name == ":coding" => {
                Self::EncodeBody(String::from_utf8_lossy(&field.value).into_owned())
            }
            Edit::SetHeader(field) => Self::SetHeader(field.into()),
            Edit::AddHeader(field) => Self::AddHeader(field.into()),
            Edit::RemoveHeader(name) => Self::RemoveHeader(name),
            Edit::SetPath(path) => Self::SetPath(path),
            Edit::SetAuthority(authority) => Self::SetAuthority(authority),
            Edit::SetAttribute(attribute) => attribute.into(),
            Edit::SetStatus(status) => Self::SetStatus(status),
            Edit::SetMethod(method) => Self::SetMethod(method),
        }
    }
}

impl From<Attribute> for x::Edit {
    fn from(Attribute { name, value }: Attribute) -> Self {
        // The contract writes `@name` in declarations and the bare or marked name in edits.
        let bare = name.strip_prefix('@').map(str::to_owned);
        Self::SetAttribute { name: bare.unwrap_or(name), value }
    }
}

pub(super) fn edits<E: Into<x::Edit>>(list: Vec<E>) -> Vec<x::Edit> {
    list.into_iter().map(Into::into).collect()
}
