//! The macros that export a filter from its component.

/// Exports a filter with the listed hooks: `tamis_sdk::export!(MyFilter: request, tick);`.
///
/// The hook names are those of the WIT interfaces with `_` for `-`; each needs its trait
/// ([`Request`](crate::Request) for `request`). `lifecycle` is always exported. Use it once in a crate, at
/// its root.
#[macro_export]
macro_rules! export {
    ($filter:ty: $($hook:ident),+ $(,)?) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::Slot<$filter> = const { $crate::Slot::empty() };
            }
            struct Exports;
            impl $crate::lifecycle::Guest for Exports {
                fn config_schema() -> ::std::string::String {
                    <$filter as $crate::Filter>::SCHEMA.to_owned()
                }
                fn validate(
                    config: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::vec::Vec<$crate::ConfigError>> {
                    $crate::Slot::<$filter>::validate(&config)
                }
                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<$crate::Interest, ::std::vec::Vec<$crate::ConfigError>> {
                    SLOT.with(|slot| slot.configure(&config))
                }
            }
            $crate::__link!(lifecycle, Exports);
            $( $crate::__hook!($hook, Exports, SLOT); )+
        };
    };
}

/// Links the exports of one interface. Native builds have no host to export to, and their linkers read `@`
/// in a symbol as a version.
#[doc(hidden)]
#[macro_export]
macro_rules! __link {
    ($hook:ident, $exports:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::$hook::export!($exports with_types_in $crate::bindings::$hook);
    };
}

