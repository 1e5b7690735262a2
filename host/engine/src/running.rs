//! A component that runs: its store, the functions in it, and how both are made.

use crate::error::{MAX_CAUSE, places, printable, size};
use crate::exports::Exports;
use crate::host::{self, Host};
use crate::imports::output::end_line;
use crate::plan::Plan;
use crate::room::RoomShare;
use crate::trap::classify;
use crate::{EngineError, FilterState, Grant, Hook, abi, deadline};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wasmtime::Store;
use wasmtime::component::{Instance as Started, InstancePre};

const MIB: u64 = 1024 * 1024;

/// Bytes that a guest may pass out in one call of an import or one answer, whatever its grant says …
const HOSTCALL_BYTES: u64 = 4 * 1024 * 1024;
/// … and in addition to the longest value that its grant lets it pass.
const HOSTCALL_EXTRA_BYTES: u64 = 1024 * 1024;

/// What a guest may pass out at once. The host reads, copies or hashes all of it in time that no limit interrupts, so it
/// is no more than the grant has a use for.
fn hostcall_bytes(grant: &Grant) -> usize {
    let kv = grant.imports.kv.as_ref().map_or(0, |kv| kv.value_bytes);
    let sent = grant.imports.http_client.as_ref().map_or(0, |client| client.max_bytes);
    let longest = u64::try_from(kv.max(sent)).unwrap_or(u64::MAX).max(grant.limits.body_bytes);
    let bytes = longest.saturating_add(HOSTCALL_EXTRA_BYTES).max(HOSTCALL_BYTES);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Runs the start functions of a component.
fn instantiate(pre: &InstancePre<Host>, store: &mut Store<Host>) -> wasmtime::Result<Started> {
    store.data().mark.begin();
    let instance = pre.instantiate(&mut *store);
    store.data().mark.end();
    instance
}

/// A store and the functions in it.
pub(crate) struct RunningInstance {
    pub(crate) store: Store<Host>,
    pub(crate) exports: Exports,
    /// A suspended call is in progress, or was dropped halfway.
    pub(crate) busy: bool,
    /// Processor time that is left for calls while the filter is being built.
    building: Duration,
    /// For an instance that calls wait in. Dropped after the store.
    _share: Option<RoomShare>,
}

/// How many times the limit of `configure` all calls of an instance may take together while the filter is being built: a
/// dozen functions are called then, and other changes of the proxy wait for them.
const BUILDING_LIMITS: u32 = 2;

impl RunningInstance {
    fn store(plan: &Plan, state: &Arc<FilterState>) -> Store<Host> {
        let host =
            Host::new(Arc::clone(&plan.settings), Arc::clone(state), plan.compiled.engine.mark());
        let mut store = Store::new(plan.compiled.engine.wasmtime(), host);
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(hostcall_bytes(&plan.settings.grant));
        host::watch(&mut store);
        host::arm(&mut store, plan.settings.grant.limits.configure_us);
        store
    }

    fn found(
        plan: &Plan,
        mut store: Store<Host>,
        instance: wasmtime::Result<Started>,
    ) -> Result<Self, EngineError> {
        let compiled = &plan.compiled;
        instance
            .and_then(|instance| {
                Exports::find(&compiled.component, &compiled.inspection, &instance, &mut store)
            })
            .map_err(|e| {
                let limiter = &store.data().limiter;
                if limiter.refused {
                    let limit = size(limiter.limit_bytes);
                    let wanted = limiter.wanted_bytes.div_ceil(MIB);
                    let cause = format!(
                        "it needs {wanted} MiB of memory at its start, and its limit is {limit}: raise `limits.memory` of its Grant"
                    );
                    return EngineError::Instantiate { filter: plan.settings.name.clone(), cause };
                }
                end_line(store.data_mut());
                // What a runtime says when it cannot start is more use than where in it that was.
                let words = store.data_mut().last_words.take();
                let words = words.map(|words| format!("{words}; ")).unwrap_or_default();
                let cause = printable(&format!("{words}{e:#}"), MAX_CAUSE);
                EngineError::Instantiate { filter: plan.settings.name.clone(), cause }
            })
            .map(|exports| {
                let limit = Duration::from_micros(plan.settings.grant.limits.configure_us);
                let building = limit.saturating_mul(BUILDING_LIMITS);
                Self { exports, busy: false, store, building, _share: None }
            })
    }

    /// As [`Self::configured`], within the time limit of a call, for a caller that cannot wait longer.
    pub(crate) fn configured_within(plan: &Plan, limit_us: u64) -> Result<Self, EngineError> {
        let mut store = Self::store(plan, &plan.state);
        host::arm(&mut store, limit_us);
        let instance = instantiate(&plan.direct, &mut store);
        let mut running = Self::found(plan, store, instance)?;
        let answer = running.exports.configure.call(&mut running.store, (&plan.config,));
        let (answer,) = answer.map_err(|e| running.failed(plan, "configure", &e))?;
        running.accept(plan, answer.map(drop))
    }

    /// Instantiated, not configured.
    pub(crate) fn bare(
        plan: &Plan,
        pre: &InstancePre<Host>,
        state: &Arc<FilterState>,
    ) -> Result<Self, EngineError> {
        let mut store = Self::store(plan, state);
        let instance = instantiate(pre, &mut store);
        Self::found(plan, store, instance)
    }

    /// Instantiated and configured.
    pub(crate) fn configured(
        plan: &Plan,
        pre: &InstancePre<Host>,
        state: &Arc<FilterState>,
    ) -> Result<Self, EngineError> {
        let mut running = Self::bare(plan, pre, state)?;
        let (answer,) = running.configure_call(plan, "configure", |exports, store| {
            exports.configure.call(store, (&plan.config,))
        })?;
        running.accept(plan, answer.map(drop))
    }

    /// The same with imports that may suspend. None of them suspends in `configure`, so nothing here waits.
    pub(crate) fn suspending(plan: &Plan) -> Result<Self, EngineError> {
        let made = pin!(Self::suspending_on_a_fiber(plan));
        match made.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(made) => made,
            Poll::Pending => Err(EngineError::Instantiate {
                filter: plan.settings.name.clone(),
                cause: "`configure` waited".to_owned(),
            }),
        }
    }

    async fn suspending_on_a_fiber(plan: &Plan) -> Result<Self, EngineError> {
        let Some(pre) = plan.suspending.as_ref() else {
            let (filter, cause) =
                (plan.settings.name.clone(), "`configure` may not suspend".to_owned());
            return Err(EngineError::Instantiate { filter, cause });
        };
        let share = plan.compiled.engine.waiting.take(&plan.state.owner.name, plan.compiled.needs);
        let share =
            share.map_err(|shortage| EngineError::NoRoom { filter: plan.name(), shortage })?;
        let mut store = Self::store(plan, &plan.state);
        let running = store.data().mark.running();
        let instance = pre.instantiate_async(&mut store).await;
        drop(running);
        let mut running = Self { _share: Some(share), ..Self::found(plan, store, instance)? };
        let answer =
            running.exports.configure.call_async(&mut running.store, (&plan.config,)).await;
        let (answer,) = answer.map_err(|e| running.failed(plan, "configure", &e))?;
        running.accept(plan, answer.map(drop))
    }

    fn accept(
        mut self,
        plan: &Plan,
        answer: Result<(), Vec<abi::ConfigError>>,
    ) -> Result<Self, EngineError> {
        self.store.data_mut().configuring = false;
        end_line(self.store.data_mut());
        match answer {
            Ok(()) => {
                self.store.data().state.count_instance();
                Ok(self)
            }
            Err(errors) => Err(self.refused(plan, "configure", errors)),
        }
    }

    /// The refusal of a configuration by `act`, with what the filter wrote if it gave no reason.
    pub(crate) fn refused(
        &mut self,
        plan: &Plan,
        act: &'static str,
        errors: Vec<abi::ConfigError>,
    ) -> EngineError {
        let filter = plan.settings.name.clone();
        if errors.is_empty() {
            end_line(self.store.data_mut());
            let output = self.store.data_mut().last_words.take();
            return EngineError::NoReason { filter, act, output };
        }
        let errors = places(errors.into_iter().map(|e| (e.pointer, e.message)));
        EngineError::Configure { filter, errors }
    }

    /// Calls a function while the filter is being built, under the time limit of `configure`.
    pub(crate) fn configure_call<R>(
        &mut self,
        plan: &Plan,
        act: &'static str,
        call: impl FnOnce(&Exports, &mut Store<Host>) -> wasmtime::Result<R>,
    ) -> Result<R, EngineError> {
        let host = self.store.data_mut();
        host.limiter.refused = false;
        host.hook = Hook::ALL.into_iter().find(|hook| hook.function() == act);
        let left = u64::try_from(self.building.as_micros()).unwrap_or(u64::MAX);
        host::arm(&mut self.store, plan.settings.grant.limits.configure_us.min(left));
        let since = deadline::used();
        let answer = call(&self.exports, &mut self.store);
        self.building = self.building.saturating_sub(deadline::used().saturating_sub(since));
        answer.map_err(|e| self.failed(plan, act, &e))
    }

    fn failed(&mut self, plan: &Plan, act: &'static str, error: &wasmtime::Error) -> EngineError {
        end_line(self.store.data_mut());
        let fault = classify(error, self.store.data(), plan.settings.grant.limits.configure_us);
        EngineError::SelfTest { filter: plan.settings.name.clone(), act, fault }
    }

    pub(crate) fn arm(&mut self, hook: Hook, exchange: u64) {
        let host = self.store.data_mut();
        host.hook = Some(hook);
        host.exchange = exchange;
        host.sends = 0;
        host.comparisons = 0;
        host.waited = Duration::ZERO;
        host.last_words = None;
        host.limiter.refused = false;
        let limit_us = host.settings.grant.limits.time_us;
        host::arm(&mut self.store, limit_us);
    }
}
