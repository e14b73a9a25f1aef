//! The emulator's answers against Zoho's OpenAPI files, where those are at hand.
//!
//! Names and types of every body are compared. Required keys and enumerated values are not: the files
//! mark nearly every key as required and print one sample's values. The files belong to Zoho and are
//! not in this repository; without them the test says so and passes.

use crate::common::zylker::{Zylker, answer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Names that live answers have and the files do not.
const KNOWN_EXTRA: [&str; 8] = [
    // Only v7 samples of the documentation show it.
    "email",
    // The later set of files has them.
    "portal_users_license_purchased",
    "actual_singular_label",
    "actual_plural_label",
    "global_search_supported",
    "access_type",
    // A key of error details; the files describe the details of other errors only.
    "param",
    "param_name",
];

struct Oas {
    documents: BTreeMap<String, Value>,
}

impl Oas {
    fn load() -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/crm-oas");
        let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        let documents =
            files.filter(|path| path.extension().is_some_and(|kind| kind == "json")).map(|path| {
                let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).expect("readable");
                (name, serde_json::from_str(&text).expect("JSON"))
            });
        Some(Self { documents: documents.collect() })
    }

    /// The schemas of an answer with their files, whatever its status: bodies of errors stand under
    /// any of them. A body that the files do not describe may be anything.
    fn answers<'a>(&'a self, file: &'a str, method: &str, path: &str) -> Vec<(&'a str, &'a Value)> {
        let responses = self.documents[file]["paths"][path][method]["responses"].as_object();
        let responses = responses.unwrap_or_else(|| panic!("{file} has no {method} {path}")).values();
        let found = responses.filter_map(|response| {
            let reference = response["$ref"].as_str().map(|reference| self.resolve(file, reference));
            let (file, response) = reference.unwrap_or((file, response));
            response["content"].get("application/json").map(|content| (file, &content["schema"]))
        });
        found.collect()
    }

    fn resolve<'a>(&'a self, file: &'a str, reference: &'a str) -> (&'a str, &'a Value) {
        let (document, pointer) = reference.split_once('#').expect("a reference has a #");
        let name = document.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(file);
        let found = self.documents.get(name).and_then(|document| document.pointer(pointer));
        (name, found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
    }

    /// What does not fit, empty when everything does.
    fn check(&self, file: &str, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let (file, schema) = self.resolve(file, reference);
            return self.check(file, schema, value, at);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().flat_map(|part| self.check(file, part, value, at)).collect();
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(parts) = schema[key].as_array() {
                let tried = parts.iter().map(|part| self.check(file, part, value, at));
                return closest(at, tried).unwrap_or_default();
            }
        }
        match (schema["type"].as_str(), value) {
            // The files rarely say what can be empty.
            (_, Value::Null) | (None, _) => Vec::new(),
            // An object without names stands for any value, as for the value of a criterion.
            (Some("object"), _) if schema.get("properties").is_none() => Vec::new(),
            (Some("object"), Value::Object(object)) => self.check_object(file, schema, object, at),
            (Some("array"), Value::Array(items)) => {
                let each = items.iter().enumerate();
                each.flat_map(|(number, item)| {
                    self.check(file, &schema["items"], item, &format!("{at}[{number}]"))
                })
                .collect()
            }
            (Some("string"), Value::String(_))
            | (Some("boolean"), Value::Bool(_))
            | (Some("number"), Value::Number(_)) => Vec::new(),
            (Some("integer"), Value::Number(number)) if number.as_i64().is_some() => Vec::new(),
            // int64 ids are texts in every live answer.
            (Some("integer"), Value::String(text)) if text.len() > 15 && text.parse::<u64>().is_ok() => {
                Vec::new()
            }
            (Some(wanted), value) => vec![format!("{at}: {wanted} wanted, found {value}")],
        }
    }

    fn check_object(&self, file: &str, schema: &Value, object: &Map<String, Value>, at: &str) -> Vec<String> {
        let Some(known) = schema["properties"].as_object().filter(|known| !known.is_empty()) else {
            return Vec::new();
        };
        let open = schema.get("additionalProperties").is_some_and(|more| *more != json!(false));
        let each = object.iter().flat_map(|(key, value)| match known.get(key) {
            Some(schema) => self.check(file, schema, value, &format!("{at}.{key}")),
            None if open || KNOWN_EXTRA.contains(&key.as_str()) => Vec::new(),
            None => vec![format!("{at}.{key}: not in the files")],
        });
        each.collect()
    }

    /// Compares one answer; the mistakes name the call.
    fn compare(&self, (file, method, path): (&str, &str, &str), body: &Value) -> Vec<String> {
        let schemas = self.answers(file, method, path).into_iter();
        let tried = schemas.map(|(file, schema)| self.check(file, schema, body, "$"));
        let least = closest("$", tried).unwrap_or_else(|| vec!["no schema".to_owned()]);
        least.into_iter().map(|mistake| format!("{method} {path}: {mistake}")).collect()
    }
}

