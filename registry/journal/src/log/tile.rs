//! The paths of tiles (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

use super::LogError;

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Highest level, of eight tree levels each, of a tree of at most 2^64 leaves.
const MAX_LEVEL: u8 = 63;

/// A tile of hashes or a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TilePath {
    /// `tile/LEVEL/INDEX`, partial with `.p/WIDTH`: hashes of 32 bytes one after another.
    Hashes {
        /// Each level is eight levels of the tree; 0 is the leaves.
        level: u8,
        /// Which tile of the level.
        index: u64,
        /// Number of hashes, 1 to 256; below 256 it is a partial tile.
        width: u16,
    },
    /// `tile/entries/INDEX`: entries, each preceded by its length in two bytes, big-endian.
    Entries {
        /// Which bundle.
        index: u64,
        /// Number of entries, 1 to 256.
        width: u16,
    },
}

impl FromStr for TilePath {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        parse(text).ok_or_else(|| LogError::Path(text.chars().take(120).collect()))
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, width) = match *self {
            Self::Hashes { level, index, width } => {
                write!(f, "tile/{level}/")?;
                (index, width)
            }
            Self::Entries { index, width } => {
                f.write_str("tile/entries/")?;
                (index, width)
            }
        };
        write_index(f, index)?;
        if width < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
    }
}

/// Groups of three digits, all but the last with an `x` before them: 1234067 is `x001/x234/067`.
fn write_index(f: &mut fmt::Formatter<'_>, index: u64) -> fmt::Result {
    let mut groups = vec![index % 1_000];
    let mut rest = index / 1_000;
    while rest > 0 {
        groups.push(rest % 1_000);
        rest /= 1_000;
    }
    for (place, group) in groups.iter().enumerate().rev() {
        if place > 0 { write!(f, "x{group:03}/")? } else { write!(f, "{group:03}")? }
    }
    Ok(())
}

fn parse(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, number(width, TILE_WIDTH - 1)?),
        None => (rest, TILE_WIDTH),
    };
    let index = parse_index(index)?;
    let path = match kind {
        "entries" => TilePath::Entries { index, width },
        level => TilePath::Hashes {
            level: level.parse().ok().filter(|level| *level <= MAX_LEVEL)?,
            index,
            width,
        },
    };
    // One notation each: leading zeros, signs and superfluous groups are written differently.
    (path.to_string() == text).then_some(path)
}

fn number(text: &str, most: u16) -> Option<u16> {
    text.parse().ok().filter(|number| (1..=most).contains(number))
}

fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    for group in text.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let group: u16 = digits.parse().ok().filter(|group| *group < 1_000)?;
        index = index.checked_mul(1_000)?.checked_add(u64::from(group))?;
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let entries = |index, width| TilePath::Entries { index, width };
        let hashes = |level, index, width| TilePath::Hashes { level, index, width };
        for (path, text) in [
            (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
            (hashes(0, 273, 256), "tile/0/273"),
            (hashes(1, 1, 16), "tile/1/001.p/16"),
            (entries(0, 256), "tile/entries/000"),
            (entries(1_000, 1), "tile/entries/x001/000.p/1"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse::<TilePath>().unwrap(), path);
        }
    }

    #[test]
    fn another_spelling_is_no_path() {
        for text in [
            "",
            "tile/0",
            "tile/0/",
            "tile/0/1",
            "tile/00/001",
            "tile/64/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/01",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/+1/001",
            "tile/0/x001",
            "tile/0/../001",
            "/tile/0/001",
            "tile/0/001/",
            "tile/data/001",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(text.parse::<TilePath>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_path_comes_back_from_its_text(level in 0_u8..64, index in any::<u64>(), width in 1_u16..=256) {
            for path in [TilePath::Hashes { level, index, width }, TilePath::Entries { index, width }] {
                prop_assert_eq!(path.to_string().parse::<TilePath>().unwrap(), path);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(tile/)?[0-9a-z/.x+]{0,40}") {
            let _ = text.parse::<TilePath>();
        }
    }
}
