//! Writing at full size: memory of a bulk load, rejected rows mended, lookups of the second pass.

use crate::Part;
use crate::common::bosses::{self, bosses_survive};
use crate::common::context::TestContext;
use crate::common::process::{command, fed};
use crate::common::retry::mended_rows_arrive;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;
use zoho_crm_connector::emulator::Options;

/// Rows of the load, fields of each, and rows of a batch.
const ROWS: u64 = 1_000_000;
const FIELDS: usize = 40;
const BATCH: u64 = 25_000;
/// The peak allowed. Unit: KiB of resident memory.
const PEAK: u64 = 200 * 1_024;

/// Everything about writing that is in no other file.
pub fn parts() -> Vec<Part> {
    let mut parts =
        vec![Part::new("memory of a load, 1,000,000 rows of 40 fields", 240, |seed| load(seed, ROWS))];
    for method in ["records", "bulk"] {
        parts.push(Part::new(format!("mended rejects through retry, {method}"), 60, move |seed| {
            let rounds = mended_rows_arrive(seed, 20_000, method);
            format!("20,000 rows, every one there once after {rounds} rounds of retry")
        }));
        for operation in ["insert", "upsert"] {
            let name = format!("lookups killed between two passes, {operation} by {method}");
            parts.push(Part::new(name, 300, move |seed| {
                let case = bosses::Case { seed, rows: 10_000, kills: 30, operation, method };
                format!(
                    "30 kills in {} runs, 10,000 people: all report to whom they should",
                    bosses_survive(case)
                )
            }));
        }
    }
    parts
}

/// A load by bulk jobs into an organisation that keeps nothing: what the target itself takes.
fn load(seed: u64, rows: u64) -> String {
    let names: Vec<String> = (0..FIELDS - 2).map(|n| format!("Field_{n}")).collect();
    let text = |name: &str, unique: bool| json!({"api_name": name, "data_type": "text", "length": 100, "unique": unique, "custom": true});
    let mut fields: Vec<Value> = names.iter().map(|name| text(name, false)).collect();
    fields.push(text("Key", true));
    let context = TestContext::with(|options: &mut Options| {
        options.seed = seed;
        options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": fields}]}));
        options.limits.off = true;
        options.blind_writes = true;
    });
    let mut mapping = json!({"id": "Key", "name": "Last_Name"});
    names.iter().for_each(|name| mapping[name] = json!(name));
    context.settings_with(
        "config.json",
        &json!({"method": "bulk", "batch_rows": BATCH,
            "streams": {"people": {"module": "Contacts", "match_on": ["Key"], "operation": "upsert", "fields": mapping}}}),
    );
    let run = fed(command(&context, "target-zoho-crm", &["--config", "config.json"]), move |input| {
        write_rows(input, &names, rows).expect("the target reads all");
    });
    assert!(run.good, "{}", run.said);
    let results = fs::read_dir(context.path("state/results")).expect("results").next().expect("a file");
    let results = BufReader::new(fs::File::open(results.expect("reads").path()).expect("opens"));
    assert_eq!(results.lines().count() as u64, rows, "one RESULT per row");
    assert!(run.peak < PEAK, "{} KiB at {rows} rows", run.peak);
    format!(
        "peak {} MiB; microseconds per row by quarter: {}",
        run.peak / 1_024,
        quarters(&run.lines, rows).join(", ")
    )
}

/// A SCHEMA, rows, and a STATE behind every batch of them.
fn write_rows(input: &mut dyn Write, names: &[String], rows: u64) -> std::io::Result<()> {
    let mut properties = json!({"id": {"type": "string"}, "name": {"type": "string"}});
    names.iter().for_each(|name| properties[name] = json!({"type": ["null", "string"]}));
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
        "schema": {"type": "object", "properties": properties}});
    writeln!(input, "{schema}")?;
    for row in 0..rows {
        write!(
            input,
            "{{\"type\":\"RECORD\",\"stream\":\"people\",\"record\":{{\"id\":\"k{row}\",\"name\":\"Name {row}\""
        )?;
        for (place, name) in names.iter().enumerate() {
            write!(input, ",\"{name}\":\"value {place} of {row}\"")?;
        }
        writeln!(input, "}}}}")?;
        if (row + 1) % BATCH == 0 || row + 1 == rows {
            writeln!(input, "{{\"type\":\"STATE\",\"value\":{{\"at\":{}}}}}", row + 1)?;
        }
    }
    input.flush()
}

/// Time per row between the STATEs that end the quarters.
fn quarters(lines: &[(Duration, String)], rows: u64) -> Vec<String> {
    let at =
        |line: &str| serde_json::from_str::<Value>(line).expect("a STATE")["at"].as_u64().expect("a number");
    let mut last = (Duration::ZERO, 0);
    let mut told = Vec::new();
    for quarter in 1..=4 {
        let Some((time, line)) = lines.iter().find(|(_, line)| at(line) * 4 >= rows * quarter) else {
            continue;
        };
        let (took, count) = (*time - last.0, at(line) - last.1);
        if count > 0 {
            told.push(format!("{:.1}", took.as_secs_f64() * 1e6 / count as f64));
        }
        last = (*time, at(line));
    }
    told
}
