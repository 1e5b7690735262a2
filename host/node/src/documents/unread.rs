//! Files that look like documents and are not read, because of their names.
//!
//! A guard in such a file guards nothing, so it is named. It is not read: a folder has other JSON too, and a copy with
//! another ending is one that somebody took out of force.

use std::io::Read as _;
use std::path::Path;

/// How much of the beginning of a file is looked at, in bytes.
const HEAD_BYTES: u64 = 16 * 1024;
/// Fields with which a document begins.
const FIRST: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
/// The way out.
pub(crate) const WAY_OUT: &str = "it looks like a document and is not read: end its name in .yaml or .yml, or begin it with a dot if it is not meant to be in force";

/// Whether a file begins as a document does. One that cannot be read does not.
pub(super) fn looks_like_document(path: &Path) -> bool {
    let mut head = Vec::new();
    // A pipe would keep the reader waiting.
    let read = tamis_private::open_regular(path)
        .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && !head.contains(&0) && begins_as_document(&String::from_utf8_lossy(&head))
}

/// Whether a change of a file is worth a look into it: not every line of a log.
pub(super) fn may_look_like_document(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    name.is_some_and(|name| {
        let copied = [".yaml", ".yml"].iter().any(|one| name.contains(one));
        copied || !name.contains('.') || name.ends_with(".json")
    })
}

fn begins_as_document(head: &str) -> bool {
    let head = head.trim_start_matches('\u{feff}');
    let mut lines = head.lines().map(str::trim_start);
    let first = lines
        .find(|line| !line.is_empty() && !line.starts_with(['#', '%']) && !line.starts_with("---"));
    let Some(first) = first.map(|line| line.trim_start_matches("- ").trim_start()) else {
        return false;
    };
    let begins =
        first.starts_with(['{', '[']) || FIRST.iter().any(|field| has_text(first, field, true));
    begins && has_text(head, "kind", false) && has_text(head, "apiVersion", false)
}

/// Whether a text has a field with a value on the same line, or, if `at_start`, begins with the field, whatever is behind it.
fn has_text(text: &str, field: &str, at_start: bool) -> bool {
    text.match_indices(field).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before);
        let after = text.get(at + field.len()..).unwrap_or_default();
        let after =
            after.strip_prefix(['"', '\'']).unwrap_or(after).trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix(':') else { return false };
        if at_start {
            return before.is_empty();
        }
        let value = value.trim_start_matches([' ', '\t']);
        let is_key =
            before.is_empty() || before.ends_with(|c: char| c.is_whitespace() || "{,[".contains(c));
        is_key && value.starts_with(|c: char| c.is_alphanumeric() || c == '"' || c == '\'')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_known_by_their_beginning_and_other_files_are_not() {
        let yaml =
            "apiVersion: tamis.dev/v1alpha1\nkind: FilterAttachment\nmetadata: { name: a }\n";
        let json = r#"{"apiVersion":"tamis.dev/v1alpha1","kind":"FilterAttachment","metadata":{"name":"a"}}"#;
        for text in [
            yaml.to_owned(),
            format!("# a guard\n---\n{yaml}"),
            format!("\u{feff}%YAML 1.2\n---\n\n{yaml}"),
            format!("{yaml}spec: [\n"),
            "kind: Gateway\r\napiVersion: a/v1\r\n".to_owned(),
            "metadata:\n  name: a\nspec: {}\nkind: 'Gateway'\napiVersion: \"a/v1\"\n".to_owned(),
            "\"kind\": Gateway\n\"apiVersion\": a/v1\n".to_owned(),
            "- apiVersion: v1\n  kind: Service\n".to_owned(),
            json.to_owned(),
            json.replace(',', ",\n  ").replace('{', "{\n  ").replace(':', " : "),
            format!("[{json}]"),
            json.replace("}}", ""),
        ] {
            assert!(begins_as_document(&text), "{text}");
        }
        for text in [
            "",
            "# kind: Gateway\n",
            "kind: Gateway\n",
            "# How to\n\n```yaml\nkind: Gateway\napiVersion: a/v1\n```\n",
            "//! kind: a, apiVersion: b\nconst A: &str = \"\nkind: Gateway\napiVersion: a/v1\n\";\n",
            r#"{"keys":[{"kty":"OKP","kid":"a"}]}"#,
            r#"{"$schema":"x","properties":{"kind":{"const":"Gateway"},"apiVersion":{"const":"a"}}}"#,
            r#"{"files":{"a.yaml":[[1,"kind: Gateway\napiVersion: a/v1\n"]]}}"#,
            "{\"time\":1,\"path\":\"/kind: apiVersion\"}\n",
            "name: acme/a\nversion: 0.1.0\nworld: authorizer\n",
        ] {
            assert!(!begins_as_document(text), "{text}");
        }
    }

    #[test]
    fn a_change_of_a_log_is_no_reason_to_look_into_it() {
        for (name, looks) in [
            ("guard.json", true),
            ("guard", true),
            ("guard.yml.bak", true),
            ("guard.YAML~", true),
            ("access.jsonl", false),
            ("proxy.log", false),
            ("key.pem", false),
        ] {
            assert_eq!(may_look_like_document(Path::new(name)), looks, "{name}");
        }
    }
}
