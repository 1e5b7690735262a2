//! The text form of what a change changes.

use crate::table::{count, short};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use tamis_api::{Diff, DocumentProblem, FieldChange, SlotChange, SlotContents, SlotDiff};

/// Whether the change has been made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeState {
    /// No: it is a plan.
    No,
    /// Yes.
    Yes,
}

/// The text of a diff: changes in documents, old and new; then in slots and elsewhere, one line for all
/// that is alike; then proxies, emptied chains, lost protection and problems.
pub(crate) fn text(diff: &Diff, made: ChangeState) -> String {
    let mut text = documents(diff);
    slots(&mut text, &diff.slots);
    others(&mut text, &diff.others);
    listed(&mut text, "proxies", &diff.nodes_added, &diff.nodes_removed);
    for one in &diff.emptied {
        let _ =
            writeln!(text, "! listener {} of {} no longer has a filter", one.listener, one.node);
    }
    unguarded(&mut text, &diff.unguarded);
    problems(&mut text, &diff.problems);
    if text.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let (touched, services) = (diff.touched.len(), count(diff.services, "service", "services"));
    let _ = match (diff.services, made) {
        (0, _) => Ok(()),
        (_, ChangeState::No) => writeln!(text, "{touched} of {services} would change"),
        (_, ChangeState::Yes) => writeln!(text, "{touched} of {services} changed"),
    };
    text
}

/// Documents added, changed and removed; for changed ones the fields, old and new.
fn documents(diff: &Diff) -> String {
    let mut text = String::new();
    let changed = |key: &String| diff.documents.iter().find(|one| one.key == *key);
    for key in &diff.documents_changed {
        match changed(key) {
            None => drop(writeln!(text, "  + {key}")),
            Some(one) => {
                let _ = writeln!(text, "  ~ {key}");
                fields(&mut text, "      ", &one.fields);
            }
        }
    }
    for key in &diff.documents_removed {
        let _ = writeln!(text, "  - {key}");
    }
    if text.is_empty() { text } else { format!("documents\n{text}") }
}

/// The fields that differ, one line each; says so when a document's meaning did not change.
pub(crate) fn fields(text: &mut String, before: &str, fields: &[FieldChange]) {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    for one in fields {
        let (old, new) = (value(&one.before), value(&one.after));
        let _ = writeln!(text, "{before}{}  {old} → {new}", one.field);
    }
}

/// Slots, one line for all services in which they change alike, and why they are refused.
fn slots(text: &mut String, all: &[SlotDiff]) {
    let mut alike: Vec<(String, Option<&str>, usize, Vec<&str>)> = Vec::new();
    for slot in all {
        let (line, why) = (line(slot), slot.after.as_ref().and_then(|after| after.why.as_deref()));
        match alike.iter_mut().find(|(known, reason, ..)| *known == line && *reason == why) {
            Some((_, _, proxies, services)) => {
                *proxies += slot.nodes.len();
                services.push(&slot.service);
            }
            None => alike.push((line, why, slot.nodes.len(), vec![&slot.service])),
        }
    }
    if !alike.is_empty() {
        text.push_str("slots\n");
    }
    for (line, why, proxies, mut services) in alike {
        services.dedup();
        let proxies = count(proxies, "proxy", "proxies");
        let _ = writeln!(text, "  {line} in {proxies} of {}", named(&services));
        if let Some(why) = why {
            let _ = writeln!(text, "      {why}");
        }
    }
}

/// Changes outside slots, one line for all services that have the same one.
fn others(text: &mut String, all: &BTreeMap<String, BTreeSet<String>>) {
    let alike = by_words(all);
    if !alike.is_empty() {
        text.push_str("outside slots\n");
    }
    for (other, services) in alike {
        let _ = writeln!(text, "  ~ {other} of {}", named(&services));
    }
}

/// What guards less, one line for all services in which it is the same.
fn unguarded(text: &mut String, all: &BTreeMap<String, BTreeSet<String>>) {
    for (lost, services) in by_words(all) {
        let _ = writeln!(text, "! {lost} in {}", named(&services));
    }
}

