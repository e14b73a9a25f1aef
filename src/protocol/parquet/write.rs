//! Lines of JSON into a parquet file, by the SCHEMA of their stream.
//!
//! Texts, whole numbers, booleans and lists of texts are columns of their kinds. Numbers are decimals with 18
//! places, so that none goes through a float. Everything else is JSON as text, marked as such. Rows gather until
//! they are a row group.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::Arc;

use ::parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, Type as Physical};
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::broken;

/// Rows of a row group.
const GROUP_ROWS: usize = 4_000;

/// Bytes of JSON after which a row group is written, however few its rows.
const GROUP_BYTES: usize = 8 << 20;

/// Places of a decimal column: Zoho's numbers have 16 digits in all ("Field Meta Data").
const PLACES: usize = 18;

/// Bytes of a decimal with 38 digits.
const DECIMAL_BYTES: i32 = 16;

/// Grows a file.
pub struct ParquetWriter {
    file: SerializedFileWriter<BufWriter<File>>,
    columns: Vec<Column>,
    rows: Vec<Map<String, Value>>,
    bytes: usize,
}

struct Column {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    Number,
    Text,
    Texts,
    Json,
}

impl Kind {
    fn of(property: &Value) -> Self {
        match only_type(property) {
            Some("boolean") => Self::Boolean,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("string") => Self::Text,
            Some("array") if only_type(&property["items"]) == Some("string") => Self::Texts,
            _ => Self::Json,
        }
    }

    fn column(self, name: &str) -> Result<Type, ParquetError> {
        let primitive =
            |physical| Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        match self {
            Self::Boolean => primitive(Physical::BOOLEAN).build(),
            Self::Integer => primitive(Physical::INT64).build(),
            Self::Number => primitive(Physical::FIXED_LEN_BYTE_ARRAY)
                .with_length(DECIMAL_BYTES)
                .with_logical_type(Some(LogicalType::decimal(PLACES as i32, 38)))
                .with_precision(38)
                .with_scale(PLACES as i32)
                .build(),
            Self::Text => {
                primitive(Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)).build()
            }
            Self::Json => primitive(Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::Json)).build(),
            Self::Texts => list(name),
        }
    }
}

/// The one type that a property has besides null.
fn only_type(property: &Value) -> Option<&str> {
    match &property["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => {
            let mut names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.next().filter(|_| names.next().is_none())
        }
        _ => None,
    }
}

/// The three levels of a list of texts.
fn list(name: &str) -> Result<Type, ParquetError> {
    let element = Type::primitive_type_builder("element", Physical::BYTE_ARRAY)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(LogicalType::String))
        .build()?;
    let repeated = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![Arc::new(element)])
        .build()?;
    Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(repeated)])
        .build()
}

impl ParquetWriter {
    /// Begins a file whose rows have the properties of this SCHEMA.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(file: BufWriter<File>, schema: &Value, gzip: bool) -> io::Result<Self> {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let columns: Vec<Column> = properties
            .map(|(name, property)| Column { name: name.clone(), kind: Kind::of(property) })
            .collect();
        let fields = columns.iter().map(|column| column.kind.column(&column.name).map(Arc::new));
        let fields = fields.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let root = Type::group_type_builder("schema").with_fields(fields).build().map_err(broken)?;
        let compression =
            if gzip { Compression::GZIP(GzipLevel::default()) } else { Compression::UNCOMPRESSED };
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = SerializedFileWriter::new(file, Arc::new(root), Arc::new(properties)).map_err(broken)?;
        Ok(Self { file, columns, rows: Vec::new(), bytes: 0 })
    }

    /// Adds whole lines.
    ///
    /// # Errors
    /// When a row cannot be said in these columns, or the file cannot be written.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.rows.push(serde_json::from_slice(line).map_err(broken)?);
            self.bytes += line.len();
            if self.rows.len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When a row cannot be said in these columns, or the file cannot be written.
    pub fn finish(mut self) -> io::Result<BufWriter<File>> {
        self.end_group()?;
        self.file.into_inner().map_err(broken)
    }

    fn end_group(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(broken)?;
        for column in &self.columns {
            let values = rows.iter().map(|row| row.get(&column.name).unwrap_or(&Value::Null));
            let mut writer = group
                .next_column()
                .map_err(broken)?
                .ok_or_else(|| broken("the file has fewer columns than its schema"))?;
            column.write(&mut writer, values)?;
            writer.close().map_err(broken)?;
        }
        group.close().map_err(broken)?;
        Ok(())
    }
}

