//! The oracle of the decoders: the obvious way, by `serde_json::Value`, `chrono` and plain string
//! work, sharing nothing with `value.rs` but the names of the kinds. Tests only.

use super::plan::RecordPlan;
use super::value::Kind;
use serde_json::{Map, Number, Value};

/// The records of a CSV file as JSON texts, or a message.
pub(super) fn records(csv: &[u8], plan: &RecordPlan) -> Result<Vec<String>, String> {
    let mut reader = csv::Reader::from_reader(csv);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut records = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        let mut record = Map::new();
        for column in &plan.columns {
            let at =
                header.iter().position(|name| name == column.cell || name == "Id" && column.cell == "id");
            let cell = &row[at.ok_or("missing column")?];
            record.insert(column.name.clone(), value(column.kind, cell)?);
        }
        records.push(Value::Object(record).to_string());
    }
    Ok(records)
}

fn value(kind: Kind, cell: &str) -> Result<Value, String> {
    if cell.is_empty() {
        return Ok(Value::Null);
    }
    let bad = || format!("bad {kind:?}: {cell}");
    Ok(match kind {
        Kind::Id | Kind::Text | Kind::Name | Kind::Date => Value::from(cell),
        Kind::Integer | Kind::Decimal => Value::Number(canonical(cell).parse::<Number>().map_err(|_| bad())?),
        Kind::Boolean => Value::from(cell.parse::<bool>().map_err(|_| bad())?),
        Kind::DateTime => {
            let instant = chrono::DateTime::parse_from_rfc3339(cell).map_err(|_| bad())?;
            Value::from(instant.to_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string())
        }
        Kind::MultiSelect | Kind::Names | Kind::Ids => {
            let items: Vec<&str> = cell.split(';').filter(|item| !item.is_empty()).collect();
            if items.is_empty() { Value::Null } else { Value::from(items) }
        }
        Kind::Json => serde_json::from_str(cell).map_err(|_| bad())?,
    })
}

/// Plain decimals only: the generator of the property test makes no exponents.
fn canonical(text: &str) -> String {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}
