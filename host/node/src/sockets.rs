//! From addresses and certificates of a plan to settings of sockets; for files that cannot be read the last
//! good version is used.

mod svid;

use svid::SvidSockets;
pub(crate) use svid::{Membership, MissingSvid};

use crate::documents::DocumentPlaces;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tamis_acme::KeptCertificates;
use tamis_ambient::Clock;
use tamis_exchange::{
    AddressPrefixes, AmbiguityRule, EmptySegmentRule, Escapes, ForwardedField, HostPattern,
    PathRules, Protocols, TrustedProxies,
};
use tamis_proxy::{
    CaptureRules, CertificateStatus, EgressRule, EgressRules, Http3Rules, InterimClients,
    ListenerConfig, ListenerRules, PlaintextPort, Reasons, StreamBackend, StreamRules, TcpRules,
};
use tamis_resources::plan::{
    AddressPlan, Algorithm, AmbiguousPaths, CapturedPlan, ClientAddressField, ClientAddressPlan,
    DestinationPlan, Egress, EmptySegments, EndpointPlan, InterimResponses, ListenerAcmePlan,
    ListenerFilesPlan, ListenerPlan, ListenerReasons, ListenerRulesPlan, MemberFilesPlan,
    MemberTlsPlan, NodePlan, OthersPlan, PathEscapes, PlaintextPlan, PolicyPlan, ProtocolPlan,
    ProxyHeader, ServerNamePlan, ServerTlsPlan, ServicePlan, StreamBackendPlan, StreamRoutesPlan,
    TcpPlan, TlsPlan, TrafficDirection, UpstreamTlsPlan,
};
use tamis_transport::{
    Address, CertificateFacts, CertificateNeeds, ClientTls, OwnCertificate, ProxyHeaderVersion,
    ResponseLimits, ServerAltName, ServerTls, SpiffeId, TcpPort,
};
use tamis_upstream::{EndpointConfig, EndpointTarget, Protocol, ServiceConfig, ServiceSettings};

use tamis_transport::causes;

