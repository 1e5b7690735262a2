//! Where a gateway's listener sends the connections that it carries unread: to a backend of the route that takes them.

use std::collections::HashMap;
use tamis_ambient::Random;

/// The routes of a listener. Server names find their route in steps, as many as the name has labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamRules {
    /// Whether the server name of the handshake chooses the route.
    by_server_name: bool,
    /// By host in lower case; wildcards begin with their dot. The values are places in `routes`.
    hosts: HashMap<String, usize>,
    /// The route for all connections.
    all: Option<usize>,
    routes: Vec<Vec<StreamBackend>>,
}

/// A backend of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamBackend {
    /// The name of a service of the generation; one that is missing has a name that none has.
    pub service: String,
    /// Its share.
    pub weight: u32,
}

/// What takes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamChoice {
    /// The backend at that place of [`StreamRules::services`].
    Backend(usize),
    /// No route takes it.
    Unrouted,
    /// Its route has no backend with a share.
    Backendless,
}

impl StreamRules {
    /// The rules of a listener: each route with its server names, which are none where it takes all connections.
    pub fn new(
        by_server_name: bool,
        routes: impl IntoIterator<Item = (Vec<String>, Vec<StreamBackend>)>,
    ) -> Self {
        let mut rules = Self { by_server_name, ..Self::default() };
        for (at, (hosts, backends)) in routes.into_iter().enumerate() {
            if !by_server_name {
                rules.all.get_or_insert(at);
            }
            for host in hosts {
                let host = host.to_ascii_lowercase();
                let host = host.strip_prefix('*').unwrap_or(&host).to_owned();
                rules.hosts.entry(host).or_insert(at);
            }
            rules.routes.push(backends);
        }
        rules
    }

    /// Whether the first message of a handshake is read, for its server name.
    pub(crate) fn is_by_server_name(&self) -> bool {
        self.by_server_name
    }

    /// The services of all backends, route after route.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().flatten().map(|backend| backend.service.as_str())
    }

    /// Whether a route takes a connection for that server name.
    pub(crate) fn takes(&self, name: Option<&str>) -> bool {
        self.route(name).is_some()
    }

    /// The backend for a connection, by the weights of its route.
    pub(crate) fn choose(&self, name: Option<&str>, random: Random) -> StreamChoice {
        let Some(route) = self.route(name) else { return StreamChoice::Unrouted };
        let before: usize = self.routes.iter().take(route).map(Vec::len).sum();
        let backends = self.routes.get(route).map(Vec::as_slice).unwrap_or_default();
        let sum: u64 = backends.iter().map(|one| u64::from(one.weight)).sum();
        if sum == 0 {
            return StreamChoice::Backendless;
        }
        let mut left = random.below(sum);
        for (at, backend) in backends.iter().enumerate() {
            match left.checked_sub(u64::from(backend.weight)) {
                None => return StreamChoice::Backend(before.saturating_add(at)),
                Some(less) => left = less,
            }
        }
        StreamChoice::Backendless
    }

    /// The route that takes a server name: an exact host comes before a wildcard, and a longer wildcard before a shorter
    /// one (Gateway API, `Listener` and `TLSRoute`).
    fn route(&self, name: Option<&str>) -> Option<usize> {
        if !self.by_server_name {
            return self.all;
        }
        let name = name?.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        if name.starts_with('.') {
            // No name has an empty label; the host of a wildcard begins with one.
            return None;
        }
        let wildcards = name.match_indices('.').filter(|(at, _)| *at > 0);
        let wildcards = wildcards.filter_map(|(at, _)| name.get(at..));
        std::iter::once(name).chain(wildcards).find_map(|host| self.hosts.get(host)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(service: &str, weight: u32) -> StreamBackend {
        StreamBackend { service: service.to_owned(), weight }
    }

    fn named(hosts: &[&str], service: &str) -> (Vec<String>, Vec<StreamBackend>) {
        (hosts.iter().map(|host| (*host).to_owned()).collect(), vec![backend(service, 1)])
    }

    #[test]
    fn the_most_specific_host_takes_a_name() {
        let rules = StreamRules::new(
            true,
            [
                named(&["*.example"], "wide"),
                named(&["a.b.example", "Other.example"], "exact"),
                named(&["*.b.example"], "near"),
            ],
        );
        let services: Vec<&str> = rules.services().collect();
        for (name, wanted) in [
            (Some("a.b.example"), Some("exact")),
            (Some("A.B.Example."), Some("exact")),
            (Some("other.example"), Some("exact")),
            (Some("c.b.example"), Some("near")),
            (Some("d.c.b.example"), Some("near")),
            (Some("b.example"), Some("wide")),
            (Some("x.y.example"), Some("wide")),
            (Some("example"), None),
            (Some(".example"), None),
            (Some("a.b.example.evil"), None),
            (Some(""), None),
            (None, None),
        ] {
            let found = match rules.choose(name, Random::seeded(1)) {
                StreamChoice::Backend(at) => Some(services[at]),
                StreamChoice::Unrouted => None,
                StreamChoice::Backendless => Some("no backend"),
            };
            assert_eq!((found, rules.takes(name)), (wanted, wanted.is_some()), "{name:?}");
        }
    }

    #[test]
    fn connections_are_shared_by_weight() {
        let route = |weights: &[u32]| {
            let backends = weights.iter().map(|weight| backend("s", *weight)).collect();
            StreamRules::new(false, [(Vec::new(), backends)])
        };
        let rules = route(&[1, 0, 3]);
        let random = Random::seeded(7);
        let mut counts = [0; 3];
        for _ in 0..4_000 {
            let StreamChoice::Backend(at) = rules.choose(None, random) else {
                panic!("no backend")
            };
            counts[at] += 1;
        }
        assert!((900..1_100).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
        for weights in [&[][..], &[0, 0]] {
            assert_eq!(route(weights).choose(None, random), StreamChoice::Backendless);
        }
        let nothing = StreamRules::new(false, []);
        assert_eq!(nothing.choose(Some("a.example"), random), StreamChoice::Unrouted);
        let many = route(&[u32::MAX, u32::MAX]);
        assert!(matches!(many.choose(None, random), StreamChoice::Backend(_)));
    }
}
