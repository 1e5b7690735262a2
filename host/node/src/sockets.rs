//! Addresses and certificates of a plan become sockets' settings; what cannot be read keeps its last good form.

use crate::documents::Source;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tamis_exchange::{Ambiguous, EmptySegments, Escapes, PathRules, Protocols};
use tamis_proxy::{Direction, Listener, ListenerRules, Reasons};
use tamis_resources::plan::{
    AddressPlan, Algorithm, AmbiguousPaths, DirectionPlan, EmptySegments as EmptySegmentsPlan,
    EndpointPlan, ListenerPlan, ListenerReasons, ListenerRulesPlan, PathEscapes, PolicyPlan,
    ProtocolPlan, ServicePlan, TlsPlan, UpstreamTlsPlan,
};
use tamis_transport::{Address, ClientTls, OwnCertificate, ResponseLimits, ServerTls, SpiffeId};
use tamis_upstream::{EndpointConfig, Policy, Protocol, ServiceConfig, Target};

/// The rules of a listener as the proxy has them.
fn rules(plan: &ListenerRulesPlan) -> ListenerRules {
    let ambiguous = |plan: AmbiguousPaths| match plan {
        AmbiguousPaths::Refuse => Ambiguous::Refuse,
        AmbiguousPaths::Keep => Ambiguous::Keep,
    };
    ListenerRules {
        paths: PathRules {
            empty_segments: match plan.empty_segments {
                EmptySegmentsPlan::Merge => EmptySegments::Merge,
                EmptySegmentsPlan::Keep => EmptySegments::Keep,
                EmptySegmentsPlan::Refuse => EmptySegments::Refuse,
            },
            escaped_slashes: ambiguous(plan.escaped_slashes),
            parameters: ambiguous(plan.parameters),
            escapes: match plan.escapes {
                PathEscapes::Segment => Escapes::Segment,
                PathEscapes::Unreserved => Escapes::Unreserved,
            },
        },
        upgrades: Protocols::new(&plan.upgrades),
        reasons: match plan.reasons {
            ListenerReasons::Show => Reasons::Show,
            ListenerReasons::Hide => Reasons::Hide,
        },
    }
}

/// Certificates in use, by listener and by what they were made of.
#[derive(Default)]
pub(crate) struct Sockets {
    servers: HashMap<String, (String, Arc<ServerTls>)>,
    clients: HashMap<String, (String, Arc<ClientTls>)>,
}

impl Sockets {
    /// Changes whenever a certificate in use does.
    pub(crate) fn stamp(&self) -> Vec<&str> {
        let servers = self.servers.values().map(|(made_of, _)| made_of.as_str());
        let clients = self.clients.values().map(|(made_of, _)| made_of.as_str());
        let mut all: Vec<&str> = servers.chain(clients).collect();
        all.sort_unstable();
        all
    }

    /// The listeners of a plan; those that cannot be had are named in `notes` and left out.
    pub(crate) fn listeners(
        &mut self,
        source: &Source,
        plans: &[ListenerPlan],
        notes: &mut Vec<String>,
    ) -> Vec<Listener> {
        let mut listeners = Vec::new();
        for (index, plan) in plans.iter().enumerate() {
            let name = &plan.name;
            let address = match listen_address(&plan.address) {
                Ok(address) => address,
                Err(why) => {
                    notes.push(format!("listener `{name}`: {why}"));
                    continue;
                }
            };
            let tls = match &plan.tls {
                None => None,
                Some(tls) => match self.server(source, name, tls, notes) {
                    Some(tls) => Some(tls),
                    None => continue,
                },
            };
            let direction = match plan.direction {
                DirectionPlan::Gateway => Direction::Gateway,
                DirectionPlan::Inbound => Direction::Inbound,
                DirectionPlan::Outbound => Direction::Outbound,
            };
            let (name, rules) = (name.clone(), rules(&plan.rules));
            listeners.push(Listener { name, address, tls, direction, chain: index, rules });
        }
        listeners
    }

    fn server(
        &mut self,
        source: &Source,
        name: &str,
        plan: &TlsPlan,
        notes: &mut Vec<String>,
    ) -> Option<Arc<ServerTls>> {
        let (certificate, key) = (source.path(&plan.certificate), source.path(&plan.key));
        let client_ca = plan.client_ca.as_ref().map(|path| source.path(path));
        let paths = [Some(&certificate), Some(&key), client_ca.as_ref()];
        let made_of = stamp(paths.into_iter().flatten().map(|path| path.as_path()));
        if let Some((same, tls)) = self.servers.get(name)
            && *same == made_of
        {
            return Some(Arc::clone(tls));
        }
        match ServerTls::from_files(&certificate, &key, client_ca.as_deref()) {
            Ok(tls) => {
                let tls = Arc::new(tls);
                self.servers.insert(name.to_owned(), (made_of, Arc::clone(&tls)));
                Some(tls)
            }
            Err(error) => {
                let kept = self.servers.get(name).map(|(_, tls)| Arc::clone(tls));
                let then = if kept.is_some() {
                    "the certificate read before stays in use"
                } else {
                    "it does not listen"
                };
                notes.push(format!("listener `{name}`: {}; {then}", causes(&error)));
                kept
            }
        }
    }

