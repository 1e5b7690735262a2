//! Time and randomness as values: the one door to the clocks and the random source of the machine.
//!
//! A part that decides by time or by chance takes a [`Clock`] or a [`Random`] as an argument, and its tests give it
//! one that they move themselves. Both are [`Copy`], a word wide and concrete: a read costs one predicted branch more
//! than the call to the operating system behind it. Everywhere else `clippy.toml` forbids the ambient sources.
//!
//! It offers no way to wait: a sleep belongs to the runtime.
//!
//! ```
//! use std::time::Duration;
//! use tamis_ambient::{Clock, ManualTime, Random};
//!
//! let time = ManualTime::new();
//! let clock = time.clock();
//! let start = clock.now();
//! time.advance(Duration::from_secs(60));
//! assert_eq!(clock.now() - start, Duration::from_secs(60));
//!
//! let (one, other) = (Random::seeded(7), Random::seeded(7));
//! assert_eq!(one.number(), other.number());
//! # let _ = (Clock::system().unix_time(), Random::system().below(10));
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod clock;
mod random;

pub use clock::{Clock, ManualTime};
pub use random::{Random, RandomSourceError, hex_digits, mix};
