//! The codec in rows per second and bytes per second: `make bench`.
//!
//! The file is made from a seed: 20,000 rows of 12 mixed columns, as Bulk Read writes them.

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use zoho_crm_connector::codec::archive::CsvArchive;
use zoho_crm_connector::codec::archive_write::{CsvZipWriter, Level};
use zoho_crm_connector::codec::decode::{CsvDecoder, JsonDecoder};
use zoho_crm_connector::codec::encode;
use zoho_crm_connector::codec::encode_csv::CsvEncoder;
use zoho_crm_connector::codec::plan::{Column, RecordPlan};
use zoho_crm_connector::codec::value::Kind;
use zoho_crm_connector::target::record::{Keys, RecordLine};

/// The target's, see `cli/memory.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: u64 = 20_000;

fn plan() -> RecordPlan {
    let columns = [
        ("id", Kind::Id),
        ("Last_Name", Kind::Text),
        ("Company", Kind::Text),
        ("Email", Kind::Text),
        ("Owner", Kind::Id),
        ("Annual_Revenue", Kind::Decimal),
        ("No_of_Employees", Kind::Integer),
        ("Email_Opt_Out", Kind::Boolean),
        ("Interests", Kind::MultiSelect),
        ("Birthday", Kind::Date),
        ("Description", Kind::Text),
        ("Modified_Time", Kind::DateTime),
    ];
    RecordPlan::new(columns.map(|(name, kind)| Column::new(name, kind)))
}

fn csv() -> String {
    let mut random = fastrand::Rng::with_seed(1);
    let names: Vec<String> = plan().columns.into_iter().map(|column| column.name).collect();
    let mut csv = names.join(",").replacen("id", "Id", 1) + "\n";
    for row in 0..ROWS {
        writeln!(
            csv,
            "{},Ng{},\"Müller, Söhne & \"\"Co\"\" {}\",a{row}@example.test,4876000000000225013,{}.{:02}0,{},{},Red;Blue,20{:02}-03-{:02},\"line {}\nline two\",2026-{:02}-{:02}T{:02}:30:00+11:00",
            4_876_000_001_000_000_000 + row * 7,
            random.u32(..),
            random.u16(..),
            random.u32(..1_000_000),
            random.u8(..100),
            random.u16(..),
            random.bool(),
            random.u8(10..30),
            random.u8(10..28),
            random.u64(..),
            random.u8(1..=12),
            random.u8(1..=28),
            random.u8(..24),
        )
        .expect("a String takes all");
    }
    csv
}

fn decode(input: impl std::io::Read, plan: &RecordPlan, out: &mut Vec<u8>) -> u64 {
    let mut decoder = CsvDecoder::new(input, plan).expect("has a header");
    while decoder.advance().expect("is CSV") {
        out.clear();
        decoder.write(out).expect("is of its types");
    }
    decoder.row_number()
}

fn benches(criterion: &mut Criterion) {
    let (csv, plan) = (csv(), plan());
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("csv to records, rows", |bench| {
        bench.iter(|| decode(black_box(csv.as_bytes()), &plan, &mut out));
    });
    group.throughput(Throughput::Bytes(csv.len() as u64));
    group.bench_function("csv to records, bytes of CSV", |bench| {
        bench.iter(|| decode(black_box(csv.as_bytes()), &plan, &mut out));
    });
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut zip = zip::ZipWriter::new(file.reopen().expect("reopens"));
    zip.start_file("1.csv", zip::write::SimpleFileOptions::default()).expect("starts");
    zip.write_all(csv.as_bytes()).expect("writes");
    zip.finish().expect("finishes");
    group.bench_function("zip to records, bytes of CSV", |bench| {
        bench.iter(|| {
            let mut archive = CsvArchive::open(file.path()).expect("opens");
            let input = archive.csv().expect("has a file");
            decode(input, &plan, &mut out)
        });
    });
    group.finish();
    json(criterion, &csv, &plan);
}

/// The same rows as the records API gives them.
fn json(criterion: &mut Criterion, csv: &str, plan: &RecordPlan) {
    let mut decoder = CsvDecoder::new(csv.as_bytes(), plan).expect("has a header");
    let mut elements: Vec<Box<RawValue>> = Vec::new();
    while decoder.advance().expect("is CSV") {
        let mut record = Vec::new();
        decoder.write(&mut record).expect("is of its types");
        let record = String::from_utf8(record).expect("is UTF-8");
        elements.push(RawValue::from_string(record).expect("is JSON"));
    }
    let decoder = JsonDecoder::new(plan);
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("answers to records, rows", |bench| {
        bench.iter(|| {
            for (row, element) in (1..).zip(&elements) {
                out.clear();
                decoder.write(row, black_box(element), &mut out).expect("is of its types");
            }
        });
    });
    group.finish();
    write(criterion, &elements, plan);
}

/// The same rows back: RECORD lines to CSV, and to the zip of an upload.
fn write(criterion: &mut Criterion, elements: &[Box<RawValue>], plan: &RecordPlan) {
    let line =
        |record: &RawValue| format!("{{\"type\":\"RECORD\",\"stream\":\"Leads\",\"record\":{record}}}");
    let lines: Vec<String> = elements.iter().map(|record| line(record)).collect();
    let encoder =
        CsvEncoder::new(plan.columns.iter().map(|column| (column.name.clone(), written(column.kind))));
    let encode = |out: &mut Vec<u8>| {
        let mut keys = Keys::default();
        for line in &lines {
            let row = RecordLine::read(black_box(line.as_bytes())).expect("a RECORD");
            let record = row.record(&mut keys).expect("an object");
            encoder.row(|name| record.get(name), out).expect("fits");
        }
    };
    let mut out = Vec::new();
    encode(&mut out);
    let mut group = criterion.benchmark_group("encode");
    for (name, throughput) in
        [("rows", Throughput::Elements(ROWS)), ("bytes of CSV", Throughput::Bytes(out.len() as u64))]
    {
        group.throughput(throughput);
        group.bench_function(format!("records to csv, {name}"), |bench| {
            bench.iter(|| {
                out.clear();
                encode(&mut out);
            });
        });
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    for level in [1, 6] {
        group.bench_function(format!("records to zip at level {level}, bytes of CSV"), |bench| {
            bench.iter(|| {
                let mut zip = CsvZipWriter::new(file.path(), "1.csv", &[], Level::new(level), out.len());
                encode(zip.csv());
                zip.finish().expect("writes")
            });
        });
    }
    group.finish();
}

/// How the values that are read as this kind are written.
fn written(kind: Kind) -> encode::Kind {
    match kind {
        Kind::Integer => encode::Kind::Integer,
        Kind::Decimal => encode::Kind::Decimal,
        Kind::Boolean => encode::Kind::Boolean,
        Kind::Date => encode::Kind::Date,
        Kind::DateTime => encode::Kind::DateTime,
        Kind::MultiSelect => encode::Kind::MultiSelect,
        _ => encode::Kind::Text,
    }
}

criterion_group!(all, benches);
criterion_main!(all);
