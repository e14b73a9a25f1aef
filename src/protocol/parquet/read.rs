//! Rows of a parquet file as lines of JSON.
//!
//! Decimals keep their digits, dates and instants become texts as JSON Schema's formats have them, bytes have to be
//! UTF-8. A row group is read page by page. The parquet crate panics on some damage; that is caught and is an
//! error like any other, because a thread that dies in silence would look like the end of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use ::parquet::data_type::Decimal;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta};
use num_bigint::BigInt;
use serde_json::{Map, Number, Value};

use super::broken;

/// The rows of a file, as lines.
///
/// # Errors
/// When its end, which describes it, is not there or cannot be read.
pub fn lines(file: File) -> io::Result<Lines> {
    let open = || -> Result<_, ::parquet::errors::ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        let about = reader.metadata().file_metadata();
        let expected = u64::try_from(about.num_rows()).unwrap_or(u64::MAX);
        let meanings = meanings(about.schema_descr().root_schema());
        Ok(Lines {
            rows: RowIter::from_file_into(Box::new(reader)),
            meanings,
            expected,
            line: Vec::new(),
            at: 0,
        })
    };
    careful(open)?.map_err(broken)
}

/// Runs what may panic on damaged bytes.
fn careful<T>(act: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| broken("the bytes are no parquet"))
}

/// Lines of JSON out of a parquet file.
pub struct Lines {
    rows: RowIter<'static>,
    meanings: HashMap<String, Meaning>,
    /// Rows that are still to come.
    expected: u64,
    line: Vec<u8>,
    at: usize,
}

/// What a column of the first level means, where its values do not tell.
#[derive(Clone, Copy)]
enum Meaning {
    /// A JSON document as text.
    Json,
    /// An instant as an integer, in so many parts of a second, with a zone or without.
    Instant(i64, bool),
}

fn meanings(root: &Type) -> HashMap<String, Meaning> {
    let of = |column: &Type| match column.get_basic_info().logical_type_ref() {
        Some(LogicalType::Json) => Some(Meaning::Json),
        Some(LogicalType::Timestamp(timestamp)) => {
            let parts = match timestamp.unit {
                TimeUnit::MILLIS => 1_000,
                TimeUnit::MICROS => 1_000_000,
                TimeUnit::NANOS => 1_000_000_000,
            };
            Some(Meaning::Instant(parts, timestamp.is_adjusted_to_u_t_c))
        }
        _ => (column.get_basic_info().converted_type() == ConvertedType::JSON).then_some(Meaning::Json),
    };
    let columns = root.get_fields().iter();
    columns.filter_map(|column| Some((column.name().to_owned(), of(column)?))).collect()
}

impl Lines {
    /// Makes the next line; whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let rows = &mut self.rows;
        let Some(row) = careful(|| rows.next())? else {
            return match self.expected {
                0 => Ok(false),
                missing => Err(broken(format!("{missing} rows are missing"))),
            };
        };
        self.expected =
            self.expected.checked_sub(1).ok_or_else(|| broken("there are more rows than the file says"))?;
        let row = object(row.map_err(broken)?, &self.meanings)?;
        self.line.clear();
        self.at = 0;
        serde_json::to_writer(&mut self.line, &row).map_err(broken)?;
        self.line.push(b'\n');
        Ok(true)
    }
}

impl BufRead for Lines {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.line.len() && !self.advance()? {
            self.line.clear();
            self.at = 0;
        }
        Ok(&self.line[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Lines {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(out)?;
        self.consume(taken);
        Ok(taken)
    }
}

fn object(row: Row, meanings: &HashMap<String, Meaning>) -> io::Result<Value> {
    let mut object = Map::new();
    for (name, field) in row.into_columns() {
        let value = match (meanings.get(&name), field) {
            (Some(Meaning::Json), Field::Str(text)) => serde_json::from_str(&text).map_err(broken)?,
            (Some(Meaning::Instant(parts, zoned)), Field::Long(count)) => instant(count, *parts, *zoned)?,
            (Some(Meaning::Instant(_, zoned)), Field::TimestampMillis(count)) => {
                instant(count, 1_000, *zoned)?
            }
            (Some(Meaning::Instant(_, zoned)), Field::TimestampMicros(count)) => {
                instant(count, 1_000_000, *zoned)?
            }
            (_, field) => value(field)?,
        };
        object.insert(name, value);
    }
    Ok(Value::Object(object))
}

fn value(field: Field) -> io::Result<Value> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => float(value.to_f64())?,
        // By its own shortest text, not by that of the double.
        Field::Float(value) => number(&value.to_string())?,
        Field::Double(value) => float(value)?,
        Field::Decimal(decimal) => number(&digits(&decimal))?,
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).map_err(broken)?.into(),
        Field::Date(days) => date(days)?,
        Field::TimeMillis(count) => time(i64::from(count) * 1_000)?,
        Field::TimeMicros(count) => time(count)?,
        Field::TimestampMillis(count) => instant(count, 1_000, true)?,
        Field::TimestampMicros(count) => instant(count, 1_000_000, true)?,
        Field::Group(row) => object(row, &HashMap::new())?,
        Field::ListInternal(list) => {
            list.elements().iter().cloned().map(value).collect::<io::Result<Vec<_>>>()?.into()
        }
        Field::MapInternal(map) => {
            let mut object = Map::new();
            for (key, field) in map.entries() {
                let key = match value(key.clone())? {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                object.insert(key, value(field.clone())?);
            }
            Value::Object(object)
        }
    })
}

fn float(value: f64) -> io::Result<Value> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| broken(format!("{value} is no number in JSON")))
}

fn number(text: &str) -> io::Result<Value> {
    text.parse().map(Value::Number).map_err(|_| broken(format!("{text} is no number in JSON")))
}

/// A decimal in its shortest text: no zeros at the end, no exponent.
fn digits(decimal: &Decimal) -> String {
    let unscaled = BigInt::from_signed_bytes_be(decimal.data());
    let places = usize::try_from(decimal.scale()).unwrap_or_default();
    let sign = if unscaled.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.magnitude().to_string(), width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let part = part.trim_end_matches('0');
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

fn date(days: i32) -> io::Result<Value> {
    let date = NaiveDate::from_ymd_opt(1970, 1, 1)
        .and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(days.into())));
    date.map(|date| date.to_string().into()).ok_or_else(|| broken(format!("{days} days are no date")))
}

fn time(micros: i64) -> io::Result<Value> {
    let seconds = u32::try_from(micros / 1_000_000).ok();
    let rest = u32::try_from(micros % 1_000_000 * 1_000).ok();
    let time = seconds.zip(rest).and_then(|(s, rest)| NaiveTime::from_num_seconds_from_midnight_opt(s, rest));
    time.map(|time| time.to_string().into()).ok_or_else(|| broken(format!("{micros} µs are no time")))
}

fn instant(count: i64, parts: i64, zoned: bool) -> io::Result<Value> {
    let rest = u32::try_from(count.rem_euclid(parts) * (1_000_000_000 / parts)).unwrap_or_default();
    let instant = DateTime::from_timestamp(count.div_euclid(parts), rest)
        .ok_or_else(|| broken(format!("{count} is no instant")))?;
    let text = instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Ok(if zoned { text.into() } else { text.trim_end_matches('Z').into() })
}