impl Column {
    fn write<'a>(
        &self,
        out: &mut SerializedColumnWriter<'_>,
        values: impl Iterator<Item = &'a Value>,
    ) -> io::Result<()> {
        let text = |value: &Value| value.as_str().map(|text| ByteArray::from(text.as_bytes().to_vec()));
        let written = match self.kind {
            Kind::Texts => return self.write_lists(out, values),
            Kind::Boolean => {
                let (found, levels) = self.found(values, Value::as_bool)?;
                out.typed::<BoolType>().write_batch(&found, Some(&levels), None)
            }
            Kind::Integer => {
                let (found, levels) = self.found(values, Value::as_i64)?;
                out.typed::<Int64Type>().write_batch(&found, Some(&levels), None)
            }
            Kind::Number => {
                let (found, levels) = self.found(values, |value| value.as_number().and_then(decimal))?;
                out.typed::<FixedLenByteArrayType>().write_batch(&found, Some(&levels), None)
            }
            Kind::Text => {
                let (found, levels) = self.found(values, text)?;
                out.typed::<ByteArrayType>().write_batch(&found, Some(&levels), None)
            }
            Kind::Json => {
                let (found, levels) =
                    self.found(values, |value| Some(ByteArray::from(value.to_string().into_bytes())))?;
                out.typed::<ByteArrayType>().write_batch(&found, Some(&levels), None)
            }
        };
        written.map(drop).map_err(broken)
    }

    /// The values that are not null, and a level for each row.
    fn found<'a, T>(
        &self,
        values: impl Iterator<Item = &'a Value>,
        take: impl Fn(&Value) -> Option<T>,
    ) -> io::Result<(Vec<T>, Vec<i16>)> {
        let (mut found, mut levels) = (Vec::new(), Vec::new());
        for value in values {
            levels.push(i16::from(!value.is_null()));
            if !value.is_null() {
                found.push(take(value).ok_or_else(|| self.refused(value))?);
            }
        }
        Ok((found, levels))
    }

    fn write_lists<'a>(
        &self,
        out: &mut SerializedColumnWriter<'_>,
        values: impl Iterator<Item = &'a Value>,
    ) -> io::Result<()> {
        let (mut found, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
        for value in values {
            let Value::Array(elements) = value else {
                if !value.is_null() {
                    return Err(self.refused(value));
                }
                levels.push(0);
                repeats.push(0);
                continue;
            };
            if elements.is_empty() {
                levels.push(1);
                repeats.push(0);
            }
            for (place, element) in elements.iter().enumerate() {
                repeats.push(i16::from(place > 0));
                levels.push(if element.is_null() { 2 } else { 3 });
                match element {
                    Value::Null => {}
                    Value::String(text) => found.push(ByteArray::from(text.as_bytes().to_vec())),
                    _ => return Err(self.refused(value)),
                }
            }
        }
        let written = out.typed::<ByteArrayType>().write_batch(&found, Some(&levels), Some(&repeats));
        written.map(drop).map_err(broken)
    }

    fn refused(&self, value: &Value) -> io::Error {
        let found = crate::protocol::message::shorten(&value.to_string());
        broken(format!("`{}` has {found}, which its column cannot hold", self.name))
    }
}

/// The unscaled value of a number, big-endian; nothing if it has more digits than the column.
fn decimal(number: &serde_json::Number) -> Option<FixedLenByteArray> {
    let text = number.to_string();
    let (sign, text) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = part.trim_end_matches('0');
    if part.len() > PLACES || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unscaled: i128 = format!("{whole}{part:0<PLACES$}").parse().ok()?;
    // 38 digits are less than what sixteen bytes hold.
    (unscaled < 10_i128.pow(38)).then(|| ByteArray::from((sign * unscaled).to_be_bytes().to_vec()).into())
}
