//! The view of a request or of a response, borrowed.

use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lower, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Method {
    #[component(name = "get")]
    Get,
    #[component(name = "head")]
    Head,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "delete")]
    Delete,
    #[component(name = "connect")]
    Connect,
    #[component(name = "options")]
    Options,
    #[component(name = "trace")]
    Trace,
    #[component(name = "patch")]
    Patch,
    #[component(name = "other")]
    Other,
}

impl From<x::Method> for Method {
    fn from(method: x::Method) -> Self {
        match method {
            x::Method::Get => Self::Get,
            x::Method::Head => Self::Head,
            x::Method::Post => Self::Post,
            x::Method::Put => Self::Put,
            x::Method::Delete => Self::Delete,
            x::Method::Connect => Self::Connect,
            x::Method::Options => Self::Options,
            x::Method::Trace => Self::Trace,
            x::Method::Patch => Self::Patch,
            x::Method::Other => Self::Other,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Span {
    field: u32,
    start: u32,
    #[component(name = "name-length")]
    name_length: u32,
    length: u32,
}

impl From<&x::FieldSpan> for Span {
    fn from(span: &x::FieldSpan) -> Self {
        Self {
            field: span.field,
            start: span.start,
            name_length: span.name_length,
            length: span.length,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct View<'a> {
    exchange: u64,
    method: Method,
    status: u16,
    octets: &'a [u8],
    spans: &'a [Span],
}

impl<'a> View<'a> {
    /// Borrows `view`; `spans` is scratch that keeps its capacity.
    pub(crate) fn of(view: &'a x::View, spans: &'a mut Vec<Span>) -> Self {
        spans.clear();
        spans.extend(view.spans.iter().map(Span::from));
        Self {
            exchange: view.exchange,
            method: view.method.into(),
            status: view.status,
            octets: &view.octets,
            spans,
        }
    }
}