/// The services of each text.
fn by_words(all: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<&str, Vec<&str>> {
    let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (service, words) in all {
        words.iter().for_each(|one| alike.entry(one).or_default().push(service));
    }
    alike
}

/// One or two services by name, more of them by number.
fn named(services: &[&str]) -> String {
    match services {
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        many => count(many.len(), "service", "services"),
    }
}

/// Problems, one line per place: a fault in a document is the same for every proxy that reads it.
fn problems(text: &mut String, all: &[DocumentProblem]) {
    let mut places: BTreeMap<_, Vec<&DocumentProblem>> = BTreeMap::new();
    for one in all {
        places.entry((&one.source, one.line, one.column, &one.code)).or_default().push(one);
    }
    for ((source, line, column, _), at) in places {
        let Some((first, more)) = at.split_first() else { continue };
        let help = first.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let _ = write!(text, "! {source}:{line}:{column}: {}{help}", first.message);
        let _ = match more.len() {
            0 => writeln!(text),
            more => writeln!(text, "; and {more} more of this kind"),
        };
    }
}

fn listed(text: &mut String, what: &str, come: &[String], go: &[String]) {
    if come.is_empty() && go.is_empty() {
        return;
    }
    let _ = writeln!(text, "{what}");
    for (mark, all) in [('+', come), ('-', go)] {
        for one in all {
            let _ = writeln!(text, "  {mark} {one}");
        }
    }
}

/// `~ pay-jwt  auth/jwt 1.4.1 → 1.4.2 (digest), a guard,`
fn line(slot: &SlotDiff) -> String {
    let mark = match slot.change {
        SlotChange::Added => '+',
        SlotChange::Removed => '-',
        SlotChange::Changed => '~',
    };
    let what = match (&slot.before, &slot.after) {
        (Some(before), Some(after)) => changed(before, after),
        (Some(one), None) | (None, Some(one)) => format!("{} {}", one.filter, release(one)),
        (None, None) => String::new(),
    };
    let parts = match slot.parts.as_slice() {
        [] => String::new(),
        parts => format!(" ({})", parts.join(", ")),
    };
    let guards = if slot.guards { ", a guard," } else { "" };
    format!("{mark} {}  {what}{parts}{guards}", slot.slot)
}

fn changed(before: &SlotContents, after: &SlotContents) -> String {
    if before.filter != after.filter {
        let (old, new) = (release(before), release(after));
        return format!("{} {old} → {} {new}", before.filter, after.filter);
    }
    match (release(before), release(after)) {
        (old, new) if old == new => format!("{} {new}", after.filter),
        (old, new) => format!("{} {old} → {new}", after.filter),
    }
}

/// Version and digest of a side, or why nothing may run there.
fn release(side: &SlotContents) -> String {
    match (&side.refused, &side.digest) {
        (Some(code), _) => format!("refused ({code})"),
        (None, Some(digest)) if side.version.is_empty() => short(digest),
        (None, Some(digest)) => format!("{} {}", side.version, short(digest)),
        (None, None) => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{DocumentDiff, EmptiedChain};

    fn side(version: &str) -> SlotContents {
        SlotContents {
            filter: "auth/jwt".into(),
            version: version.into(),
            digest: Some(format!("sha256:{}", version.replace('.', "").repeat(22))),
            config: "sha256:00".into(),
            refused: None,
            why: None,
        }
    }

    #[test]
    fn a_diff_says_what_changes_old_and_new_and_folds_what_is_alike() {
        let slot = |service: &str| SlotDiff {
            service: service.into(),
            slot: "pay-jwt".into(),
            nodes: vec![format!("sidecar:{service}/0"), format!("sidecar:{service}/1")],
            guards: false,
            change: SlotChange::Changed,
            before: Some(side("1.4.1")),
            after: Some(side("1.4.2")),
            parts: vec!["digest".into()],
        };
        let gone = SlotDiff {
            slot: "old".into(),
            nodes: vec!["gateway:shop/edge".into()],
            change: SlotChange::Removed,
            after: None,
            parts: Vec::new(),
            ..slot("shop/edge")
        };
        let weight = FieldChange {
            field: "spec.rules[0].backendRefs[v2].weight".into(),
            before: Some("10".into()),
            after: Some("50".into()),
        };
        let added = FieldChange { field: "spec.x".into(), before: None, after: Some("1".into()) };
        let others = |what: &str| [what.to_owned()].into();
        let diff = Diff {
            slots: vec![slot("shop/a"), slot("shop/b"), slot("shop/c"), gone],
            others: [
                ("shop/a".into(), others("upstream shop/v2:80")),
                ("shop/edge".into(), others("listener https: clientAddress")),
                ("shop/b".into(), others("upstream shop/v2:80")),
            ]
            .into(),
            documents: vec![DocumentDiff {
                key: "HTTPRoute/shop/r".into(),
                fields: vec![weight, added],
            }],
            documents_changed: vec!["HTTPRoute/shop/r".into(), "Service/shop/new".into()],
            documents_removed: vec!["Service/shop/old".into()],
            emptied: vec![EmptiedChain {
                node: "gateway:shop/edge".into(),
                listener: "http".into(),
            }],
            unguarded: [
                (
                    "shop/a".into(),
                    others("\"shop/jwt\" (auth/jwt) no longer guards listener \"inbound\""),
                ),
                (
                    "shop/b".into(),
                    others("\"shop/jwt\" (auth/jwt) no longer guards listener \"inbound\""),
                ),
            ]
            .into(),
            services: 4,
            touched: ["shop/edge".into()].into(),
            ..Diff::default()
        };
        assert_eq!(
            text(&diff, ChangeState::No),
            "documents\n  ~ HTTPRoute/shop/r\n      \
             spec.rules[0].backendRefs[v2].weight  10 → 50\n      spec.x  nothing → 1\n  \
             + Service/shop/new\n  - Service/shop/old\n\
             slots\n  ~ pay-jwt  auth/jwt 1.4.1 sha256:141141141141… → 1.4.2 sha256:142142142142… (digest) in 6 proxies of 3 services\n  \
             - old  auth/jwt 1.4.1 sha256:141141141141… in 1 proxy of shop/edge\n\
             outside slots\n  ~ listener https: clientAddress of shop/edge\n  ~ upstream shop/v2:80 of shop/a and shop/b\n\
             ! listener http of gateway:shop/edge no longer has a filter\n\
             ! \"shop/jwt\" (auth/jwt) no longer guards listener \"inbound\" in shop/a and shop/b\n\
             1 of 4 services would change\n"
        );
    }

    #[test]
    fn a_mesh_wide_change_is_a_few_lines_however_many_services_there_are() {
        let slot = |at: usize| SlotDiff {
            service: format!("shop/{at}"),
            slot: "limit".into(),
            nodes: vec![format!("sidecar:shop/{at}/0")],
            guards: true,
            change: SlotChange::Changed,
            before: Some(side("1.0.0")),
            after: Some(side("1.0.0")),
            parts: vec!["config".into()],
        };
        let diff = Diff { slots: (0..108).map(slot).collect(), services: 108, ..Diff::default() };
        let told = text(&diff, ChangeState::No);
        assert!(told.contains("(config), a guard, in 108 proxies of 108 services\n"), "{told}");
        assert!(told.lines().count() <= 3, "{told}");
    }

    #[test]
    fn a_place_is_told_once_however_many_proxies_it_is_wrong_for() {
        let one = |line, service: &str| DocumentProblem {
            code: "pin.missing".into(),
            message: format!("not pinned for {service}"),
            help: Some("pin it".into()),
            source: "a.yaml".into(),
            line,
            column: 1,
        };
        let problems = vec![one(6, "a"), one(2, "a"), one(6, "b")];
        let diff = Diff { problems, services: 2, ..Diff::default() };
        assert_eq!(
            text(&diff, ChangeState::Yes),
            "! a.yaml:2:1: not pinned for a (pin it)\n\
             ! a.yaml:6:1: not pinned for a (pin it); and 1 more of this kind\n0 of 2 services changed\n"
        );
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(text(&Diff::default(), ChangeState::Yes), "nothing changes\n");
    }
}
