//! The attributes of the host are listed twice: in the contract, for authors, and in the reference. Both say the same.

#![expect(clippy::expect_used, reason = "a test stops where a file is not there")]

use std::path::Path;

/// The rows of the table that follows `heading` in a file, without what precedes each line.
fn rows(file: &str, heading: &str, prefix: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(path).expect("the file is there");
    let (_, rest) = text.split_once(heading).expect("the heading is there");
    let lines = rest.lines().skip_while(|line| !line.contains("| --- |")).skip(1);
    let lines = lines.map_while(|line| line.trim().strip_prefix(prefix));
    lines.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[test]
fn the_contract_and_the_reference_list_the_same_attributes() {
    let contract = rows("wit/types.wit", "Attributes that the host sets", "/// ");
    let reference = rows("docs/reference/attributes.md", "## Facts of the host", "");
    assert!(
        contract.len() > 5 && contract.iter().all(|row| row.starts_with("| `")),
        "{contract:?}"
    );
    assert_eq!(contract, reference);
}
