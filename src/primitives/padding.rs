//! Padmé: object lengths that tell little.
//!
//! A length L keeps the ⌊log2 ⌊log2 L⌋⌋ + 1 highest bits after its first and is rounded up to them. At most
//! 12 % are lost, and less the longer an object is. Source: Nikitin et al., "Reducing Metadata Leakage from
//! Encrypted Files and Communication with PURBs", PoPETs 2019, section 4.

/// The smallest padded length of at least `len` bytes.
pub fn padme(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1u64 << exponent.saturating_sub(kept)) - 1;
    len.saturating_add(mask) & !mask
}

/// As [`padme`], of what is in memory.
pub fn padme_len(len: usize) -> usize {
    usize::try_from(padme(len as u64)).expect("a padded length is not much longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_paper() {
        assert_eq!(padme(0), 0);
        assert_eq!(padme(9), 10);
        assert_eq!(padme(1 << 20), 1 << 20);
        assert_eq!(padme((1 << 20) + 1), (1 << 20) + (1 << 15));
    }

    #[test]
    fn padding_never_shrinks_costs_at_most_an_eighth_and_is_stable() {
        for len in (1..5000).chain((20..40).map(|e| (1 << e) + 12345)) {
            let padded = padme(len);
            assert!(padded >= len && padded - len <= len / 8 + 1, "{len} -> {padded}");
            assert_eq!(padme(padded), padded);
        }
    }
}
