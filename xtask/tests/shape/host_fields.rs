//! The fields that only the host writes stand in three places that may not know each other; they are the same.

use crate::source::workspace;

/// Each place, with the names of its two lists: whole names and prefixes.
const PLACES: [(&str, &str, &str); 3] = [
    ("host/exchange/src/fields.rs", "HOST", "HOST_PREFIXES"),
    ("common/resources/src/narrow.rs", "OF_THE_HOST", "OF_THE_HOST_PREFIXES"),
    ("filters/headers/src/config.rs", "HOST", "HOST_PREFIXES"),
];

/// The texts in the list that is the value of a constant.
fn list(source: &str, constant: &str) -> Vec<String> {
    let after = source.split_once(&format!("\nconst {constant}: ")).expect("the constant").1;
    let value = after.split_once("= ").expect("its value").1;
    let value = value.split_once("];").expect("its end").0;
    value.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_fields_of_the_host_are_the_same_wherever_they_are_listed() {
    let lists = PLACES.map(|(file, names, prefixes)| {
        let source = std::fs::read_to_string(workspace().join(file)).expect("the file");
        [list(&source, names), list(&source, prefixes)]
    });
    let [first, others @ ..] = &lists;
    assert!(first[0].len() > 15 && !first[1].is_empty(), "{first:?}");
    for (other, (file, ..)) in others.iter().zip(&PLACES[1..]) {
        assert_eq!(other, first, "{file} differs from {}", PLACES[0].0);
    }
}
