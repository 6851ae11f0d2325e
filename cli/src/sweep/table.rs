//! Tables of numbers.

/// Rows below a heading, numbers to the right, indented; the columns of `left` are words.
pub(super) fn render(heading: &[String], rows: &[Vec<String>], left: &[usize]) -> String {
    let lines = || std::iter::once(heading).chain(rows.iter().map(Vec::as_slice));
    let widths: Vec<usize> = (0..heading.len())
        .map(|n| lines().map(|line| line[n].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines() {
        let mut row = String::new();
        for (n, (cell, width)) in line.iter().zip(&widths).enumerate() {
            row.push_str("  ");
            row.push_str(&match left.contains(&n) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}
