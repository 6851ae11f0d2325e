//! Text that goes into HTML, and numbers as charts show them.

use std::fmt;
use std::time::Duration;

use crate::report::text::grouped;
use crate::scenario::units::show_duration;

/// A text in which nothing is markup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Not allowed in HTML, not even as a reference.
                c if c.is_control() && !c.is_whitespace() => f.write_str("\u{fffd}")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A text of at most so many characters.
pub(super) fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A length of time in seconds, with units.
pub(super) fn time(seconds: f64) -> String {
    show_duration(Duration::from_secs_f64(seconds.max(0.0)))
}

/// A length of time that may not have been reached.
pub(super) fn time_or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), time)
}

/// A number on an axis: short.
pub(super) fn short_number(number: f64) -> String {
    let thousands = number / 1000.0;
    match number {
        n if n >= 1e6 => trimmed(n / 1e6) + "M",
        n if n >= 1e4 => trimmed(thousands) + "k",
        n if n.fract() == 0.0 => grouped(n as u64),
        n => trimmed(n),
    }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A share of something, with as many digits as it takes to tell it from all and nothing.
pub(super) fn percent(part: u64, all: u64) -> String {
    let share = 100.0 * part as f64 / all.max(1) as f64;
    let text = trimmed(share);
    match (text.as_str(), part) {
        ("100", part) if part < all => "99.99%".to_owned(),
        ("0", 1..) => "0.01%".to_owned(),
        _ => text + "%",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup() {
        let hostile = "<script>alert('x')</script> & \"\u{0}\u{7}";
        let safe = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;\u{fffd}\u{fffd}";
        assert_eq!(Escaped(hostile).to_string(), safe);
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (2.5, "2.5"),
            (800.0, "800"),
            (2000.0, "2,000"),
            (25_000.0, "25k"),
            (1_250_000.0, "1.25M"),
        ] {
            assert_eq!(short_number(number), text);
        }
        for (part, all, text) in [
            (1, 3, "33.33%"),
            (999_999, 1_000_000, "99.99%"),
            (1, 1_000_000, "0.01%"),
            (0, 5, "0%"),
            (5, 5, "100%"),
            (0, 0, "0%"),
        ] {
            assert_eq!(percent(part, all), text);
        }
        assert_eq!(clipped("abcdef", 4), "abc…");
        assert_eq!(clipped("abcd", 4), "abcd");
        assert_eq!(time_or_dash(None), "–");
    }
}
