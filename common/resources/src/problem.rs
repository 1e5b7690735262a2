//! A problem of a document: where it is, which rule it breaks, and the way out.

use std::fmt::Display;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::Serialize;

use crate::screen::{acts_on_screen, printable};
use crate::source::{SourceText, TextPosition};
use crate::span::TextSpan;

/// One problem of one document.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Stable name of the rule, like `field.unknown`.
    pub code: String,
    /// The problem in a sentence.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// Its place.
    pub place: SourcePlace,
    /// The document that it is a problem of, as `Kind/namespace/name`; `None` where no document could be read.
    pub of: Option<String>,
    /// The document that it refers to and that is not there: `Kind/namespace/name`, `Grant of FILTER`, or `FiltersLock`.
    /// A document with a fault of its own is not there for the others, so this is the consequence of that fault
    /// ([`ParseResult::faulty`](crate::ParseResult::faulty)).
    #[serde(skip)]
    pub lacks: Option<String>,
    /// Further places involved, possibly in other sources.
    pub also: Vec<SourcePlace>,
    /// The text of `place`, for rendering.
    #[serde(skip)]
    text: NamedSource<Arc<str>>,
}

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourcePlace {
    /// Name of the source as given to `parse`.
    pub source: String,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The label of the place.
    pub label: String,
}

impl SourcePlace {
    /// The part of `span` on its first line.
    pub(crate) fn new(source: &str, text: &SourceText, span: TextSpan, label: &str) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let ends = |c| matches!(c, '\r' | '\n');
        let first =
            text.get(start..end).and_then(|part| part.split(ends).next()).map_or(0, str::len);
        let TextPosition { line, column } = text.position(start);
        Self {
            source: source.to_owned(),
            start,
            end: start.saturating_add(first),
            line,
            column,
            label: label.to_owned(),
        }
    }

    fn labeled(&self) -> LabeledSpan {
        LabeledSpan::new(Some(self.label.clone()), self.start, self.end.saturating_sub(self.start))
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

/// Problems that are kept of a source. Nobody reads more.
pub(crate) const MAX_PROBLEMS: usize = 1_000;
/// Further places that a problem names: nobody reads more.
const MAX_PLACES: usize = 8;
/// Bytes of a message and of a way out: names in a text may be as long as the text, and each problem would repeat them.
const MAX_MESSAGE: usize = 2_000;

/// A text as a terminal may show it, with a mark for each octet of what acts on a screen: every place in the text stays where
/// it is.
fn marked(text: &str) -> String {
    let mark = |one: char| {
        if acts_on_screen(one) && one != '\r' {
            "?".repeat(one.len_utf8())
        } else {
            one.to_string()
        }
    };
    text.chars().map(mark).collect()
}

/// The beginning of a text, as a terminal may show it.
fn shortened(text: String) -> String {
    let mut text = printable(&text).into_owned();
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
    text
}

impl Problem {
    /// A problem at a span of a source.
    pub(crate) fn new(
        code: &str,
        source: &str,
        text: &SourceText,
        span: TextSpan,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code: code.to_owned(),
            message: shortened(message.into()),
            help: None,
            place: SourcePlace::new(source, text, span, "here"),
            of: None,
            lacks: None,
            also: Vec::new(),
            text: NamedSource::new(source, text.shared()),
        }
    }

    /// Adds the way out.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shortened(help.into()));
        self
    }

    /// Names the document that is not there, in the form of [`Problem::lacks`].
    #[must_use]
    pub(crate) fn lacks(mut self, document: impl Into<String>) -> Self {
        self.lacks = Some(document.into());
        self
    }

    /// The same problem as a terminal may show it, whatever is in the text of its document and in the name of its file.
    #[must_use]
    pub fn printable(&self) -> Self {
        let named = |place: &SourcePlace| SourcePlace {
            source: printable(&place.source).into_owned(),
            label: printable(&place.label).into_owned(),
            ..place.clone()
        };
        let text: Arc<str> = marked(self.text.inner()).into();
        Self {
            place: named(&self.place),
            also: self.also.iter().map(named).collect(),
            text: NamedSource::new(printable(self.text.name()), text),
            ..self.clone()
        }
    }

    /// Place, message and way out on one line, for a log or an error of one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let SourcePlace { source, line, column, .. } = &self.place;
        let source = printable(source);
        let help = self.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{source}:{line}:{column}: {}{help}", self.message)
    }

    /// Adds the first other places that are involved. Of two sides of a contradiction each names the other, so that all of
    /// them would be the square of what is written.
    #[must_use]
    pub(crate) fn also(mut self, places: impl IntoIterator<Item = SourcePlace>) -> Self {
        let room = MAX_PLACES.saturating_sub(self.also.len());
        self.also.extend(places.into_iter().take(room));
        self
    }
}

/// The Grants of a filter, in [`Problem::lacks`]: what needs one does not name it.
pub(crate) fn grant_of(filter: &str) -> String {
    format!("Grant of {filter}")
}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        let elsewhere = self.also.iter().filter(|place| place.source != self.place.source);
        let mut lines: Vec<String> = self.help.iter().cloned().collect();
        lines.extend(elsewhere.map(|place| {
            format!("see {}:{}:{} ({})", place.source, place.line, place.column, place.label)
        }));
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let same = self.also.iter().filter(|place| place.source == self.place.source);
        Some(Box::new(std::iter::once(&self.place).chain(same).map(SourcePlace::labeled)))
    }
}

#[cfg(test)]
mod tests {
    use crate::{acts_on_screen, parse, printable};

    #[test]
    fn nothing_that_somebody_writes_moves_the_cursor_of_a_terminal() {
        let controls = |text: &str| text.chars().any(acts_on_screen);
        let name = "b\u{1b}]0;pwn\u{7}\u{1b}[2J\u{202e}.yaml";
        let escape = "\\e[31mX\\e]0;t\\a";
        for text in [
            format!("kind: \"{escape}\"\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a }}\n"),
            format!("kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: \"{escape}\" }}\nspec: {{}}\n"),
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a, \"\u{9b}31m\": 1 }\nspec: {}\n".to_owned(),
            "kind: [\u{85}\u{1b}".to_owned(),
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a, \"\u{202e}\u{2066}\": 1 }\nspec: {}\n".to_owned(),
            "kind: \"\u{202e}\u{200b}\"\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\n".to_owned(),
        ] {
            let (_, problems) = parse(name, &text);
            assert!(!problems.is_empty(), "{text:?}");
            for problem in &problems {
                assert!(!controls(&problem.in_one_line()), "{:?}", problem.in_one_line());
                let shown = problem.printable();
                assert!(!controls(&shown.place.source) && !controls(&shown.message), "{shown:?}");
                assert!(!controls(&shown.text.inner().replace(['\r', '\t'], "")), "{shown:?}");
                assert_eq!(shown.text.inner().len(), problem.text.inner().len());
            }
        }
        assert_eq!(printable("é\n\t"), "é\n\t");
        assert_eq!(printable("a\u{1b}b"), "a\\u{1b}b");
    }
}
