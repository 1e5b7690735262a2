//! The versions of the contract that this host serves, side by side in one chain.

/// A version of the contract; a component is of exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contract {
    /// `wit/0.1`.
    V0_1,
    /// `wit/`.
    V0_2,
}

impl Contract {
    /// All of them, the oldest first.
    pub const ALL: [Self; 2] = [Self::V0_1, Self::V0_2];
    /// The one that the SDK of this release writes filters for.
    pub const NEWEST: Self = Self::V0_2;

    /// Its track: `0.2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::V0_2 => "0.2",
        }
    }

    /// The full name of one of its interfaces: `tamis:filter/log@0.2.0`.
    pub fn interface(self, name: &str) -> String {
        format!("tamis:filter/{name}@{}.0", self.as_str())
    }

    /// Whether this version may have an interface of that name. Whether the interface exists is checked elsewhere.
    pub(crate) fn may_have(self, interface: &str) -> bool {
        self != Self::V0_1
            || !matches!(interface, "finished" | "exchange-state" | "passwords" | "trailers")
    }

    /// The one that a semantic version belongs to: versions of a track differ in their documentation only.
    pub(crate) fn of(version: &str) -> Option<Self> {
        let of = |one: &Self| {
            version.strip_prefix(one.as_str()).is_some_and(|patch| patch.starts_with('.'))
        };
        Self::ALL.into_iter().find(of)
    }

    /// What the author of a filter has to change in each of these hooks and in the declaration to move from
    /// this version to the next; empty for the newest. One sentence each.
    pub fn moving(self, hooks: &[crate::Hook]) -> Vec<&'static str> {
        let mut steps = Vec::new();
        match self {
            Self::V0_1 => {
                steps.push("build it with the SDK of 0.2, or bind `wit/` of 0.2");
                steps.push(
                    "without the SDK: give `interest` its new field `responses` (`upstream` is what 0.1 did)",
                );
                let bodies = [crate::Hook::RequestBody, crate::Hook::ResponseBody];
                if bodies.iter().any(|hook| hooks.contains(hook)) {
                    steps.push(
                        "its hooks on bodies receive the declared fields (`seen`) in place of the number of the exchange, which is `seen.exchange`",
                    );
                }
                if hooks.contains(&crate::Hook::Telemetry) {
                    steps.push(
                        "its hook `on-exchanges` receives a second argument, `kept`: what the exchanges had in the fields of `interest.reads`",
                    );
                }
                if hooks.contains(&crate::Hook::Response) {
                    steps.push(
                        "its hook on responses may now see the answers of filters and of the proxy: declare `responses: all`",
                    );
                }
            }
            Self::V0_2 => {}
        }
        steps
    }
}

impl std::fmt::Display for Contract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_one_track_or_to_none() {
        for (version, track) in [
            ("0.1.0", Some(Contract::V0_1)),
            ("0.1.7", Some(Contract::V0_1)),
            ("0.2.0", Some(Contract::V0_2)),
            ("0.20.0", None),
            ("0.2", None),
            ("0.3.0", None),
            ("", None),
        ] {
            assert_eq!(Contract::of(version), track, "{version}");
        }
    }

    #[test]
    fn every_version_but_the_newest_says_what_moving_needs() {
        for one in Contract::ALL {
            let steps = one.moving(&crate::Hook::ALL);
            assert_eq!(steps.is_empty(), one == Contract::NEWEST, "{one}");
        }
    }
}
