//! The ruleset as a text for `nft`. Pure: the same choice gives the same text.

use super::owner::SocketOwner;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The table that holds all rules.
pub(super) const TABLE: &str = "tamis";

/// Removes the table, whether it is there or not.
pub(super) const REMOVED: &str = "table inet tamis\ndelete table inet tamis\n";

/// What is captured, and what is not.
#[derive(Debug, Clone)]
pub(super) struct CaptureRules {
    /// Whose connections are never captured: the proxy first.
    pub(super) exempt: Vec<SocketOwner>,
    /// Where the sidecar takes connections that leave, on the loopback addresses.
    pub(super) outbound: u16,
    /// Where it answers DNS, on the loopback addresses.
    pub(super) dns: Option<u16>,
    /// Where it takes connections from the mesh, at most one for each family.
    pub(super) inbound: Vec<SocketAddr>,
    /// Ports of applications, whose connections from other hosts go to `inbound`.
    pub(super) app_ports: BTreeSet<u16>,
    /// Connections to these ports leave as they are.
    pub(super) ports: BTreeSet<u16>,
    /// Connections to or from these addresses stay as they are.
    pub(super) networks: Vec<IpNet>,
    /// What cannot be captured is refused: all but TCP, ICMP and captured DNS.
    pub(super) only_tcp: bool,
}

impl CaptureRules {
    /// The ruleset, which replaces the one before in one step.
    pub(super) fn text(&self) -> String {
        let mut text = REMOVED.to_owned();
        let _ = writeln!(text, "table inet {TABLE} {{");
        self.outbound_chain(&mut text);
        if !self.app_ports.is_empty() {
            self.inbound_chains(&mut text);
        }
        if self.only_tcp {
            self.others_chain(&mut text);
        }
        text.push_str("}\n");
        text
    }

    /// Only the first packet of a connection is ever looked at: a connection that is open when the rules come, a person's
    /// session among them, is not touched, even where the kernel has not followed it until now.
    fn outbound_chain(&self, text: &mut String) {
        let outbound = self.outbound;
        text.push_str(
            "\tchain outbound {\n\t\ttype nat hook output priority -100; policy accept;\n",
        );
        text.push_str("\t\ttcp flags & (syn | ack) != syn return\n");
        self.exemptions(text);
        if let Some(dns) = self.dns {
            // Before loopback addresses: the resolver of a machine may be at one.
            let _ = writeln!(
                text,
                "\t\tmeta l4proto {{ tcp, udp }} th dport 53 counter redirect to :{dns}"
            );
        }
        text.push_str("\t\tfib daddr type local return\n");
        self.excluded(text, "daddr");
        if !self.ports.is_empty() {
            let _ = writeln!(text, "\t\ttcp dport {{ {} }} return", list(&self.ports));
        }
        let _ = writeln!(text, "\t\tmeta l4proto tcp counter redirect to :{outbound}\n\t}}");
    }

    /// Connections from this machine itself never get here. A family without an address of the sidecar is refused: it
    /// would reach the application in clear text.
    fn inbound_chains(&self, text: &mut String) {
        let ports = list(&self.app_ports);
        text.push_str(
            "\tchain inbound {\n\t\ttype nat hook prerouting priority -100; policy accept;\n",
        );
        text.push_str(
            "\t\ttcp flags & (syn | ack) != syn return\n\t\tfib daddr type != local return\n",
        );
        self.excluded(text, "saddr");
        for address in &self.inbound {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            let protocol = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            let _ = writeln!(
                text,
                "\t\tmeta nfproto {protocol} tcp dport {{ {ports} }} counter dnat {family} to {address}"
            );
        }
        text.push_str("\t}\n");
        for (protocol, is_v4) in [("ipv4", true), ("ipv6", false)] {
            if self.inbound.iter().any(|one| one.is_ipv4() == is_v4) {
                continue;
            }
            let _ = writeln!(
                text,
                "\tchain inbound-{protocol} {{\n\t\ttype filter hook input priority 0; policy accept;\n\t\tiif lo return"
            );
            self.excluded(text, "saddr");
            let _ = writeln!(
                text,
                "\t\tmeta nfproto {protocol} tcp dport {{ {ports} }} ct state new counter reject with tcp reset\n\t}}"
            );
        }
    }

    fn others_chain(&self, text: &mut String) {
        text.push_str("\tchain others {\n\t\ttype filter hook output priority 0; policy accept;\n");
        self.exemptions(text);
        text.push_str("\t\toif lo return\n\t\tfib daddr type local return\n");
        self.excluded(text, "daddr");
        text.push_str("\t\tmeta l4proto { tcp, icmp, icmpv6 } return\n");
        text.push_str("\t\tct state established,related return\n\t\tcounter reject\n\t}\n");
    }

    fn exemptions(&self, text: &mut String) {
        for owner in &self.exempt {
            let _ = writeln!(text, "\t\t{owner} return");
        }
    }

    fn excluded(&self, text: &mut String, side: &str) {
        for network in &self.networks {
            let family = if network.network().is_ipv4() { "ip" } else { "ip6" };
            let _ = writeln!(text, "\t\t{family} {side} {network} return");
        }
    }
}

fn list(ports: &BTreeSet<u16>) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}
