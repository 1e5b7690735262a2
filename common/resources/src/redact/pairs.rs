//! Pairs of a name and its secret anywhere in a line: `{'password': '…'}`, `password = …`, `<password>…</password>`,
//! `AccountKey=…;`, `-H 'x-api-key: …'`.

use super::name::is_secret_name;

/// The longest name with what is around it, in bytes: a line of nothing but signs takes no longer than another.
const LONGEST: usize = 128;

/// Adds what follows names of secrets.
pub(super) fn of_line<'a>(line: &'a str, add: &mut impl FnMut(&'a str)) {
    for (at, sign) in line.char_indices().filter(|(_, one)| matches!(one, ':' | '=' | '>')) {
        let (Some(before), Some(after)) = (line.get(..at), line.get(at.saturating_add(1)..)) else {
            continue;
        };
        let before = end(before);
        // The second sign of `:=`, `=>` and `==` stands for both.
        let plain = before.trim_end_matches([':', '=']);
        let is_end_of_element = sign == '>' && plain.len() == before.len();
        if !after.starts_with("//")
            && !after.starts_with(['=', '>'])
            && is_named(plain, is_end_of_element)
            && let Some(value) = value(after)
        {
            add(value);
        }
    }
}

/// The end of a text, in which a name is looked for.
fn end(text: &str) -> &str {
    let from = text.len().saturating_sub(LONGEST);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}

/// Whether what ends a text is the name of a secret.
fn is_named(before: &str, is_end_of_element: bool) -> bool {
    let before = before.trim_end().trim_end_matches(['"', '\'', '`']);
    let begins = before.rfind(|one: char| !(one.is_alphanumeric() || "_-.".contains(one)));
    let begins = begins.map_or(0, |at| {
        at.saturating_add(
            before.get(at..).and_then(|it| it.chars().next()).map_or(1, char::len_utf8),
        )
    });
    let (rest, name) = before.split_at_checked(begins).unwrap_or_default();
    // The end of an element is the name of what follows; that of `</password>` is not.
    (!is_end_of_element || rest.ends_with('<')) && is_secret_name(name)
}

/// The value that begins a text: to its other quote, or to what separates it from the next.
fn value(after: &str) -> Option<&str> {
    let after = after.trim_start();
    let quoted = ['"', '\'', '`'].into_iter().find_map(|quote| {
        let rest = after.strip_prefix(quote)?;
        Some(rest.find(quote).and_then(|end| rest.get(..end)).unwrap_or(rest))
    });
    let value = quoted.unwrap_or_else(|| {
        let ends = |one: char| one.is_whitespace() || ",;&<>{}[]()\"'`".contains(one);
        after.split(ends).next().unwrap_or_default()
    });
    (!value.is_empty()).then_some(value)
}
