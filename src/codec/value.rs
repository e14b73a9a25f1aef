//! One function per kind of value: from what Zoho sends, in a CSV cell or in JSON, to the one form
//! a value has in a record.
//!
//! Both decoders (CSV and JSON) end in the same functions, so that a record comes out byte for byte
//! the same whichever way it was read. Zoho's types are listed in its "Field Meta Data" page.

use super::bytes::to_escape;
use super::time::{epoch_seconds, is_date, write_utc};
use crate::zoho::types::{DataType, Field};
use serde_json::Value;
use std::borrow::Cow;

/// The form a field's values take in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An id of 17 to 19 digits, or the id of what a lookup points at: a string.
    Id,
    /// A string; Zoho does not tell an empty one from null, so empty is null.
    Text,
    /// A number without a fraction.
    Integer,
    /// A number in canonical text: no exponent, no trailing zeros, never through a float.
    Decimal,
    /// `true` or `false`.
    Boolean,
    /// `YYYY-MM-DD`.
    Date,
    /// `YYYY-MM-DDTHH:MM:SSZ`.
    DateTime,
    /// The name of what a lookup points at, from an object that has one: a string.
    Name,
    /// An array of the chosen values.
    MultiSelect,
    /// An array of names, from objects that have one (tags).
    Names,
    /// An array of ids, from objects that have one (territories).
    Ids,
    /// JSON as Zoho gives it, without insignificant space (files, images, reminders).
    Json,
}

impl Kind {
    /// The kind of a field, by its `data_type` and, for formulas and rollups, what they return.
    pub fn of(field: &Field) -> Self {
        match &field.data_type {
            DataType::Text if field.json_type == "jsonarray" => Self::Names,
            DataType::Formula => field.formula_type.as_ref().map_or(Self::Text, Self::of_type),
            DataType::RollupSummary => field.rollup_type.as_ref().map_or(Self::Text, Self::of_type),
            other => Self::of_type(other),
        }
    }

    fn of_type(data_type: &DataType) -> Self {
        match data_type {
            DataType::Integer => Self::Integer,
            DataType::Double | DataType::Currency | DataType::Percent => Self::Decimal,
            DataType::Boolean => Self::Boolean,
            DataType::Date => Self::Date,
            DataType::DateTime => Self::DateTime,
            DataType::MultiSelectPicklist => Self::MultiSelect,
            DataType::BigInt
            | DataType::Lookup
            | DataType::OwnerLookup
            | DataType::UserLookup
            | DataType::Layout
            | DataType::ConsentLookup
            | DataType::MultiModuleLookup => Self::Id,
            DataType::Territories => Self::Ids,
            DataType::FileUpload
            | DataType::ImageUpload
            | DataType::Subform
            | DataType::MultiSelectLookup
            | DataType::MultiUserLookup => Self::Json,
            _ => Self::Text,
        }
    }
}

/// A value that is not of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct ValueError {
    /// What Zoho sent, cut to 80 characters.
    pub found: String,
    /// What the field's type allows.
    pub expected: &'static str,
}

impl ValueError {
    fn new(found: &str, expected: &'static str) -> Self {
        Self { found: found.chars().take(80).collect(), expected }
    }
}

type Written = Result<(), ValueError>;

/// Appends the JSON of a CSV cell to `out`.
///
/// # Errors
/// When the cell is not UTF-8 or not of its kind.
pub fn write_cell(kind: Kind, cell: &[u8], out: &mut Vec<u8>) -> Written {
    match std::str::from_utf8(cell) {
        Ok(text) => write_text(kind, text, out),
        Err(_) => Err(ValueError::new(&String::from_utf8_lossy(cell), "UTF-8 text")),
    }
}

/// Appends the record form of a JSON value from the records API or COQL, given as its text, to `out`.
///
/// # Errors
/// When the value is not of its kind.
pub fn write_json(kind: Kind, text: &str, out: &mut Vec<u8>) -> Written {
    match text.as_bytes().first() {
        Some(b'n') => null(out),
        Some(b'{') => object(kind, text, out),
        // Anything but the object itself: its id, say, which is no name.
        _ if kind == Kind::Name => Err(ValueError::new(text, "an object with a `name`")),
        Some(b'"') => write_text(kind, &unquote(text)?, out),
        Some(b'[') => array(kind, text, out),
        _ => write_text(kind, text, out),
    }
}

