//! Calls each hook once with a sample request before a filter may serve, against throw-away state.

use crate::exports::{BodyHook, Exports};
use crate::plan::Plan;
use crate::running::RunningInstance;
use crate::{EngineError, Hook, Host, abi};
use http::HeaderMap;
use tamis_exchange as x;
use wasmtime::Store;

/// Calls every exported hook of an instance once; its state is thrown away.
///
/// # Errors
/// A hook fails; its answer does not matter.
pub(crate) fn run(plan: &Plan, running: &mut RunningInstance) -> Result<(), EngineError> {
    let (request, response) = views(plan);
    let (mut request_spans, mut response_spans) = (Vec::new(), Vec::new());
    let seen = abi::View::of(&request, &mut request_spans);
    let replied = abi::View::of(&response, &mut response_spans);
    for &hook in &plan.compiled.inspection.hooks {
        running.configure_call(plan, hook.function(), |exports, store| {
            call(hook, exports, store, seen, replied)
        })?;
    }
    Ok(())
}

fn call(
    hook: Hook,
    exports: &Exports,
    store: &mut Store<Host>,
    seen: abi::View<'_>,
    replied: abi::View<'_>,
) -> wasmtime::Result<()> {
    macro_rules! once {
        ($slot:ident ( $($param:expr),* )) => {
            if let Some(slot) = exports.$slot.as_ref() {
                slot.call(store, ($($param,)*))?;
            }
        };
    }
    match hook {
        Hook::Request => once!(on_request(seen)),
        Hook::Response => once!(on_response(replied)),
        Hook::RequestBody => body(exports.on_request_body.as_ref(), store, seen)?,
        Hook::ResponseBody => body(exports.on_response_body.as_ref(), store, replied)?,
        Hook::Router => once!(on_route(seen)),
        Hook::Retry => once!(on_failure(abi::Failure::from(&failure()), seen)),
        Hook::Hedge => once!(plan(abi::Latencies::from(&crate::Latencies::default()))),
        Hook::CircuitBreaker => {
            let window = x::Window { failures: 1, ..x::Window::default() };
            once!(evaluate(0, None, abi::Window::from(&window), abi::Circuit::Closed));
        }
        Hook::Balancer => once!(weigh(0, &[][..])),
        Hook::Trailers => {
            once!(on_request_trailers(seen));
            once!(on_response_trailers(replied));
        }
        Hook::Finished => {
            once!(on_finished(seen, abi::ExchangeEnding::from(&x::ExchangeEnding::default())));
        }
        Hook::Telemetry => {
            if let Some(slot) = exports.on_exchanges.as_ref() {
                slot.call(store, &[], abi::KeptBatch { octets: b"", spans: &[] })?;
            }
        }
        Hook::Connection => once!(on_connection(seen)),
        Hook::Tick => once!(on_tick()),
    }
    Ok(())
}

/// Calls a hook on bodies with an empty one.
fn body(
    hook: Option<&BodyHook>,
    store: &mut Store<Host>,
    seen: abi::View<'_>,
) -> wasmtime::Result<()> {
    match hook {
        Some(hook) => hook.call(store, 0, seen, b"", true).map(drop),
        None => Ok(()),
    }
}

/// `GET /` of `localhost`, answered with 200.
fn views(plan: &Plan) -> (x::View, x::View) {
    let exchange = x::Exchange {
        id: 0,
        method: http::Method::GET,
        scheme: x::Scheme::Http,
        authority: "localhost".to_owned(),
        path: "/".to_owned(),
        headers: HeaderMap::new(),
        status: Some(http::StatusCode::OK),
        response_headers: HeaderMap::new(),
        attributes: x::Attributes::default(),
        bounds: x::HeadBounds::default(),
        coding: None,
    };
    let (mut request, mut response) = (x::View::default(), x::View::default());
    request.fill_request(plan.reads(), &exchange);
    response.fill_response(plan.reads(), &exchange);
    (request, response)
}

fn failure() -> x::Failure {
    x::Failure {
        rule: 0,
        attempt: 1,
        cause: x::Cause::ConnectFailure,
        status: 0,
        grpc_status: None,
        elapsed_ms: 1,
        remaining_ms: 0,
        idempotent: true,
        replayable: true,
        retry_after_ms: None,
        budget_left: 1,
    }
}
