//! Parquet for batch files, both directions, behind the feature `parquet`.
//!
//! Rows come and go as lines of JSON, so that nothing else knows of columns. Only the plain parquet crate is used,
//! without arrow: rows are few at a time here, and the tree of crates stays small. Follows the Apache Parquet
//! format's page "Logical Types".
//!
//! A column has no "absent": a property that a row lacks is read back as null.

mod read;
mod write;

pub use read::lines;
pub use write::ParquetWriter;

use std::io;

/// Trouble of the parquet crate as trouble with a file.
fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
    use ::parquet::data_type::Int64Type;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::types::Type;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::fs::File;
    use std::io::{BufWriter, Read};
    use std::sync::Arc;

    fn schema() -> Value {
        json!({"properties": {
            "id": {"type": "string"},
            "flag": {"type": ["null", "boolean"]},
            "count": {"type": ["null", "integer"]},
            "amount": {"type": ["null", "number"]},
            "at": {"type": ["null", "string"], "format": "date-time"},
            "tags": {"type": ["null", "array"], "items": {"type": "string"}},
            "lines": {"type": ["null", "array"]},
            "any": {}}})
    }

    fn there_and_back(rows: &[Value], gzip: bool) -> io::Result<Vec<Value>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.parquet");
        let mut writer = ParquetWriter::new(BufWriter::new(File::create(&path)?), &schema(), gzip)?;
        for row in rows {
            writer.write(format!("{row}\n").as_bytes())?;
        }
        writer.finish()?.into_inner()?.sync_all()?;
        let mut text = String::new();
        lines(File::open(&path)?)?.read_to_string(&mut text)?;
        Ok(text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
    }

    #[test]
    fn values_come_back_as_they_were() {
        let rows = vec![
            json!({"id": "4876", "flag": true, "count": -3, "amount": 12.5, "at": "2026-03-01T00:00:00Z",
                "tags": ["a", "é"], "lines": [{"n": 1.10}, null], "any": {"b": [1]}}),
            json!({"id": "4877", "flag": null, "count": null, "amount": null, "at": null, "tags": null,
                "lines": null, "any": null}),
            json!({"id": "", "flag": false, "count": 9_007_199_254_740_993_i64, "amount": -0.015625, "at": "x",
                "tags": [], "lines": [], "any": "text"}),
        ];
        for gzip in [true, false] {
            assert_eq!(there_and_back(&rows, gzip).unwrap(), rows);
        }
        assert_eq!(there_and_back(&[], false).unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn decimals_keep_every_digit() {
        let row: Value =
            serde_json::from_str(r#"{"amount": 1234567890123456789.012345678901234567}"#).unwrap();
        assert_eq!(there_and_back(std::slice::from_ref(&row), false).unwrap()[0]["amount"], row["amount"]);
        let row: Value = serde_json::from_str(r#"{"amount": 0.0000000000000000001}"#).unwrap();
        let error = there_and_back(&[row], false).unwrap_err().to_string();
        assert!(error.contains("`amount`") && error.contains("0.0000000000000000001"), "{error}");
        let error = there_and_back(&[json!({"count": 1.5})], false).unwrap_err().to_string();
        assert!(error.contains("`count`"), "{error}");
    }

    #[test]
    fn many_rows_are_several_row_groups() {
        let rows: Vec<Value> = (0..9_000)
            .map(|n| {
                json!({"id": n.to_string(), "flag": null, "count": n, "amount": null, "at": null,
                    "tags": vec!["x"; n % 3], "lines": null, "any": null})
            })
            .collect();
        assert_eq!(there_and_back(&rows, true).unwrap(), rows);
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let mut writer =
            ParquetWriter::new(BufWriter::new(File::create(&path).unwrap()), &schema(), true).unwrap();
        for n in 0..500 {
            writer.write(format!("{}\n", json!({"id": format!("row {n} {}", n * n)})).as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner().unwrap().sync_all().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| -> io::Result<String> {
            std::fs::write(&path, bytes)?;
            let mut text = String::new();
            lines(File::open(&path)?)?.read_to_string(&mut text)?;
            Ok(text)
        };
        assert_eq!(read(&whole).unwrap().lines().count(), 500);
        for cut in [4, whole.len() / 2, whole.len() - 1] {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        flipped[60] ^= 0xff;
        assert!(read(&flipped).is_err());
    }

    /// A file as others write them: one column of this meaning.
    fn other(logical: LogicalType, values: &[i64]) -> io::Result<String> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.parquet");
        let at = Type::primitive_type_builder("at", Physical::INT64)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(logical))
            .build()
            .unwrap();
        let root = Type::group_type_builder("schema").with_fields(vec![Arc::new(at)]).build().unwrap();
        let mut file =
            SerializedFileWriter::new(File::create(&path)?, Arc::new(root), Default::default()).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(values, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        let mut text = String::new();
        lines(File::open(&path)?)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn instants_of_other_writers_are_texts() {
        let timestamp = |is_adjusted_to_u_t_c, unit| {
            LogicalType::Timestamp(::parquet::basic::TimestampType { is_adjusted_to_u_t_c, unit })
        };
        let text = other(timestamp(true, TimeUnit::MICROS), &[1_772_323_200_500_000]).unwrap();
        assert_eq!(text, "{\"at\":\"2026-03-01T00:00:00.500Z\"}\n");
        let text = other(timestamp(false, TimeUnit::MILLIS), &[1_772_323_200_000]).unwrap();
        assert_eq!(text, "{\"at\":\"2026-03-01T00:00:00\"}\n", "an instant without a zone has none");
        let text = other(timestamp(true, TimeUnit::NANOS), &[1_772_323_200_000_000_001]).unwrap();
        assert_eq!(text, "{\"at\":\"2026-03-01T00:00:00.000000001Z\"}\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_rows_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), tail: bool) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.parquet");
            let mut file = [b"PAR1".to_vec(), bytes].concat();
            if tail {
                file.extend_from_slice(&[20, 0, 0, 0]);
                file.extend_from_slice(b"PAR1");
            }
            std::fs::write(&path, file).unwrap();
            let mut text = String::new();
            let read = lines(File::open(&path).unwrap()).and_then(|mut rows| rows.read_to_string(&mut text));
            prop_assert!(read.is_err() || text.is_empty());
        }
    }
}
