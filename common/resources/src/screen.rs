//! Texts of others on a screen: which characters act on it, and how they are written there.
//!
//! Everything that prints what somebody else wrote asks here: documents, names of files, messages of registries and of filters.

use std::borrow::Cow;

/// Whether a character acts on a reader's screen, so that a text looks like another or changes what was printed before
/// (CWE-150, CVE-2021-42574): control characters, among them U+0080 to U+009F, of which U+009B begins a command as `ESC [` does;
/// those that change the direction of writing; line ends that only some programs take for one; and those that nobody sees.
///
/// Line breaks and tabs do not count. Neither do U+200C and U+200D, which Persian and many emoji need.
#[must_use]
pub fn acts_on_screen(one: char) -> bool {
    match one {
        '\n' | '\t' => false,
        // Marks of direction.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        // Ends of lines and of paragraphs.
        '\u{2028}' | '\u{2029}' => true,
        // Invisible.
        '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' => true,
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => one.is_control(),
    }
}

/// A text of somebody else as a terminal may show it: characters that act on a screen are written as Rust writes them.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_screen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        if acts_on_screen(one) {
            shown.extend(one.escape_default());
        } else {
            shown.push(one);
        }
    }
    Cow::Owned(shown)
}

/// The same JSON as a terminal may show it: what acts on a screen, which JSON has in strings only, is escaped there.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(acts_on_screen) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len());
    for one in json.chars() {
        if acts_on_screen(one) {
            let mut units = [0; 2];
            let units = one.encode_utf16(&mut units).iter();
            units.for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(one);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters, and how they are shown; nothing: as they are.
    const CHARACTERS: &[(&str, Option<&str>)] = &[
        ("a", None),
        ("\n", None),
        ("\t", None),
        ("\u{e9}", None),
        ("\u{1f980}", None),
        ("\u{200c}", None),
        ("\u{200d}", None),
        ("\u{5d0}", None),
        ("\u{a0}", None),
        ("\0", Some("\\u{0}")),
        ("\u{7}", Some("\\u{7}")),
        ("\u{8}", Some("\\u{8}")),
        ("\r", Some("\\r")),
        ("\u{1b}", Some("\\u{1b}")),
        ("\u{7f}", Some("\\u{7f}")),
        ("\u{80}", Some("\\u{80}")),
        ("\u{85}", Some("\\u{85}")),
        ("\u{90}", Some("\\u{90}")),
        ("\u{9b}", Some("\\u{9b}")),
        ("\u{9d}", Some("\\u{9d}")),
        ("\u{9f}", Some("\\u{9f}")),
        ("\u{61c}", Some("\\u{61c}")),
        ("\u{200b}", Some("\\u{200b}")),
        ("\u{200e}", Some("\\u{200e}")),
        ("\u{200f}", Some("\\u{200f}")),
        ("\u{2028}", Some("\\u{2028}")),
        ("\u{2029}", Some("\\u{2029}")),
        ("\u{202a}", Some("\\u{202a}")),
        ("\u{202e}", Some("\\u{202e}")),
        ("\u{2060}", Some("\\u{2060}")),
        ("\u{2066}", Some("\\u{2066}")),
        ("\u{2069}", Some("\\u{2069}")),
        ("\u{feff}", Some("\\u{feff}")),
        ("\u{fff9}", Some("\\u{fff9}")),
        ("\u{e0041}", Some("\\u{e0041}")),
    ];

    #[test]
    fn what_acts_on_a_screen_is_written_out_and_nothing_else_changes() {
        for (one, shown) in CHARACTERS {
            let text = format!("a{one}b");
            let expected = format!("a{}b", shown.unwrap_or(one));
            assert_eq!(printable(&text), expected, "{one:?}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        for (one, shown) in CHARACTERS {
            let value = serde_json::json!({ "text": format!("a{one}b"), *one: [one] });
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let printed = printable_json(&json);
                assert!(!printed.chars().any(acts_on_screen), "{printed}");
                let read: serde_json::Value = serde_json::from_str(&printed).unwrap();
                assert_eq!(read, value, "{one:?}");
                assert!(shown.is_some() || *printed == *json, "{one:?}");
            }
        }
    }
}
