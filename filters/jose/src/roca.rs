//! Recognises RSA moduli made by a broken generator (CVE-2017-15361, "ROCA"), whose factors can be computed.

/// Primes of the published test. Each modulus of the broken generator is a power of 65537 modulo all of
/// them; for another modulus the chance is about one in 2²⁷.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus (big endian) was made by the broken generator.
#[must_use]
pub(crate) fn is_marked(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| is_power(remainder(modulus, prime), prime))
}

fn remainder(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |rest, octet| (rest * 256 + u32::from(*octet)) % prime)
}

/// Whether `wanted` is a power of 65537 modulo `prime`.
fn is_power(wanted: u32, prime: u32) -> bool {
    let mut power = 1;
    (0..prime).any(|_| {
        power = power * (65537 % prime) % prime;
        power == wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_65537_is_marked_and_its_neighbour_is_not() {
        assert!(is_marked(&65537_u32.to_be_bytes()));
        assert!(is_marked(&(65537_u64 * 65537).to_be_bytes()));
        assert!(!is_marked(&65539_u32.to_be_bytes()));
        assert!(!is_marked(&[]));
    }
}
