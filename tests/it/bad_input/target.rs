//! Messages, mappings and rows that the target cannot work with.

use super::bare;
use crate::common::context::{TestContext, root};
use crate::common::snapshot::assert_seen;
use serde_json::{Value, json};
use std::fs;

const SCHEMA: &str = r#"{"type":"SCHEMA","stream":"Contacts","key_properties":["Email"],"schema":{"properties":{"Email":{"type":"string"},"Last_Name":{"type":["null","string"]},"Age":{"type":["null","integer"]}}}}"#;
const RECORD: &str =
    r#"{"type":"RECORD","stream":"Contacts","record":{"Email":"fuller@example.com","Last_Name":"Fuller"}}"#;
const STATE: &str = r#"{"type":"STATE","value":{"bookmarks":{"Contacts":{"id":7}}}}"#;

/// A good beginning, which is written and confirmed, followed by a bad line.
fn assert_line_seen(name: &str, line: &str) {
    let context = TestContext::new(&[]);
    let input = format!("{SCHEMA}\n{RECORD}\n{STATE}\n{line}");
    context.assert_seen(name, context.target().write_stdin(input));
    let email = ["Email".to_owned()];
    assert_eq!(context.dump("Contacts", &email).len(), 1, "what came before the bad line is written");
}

#[test]
fn lines_that_are_no_messages() {
    assert_line_seen(
        "malformed_line",
        "{\"type\":\"RECORD\",\"stream\":\"Contacts\",\"record\":{\"Email\":fuller}}\n",
    );
    assert_line_seen(
        "truncated_line",
        "{\"type\":\"RECORD\",\"stream\":\"Contacts\",\"record\":{\"Email\":\"dav",
    );
    assert_line_seen("log_line", "INFO Starting sync\n");
    assert_line_seen("list_line", "[1, 2]\n");
    assert_line_seen("line_without_type", "{\"stream\":\"Contacts\",\"record\":{}}\n");
    assert_line_seen("unknown_type", "{\"type\":\"REKORD\",\"stream\":\"Contacts\",\"record\":{}}\n");
    assert_line_seen("lower_case_type", &RECORD.replace("RECORD", "record"));
    assert_line_seen("record_is_a_list", "{\"type\":\"RECORD\",\"stream\":\"Contacts\",\"record\":[]}\n");
    assert_line_seen("state_without_value", "{\"type\":\"STATE\"}\n");
    assert_line_seen(
        "batch_message",
        "{\"type\":\"BATCH\",\"stream\":\"Contacts\",\"encoding\":{},\"manifest\":[]}\n",
    );
}

