//! The hosts of the routes of one gateway, found by a host that competes with them.

use std::collections::BTreeMap;

use tamis_resources::Document;

/// Who has which host of a gateway.
#[derive(Default)]
pub(super) struct GatewayHosts<'a> {
    /// By the host written backwards, so that all hosts under `*.example` lie side by side.
    backwards: BTreeMap<String, Vec<&'a Document>>,
    /// Routes that take every host without a route of its own.
    rest: Vec<&'a Document>,
}

impl<'a> GatewayHosts<'a> {
    pub(super) fn add(&mut self, host: Option<&str>, document: &'a Document) {
        let holders = match host {
            Some(host) => self.backwards.entry(backwards(host)).or_default(),
            None => &mut self.rest,
        };
        holders.push(document);
    }

    /// Those whose requests a host would take, and those that would take its requests; `None` is every host without a route
    /// of its own.
    pub(super) fn competing(&self, host: Option<&str>) -> Vec<&'a Document> {
        let Some(host) = host else { return self.rest.clone() };
        let host = backwards(host);
        let wildcards = host.char_indices().map(|(at, _)| at).chain([host.len()]);
        let over = wildcards.map(|at| format!("{}*", host.get(..at).unwrap_or_default()));
        let over = over.filter(|wildcard| *wildcard != host);
        let over = over.filter_map(|wildcard| self.backwards.get(&wildcard)).flatten();
        let under = host.strip_suffix('*');
        let under = under.into_iter().flat_map(|suffix| {
            let all = self.backwards.range(suffix.to_owned()..);
            let all = all.take_while(move |(held, _)| held.starts_with(suffix));
            all.filter(|(held, _)| **held != host).flat_map(|(_, holders)| holders)
        });
        let same = self.backwards.get(&host).into_iter().flatten();
        same.chain(over).chain(under).copied().collect()
    }
}

fn backwards(host: &str) -> String {
    host.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tamis_resources::{Document, parse};

    use super::GatewayHosts;

    /// Whether two hosts compete, decided by their words alone.
    fn overlap(one: &str, other: &str) -> bool {
        let under = |host: &str, pattern: &str| {
            pattern.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
        };
        one == other || under(one, other) || under(other, one)
    }

    fn routes(hosts: &[String]) -> Vec<Document> {
        let text = |(at, host): (usize, &String)| {
            format!(
                "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r{at}, namespace: a }}\n\
                 spec: {{ parentRefs: [{{ name: edge }}], hostnames: ['{host}'], rules: [{{ backendRefs: [{{ name: a, port: 80 }}] }}] }}\n"
            )
        };
        let all: Vec<String> = hosts.iter().enumerate().map(text).collect();
        let (documents, problems) = parse("t.yaml", &all.join("---\n"));
        assert!(problems.is_empty(), "{problems:?}");
        documents
    }

    proptest! {
        #[test]
        fn who_competes_for_a_host_is_found_as_by_asking_each(
            hosts in prop::collection::vec("(\\*\\.)?([ab]\\.){0,3}(a|b|ab)", 1..12),
            asked in "(\\*\\.)?([ab]\\.){0,3}(a|b|ab)",
        ) {
            let documents = routes(&hosts);
            let mut index = GatewayHosts::default();
            for (host, document) in hosts.iter().zip(&documents) {
                index.add(Some(host), document);
            }
            let found: BTreeSet<String> =
                index.competing(Some(&asked)).iter().map(|one| one.key()).collect();
            let all = hosts.iter().zip(&documents).filter(|(host, _)| overlap(&asked, host));
            prop_assert_eq!(found, all.map(|(_, one)| one.key()).collect::<BTreeSet<_>>());
        }
    }
}
