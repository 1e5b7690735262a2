//! The hook `balancer`.

use wasmtime::component::{ComponentType, Lower};

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct EndpointState {
    id: u32,
    #[component(name = "configured-weight")]
    configured_weight: u32,
    #[component(name = "in-flight")]
    in_flight: u32,
    #[component(name = "ewma-latency-us")]
    ewma_latency_us: u32,
    #[component(name = "success-permille")]
    success_permille: u32,
    #[component(name = "age-ms")]
    age_ms: u64,
    #[component(name = "local-zone")]
    local_zone: bool,
}

impl From<&crate::hooks::EndpointState> for EndpointState {
    fn from(e: &crate::hooks::EndpointState) -> Self {
        Self {
            id: e.id,
            configured_weight: e.configured_weight,
            in_flight: e.in_flight,
            ewma_latency_us: e.ewma_latency_us,
            success_permille: e.success_permille,
            age_ms: e.age_ms,
            local_zone: e.local_zone,
        }
    }
}
