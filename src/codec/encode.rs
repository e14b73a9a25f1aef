//! JSON values of a source to what Zoho takes: the JSON of a record call, the cell of a bulk write CSV.
//!
//! There are two steps. [`Kind::write_record`] brings a value of any tap into the one JSON form that a
//! record call takes for the field's data type, or says why it cannot; [`Kind::write_cell`] turns that
//! form into a CSV cell. Numbers are handled as text from end to end. Lengths, ranges and mandatory
//! fields are not checked here. Follows the v8 pages "Fields Metadata" (values by data type) and "Bulk
//! Write" (CSV rules, `format` of dates).

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::bytes::to_escape;
use super::time::{epoch_seconds, is_date};
use super::value::{is_canonical, plain_decimal};
use crate::zoho::types::{DataType, Field};

/// How the values of a field are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Any text, a picklist option included.
    Text,
    /// A whole number.
    Integer,
    /// A whole number that records write as a string.
    BigInteger,
    /// A decimal number.
    Decimal,
    /// True or false.
    Boolean,
    /// A calendar day.
    Date,
    /// An instant.
    DateTime,
    /// A list of options.
    MultiSelect,
    /// The id of another record or of a user.
    Lookup,
    /// Anything only a record call can carry: subform rows, files, territories.
    Nested,
}

/// A value that the field cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not {expected}")]
pub struct Mismatch {
    /// The value, as JSON.
    pub found: String,
    /// What the field takes.
    pub expected: &'static str,
}

/// A value that no CSV cell can carry; the row has to go by a record call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value does not fit into a CSV cell")]
pub struct NotInCsv;

/// The `format` that bulk write needs for the dates we send.
pub const DATE_FORMAT: &str = "yyyy-MM-dd";

/// The `format` that bulk write needs for the instants we send, the offset included.
pub const DATE_TIME_FORMAT: &str = "yyyy-MM-dd'T'HH:mm:ssXXX";

impl Kind {
    /// The kind for a field of Zoho.
    pub fn of(field: &Field) -> Self {
        match &field.data_type {
            DataType::Integer => Self::Integer,
            DataType::BigInt => Self::BigInteger,
            DataType::Double | DataType::Currency | DataType::Percent => Self::Decimal,
            DataType::Boolean => Self::Boolean,
            DataType::Date => Self::Date,
            DataType::DateTime => Self::DateTime,
            DataType::MultiSelectPicklist => Self::MultiSelect,
            DataType::Lookup
            | DataType::OwnerLookup
            | DataType::UserLookup
            | DataType::Layout
            | DataType::ConsentLookup
            | DataType::MultiModuleLookup => Self::Lookup,
            DataType::MultiSelectLookup
            | DataType::MultiUserLookup
            | DataType::Subform
            | DataType::FileUpload
            | DataType::ImageUpload
            | DataType::Territories => Self::Nested,
            _ if field.json_type == "jsonarray" || field.json_type == "jsonobject" => Self::Nested,
            _ => Self::Text,
        }
    }

    /// What an error message calls a good value.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer | Self::BigInteger => "a whole number",
            Self::Decimal => "a decimal number",
            Self::Boolean => "true or false",
            Self::Date => "a date like 2026-03-01",
            Self::DateTime => "a date and time like 2026-03-01T09:30:00+02:00",
            Self::MultiSelect => "a list of texts",
            Self::Lookup => "a record id",
            Self::Nested => "a list or an object",
        }
    }

    /// Whether queries write the values without quotes.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::BigInteger | Self::Decimal)
    }

    /// The `format` that a bulk write mapping needs, for the kinds that need one.
    pub fn bulk_format(self) -> Option<&'static str> {
        match self {
            Self::Date => Some(DATE_FORMAT),
            Self::DateTime => Some(DATE_TIME_FORMAT),
            _ => None,
        }
    }

    /// Appends the JSON that a record call takes for `value`; null stays null.
    ///
    /// # Errors
    /// [`Mismatch`] when the field cannot hold the value; `out` is then unchanged.
    pub fn write_record(self, value: &Value, out: &mut String) -> Result<(), Mismatch> {
        if value.is_null() {
            out.push_str("null");
            return Ok(());
        }
        let written = match self {
            Self::Text => text_of(value).map(|text| push_string(&text, out)),
            Self::Integer => text_of(value).and_then(whole).map(|text| out.push_str(&text)),
            Self::BigInteger => text_of(value).and_then(whole).map(|text| push_string(&text, out)),
            Self::Decimal => text_of(value).and_then(decimal).map(|text| out.push_str(&text)),
            Self::Boolean => boolean(value).map(|text| out.push_str(text)),
            Self::Date => value.as_str().and_then(date).map(|text| push_string(&text, out)),
            Self::DateTime => value.as_str().and_then(|text| push_instant(text, out)),
            Self::MultiSelect => options(value).map(|options| push_json(&Value::from(options), out)),
            Self::Lookup => lookup_id(value).map(|id| {
                out.push_str("{\"id\":");
                push_string(&id, out);
                out.push('}');
            }),
            Self::Nested => (value.is_array() || value.is_object()).then(|| push_json(value, out)),
        };
        written.ok_or_else(|| Mismatch { found: value.to_string(), expected: self.expected() })
    }

    /// Appends the CSV cell for a value in the form of [`Kind::write_record`].
    ///
    /// Null is the empty cell, which clears the field where `ignore_empty` is false.
    ///
    /// # Errors
    /// [`NotInCsv`] for nested values, and for an option that contains the separator.
    pub fn write_cell(self, record: &RawValue, out: &mut String) -> Result<(), NotInCsv> {
        let text = record.get();
        if text == "null" {
            return Ok(());
        }
        match self {
            Self::Integer | Self::Decimal | Self::Boolean => out.push_str(text),
            Self::Text | Self::BigInteger | Self::Date | Self::DateTime => out.push_str(&string(text)?),
            Self::Lookup => {
                let value: Value = serde_json::from_str(text).map_err(|_| NotInCsv)?;
                out.push_str(value["id"].as_str().ok_or(NotInCsv)?);
            }
            Self::MultiSelect => {
                let options: Vec<String> = serde_json::from_str(text).map_err(|_| NotInCsv)?;
                if options.iter().any(|option| option.contains(';')) {
                    return Err(NotInCsv);
                }
                out.push_str(&options.join(";"));
            }
            Self::Nested => return Err(NotInCsv),
        }
        Ok(())
    }
}

