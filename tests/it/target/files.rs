//! One behaviour per file of `tests/data/singer`.

use super::*;
use crate::common::context::root;
use zoho_crm_connector::diagnostic::ErrorClass;

/// What has to come of a file.
enum Want {
    /// Good: actions of all results, STATE lines.
    Good(&'static [&'static str], &'static [&'static str]),
    /// Bad: error class, words of the message, rows written before, STATE lines.
    Bad(ErrorClass, &'static str, usize, &'static [&'static str]),
}

fn want(name: &str) -> Want {
    use ErrorClass::{Config, Data, Protocol};
    const ONE: &[&str] = &["{\"at\":1}"];
    match name {
        "record_before_schema" => Want::Bad(
            Protocol,
            "line 1 of stdin: RECORD of stream \"Contacts\" comes before its SCHEMA",
            0,
            &[],
        ),
        "schema_change" => Want::Good(&["inserted", "inserted"], ONE),
        "schema_without_properties" => {
            Want::Bad(Protocol, "SCHEMA of stream \"Contacts\" has no `properties`", 0, &[])
        }
        "missing_key" => Want::Bad(
            Data,
            "line 4 of stdin: RECORD of stream \"Contacts\" lacks its key property \"Email\"",
            1,
            ONE,
        ),
        "null_key" => Want::Bad(Data, "has null for its key property \"Email\"", 1, &[]),
        "wrong_type" => Want::Bad(
            Data,
            "line 4 of stdin: RECORD of stream \"Contacts\" has \"Last_Name\": 12, which its SCHEMA says is a string",
            1,
            ONE,
        ),
        "duplicates" => Want::Good(&["inserted"; 4], ONE),
        "no_key" => {
            Want::Bad(Config, "cannot tell what to do with stream \"Contacts\": it has no key", 0, &[])
        }
        "several_states" => {
            Want::Good(&["inserted"; 3], &["{\"at\":1}", "{\"at\":2}", "{\"at\":3}", "{\"at\":4}"])
        }
        "last_line_without_newline" => Want::Good(&["inserted"; 2], ONE),
        "truncated_line" => Want::Bad(Protocol, "the input ends in the middle of it", 1, ONE),
        "unknown_type" => {
            Want::Bad(Protocol, "line 4 of stdin, column 9: `REKORD` is not a message type", 1, ONE)
        }
        "lower_case_type" => Want::Bad(Protocol, "`record` is not a message type", 0, &[]),
        "log_line" => Want::Bad(Protocol, "line 4 of stdin, column 1: the message is not valid JSON", 1, ONE),
        "mark_and_blank_lines" => Want::Good(&["inserted"], ONE),
        "interleaved_streams" => Want::Good(&["inserted"; 4], &["{\"at\":1}", "{\"at\":2}"]),
        "activate_version" | "odd_text" | "unknown_format" | "fields_that_are_not_sent" => {
            Want::Good(&["inserted"], ONE)
        }
        "batch" => Want::Bad(
            Protocol,
            "names `/no/such/folder/a.jsonl.gz`, which cannot be read: No such file",
            1,
            ONE,
        ),
        "state_byte_for_byte" => {
            Want::Good(&["inserted"], &["{\"b\" : 1.10,\"a\":[ 12345678901234567890 ]}"])
        }
        other => panic!("`{other}.singer` has no expectation"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_does_what_its_name_says() {
    let folder = root().join("tests/data/singer");
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "singer") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let bed =
            Bed::new(json!({"streams": {"Leads": {"operation": "upsert", "match_on": ["Email"]}}})).await;
        let (ended, lines) = bed.run(std::fs::read_to_string(&path).expect("readable")).await;
        match want(&name) {
            Want::Good(wanted, states) => {
                let summary = ended.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(actions(&results(&summary)), wanted, "{name}");
                assert_eq!(lines, states, "{name}");
            }
            Want::Bad(class, words, rows, states) => {
                let error = ended.expect_err(&name);
                assert_eq!(error.class(), class, "{name}: {error}");
                assert!(error.to_string().contains(words), "{name}: {error}");
                assert_eq!(bed.rows("Contacts", "Email").await.len(), rows, "{name}");
                assert_eq!(lines, states, "{name}");
            }
        }
    }
}
