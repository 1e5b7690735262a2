//! The worlds for which `tamis filter new` makes filters, each with a small filter that works.

use clap::ValueEnum;

/// A world of the contract, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum World {
    /// Decides about request heads: authentication, authorization, limits.
    #[default]
    Authorizer,
    /// An authorizer that also works in the background.
    RefreshingAuthorizer,
    /// Changes the heads of requests and responses, and sees no body.
    HeadPolicy,
    /// Changes heads and bodies in both directions.
    Transformer,
    /// Chooses where requests go.
    RoutePolicy,
    /// Decides about further attempts.
    RetryPolicy,
    /// Plans second attempts.
    HedgePolicy,
    /// Moves circuits.
    BreakerPolicy,
    /// Weighs endpoints.
    BalancePolicy,
    /// Sees finished exchanges.
    TelemetryPolicy,
    /// Decides about connections.
    ConnectionPolicy,
    /// Keeps account of exchanges, to their ends.
    MeteringPolicy,
}

/// A filter to start from.
pub(super) struct Template {
    /// `src/lib.rs`.
    pub(super) code: &'static str,
    /// `tests/cases.yaml`.
    pub(super) cases: &'static str,
    /// One line.
    pub(super) about: &'static str,
    /// A valid configuration for it.
    pub(super) config: &'static str,
}

macro_rules! template {
    ($file:literal, $about:literal, $config:literal) => {
        Template {
            code: include_str!(concat!("new/worlds/", $file, ".rs.in")),
            cases: include_str!(concat!("new/worlds/", $file, ".yaml.in")),
            about: $about,
            config: $config,
        }
    };
}

impl World {
    /// Its name in the contract.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The filter to start from.
    pub(super) fn template(self) -> Template {
        match self {
            Self::Authorizer => template!(
                "authorizer",
                "Refuses requests of agents on a list.",
                r#"{"blocked":[]}"#
            ),
            Self::RefreshingAuthorizer => template!(
                "refreshing_authorizer",
                "Refuses requests of agents on a list that is fetched in the background.",
                r#"{"list":"https://lists.example/agents"}"#
            ),
            Self::HeadPolicy => template!(
                "head_policy",
                "Takes an internal header from requests, and adds one to responses.",
                r#"{"internal":"x-internal"}"#
            ),
            Self::Transformer => template!(
                "transformer",
                "Refuses request bodies that hold a word.",
                r#"{"word":"secret"}"#
            ),
            Self::RoutePolicy => template!(
                "route_policy",
                "Routes by the longest prefix, and canaries by a header.",
                r#"{"routes":[]}"#
            ),
            Self::RetryPolicy => {
                template!("retry_policy", "Tries safe requests again.", r#"{"attempts":2}"#)
            }
            Self::HedgePolicy => template!(
                "hedge_policy",
                "Starts a second attempt when the first is slow.",
                r#"{"samples":100}"#
            ),
            Self::BreakerPolicy => template!(
                "breaker_policy",
                "Opens circuits after failures in a row.",
                r#"{"failures":5}"#
            ),
            Self::BalancePolicy => template!(
                "balance_policy",
                "Gives less to endpoints that fail.",
                r#"{"leastPermille":500}"#
            ),
            Self::TelemetryPolicy => {
                template!("telemetry_policy", "Counts slow exchanges.", r#"{"slowMs":500}"#)
            }
            Self::ConnectionPolicy => template!(
                "connection_policy",
                "Closes connections from addresses on a list.",
                r#"{"denied":[]}"#
            ),
            Self::MeteringPolicy => template!(
                "metering_policy",
                "Limits the bytes of each client in a minute.",
                r#"{"bytesPerMinute":1000000}"#
            ),
        }
    }
}
