//! Quantities as people write them: `1h30m`, `50KB`, `600/h`.

use std::time::Duration;

/// A length of time: numbers with units, largest first or not, `1h30m`, `250ms`, `1.5s`.
/// Units are `us`, `ms`, `s`, `m`, `h`, `d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let compact: String = text.chars().filter(|c| *c != ' ').collect();
    if compact.is_empty() {
        return Err("a length of time is missing".into());
    }
    let mut total = Duration::ZERO;
    let mut rest = compact.as_str();
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let micros = micros_of(number, unit)?;
        total = total.checked_add(Duration::from_micros(micros)).ok_or("too long")?;
        rest = next;
    }
    Ok(total)
}

/// A size in bytes: `512B`, `50KB` (1000), `50KiB` (1024), and so on to GB.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text.trim())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "" => return Err(format!("`{text}` has no unit; write `{text}B` or `{text}KB`")),
        other => return Err(format!("`{other}` is not a unit of size; use B, KB, KiB, MB, MiB")),
    };
    number.scaled(factor).ok_or_else(|| "too large".into())
}

/// So many in a length of time: `600/h`, `10/1s`, `5000/1d`.
pub fn rate(text: &str) -> Result<(u32, Duration), String> {
    let (count, per) = text.split_once('/').ok_or("a rate looks like `600/h`")?;
    let count = count.trim().parse().map_err(|_| format!("`{count}` is not a whole number"))?;
    let per = per.trim();
    let window = if per.starts_with(|c: char| c.is_ascii_digit()) {
        duration(per)?
    } else {
        duration(&format!("1{per}"))?
    };
    if window.is_zero() {
        return Err("the time of a rate cannot be zero".into());
    }
    Ok((count, window))
}

/// Bytes a second: `100KB/s`.
pub fn bandwidth(text: &str) -> Result<u64, String> {
    let bytes = text.trim().strip_suffix("/s").ok_or("a bandwidth looks like `100KB/s`")?;
    match size(bytes)? {
        0 => Err("a bandwidth cannot be zero".into()),
        bytes => Ok(bytes),
    }
}

/// A length of time in the form [`duration`] reads, at most two units: `1h30m`, `5.3s`, `250ms`.
pub fn show_duration(length: Duration) -> String {
    let micros = length.as_micros();
    let secs = length.as_secs();
    match secs {
        0 if micros == 0 => "0s".into(),
        0 if micros < 1_000 => format!("{micros}us"),
        0 => format!("{}ms", micros / 1_000),
        1..=59 => trim_fraction(format!("{:.1}", length.as_secs_f64())) + "s",
        60..=3_599 => two(secs / 60, "m", secs % 60, "s"),
        3_600..=86_399 => two(secs / 3_600, "h", secs % 3_600 / 60, "m"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    }
}

fn trim_fraction(text: String) -> String {
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A decimal number, kept exact.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    /// Ten to the power of the digits after the point.
    scale: u64,
}

impl Decimal {
    fn scaled(self, factor: u64) -> Option<u64> {
        let product = u128::from(self.digits) * u128::from(factor) / u128::from(self.scale);
        u64::try_from(product).ok()
    }
}

fn split_number(text: &str) -> Result<(Decimal, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let broken = || format!("`{text}` does not start with a number");
    if whole.is_empty() || fraction.len() > 9 {
        return Err(broken());
    }
    let digits = digits.parse().map_err(|_| broken())?;
    Ok((Decimal { digits, scale: 10_u64.pow(fraction.len() as u32) }, rest))
}

fn micros_of(number: Decimal, unit: &str) -> Result<u64, String> {
    let factor = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" | "sec" => 1_000_000,
        "m" | "min" => 60 * 1_000_000,
        "h" => 3_600 * 1_000_000,
        "d" => 86_400 * 1_000_000,
        "" => return Err("a length of time needs a unit: ms, s, m, h or d".into()),
        other => return Err(format!("`{other}` is not a unit of time; use ms, s, m, h or d")),
    };
    number.scaled(factor).ok_or_else(|| "too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let micros = |text| duration(text).map(|length| length.as_micros() as u64);
        for (text, expected) in [
            ("0s", 0),
            ("250ms", 250_000),
            ("1.5s", 1_500_000),
            ("5m", 300_000_000),
            ("1h30m", 5_400_000_000),
            ("1h 30m", 5_400_000_000),
            ("2d", 172_800_000_000),
        ] {
            assert_eq!(micros(text), Ok(expected), "{text}");
        }
        for (text, error) in [
            ("5", "a length of time needs a unit: ms, s, m, h or d"),
            ("5w", "`w` is not a unit of time; use ms, s, m, h or d"),
            ("soon", "`soon` does not start with a number"),
            ("", "a length of time is missing"),
            ("-5s", "`-5s` does not start with a number"),
            ("99999999999999d", "too long"),
        ] {
            assert_eq!(micros(text), Err(error.into()), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in
            [("512B", 512), ("50KB", 50_000), ("1 KiB", 1024), ("1.5MB", 1_500_000)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        assert_eq!(size("50"), Err("`50` has no unit; write `50B` or `50KB`".into()));
        assert!(size("50 bananas").unwrap_err().contains("not a unit of size"));
    }

    #[test]
    fn rates() {
        assert_eq!(rate("600/h"), Ok((600, Duration::from_secs(3600))));
        assert_eq!(rate("10/30s"), Ok((10, Duration::from_secs(30))));
        assert!(rate("600").is_err());
        assert!(rate("x/h").is_err());
        assert!(rate("5/0s").is_err());
    }

    #[test]
    fn bandwidths() {
        assert_eq!(bandwidth("100KB/s"), Ok(100_000));
        for wrong in ["100KB", "100KB/m", "0B/s", "fast"] {
            assert!(bandwidth(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shown_durations_read_back() {
        for (micros, shown) in [
            (0, "0s"),
            (7, "7us"),
            (42_000, "42ms"),
            (5_300_000, "5.3s"),
            (90_000_000, "1m30s"),
            (3_600_000_000, "1h"),
            (90_000_000_000, "1d1h"),
        ] {
            let length = Duration::from_micros(micros);
            assert_eq!(show_duration(length), shown);
            assert_eq!(duration(shown), Ok(length), "{shown}");
        }
    }
}
