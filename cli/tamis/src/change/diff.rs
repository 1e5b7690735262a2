//! What a change changes, as people read it.

use crate::table::{count, short};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tamis_api::{Diff, DocumentProblem, Side, SlotChange, SlotDiff};

/// Whether a change was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is only thought of.
    No,
    /// It is.
    Yes,
}

/// A diff: by service what changes in its slots and beside them, then documents, proxies, emptied chains, problems.
pub(crate) fn text(diff: &Diff, made: Made) -> String {
    let mut services: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for slot in &diff.slots {
        services.entry(&slot.service).or_default().push(line(slot));
    }
    for (service, others) in &diff.others {
        let lines = others.iter().map(|other| format!("~ {other}"));
        services.entry(service).or_default().extend(lines);
    }
    let mut text = String::new();
    for (service, lines) in services {
        let _ = writeln!(text, "{service}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    listed(
        &mut text,
        "documents (+ comes or changes, - goes)",
        &diff.documents_changed,
        &diff.documents_removed,
    );
    listed(&mut text, "proxies", &diff.nodes_added, &diff.nodes_removed);
    for one in &diff.emptied {
        let _ =
            writeln!(text, "! listener {} of {} has no filter any more", one.listener, one.node);
    }
    problems(&mut text, &diff.problems);
    if text.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let (touched, services) = (diff.touched.len(), count(diff.services, "service", "services"));
    let _ = match (diff.services, made) {
        (0, _) => Ok(()),
        (_, Made::No) => writeln!(text, "{touched} of {services} would do something else"),
        (_, Made::Yes) => writeln!(text, "{touched} of {services} changed"),
    };
    text
}

/// Problems, each place once: what is wrong there is wrong for every proxy that the document is about.
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
            more => writeln!(text, "; and {more} more like it"),
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

/// `~ pay-jwt  auth/jwt 1.4.1 → 1.4.2 (digest) in 2 proxies`
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
    let proxies = count(slot.nodes.len(), "proxy", "proxies");
    format!("{mark} {}  {what}{parts} in {proxies}", slot.slot)
}

fn changed(before: &Side, after: &Side) -> String {
    if before.filter != after.filter {
        let (old, new) = (release(before), release(after));
        return format!("{} {old} → {} {new}", before.filter, after.filter);
    }
    match (release(before), release(after)) {
        (old, new) if old == new => format!("{} {new}", after.filter),
        (old, new) => format!("{} {old} → {new}", after.filter),
    }
}

/// Version and digest of a side, or why nothing may run.
fn release(side: &Side) -> String {
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
    use tamis_api::Emptied;

    fn side(version: &str) -> Side {
        Side {
            filter: "auth/jwt".into(),
            version: version.into(),
            digest: Some(format!("sha256:{}", version.replace('.', "").repeat(22))),
            config: "sha256:00".into(),
            refused: None,
        }
    }

    #[test]
    fn a_diff_reads_by_service() {
        let slot = SlotDiff {
            service: "shop/edge".into(),
            slot: "pay-jwt".into(),
            nodes: vec!["gateway:shop/edge".into()],
            change: SlotChange::Changed,
            before: Some(side("1.4.1")),
            after: Some(side("1.4.2")),
            parts: vec!["digest".into()],
        };
        let gone = SlotDiff {
            slot: "old".into(),
            change: SlotChange::Removed,
            after: None,
            parts: Vec::new(),
            ..slot.clone()
        };
        let diff = Diff {
            slots: vec![slot, gone],
            others: [("shop/edge".into(), ["listener https".into()].into())].into(),
            documents_changed: vec!["Service/shop/a".into()],
            emptied: vec![Emptied { node: "gateway:shop/edge".into(), listener: "http".into() }],
            services: 3,
            touched: ["shop/edge".into()].into(),
            ..Diff::default()
        };
        assert_eq!(
            text(&diff, Made::No),
            "shop/edge\n  \
             ~ pay-jwt  auth/jwt 1.4.1 sha256:141141141141… → 1.4.2 sha256:142142142142… (digest) in 1 proxy\n  \
             - old  auth/jwt 1.4.1 sha256:141141141141… in 1 proxy\n  \
             ~ listener https\n\
             documents (+ comes or changes, - goes)\n  + Service/shop/a\n\
             ! listener http of gateway:shop/edge has no filter any more\n\
             1 of 3 services would do something else\n"
        );
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
            text(&diff, Made::Yes),
            "! a.yaml:2:1: not pinned for a (pin it)\n\
             ! a.yaml:6:1: not pinned for a (pin it); and 1 more like it\n0 of 2 services changed\n"
        );
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(text(&Diff::default(), Made::Yes), "nothing changes\n");
    }
}
