//! What instances of a filter are made of.

use crate::engine::CompiledComponent;
use crate::host::Settings;
use crate::{BodyMode, FilterState, Host, Responses};
use std::sync::Arc;
use tamis_exchange::{ReadableFields, WritableFields};
use tamis_resources::plan::{Isolation, OnFailure};
use wasmtime::component::InstancePre;

/// Code, configuration, grant and state of a filter, and what it declared.
pub(crate) struct Plan {
    pub(crate) compiled: CompiledComponent,
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: Arc<FilterState>,
    pub(crate) config: String,
    /// Imports never suspend; `http-client` answers `denied`.
    pub(crate) direct: InstancePre<Host>,
    /// `http-client` suspends; `None` when it may not be used.
    pub(crate) suspending: Option<InstancePre<Host>>,
    pub(crate) isolation: Isolation,
    pub(crate) failure: OnFailure,
    pub(crate) interest: Interest,
    pub(crate) backends: Vec<String>,
    pub(crate) connection_backends: Vec<String>,
    pub(crate) rules: Vec<String>,
    pub(crate) failing: (Vec<u16>, Vec<u32>),
    pub(crate) config_schema: String,
}

/// What `configure` declared, parsed.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    pub(crate) reads: ReadableFields,
    pub(crate) writes: WritableFields,
    pub(crate) request_body: BodyMode,
    pub(crate) response_body: BodyMode,
    pub(crate) body_limit_bytes: u32,
    pub(crate) responses: Responses,
}

impl Plan {
    /// The name of the filter, for an error.
    pub(crate) fn name(&self) -> String {
        self.settings.name.clone()
    }

    pub(crate) fn reads(&self) -> &ReadableFields {
        &self.interest.reads
    }
}
