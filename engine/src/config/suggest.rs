//! Did you mean ...?

use alloc::string::String;
use alloc::vec::Vec;

/// The candidates nearest to a misspelt name, best first, at most three; none when nothing is near.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_ascii_lowercase();
    let far = (name.len() + 1) / 3;
    let mut near: Vec<_> = candidates
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            if candidate.len().abs_diff(name.len()) <= far {
                let distance = distance(&name, &lower);
                return (distance <= far).then_some((distance, candidate));
            }
            // A name that was cut short, or that lacks its first words.
            let part = name.len() >= 4 && (lower.starts_with(&name) || lower.ends_with(&name));
            part.then_some((far, candidate))
        })
        .collect();
    near.sort();
    let best = near.first().map_or(0, |&(distance, _)| distance);
    near.into_iter()
        .take_while(|&(distance, _)| distance <= best + 1)
        .take(3)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// A sentence that offers the nearest candidates; `None` when nothing is near.
pub(super) fn did_you_mean<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let near = nearest(name, candidates);
    (!near.is_empty()).then(|| {
        let quoted: Vec<_> = near.iter().map(|name| alloc::format!("`{name}`")).collect();
        let quoted: Vec<_> = quoted.iter().map(String::as_str).collect();
        alloc::format!("did you mean {}?", super::scope::in_words(&quoted, "or"))
    })
}

/// Edit distance: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.bytes().collect(), b.bytes().collect());
    let mut rows = [Vec::new(), Vec::new(), (0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        rows.rotate_left(1);
        let mut row = alloc::vec![i];
        for j in 1..=b.len() {
            let replaced = rows[1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            row.push(best);
        }
        rows[2] = row;
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let table = [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("retry_intervall", "retry_interval", 1),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
        ];
        for (a, b, want) in table {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn near_names_are_offered_best_first() {
        let names = ["max_retries", "max_retry_interval", "retry_interval", "tls"];
        let mean = |name| did_you_mean(name, names.iter().copied());
        assert_eq!(mean("retry_intervall").as_deref(), Some("did you mean `retry_interval`?"));
        assert_eq!(mean("Max_Retrys").as_deref(), Some("did you mean `max_retries`?"));
        assert_eq!(mean("tsl").as_deref(), Some("did you mean `tls`?"));
        assert_eq!(mean("retry").as_deref(), Some("did you mean `retry_interval`?"));
        assert_eq!(mean("max_retrie").as_deref(), Some("did you mean `max_retries`?"));
        assert_eq!(
            mean("interval").as_deref(),
            Some("did you mean `max_retry_interval` or `retry_interval`?")
        );
        assert_eq!(mean("wholly_else"), None);
    }
}
