//! What a client accepts (`accept-encoding`, RFC 9110 §12.5.3).

/// A coding that the host can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Br,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Whether that is its name. `x-gzip` is another one of gzip (RFC 9110 §8.4.1.3).
    fn is_named(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.as_str().as_bytes())
            || (self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// Preferences of a client, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptedCodings {
    named: [Option<u16>; 3],
    others: Option<u16>,
    identity: Option<u16>,
}

impl AcceptedCodings {
    /// Reads the values of the field. What is no preference counts as absent; of two for a coding the first one counts.
    #[must_use]
    pub fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::default();
        for entry in values.flat_map(|value| value.split(|octet| *octet == b',')) {
            let Some((name, weight)) = preference(entry) else { continue };
            for coding in [Coding::Zstd, Coding::Br, Coding::Gzip] {
                if coding.is_named(name)
                    && let Some(known) = accepted.named.get_mut(coding as usize)
                {
                    known.get_or_insert(weight);
                }
            }
            if name == b"*" {
                accepted.others.get_or_insert(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                accepted.identity.get_or_insert(weight);
            }
        }
        accepted
    }

    /// How much the client likes a coding; 0: it does not take it.
    fn weight(&self, coding: Coding) -> u16 {
        let named = self.named.get(coding as usize).copied().flatten();
        named.or(self.others).unwrap_or(0)
    }

    /// The one of `codings` that the client likes best, the first of several; `None`: it takes none of them, or says that it
    /// prefers the body as it is.
    #[must_use]
    pub fn best(&self, codings: &[Coding]) -> Option<Coding> {
        let least = self.identity.unwrap_or(0).max(1);
        let taken = codings.iter().filter(|coding| self.weight(**coding) >= least);
        // The last maximum wins, so that the first one has to come last.
        taken.rev().max_by_key(|coding| self.weight(**coding)).copied()
    }
}

/// The name and the weight of an entry.
fn preference(entry: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = entry.split(|octet| *octet == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    match (parts.next(), parts.next()) {
        (None, _) => Some((name, 1_000)),
        (Some(part), None) => Some((name, thousandths(part)?)),
        (Some(_), Some(_)) => None,
    }
}

/// A weight `q=` in thousandths (RFC 9110 §12.4.2).
fn thousandths(part: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', first, rest @ ..] = part else { return None };
    let digits = match rest {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut value = match first {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        value = value * 10 + u16::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
    }
    (value <= 1_000).then_some(value)
}
