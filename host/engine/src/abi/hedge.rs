//! The hook `hedge`.

use wasmtime::component::{ComponentType, Lower};

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Latencies {
    rule: u32,
    samples: u32,
    #[component(name = "p50-us")]
    p50_us: u32,
    #[component(name = "p90-us")]
    p90_us: u32,
    #[component(name = "p95-us")]
    p95_us: u32,
    #[component(name = "p99-us")]
    p99_us: u32,
}

impl From<&crate::hooks::Latencies> for Latencies {
    fn from(l: &crate::hooks::Latencies) -> Self {
        Self {
            rule: l.rule,
            samples: l.samples,
            p50_us: l.p50_us,
            p90_us: l.p90_us,
            p95_us: l.p95_us,
            p99_us: l.p99_us,
        }
    }
}