fn string(json: &str) -> Result<String, NotInCsv> {
    serde_json::from_str(json).map_err(|_| NotInCsv)
}

/// The text of a string, number or boolean.
pub fn scalar(value: &Value) -> Option<String> {
    text_of(value).map(Cow::into_owned)
}

fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Borrowed(number.as_str())),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        _ => None,
    }
}

/// Appends a text as a JSON string, escaped as `serde_json` escapes: only what JSON requires.
pub fn push_string(text: &str, out: &mut String) {
    out.push('"');
    let mut start = 0;
    loop {
        let at = to_escape(text.as_bytes(), start);
        out.push_str(&text[start..at]);
        let Some(byte) = text.as_bytes().get(at) else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            _ => {
                let escaped = Value::from(&text[at..=at]).to_string();
                out.push_str(escaped.trim_matches('"'));
            }
        }
        start = at + 1;
    }
    out.push('"');
}

fn push_json(value: &Value, out: &mut String) {
    write!(out, "{value}").expect("writing to a String cannot fail");
}

fn decimal(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if is_canonical(&text, true) { Some(text) } else { plain_decimal(&text).map(Cow::Owned) }
}

fn whole(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if is_canonical(&text, false) {
        return Some(text);
    }
    let plain = plain_decimal(text.trim())?;
    let digits = plain.strip_prefix('-').unwrap_or(&plain);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(Cow::Owned(plain))
}

fn boolean(value: &Value) -> Option<&'static str> {
    if let Value::Bool(flag) = value {
        return Some(if *flag { "true" } else { "false" });
    }
    match scalar(value)?.to_ascii_lowercase().as_str() {
        "true" | "1" => Some("true"),
        "false" | "0" => Some("false"),
        _ => None,
    }
}

/// A day; an instant counts when it is midnight, the form in which database taps write days.
fn date(text: &str) -> Option<Cow<'_, str>> {
    if is_date(text) {
        return Some(Cow::Borrowed(text));
    }
    let text = text.trim();
    let (day, rest) = text.split_at_checked(10)?;
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    let midnight = rest.is_empty()
        || naive(text)
            .or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.naive_local()))
            == day.and_hms_opt(0, 0, 0);
    midnight.then(|| Cow::Owned(day.format("%Y-%m-%d").to_string()))
}

/// Appends an instant as a JSON string.
fn push_instant(text: &str, out: &mut String) -> Option<()> {
    match utc_seconds(text) {
        Some(seconds) => ["\"", seconds, "+00:00\""].iter().for_each(|part| out.push_str(part)),
        None => push_string(&instant(text)?, out),
    }
    Some(())
}

/// The part before the `Z` of an instant in the form that our tap and most others write.
pub(super) fn utc_seconds(text: &str) -> Option<&str> {
    let seconds = text.strip_suffix('Z').filter(|seconds| seconds.len() == 19)?;
    // A leap second is for the calendar of the long way.
    let sound = seconds.as_bytes()[10] == b'T' && &seconds[17..] != "60" && epoch_seconds(text).is_some();
    sound.then_some(seconds)
}

/// An instant with its offset, to the second, Zoho's resolution. Without an offset it is UTC.
fn instant(text: &str) -> Option<String> {
    let text = text.trim();
    let instant = DateTime::parse_from_rfc3339(text)
        .ok()
        .or_else(|| naive(text).map(|naive| naive.and_utc().fixed_offset()))
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(day.and_hms_opt(0, 0, 0)?.and_utc().fixed_offset())
        })?;
    Some(instant.to_rfc3339_opts(SecondsFormat::Secs, false))
}

