//! The code that `wit-bindgen` generates from the contract in `wit/`.
//!
//! One world per hook interface and one for all capabilities, so that every interface is generated once and
//! a filter exports any subset of hooks. `wit-component` merges the worlds that a filter uses and drops the
//! imports that nothing calls, so the imports of a finished component show exactly what it does.

/// All capabilities, and the types that all interfaces share.
pub mod capabilities {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tamis:sdk;
            world capabilities {
                import tamis:filter/types@0.2.0;
                import tamis:filter/log@0.2.0;
                import tamis:filter/metrics@0.2.0;
                import tamis:filter/clock@0.2.0;
                import tamis:filter/random@0.2.0;
                import tamis:filter/crypto@0.2.0;
                import tamis:filter/passwords@0.2.0;
                import tamis:filter/secrets@0.2.0;
                import tamis:filter/quota@0.2.0;
                import tamis:filter/counters@0.2.0;
                import tamis:filter/kv@0.2.0;
                import tamis:filter/exchange-state@0.2.0;
                import tamis:filter/http-client@0.2.0;
                import tamis:filter/spans@0.2.0;
                import tamis:filter/records@0.2.0;
            }",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

/// Bindings of one hook; `types` for hooks that use the shared types, `plain` for the others.
macro_rules! hook {
    ($module:ident, $world:literal, $bindings:literal, types) => {
        hook!($module, $world, $bindings, {
            "tamis:filter/types@0.2.0": crate::bindings::capabilities::tamis::filter::types
        });
    };
    ($module:ident, $world:literal, $bindings:literal, plain) => {
        hook!($module, $world, $bindings, {});
    };
    ($module:ident, $world:literal, $bindings:literal, $with:tt) => {
        #[doc = concat!("Exports of `", stringify!($module), "`.")]
        pub mod $module {
            wit_bindgen::generate!({
                path: "../../wit",
                inline: $world,
                with: $with,
                generate_all,
                generate_unused_types: true,
                pub_export_macro: true,
                default_bindings_module: $bindings,
                additional_derives: [PartialEq],
            });
        }
    };
}

hook!(
    lifecycle,
    "package tamis:sdk; world lifecycle-hook { export tamis:filter/lifecycle@0.2.0; }",
    "tamis_sdk::bindings::lifecycle",
    types
);
hook!(
    request,
    "package tamis:sdk; world request-hook { export tamis:filter/request@0.2.0; }",
    "tamis_sdk::bindings::request",
    types
);
hook!(
    request_body,
    "package tamis:sdk; world request-body-hook { export tamis:filter/request-body@0.2.0; }",
    "tamis_sdk::bindings::request_body",
    types
);
hook!(
    response,
    "package tamis:sdk; world response-hook { export tamis:filter/response@0.2.0; }",
    "tamis_sdk::bindings::response",
    types
);
hook!(
    response_body,
    "package tamis:sdk; world response-body-hook { export tamis:filter/response-body@0.2.0; }",
    "tamis_sdk::bindings::response_body",
    types
);
hook!(
    router,
    "package tamis:sdk; world router-hook { export tamis:filter/router@0.2.0; }",
    "tamis_sdk::bindings::router",
    types
);
hook!(
    retry,
    "package tamis:sdk; world retry-hook { export tamis:filter/retry@0.2.0; }",
    "tamis_sdk::bindings::retry",
    types
);
hook!(
    hedge,
    "package tamis:sdk; world hedge-hook { export tamis:filter/hedge@0.2.0; }",
    "tamis_sdk::bindings::hedge",
    plain
);
hook!(
    circuit_breaker,
    "package tamis:sdk; world circuit-breaker-hook { export tamis:filter/circuit-breaker@0.2.0; }",
    "tamis_sdk::bindings::circuit_breaker",
    plain
);
hook!(
    balancer,
    "package tamis:sdk; world balancer-hook { export tamis:filter/balancer@0.2.0; }",
    "tamis_sdk::bindings::balancer",
    plain
);
hook!(
    telemetry,
    "package tamis:sdk; world telemetry-hook { export tamis:filter/telemetry@0.2.0; }",
    "tamis_sdk::bindings::telemetry",
    types
);
hook!(
    trailers,
    "package tamis:sdk; world trailers-hook { export tamis:filter/trailers@0.2.0; }",
    "tamis_sdk::bindings::trailers",
    types
);
hook!(
    finished,
    "package tamis:sdk; world finished-hook { export tamis:filter/finished@0.2.0; }",
    "tamis_sdk::bindings::finished",
    types
);
hook!(
    connection,
    "package tamis:sdk; world connection-hook { export tamis:filter/connection@0.2.0; }",
    "tamis_sdk::bindings::connection",
    types
);
hook!(
    tick,
    "package tamis:sdk; world tick-hook { export tamis:filter/tick@0.2.0; }",
    "tamis_sdk::bindings::tick",
    plain
);
