//! A search for an input that breaks a target, by altering entries of its corpus.
//!
//! It does not see which code an input reaches, as libFuzzer does, and needs nothing but the ordinary build for it. Words of
//! the corpus (names, separators, escapes) are put into other entries, so that most inputs get past the first check.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Octets of an input at most; what a target reads of more is the same.
const LARGEST: usize = 64 << 10;
/// Changes made to one entry at most, one after the other.
const CHANGES_MAX: u64 = 8;
/// How long one input may take. libFuzzer's own default is 20 minutes; every target answers within milliseconds.
const SLOWEST: Duration = Duration::from_secs(10);
/// Octets of a finding that are printed.
const SHOWN: usize = 400;
/// Octets that mean something to most parsers.
const MARKS: &[u8] = b"\0\n\r\t \"%&',-./:;=?@[\\]{}~\x7f\x80\xc0\xff";

/// When a search ends without a finding.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// After so many inputs beside those of the corpus.
    Inputs(u64),
    /// After so long.
    Time(Duration),
}

/// Where inputs come from: a corpus, and a seed that repeats a search.
#[derive(Debug)]
pub struct Search {
    entries: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    state: u64,
}

/// An input for which something does not hold.
#[derive(Debug)]
pub struct BrokenInput {
    /// The input, as it was.
    pub input: Vec<u8>,
    /// What does not hold.
    pub why: String,
}

/// Why, and the beginning of the input.
impl fmt::Display for BrokenInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.input.get(..SHOWN).unwrap_or(&self.input);
        write!(f, "{}; {} octets: b\"{}\"", self.why, self.input.len(), shown.escape_ascii())
    }
}

impl Search {
    /// A search that alters these entries; the same seed makes the same inputs.
    #[must_use]
    pub fn new(entries: Vec<Vec<u8>>, seed: u64) -> Self {
        let mut words: Vec<Vec<u8>> = entries
            .iter()
            .flat_map(|entry| entry.chunk_by(|a, b| is_word(*a) == is_word(*b)))
            .filter(|word| word.len() <= 64)
            .map(<[u8]>::to_vec)
            .collect();
        words.sort();
        words.dedup();
        Self { entries, words, state: seed }
    }

    /// Runs the target over every entry, then over altered ones until the budget ends; returns how many inputs it ran.
    ///
    /// # Errors
    /// The first input for which the target panics or takes more than ten seconds.
    pub fn run(mut self, target: fn(&[u8]), budget: Budget) -> Result<u64, BrokenInput> {
        let began = Instant::now();
        for entry in &self.entries {
            hold(target, entry)?;
        }
        let mut inputs = 0;
        loop {
            let over = match budget {
                Budget::Inputs(most) => inputs >= most,
                Budget::Time(most) => began.elapsed() >= most,
            };
            if over {
                return Ok(inputs);
            }
            let input = self.input();
            hold(target, &input)?;
            inputs += 1;
        }
    }

    /// An entry with one to eight changes, or now and then anything.
    fn input(&mut self) -> Vec<u8> {
        if self.below(16) == 0 {
            return self.octets(200);
        }
        let mut input = self.entry();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(LARGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (start, end) = self.range(input.len());
        match self.below(10) {
            0 => {
                let bit = self.below(8);
                if let Some(octet) = input.get_mut(start) {
                    *octet ^= 1 << bit;
                }
            }
            1 => {
                let to = self.mark();
                if let Some(octet) = input.get_mut(start) {
                    *octet = to;
                }
            }
            2 => input.insert(start, self.mark()),
            3 => {
                let octets = self.octets(8);
                input.splice(start..start, octets);
            }
            4 => drop(input.drain(start..end)),
            5 => {
                let copy = input.get(start..end).unwrap_or_default().repeat(self.times());
                input.splice(start..start, copy.into_iter().take(LARGEST));
            }
            6 => {
                let word = self.word();
                input.splice(start..start, word);
            }
            7 => {
                let word = self.word();
                input.splice(start..end, word);
            }
            8 => {
                let other = self.entry();
                let (from, to) = self.range(other.len());
                input.splice(start..end, other.get(from..to).unwrap_or_default().iter().copied());
            }
            _ => input.truncate(end),
        }
    }

    /// A range within so many octets: short mostly.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.index(length + 1);
        let longest = if self.below(4) == 0 { length - start } else { (length - start).min(8) };
        (start, start + self.index(longest + 1))
    }

    fn times(&mut self) -> usize {
        if self.below(16) == 0 { 1_000 } else { 1 + self.index(4) }
    }

    fn entry(&mut self) -> Vec<u8> {
        let at = self.index(self.entries.len());
        self.entries.get(at).cloned().unwrap_or_default()
    }

    fn word(&mut self) -> Vec<u8> {
        let at = self.index(self.words.len());
        self.words.get(at).cloned().unwrap_or_default()
    }

    fn mark(&mut self) -> u8 {
        let at = self.index(MARKS.len() * 2);
        MARKS.get(at).copied().unwrap_or_else(|| self.octet())
    }

    fn octets(&mut self, most: u64) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.octet()).collect()
    }

    fn octet(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// The next number of splitmix64 (Steele, Lea and Flood 2014), below a limit; 0 below 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit).unwrap_or(0)
    }
}

fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// The target on one input: it neither panics nor goes on for long.
fn hold(target: fn(&[u8]), input: &[u8]) -> Result<(), BrokenInput> {
    let began = Instant::now();
    let broken = |why| BrokenInput { input: input.to_vec(), why };
    // Targets keep nothing that a panic could leave half done.
    catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        broken(text.unwrap_or_else(|| "it panicked".to_owned()))
    })?;
    let took = began.elapsed();
    if took > SLOWEST { Err(broken(format!("it took {took:.1?}"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_bang(data: &[u8]) {
        assert!(!data.ends_with(b"key: !"), "a bang");
    }

    #[test]
    fn what_breaks_a_target_is_found_and_shown() {
        let entries = vec![b"key: value".to_vec(), b"!".to_vec()];
        let broken = Search::new(entries, 1).run(no_bang, Budget::Inputs(1_000_000)).unwrap_err();
        assert!(broken.to_string().contains("a bang") && broken.to_string().contains("key: !"));
    }

    #[test]
    fn a_seed_repeats_a_search_and_inputs_are_bounded() {
        let inputs = |seed| {
            let mut search = Search::new(vec![b"a: [b, c]".to_vec(), vec![b'x'; LARGEST]], seed);
            (0..500).map(|_| search.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        assert!(inputs(7).iter().all(|input| input.len() <= LARGEST));
    }

    #[test]
    fn an_empty_corpus_is_altered_too() {
        assert_eq!(Search::new(Vec::new(), 0).run(|_| {}, Budget::Inputs(200)).unwrap(), 200);
    }
}
