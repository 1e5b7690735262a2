//! `tamis capture install`: chooses the rules, refuses those that would lock a person out, and puts them in force.

use super::nft;
use super::owner::SocketOwner;
use super::rules::{self, CaptureRules};
use crate::ending::EndSignal;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use nix::unistd::User;
use serde_json::json;
use std::net::SocketAddr;

/// The port of SSH (IANA), captured never.
const SSH: u16 = 22;
/// A resolver of many machines: what it asks the network must not come back to it through the sidecar.
const RESOLVER: &str = "systemd-resolve";

/// Arguments of `capture install`.
#[derive(clap::Args)]
pub(super) struct Install {
    /// User as which the proxy runs, by name or number: its own connections are not captured.
    #[arg(long, value_name = "USER", required_unless_present = "proxy_group")]
    proxy_user: Option<String>,
    /// Group as which the proxy runs, by name or number, instead of its user.
    #[arg(long, value_name = "GROUP", conflicts_with = "proxy_user")]
    proxy_group: Option<String>,
    /// Port at which the sidecar takes captured connections, on the loopback addresses.
    #[arg(long, value_name = "PORT", default_value_t = 15001, value_parser = clap::value_parser!(u16).range(1..))]
    outbound: u16,
    /// Port at which the sidecar answers DNS, on the loopback addresses; without it, DNS is not captured.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    dns: Option<u16>,
    /// Address at which the sidecar takes connections from the mesh: `sidecar` of the endpoint. Once for each of IPv4 and
    /// IPv6.
    #[arg(long, value_name = "IP:PORT", requires = "app_port")]
    inbound: Vec<SocketAddr>,
    /// Port of an application: what other hosts send there goes to --inbound. Several are separated by commas.
    #[arg(long, value_name = "PORT", value_delimiter = ',', requires = "inbound", value_parser = clap::value_parser!(u16).range(1..))]
    app_port: Vec<u16>,
    /// Port of the admin listener, which is never captured.
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_values_t = [15000u16])]
    admin_port: Vec<u16>,
    /// Port on other hosts to which connections go as they are.
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    exclude_port: Vec<u16>,
    /// Addresses, as a prefix, to and from which connections go as they are.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    exclude_cidr: Vec<IpNet>,
    /// User whose connections are not captured, besides the proxy; `systemd-resolve` is one where it exists.
    #[arg(long, value_name = "USER")]
    exclude_user: Vec<String>,
    /// Refuse what cannot be captured: all that leaves this machine but TCP, ICMP and DNS through --dns.
    #[arg(long)]
    only_tcp: bool,
    /// Stay, and remove the rules at Ctrl-C or SIGTERM.
    #[arg(long, conflicts_with = "dry_run")]
    hold: bool,
    /// Print the ruleset, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Installs, or prints what it would install.
pub(super) fn run(arguments: &Install, output: Output) -> Result<()> {
    // The only places that say which ports a person's session has.
    let session = std::env::var("SSH_CONNECTION").ok();
    let rules = arguments.rules(session.as_deref())?;
    let text = rules.text();
    if arguments.dry_run {
        output::result(output, &json!({ "installed": false, "rules": text }), || text.clone());
        return Ok(());
    }
    // Before the rules: a signal that comes between them finds somebody who removes them.
    let ending = if arguments.hold { Some(EndSignal::new()?) } else { None };
    nft::apply(&text)?;
    output::event(output, &json!({ "installed": true, "rules": text }), || arguments.installed());
    if let Some(ending) = ending {
        while !ending.asked() {
            ending.wait();
        }
        nft::apply(rules::REMOVED)?;
        output::event(output, &json!({ "installed": false }), || "removed".to_owned());
    }
    Ok(())
}

impl Install {
    /// The rules, unless they would lock a person out or lead the proxy to itself. `session` is `SSH_CONNECTION`.
    pub(super) fn rules(&self, session: Option<&str>) -> Result<CaptureRules> {
        let mut exempt = vec![self.proxy()?];
        for user in &self.exclude_user {
            exempt.push(SocketOwner::user(user)?);
        }
        let resolver =
            User::from_name(RESOLVER).context("cannot read the users of this machine")?;
        exempt.extend(resolver.map(|user| SocketOwner::User(user.uid.as_raw())));
        exempt.dedup();
        self.check_inbound()?;
        self.check_app_ports(session)?;
        Ok(CaptureRules {
            exempt,
            outbound: self.outbound,
            dns: self.dns,
            inbound: self.inbound.clone(),
            app_ports: self.app_port.iter().copied().collect(),
            ports: self.exclude_port.iter().copied().collect(),
            networks: self.exclude_cidr.iter().map(IpNet::trunc).collect(),
            only_tcp: self.only_tcp,
        })
    }

    fn proxy(&self) -> Result<SocketOwner> {
        let owner = match (&self.proxy_user, &self.proxy_group) {
            (Some(user), _) => SocketOwner::user(user)?,
            (None, Some(group)) => SocketOwner::group(group)?,
            (None, None) => bail!("name the user or the group of the proxy"),
        };
        owner.of_a_proxy()
    }

    fn check_inbound(&self) -> Result<()> {
        for (at, address) in self.inbound.iter().enumerate() {
            if address.ip().is_loopback() || address.ip().is_unspecified() || address.port() == 0 {
                bail!(
                    "--inbound {address}: write the address and port of this machine at which the sidecar takes connections of other hosts, `sidecar` of its endpoint"
                );
            }
            let mut before = self.inbound.iter().take(at);
            if before.any(|one| one.is_ipv4() == address.is_ipv4()) {
                bail!(
                    "--inbound {address} is a second address of its family: give at most one for IPv4 and one for IPv6"
                );
            }
        }
        Ok(())
    }

    /// No port by which a person gets in, or the sidecar itself, is one of an application.
    fn check_app_ports(&self, session: Option<&str>) -> Result<()> {
        let here = session_port(session);
        for &port in &self.app_port {
            let whose = if port == SSH || Some(port) == here {
                "SSH, which would lock you out"
            } else if self.admin_port.contains(&port) {
                "the admin listener (--admin-port)"
            } else if self.inbound.iter().any(|one| one.port() == port)
                || [Some(self.outbound), self.dns].contains(&Some(port))
            {
                "the sidecar itself"
            } else {
                continue;
            };
            bail!("--app-port {port} is the port of {whose}: name the ports of applications alone");
        }
        Ok(())
    }

    fn installed(&self) -> String {
        let dns = self.dns.map(|port| format!(", DNS to {port}")).unwrap_or_default();
        let inbound = match self.inbound.first() {
            Some(first) => format!("; what other hosts send to the application goes to {first}"),
            None => String::new(),
        };
        format!(
            "new connections of this machine go to its sidecar at port {}{dns}{inbound}\n`tamis capture show` prints the rules, `tamis capture remove` removes them",
            self.outbound
        )
    }
}

/// The port on this machine of a person's SSH session: the last of four words (ssh(1), `SSH_CONNECTION`).
fn session_port(session: Option<&str>) -> Option<u16> {
    session?.split_whitespace().nth(3)?.parse().ok()
}
