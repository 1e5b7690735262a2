//! Randomness of two kinds in one value: quick numbers for choices and ids, and bytes for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a part takes randomness from: the machine, or the seed of a test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random(Source);

#[derive(Clone, Copy, Debug, Default)]
enum Source {
    #[default]
    System,
    Seeded(&'static AtomicU64),
}

/// The operating system provides no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the operating system provides no randomness")]
pub struct RandomSourceError;

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()));
}

impl Random {
    /// The random source of the machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Numbers that are the same in every run with this seed, for a test. All copies of the value continue
    /// one sequence.
    ///
    /// Each seeded value stays in memory until the process ends, so that a `Random` stays a word that can
    /// be copied.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Box::leak(Box::new(AtomicU64::new(seed)))))
    }

    /// A number for choices, samples and ids: quick, evenly spread, and **not secret**. A peer who sees one whole can
    /// work out the next of the same thread (SplitMix64, Steele et al. 2014, seeded by the operating system for each
    /// thread).
    #[must_use]
    pub fn number(self) -> u64 {
        match self.0 {
            Source::System => STATE.with(|state| {
                let next = state.get().wrapping_add(STEP);
                state.set(next);
                mix(next)
            }),
            Source::Seeded(state) => {
                mix(state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
            }
        }
    }

    /// A [`Random::number`] below `bound`, which is above 0 (Lemire's multiplication; its bias is below 2⁻³² for bounds
    /// below 2³²).
    #[must_use]
    pub fn below(self, bound: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Fills `octets` with randomness nobody can guess: for keys, tokens and names that must stay unknown.
    /// From a seed the bytes are as guessable as the seed.
    ///
    /// # Errors
    /// The operating system provides no randomness. The caller must not continue without: a secret of
    /// zeroes is no secret.
    pub fn fill(self, octets: &mut [u8]) -> Result<(), RandomSourceError> {
        match self.0 {
            Source::System => aws_lc_rs::rand::fill(octets).map_err(|_| RandomSourceError),
            Source::Seeded(_) => {
                for chunk in octets.chunks_mut(8) {
                    for (to, from) in chunk.iter_mut().zip(self.number().to_le_bytes()) {
                        *to = from;
                    }
                }
                Ok(())
            }
        }
    }

    /// An array filled by [`Random::fill`].
    ///
    /// # Errors
    /// As [`Random::fill`].
    pub fn octets<const COUNT: usize>(self) -> Result<[u8; COUNT], RandomSourceError> {
        let mut octets = [0; COUNT];
        self.fill(&mut octets)?;
        Ok(octets)
    }
}

/// A number as 16 lower-case hexadecimal digits, the highest first: for ids.
#[must_use]
pub fn hex_digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|index| {
        let shift = 60 - 4 * u32::try_from(index).unwrap_or(0);
        match (number >> shift) & 0xf {
            digit @ 0..=9 => b'0' + u8::try_from(digit).unwrap_or(0),
            digit => b'a' + u8::try_from(digit - 10).unwrap_or(0),
        }
    })
}

/// How far SplitMix64 moves between two numbers: 2⁶⁴ divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads the bits of a number over the whole word (the output function of SplitMix64): one number gives one other.
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        let take = |seed| {
            let random = Random::seeded(seed);
            [random.number(), random.number(), random.below(1 << 40)]
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn the_sequence_is_splitmix64() {
        // The first numbers of the reference implementation for the seed 0.
        let random = Random::seeded(0);
        assert_eq!(random.number(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.number(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn the_digits_of_a_number_are_all_sixteen() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(hex_digits(number), *format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_number_below_a_bound_is_below_it_and_reaches_each() {
        for random in [Random::system(), Random::seeded(3)] {
            let mut met = [false; 7];
            for _ in 0..1_000 {
                met[usize::try_from(random.below(7)).unwrap()] = true;
            }
            assert_eq!(met, [true; 7]);
            assert_eq!(random.below(1), 0);
        }
    }

    #[test]
    fn octets_of_any_length_are_filled() {
        for random in [Random::system(), Random::seeded(9)] {
            for count in [0, 1, 7, 8, 9, 31, 64] {
                let (mut one, mut other) = (vec![0; count], vec![0; count]);
                random.fill(&mut one).unwrap();
                random.fill(&mut other).unwrap();
                assert!(count < 7 || one != other, "{count} octets twice the same");
                assert!(count < 31 || one.iter().any(|octet| *octet != 0));
            }
        }
        assert_ne!(Random::system().octets::<16>().unwrap(), [0; 16]);
    }

    #[test]
    fn a_random_source_is_a_word() {
        assert_eq!(size_of::<Random>(), size_of::<usize>());
    }
}
