//! The functions of a component, looked up and type-checked once per instance.

use crate::native::{CheckedExport, Signature};
use crate::{Contract, Hook, Host, Inspection, abi};
use abi::v0_1;
use std::marker::PhantomData;
use tamis_exchange::{Choice, Decision};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, Lift};

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
    /// `config-schema`.
    ConfigSchema() -> (String,);
    /// `on-request-body`, `on-response-body` of contract 0.1.
    OnBodyV0_1(u64, &'a [u8], bool) -> (v0_1::BodyDecision,);
    /// `on-request-body`, `on-response-body`.
    OnBody(abi::View<'a>, &'a [u8], bool) -> (abi::BodyDecision,);
    /// `backends`, `rules`.
    Names() -> (Vec<String>,);
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
    /// `on-request-trailers`, `on-response-trailers`.
    OnTrailers(abi::View<'a>) -> (abi::TrailersDecision,);
    /// `on-finished`.
    OnFinished(abi::View<'a>, abi::ExchangeEnding<'a>) -> ();
    /// `on-names`.
    OnNames(abi::NameKind, u32, &'a [&'a str]) -> ();
    /// `on-exchanges` of contract 0.1.
    OnExchangesV0_1(&'a [abi::Summary]) -> ();
    /// `on-exchanges`.
    OnExchanges(&'a [abi::Summary], abi::KeptBatch<'a>) -> ();
    /// `on-connection`.
    OnConnection(abi::View<'a>) -> (abi::ConnectionDecision,);
    /// `on-tick`.
    OnTick() -> (Option<u32>,);
}

/// `configure`, with the declaration of a version.
pub(crate) struct Configure<I>(PhantomData<fn() -> I>);

impl<I: Lift + Send + Sync + 'static> Signature for Configure<I> {
    type Params<'a> = (&'a str,);
    type Return = (Result<I, Vec<abi::ConfigError>>,);
}

/// `on-request` and `on-response`, with the edits of a version.
pub(crate) struct OnHead<E>(PhantomData<fn() -> E>);

impl<E: Lift + Send + Sync + 'static> Signature for OnHead<E> {
    type Params<'a> = (abi::View<'a>,);
    type Return = (abi::HeadDecision<E>,);
}

/// `on-route`, with the choice of a version.
pub(crate) struct OnRoute<C>(PhantomData<fn() -> C>);

impl<C: Lift + Send + Sync + 'static> Signature for OnRoute<C> {
    type Params<'a> = (abi::View<'a>,);
    type Return = (C,);
}

/// A function whose type differs between versions of the contract.
pub(crate) enum Versions<A, B> {
    /// Contract 0.1.
    V0_1(CheckedExport<A>),
    /// Contract 0.2.
    V0_2(CheckedExport<B>),
}

/// `on-request` or `on-response` of either version.
pub(crate) type HeadHook = Versions<OnHead<v0_1::Edit>, OnHead<abi::Edit>>;
/// `on-route` of either version.
pub(crate) type RouteHook = Versions<OnRoute<v0_1::Choice>, OnRoute<abi::Choice>>;
/// `configure` of either version.
pub(crate) type ConfigureFunction = Versions<Configure<v0_1::Interest>, Configure<abi::Interest>>;

type ConfigureResult = (Result<abi::Interest, Vec<abi::ConfigError>>,);

/// The declaration of 0.1 as one of 0.2.
fn declared((declared,): (Result<v0_1::Interest, Vec<abi::ConfigError>>,)) -> ConfigureResult {
    (declared.map(Into::into),)
}

impl ConfigureFunction {
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        config: (&str,),
    ) -> wasmtime::Result<ConfigureResult> {
        match self {
            Self::V0_1(export) => export.call(store, config).map(declared),
            Self::V0_2(export) => export.call(store, config),
        }
    }

    pub(crate) async fn call_async(
        &self,
        store: &mut Store<Host>,
        config: (&str,),
    ) -> wasmtime::Result<ConfigureResult> {
        match self {
            Self::V0_1(export) => export.call_async(store, config).await.map(declared),
            Self::V0_2(export) => export.call_async(store, config).await,
        }
    }
}

impl HeadHook {
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        seen: (abi::View<'_>,),
    ) -> wasmtime::Result<(HeadAnswer,)> {
        Ok(match self {
            Self::V0_1(export) => (HeadAnswer::V0_1(export.call(store, seen)?.0),),
            Self::V0_2(export) => (HeadAnswer::V0_2(export.call(store, seen)?.0),),
        })
    }

