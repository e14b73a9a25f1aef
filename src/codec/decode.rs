//! The two ways into a record: rows of a bulk file and JSON objects of the records API and COQL.
//!
//! One pass, reused buffers: a row's JSON is written straight into one buffer that the caller hands
//! on. `decode_slow` does the same by way of `serde_json::Value` and is held against this in tests.

use super::plan::{Column, MissingColumn, RecordPlan};
use super::split::{SplitError, Splitter};
use super::value::ValueError;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::ops::Range;

/// Why a file or an answer could not be turned into records.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not CSV, or reading them failed (a damaged archive shows here).
    #[error("row {row} cannot be read")]
    Csv {
        /// Number of the row, the first after the header being 1.
        row: u64,
        /// What is wrong with it.
        #[source]
        source: SplitError,
    },
    /// The header lacks a field that was asked for.
    #[error(transparent)]
    MissingColumn(#[from] MissingColumn),
    /// A value is not of its field's type.
    #[error("row {row}, field `{field}`")]
    Value {
        /// Number of the row, the first after the header being 1; for JSON the place in the answer.
        row: u64,
        /// The field's API name.
        field: String,
        /// What was found and what is allowed.
        #[source]
        source: ValueError,
    },
    /// An element of the answer is not a JSON object.
    #[error("record {row} of the answer is no JSON object")]
    Json {
        /// The place in the answer, from 1.
        row: u64,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads the rows of a bulk file one after another.
pub struct CsvDecoder<R> {
    splitter: Splitter<R>,
    plan: RecordPlan,
    cells: Vec<usize>,
    rows: u64,
}

impl<R: Read> CsvDecoder<R> {
    /// Reads the header and binds the plan to it.
    ///
    /// # Errors
    /// When there is no header or it lacks a column.
    pub fn new(input: R, plan: &RecordPlan) -> Result<Self, DecodeError> {
        let mut splitter = Splitter::new(input);
        splitter.advance().map_err(|source| DecodeError::Csv { row: 0, source })?;
        let header: Vec<_> = splitter.cells().map(String::from_utf8_lossy).collect();
        let cells = plan.cells(&header.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        Ok(Self { splitter, plan: plan.clone(), cells, rows: 0 })
    }

    /// Goes to the next row; false at the end of the file.
    ///
    /// # Errors
    /// When the file is cut or not CSV.
    pub fn advance(&mut self) -> Result<bool, DecodeError> {
        let more = self.splitter.advance();
        let more = more.map_err(|source| DecodeError::Csv { row: self.rows + 1, source })?;
        self.rows += u64::from(more);
        Ok(more)
    }

    /// Number of the current row, the first being 1.
    pub fn row_number(&self) -> u64 {
        self.rows
    }

    /// The raw cell of the plan's column at `position` in the current row.
    pub fn cell(&self, position: usize) -> &[u8] {
        self.splitter.cell(self.cells[position]).unwrap_or_default()
    }

    /// Appends the current row's record to `out`.
    ///
    /// # Errors
    /// When a value is not of its field's type.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        // Looked at once for all cells; a row that is not UTF-8 is looked at cell by cell, for the error.
        let row = std::str::from_utf8(self.splitter.row());
        let places = self.splitter.places();
        let mut separator = b'{';
        for (column, cell) in self.plan.columns.iter().zip(&self.cells) {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(&column.key);
            let text =
                row.as_ref().ok().zip(places.get(*cell)).and_then(|(row, place)| row.get(place.clone()));
            let written = match text {
                Some(text) => column.write_text(text, out),
                None => column.write_cell(self.splitter.cell(*cell).unwrap_or_default(), out),
            };
            written.map_err(|source| self.wrong(column, source))?;
        }
        out.push(b'}');
        Ok(())
    }

    /// What the rows were read from.
    pub fn into_input(self) -> R {
        self.splitter.into_input()
    }

    #[cold]
    fn wrong(&self, column: &Column, source: ValueError) -> DecodeError {
        DecodeError::Value { row: self.rows, field: column.name.clone(), source }
    }
}

/// Turns JSON objects of the records API and COQL into records.
pub struct JsonDecoder {
    plan: RecordPlan,
    fields: Fields,
}

impl JsonDecoder {
    /// A decoder for this plan.
    pub fn new(plan: &RecordPlan) -> Self {
        Self { plan: plan.clone(), fields: Fields::new(&plan.columns) }
    }

    /// Appends the record of one element of an answer to `out`; `row` is its place there, from 1.
    /// A field that the answer leaves out is null.
    ///
    /// # Errors
    /// When the element is no object, or a value is not of its field's type.
    pub fn write(&self, row: u64, element: &RawValue, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut found = Vec::new();
        self.fields.find(element.get(), &mut found).map_err(|source| DecodeError::Json { row, source })?;
        let mut separator = b'{';
        for (column, place) in self.plan.columns.iter().zip(&self.fields.places) {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(&column.key);
            let value = found[*place].clone().map_or("null", |range| &element.get()[range]);
            column.write_json(value, out).map_err(|source| DecodeError::Value {
                row,
                field: column.name.clone(),
                source,
            })?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Where in its text the value of a field stands; none when the object leaves it out.
pub(super) type Found = Vec<Option<Range<usize>>>;

/// Finds the fields of some columns in JSON objects. Several columns may be parts of one field.
pub(super) struct Fields {
    by_name: HashMap<String, usize>,
    /// For each column the place of its field in what is found.
    pub(super) places: Vec<usize>,
}

impl Fields {
    pub(super) fn new(columns: &[Column]) -> Self {
        let mut by_name = HashMap::new();
        let mut places = Vec::new();
        for column in columns {
            let next = by_name.len();
            places.push(*by_name.entry(column.field.clone()).or_insert(next));
        }
        Self { by_name, places }
    }

    /// Notes where the fields stand in `object`, unparsed.
    pub(super) fn find(&self, object: &str, found: &mut Found) -> Result<(), serde_json::Error> {
        found.clear();
        found.resize(self.by_name.len(), None);
        let mut json = serde_json::Deserializer::from_str(object);
        Finding { fields: self, start: object.as_ptr() as usize, found }.deserialize(&mut json)
    }
}

struct Finding<'f> {
    fields: &'f Fields,
    /// Address of the object's text, which its borrowed values lie in.
    start: usize,
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for Finding<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Finding<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match self.fields.by_name.get(key.as_ref()) {
                Some(&at) => {
                    let value: &RawValue = map.next_value()?;
                    let from = value.get().as_ptr() as usize - self.start;
                    self.found[at] = Some(from..from + value.get().len());
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A property name, borrowed unless it holds escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::super::decode_slow;
    use super::super::plan::Column;
    use super::super::value::Kind;
    use super::*;
    use proptest::prelude::*;

    fn plan() -> RecordPlan {
        RecordPlan::new([
            Column::new("id", Kind::Id),
            Column::new("Name", Kind::Text),
            Column::new("Amount", Kind::Decimal),
            Column::new("Count", Kind::Integer),
            Column::new("Open", Kind::Boolean),
            Column::new("Day", Kind::Date),
            Column::new("Modified_Time", Kind::DateTime),
            Column::new("Tags", Kind::MultiSelect),
        ])
    }

    fn fast(csv: &[u8]) -> Result<Vec<String>, String> {
        let chain = |error: DecodeError| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        };
        let mut decoder = CsvDecoder::new(csv, &plan()).map_err(chain)?;
        let mut rows = Vec::new();
        while decoder.advance().map_err(chain)? {
            let mut out = Vec::new();
            decoder.write(&mut out).map_err(chain)?;
            rows.push(String::from_utf8(out).expect("JSON is UTF-8"));
        }
        Ok(rows)
    }

    #[test]
    fn a_row_and_an_object_give_the_same_record() {
        let csv = "Id,Name,Amount,Count,Open,Day,Modified_Time,Tags\n\
                   4876000000000001,\"Ng, \"\"A\"\"\n2\",1.50,7,true,2026-03-01,2026-03-01T09:30:00+11:00,A;B\n";
        let json = r#"{"Name":"Ng, \"A\"\n2","Amount":1.5,"$editable":true,"Count":7,"Open":true,
            "Day":"2026-03-01","Tags":["A","B"],"Modified_Time":"2026-03-01T07:30:00+09:00",
            "id":"4876000000000001"}"#;
        let raw = RawValue::from_string(json.to_owned()).expect("valid JSON");
        let mut out = Vec::new();
        JsonDecoder::new(&plan()).write(1, &raw, &mut out).expect("decodes");
        assert_eq!(fast(csv.as_bytes()), Ok(vec![String::from_utf8(out).expect("UTF-8")]));
    }

    #[test]
    fn a_bad_value_names_row_and_field() {
        let csv = "Id,Name,Amount,Count,Open,Day,Modified_Time,Tags\n1,a,x,,,,,\n";
        assert_eq!(fast(csv.as_bytes()), Err("row 1, field `Amount`: `x` is not a number".to_owned()));
    }

    fn rows() -> impl Strategy<Value = Vec<[String; 8]>> {
        let number =
            (any::<i32>(), 0u32..1_000_000_000).prop_map(|(whole, part)| format!("{whole}.{part:09}"));
        let offset = prop_oneof![Just("+11:00"), Just("-03:30"), Just("Z"), Just("+00:00")];
        let instant = (0i64..4_000_000_000, offset).prop_map(|(seconds, offset)| {
            let local = chrono::DateTime::from_timestamp(seconds, 0).expect("in range");
            format!("{}{offset}", local.format("%Y-%m-%dT%H:%M:%S"))
        });
        let row = (any::<u64>(), any::<String>(), number, any::<i32>(), any::<bool>(), instant);
        let row = row.prop_map(|(id, name, amount, count, open, instant)| {
            let tags = name.replace(char::is_control, ";");
            let day = instant[..10].to_owned();
            [id.to_string(), name, amount, count.to_string(), open.to_string(), day, instant, tags]
        });
        proptest::collection::vec(row, 0..20)
    }

    proptest! {
        #[test]
        fn the_fast_decoder_agrees_with_the_slow_one(rows in rows()) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(plan().columns.iter().map(|column| &column.name)).expect("writes");
            for row in &rows {
                writer.write_record(row).expect("writes");
            }
            let csv = writer.into_inner().expect("flushes");
            prop_assert_eq!(fast(&csv), decode_slow::records(&csv, &plan()));
        }
    }
}
