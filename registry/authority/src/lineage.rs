//! Which join an SVID goes back to, as its serial number says.

use tamis_trust::Digest;

/// Which join an SVID goes back to: the first half of its serial number says it, of the first SVID and of all that are renewed
/// from it. A revocation can tell by it whether a proxy joined again, whatever the clocks of replicas say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SvidLineage(pub(crate) [u8; 8]);

impl SvidLineage {
    /// That of a join, by the hash of its token.
    #[must_use]
    pub fn of_token(token: &Digest) -> Self {
        let mut octets = [0; 8];
        octets.iter_mut().zip(token.as_bytes()).for_each(|(octet, of_token)| *octet = *of_token);
        Self(positive(octets))
    }

    /// That of an SVID, by its serial number: 32 hexadecimal digits. `None`: no authority of ours gave it that number.
    #[must_use]
    pub fn of_serial(serial: &str) -> Option<Self> {
        let digits = serial.get(..16).filter(|_| serial.len() == 32)?;
        Some(Self(u64::from_str_radix(digits, 16).ok()?.to_be_bytes()))
    }
}

/// The octets of a number that is positive and never shorter.
pub(crate) fn positive<const N: usize>(mut octets: [u8; N]) -> [u8; N] {
    if let Some(first) = octets.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    octets
}