/// A value as text, which is all a CSV cell is, and what the strings of the JSON answers hold.
pub(super) fn write_text(kind: Kind, text: &str, out: &mut Vec<u8>) -> Written {
    if text.is_empty() {
        return null(out);
    }
    match kind {
        Kind::Id | Kind::Text | Kind::Name => {
            string(text, out);
            Ok(())
        }
        Kind::Integer => integer(text, out),
        Kind::Decimal => decimal(text, out),
        Kind::Boolean => boolean(text, out),
        Kind::Date => date(text, out),
        Kind::DateTime => date_time(text, out),
        Kind::MultiSelect | Kind::Names | Kind::Ids => list(text.split(';'), out),
        Kind::Json => json_text(text, out),
    }
}

fn unquote(json: &str) -> Result<Cow<'_, str>, ValueError> {
    if !json.contains('\\') {
        return Ok(Cow::Borrowed(&json[1..json.len() - 1]));
    }
    serde_json::from_str(json).map(Cow::Owned).map_err(|_| ValueError::new(json, "a JSON string"))
}

/// `null`: what Zoho leaves empty.
fn null(out: &mut Vec<u8>) -> Written {
    out.extend_from_slice(b"null");
    Ok(())
}

/// A JSON string, escaped as `serde_json` escapes: only what JSON requires.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    loop {
        let at = to_escape(bytes, start);
        out.extend_from_slice(&bytes[start..at]);
        match bytes.get(at) {
            Some(byte) => escape(*byte, out),
            None => break,
        }
        start = at + 1;
    }
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

/// A whole number; `7.0` is one, `7.5` is not.
fn integer(text: &str, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    decimal(text, out)?;
    if out[start..].contains(&b'.') {
        out.truncate(start);
        return Err(ValueError::new(text, "a whole number"));
    }
    Ok(())
}

/// A number in canonical text: `1.50` and `15e-1` are `1.5`, `-0.0` is `0`.
fn decimal(text: &str, out: &mut Vec<u8>) -> Written {
    if let Some((negative, whole, fraction)) = plain_digits(text.as_bytes()) {
        write_parts(negative, whole, fraction, out);
        return Ok(());
    }
    let number = Number::parse(text).ok_or_else(|| ValueError::new(text, "a number"))?;
    number.write(out);
    Ok(())
}

/// Sign, digits before and after the point, if that is all there is: the form of nearly every number.
fn plain_digits(text: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction = match &digits[whole..] {
        [] if whole > 0 => &[][..],
        [b'.', fraction @ ..] if whole > 0 && fraction.iter().all(u8::is_ascii_digit) => fraction,
        _ => return None,
    };
    Some((negative, &digits[..whole], fraction))
}

/// Whether this is a number in canonical text: the form that [`plain_decimal`] gives.
pub(super) fn is_canonical(text: &str, fraction: bool) -> bool {
    let Some((negative, whole, part)) = plain_digits(text.as_bytes()) else { return false };
    let is_zero = whole == b"0";
    let leads = is_zero || whole[0] != b'0';
    let ends = if part.is_empty() { !text.ends_with('.') } else { fraction && part.last() != Some(&b'0') };
    leads && ends && !(negative && is_zero && part.is_empty())
}

/// The canonical text of a number, for the way back to Zoho; none if it is no number.
pub fn plain_decimal(text: &str) -> Option<String> {
    let mut out = Vec::new();
    Number::parse(text)?.write(&mut out);
    String::from_utf8(out).ok()
}

/// A decimal number as its parts: sign, digits before and after the point, exponent.
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
}

impl<'a> Number<'a> {
    /// Largest exponent taken: Zoho's numbers have at most 16 digits before and 9 after the point
    /// ("Field Meta Data"), so anything larger is a mistake and would only blow up the text.
    const MAX_EXPONENT: i32 = 400;

    fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let sound = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
        let small = (-Self::MAX_EXPONENT..=Self::MAX_EXPONENT).contains(&exponent);
        (sound && small).then_some(Self { negative, whole, fraction, exponent })
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.exponent == 0 {
            return write_parts(self.negative, self.whole.as_bytes(), self.fraction.as_bytes(), out);
        }
        let mut digits = [self.whole.as_bytes(), self.fraction.as_bytes()].concat();
        let shift = self.exponent.unsigned_abs() as usize;
        let point = if self.exponent > 0 {
            let point = self.whole.len() + shift;
            digits.resize(digits.len().max(point), b'0');
            point
        } else {
            let missing = shift.saturating_sub(self.whole.len());
            digits.splice(0..0, std::iter::repeat_n(b'0', missing));
            self.whole.len() + missing - shift
        };
        write_parts(self.negative, &digits[..point], &digits[point..], out);
    }
}

