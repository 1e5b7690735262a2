//! The texts with which everything that an expression matches begins and ends, and those it has in between.
//!
//! They decide cheaply that an expression does not match, so a table tries only the few expressions whose
//! texts fit a path. Whoever is in doubt here returns a shorter text: that costs time, never a match.

/// How a text that an expression matches as a whole begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Affixes {
    /// What it begins with; may be empty.
    pub(crate) prefix: String,
    /// What it ends with; may be empty.
    pub(crate) suffix: String,
    /// What it has in between, in this order.
    pub(crate) inner: Vec<String>,
}

impl Affixes {
    /// Reads them from the text of a valid expression.
    #[must_use]
    pub(crate) fn of(expression: &str) -> Self {
        let mut reader =
            Reader { rest: expression, before: Vec::new(), tail: String::new(), inner: Vec::new() };
        reader.read().unwrap_or_default()
    }

    /// Whether a text contains all literal parts; a text that lacks one cannot match.
    #[must_use]
    pub(crate) fn fit(&self, text: &str) -> bool {
        let mut rest = text;
        text.starts_with(&self.prefix)
            && text.ends_with(&self.suffix)
            && self.inner.iter().all(|part| match rest.split_once(part.as_str()) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
    }
}

/// One element at the top level of an expression.
enum Element {
    /// This character.
    Literal(char),
    /// The beginning or the end of the text, which adds nothing.
    Anchor,
    /// Anything else.
    Other,
}

struct Reader<'t> {
    rest: &'t str,
    /// The characters before the first element that is not a literal; `None` once there was one.
    before: Vec<char>,
    /// The characters since the last element that was not a literal.
    tail: String,
    /// The characters between such elements.
    inner: Vec<String>,
}

