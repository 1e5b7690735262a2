//! What instances of a filter are made of.

use crate::engine::CompiledComponent;
use crate::host::Settings;
use crate::{BodyMode, FilterState, Hook, Host, Responses};
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
    /// Imports never suspend; `http-client` and `passwords` answer `denied`.
    pub(crate) direct: InstancePre<Host>,
    /// `http-client` and `passwords` suspend; `None` when neither may be used.
    pub(crate) suspending: Option<InstancePre<Host>>,
    pub(crate) isolation: Isolation,
    pub(crate) failure: OnFailure,
    pub(crate) interest: Interest,
    pub(crate) backends: Vec<String>,
    pub(crate) connection_backends: Vec<String>,
    pub(crate) rules: Vec<Arc<str>>,
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

    /// Whether the grant lets that hook wait for a call or for the comparison of a password.
    pub(crate) fn lets_wait(&self, hook: Hook) -> bool {
        let client = self.settings.grant.imports.http_client.as_ref();
        let compares = hook == Hook::Request && self.compiled.inspection.imports("passwords");
        client.is_some_and(|granted| granted.lets_call(hook)) || compares
    }

    pub(crate) fn reads(&self) -> &ReadableFields {
        &self.interest.reads
    }
}
