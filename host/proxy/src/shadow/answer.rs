//! Answers of hooks, in a form that can be compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use tamis_engine::{CallFault, Filter, Hook};
use tamis_exchange::{
    Choice, Decision, Edit, EditError, HeadSide, Reply, RetryDecision, RetryVerdict, Selection,
    Verdict, check,
};

/// An answer of a hook: its decision, the route it chose, and its named parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ComparableAnswer {
    /// `allow`, `deny 403`, `route`, `give-up` and so on.
    decision: String,
    /// Rule and backend.
    route: Option<(String, String)>,
    /// By a name like `edit: x-user`; values in order.
    parts: BTreeMap<String, Vec<Vec<u8>>>,
}

impl ComparableAnswer {
    fn plain(decision: &str) -> Self {
        Self { decision: decision.to_owned(), ..Self::default() }
    }

    /// The octets of its parts.
    pub(super) fn octets(&self) -> usize {
        let values = self.parts.values().flatten().map(Vec::len);
        self.parts.keys().map(String::len).chain(values).fold(0, usize::saturating_add)
    }

    /// The answer that counts where a slot has no such hook.
    pub(super) fn nothing(hook: Hook) -> Self {
        match hook {
            Hook::Router => Self::plain("unmatched"),
            Hook::Retry => Self::plain("give-up"),
            _ => Self::plain("allow"),
        }
    }

    /// A request or response hook; `None` if the lack of a verdict is nobody's fault.
    pub(crate) fn decision(said: Result<&Decision, &CallFault>) -> Option<Self> {
        match said.map(|decision| &decision.verdict) {
            // Bodies are not compared, so no verdict on one comes here.
            Ok(Verdict::Pass | Verdict::Replace(_) | Verdict::Rewrite { .. } | Verdict::Hold) => {
                Some(Self::plain("allow"))
            }
            Ok(Verdict::Change(edits)) => {
                let mut said = Self::plain("allow");
                said.edits("edit", edits);
                Some(said)
            }
            Ok(Verdict::Answer(reply)) => Some(Self::answer(reply)),
            Err(fault) => Self::fault(fault),
        }
    }

    /// A call without a verdict; `None` if the head was too large for a view.
    fn fault(fault: &CallFault) -> Option<Self> {
        (*fault != CallFault::ViewTruncated).then(|| Self::plain("fault"))
    }

    fn answer(reply: &Reply) -> Self {
        let status = reply.status;
        let kind = if status >= 400 { "deny" } else { "respond" };
        let mut said = Self::plain(&format!("{kind} {status}"));
        for line in &reply.headers {
            said.part(format!("answer: {}", line.name), line.value.clone());
        }
        said.part("answer: body".to_owned(), reply.body.clone());
        said
    }

    /// A router's choice, with the names that `by` gives rules and backends.
    pub(crate) fn choice(choice: Result<&Choice, &CallFault>, by: &Filter) -> Option<Self> {
        match choice {
            Ok(Choice::Forward(selection)) => {
                Some(Self::forward(selection, by.rules(), by.backends()))
            }
            Ok(Choice::Answer(reply)) => Some(Self::answer(reply)),
            Ok(Choice::Unmatched) => Some(Self::plain("unmatched")),
            Ok(Choice::Extend) => Some(Self::plain("extend")),
            Err(fault) => Self::fault(fault),
        }
    }

    fn forward(selection: &Selection, rules: &[Arc<str>], backends: &[String]) -> Self {
        fn name<S: ToString>(names: &[S], index: u32) -> String {
            names.get(index as usize).map_or_else(|| index.to_string(), S::to_string)
        }
        let mut said = Self::plain("route");
        said.route = Some((name(rules, selection.rule), name(backends, selection.backend)));
        said.edits("edit", &selection.request_edits);
        said.edits("response edit", &selection.response_edits);
        for (part, value) in [
            ("request timeout", u64::from(selection.request_timeout_ms)),
            ("attempt timeout", u64::from(selection.attempt_timeout_ms)),
        ] {
            said.part(format!("route: {part}"), value.to_be_bytes().to_vec());
        }
        if let Some(hash) = selection.hash {
            said.part("route: hash".to_owned(), hash.to_be_bytes().to_vec());
        }
        for mirror in &selection.mirrors {
            let share = format!("{} {}", name(backends, mirror.backend), mirror.share_permille);
            said.part("route: mirror".to_owned(), share.into_bytes());
        }
        said
    }

