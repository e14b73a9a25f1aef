//! JSON values to CSV cells, straight into the file: what every row of a bulk write passes through.
//!
//! A value in the form in which nearly all come is copied; any other takes the way by
//! [`Kind::write_record`] and [`Kind::write_cell`], which say what a field can hold and what it becomes.
//! Tests hold the short way against the long one.

use super::bytes::to_quote;
use super::encode::{Kind, Mismatch, NotInCsv, utc_seconds};
use super::json::{Items, Members, plain_string};
use super::time::is_date;
use super::value::is_canonical;
use serde_json::value::RawValue;

/// Why a value is not written into a cell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// The field cannot hold it.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// No cell can say it.
    #[error(transparent)]
    NotInCsv(#[from] NotInCsv),
}

/// Appends a cell with this text, in quotes where it needs them (RFC 4180).
#[inline]
pub fn push_cell(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if to_quote(bytes, 0) == bytes.len() {
        return out.extend_from_slice(bytes);
    }
    out.push(b'"');
    for (number, part) in bytes.split(|byte| *byte == b'"').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part);
    }
    out.push(b'"');
}

impl Kind {
    /// Appends the CSV cell for a value of any tap, given as JSON text.
    ///
    /// # Errors
    /// [`CellError`]; `out` is then unchanged.
    #[inline]
    pub fn write_csv(self, json: &str, out: &mut Vec<u8>) -> Result<(), CellError> {
        if json == "null" || self.copy(json, out).is_some() {
            return Ok(());
        }
        self.convert(json, out)
    }

    /// Appends the CSV cell for a value in the form of [`Kind::write_record`], given as JSON text.
    ///
    /// # Errors
    /// [`NotInCsv`], as [`Kind::write_cell`]; `out` is then unchanged.
    #[inline]
    pub fn write_record_csv(self, record: &str, out: &mut Vec<u8>) -> Result<(), NotInCsv> {
        // An offset that was written once stays as it is.
        let instant = (self == Self::DateTime).then(|| plain_string(record)).flatten();
        if let Some(text) = instant {
            push_cell(text, out);
            return Ok(());
        }
        if record == "null" || self.copy(record, out).is_some() {
            return Ok(());
        }
        let raw: &RawValue = serde_json::from_str(record).map_err(|_| NotInCsv)?;
        let mut cell = String::new();
        self.write_cell(raw, &mut cell)?;
        push_cell(&cell, out);
        Ok(())
    }

    /// The short way; none when the value is not in the form that nearly all have.
    #[inline]
    fn copy(self, json: &str, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Text => push_cell(plain_string(json)?, out),
            Self::Integer | Self::Decimal if is_canonical(json, self == Self::Decimal) => {
                out.extend_from_slice(json.as_bytes());
            }
            Self::Boolean if matches!(json, "true" | "false") => out.extend_from_slice(json.as_bytes()),
            Self::Date => {
                let day = plain_string(json).filter(|day| is_date(day))?;
                out.extend_from_slice(day.as_bytes());
            }
            Self::DateTime => {
                out.extend_from_slice(plain_string(json).and_then(utc_seconds)?.as_bytes());
                out.extend_from_slice(b"+00:00");
            }
            Self::Lookup => {
                let id = match json.as_bytes().first()? {
                    b'{' => Members::of(json).find(|(key, _)| *key == "id")?.1,
                    _ => json,
                };
                let id = plain_string(id)
                    .filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))?;
                out.extend_from_slice(id.as_bytes());
            }
            Self::MultiSelect => return copy_options(json, out),
            Self::Integer | Self::BigInteger | Self::Decimal | Self::Boolean | Self::Nested => return None,
        }
        Some(())
    }

    /// The long way.
    #[cold]
    fn convert(self, json: &str, out: &mut Vec<u8>) -> Result<(), CellError> {
        let mismatch = || Mismatch { found: json.to_owned(), expected: self.expected() };
        let value = serde_json::from_str(json).map_err(|_| mismatch())?;
        let mut record = String::new();
        self.write_record(&value, &mut record)?;
        Ok(self.write_record_csv(&record, out)?)
    }
}

fn copy_options(json: &str, out: &mut Vec<u8>) -> Option<()> {
    let option = |item| plain_string(item).filter(|option| to_quote(option.as_bytes(), 0) == option.len());
    if !json.starts_with('[') {
        return None;
    }
    let start = out.len();
    for (number, item) in Items::of(json).enumerate() {
        match option(item).filter(|option| !option.contains(';')) {
            Some(option) => {
                if number > 0 {
                    out.push(b';');
                }
                out.extend_from_slice(option.as_bytes());
            }
            None => {
                out.truncate(start);
                return None;
            }
        }
    }
    Some(())
}

