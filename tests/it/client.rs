//! The client against the emulator: every call of the API once, and what a bad line does to it.

use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use zoho_crm_connector::emulator::{Emulator, Options, faults::Rule, start};
use zoho_crm_connector::secret::Secret;
use zoho_crm_connector::zoho::api::bulk_read::{BulkReadQuery, BulkReadResult};
use zoho_crm_connector::zoho::api::bulk_write::{
    BulkOperation, BulkWriteJob, BulkWriteRequest, BulkWriteResource, FieldMapping,
};
use zoho_crm_connector::zoho::api::deleted::DeletedKind;
use zoho_crm_connector::zoho::api::records::{Converted, RecordsQuery, WriteCall};
use zoho_crm_connector::zoho::api::{JobState, org::Edition};
use zoho_crm_connector::zoho::types::{DataType, JobId, Method, RecordId};
use zoho_crm_connector::zoho::{Client, Connection, ErrorKind};

/// An emulator, and settings that point at it.
struct Local {
    emulator: Emulator,
    folder: TempDir,
}

impl Local {
    async fn with_rows(rows: &[(&str, u64)]) -> Self {
        let rows = rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let options = Options { rows, ..Options::default() };
        let emulator = start(options).await.expect("the emulator starts");
        Self { emulator, folder: tempfile::tempdir().expect("a folder") }
    }

    fn connection(&self) -> Connection {
        let url = self.emulator.base_url().to_owned();
        let mut connection =
            Connection::new("1000.EMULATOR", Secret::new("emulator-secret"), self.folder.path());
        connection.refresh_token = Some(Secret::new("1000.emulator.refresh"));
        connection.api_url = Some(url.clone());
        connection.accounts_url = Some(url.clone());
        connection.content_url = Some(url);
        connection.retry.base = Duration::from_millis(1);
        connection
    }

    fn client(&self) -> Client {
        Client::new(self.connection()).expect("good settings")
    }

    /// Adds a fault: `match` and `action` as the control endpoint takes them.
    fn fault(&self, rule: Value) {
        let rule: Rule = serde_json::from_value(rule).expect("a rule");
        self.emulator.app().faults.add(vec![rule]);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn row(json: Value) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).expect("JSON")
}

fn rows_of(module: &str, rows: Vec<Value>) -> WriteCall {
    WriteCall { module: module.to_owned(), rows: rows.into_iter().map(row).collect(), ..WriteCall::default() }
}

fn parsed(record: &RawValue) -> Value {
    serde_json::from_str(record.get()).expect("a record is JSON")
}

fn lines_in(zip: &Path) -> Vec<String> {
    let file = std::fs::File::open(zip).expect("a file");
    let mut archive = zip::ZipArchive::new(file).expect("a zip");
    let entry = archive.by_index(0).expect("one file");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(entry);
    reader.records().map(|line| line.expect("CSV").iter().collect::<Vec<_>>().join("|")).collect()
}

