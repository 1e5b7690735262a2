//! The hook `circuit-breaker`.

use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Window {
    #[component(name = "span-ms")]
    span_ms: u32,
    successes: u32,
    failures: u32,
    timeouts: u32,
    slow: u32,
    #[component(name = "consecutive-failures")]
    consecutive_failures: u32,
    #[component(name = "in-flight")]
    in_flight: u32,
    #[component(name = "ewma-latency-us")]
    ewma_latency_us: u32,
}

impl From<&x::Window> for Window {
    fn from(w: &x::Window) -> Self {
        Self {
            span_ms: w.span_ms,
            successes: w.successes,
            failures: w.failures,
            timeouts: w.timeouts,
            slow: w.slow,
            consecutive_failures: w.consecutive_failures,
            in_flight: w.in_flight,
            ewma_latency_us: w.ewma_latency_us,
        }
    }
}

#[derive(ComponentType, Lower, Lift, Clone, Copy)]
#[component(variant)]
pub(crate) enum Circuit {
    #[component(name = "closed")]
    Closed,
    #[component(name = "open")]
    Open(u32),
    #[component(name = "half-open")]
    HalfOpen(u32),
}

impl From<x::Circuit> for Circuit {
    fn from(circuit: x::Circuit) -> Self {
        match circuit {
            x::Circuit::Closed => Self::Closed,
            x::Circuit::Open(ms) => Self::Open(ms),
            x::Circuit::HalfOpen(probes) => Self::HalfOpen(probes),
        }
    }
}

impl From<Circuit> for x::Circuit {
    fn from(circuit: Circuit) -> Self {
        match circuit {
            Circuit::Closed => Self::Closed,
            Circuit::Open(ms) => Self::Open(ms),
            Circuit::HalfOpen(probes) => Self::HalfOpen(probes),
        }
    }
}