    /// The services of a plan; endpoints that cannot be reached safely are named in `notes` and left out.
    pub(crate) fn services(
        &mut self,
        source: &Source,
        plans: &[impl Borrow<ServicePlan>],
        notes: &mut Vec<String>,
    ) -> Vec<ServiceConfig> {
        plans
            .iter()
            .map(Borrow::borrow)
            .map(|plan: &ServicePlan| ServiceConfig {
                name: plan.name.clone(),
                protocol: match plan.protocol {
                    ProtocolPlan::Http1 => Protocol::Http1,
                    ProtocolPlan::Http2 => Protocol::Http2,
                },
                endpoints: plan
                    .endpoints
                    .iter()
                    .filter_map(|one| match self.endpoint(source, one, notes) {
                        Ok(endpoint) => Some(endpoint),
                        Err(why) => {
                            notes.push(format!("service `{}`: {why}", plan.name));
                            None
                        }
                    })
                    .collect(),
                policy: policy(&plan.policy),
            })
            .collect()
    }

    fn endpoint(
        &mut self,
        source: &Source,
        plan: &EndpointPlan,
        notes: &mut Vec<String>,
    ) -> Result<EndpointConfig, String> {
        let target = match &plan.address {
            AddressPlan::Dns(name) => dns(name)?,
            other => Target::Address(listen_address(other)?),
        };
        let (tls, tls_key) = match &plan.tls {
            None => (None, String::new()),
            Some(tls) => {
                let (tls, key) = self.client(source, tls, notes)?;
                (Some(tls), key)
            }
        };
        Ok(EndpointConfig { target, weight: plan.weight, tls, tls_key })
    }

    fn client(
        &mut self,
        source: &Source,
        plan: &UpstreamTlsPlan,
        notes: &mut Vec<String>,
    ) -> Result<(Arc<ClientTls>, String), String> {
        let (certificate, key) = (source.path(&plan.certificate), source.path(&plan.key));
        let ca = source.path(&plan.ca);
        let name = format!("{} {} {}", plan.expect_identity, plan.server_name, plan.certificate);
        let made_of = stamp([certificate.as_path(), key.as_path(), ca.as_path()].into_iter());
        if let Some((same, tls)) = self.clients.get(&name)
            && *same == made_of
        {
            return Ok((Arc::clone(tls), format!("{name} {made_of}")));
        }
        let identity: SpiffeId =
            plan.expect_identity.parse().map_err(|error| format!("{error}"))?;
        let own = OwnCertificate { certificate: &certificate, key: &key };
        match ClientTls::from_files(Some(own), &ca, Some(identity), &plan.server_name) {
            Ok(tls) => {
                let tls = Arc::new(tls);
                self.clients.insert(name.clone(), (made_of.clone(), Arc::clone(&tls)));
                Ok((tls, format!("{name} {made_of}")))
            }
            Err(error) => match self.clients.get(&name) {
                Some((made_of, tls)) => {
                    let why = causes(&error);
                    notes.push(format!("{why}; the certificate read before stays in use"));
                    Ok((Arc::clone(tls), format!("{name} {made_of}")))
                }
                None => Err(format!("{}; its endpoint is not used", causes(&error))),
            },
        }
    }
}

/// An error with all its causes, in one line; a cause that its error quotes already is not said twice.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// Says whether files changed: paths, lengths and times.
fn stamp<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let mut stamp = String::new();
    for path in paths {
        let about = std::fs::metadata(path).ok().map(|about| {
            let time = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            (about.len(), time.unwrap_or_default().as_nanos())
        });
        stamp.push_str(&format!("{} {about:?};", path.display()));
    }
    stamp
}

fn listen_address(plan: &AddressPlan) -> Result<Address, String> {
    match plan {
        AddressPlan::Tcp(text) => text.parse().map_err(|error| format!("{error}")),
        AddressPlan::Unix(path) => Ok(Address::Unix(path.into())),
        AddressPlan::Dns(name) => Err(format!("`{name}` is a name; write an IP address")),
    }
}

fn dns(text: &str) -> Result<Target, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` names no port"))?;
    let port = port.parse().map_err(|_| format!("`{text}` names no port"))?;
    Ok(Target::Dns { host: host.to_owned(), port })
}

fn policy(plan: &PolicyPlan) -> Policy {
    let millis = Duration::from_millis;
    Policy {
        algorithm: match plan.algorithm {
            Algorithm::P2c => tamis_upstream::Algorithm::P2c,
            Algorithm::RoundRobin => tamis_upstream::Algorithm::RoundRobin,
        },
        // A name that is none was refused when the document was read; then nothing is hashed.
        hash_header: plan.hash_header.as_deref().and_then(|name| name.parse().ok()),
        connect_timeout: millis(plan.connect_timeout_ms),
        idle_timeout: millis(plan.idle_timeout_ms),
        max_connections: plan.max_connections,
        max_pending: plan.max_pending,
        max_requests: plan.max_requests,
        slow_call: millis(plan.slow_call_ms),
        stats_window: millis(plan.stats_window_ms),
        retry_percent: plan.retry_percent,
        retry_min_per_second: plan.retry_min_per_second,
        keep_alive: plan.keep_alive_ms.map(millis),
        response: ResponseLimits {
            max_head_bytes: plan.max_response_head_bytes as usize,
            max_fields: plan.max_response_fields as usize,
            ..ResponseLimits::default()
        },
        max_ejected_percent: plan.max_ejected_percent,
        panic_percent: plan.panic_percent,
    }
}

#[cfg(test)]
mod tests;