fn write_parts(negative: bool, whole: &[u8], fraction: &[u8], out: &mut Vec<u8>) {
    let whole = &whole[whole.iter().position(|byte| *byte != b'0').unwrap_or(whole.len())..];
    let end = fraction.iter().rposition(|byte| *byte != b'0').map_or(0, |at| at + 1);
    let fraction = &fraction[..end];
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        out.push(b'-');
    }
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// `true` or `false`; other servers' bulk files may carry `1` and `0`.
fn boolean(text: &str, out: &mut Vec<u8>) -> Written {
    let json: &[u8] = match text {
        "true" | "TRUE" | "True" | "1" => b"true",
        "false" | "FALSE" | "False" | "0" => b"false",
        _ => return Err(ValueError::new(text, "`true` or `false`")),
    };
    out.extend_from_slice(json);
    Ok(())
}

/// A calendar date, as it is.
fn date(text: &str, out: &mut Vec<u8>) -> Written {
    if !is_date(text) {
        return Err(ValueError::new(text, "a date `YYYY-MM-DD`"));
    }
    string(text, out);
    Ok(())
}

/// An instant with any offset, as UTC to the second.
fn date_time(text: &str, out: &mut Vec<u8>) -> Written {
    const EXPECTED: &str = "a time `YYYY-MM-DDTHH:MM:SS+HH:MM`";
    let seconds = epoch_seconds(text).ok_or_else(|| ValueError::new(text, EXPECTED))?;
    out.push(b'"');
    write_utc(seconds, out);
    out.push(b'"');
    Ok(())
}

/// An array of strings; none at all is null, because an empty list is an empty cell elsewhere.
fn list<'a>(items: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    out.push(b'[');
    for item in items.filter(|item| !item.is_empty()) {
        if out.len() > start + 1 {
            out.push(b',');
        }
        string(item, out);
    }
    if out.len() == start + 1 {
        out.truncate(start);
        return null(out);
    }
    out.push(b']');
    Ok(())
}

/// JSON text without insignificant space; an empty array is null.
fn json_text(text: &str, out: &mut Vec<u8>) -> Written {
    let value: Value = serde_json::from_str(text).map_err(|_| ValueError::new(text, "JSON"))?;
    if value.as_array().is_some_and(Vec::is_empty) {
        return null(out);
    }
    out.extend_from_slice(value.to_string().as_bytes());
    Ok(())
}

/// A lookup is an object; the record form keeps its id, or its name where that is asked for.
fn object(kind: Kind, text: &str, out: &mut Vec<u8>) -> Written {
    let (key, expected) = match kind {
        Kind::Json => return json_text(text, out),
        // Servers that tell no names must not pass for records that have none.
        Kind::Name => ("name", "an object with a `name`"),
        _ => ("id", "an object with an `id`"),
    };
    let value: Value = serde_json::from_str(text).map_err(|_| ValueError::new(text, "a JSON object"))?;
    match value.get(key) {
        Some(Value::Null) => null(out),
        Some(part) => match plain(part) {
            Some(part) if part.is_empty() => null(out),
            Some(part) => {
                string(&part, out);
                Ok(())
            }
            None => Err(ValueError::new(text, expected)),
        },
        None => Err(ValueError::new(text, expected)),
    }
}

fn array(kind: Kind, text: &str, out: &mut Vec<u8>) -> Written {
    let key = match kind {
        Kind::Json => return json_text(text, out),
        Kind::Ids => "id",
        _ => "name",
    };
    let items: Vec<Value> = serde_json::from_str(text).map_err(|_| ValueError::new(text, "a JSON array"))?;
    let items: Option<Vec<Cow<'_, str>>> =
        items.iter().map(|item| plain(item.get(key).unwrap_or(item))).collect();
    let items = items.ok_or_else(|| ValueError::new(text, "an array of names or ids"))?;
    list(items.iter().map(AsRef::as_ref), out)
}

