//! The text of a source, with an index that finds the line and the column of an octet without a pass over the text.
//!
//! A source can have as many problems as it has words. With a pass over the text for each problem, a few kilobytes from a
//! stranger would cost minutes.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Octets between two counts of characters: a column costs a pass over so many at most.
const STEP: usize = 512;

/// The text of a source. Clones share the text and its index.
#[derive(Debug, Clone)]
pub(crate) struct SourceText(Arc<IndexedText>);

#[derive(Debug)]
struct IndexedText {
    text: Arc<str>,
    /// Made when the first place is asked for: most texts have no problem.
    index: OnceLock<PlaceIndex>,
}

#[derive(Debug)]
struct PlaceIndex {
    /// The octet at which each line begins (YAML 1.2.2 §5.4: after a line feed, a carriage return, or both).
    lines: Vec<usize>,
    /// The number of characters that begin before octet `n * STEP`.
    characters: Vec<usize>,
}

/// A line and a column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextPosition {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Two texts are the same when their octets are.
impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<&str> for SourceText {
    fn from(text: &str) -> Self {
        Self(Arc::new(IndexedText { text: Arc::from(text), index: OnceLock::new() }))
    }
}

impl Deref for SourceText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl SourceText {
    /// The text alone.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0.text)
    }

    /// The position of an octet; of an octet within a character, that of the character.
    pub(crate) fn position(&self, at: usize) -> TextPosition {
        let at = self.floor_char_boundary(at);
        let index = self.0.index.get_or_init(|| PlaceIndex::new(&self.0.text));
        let line = index.lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|nth| index.lines.get(nth)).copied().unwrap_or(0);
        let before = self.characters_before(index, at);
        let column = before.saturating_sub(self.characters_before(index, start));
        TextPosition { line, column: column.saturating_add(1) }
    }

    fn characters_before(&self, index: &PlaceIndex, at: usize) -> usize {
        let step = at / STEP;
        let counted = index.characters.get(step).copied().unwrap_or(0);
        let rest = self.as_bytes().get(step.saturating_mul(STEP)..at).unwrap_or_default();
        counted.saturating_add(begun(rest))
    }
}

impl PlaceIndex {
    fn new(text: &str) -> Self {
        let octets = text.as_bytes();
        let ends = octets.iter().enumerate().filter(|(at, octet)| match **octet {
            b'\n' => true,
            b'\r' => octets.get(at.saturating_add(1)) != Some(&b'\n'),
            _ => false,
        });
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at.saturating_add(1))).collect();
        let mut counted = 0_usize;
        let mut characters = vec![0];
        for part in octets.chunks(STEP) {
            counted = counted.saturating_add(begun(part));
            characters.push(counted);
        }
        Self { lines, characters }
    }
}

/// The number of characters that begin in these octets of UTF-8 (RFC 3629 §3: all but `10xxxxxx` begin one).
fn begun(octets: &[u8]) -> usize {
    octets.iter().filter(|octet| **octet & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by a pass over the text before the octet.
    fn counted(text: &str, at: usize) -> TextPosition {
        let before = &text[..text.floor_char_boundary(at)];
        let ended = before.ends_with('\r') && text[before.len()..].starts_with('\n');
        let ends = |text: &str| text.replace("\r\n", "\n").matches(['\r', '\n']).count();
        // Between the two octets of one line end the line has not ended.
        let whole = if ended { &before[..before.len() - 1] } else { before };
        let start = whole.rfind(['\r', '\n']).map_or(0, |at| at + 1);
        TextPosition { line: ends(whole) + 1, column: before[start..].chars().count() + 1 }
    }

    proptest! {
        #[test]
        fn a_position_is_the_one_that_a_pass_over_the_text_finds(
            text in "([a-c]|é|𝄞|\r\n|\r|\n){0,300}", repeat in 1_usize..9,
        ) {
            let text = text.repeat(repeat);
            let source = SourceText::from(text.as_str());
            for at in 0..text.len() + 2 {
                prop_assert_eq!(source.position(at), counted(&text, at), "{} of {:?}", at, text);
            }
        }
    }
}