impl Reader<'_> {
    /// `None`: what it matches may begin and end with anything.
    fn read(&mut self) -> Option<Affixes> {
        let mut prefix = None;
        while let Some(element) = self.element()? {
            let repeated = self.repetition();
            match (element, repeated) {
                (Element::Literal(literal), None) => {
                    self.tail.push(literal);
                    if prefix.is_none() {
                        self.before.push(literal);
                    }
                }
                (Element::Anchor, None) => {}
                (element, repeated) => {
                    let tail = std::mem::take(&mut self.tail);
                    if prefix.is_some() && !tail.is_empty() {
                        self.inner.push(tail);
                    }
                    if let (Element::Literal(literal), Some('+'), None) =
                        (&element, repeated, &prefix)
                    {
                        self.before.push(*literal);
                    }
                    prefix.get_or_insert_with(|| self.before.iter().collect::<String>());
                }
            }
        }
        let prefix = prefix.unwrap_or_else(|| self.before.iter().collect());
        let (suffix, inner) = (std::mem::take(&mut self.tail), std::mem::take(&mut self.inner));
        Some(Affixes { prefix, suffix, inner })
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    /// The next element; `Some(None)` at the end, `None` for an expression that this does not understand.
    fn element(&mut self) -> Option<Option<Element>> {
        let Some(next) = self.next() else { return Some(None) };
        Some(Some(match next {
            // Alternatives; or a repetition of a repetition.
            '|' | '*' | '+' | '?' | '{' => return None,
            '^' | '$' => Element::Anchor,
            '.' => Element::Other,
            '\\' => self.escape()?,
            '[' => self.class()?,
            '(' => self.group()?,
            literal => Element::Literal(literal),
        }))
    }

    /// An escaped punctuation mark is itself, except `\<` and `\>` (borders of words); letters and digits have
    /// meanings, and some of them arguments in braces.
    fn escape(&mut self) -> Option<Element> {
        match self.next()? {
            '<' | '>' => Some(Element::Other),
            mark if mark.is_ascii_punctuation() => Some(Element::Literal(mark)),
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => Some(Element::Other),
            _ => None,
        }
    }

    fn class(&mut self) -> Option<Element> {
        let inside = self.rest.strip_prefix('^').unwrap_or(self.rest);
        // At the beginning a bracket is a member; and classes may hold classes.
        let end = inside.find(']').filter(|end| *end > 0)?;
        let (members, rest) = inside.split_at_checked(end)?;
        if members.contains(['[', '\\']) {
            return None;
        }
        self.rest = rest.strip_prefix(']')?;
        Some(Element::Other)
    }

    fn group(&mut self) -> Option<Element> {
        // Flags without a colon, as in `(?i)`, change the meaning of everything behind them.
        if let Some(kind) = self.rest.strip_prefix('?')
            && !kind.starts_with([':', '<'])
            && !kind.starts_with("P<")
        {
            return None;
        }
        let mut depth = 1_u32;
        while depth > 0 {
            match self.next()? {
                '(' => depth = depth.checked_add(1)?,
                ')' => depth = depth.checked_sub(1)?,
                '\\' => {
                    self.escape()?;
                }
                '[' => {
                    self.class()?;
                }
                _ => {}
            }
        }
        Some(Element::Other)
    }

    /// The repetition of the element before, if there is one.
    fn repetition(&mut self) -> Option<char> {
        let first =
            self.rest.chars().next().filter(|first| ['*', '+', '?', '{'].contains(first))?;
        self.next();
        if first == '{' {
            self.rest = self.rest.split_once('}').map_or("", |(_, rest)| rest);
        }
        // Lazy ones.
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex_lite::Regex;

    #[test]
    fn the_literal_ends_of_an_expression() {
        for (expression, prefix, suffix) in [
            ("/a", "/a", "/a"),
            ("^/a$", "/a", "/a"),
            (r"/v[0-9]+/orders\.json", "/v", "/orders.json"),
            ("/a/(b|c)/d", "/a/", "/d"),
            ("/ab*c", "/a", "c"),
            ("/ab+c", "/ab", "c"),
            ("/a?b{2}c", "/", "c"),
            ("/a|/b", "", ""),
            ("(?i)/a", "", ""),
            ("/a(?i)b", "", ""),
            ("/a(?i:b)c", "", ""),
            (r"/a\d/b", "/a", "/b"),
            (r"/a\bb", "", ""),
            ("/a{2}+b", "", ""),
            ("/[]a]b", "", ""),
            ("/[a|b]c", "/", "c"),
            (".*", "", ""),
            ("", "", ""),
        ] {
            let found = Affixes::of(expression);
            assert_eq!((&*found.prefix, &*found.suffix), (prefix, suffix), "{expression}");
        }
        for (expression, inner) in [
            ("/a/(b|c)/d/.*e", &["/d/"][..]),
            ("/a/(b|c)/d/.*", &["/d/"]),
            ("/.*/b?/c+/d.*", &["/", "/", "/d"]),
            ("/.*a|b.*", &[]),
            ("/.*ab{2}c.*", &["a", "c"]),
        ] {
            assert_eq!(Affixes::of(expression).inner, inner, "{expression}");
        }
    }

    fn parts() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "a", "b", "/", "A", "é", "|", "(", ")", "(?:", "(?i)", "(?i:", "(?x)", "(?P<n>", "[",
            "]", "[^", "^", "$", ".", "*", "+", "?", "{2}", "{0,1}", "{", "}", r"\.", r"\d", r"\b",
            r"\<", r"\|", r"\(", r"\[", r"\x61", r"\x{61}", r"\\", " ", "#", "-", "&&",
        ]);
        prop::collection::vec(part, 0..9).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn what_an_expression_matches_has_its_ends(text in parts(), path in "[aAbé/.1 |(#-]{0,6}") {
            if let Ok(valid) = Regex::new(&format!("^(?:{text})$")) && Regex::new(&text).is_ok() {
                let ends = Affixes::of(&text);
                prop_assert!(ends.fit(&path) || !valid.is_match(&path), "{text:?} matches {path:?}, {ends:?}");
            }
        }
    }
}
