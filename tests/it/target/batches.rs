//! Rows in files that BATCH messages name.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use zoho_crm_connector::diagnostic::ErrorClass;

fn lines(rows: &[Value]) -> Vec<u8> {
    rows.iter().flat_map(|row| format!("{row}\n").into_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

/// A BATCH that names these files.
fn batch(stream: &str, encoding: Value, files: &[&Path]) -> String {
    let manifest: Vec<String> = files.iter().map(|file| format!("file://{}", file.display())).collect();
    let message = json!({"type": "BATCH", "stream": stream, "encoding": encoding, "manifest": manifest});
    format!("{message}\n")
}

fn gzipped(stream: &str, files: &[&Path]) -> String {
    batch(stream, json!({"format": "jsonl", "compression": "gzip"}), files)
}

fn plain(stream: &str, files: &[&Path]) -> String {
    batch(stream, json!({"format": "jsonl"}), files)
}

fn file(bed: &Bed, name: &str, bytes: &[u8]) -> PathBuf {
    let path = bed.folder.path().join(name);
    fs::write(&path, bytes).expect("writes");
    path
}

fn tasks(subjects: std::ops::Range<usize>) -> Vec<Value> {
    subjects.map(|number| json!({"Subject": format!("s{number}")})).collect()
}

async fn tasks_bed() -> Bed {
    let config =
        json!({"at_least_once": true, "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}});
    Bed::new(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_files_go_the_way_of_records() {
    let bed = Bed::new(json!({})).await;
    let rows: Vec<Value> = (0..9).map(contact).collect();
    let first = file(&bed, "first é.jsonl.gz", &gzip(&lines(&rows[1..4])));
    // Several members, as some writers make them.
    let second = file(&bed, "second.gz", &[gzip(&lines(&rows[4..5])), gzip(&lines(&rows[5..6]))].concat());
    let mut bytes = lines(&rows[6..8]);
    bytes.pop();
    let third = file(&bed, "third.jsonl", &bytes);
    let mut input = contacts(0..1);
    input += &state(1);
    input += &gzipped("Contacts", &[&first, &second]);
    input += &state(2);
    input += &plain("Contacts", &[&third]);
    input += &record("Contacts", rows[8].clone());
    input += &state(3);
    let (summary, states, results) = bed.written(input).await;
    assert_eq!(states.last().map(String::as_str), Some("{\"at\": 3}"));
    assert_eq!((summary.failed(), bed.rows("Contacts", "Email").await.len()), (0, 9));
    let places: Vec<(u64, Option<&str>, Option<u64>)> = results
        .iter()
        .map(|result| {
            let file = result["file"].as_str().and_then(|file| file.rsplit('/').next());
            (result["line"].as_u64().expect("a line"), file, result["file_line"].as_u64())
        })
        .collect();
    let wanted = [
        (2, None, None),
        (5, Some("first é.jsonl.gz"), Some(1)),
        (6, Some("first é.jsonl.gz"), Some(2)),
        (7, Some("first é.jsonl.gz"), Some(3)),
        (8, Some("second.gz"), Some(1)),
        (9, Some("second.gz"), Some(2)),
        (12, Some("third.jsonl"), Some(1)),
        (13, Some("third.jsonl"), Some(2)),
        (14, None, None),
    ];
    assert_eq!(places, wanted);
    let schema: Value =
        serde_json::from_str(include_str!("../../../schemas/result.json")).expect("the schema is JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    results.iter().for_each(|result| assert!(schema.is_valid(result), "{result}"));
    assert!(first.exists() && third.exists(), "who reads them deletes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_row_of_a_file_is_named_by_file_and_line() {
    let bed = Bed::new(json!({"max_rejected": 1})).await;
    let rows = [contact(1), json!({"Email": "c2@x.test", "Last_Name": "x".repeat(500)})];
    let path = file(&bed, "rows.jsonl", &lines(&rows));
    let (summary, _, results) = bed.written(contacts(0..0) + &plain("Contacts", &[&path]) + &state(1)).await;
    assert_eq!(summary.failed(), 1);
    assert_eq!((&results[1]["success"], &results[1]["file_line"]), (&json!(false), &json!(2)));
    let rejects = fs::read_to_string(summary.rejects.expect("a file")).expect("readable");
    let reason = rejects.lines().last().map(serde_json::from_str::<Value>).expect("a row").expect("JSON");
    assert_eq!(reason["record"]["_zoho_rejected"]["file"], json!(path.display().to_string()));
    assert_eq!(reason["record"]["_zoho_rejected"]["file_line"], 2);
}

/// What a file may come to, what is said, and how many of its ten rows can be read.
fn damages() -> Vec<(&'static str, Option<Vec<u8>>, &'static str, usize)> {
    let whole = lines(&tasks(10..20));
    let packed = gzip(&whole);
    let mut flipped = packed.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    let mut noise = lines(&tasks(10..13));
    noise.extend_from_slice(b"<html>\n");
    let mut list = lines(&tasks(10..12));
    list.extend_from_slice(b"[1]\n");
    vec![
        ("gone.gz", None, "which cannot be read: No such file", 0),
        ("empty.gz", Some(Vec::new()), "the file is empty", 0),
        ("cut.gz", Some(packed[..packed.len() - 3].to_vec()), "the file is cut off or damaged", 10),
        ("checksum.gz", Some(flipped), "the file is cut off or damaged", 10),
        ("other.gz", Some(b"PK\x03\x04 no gzip at all, but long enough".to_vec()), "line 1 of", 0),
        ("noise.gz", Some(gzip(&noise)), "line 4 of", 3),
        ("list.gz", Some(gzip(&list)), "line 3 of", 2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_costs_no_row() {
    for (name, damaged, said, readable) in damages() {
        let bed = tasks_bed().await;
        let first = file(&bed, "first.gz", &gzip(&lines(&tasks(0..10))));
        let second = bed.folder.path().join(name);
        if let Some(bytes) = damaged {
            fs::write(&second, bytes).expect("writes");
        }
        let head = schema("tasks", &[], &["Subject"]);
        let input = head.clone()
            + &gzipped("tasks", &[&first])
            + &state(1)
            + &gzipped("tasks", &[&second])
            + &state(2);
        let (ended, states) = bed.run(input).await;
        let error = ended.expect_err(name);
        let text = error.to_string();
        assert!(text.contains(said) && text.contains(name), "{name}: {text}");
        assert_eq!(error.class(), ErrorClass::Protocol, "{name}");
        assert!(error.hint().is_some_and(|hint| hint.contains("written and confirmed")), "{name}");
        assert_eq!(states, ["{\"at\": 1}"], "{name}: no STATE passes rows that were not read");
        assert_eq!(bed.rows("Tasks", "Subject").await.len(), 10 + readable, "{name}");
        // From that STATE on the tap writes other files, cut at other places.
        let third = file(&bed, "third.jsonl", &lines(&tasks(10..13)));
        let fourth = file(&bed, "fourth.gz", &gzip(&lines(&tasks(13..25))));
        let again = head + &plain("tasks", &[&third]) + &gzipped("tasks", &[&fourth]) + &state(2);
        let (_, states, results) = bed.written(again).await;
        assert_eq!(states.last().map(String::as_str), Some("{\"at\": 2}"), "{name}");
        let replayed = results.iter().filter(|result| result["replayed"] == true).count();
        assert_eq!(replayed, readable, "{name}: what was written is recognised in whichever file it comes");
        assert_eq!(bed.rows("Tasks", "Subject").await.len(), 25, "{name}: each row once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_stopped_run_left_keep_their_file_and_line() {
    let bed = Bed::with(json!({"method": "bulk"}), Options { job_ms: 60_000, ..Options::default() }).await;
    let rows: Vec<Value> = (0..40).map(contact).collect();
    let (first, second) = (lines(&rows[..25]), lines(&rows[25..]));
    let files = [file(&bed, "first.gz", &gzip(&first)), file(&bed, "second.gz", &gzip(&second))];
    let head = contacts(0..0);
    let input = head.clone() + &gzipped("Contacts", &[&files[0], &files[1]]) + &state(1);
    let stop = CancellationToken::new();
    let watch = async {
        while !super::crash::created(&bed).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let ((ended, states), ()) = tokio::join!(bed.run_until(input, stop.clone()), watch);
    assert_eq!(ended.expect_err("stopped").class(), ErrorClass::Interrupted);
    assert!(states.is_empty(), "no STATE before its rows");
    bed.zylker.advance(61);
    let all = file(&bed, "all.jsonl", &lines(&rows));
    let (_, states, results) = bed.written(head + &plain("Contacts", &[&all]) + &state(1)).await;
    assert_eq!(states, ["{\"at\": 1}"]);
    let place = |result: &Value| {
        let file = result["file"].as_str().and_then(|file| file.rsplit('/').next()).map(str::to_owned);
        (file.expect("a file"), result["file_line"].as_u64().expect("a line"))
    };
    let earlier: Vec<_> = results.iter().filter(|result| result["from_run"].is_string()).map(place).collect();
    let wanted = (1..=25).map(|line| ("first.gz".to_owned(), line));
    let wanted = wanted.chain((1..=15).map(|line| ("second.gz".to_owned(), line))).collect::<Vec<_>>();
    assert_eq!(earlier, wanted);
    let replayed: Vec<_> = results.iter().filter(|result| result["replayed"] == true).map(place).collect();
    assert_eq!(replayed, (1..=40).map(|line| ("all.jsonl".to_owned(), line)).collect::<Vec<_>>());
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 40);
}

/// The same rows in files of odd sizes, two of which a BATCH names.
fn in_files(bed: &Bed, text: String) -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let (mut out, mut rows) = (String::new(), Vec::new());
    let close = |rows: &mut Vec<Value>, out: &mut String| {
        for rows in std::mem::take(rows).chunks(58) {
            let (first, second) = rows.split_at(rows.len() / 2 + 1);
            let name = |part: &str| format!("{}-{part}.gz", MADE.fetch_add(1, Ordering::Relaxed));
            let files = [first, second]
                .map(|rows| (!rows.is_empty()).then(|| file(bed, &name("x"), &gzip(&lines(rows)))));
            let files: Vec<&Path> = files.iter().flatten().map(PathBuf::as_path).collect();
            out.push_str(&gzipped("feed", &files));
        }
    };
    for line in text.lines() {
        let message: Value = serde_json::from_str(line).expect("a message");
        if message["type"] == "RECORD" {
            rows.push(message["record"].clone());
        } else {
            close(&mut rows, &mut out);
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_runs_write_each_row_of_a_file_once() {
    for (seed, operation, method) in [(8, "upsert", "bulk"), (9, "insert", "records")] {
        super::crash::kill_and_resume(operation, method, seed, in_files).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_doubt_are_named_by_file_and_line() {
    let bed = tasks_bed().await;
    let path = file(&bed, "rows.jsonl", &lines(&tasks(0..2)));
    let fault = json!({"match": {"method": "POST", "path_contains": "/Tasks"}, "action": {"kind": "cut_after_execute"}});
    bed.fault(fault).await;
    let (ended, _) =
        bed.run(schema("tasks", &[], &["Subject"]) + &plain("tasks", &[&path]) + &state(1)).await;
    let text = ended.expect_err("in doubt").to_string();
    let path = path.display();
    assert!(text.contains(&format!("(line 1 of `{path}`; line 2 of `{path}`)")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said() {
    let bed = tasks_bed().await;
    let path = file(&bed, "rows.jsonl", &lines(&tasks(0..2)));
    let remote = plain("tasks", &[&path]).replace("file://", "s3://bucket");
    let cases = [
        (plain("tasks", &[&path]), "line 1 of stdin: BATCH of stream \"tasks\" comes before its SCHEMA"),
        (schema("tasks", &[], &["Subject"]) + &remote, "which is not a local file"),
        (
            schema("tasks", &[], &["Subject"]) + &batch("tasks", json!({"format": "csv"}), &[&path]),
            "should be `jsonl` (gzip or none) or `parquet`",
        ),
    ];
    for (input, said) in cases {
        let (ended, states) = bed.run(input).await;
        let error = ended.expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
        assert!(states.is_empty());
    }
    // A row is held against its SCHEMA as any other.
    let head =
        schema("tasks", &[], &["Subject"]).replace("\"Subject\":{}", "\"Subject\":{\"type\":\"integer\"}");
    let (ended, _) = bed.run(head + &plain("tasks", &[&path])).await;
    let text = ended.expect_err("a wrong row").to_string();
    assert!(text.starts_with(&format!("line 1 of `{}`: RECORD of stream", path.display())), "{text}");
}

#[cfg(feature = "parquet")]
#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_are_read_and_their_damage_is_noticed() {
    use zoho_crm_connector::protocol::parquet::ParquetWriter;
    let bed = tasks_bed().await;
    let path = bed.folder.path().join("rows.parquet");
    let described = json!({"properties": {"Subject": {"type": "string"}}});
    let out = std::io::BufWriter::new(fs::File::create(&path).expect("writes"));
    let mut writer = ParquetWriter::new(out, &described, true).expect("begins");
    writer.write(&lines(&tasks(0..20))).expect("writes");
    writer.finish().expect("ends").into_inner().expect("is on the disk");
    let head = schema("tasks", &[], &["Subject"]);
    let input = head.clone() + &batch("tasks", json!({"format": "parquet"}), &[&path]) + &state(1);
    let whole = fs::read(&path).expect("reads");
    fs::write(&path, &whole[..whole.len() - 5]).expect("writes");
    let (ended, states) = bed.run(input.clone()).await;
    let error = ended.expect_err("damaged");
    assert!(error.to_string().contains("rows.parquet") && states.is_empty(), "{error}");
    fs::write(&path, &whole).expect("writes");
    let (_, states, results) = bed.written(input).await;
    assert_eq!((states.len(), results[19]["file_line"].as_u64()), (1, Some(20)));
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 20);
}

#[cfg(not(feature = "parquet"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_build_without_parquet_says_what_it_lacks() {
    let bed = tasks_bed().await;
    let path = file(&bed, "rows.parquet", b"PAR1 and so on");
    let input = schema("tasks", &[], &["Subject"]) + &batch("tasks", json!({"format": "parquet"}), &[&path]);
    let (ended, _) = bed.run(input).await;
    let text = ended.expect_err("no parquet").to_string();
    assert!(text.contains("--features parquet"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_files_carry_the_version_of_their_batch() {
    let config = json!({"max_delete_percent": 100, "streams": {"people": {"module": "Contacts",
        "operation": "mirror", "match_on": "Email"}}});
    let bed = Bed::new(config).await;
    let version = |text: String, version: u64| {
        let mut message: Value = serde_json::from_str(&text).expect("JSON");
        message["version"] = version.into();
        format!(
            "{message}\n{}\n",
            json!({"type": "ACTIVATE_VERSION", "stream": "people", "version": version})
        )
    };
    let head = schema("people", &["Email"], &["Email", "Last_Name"]);
    let row = |number: usize| json!({"Email": format!("c{number}@x.test"), "Last_Name": "Ng"});
    for (run, rows) in [(1, 0..4), (2, 0..3)] {
        let rows: Vec<Value> = rows.map(row).collect();
        let path = file(&bed, &format!("{run}.gz"), &gzip(&lines(&rows)));
        bed.written(head.clone() + &version(gzipped("people", &[&path]), run) + &state(run)).await;
        assert_eq!(bed.rows("Contacts", "Email").await.len(), rows.len(), "after load {run}");
    }
}