    /// A retry filter's decision. Delays are not compared: they are partly random by design.
    pub(crate) fn retry(said: Result<&RetryDecision, &CallFault>) -> Option<Self> {
        match said.map(|decision| decision.verdict) {
            Ok(RetryVerdict::GiveUp) => Some(Self::plain("give-up")),
            Ok(RetryVerdict::Again(_)) => Some(Self::plain("retry")),
            Ok(RetryVerdict::Elsewhere(_)) => Some(Self::plain("retry-elsewhere")),
            Err(fault) => Self::fault(fault),
        }
    }

    fn part(&mut self, name: String, value: Vec<u8>) {
        self.parts.entry(name).or_default().push(value);
    }

    fn edits(&mut self, what: &str, edits: &[Edit]) {
        for edit in edits {
            let status;
            // Values begin with the act, so that set, add and remove are distinguished.
            let (name, act, value) = match edit {
                Edit::SetHeader(line) => (line.name.clone(), b's', line.value.as_slice()),
                Edit::AddHeader(line) => (line.name.clone(), b'a', line.value.as_slice()),
                Edit::RemoveHeader(name) => (name.clone(), b'r', &[][..]),
                Edit::SetPath(path) => (":path".to_owned(), b's', path.as_bytes()),
                Edit::SetAuthority(to) => (":authority".to_owned(), b's', to.as_bytes()),
                Edit::SetAttribute { name, value } => (format!("@{name}"), b's', value.as_bytes()),
                Edit::SetMethod(to) => (":method".to_owned(), b's', to.as_bytes()),
                Edit::EncodeBody(to) => (":coding".to_owned(), b's', to.as_bytes()),
                Edit::SetStatus(to) => {
                    status = to.to_be_bytes();
                    (":status".to_owned(), b's', &status[..])
                }
            };
            let value = [&[act], value].concat();
            self.part(format!("{what}: {name}"), value);
        }
    }

    /// The most important way in which the candidate's answer differs from this.
    pub(super) fn cause(&self, candidate: &Self) -> Option<String> {
        if self.decision != candidate.decision {
            return Some(format!("decision: {}→{}", self.decision, candidate.decision));
        }
        if let (Some((rule, backend)), Some((other_rule, other_backend))) =
            (&self.route, &candidate.route)
        {
            if rule != other_rule {
                return Some(format!("route: {rule}→{other_rule}"));
            }
            if backend != other_backend {
                return Some(format!("route: {backend}→{other_backend}"));
            }
        }
        let ours = self.parts.iter().find_map(|(name, values)| match candidate.parts.get(name) {
            None => Some(format!("{name} missing")),
            Some(others) if others != values => Some(format!("{name} differs")),
            Some(_) => None,
        });
        let added = || candidate.parts.keys().find(|name| !self.parts.contains_key(*name));
        ours.or_else(|| added().map(|name| format!("{name} added")))
    }
}

fn broken(error: &EditError) -> CallFault {
    CallFault::BadAnswer(error.to_string())
}

/// A candidate's decision, if its edits are within what it may write.
pub(super) fn checked(
    decision: &Decision,
    filter: &Filter,
    side: HeadSide,
) -> Result<ComparableAnswer, CallFault> {
    match &decision.verdict {
        Verdict::Change(edits) => {
            check(edits, filter.writes(), side).map_err(|error| broken(&error))?;
        }
        Verdict::Replace(_) | Verdict::Rewrite { .. } | Verdict::Hold => {
            return Err(CallFault::BadAnswer("`replace` without a body".to_owned()));
        }
        Verdict::Pass | Verdict::Answer(_) => {}
    }
    Ok(ComparableAnswer::decision(Ok(decision)).unwrap_or_default())
}