    pub(crate) async fn call_async(
        &self,
        store: &mut Store<Host>,
        seen: (abi::View<'_>,),
    ) -> wasmtime::Result<(HeadAnswer,)> {
        Ok(match self {
            Self::V0_1(export) => (HeadAnswer::V0_1(export.call_async(store, seen).await?.0),),
            Self::V0_2(export) => (HeadAnswer::V0_2(export.call_async(store, seen).await?.0),),
        })
    }
}

/// The decision of a [`HeadHook`], unchecked.
pub(crate) enum HeadAnswer {
    V0_1(abi::HeadDecision<v0_1::Edit>),
    V0_2(abi::HeadDecision<abi::Edit>),
}

impl HeadAnswer {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<Decision, String> {
        match self {
            Self::V0_1(decision) => decision.checked(body_bytes),
            Self::V0_2(decision) => decision.checked(body_bytes),
        }
    }
}

/// `on-request-body` or `on-response-body` of either version.
pub(crate) type BodyHook = Versions<OnBodyV0_1, OnBody>;

impl BodyHook {
    /// Contract 0.1 shows no fields with a body.
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        exchange: u64,
        seen: abi::View<'_>,
        octets: &[u8],
        last: bool,
    ) -> wasmtime::Result<(BodyAnswer,)> {
        Ok(match self {
            Self::V0_1(export) => {
                (BodyAnswer::V0_1(export.call(store, (exchange, octets, last))?.0),)
            }
            Self::V0_2(export) => (BodyAnswer::V0_2(export.call(store, (seen, octets, last))?.0),),
        })
    }

    /// The whole body.
    pub(crate) async fn call_async(
        &self,
        store: &mut Store<Host>,
        exchange: u64,
        seen: abi::View<'_>,
        octets: &[u8],
    ) -> wasmtime::Result<(BodyAnswer,)> {
        Ok(match self {
            Self::V0_1(export) => {
                let answer = export.call_async(store, (exchange, octets, true)).await?;
                (BodyAnswer::V0_1(answer.0),)
            }
            Self::V0_2(export) => {
                (BodyAnswer::V0_2(export.call_async(store, (seen, octets, true)).await?.0),)
            }
        })
    }
}

/// The decision of a [`BodyHook`], unchecked.
pub(crate) enum BodyAnswer {
    V0_1(v0_1::BodyDecision),
    V0_2(abi::BodyDecision),
}

impl BodyAnswer {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self, shown: usize, body_bytes: u64) -> Result<Decision, String> {
        match self {
            Self::V0_1(decision) => decision.checked(shown, body_bytes),
            Self::V0_2(decision) => decision.checked(shown, body_bytes),
        }
    }
}

/// `on-exchanges` of either version.
pub(crate) type ExchangesHook = Versions<OnExchangesV0_1, OnExchanges>;

impl ExchangesHook {
    /// Contract 0.1 keeps no fields.
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        batch: &[abi::Summary],
        kept: abi::KeptBatch<'_>,
    ) -> wasmtime::Result<()> {
        match self {
            Self::V0_1(export) => export.call(store, (batch,)),
            Self::V0_2(export) => export.call(store, (batch, kept)),
        }
    }
}

impl RouteHook {
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        seen: (abi::View<'_>,),
    ) -> wasmtime::Result<(RouteAnswer,)> {
        Ok(match self {
            Self::V0_1(export) => (RouteAnswer::V0_1(export.call(store, seen)?.0),),
            Self::V0_2(export) => (RouteAnswer::V0_2(export.call(store, seen)?.0),),
        })
    }

    pub(crate) async fn call_async(
        &self,
        store: &mut Store<Host>,
        seen: (abi::View<'_>,),
    ) -> wasmtime::Result<(RouteAnswer,)> {
        Ok(match self {
            Self::V0_1(export) => (RouteAnswer::V0_1(export.call_async(store, seen).await?.0),),
            Self::V0_2(export) => (RouteAnswer::V0_2(export.call_async(store, seen).await?.0),),
        })
    }
}

/// The choice of a [`RouteHook`], unchecked.
pub(crate) enum RouteAnswer {
    V0_1(v0_1::Choice),
    V0_2(abi::Choice),
}

impl RouteAnswer {
    /// The choice, or the rule of the contract that it breaks.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<Choice, String> {
        match self {
            Self::V0_1(choice) => choice.checked(body_bytes),
            Self::V0_2(choice) => choice.checked(body_bytes),
        }
    }
}

