//! A line-by-line diff of two texts.

use std::fmt::Write as _;

/// Unchanged lines shown around a difference.
const AROUND: usize = 2;
/// The most lines for which a longest common subsequence is computed. A longer middle counts as changed as
/// a whole.
const MOST: usize = 2_000;

/// A line, and the text it belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Both(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The lines that differ, `-` for old and `+` for new, with a few lines around them; empty when the texts
/// are equal.
pub(crate) fn unified(old: &str, new: &str) -> String {
    let lines = compared(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let differs = |at: usize| matches!(lines.get(at), Some(Line::Old(_) | Line::New(_)));
    let near = |at: usize| (at.saturating_sub(AROUND)..=at + AROUND).any(differs);
    let (mut text, mut gap) = (String::new(), false);
    for (at, line) in lines.iter().enumerate() {
        if !near(at) {
            gap = true;
            continue;
        }
        if gap && !text.is_empty() {
            text.push_str("  …\n");
        }
        gap = false;
        let _ = match line {
            Line::Both(line) => writeln!(text, "  {line}"),
            Line::Old(line) => writeln!(text, "- {line}"),
            Line::New(line) => writeln!(text, "+ {line}"),
        };
    }
    text
}

fn compared<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(one, other)| one == other).count();
    let (old_rest, new_rest) =
        (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    let middle = |rest: &[&'a str]| rest.get(..rest.len() - tail).unwrap_or_default().to_vec();
    let mut all: Vec<Line<'a>> = old.iter().take(head).map(|line| Line::Both(line)).collect();
    all.extend(other(&middle(old_rest), &middle(new_rest)));
    all.extend(old.iter().skip(old.len() - tail).map(|line| Line::Both(line)));
    all
}

/// The lines of two parts in order, common lines once, by their longest common subsequence.
fn other<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    if old.len() > MOST || new.len() > MOST {
        let gone = old.iter().map(|line| Line::Old(line));
        return gone.chain(new.iter().map(|line| Line::New(line))).collect();
    }
    // lengths[i][j]: length of the longest common subsequence of old[i..] and new[j..].
    let mut lengths = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    let at = |lengths: &Vec<Vec<u32>>, i: usize, j: usize| {
        lengths.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0)
    };
    for (i, one) in old.iter().enumerate().rev() {
        for (j, two) in new.iter().enumerate().rev() {
            let longest = if one == two {
                at(&lengths, i + 1, j + 1) + 1
            } else {
                at(&lengths, i + 1, j).max(at(&lengths, i, j + 1))
            };
            if let Some(cell) = lengths.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = longest;
            }
        }
    }
    let (mut all, mut i, mut j) = (Vec::new(), 0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (None, None) => return all,
            (Some(one), Some(two)) if one == two => {
                all.push(Line::Both(one));
                (i, j) = (i + 1, j + 1);
            }
            (Some(one), two)
                if two.is_none() || at(&lengths, i + 1, j) >= at(&lengths, i, j + 1) =>
            {
                all.push(Line::Old(one));
                i += 1;
            }
            (_, Some(two)) => {
                all.push(Line::New(two));
                j += 1;
            }
            (Some(one), None) => {
                all.push(Line::Old(one));
                i += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_with_what_is_around_it() {
        let text = |changed: &str| {
            let mut lines: Vec<String> = (0..20).map(|at| format!("line {at}")).collect();
            lines[10] = changed.to_owned();
            lines.join("\n")
        };
        let rows = [
            (text("a"), text("a"), ""),
            (text("a"), text("b"), "  line 8\n  line 9\n- a\n+ b\n  line 11\n  line 12\n"),
            (String::new(), "a\nb".to_owned(), "+ a\n+ b\n"),
            ("a\nb".to_owned(), String::new(), "- a\n- b\n"),
            ("a\nb\nc".to_owned(), "a\nc".to_owned(), "  a\n- b\n  c\n"),
            ("a\nc".to_owned(), "a\nb\nc\nd".to_owned(), "  a\n+ b\n  c\n+ d\n"),
        ];
        for (old, new, wanted) in rows {
            assert_eq!(unified(&old, &new), wanted);
        }
        let far = unified(&format!("x\n{}\ny", text("a")), &format!("X\n{}\nY", text("a")));
        assert!(far.contains("  …\n"), "{far}");
    }
}