/// Of several forms the one that was meant: its names are known on this level, then fewest mistakes.
fn closest(at: &str, tried: impl Iterator<Item = Vec<String>>) -> Option<Vec<String>> {
    let unknown_here = |mistake: &String| {
        let name = mistake.strip_prefix(at).and_then(|rest| rest.strip_suffix(": not in the files"));
        name.is_some_and(|name| !name[1..].contains(['.', '[']))
    };
    tried.min_by_key(|mistakes| {
        (mistakes.iter().filter(|mistake| unknown_here(mistake)).count(), mistakes.len())
    })
}

async fn finished(zylker: &Zylker, path: &str) -> Value {
    loop {
        let (_, body) = zylker.get(path).await;
        let state = [&body["status"], &body["data"][0]["state"]];
        if state.contains(&&json!("COMPLETED")) {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The answers that need no job: call as the files name it, and the body.
async fn plain(zylker: &Zylker) -> Vec<((&'static str, &'static str, &'static str), Value)> {
    let lead = json!({"data": [{"Last_Name": "Ng", "Company": "X"}, {"Company": "X"}]});
    let mut found = Vec::new();
    zylker
        .emulator
        .app()
        .change_switches(|switches| (switches.multi_currency, switches.territories) = (true, true));
    zylker.post("/__emulator/mutate", &json!({"module": "Leads", "delete": 1})).await;
    let layouts = zylker.get("/crm/v8/settings/layouts?module=Deals").await.1;
    let pipelines = format!(
        "/crm/v8/settings/pipeline?layout_id={}",
        layouts["layouts"][0]["id"].as_str().expect("an id")
    );
    found.push((("layouts.json", "get", "/crm/v8/settings/layouts"), layouts));
    for (call, path) in [
        (("pipeline.json", "get", "/crm/v8/settings/pipeline"), pipelines.as_str()),
        (("currencies.json", "get", "/crm/v8/org/currencies"), "/crm/v8/org/currencies"),
        (("territories.json", "get", "/crm/v8/settings/territories"), "/crm/v8/settings/territories"),
        (("tags.json", "get", "/crm/v8/settings/tags"), "/crm/v8/settings/tags?module=Leads"),
        (("recycle_bin.json", "get", "/crm/v8/settings/recycle_bin"), "/crm/v8/settings/recycle_bin"),
        (
            ("custom_views.json", "get", "/crm/v8/settings/custom_views"),
            "/crm/v8/settings/custom_views?module=Leads",
        ),
        (("org.json", "get", "/crm/v8/org"), "/crm/v8/org"),
        (("modules.json", "get", "/crm/v8/settings/modules"), "/crm/v8/settings/modules"),
        (("fields.json", "get", "/crm/v8/settings/fields"), "/crm/v8/settings/fields?module=Leads"),
        (
            ("record.json", "get", "/crm/v8/{module_api_name}"),
            "/crm/v8/Leads?fields=Last_Name,Owner,Modified_Time",
        ),
        (("record.json", "get", "/crm/v8/{module_api_name}"), "/crm/v8/Leads"),
        (
            ("record_count.json", "get", "/crm/v8/{module_api_name}/actions/count"),
            "/crm/v8/Leads/actions/count",
        ),
    ] {
        found.push((call, zylker.get(path).await.1));
    }
    found.push((
        ("record.json", "post", "/crm/v8/{module_api_name}"),
        zylker.post("/crm/v8/Leads", &lead).await.1,
    ));
    let upsert = zylker.post("/crm/v8/Leads/upsert", &lead).await.1;
    found.push((("record.json", "post", "/crm/v8/{module_api_name}/upsert"), upsert));
    for query in ["select Last_Name, Owner from Leads where id is not null", "select id from Leads"] {
        found.push((("coql.json", "post", "/crm/v8/coql"), zylker.coql(query).await.1));
    }
    found
}

async fn bulk_read(zylker: &Zylker) -> Vec<((&'static str, &'static str, &'static str), Value)> {
    let create = ("bulk_read.json", "post", "/crm/bulk/v8/read");
    let criteria =
        json!({"field": {"api_name": "Last_Name"}, "comparator": "not_equal", "value": "${EMPTY}"});
    let query =
        json!({"query": {"module": {"api_name": "Leads"}, "fields": ["Last_Name"], "criteria": criteria}});
    let created = zylker.post("/crm/bulk/v8/read", &query).await.1;
    let id = created["data"][0]["details"]["id"].as_str().expect("an id");
    let status = finished(zylker, &format!("/crm/bulk/v8/read/{id}")).await;
    let refused =
        zylker.post("/crm/bulk/v8/read", &json!({"query": {"module": {"api_name": "Nope"}}})).await.1;
    let unknown = zylker.get("/crm/bulk/v8/read/1").await.1;
    let by_id = ("bulk_read.json", "get", "/crm/bulk/v8/read/{job_id}");
    vec![(create, created), (by_id, status), (create, refused), (by_id, unknown)]
}

async fn bulk_write(zylker: &Zylker) -> Vec<((&'static str, &'static str, &'static str), Value)> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("c.csv", zip::write::SimpleFileOptions::default()).expect("a file");
    std::io::Write::write_all(&mut zip, b"Email,Last_Name\na@x.test,Ng\n").expect("its text");
    let part = reqwest::multipart::Part::bytes(zip.finish().expect("a zip").into_inner()).file_name("c.zip");
    let request = zylker.request("POST", "/crm/v8/upload").header("feature", "bulk-write");
    let request = request.header("X-CRM-ORG", &zylker.emulator.app().orgs[0].zgid);
    let uploaded = answer(request.multipart(reqwest::multipart::Form::new().part("file", part))).await.1;
    let wrong = answer(zylker.request("POST", "/crm/v8/upload")).await.1;
    let mappings = json!([{"api_name": "Email", "index": 0}, {"api_name": "Last_Name", "index": 1}]);
    let body = json!({"operation": "upsert", "resource": [{"type": "data", "module": {"api_name": "Contacts"},
        "file_id": uploaded["details"]["file_id"], "find_by": "Email", "field_mappings": mappings}]});
    let created = zylker.post("/crm/bulk/v8/write", &body).await.1;
    let id = created["details"]["id"].as_str().expect("an id");
    let status = finished(zylker, &format!("/crm/bulk/v8/write/{id}")).await;
    let refused = zylker.post("/crm/bulk/v8/write", &json!({"operation": "upsert"})).await.1;
    let upload = ("bulk_write.json", "post", "/crm/v8/upload");
    let create = ("bulk_write.json", "post", "/crm/bulk/v8/write");
    let by_id = ("bulk_write.json", "get", "/crm/bulk/v8/write/{job_id}");
    vec![(upload, uploaded), (upload, wrong), (create, created), (by_id, status), (create, refused)]
}

#[tokio::test]
#[allow(clippy::print_stderr)]
async fn every_answer_has_the_names_and_types_of_the_files() {
    let Some(oas) = Oas::load() else {
        eprintln!("SKIPPED: no OpenAPI files in ../shared/crm-oas; nothing was compared");
        return;
    };
    let zylker = Zylker::with_rows(&[("Leads", 10)]).await;
    let mut answers = plain(&zylker).await;
    answers.extend(bulk_read(&zylker).await);
    answers.extend(bulk_write(&zylker).await);
    let mistakes: Vec<String> = answers.iter().flat_map(|(call, body)| oas.compare(*call, body)).collect();
    assert!(mistakes.is_empty(), "{} mistakes\n{}", mistakes.len(), mistakes.join("\n"));
}