fn naive(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

/// A list of options; a text with semicolons is one too, since exports write lists that way.
fn options(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        Value::String(text) => Some(
            text.split(';').map(str::trim).filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        ),
        _ => None,
    }
}

/// A record id given bare, as our tap does, or as Zoho's object.
fn lookup_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::Object(object) => scalar(object.get("id")?)?,
        other => scalar(other)?,
    };
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: Kind, json: &str) -> Result<String, Mismatch> {
        let mut out = String::new();
        kind.write_record(&serde_json::from_str(json).unwrap(), &mut out).map(|()| out)
    }

    fn cell(kind: Kind, json: &str) -> Result<String, NotInCsv> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        let mut out = String::new();
        kind.write_cell(&raw, &mut out).map(|()| out)
    }

    #[test]
    fn record_forms() {
        for (kind, from, to) in [
            (Kind::Text, "7", "\"7\""),
            (Kind::Integer, "\"12\"", "12"),
            (Kind::Integer, "12.0", "12"),
            (Kind::BigInteger, "9007199254740993", "\"9007199254740993\""),
            (Kind::Decimal, "12.50", "12.5"),
            (Kind::Decimal, "1.5e3", "1500"),
            (Kind::Decimal, "123456789012345678.123456789", "123456789012345678.123456789"),
            (Kind::Boolean, "\"TRUE\"", "true"),
            (Kind::Date, "\"1996-07-04T00:00:00+00:00\"", "\"1996-07-04\""),
            (Kind::DateTime, "\"2026-03-01T09:30:00Z\"", "\"2026-03-01T09:30:00+00:00\""),
            (Kind::DateTime, "\"2026-03-01T09:30:00.123+11:00\"", "\"2026-03-01T09:30:00+11:00\""),
            (Kind::DateTime, "\"2026-03-01\"", "\"2026-03-01T00:00:00+00:00\""),
            (Kind::MultiSelect, "\"A; B\"", "[\"A\",\"B\"]"),
            (Kind::Lookup, "\"4876\"", "{\"id\":\"4876\"}"),
            (Kind::Lookup, "{\"id\":\"1\",\"name\":\"x\"}", "{\"id\":\"1\"}"),
            (Kind::Integer, "null", "null"),
        ] {
            assert_eq!(record(kind, from).as_deref(), Ok(to), "{kind:?} {from}");
        }
    }

    #[test]
    fn what_a_field_cannot_hold() {
        for (kind, from) in [
            (Kind::Integer, "1.5"),
            (Kind::Integer, "\"x\""),
            (Kind::Decimal, "\"12,50\""),
            (Kind::Boolean, "2"),
            (Kind::Date, "\"2026-02-30\""),
            (Kind::Date, "\"2026-02-20T12:00:00Z\""),
            (Kind::DateTime, "\"yesterday\""),
            (Kind::Lookup, "\"ALFKI\""),
            (Kind::Text, "[1]"),
            (Kind::Nested, "1"),
        ] {
            assert!(record(kind, from).is_err(), "{kind:?} {from}");
        }
    }

    #[test]
    fn cells() {
        assert_eq!(cell(Kind::Lookup, "{\"id\":\"4876\"}").as_deref(), Ok("4876"));
        assert_eq!(cell(Kind::MultiSelect, "[\"A\",\"B\"]").as_deref(), Ok("A;B"));
        assert_eq!(cell(Kind::MultiSelect, "[\"A;B\"]"), Err(NotInCsv));
        assert_eq!(cell(Kind::Text, "null").as_deref(), Ok(""));
        assert_eq!(cell(Kind::Text, "\"a \\\"b\\\"\\n\\u00e9\"").as_deref(), Ok("a \"b\"\né"));
    }

    proptest! {
        #[test]
        fn a_plain_decimal_is_the_same_number(whole in 0u64..1_000_000, fraction in "[0-9]{0,6}", exponent in -8i32..8) {
            let text = format!("{whole}.{fraction}0e{exponent}");
            let plain = plain_decimal(&text).unwrap();
            prop_assert!(!plain.contains('e'));
            let (a, b): (f64, f64) = (text.parse().unwrap(), plain.parse().unwrap());
            prop_assert!((a - b).abs() <= a.abs() * 1e-12);
            prop_assert_eq!(plain_decimal(&plain), Some(plain.clone()));
        }

        #[test]
        fn any_text_survives_record_cell_and_csv(text in "[ -~éß漢\n\r\t\",;]{0,40}") {
            let mut json = String::new();
            Kind::Text.write_record(&Value::from(text.as_str()), &mut json).unwrap();
            let cell = cell(Kind::Text, &json).unwrap();
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record([cell.as_str(), "next"]).unwrap();
            let bytes = csv.into_inner().unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes.as_slice());
            let row = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(&row[0], text.as_str());
        }
    }
}