/// The text of a string or a number.
fn plain(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell(kind: Kind, text: &str) -> String {
        let mut out = Vec::new();
        match write_cell(kind, text.as_bytes(), &mut out) {
            Ok(()) => String::from_utf8(out).expect("JSON is UTF-8"),
            Err(error) => error.to_string(),
        }
    }

    fn json(kind: Kind, text: &str) -> String {
        let mut out = Vec::new();
        match write_json(kind, text, &mut out) {
            Ok(()) => String::from_utf8(out).expect("JSON is UTF-8"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn decimals_have_one_text() {
        let cases = [
            ("1.50", "1.5"),
            ("12", "12"),
            ("-0.00", "0"),
            (".5", "0.5"),
            ("5.", "5"),
            ("007", "7"),
            ("1.5E+3", "1500"),
            ("15e-1", "1.5"),
            ("1e-7", "0.0000001"),
            ("-1E2", "-100"),
            ("9999999999999999.999999999", "9999999999999999.999999999"),
        ];
        for (text, expected) in cases {
            assert_eq!(cell(Kind::Decimal, text), expected, "{text}");
            assert_eq!(json(Kind::Decimal, &format!("\"{text}\"")), expected, "{text}");
        }
        assert_eq!(cell(Kind::Decimal, "12,50"), "`12,50` is not a number");
        assert_eq!(cell(Kind::Integer, "7.5"), "`7.5` is not a whole number");
    }

    #[test]
    fn instants_are_utc_across_offsets() {
        assert_eq!(cell(Kind::DateTime, "2026-03-01T09:30:00+11:00"), "\"2026-02-28T22:30:00Z\"");
        assert_eq!(json(Kind::DateTime, "\"2026-12-31T23:59:59-08:00\""), "\"2027-01-01T07:59:59Z\"");
        assert_eq!(
            cell(Kind::DateTime, "2026-02-29T00:00:00Z"),
            "`2026-02-29T00:00:00Z` is not a time `YYYY-MM-DDTHH:MM:SS+HH:MM`"
        );
    }

    #[test]
    fn a_value_is_the_same_from_a_cell_and_from_json() {
        let same = [
            (Kind::Text, "a \"b\"\n\u{1}é", r#""a \"b\"\n\u0001é""#),
            (Kind::Id, "4876000000331007", r#"{"id":"4876000000331007","name":"Acme"}"#),
            (Kind::MultiSelect, "A;B c", r#"["A","B c"]"#),
            (Kind::Name, "Acme \"Ltd\"", r#"{"id":"1","name":"Acme \"Ltd\""}"#),
            (Kind::Name, "", r#"{"id":"1","name":null}"#),
            (Kind::Names, "VIP;Cold", r#"[{"name":"VIP","id":"1"},{"name":"Cold","id":"2"}]"#),
            (Kind::Boolean, "true", "true"),
            (Kind::Integer, "7", "7"),
            (Kind::Text, "", "null"),
            (Kind::MultiSelect, "", "[]"),
            (Kind::Date, "2026-03-01", "\"2026-03-01\""),
        ];
        for (kind, csv, other) in same {
            assert_eq!(cell(kind, csv), json(kind, other), "{kind:?} {csv}");
        }
    }

    #[test]
    fn a_server_that_tells_no_name_is_not_believed() {
        assert_eq!(json(Kind::Name, "null"), "null");
        assert_eq!(json(Kind::Name, r#"{"id":"1"}"#), r#"`{"id":"1"}` is not an object with a `name`"#);
        assert_eq!(json(Kind::Name, "\"1\""), "`\"1\"` is not an object with a `name`");
    }

    proptest! {
        #[test]
        fn strings_are_escaped_as_serde_json_does(text in any::<String>()) {
            let mut out = Vec::new();
            string(&text, &mut out);
            prop_assert_eq!(out, serde_json::to_vec(&text).expect("a string serializes"));
        }

        #[test]
        fn any_text_is_taken_or_refused_never_a_panic(text in any::<String>(), kind in 0usize..11) {
            let kinds = [Kind::Id, Kind::Text, Kind::Integer, Kind::Decimal, Kind::Boolean, Kind::Date,
                Kind::DateTime, Kind::MultiSelect, Kind::Names, Kind::Ids, Kind::Json];
            prop_assert!(!cell(kinds[kind], &text).is_empty());
        }
    }
}
