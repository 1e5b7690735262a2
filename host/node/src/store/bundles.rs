//! Chooses the bundles that count from a file that anybody may have written to, within bounds of time and size.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use tamis_trust::{
    Digest, KeyId, MAX_BUNDLE_BYTES, MAX_BUNDLES, SignaturePolicy, is_about, signed_by,
};

/// Bytes of bundle files that are read for one artifact.
const READ_BYTES: u64 = 64 << 20;
/// Bundles about an artifact whose signature is checked to choose among them.
const CHECKED: usize = 4_096;
/// Bundles of one key that are kept: more of them say nothing more.
const OF_A_KEY: usize = 4;
/// Bundles about the artifact that no known key signed, which are kept to say so.
const UNPROVEN: usize = 256;

/// The bundles of an artifact, chosen from files.
pub(super) struct ChosenBundles {
    /// One per line.
    pub(super) lines: Vec<u8>,
    /// Where each was among the lines of the file whose places count; `None`: in another file.
    pub(super) places: Vec<Option<usize>>,
}

/// Whether what is recorded about the lines of a file is about this one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    Count,
    Ignored,
}

/// A bundle, and its place in its file if that counts.
type Line = (Vec<u8>, Option<usize>);

/// Chooses bundles: those that a key of a policy signed, then those that are about the artifact, then a few others.
pub(super) struct BundleChoice<'a> {
    manifest: &'a Digest,
    policies: &'a [SignaturePolicy],
    unread: u64,
    unchecked: usize,
    of_keys: BTreeMap<KeyId, usize>,
    signed: Vec<Line>,
    about: Vec<Line>,
    rest: Vec<Line>,
}

impl<'a> BundleChoice<'a> {
    pub(super) fn new(manifest: &'a Digest, policies: &'a [SignaturePolicy]) -> Self {
        Self {
            manifest,
            policies,
            unread: READ_BYTES,
            unchecked: CHECKED,
            of_keys: BTreeMap::new(),
            signed: Vec::new(),
            about: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// Reads a file of bundles, as far as its bytes are not too many for all files together. A file that is not there has
    /// none.
    pub(super) fn read(&mut self, path: &Path, places: Places) -> std::io::Result<()> {
        let file = match tamis_private::open_regular(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let mut reader = BufReader::new(file.take(self.unread));
        let (mut line, mut at) = (OpenLine::default(), 0);
        loop {
            let buffer = reader.fill_buf()?;
            let is_last = buffer.is_empty();
            let end = buffer.iter().position(|octet| *octet == b'\n');
            let piece = end.and_then(|end| buffer.get(..end)).unwrap_or(buffer);
            line.add(piece);
            let taken = piece.len() + usize::from(end.is_some());
            reader.consume(taken);
            self.unread = self.unread.saturating_sub(taken as u64);
            if end.is_some() || is_last {
                let OpenLine { text, is_blank } = std::mem::take(&mut line);
                if !is_blank {
                    text.into_iter().for_each(|text| self.judge(text, places, at));
                    at += 1;
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn judge(&mut self, text: Vec<u8>, places: Places, at: usize) {
        let line = |text| (text, (places == Places::Count).then_some(at));
        if !is_about(&text, self.manifest) {
            if self.rest.len() < MAX_BUNDLES {
                self.rest.push(line(text));
            }
            return;
        }
        self.unchecked = self.unchecked.saturating_sub(1);
        let key = match self.unchecked {
            0 => None,
            _ => signed_by(&text, self.manifest, self.policies),
        };
        let Some(key) = key else {
            if self.about.len() < UNPROVEN {
                self.about.push(line(text));
            }
            return;
        };
        let known = self.of_keys.entry(key).or_default();
        if *known < OF_A_KEY && !self.signed.iter().any(|(there, _)| *there == text) {
            *known += 1;
            self.signed.push(line(text));
        }
    }

    pub(super) fn chosen(self) -> ChosenBundles {
        let Self { signed, about, rest, .. } = self;
        let (mut lines, mut places) = (Vec::new(), Vec::new());
        for (text, place) in signed.into_iter().chain(about).chain(rest) {
            lines.extend(text);
            lines.push(b'\n');
            places.push(place);
        }
        ChosenBundles { lines, places }
    }
}

/// A line that is being read.
struct OpenLine {
    /// `None`: it is longer than a bundle may be.
    text: Option<Vec<u8>>,
    is_blank: bool,
}

impl Default for OpenLine {
    fn default() -> Self {
        Self { text: Some(Vec::new()), is_blank: true }
    }
}

impl OpenLine {
    fn add(&mut self, piece: &[u8]) {
        self.is_blank &= piece.trim_ascii().is_empty();
        self.text = self.text.take().filter(|text| text.len() + piece.len() <= MAX_BUNDLE_BYTES);
        if let Some(text) = &mut self.text {
            text.extend_from_slice(piece);
        }
    }
}