/// The rules of a listener in the proxy's form.
fn rules(plan: &ListenerRulesPlan) -> ListenerRules {
    let ambiguous = |plan: AmbiguousPaths| match plan {
        AmbiguousPaths::Refuse => AmbiguityRule::Refuse,
        AmbiguousPaths::Keep => AmbiguityRule::Keep,
    };
    ListenerRules {
        paths: PathRules {
            empty_segments: match plan.empty_segments {
                EmptySegments::Merge => EmptySegmentRule::Merge,
                EmptySegments::Keep => EmptySegmentRule::Keep,
                EmptySegments::Refuse => EmptySegmentRule::Refuse,
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
        grpc_web: plan.grpc_web,
        interim: match plan.interim_responses {
            InterimResponses::Http2 => InterimClients::Http2,
            InterimResponses::All => InterimClients::All,
        },
        trusted_proxies: plan.client_address.as_ref().and_then(trusted_proxies),
        hostname: plan.hostname.as_deref().map(HostPattern::new),
        elsewhere: plan.elsewhere.iter().map(|host| HostPattern::new(host)).collect(),
        // The documents exclude invalid prefixes; with one, nobody may connect.
        header_senders: plan
            .proxy_protocol
            .as_deref()
            .map(|trusted| AddressPrefixes::new(trusted).unwrap_or_default()),
        http3: plan.http3.as_ref().map(|http3| Http3Rules { advertised_for: http3.advertised_for }),
    }
}

/// The rules of a `tcp` listener and its TLS, which agrees on its port alone. `None`: it has TLS and no port, or a port and
/// no TLS, which no plan of ours has.
fn carried(plan: &TcpPlan, tls: Option<&ServerTls>) -> Option<(Option<Arc<ServerTls>>, TcpRules)> {
    let (tls, asked) = match (tls, plan.asked) {
        (Some(tls), Some(number)) => {
            let port = TcpPort::new(number)?;
            (Some(Arc::new(tls.for_port(port))), Some(port))
        }
        (Some(tls), None) if plan.routed.is_some() => {
            (Some(Arc::new(tls.for_any_protocol())), None)
        }
        (None, None) => (None, None),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let rules = TcpRules {
        service: plan.service.clone(),
        asked,
        idle_timeout: Duration::from_millis(plan.idle_timeout_ms),
        max_connections: plan.max_connections,
        proxy_header: plan.proxy_header.map(|version| match version {
            ProxyHeader::V1 => ProxyHeaderVersion::One,
            ProxyHeader::V2 => ProxyHeaderVersion::Two,
        }),
        egress: None,
        routed: plan.routed.as_ref().or(plan.datagrams.as_ref()).map(routed),
        datagrams: plan.datagrams.is_some(),
    };
    Some((tls, rules))
}

/// Where the routes of a listener send its connections.
fn routed(plan: &StreamRoutesPlan) -> Arc<StreamRules> {
    let backend = |one: &StreamBackendPlan| StreamBackend {
        service: one.service.clone(),
        weight: one.weight,
    };
    let routes = plan
        .routes
        .iter()
        .map(|route| (route.hosts.clone(), route.backends.iter().map(backend).collect()));
    Arc::new(StreamRules::new(plan.by_server_name, routes))
}

/// Which captured connections a listener takes. An address that is none is of no connection.
fn captured(plan: &CapturedPlan) -> CaptureRules {
    let read = |one: &DestinationPlan| {
        Some((one.address.parse().ok()?, one.host.as_deref().map(Into::into)))
    };
    let destinations = plan.destinations.iter().filter_map(read).collect();
    CaptureRules { destinations, others: plan.others.is_some() }
}

fn plaintext(plan: &PlaintextPlan) -> Arc<PlaintextPort> {
    Arc::new(PlaintextPort { service: plan.service.clone(), port: plan.port })
}

fn egress(plan: &OthersPlan) -> Arc<EgressRules> {
    let rule = match plan.egress {
        Egress::RegistryOnly => EgressRule::Refuse,
        Egress::Allow => EgressRule::Allow,
    };
    let refused = plan.refused.iter().filter_map(|address| address.parse().ok()).collect();
    Arc::new(EgressRules { rule, refused })
}

/// `None` when a prefix is invalid, which the documents exclude: then the peer is the client.
fn trusted_proxies(plan: &ClientAddressPlan) -> Option<TrustedProxies> {
    let field = match plan.field {
        ClientAddressField::XForwardedFor => ForwardedField::XForwardedFor,
        ClientAddressField::Forwarded => ForwardedField::Forwarded,
    };
    TrustedProxies::new(field, plan.trusted.as_deref(), plan.hops).ok()
}

/// Certificates in use, by listener and by the files they were read from, and the proxy's SVID.
pub(crate) struct Sockets {
    /// Judges which certificates have expired.
    clock: Clock,
    /// SPIFFE id of the proxy, which its certificates inside the mesh must have.
    identity: Option<String>,
    svid: SvidSockets,
    servers: HashMap<String, UsedCertificate<ServerTls>>,
    clients: HashMap<String, UsedCertificate<ClientTls>>,
    /// Every checked file, and its state at that time.
    looked: BTreeMap<PathBuf, String>,
    /// Renewed certificates, one per line.
    renewed: Vec<String>,
    /// Certificates that this proxy orders; `None`: documents are examined without a proxy.
    ordered: Option<KeptCertificates>,
    /// Listeners without a certificate so far.
    awaiting: HashSet<String>,
}

/// The sockets of a plan, and what is known of their certificates.
pub(crate) struct PlannedSockets {
    /// Those that can listen.
    pub(crate) listeners: Vec<ListenerConfig>,
    pub(crate) services: Vec<ServiceConfig>,
    /// Why the SVID that the plan needs is not there; `None`: it is, or none is needed.
    pub(crate) missing_svid: Option<MissingSvid>,
    /// Changes whenever a certificate in use does.
    pub(crate) stamp: Vec<String>,
    /// Renewed certificates, one per line.
    pub(crate) renewed: Vec<String>,
    /// Every certificate in use, in a fixed order.
    pub(crate) certificates: Vec<CertificateStatus>,
}

/// A certificate in use.
struct UsedCertificate<T> {
    /// Its file, as documents name it.
    file: String,
    made_of: String,
    tls: Arc<T>,
}

/// The certificate that a listener is to have.
#[derive(Clone, Copy)]
struct WantedCertificate<'a> {
    files: &'a ListenerFilesPlan,
    /// A host that it must be for; `None`: any.
    host: Option<&'a str>,
    /// The state of the listener without it, in words.
    otherwise: &'static str,
}

impl<'a> WantedCertificate<'a> {
    fn of_files(files: &'a ListenerFilesPlan) -> Self {
        Self { files, host: None, otherwise: "it does not listen" }
    }
}

impl Sockets {
    /// No certificate in use yet.
    pub(crate) fn new(clock: Clock, membership: Membership) -> Self {
        Self {
            clock,
            identity: None,
            svid: SvidSockets::new(membership),
            servers: HashMap::new(),
            clients: HashMap::new(),
            looked: BTreeMap::new(),
            renewed: Vec::new(),
            ordered: None,
            awaiting: HashSet::new(),
        }
    }

    /// The same, with the certificates that the proxy orders.
    pub(crate) fn with_ordered(self, ordered: KeptCertificates) -> Self {
        Self { ordered: Some(ordered), ..self }
    }

    /// The sockets of a plan. What cannot be used is reported in `notes` and left out.
    pub(crate) fn of_plan(
        &mut self,
        source: &DocumentPlaces,
        plan: &NodePlan,
        notes: &mut Vec<String>,
    ) -> PlannedSockets {
        let missing_svid = self.svid.membership().missing(plan);
        self.begin(plan.identity.as_deref());
        PlannedSockets {
            listeners: self.listeners(source, &plan.listeners, notes),
            services: self.services(source, &plan.services, notes),
            missing_svid,
            stamp: self.stamp().into_iter().map(str::to_owned).collect(),
            renewed: std::mem::take(&mut self.renewed),
            certificates: self.certificates(),
        }
    }

    /// Starts to check the files of a plan.
    fn begin(&mut self, identity: Option<&str>) {
        self.identity = identity.map(str::to_owned);
        self.looked.clear();
        self.renewed.clear();
    }

    /// Whether a file has changed since its last check.
    pub(crate) fn changed(&self) -> bool {
        self.looked.iter().any(|(path, was)| look(path) != *was)
    }

    /// Every certificate in use, in a fixed order.
    pub(crate) fn certificates(&self) -> Vec<CertificateStatus> {
        let mut all = BTreeMap::new();
        for (name, used) in &self.servers {
            let used_by = format!("listener {name}");
            all.insert((used_by, used.file.clone()), used.tls.facts());
        }
        for used in self.clients.values() {
            if let Some(facts) = used.tls.facts() {
                all.insert(("upstreams".to_owned(), used.file.clone()), facts);
            }
        }
        let status = |((used_by, file), facts): ((String, String), Arc<CertificateFacts>)| {
            let (names, expires) = (facts.names.clone(), facts.expiry());
            CertificateStatus { used_by, file, names, expires, not_after: facts.not_after }
        };
        all.into_iter().map(status).collect()
    }

    /// The current state of the files; later checks compare with it.
    fn made_of<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) -> String {
        let mut stamp = String::new();
        for path in paths {
            let about = look(path);
            stamp.push_str(&format!("{} {about};", path.display()));
            self.looked.insert(path.to_owned(), about);
        }
        stamp
    }

    /// Changes whenever a certificate in use does.
    fn stamp(&self) -> Vec<&str> {
        let servers = self.servers.values().map(|used| used.made_of.as_str());
        let clients = self.clients.values().map(|used| used.made_of.as_str());
        let mut all: Vec<&str> = servers.chain(clients).collect();
        all.sort_unstable();
        all
    }

    /// The listeners of a plan; those that cannot listen are reported in `notes` and left out.
    fn listeners(
        &mut self,
        source: &DocumentPlaces,
        plans: &[ListenerPlan],
        notes: &mut Vec<String>,
    ) -> Vec<ListenerConfig> {
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
                Some(tls) => {
                    let tls = match tls {
                        TlsPlan::Files(files) => {
                            self.server(source, plan, WantedCertificate::of_files(files), notes)
                        }
                        TlsPlan::Acme(acme) => self.ordered(source, plan, acme, notes),
                        TlsPlan::Svid { svid } => self.svid.server(svid, notes),
                    };
                    // A listener with TLS never listens without it.
                    let Some(tls) = tls else { continue };
                    Some(tls)
                }
            };
            let (tls, tcp) = match plan.tcp.as_ref().map(|tcp| carried(tcp, tls.as_deref())) {
                None => (tls, None),
                Some(Some((tls, tcp))) => (tls, Some(tcp)),
                Some(None) => {
                    notes.push(format!(
                        "listener `{name}`: a `tcp` port needs both a port number and TLS"
                    ));
                    continue;
                }
            };
            let others = plan.captured.as_ref().and_then(|it| it.others.as_ref());
            let tcp = tcp.map(|tcp| TcpRules { egress: others.map(egress), ..tcp });
            let captured = plan.captured.as_ref().map(captured);
            let plaintext = plan.plaintext.as_ref().map(plaintext);
            let (name, rules, direction) = (name.clone(), rules(&plan.rules), plan.direction);
            listeners.push(ListenerConfig {
                name,
                address,
                tls,
                direction,
                chain: index,
                rules,
                tcp,
                captured,
                plaintext,
            });
        }
        listeners
    }

    fn server(
        &mut self,
        source: &DocumentPlaces,
        listener: &ListenerPlan,
        wanted: WantedCertificate<'_>,
        notes: &mut Vec<String>,
    ) -> Option<Arc<ServerTls>> {
        let plan = wanted.files;
        let name = listener.name.as_str();
        let (certificate, key) = (source.path(&plan.certificate), source.path(&plan.key));
        let client_ca = plan.client_ca.as_ref().map(|path| source.path(path));
        let paths = [Some(&certificate), Some(&key), client_ca.as_ref()];
        let made_of = self.made_of(paths.into_iter().flatten().map(|path| path.as_path()));
        let before = self.servers.get(name);
        if let Some(used) = before
            && used.made_of == made_of
        {
            return Some(Arc::clone(&used.tls));
        }
        // A certificate for the mesh must have the proxy's identity, and peers of the same authority must
        // trust it. A certificate for other clients has names of its own.
        let mesh = listener.direction == TrafficDirection::Inbound && client_ca.is_some();
        let same_file = before.filter(|used| used.file == plan.certificate);
        let facts = same_file.map(|used| used.tls.facts());
        let needs = CertificateNeeds {
            now: Some(self.clock.wall()),
            name: self.identity.as_deref().filter(|_| mesh).or(wanted.host),
            authority: client_ca.as_deref().filter(|_| mesh),
            before: facts.as_deref(),
        };
        let tls = ServerTls::from_files(&certificate, &key, client_ca.as_deref());
        let tls = tls.and_then(|tls| tls.check(&certificate, &needs).map(|()| tls));
        match tls {
            Ok(tls) => {
                if before.is_some() || self.awaiting.remove(name) {
                    let (file, expires) = (&plan.certificate, tls.facts().expiry());
                    let renewed = if before.is_some() { "renewed" } else { "new" };
                    self.renewed.push(format!(
                        "listener `{name}` uses the {renewed} {file}; it expires at {expires}"
                    ));
                }
                let (tls, file) = (Arc::new(tls), plan.certificate.clone());
                let used = UsedCertificate { file, made_of, tls: Arc::clone(&tls) };
                self.servers.insert(name.to_owned(), used);
                Some(tls)
            }
            Err(error) => {
                let kept = before.map(|used| Arc::clone(&used.tls));
                let then = if kept.is_some() {
                    "the previous certificate stays in use"
                } else {
                    wanted.otherwise
                };
                notes.push(format!("listener `{name}`: {}; {then}", causes(&error)));
                kept
            }
        }
    }

    /// TLS of a listener whose certificate this proxy orders: with the one that is kept, or refusing every handshake until
    /// there is one.
    fn ordered(
        &mut self,
        source: &DocumentPlaces,
        listener: &ListenerPlan,
        plan: &ListenerAcmePlan,
        notes: &mut Vec<String>,
    ) -> Option<Arc<ServerTls>> {
        let (name, host) = (listener.name.as_str(), plan.host.as_str());
        // What it has may be for another host, which its document named before.
        let fits = |used: &UsedCertificate<ServerTls>| used.tls.facts().names.contains(&plan.host);
        if self.servers.get(name).is_some_and(|used| !fits(used)) {
            self.servers.remove(name);
        }
        let file = self.ordered.as_ref().map(|kept| kept.file(host));
        if let Some(file) = file {
            if file.exists() || self.servers.contains_key(name) {
                let certificate = file.display().to_string();
                let (key, client_ca) = (certificate.clone(), plan.client_ca.clone());
                let files = ListenerFilesPlan { certificate, key, client_ca };
                let wanted = WantedCertificate {
                    files: &files,
                    host: Some(host),
                    otherwise: "its handshakes are refused until an order gives a new one",
                };
                if let Some(tls) = self.server(source, listener, wanted, notes) {
                    return Some(tls);
                }
            }
            // Looked at again, until it is there.
            self.made_of(std::iter::once(file.as_path()));
        }
        self.awaiting.insert(name.to_owned());
        match ServerTls::awaiting(host) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => {
                notes.push(format!("listener `{name}`: {}; it does not listen", causes(&error)));
                None
            }
        }
    }

    /// The services of a plan; endpoints that cannot be reached safely are reported in `notes` and left
    /// out.
    fn services(
        &mut self,
        source: &DocumentPlaces,
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
                    // No document has port 0; with it, nothing would be sent.
                    ProtocolPlan::Tcp { port } => {
                        TcpPort::new(port).map_or(Protocol::Http1, Protocol::Tcp)
                    }
                },
                endpoints: plan
                    .endpoints
                    .iter()
                    .filter_map(|one| match self.endpoint(source, one, notes) {
                        Ok(endpoint) => Some(endpoint),
                        Err(why) => {
                            let named = why.map(|why| format!("service `{}`: {why}", plan.name));
                            notes.extend(named);
                            None
                        }
                    })
                    .collect(),
                settings: settings(&plan.policy),
            })
            .collect()
    }

    /// # Errors
    /// Why an endpoint is not used; `None`: the reason is reported elsewhere.
    fn endpoint(
        &mut self,
        source: &DocumentPlaces,
        plan: &EndpointPlan,
        notes: &mut Vec<String>,
    ) -> Result<EndpointConfig, Option<String>> {
        let target = match &plan.address {
            AddressPlan::Dns(name) => dns(name)?,
            other => EndpointTarget::Address(listen_address(other)?),
        };
        let (tls, tls_key) = match &plan.tls {
            None => (None, String::new()),
            Some(UpstreamTlsPlan::Member(tls)) => {
                let (tls, key) = match &tls.files {
                    Some(files) => self.client(source, tls, files, notes)?,
                    None => self.svid.client(self.identity.as_deref(), tls)?,
                };
                (Some(tls), key)
            }
            Some(UpstreamTlsPlan::Server(tls)) => {
                let (tls, key) = server(tls)?;
                (Some(tls), key)
            }
        };
        Ok(EndpointConfig { target, weight: plan.weight, tls, tls_key })
    }

    fn client(
        &mut self,
        source: &DocumentPlaces,
        plan: &MemberTlsPlan,
        files: &MemberFilesPlan,
        notes: &mut Vec<String>,
    ) -> Result<(Arc<ClientTls>, String), String> {
        let (certificate, key) = (source.path(&files.certificate), source.path(&files.key));
        let ca = source.path(&files.ca);
        let name = format!("{} {} {}", plan.expect_identity, plan.server_name, files.certificate);
        let made_of =
            self.made_of([certificate.as_path(), key.as_path(), ca.as_path()].into_iter());
        let before = self.clients.get(&name);
        if let Some(used) = before
            && used.made_of == made_of
        {
            return Ok((Arc::clone(&used.tls), format!("{name} {made_of}")));
        }
        let identity: SpiffeId =
            plan.expect_identity.parse().map_err(|error| format!("{error}"))?;
        let own = OwnCertificate { certificate: &certificate, key: &key };
        let facts = before.and_then(|used| used.tls.facts());
        let needs = CertificateNeeds {
            now: Some(self.clock.wall()),
            name: self.identity.as_deref(),
            authority: Some(&ca),
            before: facts.as_deref(),
        };
        let tls = ClientTls::from_files(Some(own), &ca, Some(identity), &plan.server_name);
        match tls.and_then(|tls| tls.check(&certificate, &needs).map(|()| tls)) {
            Ok(tls) => {
                let expires = tls.facts().map(|facts| facts.expiry()).unwrap_or_default();
                let (tls, file) = (Arc::new(tls), files.certificate.clone());
                let line = format!(
                    "connections to upstreams use the renewed {file}; it expires at {expires}"
                );
                // Many services use the same certificate.
                if before.is_some() && !self.renewed.contains(&line) {
                    self.renewed.push(line);
                }
                let used =
                    UsedCertificate { file, made_of: made_of.clone(), tls: Arc::clone(&tls) };
                self.clients.insert(name.clone(), used);
                Ok((tls, format!("{name} {made_of}")))
            }
            Err(error) => match before {
                Some(used) => {
                    let (why, made_of) = (causes(&error), &used.made_of);
                    notes.push(format!("{why}; the previous certificate stays in use"));
                    Ok((Arc::clone(&used.tls), format!("{name} {made_of}")))
                }
                None => Err(format!("{}; its endpoint is not used", causes(&error))),
            },
        }
    }
}

