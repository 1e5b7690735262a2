//! Tables with aligned columns.

use console::measure_text_width;

/// Rows below a head, two spaces between columns, no space at the end of a line. A column that is empty in
/// every row is omitted with its head.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(cell));
        }
    }
    let full = widths.map(|width| width > 0);
    for (width, name) in widths.iter_mut().zip(head) {
        *width = (*width).max(measure_text_width(name));
    }
    let mut text = line(head.iter().copied(), &widths, &full);
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str), &widths, &full));
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize], full: &[bool]) -> String {
    let mut text = String::new();
    for ((cell, width), _) in cells.zip(widths).zip(full).filter(|(_, full)| **full) {
        text.push_str(cell);
        let pad = width.saturating_sub(measure_text_width(cell)) + 2;
        text.extend(std::iter::repeat_n(' ', pad));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A digest shortened to what people compare: the algorithm and twelve digits.
pub(crate) fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) if hex.len() > 12 => {
            format!("{algorithm}:{}…", hex.get(..12).unwrap_or(hex))
        }
        _ => digest.to_owned(),
    }
}

/// A number and its word: `1 proxy`, `3 proxies`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_empty_ones_are_left_out() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["a", "", "→ 1"]), row(["long", "", "2"])];
        assert_eq!(table(["NAME", "WHY", "N"], &rows), "NAME  N\na     → 1\nlong  2\n");
    }

    #[test]
    fn digests_are_cut_and_other_texts_are_not() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(short(&digest), "sha256:000000000000…");
        assert_eq!((short("sha256:00"), short("")), ("sha256:00".to_owned(), String::new()));
    }
}