/// Functions of one instance; a hook that is not exported is `None`.
pub(crate) struct Exports {
    pub(crate) validate: CheckedExport<Validate>,
    pub(crate) configure: ConfigureFunction,
    pub(crate) config_schema: CheckedExport<ConfigSchema>,
    pub(crate) on_request: Option<HeadHook>,
    pub(crate) on_response: Option<HeadHook>,
    pub(crate) on_request_body: Option<BodyHook>,
    pub(crate) on_response_body: Option<BodyHook>,
    pub(crate) backends: Option<CheckedExport<Names>>,
    pub(crate) rules: Option<CheckedExport<Names>>,
    pub(crate) on_route: Option<RouteHook>,
    pub(crate) failing_statuses: Option<CheckedExport<FailingStatuses>>,
    pub(crate) on_failure: Option<CheckedExport<OnFailure>>,
    pub(crate) plan: Option<CheckedExport<Plan>>,
    pub(crate) evaluate: Option<CheckedExport<Evaluate>>,
    pub(crate) weigh: Option<CheckedExport<Weigh>>,
    pub(crate) on_request_trailers: Option<CheckedExport<OnTrailers>>,
    pub(crate) on_response_trailers: Option<CheckedExport<OnTrailers>>,
    pub(crate) on_finished: Option<CheckedExport<OnFinished>>,
    pub(crate) on_names: Option<CheckedExport<OnNames>>,
    pub(crate) on_exchanges: Option<ExchangesHook>,
    pub(crate) connection_backends: Option<CheckedExport<Names>>,
    pub(crate) on_connection: Option<CheckedExport<OnConnection>>,
    pub(crate) on_tick: Option<CheckedExport<OnTick>>,
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
            validate: finder.export("lifecycle", "validate")?,
            configure: finder.versions("lifecycle", "configure")?,
            config_schema: finder.export("lifecycle", "config-schema")?,
            on_request: finder.hooks(Hook::Request, "on-request")?,
            on_response: finder.hooks(Hook::Response, "on-response")?,
            on_request_body: finder.hooks(Hook::RequestBody, "on-request-body")?,
            on_response_body: finder.hooks(Hook::ResponseBody, "on-response-body")?,
            backends: finder.hook(Hook::Router, "backends")?,
            rules: finder.hook(Hook::Router, "rules")?,
            on_route: finder.hooks(Hook::Router, "on-route")?,
            failing_statuses: finder.hook(Hook::Retry, "failing-statuses")?,
            on_failure: finder.hook(Hook::Retry, "on-failure")?,
            plan: finder.hook(Hook::Hedge, "plan")?,
            evaluate: finder.hook(Hook::CircuitBreaker, "evaluate")?,
            weigh: finder.hook(Hook::Balancer, "weigh")?,
            on_request_trailers: finder.hook(Hook::Trailers, "on-request-trailers")?,
            on_response_trailers: finder.hook(Hook::Trailers, "on-response-trailers")?,
            on_finished: finder.hook(Hook::Finished, "on-finished")?,
            on_names: finder.hook(Hook::Telemetry, "on-names")?,
            on_exchanges: finder.hooks(Hook::Telemetry, "on-exchanges")?,
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
    ) -> wasmtime::Result<Option<CheckedExport<S>>> {
        if !self.inspection.has(hook) {
            return Ok(None);
        }
        self.export(hook.as_str(), function).map(Some)
    }

    fn hooks<A: Signature, B: Signature>(
        &mut self,
        hook: Hook,
        function: &str,
    ) -> wasmtime::Result<Option<Versions<A, B>>> {
        if !self.inspection.has(hook) {
            return Ok(None);
        }
        self.versions(hook.as_str(), function).map(Some)
    }

    /// A function in the version that the component is of.
    fn versions<A: Signature, B: Signature>(
        &mut self,
        interface: &str,
        function: &str,
    ) -> wasmtime::Result<Versions<A, B>> {
        Ok(match self.inspection.contract {
            Contract::V0_1 => Versions::V0_1(self.export(interface, function)?),
            Contract::V0_2 => Versions::V0_2(self.export(interface, function)?),
        })
    }

    fn export<S: Signature>(
        &mut self,
        interface: &str,
        function: &str,
    ) -> wasmtime::Result<CheckedExport<S>> {
        let missing = || {
            wasmtime::Error::msg(format!(
                "it exports `{interface}` without the function `{function}`"
            ))
        };
        let index = self.index(interface, function).ok_or_else(missing)?;
        let func = self.instance.get_func(&mut *self.store, index).ok_or_else(missing)?;
        CheckedExport::check(&*self.store, func).map_err(|e| {
            e.context(format!("the type of `{interface}.{function}` differs from the contract"))
        })
    }

    fn index(&self, interface: &str, function: &str) -> Option<ComponentExportIndex> {
        let name = self.inspection.contract.interface(interface);
        let interface = self.component.get_export_index(None, &name)?;
        self.component.get_export_index(Some(&interface), function)
    }
}
