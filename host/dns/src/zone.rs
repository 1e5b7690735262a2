//! The names of the mesh, and what is answered about them.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// For how long an application may keep an answer. The address of a service stays the same; a new service is found, and a
/// removed one lost, within this time.
pub const TTL_SECONDS: u32 = 30;
/// The domain of which no question leaves the machine.
const MESH: &str = "mesh";

/// Names with their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// In lower case, without the last dot.
    names: BTreeMap<String, Ipv4Addr>,
    /// Names that others end with: they exist, without an address (RFC 8020).
    parents: BTreeSet<String>,
}

impl Zone {
    /// Adds a name, or gives it another address.
    pub fn insert(&mut self, name: &str, address: Ipv4Addr) {
        let name = normal(name);
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            self.parents.insert(parent.to_owned());
            rest = parent;
        }
        self.names.insert(name, address);
    }

    /// The address of a name, in any case, with or without the last dot.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.names.get(&normal(name)).copied()
    }

    /// What is answered to a message; `None`: somebody else knows.
    pub(crate) fn answer(&self, asked: &Message) -> Option<Message> {
        let refusal = |code| {
            let mut answer = response(asked);
            answer.metadata.response_code = code;
            Some(answer)
        };
        if asked.metadata.message_type != MessageType::Query {
            return refusal(ResponseCode::FormErr);
        }
        if asked.metadata.op_code != OpCode::Query {
            return refusal(ResponseCode::NotImp);
        }
        let [query] = asked.queries.as_slice() else { return refusal(ResponseCode::FormErr) };
        let name = normal(&query.name.to_ascii());
        let known = self.names.get(&name);
        if known.is_none() && !is_of_mesh(&name) {
            return None;
        }
        let mut answer = response(asked);
        answer.metadata.authoritative = true;
        match known {
            Some(address) => answer.answers.extend(record(query, *address)),
            None if self.parents.contains(&name) || name == MESH => {}
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        Some(answer)
    }
}

/// An answer to a message, without records.
pub(crate) fn response(asked: &Message) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.queries.clone_from(&asked.queries);
    answer
}

/// The record for a question about a known name; none for records that it does not have, such as AAAA.
fn record(query: &Query, address: Ipv4Addr) -> Option<Record> {
    let wanted = matches!(query.query_type, RecordType::A | RecordType::ANY)
        && matches!(query.query_class, DNSClass::IN | DNSClass::ANY);
    wanted.then(|| Record::from_rdata(query.name.clone(), TTL_SECONDS, RData::A(A(address))))
}

fn is_of_mesh(name: &str) -> bool {
    name == MESH || name.strip_suffix(MESH).is_some_and(|rest| rest.ends_with('.'))
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;

    fn zone() -> Zone {
        let mut zone = Zone::default();
        zone.insert("payments.shop.mesh", Ipv4Addr::new(240, 1, 2, 3));
        zone.insert("api.example.com.", Ipv4Addr::new(240, 1, 2, 4));
        zone
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
        asked.metadata.recursion_desired = true;
        asked.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        asked
    }

    #[test]
    fn names_of_the_mesh_are_answered_here_and_all_others_elsewhere() {
        use RecordType::{A, AAAA, ANY, TXT};
        use ResponseCode::{NXDomain, NoError};
        for (name, kind, expected) in [
            ("payments.shop.mesh.", A, Some((NoError, 1))),
            ("PayMents.Shop.MESH.", A, Some((NoError, 1))),
            ("payments.shop.mesh.", ANY, Some((NoError, 1))),
            ("payments.shop.mesh.", AAAA, Some((NoError, 0))),
            ("payments.shop.mesh.", TXT, Some((NoError, 0))),
            ("shop.mesh.", A, Some((NoError, 0))),
            ("mesh.", A, Some((NoError, 0))),
            ("other.shop.mesh.", A, Some((NXDomain, 0))),
            ("a.payments.shop.mesh.", A, Some((NXDomain, 0))),
            ("api.example.com.", A, Some((NoError, 1))),
            ("api.example.com.", AAAA, Some((NoError, 0))),
            ("example.com.", A, None),
            ("www.api.example.com.", A, None),
            ("payments.shop.", A, None),
            ("notmesh.", A, None),
            (".", A, None),
        ] {
            let answer = zone().answer(&question(name, kind));
            let seen = answer.as_ref().map(|it| (it.metadata.response_code, it.answers.len()));
            assert_eq!(seen, expected, "{name} {kind}");
            if let Some(answer) = answer {
                assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
                assert_eq!((answer.metadata.id, answer.queries.len()), (7, 1), "{name}");
                assert!(answer.answers.iter().all(|one| one.ttl == TTL_SECONDS));
            }
        }
    }

    #[test]
    fn what_is_no_question_is_refused_and_never_forwarded() {
        let mut several = question("example.com.", RecordType::A);
        several.add_query(several.queries[0].clone());
        let mut none = question("example.com.", RecordType::A);
        none.queries.clear();
        let mut answer = question("example.com.", RecordType::A);
        answer.metadata.message_type = MessageType::Response;
        let mut update = question("example.com.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        for (asked, code) in [
            (several, ResponseCode::FormErr),
            (none, ResponseCode::FormErr),
            (answer, ResponseCode::FormErr),
            (update, ResponseCode::NotImp),
        ] {
            let said = zone().answer(&asked).unwrap();
            assert_eq!((said.metadata.response_code, said.answers.len()), (code, 0));
        }
    }
}