/// A candidate's choice, if its edits are within what it may write.
pub(super) fn checked_choice(
    choice: &Choice,
    filter: &Filter,
) -> Result<ComparableAnswer, CallFault> {
    if let Choice::Forward(selection) = choice {
        check(&selection.request_edits, filter.writes(), HeadSide::Request)
            .and_then(|()| check(&selection.response_edits, filter.writes(), HeadSide::Response))
            .map_err(|error| broken(&error))?;
    }
    Ok(ComparableAnswer::choice(Ok(choice), filter).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_exchange::FieldLine;

    fn set(name: &str, value: &str) -> Edit {
        Edit::SetHeader(FieldLine { name: name.into(), value: value.into() })
    }

    fn changed(edits: &[Edit]) -> ComparableAnswer {
        let verdict = Verdict::Change(edits.to_vec());
        ComparableAnswer::decision(Ok(&Decision { verdict, reason: None })).unwrap()
    }

    fn answered(status: u16, header: &str) -> ComparableAnswer {
        let headers = vec![FieldLine { name: "location".into(), value: header.into() }];
        let verdict = Verdict::Answer(Reply { status, headers, body: Vec::new() });
        ComparableAnswer::decision(Ok(&Decision { verdict, reason: None })).unwrap()
    }

    fn cause(ours: &ComparableAnswer, candidate: &ComparableAnswer) -> String {
        ours.cause(candidate).unwrap_or_else(|| "same".to_owned())
    }

    #[test]
    fn edits_compare_by_name_and_not_by_order() {
        let (a, b) = (set("x-a", "1"), set("x-b", "2"));
        let ours = changed(&[a.clone(), b.clone()]);
        for (candidate, expected) in [
            (vec![b.clone(), a.clone()], "same"),
            (vec![b.clone()], "edit: x-a missing"),
            (vec![a.clone(), set("x-b", "3")], "edit: x-b differs"),
            (vec![a.clone(), b.clone(), set("x-c", "1")], "edit: x-c added"),
            (vec![a.clone(), Edit::RemoveHeader("x-b".into())], "edit: x-b differs"),
            (vec![a.clone(), b.clone(), Edit::SetPath("/".into())], "edit: :path added"),
        ] {
            assert_eq!(cause(&ours, &changed(&candidate)), expected);
        }
        let pass =
            ComparableAnswer::decision(Ok(&Decision { verdict: Verdict::Pass, reason: None }))
                .unwrap();
        assert_eq!(cause(&pass, &changed(&[])), "same", "to change nothing is to pass");
    }

    #[test]
    fn the_decision_is_graver_than_its_parts() {
        let (pass, ours) = (changed(&[]), answered(403, "/a"));
        assert_eq!(cause(&pass, &ours), "decision: allow→deny 403");
        assert_eq!(cause(&ours, &answered(302, "/a")), "decision: deny 403→respond 302");
        assert_eq!(cause(&ours, &answered(403, "/b")), "answer: location differs");
        let fault = ComparableAnswer::decision(Err(&CallFault::Stack)).unwrap();
        assert_eq!(cause(&fault, &pass), "decision: fault→allow");
        assert_eq!(ComparableAnswer::decision(Err(&CallFault::ViewTruncated)), None);
    }

    #[test]
    fn routes_compare_by_name_and_not_by_number() {
        let selection = |rule: u32, backend: u32| Selection {
            rule,
            backend,
            request_timeout_ms: 100,
            attempt_timeout_ms: 0,
            hash: None,
            request_edits: vec![set("x-a", "1")],
            response_edits: Vec::new(),
            mirrors: Vec::new(),
        };
        let rules: [Arc<str>; 2] = ["r/0".into(), "r/1".into()];
        let turned: [Arc<str>; 2] = ["r/1".into(), "r/0".into()];
        let (backends, one) = (["a:80", "b:80"].map(str::to_owned), ["b:80".to_owned()]);
        let ours = ComparableAnswer::forward(&selection(0, 1), &rules, &backends);
        let by = |selection: &Selection, rules: &[Arc<str>], backends: &[String]| {
            cause(&ours, &ComparableAnswer::forward(selection, rules, backends))
        };
        assert_eq!(by(&selection(1, 0), &turned, &one), "same");
        assert_eq!(by(&selection(0, 0), &turned, &one), "route: r/0→r/1");
        assert_eq!(by(&selection(0, 0), &rules, &backends), "route: b:80→a:80");
        let slow = Selection { request_timeout_ms: 200, ..selection(0, 1) };
        assert_eq!(by(&slow, &rules, &backends), "route: request timeout differs");
        let bare = Selection { request_edits: Vec::new(), ..selection(0, 1) };
        assert_eq!(by(&bare, &rules, &backends), "edit: x-a missing");
    }

    #[test]
    fn retries_compare_by_kind_and_not_by_delay() {
        let said = |verdict| {
            ComparableAnswer::retry(Ok(&RetryDecision { verdict, reason: None })).unwrap()
        };
        let again = said(RetryVerdict::Again(5));
        assert_eq!(cause(&again, &said(RetryVerdict::Again(9))), "same");
        let elsewhere = said(RetryVerdict::Elsewhere(5));
        assert_eq!(cause(&again, &elsewhere), "decision: retry→retry-elsewhere");
        assert_eq!(
            cause(&again, &ComparableAnswer::nothing(Hook::Retry)),
            "decision: retry→give-up"
        );
    }
}