/// The state of a file: its identity, its length, and its times of change.
fn look(path: &Path) -> String {
    let Ok(about) = std::fs::metadata(path) else { return "none".to_owned() };
    let (written, put) = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
    format!("{} {} {written:?} {put:?}", about.ino(), about.len())
}

pub(crate) fn listen_address(plan: &AddressPlan) -> Result<Address, String> {
    match plan {
        AddressPlan::Tcp(text) => text.parse().map_err(|error| format!("{error}")),
        AddressPlan::Unix(path) => Ok(Address::Unix(path.into())),
        AddressPlan::Dns(name) => Err(format!("`{name}` is a name; write an IP address")),
    }
}

fn dns(text: &str) -> Result<EndpointTarget, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port"))?;
    let port = port.parse().map_err(|_| format!("`{text}` has no port"))?;
    Ok(EndpointTarget::Dns { host: host.to_owned(), port })
}

fn settings(plan: &PolicyPlan) -> ServiceSettings {
    let millis = Duration::from_millis;
    ServiceSettings {
        algorithm: match plan.algorithm {
            Algorithm::P2c => tamis_upstream::PickAlgorithm::P2c,
            Algorithm::RoundRobin => tamis_upstream::PickAlgorithm::RoundRobin,
        },
        // An invalid name was refused when the document was read; then there is no hash.
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

/// TLS to a server outside the mesh, and a text that is the same for the same check.
fn server(plan: &ServerTlsPlan) -> Result<(Arc<ClientTls>, String), String> {
    let name = |name: &ServerNamePlan| match name {
        ServerNamePlan::Dns(name) => ServerAltName::Dns(name.clone()),
        ServerNamePlan::Uri(uri) => ServerAltName::Uri(uri.clone()),
    };
    let names = plan.names.iter().map(name).collect();
    let place = Path::new("the BackendTLSPolicy");
    let tls = ClientTls::to_server(plan.authorities.as_deref(), place, &plan.hostname, names);
    let tls = tls.map_err(|error| format!("{}; its endpoint is not used", causes(&error)))?;
    let key = format!("server {} {:?} {:?}", plan.hostname, plan.names, plan.authorities);
    Ok((Arc::new(tls), key))
}

#[cfg(test)]
mod tests;
