//! Values of the capabilities that a filter imports: one or two types for each.

use super::edit::Field;
use wasmtime::component::{ComponentType, Lift, Lower};

#[cfg_attr(not(test), expect(dead_code, reason = "lifted only"))]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Scope {
    #[component(name = "exchange")]
    Exchange,
    #[component(name = "connection")]
    Connection,
}

#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the contract's enum is lifted whole, and the host uses only some of its cases"
    )
)]
#[derive(ComponentType, Lift, Debug, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum MetricKind {
    #[component(name = "counter")]
    Counter,
    #[component(name = "gauge")]
    Gauge,
    #[component(name = "histogram")]
    Histogram,
}

#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Eq, Debug)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Algorithm {
    #[component(name = "rs256")]
    Rs256,
    #[component(name = "rs384")]
    Rs384,
    #[component(name = "rs512")]
    Rs512,
    #[component(name = "ps256")]
    Ps256,
    #[component(name = "ps384")]
    Ps384,
    #[component(name = "ps512")]
    Ps512,
    #[component(name = "es256")]
    Es256,
    #[component(name = "es384")]
    Es384,
    #[component(name = "es512")]
    Es512,
    #[component(name = "eddsa")]
    Eddsa,
    #[component(name = "hs256")]
    Hs256,
    #[component(name = "hs384")]
    Hs384,
    #[component(name = "hs512")]
    Hs512,
}

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Digest {
    #[component(name = "sha256")]
    Sha256,
    #[component(name = "sha384")]
    Sha384,
    #[component(name = "sha512")]
    Sha512,
}

#[derive(ComponentType, Lower, Clone)]
#[component(record)]
pub(crate) struct KvEntry {
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RequestRecord {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Vec<u8>,
    #[component(name = "timeout-ms")]
    pub(crate) timeout_ms: u32,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct ResponseRecord {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Vec<u8>,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum PasswordFailure {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "hash")]
    Hash(String),
    #[component(name = "exhausted")]
    Exhausted,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum HttpFailure {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "connect")]
    Connect(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "exhausted")]
    Exhausted,
}
