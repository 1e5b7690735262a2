//! The functions of a component, looked up and type-checked once per instance.

use crate::native::{Signature, Slot};
use crate::{Hook, Host, Inspection, abi};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance};

macro_rules! signatures {
    ($($(#[$doc:meta])* $name:ident ( $($param:ty),* ) -> $return:ty;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Signature for $name {
            type Params<'a> = ($($param,)*);
            type Return = $return;
        }
    )*};
}

signatures! {
    /// `validate`.
    Validate(&'a str) -> (Result<(), Vec<abi::ConfigError>>,);
    /// `configure`.
    Configure(&'a str) -> (Result<abi::Interest, Vec<abi::ConfigError>>,);
    /// `config-schema`.
    ConfigSchema() -> (String,);
    /// `on-request`, `on-response`.
    OnHead(abi::View<'a>) -> (abi::HeadDecision,);
    /// `on-request-body`, `on-response-body`.
    OnBody(u64, &'a [u8], bool) -> (abi::BodyDecision,);
    /// `backends`, `rules`.
    Names() -> (Vec<String>,);
    /// `on-route`.
    OnRoute(abi::View<'a>) -> (abi::Choice,);
    /// `failing-statuses`.
    FailingStatuses() -> ((Vec<u16>, Vec<u32>),);
    /// `on-failure`.
    OnFailure(abi::Failure, abi::View<'a>) -> (abi::RetryDecision,);
    /// `hedge.plan`.
    Plan(abi::Latencies) -> (Option<u32>,);
    /// `evaluate`.
    Evaluate(u32, Option<u32>, abi::Window, abi::Circuit) -> (abi::Circuit,);
    /// `weigh`.
    Weigh(u32, &'a [abi::EndpointState]) -> (Vec<u32>,);
    /// `on-names`.
    OnNames(abi::NameKind, u32, &'a [&'a str]) -> ();
    /// `on-exchanges`.
    OnExchanges(&'a [abi::Summary]) -> ();
    /// `on-connection`.
    OnConnection(abi::View<'a>) -> (abi::ConnectionDecision,);
    /// `on-tick`.
    OnTick() -> (Option<u32>,);
}

/// Functions of one instance; a hook that is not exported is `None`.
pub(crate) struct Exports {
    pub(crate) validate: Slot<Validate>,
    pub(crate) configure: Slot<Configure>,
    pub(crate) config_schema: Slot<ConfigSchema>,
    pub(crate) on_request: Option<Slot<OnHead>>,
    pub(crate) on_response: Option<Slot<OnHead>>,
    pub(crate) on_request_body: Option<Slot<OnBody>>,
    pub(crate) on_response_body: Option<Slot<OnBody>>,
    pub(crate) backends: Option<Slot<Names>>,
    pub(crate) rules: Option<Slot<Names>>,
    pub(crate) on_route: Option<Slot<OnRoute>>,
    pub(crate) failing_statuses: Option<Slot<FailingStatuses>>,
    pub(crate) on_failure: Option<Slot<OnFailure>>,
    pub(crate) plan: Option<Slot<Plan>>,
    pub(crate) evaluate: Option<Slot<Evaluate>>,
    pub(crate) weigh: Option<Slot<Weigh>>,
    pub(crate) on_names: Option<Slot<OnNames>>,
    pub(crate) on_exchanges: Option<Slot<OnExchanges>>,
    pub(crate) connection_backends: Option<Slot<Names>>,
    pub(crate) on_connection: Option<Slot<OnConnection>>,
    pub(crate) on_tick: Option<Slot<OnTick>>,
}

impl Exports {
    pub(crate) fn find(
        component: &Component,
        inspection: &Inspection,
        instance: &Instance,
        store: &mut Store<Host>,
    ) -> wasmtime::Result<Self> {
        let mut finder = Finder { component, inspection, instance, store };
        Ok(Self {
            validate: finder.slot("lifecycle", "validate")?,
            configure: finder.slot("lifecycle", "configure")?,
            config_schema: finder.slot("lifecycle", "config-schema")?,
            on_request: finder.hook(Hook::Request, "on-request")?,
            on_response: finder.hook(Hook::Response, "on-response")?,
            on_request_body: finder.hook(Hook::RequestBody, "on-request-body")?,
            on_response_body: finder.hook(Hook::ResponseBody, "on-response-body")?,
            backends: finder.hook(Hook::Router, "backends")?,
            rules: finder.hook(Hook::Router, "rules")?,
            on_route: finder.hook(Hook::Router, "on-route")?,
            failing_statuses: finder.hook(Hook::Retry, "failing-statuses")?,
            on_failure: finder.hook(Hook::Retry, "on-failure")?,
            plan: finder.hook(Hook::Hedge, "plan")?,
            evaluate: finder.hook(Hook::CircuitBreaker, "evaluate")?,
            weigh: finder.hook(Hook::Balancer, "weigh")?,
            on_names: finder.hook(Hook::Telemetry, "on-names")?,
            on_exchanges: finder.hook(Hook::Telemetry, "on-exchanges")?,
            connection_backends: finder.hook(Hook::Connection, "backends")?,
            on_connection: finder.hook(Hook::Connection, "on-connection")?,
            on_tick: finder.hook(Hook::Tick, "on-tick")?,
        })
    }
}

struct Finder<'a> {
    component: &'a Component,
    inspection: &'a Inspection,
    instance: &'a Instance,
    store: &'a mut Store<Host>,
}

impl Finder<'_> {
    fn hook<S: Signature>(
        &mut self,
        hook: Hook,
        function: &str,
    ) -> wasmtime::Result<Option<Slot<S>>> {
        if !self.inspection.has(hook) {
            return Ok(None);
        }
        self.slot(hook.as_str(), function).map(Some)
    }

    fn slot<S: Signature>(&mut self, interface: &str, function: &str) -> wasmtime::Result<Slot<S>> {
        let missing = || {
            wasmtime::Error::msg(format!(
                "it exports `{interface}` without the function `{function}`"
            ))
        };
        let index = self.index(interface, function).ok_or_else(missing)?;
        let func = self.instance.get_func(&mut *self.store, index).ok_or_else(missing)?;
        Slot::check(&*self.store, func).map_err(|e| {
            e.context(format!("the type of `{interface}.{function}` differs from the contract"))
        })
    }

    fn index(&self, interface: &str, function: &str) -> Option<ComponentExportIndex> {
        let name = format!("tamis:filter/{interface}@0.1.0");
        let interface = self.component.get_export_index(None, &name)?;
        self.component.get_export_index(Some(&interface), function)
    }
}
