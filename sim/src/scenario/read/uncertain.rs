//! Values that may be a range: `{ min = 4, max = 25 }`.

use toml::Spanned;
use toml::de::DeValue;

use super::super::reader::Table;
use crate::receiver::spec::Uncertain;

/// The value of a key as `parse` understands it, or the least of a range, and the range. What is
/// drawn must be more than `zero`.
pub(super) fn read<T: PartialOrd + Copy>(
    table: &Table<'_>,
    key: &'static str,
    zero: T,
    parse: impl Fn(&Table<'_>, &Spanned<DeValue<'_>>, &str) -> Option<T>,
) -> Option<(T, Option<Uncertain<T>>)> {
    let value = table.get(key)?;
    let DeValue::Table(_) = value.get_ref() else {
        return parse(table, value, key).map(|value| (value, None));
    };
    let range = table.table_of(value, key)?;
    let end = |key: &'static str| {
        if !range.has(key) {
            range.missing(key, "a range is `{ min = 4, max = 25 }`");
        }
        range.get(key).and_then(|value| parse(&range, value, key))
    };
    let (least, most) = (end("min"), end("max"));
    range.finish();
    let (least, most) = (least?, most?);
    if least >= most || least <= zero {
        let message = "`min` must be more than nothing and less than `max`";
        table.diagnostics().error(value.span(), message);
        return None;
    }
    Some((least, Some(Uncertain { least, most })))
}

/// Whether the value of a key is a range.
pub(super) fn is_range(table: &Table<'_>, key: &'static str) -> bool {
    let Some(DeValue::Table(entries)) = table.get(key).map(Spanned::get_ref) else { return false };
    entries.contains_key("min") || entries.contains_key("max")
}