async fn read_result(client: &Client, job: &JobId) -> BulkReadResult {
    for _ in 0..500 {
        let status = client.bulk_read_status(job).await.expect("a status");
        match status.state {
            JobState::Completed => return status.result.expect("a completed job has a result"),
            JobState::Failure(failure) => panic!("{failure:?}"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("the job does not end");
}

async fn written(client: &Client, job: &JobId) -> BulkWriteJob {
    for _ in 0..500 {
        let status = client.bulk_write_status(job).await.expect("a status");
        if status.status == JobState::Completed {
            return status;
        }
        assert!(!matches!(status.status, JobState::Failure(_)), "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the job does not end");
}

#[tokio::test]
async fn the_organisation_says_who_and_how_much() {
    let local = Local::with_rows(&[]).await;
    let client = local.client();
    let org = client.org().await.expect("an organisation");
    assert_eq!(
        (org.company_name.as_str(), &org.edition, org.user_licenses),
        ("Zylker", &Edition::Enterprise, 40)
    );
    assert_eq!(client.usage().per_day, Some(90_000));
    let user = client.current_user().await.expect("a user");
    assert!(!user.email.is_empty() && !user.profile.is_empty());
    let users = client.users(1).await.expect("users");
    assert_eq!(users.records.len(), 40);
    assert!(client.server_time().is_some());
}

#[tokio::test]
async fn metadata_of_every_module_is_understood() {
    let local = Local::with_rows(&[]).await;
    let client = local.client();
    let modules = client.modules().await.expect("modules");
    let leads = modules.iter().find(|module| module.api_name == "Leads").expect("Leads");
    assert!(leads.api_supported && leads.viewable && leads.creatable && leads.generated_type == "default");
    for module in modules.iter().filter(|module| module.api_supported && module.viewable) {
        let fields = client.fields(&module.api_name).await.expect("fields");
        assert!(fields.iter().any(|field| field.api_name == "id"), "{}", module.api_name);
        for field in fields {
            assert!(!matches!(field.data_type, DataType::Other(_)), "{}.{field:?}", module.api_name);
            if field.data_type == DataType::Lookup {
                assert!(field.lookup_module.is_some(), "{}.{}", module.api_name, field.api_name);
            }
        }
    }
    let error = client.fields("No_Such").await.expect_err("unknown");
    assert_eq!(error.code(), Some("INVALID_MODULE"));
}

#[tokio::test]
async fn pages_count_and_single_records_agree() {
    let local = Local::with_rows(&[("Contacts", 450), ("Leads", 150)]).await;
    let client = local.client();
    let mut query = RecordsQuery {
        module: "Contacts".to_owned(),
        fields: vec!["id".to_owned(), "Last_Name".to_owned(), "Modified_Time".to_owned()],
        ..RecordsQuery::default()
    };
    let mut ids = BTreeSet::new();
    loop {
        let page = client.records(&query).await.expect("a page");
        ids.extend(
            page.records.iter().map(|record| parsed(record)["id"].as_str().expect("an id").to_owned()),
        );
        query.page_token = page.next_page_token;
        if !page.more_records {
            break;
        }
    }
    assert_eq!(ids.len(), 450);
    assert_eq!(client.count("Contacts").await.expect("a count"), 450);
    let id = RecordId::from(ids.first().expect("450").as_str());
    let record = client.record("Contacts", &id).await.expect("an answer").expect("a record");
    assert_eq!(parsed(&record)["id"], id.as_str());
    assert!(client.record("Contacts", &"4876000999999999999".into()).await.expect("an answer").is_none());
    query = RecordsQuery { page_token: None, ids: vec![id], ..query };
    assert_eq!(client.records(&query).await.expect("a page").records.len(), 1);
    query.ids.clear();
    let leads =
        |converted| RecordsQuery { module: "Leads".to_owned(), ids: Vec::new(), converted, ..query.clone() };
    let converted = client.records(&leads(Some(Converted::Only))).await.expect("a page").records.len();
    let shown = client.records(&leads(None)).await.expect("a page").records.len();
    let both = client.records(&leads(Some(Converted::Both))).await.expect("a page").records.len();
    assert!(converted > 0 && converted + shown == both, "{converted} {shown} {both}");
    query.modified_since = client.server_time().map(|now| now + chrono::TimeDelta::hours(1));
    assert!(client.records(&query).await.expect("nothing newer").records.is_empty());
}

#[tokio::test]
async fn rows_are_inserted_changed_and_deleted() {
    let local = Local::with_rows(&[]).await;
    let client = local.client();
    let fresh = vec![serde_json::json!({"Last_Name": "Ng"}), serde_json::json!({"First_Name": "Nobody"})];
    let answers = client.insert(&rows_of("Leads", fresh)).await.expect("answers");
    assert!(answers[0].success && !answers[1].success);
    assert_eq!(
        (answers[1].code.as_str(), answers[1].field.as_deref()),
        ("MANDATORY_NOT_FOUND", Some("Last_Name"))
    );
    let id = answers[0].id.clone().expect("an id");
    let change = vec![serde_json::json!({"id": id, "Email": "ng@example.test"})];
    assert!(client.update(&rows_of("Leads", change)).await.expect("answers")[0].success);
    let mut upsert = rows_of(
        "Leads",
        vec![
            serde_json::json!({"Last_Name": "Ng", "Email": "ng@example.test"}),
            serde_json::json!({"Last_Name": "Li", "Email": "li@example.test"}),
        ],
    );
    upsert.duplicate_check_fields = vec!["Email".to_owned()];
    upsert.trigger = Some(Vec::new());
    let answers = client.upsert(&upsert).await.expect("answers");
    let actions: Vec<_> = answers.iter().map(|answer| answer.action.as_deref()).collect();
    assert_eq!(actions, [Some("update"), Some("insert")]);
    let answers = client.delete("Leads", &[id.clone(), "4876000999999999999".into()]).await.expect("answers");
    assert!(answers[0].success && !answers[1].success);
    let deleted = client.deleted("Leads", DeletedKind::All, None, 1).await.expect("a page");
    assert_eq!(deleted.records.len(), 1);
    assert_eq!((&deleted.records[0].id, deleted.records[0].deletion_type.as_str()), (&id, "recycle"));
    let error =
        client.insert(&rows_of("No_Such", vec![serde_json::json!({"A": 1})])).await.expect_err("no module");
    assert_eq!(error.code(), Some("INVALID_MODULE"));
}

#[tokio::test]
async fn queries_page_by_id() {
    let local = Local::with_rows(&[("Leads", 300)]).await;
    let client = local.client();
    let (mut last, mut seen) = ("0".to_owned(), 0);
    loop {
        let query = format!("select id, Last_Name from Leads where id > {last} order by id asc limit 200");
        let page = client.coql(&query, 200).await.expect("a page");
        seen += page.records.len();
        match page.records.last() {
            Some(record) if page.more_records => {
                last = parsed(record)["id"].as_str().expect("an id").to_owned()
            }
            _ => break,
        }
    }
    assert_eq!(seen, 300);
    let error = client.coql("select id fro Leads", 200).await.expect_err("no query");
    assert_eq!((error.code(), error.kind()), (Some("SYNTAX_ERROR"), ErrorKind::Refused));
}

#[tokio::test]
async fn a_bulk_read_comes_whole_through_a_bad_line() {
    let local = Local::with_rows(&[("Leads", 3_000)]).await;
    let client = local.client();
    local.fault(serde_json::json!({"match": {"path_contains": "/result"}, "action": {"kind": "cut_body"}}));
    local.fault(serde_json::json!({"match": {"method": "GET", "path_contains": "/bulk/"}, "action": {"kind": "invalid_token"}}));
    local.fault(serde_json::json!({"match": {"path_contains": "/bulk/"}, "action": {"kind": "throttle"}}));
    let query = BulkReadQuery {
        module: "Leads".to_owned(),
        fields: vec!["id".to_owned(), "Last_Name".to_owned()],
        ..BulkReadQuery::default()
    };
    let job = client.bulk_read_create(&query).await.expect("a job");
    let result = read_result(&client, &job).await;
    let zip = local.path("leads.zip");
    let bytes = client.bulk_read_download(&result.download_url, &zip, 0).await.expect("a file");
    assert_eq!(std::fs::metadata(&zip).expect("a file").len(), bytes);
    assert_eq!((result.count, lines_in(&zip).len()), (3_000, 3_001));
    assert!(client.usage().throttled >= 1 && client.usage().credits.data >= 50);
    let refused = client.bulk_read_create(&BulkReadQuery { module: "No_Such".to_owned(), ..query }).await;
    assert!(refused.is_err_and(|error| error.code().is_some()));
    let unknown = client.bulk_read_status(&"4876000999999999999".into()).await;
    assert!(unknown.is_err_and(|error| error.code() == Some("RESOURCE_NOT_FOUND")));
}

fn bulk_upsert(file_id: zoho_crm_connector::zoho::types::FileId) -> BulkWriteRequest {
    let column = |name: &str, index| FieldMapping {
        api_name: name.to_owned(),
        index: Some(index),
        ..FieldMapping::default()
    };
    BulkWriteRequest {
        operation: BulkOperation::Upsert,
        ignore_empty: true,
        resources: vec![BulkWriteResource {
            module: "Leads".to_owned(),
            file_id,
            file_names: Vec::new(),
            find_by: Some("Email".to_owned()),
            field_mappings: vec![column("Email", 0), column("Last_Name", 1)],
        }],
    }
}

fn zip_of(path: &Path, csv: &str) {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).expect("a file"));
    zip.start_file("leads.csv", zip::write::SimpleFileOptions::default()).expect("an entry");
    zip.write_all(csv.as_bytes()).expect("content");
    zip.finish().expect("an end");
}

#[tokio::test]
async fn a_bulk_write_says_what_became_of_each_row() {
    let local = Local::with_rows(&[]).await;
    let client = local.client();
    let zip = local.path("leads.zip");
    zip_of(&zip, "Email,Last_Name\nng@example.test,Ng\nli@example.test,\n");
    let zgid = client.org().await.expect("an organisation").zgid;
    let file = client.bulk_write_upload(&zip, &zgid).await.expect("a file");
    let job = client.bulk_write_create(&bulk_upsert(file)).await.expect("a job");
    let done = written(&client, &job).await;
    assert_eq!((done.files[0].added, done.files[0].total), (1, 2));
    let result = local.path("result.zip");
    let url = done.download_url.expect("a result");
    client.bulk_write_download(&url, &result).await.expect("a file");
    let lines = lines_in(&result);
    assert_eq!(lines.len(), 3);
    assert!(lines[1].contains("ADDED") && lines[2].contains("MANDATORY_NOT_FOUND"), "{lines:?}");
}

#[tokio::test]
async fn a_cut_create_call_is_in_doubt_and_not_repeated() {
    let local = Local::with_rows(&[]).await;
    let client = local.client();
    local.fault(serde_json::json!({"match": {"method": "POST", "path_contains": "/Leads"}, "action": {"kind": "cut_after_execute"}}));
    let lead = || rows_of("Leads", vec![serde_json::json!({"Last_Name": "Ng"})]);
    let error = client.insert(&lead()).await.expect_err("cut");
    assert!(error.in_doubt(), "{error}");
    assert_eq!(
        client.coql("select id from Leads where id is not null", 200).await.expect("a page").records.len(),
        1
    );
    local.fault(serde_json::json!({"match": {"method": "POST", "path_contains": "/Leads"}, "action": {"kind": "drop"}}));
    let repeated = client.insert(&WriteCall { idempotent: true, ..lead() }).await.expect("answers");
    assert!(repeated[0].success);
}

#[tokio::test]
async fn both_sides_count_the_same_credits() {
    let local = Local::with_rows(&[("Leads", 250)]).await;
    let client = local.client();
    client.org().await.expect("an organisation");
    client.modules().await.expect("modules");
    client.fields("Leads").await.expect("fields");
    client.coql("select id from Leads where id is not null limit 2000", 2_000).await.expect("a page");
    client.deleted("Leads", DeletedKind::All, None, 1).await.expect("a page");
    let many = (0..25).map(|number| serde_json::json!({"Last_Name": format!("Ng {number}")})).collect();
    client.insert(&rows_of("Leads", many)).await.expect("answers");
    let query = BulkReadQuery { module: "Leads".to_owned(), ..BulkReadQuery::default() };
    let job = client.bulk_read_create(&query).await.expect("a job");
    let result = read_result(&client, &job).await;
    client.bulk_read_download(&result.download_url, &local.path("r.zip"), 0).await.expect("a file");
    let usage = client.usage();
    let stats =
        client.raw(Method::Get, "/__emulator/stats", &[], None).await.expect("stats").body.expect("JSON");
    let counted: u64 = stats["endpoints"]
        .as_object()
        .expect("endpoints")
        .values()
        .map(|endpoint| endpoint["credits"].as_u64().expect("a number"))
        .sum();
    assert_eq!(counted, usage.credits.total(), "{stats:#} {usage:?}");
}