#[test]
fn records_that_break_their_schema() {
    let record =
        |record: Value| format!("{}\n", json!({"type": "RECORD", "stream": "Contacts", "record": record}));
    assert_line_seen("record_breaks_its_schema", &record(json!({"Email": "a@example.com", "Age": "12,50"})));
    assert_line_seen("record_without_key", &record(json!({"Last_Name": "Davolio"})));
    assert_line_seen("record_with_null_key", &record(json!({"Email": null})));
    let schema = SCHEMA.replace(r#""type":"string"}"#, r#""type":"string","maxLength":5}"#);
    let too_long = format!("{schema}\n{}", record(json!({"Email": "peacock@example.com"})));
    assert_line_seen("record_too_long_for_its_schema", &too_long);
}

#[test]
fn schemas_that_are_none() {
    let context = TestContext::new(&[]);
    let see = |name: &str, input: &str| {
        context.assert_seen(name, context.target().write_stdin(format!("{input}\n")));
    };
    see("record_before_schema", RECORD);
    see(
        "schema_without_properties",
        r#"{"type":"SCHEMA","stream":"Contacts","schema":{},"key_properties":[]}"#,
    );
    see("schema_without_keys", r#"{"type":"SCHEMA","stream":"Contacts","schema":{"properties":{}}}"#);
    see("schema_lacks_its_key", &SCHEMA.replace(r#"["Email"]"#, r#"["E_Mail"]"#));
    see("schema_that_is_none", &SCHEMA.replace(r#""type":"string""#, r#""type":"text""#));
    assert_eq!(context.stats()["endpoints"]["POST /crm/v8/Contacts/upsert"], Value::Null, "nothing was sent");
}

/// The mapping of one stream, and rows for it.
fn assert_mapping_seen(name: &str, stream: &Value) {
    let context = TestContext::new(&[]);
    let settings = json!({"streams": {"customers": stream}});
    let config = context.settings_with("target.json", &settings);
    let mut command = bare(&context, "target-zoho-crm");
    let input = [SCHEMA, RECORD, STATE]
        .map(|line| line.replace("\"stream\":\"Contacts\"", "\"stream\":\"customers\""));
    command.arg("--config").arg(config).write_stdin(input.join("\n"));
    context.assert_seen(name, &mut command);
}

#[test]
fn mappings_that_lead_nowhere() {
    assert_mapping_seen("mapping_to_no_module", &json!({"module": "Contatcs"}));
    assert_mapping_seen(
        "mapping_to_no_field",
        &json!({"module": "Contacts", "fields": {"Email": "Email", "Age": "Fone"}}),
    );
    assert_mapping_seen(
        "mapping_of_no_property",
        &json!({"module": "Contacts", "fields": {"Emial": "Email"}}),
    );
    assert_mapping_seen(
        "mapping_to_read_only",
        &json!({"module": "Contacts", "fields": {"Email": "Created_Time"}}),
    );
    assert_mapping_seen(
        "mapping_matches_on_no_field",
        &json!({"module": "Contacts", "match_on": ["E_Mail"]}),
    );
    assert_mapping_seen(
        "mapping_with_a_wrong_constant",
        &json!({"module": "Contacts", "constants": {"Sorce": "web"}}),
    );
    assert_mapping_seen(
        "insert_that_cannot_be_repeated",
        &json!({"module": "Tasks", "operation": "insert", "fields": {"Last_Name": "Subject"}}),
    );
    assert_mapping_seen(
        "update_without_a_key",
        &json!({"module": "Contacts", "operation": "update", "fields": ["Last_Name"]}),
    );
}

#[test]
fn a_stream_whose_name_is_no_module() {
    let context = TestContext::new(&[]);
    let input =
        [SCHEMA, RECORD].map(|line| line.replace("\"stream\":\"Contacts\"", "\"stream\":\"customers\""));
    context.assert_seen("stream_of_no_module", context.target().write_stdin(input.join("\n")));
}

#[test]
fn rows_that_zoho_or_we_refuse() {
    let context = TestContext::new(&[]);
    let rows = [
        json!({"Email": "fuller@example.com", "Last_Name": "Fuller"}),
        json!({"Email": "not-an-address", "Last_Name": "Davolio"}),
        json!({"Email": "king@example.com", "Last_Name": null}),
        json!({"Email": "long@example.com", "Last_Name": "x".repeat(300)}),
    ];
    let rows = rows.map(|row| json!({"type": "RECORD", "stream": "Contacts", "record": row}).to_string());
    let input = format!("{SCHEMA}\n{}\n{STATE}\n", rows.join("\n"));
    context.assert_seen("row_errors", context.target().write_stdin(input.clone()));
    let config =
        context.settings_with("lenient.json", &json!({"max_rejected": "80%", "results": "results.jsonl"}));
    let mut command = bare(&context, "target-zoho-crm");
    command.arg("--config").arg(config).write_stdin(input);
    context.assert_seen("row_errors_allowed", &mut command);
    let results = fs::read_to_string(context.path("results.jsonl")).expect("reads");
    let ids = regex_free(&results);
    assert_seen("row_errors_results", &ids);
}

/// Results without what differs from run to run.
fn regex_free(results: &str) -> String {
    let lines = results.lines().map(|line| {
        let mut result: Value = serde_json::from_str(line).expect("a result");
        if !result["record_id"].is_null() {
            result["record_id"] = "[ID]".into();
        }
        result.to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_insert_whose_answer_is_lost() {
    let context = TestContext::new(&[]);
    let settings = json!({"at_least_once": true, 
        "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}});
    context.settings_with("config.json", &settings);
    let rule = json!({"match": {"method": "POST", "path_contains": "/Tasks"}, "action": {"kind": "cut_after_execute"}});
    context.control("POST", "faults", &rule);
    let input = r#"{"type":"SCHEMA","stream":"tasks","schema":{"properties":{"Subject":{"type":"string"}}},"key_properties":[]}
{"type":"RECORD","stream":"tasks","record":{"Subject":"Call Nancy"}}
{"type":"RECORD","stream":"tasks","record":{"Subject":"Write to Andrew"}}
{"type":"STATE","value":{"at":1}}
"#;
    context.assert_seen("in_doubt", context.target().write_stdin(input));
    context.assert_seen("in_doubt_again", context.target().write_stdin(input));
    context.assert_seen("in_doubt_jobs", &mut context.operator(&["jobs", "list"]));
    context.assert_seen("resolve_without_choice", &mut context.operator(&["jobs", "resolve", "b-1"]));
    context
        .assert_seen("resolve_unknown_batch", &mut context.operator(&["jobs", "resolve", "b-1", "--forget"]));
}

#[test]
fn a_bulk_job_that_zoho_gives_up() {
    let context = TestContext::new(&[]);
    context.settings_with("config.json", &json!({"method": "bulk"}));
    let rule = json!({"match": {"method": "POST", "path_contains": "bulk/v8/write", "times": 0}, "action": {"kind": "job_failure"}});
    context.control("POST", "faults", &rule);
    let input = format!("{SCHEMA}\n{RECORD}\n{STATE}\n");
    context.assert_seen("bulk_job_failed", context.target().write_stdin(input));
}

#[test]
fn a_good_file_of_messages_read_by_name() {
    let context = TestContext::new(&[]);
    let file = root().join("tests/data/singer/wrong_type.singer");
    context.assert_seen("bad_line_of_a_file", context.target().arg("--input").arg(file));
}
