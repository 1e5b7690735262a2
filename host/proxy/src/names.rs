//! Interned names: a summary contains numbers, and a telemetry filter receives each name once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tamis_exchange::{NONE, NameKind};

/// One kind's names in the order they were first seen.
#[derive(Default)]
struct Table {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
    /// The one that was asked for last: the next exchange often has the same.
    last: u32,
    sent: usize,
}

/// The names that one worker has seen, under all of its generations: a telemetry filter may live through several. A clone
/// is another handle on the same ones.
#[derive(Clone, Default)]
pub(crate) struct NumberedNames(Rc<RefCell<NameTables>>);

#[derive(Default)]
struct NameTables {
    tables: [Table; 6],
}

/// Maximum size of a table; further names are reported as absent rather than filling memory.
const NAMES_MAX: usize = 65_536;

const KINDS: [NameKind; 6] = [
    NameKind::Rule,
    NameKind::Upstream,
    NameKind::Endpoint,
    NameKind::Identity,
    NameKind::Reason,
    NameKind::Filter,
];

impl NumberedNames {
    /// The number of a name in summaries and in calls of other filters; [`NONE`] of no name.
    pub(crate) fn number(&self, kind: NameKind, name: Option<&str>) -> u32 {
        name.map_or(NONE, |name| self.0.borrow_mut().intern(kind, name))
    }

    /// The names that telemetry filters have not received yet: kind, number of the first, names.
    pub(crate) fn unsent(&self) -> Vec<(NameKind, u32, Vec<String>)> {
        self.0.borrow_mut().unsent()
    }

    /// A filter's instance was replaced and knows no names: all are passed again.
    pub(crate) fn forget_sent(&self) {
        self.0.borrow_mut().tables.iter_mut().for_each(|table| table.sent = 0);
    }
}

impl NameTables {
    fn intern(&mut self, kind: NameKind, name: &str) -> u32 {
        let table = self.table(kind);
        if table.names.get(table.last as usize).is_some_and(|last| last == name) {
            return table.last;
        }
        if let Some(&number) = table.numbers.get(name) {
            table.last = number;
            return number;
        }
        if table.names.len() >= NAMES_MAX {
            return NONE;
        }
        let number = u32::try_from(table.names.len()).unwrap_or(NONE);
        table.numbers.insert(name.to_owned(), number);
        table.names.push(name.to_owned());
        number
    }

    fn unsent(&mut self) -> Vec<(NameKind, u32, Vec<String>)> {
        let mut news = Vec::new();
        for kind in KINDS {
            let table = self.table(kind);
            if table.sent < table.names.len() {
                let first = u32::try_from(table.sent).unwrap_or(NONE);
                let names = table.names.get(table.sent..).unwrap_or_default().to_vec();
                news.push((kind, first, names));
                table.sent = table.names.len();
            }
        }
        news
    }

    fn table(&mut self, kind: NameKind) -> &mut Table {
        let [rule, upstream, endpoint, identity, reason, filter] = &mut self.tables;
        match kind {
            NameKind::Rule => rule,
            NameKind::Upstream => upstream,
            NameKind::Endpoint => endpoint,
            NameKind::Identity => identity,
            NameKind::Reason => reason,
            NameKind::Filter => filter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_once_and_again_after_a_respawn() {
        let names = NumberedNames::default();
        for (name, number) in [("a", 0), ("b", 1), ("a", 0), ("a", 0), ("b", 1), ("b", 1), ("a", 0)]
        {
            assert_eq!(names.number(NameKind::Rule, Some(name)), number);
        }
        assert_eq!(names.number(NameKind::Rule, None), NONE);
        assert_eq!(names.unsent().len(), 1);
        assert!(names.unsent().is_empty());
        names.number(NameKind::Rule, Some("c"));
        assert_eq!(names.unsent(), [(NameKind::Rule, 2, vec!["c".to_owned()])]);
        names.forget_sent();
        assert_eq!(names.unsent()[0].2.len(), 3);
    }
}
