//! Files of bundles, line by line. What is in a line is read where it is judged.

/// The bundles of a `.sigstore.json` file: one per line, empty lines skipped.
#[must_use]
pub fn bundle_lines(file: &[u8]) -> Vec<&[u8]> {
    file.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_bundle_a_line() {
        assert_eq!(bundle_lines(b"{1}\n\n{2}\r\n  \n{3}"), [&b"{1}"[..], b"{2}\r", b"{3}"]);
        assert!(bundle_lines(b"\n").is_empty());
    }
}
