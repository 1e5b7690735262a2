//! What a filter declares about itself when it is configured.

use super::edit::Attribute;
use wasmtime::component::{ComponentType, Lift};

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum BodyMode {
    #[component(name = "none")]
    None,
    #[component(name = "buffered")]
    Buffered,
    #[component(name = "chunks")]
    Chunks,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Interest {
    pub(crate) reads: Vec<String>,
    pub(crate) writes: Vec<String>,
    #[component(name = "request-body")]
    pub(crate) request_body: BodyMode,
    #[component(name = "response-body")]
    pub(crate) response_body: BodyMode,
    #[component(name = "body-limit-bytes")]
    pub(crate) body_limit_bytes: u32,
    pub(crate) responses: Responses,
    pub(crate) extra: Vec<Attribute>,
}

#[expect(dead_code, reason = "lifted only")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Responses {
    #[component(name = "upstream")]
    Upstream,
    #[component(name = "local")]
    Local,
    #[component(name = "all")]
    All,
}

impl From<Responses> for crate::Responses {
    fn from(responses: Responses) -> Self {
        match responses {
            Responses::Upstream => Self::Upstream,
            Responses::Local => Self::Local,
            Responses::All => Self::All,
        }
    }
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct ConfigError {
    pub(crate) pointer: String,
    pub(crate) message: String,
}