/// Writes the rows of one CSV file from records whose members come in any order.
#[derive(Debug, Clone)]
pub struct CsvEncoder {
    columns: Vec<(String, Kind)>,
}

/// A value that a column cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("`{column}`: {source}")]
pub struct EncodeError {
    /// The column.
    pub column: String,
    /// Why.
    pub source: CellError,
}

impl CsvEncoder {
    /// An encoder of these columns, each the name of a member.
    pub fn new(columns: impl IntoIterator<Item = (String, Kind)>) -> Self {
        Self { columns: columns.into_iter().collect() }
    }

    /// Appends the header.
    pub fn header(&self, out: &mut Vec<u8>) {
        for (number, (name, _)) in self.columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            push_cell(name, out);
        }
        out.push(b'\n');
    }

    /// Appends the row of a record, of which `get` gives members as JSON text; what it lacks is an empty
    /// cell.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then unchanged.
    pub fn row<'a>(
        &self,
        mut get: impl FnMut(&str) -> Option<&'a str>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        for (number, (name, kind)) in self.columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            if let Err(source) = get(name).map_or(Ok(()), |value| kind.write_csv(value, out)) {
                out.truncate(start);
                return Err(EncodeError { column: name.clone(), source });
            }
        }
        out.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    pub(in crate::codec) const KINDS: [Kind; 10] = [
        Kind::Text,
        Kind::Integer,
        Kind::BigInteger,
        Kind::Decimal,
        Kind::Boolean,
        Kind::Date,
        Kind::DateTime,
        Kind::MultiSelect,
        Kind::Lookup,
        Kind::Nested,
    ];

    /// By a tree, two texts and the csv crate.
    fn slow(kind: Kind, json: &str) -> Option<String> {
        let mut record = String::new();
        kind.write_record(&serde_json::from_str(json).ok()?, &mut record).ok()?;
        let mut cell = String::new();
        kind.write_cell(&RawValue::from_string(record).ok()?, &mut cell).ok()?;
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["", &cell]).ok()?;
        let line = String::from_utf8(csv.into_inner().ok()?).ok()?;
        Some(line[1..line.len() - 1].to_owned())
    }

    fn fast(kind: Kind, json: &str) -> Option<String> {
        let mut out = Vec::new();
        kind.write_csv(json, &mut out).ok()?;
        Some(String::from_utf8(out).expect("UTF-8"))
    }

    pub(in crate::codec) fn any_value() -> impl Strategy<Value = String> {
        let text = |text: String| Value::from(text).to_string();
        prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<String>().prop_map(text),
            "[ -~é\n\r\t\",;]{0,12}".prop_map(text),
            "-?[0-9]{1,3}(\\.[0-9]{1,3})?".prop_map(text),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?(e[0-9])?",
            "[12][0-9]{3}-[01][0-9]-[0-3][0-9]".prop_map(text),
            "[12][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](Z|[+]0[0-9]:30|)"
                .prop_map(text),
            proptest::collection::vec("[a-c;, \"\\\\]{0,3}", 0..3)
                .prop_map(|items| Value::from(items).to_string()),
            Just("[\"a\", \"\\u0062\\/\"]".to_owned()),
            "[0-9]{0,4}".prop_map(|id| serde_json::json!({"name": "x", "id": id}).to_string()),
        ]
    }

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_one_says(json in any_value()) {
            for kind in KINDS {
                prop_assert_eq!(fast(kind, &json), slow(kind, &json), "{:?} {}", kind, json);
            }
        }
    }

    #[test]
    fn members_come_in_any_order() {
        let encoder = CsvEncoder::new([
            ("a".to_owned(), Kind::Text),
            ("b".to_owned(), Kind::Integer),
            ("c".to_owned(), Kind::Text),
        ]);
        let mut out = Vec::new();
        encoder.header(&mut out);
        let get = |object: &'static str| {
            move |name: &str| Members::of(object).find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        for object in [r#"{"a":"x, y","b":1,"c":null}"#, r#"{ "c" : "z" , "d":[{}], "b":"2" }"#, "{}"] {
            encoder.row(get(object), &mut out).expect("fits");
        }
        let error = encoder.row(get(r#"{"b":"x"}"#), &mut out).expect_err("no number");
        assert_eq!(error.to_string(), "`b`: \"x\" is not a whole number");
        assert_eq!(String::from_utf8_lossy(&out), "a,b,c\n\"x, y\",1,\n,2,z\n,,\n");
    }
}