/// Implements one hook interface with the trait of that hook.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    (@ $hook:ident, $exports:ident, { $($body:tt)* }) => {
        impl $crate::$hook::Guest for $exports { $($body)* }
        $crate::__link!($hook, $exports);
    };
    (request, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ request, $exports, {
            fn on_request(seen: $crate::types::View) -> $crate::request::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Request::on_request(filter, $crate::View::new(&seen, reads))
                }))
            }
        });
    };
    (request_body, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ request_body, $exports, {
            fn on_request_body(
                seen: $crate::types::View, octets: ::std::vec::Vec<u8>, last: bool,
            ) -> $crate::request_body::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    let seen = $crate::View::new(&seen, reads);
                    $crate::RequestBody::on_request_body(filter, seen, &octets, last)
                }))
            }
        });
    };
    (response, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ response, $exports, {
            fn on_response(seen: $crate::types::View) -> $crate::response::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Response::on_response(filter, $crate::View::new(&seen, reads))
                }))
            }
        });
    };
    (response_body, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ response_body, $exports, {
            fn on_response_body(
                seen: $crate::types::View, octets: ::std::vec::Vec<u8>, last: bool,
            ) -> $crate::response_body::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    let seen = $crate::View::new(&seen, reads);
                    $crate::ResponseBody::on_response_body(filter, seen, &octets, last)
                }))
            }
        });
    };
    (router, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ router, $exports, {
            fn backends() -> ::std::vec::Vec<::std::string::String> {
                $slot.with(|slot| slot.call(|filter, _| $crate::Router::backends(filter)))
            }
            fn rules() -> ::std::vec::Vec<::std::string::String> {
                $slot.with(|slot| slot.call(|filter, _| $crate::Router::rules(filter)))
            }
            fn on_route(seen: $crate::types::View) -> $crate::router::Choice {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Router::on_route(filter, $crate::View::new(&seen, reads))
                }))
            }
        });
    };
    (retry, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ retry, $exports, {
            fn failing_statuses() -> (::std::vec::Vec<u16>, ::std::vec::Vec<u32>) {
                $slot.with(|slot| slot.call(|filter, _| $crate::Retry::failing_statuses(filter)))
            }
            fn on_failure(
                failure: $crate::retry::Failure, seen: $crate::types::View,
            ) -> $crate::retry::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Retry::on_failure(filter, failure, $crate::View::new(&seen, reads))
                }))
            }
        });
    };
    (hedge, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ hedge, $exports, {
            fn plan(seen: $crate::hedge::Latencies) -> ::std::option::Option<u32> {
                $slot.with(|slot| slot.call(|filter, _| $crate::Hedge::plan(filter, seen)))
            }
        });
    };
    (circuit_breaker, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ circuit_breaker, $exports, {
            fn evaluate(
                upstream: u32,
                endpoint: ::std::option::Option<u32>,
                seen: $crate::circuit_breaker::Window,
                now: $crate::circuit_breaker::Circuit,
            ) -> $crate::circuit_breaker::Circuit {
                $slot.with(|slot| slot.call(|filter, _| {
                    $crate::CircuitBreaker::evaluate(filter, upstream, endpoint, seen, now)
                }))
            }
        });
    };
    (balancer, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ balancer, $exports, {
            fn weigh(
                upstream: u32, endpoints: ::std::vec::Vec<$crate::balancer::EndpointState>,
            ) -> ::std::vec::Vec<u32> {
                $slot.with(|slot| slot.call(|filter, _| {
                    $crate::Balancer::weigh(filter, upstream, &endpoints)
                }))
            }
        });
    };
    (trailers, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ trailers, $exports, {
            fn on_request_trailers(seen: $crate::types::View) -> $crate::trailers::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Trailers::on_request_trailers(filter, $crate::View::new(&seen, reads))
                }))
            }
            fn on_response_trailers(seen: $crate::types::View) -> $crate::trailers::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Trailers::on_response_trailers(filter, $crate::View::new(&seen, reads))
                }))
            }
        });
    };
    (finished, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ finished, $exports, {
            fn on_finished(seen: $crate::types::View, how: $crate::finished::Ending) {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Finished::on_finished(filter, $crate::View::new(&seen, reads), how)
                }))
            }
        });
    };
    (telemetry, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ telemetry, $exports, {
            fn on_names(
                kind: $crate::telemetry::NameKind,
                first: u32,
                names: ::std::vec::Vec<::std::string::String>,
            ) {
                $slot.with(|slot| slot.call(|filter, _| {
                    $crate::Telemetry::on_names(filter, kind, first, names)
                }))
            }
            fn on_exchanges(
                batch: ::std::vec::Vec<$crate::telemetry::Summary>, kept: $crate::telemetry::Kept,
            ) {
                $slot.with(|slot| slot.call(|filter, reads| {
                    let kept = $crate::Kept::new(&kept, reads);
                    $crate::Telemetry::on_exchanges(filter, &batch, kept)
                }))
            }
        });
    };
    (connection, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ connection, $exports, {
            fn backends() -> ::std::vec::Vec<::std::string::String> {
                $slot.with(|slot| slot.call(|filter, _| $crate::Connection::backends(filter)))
            }
            fn on_connection(seen: $crate::types::View) -> $crate::connection::Decision {
                $slot.with(|slot| slot.call(|filter, reads| {
                    $crate::Connection::on_connection(filter, $crate::View::new(&seen, reads))
                }))
            }
        });
    };
    (tick, $exports:ident, $slot:ident) => {
        $crate::__hook!(@ tick, $exports, {
            fn on_tick() -> ::std::option::Option<u32> {
                $slot.with(|slot| slot.call(|filter, _| $crate::Tick::on_tick(filter)))
            }
        });
    };
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident: $($hook:ident),+;)+) => { roles!(($) $($(#[$doc])* $name: [$($hook),+];)+); };
    (($dollar:tt) $($(#[$doc:meta])* $name:ident: [$($hooks:tt)+];)+) => {$(
        $(#[$doc])*
        #[macro_export]
        macro_rules! $name {
            ($dollar filter:ty) => { $crate::export!($dollar filter: $($hooks)+); };
        }
    )+};
}

roles! {
    /// Exports a [`Request`](crate::Request) filter: authentication, authorization, limits, header policy.
    export_authorizer: request;
    /// Exports a [`Request`](crate::Request) filter that also works in the background ([`Tick`](crate::Tick)).
    export_refreshing_authorizer: request, tick;
    /// Exports a [`Request`](crate::Request) filter that also decides about the connections of `tcp` ports
    /// ([`Connection`](crate::Connection)).
    export_connection_authorizer: request, connection;
    /// Exports a filter that changes the heads of requests and responses ([`Request`](crate::Request),
    /// [`Response`](crate::Response)), and sees no body.
    export_head_policy: request, response;
    /// Exports a filter that changes heads and bodies in both directions.
    export_transformer: request, request_body, response, response_body;
    /// Exports a filter that counts exchanges ([`Request`](crate::Request), [`Finished`](crate::Finished)).
    export_metering_policy: request, finished;
    /// Exports a [`Router`](crate::Router).
    export_router: router;
    /// Exports a [`Retry`](crate::Retry) policy.
    export_retry: retry;
    /// Exports a [`Hedge`](crate::Hedge) policy.
    export_hedge: hedge;
    /// Exports a [`CircuitBreaker`](crate::CircuitBreaker).
    export_breaker: circuit_breaker;
    /// Exports a [`Balancer`](crate::Balancer).
    export_balancer: balancer;
    /// Exports a [`Telemetry`](crate::Telemetry) policy.
    export_telemetry: telemetry;
    /// Exports a [`Connection`](crate::Connection) policy.
    export_connection: connection;
}
