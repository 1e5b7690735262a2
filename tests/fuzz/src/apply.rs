//! Bodies of an apply: JSON that holds YAML that becomes a change.

use tamis_director::{Change, Plans, State};

/// Parsing ends; a refused body has a place; an accepted one states the rights it needs and its effects,
/// and fits into records.
pub fn apply(data: &[u8]) {
    let state = State::under(&["security".to_owned()]);
    let applied = match tamis_server::read_apply(data, &state) {
        Ok(applied) => applied,
        Err(problem) => {
            assert!((400..500).contains(&problem.status), "{problem:?}");
            assert!(!problem.title.is_empty() && !problem.code.is_empty());
            for one in &problem.problems {
                assert!(one.line >= 1 && one.column >= 1 && !one.message.is_empty(), "{one:?}");
            }
            return;
        }
    };
    let named = applied.documents.len() + applied.files.len();
    let change = Change::Apply(applied.clone());
    if let Ok(needs) = state.needs(&change) {
        assert_eq!(needs.iter().next().is_none(), named == 0, "what is written is somebody's");
        // Whatever can be asked about it has an answer.
        let _ = state.growth(&applied);
        let _ = Plans::default().effect(&state, &change);
    }
    for body in change.bodies().unwrap_or_default() {
        assert!(body.to_body().is_ok());
    }
}
