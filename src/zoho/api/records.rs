//! Records one call at a time: list, single, count, insert, update, upsert, delete.
//!
//! Records pass through as raw JSON text, so that no digit is lost and nothing is parsed twice.
//! Follows the pages "Get Records", "Insert Records", "Update Records", "Upsert Records",
//! "Delete Records".

use crate::zoho::call::{Call, segment};
use crate::zoho::client::Client;
use crate::zoho::credits::{CALL, Category, delete_price, write_price};
use crate::zoho::error::Error;
use crate::zoho::json;
use crate::zoho::refusal::Refusal;
use crate::zoho::transport::Answer;
use crate::zoho::types::{Method, RecordId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Most records of one list page. Source: "Get Records".
pub const MAX_PER_PAGE: u32 = 200;
/// Most fields of one list call. Source: "Get Records".
pub const MAX_FIELDS: usize = 50;
/// Most records of one write or delete call. Source: "Insert Records, Limitations".
pub const MAX_ROWS_PER_WRITE: usize = 100;

// Request types

/// One list call.
#[derive(Debug, Clone, Default)]
pub struct RecordsQuery {
    /// API name of the module.
    pub module: String,
    /// API names of the fields; Zoho demands at least one and takes at most [`MAX_FIELDS`].
    pub fields: Vec<String>,
    /// Page number from 1; reaches the first 2,000 records.
    pub page: Option<u32>,
    /// Token of the page before; not together with `page`.
    pub page_token: Option<String>,
    /// Records per page; 0 means [`MAX_PER_PAGE`].
    pub per_page: u32,
    /// `id`, `Created_Time` or `Modified_Time`; makes the call a heavy one.
    pub sort_by: Option<String>,
    /// `asc` or `desc`.
    pub sort_order: Option<String>,
    /// Only these records.
    pub ids: Vec<RecordId>,
    /// Only records modified after this instant (`If-Modified-Since`).
    pub modified_since: Option<DateTime<Utc>>,
    /// Whether converted leads are shown.
    pub converted: Option<Converted>,
}

/// Which leads a list shows, by whether they were converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converted {
    /// Converted ones only.
    Only,
    /// Converted or not.
    Both,
}

/// One insert, update or upsert call.
#[derive(Debug, Clone, Default)]
pub struct WriteCall {
    /// API name of the module.
    pub module: String,
    /// JSON objects, at most [`MAX_ROWS_PER_WRITE`]; for update each with its `id`.
    pub rows: Vec<Box<RawValue>>,
    /// For upsert: the fields that find an existing record, in order.
    pub duplicate_check_fields: Vec<String>,
    /// Which automations run; `None` means all, an empty list none.
    pub trigger: Option<Vec<String>>,
    /// Whether sending the rows twice does no harm; only then is a cut call sent again.
    pub idempotent: bool,
}

// Response types

/// One page of records.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The records as JSON text, in the order of the answer.
    pub records: Vec<Box<RawValue>>,
    /// Whether there is another page.
    pub more_records: bool,
    /// Token of the next page.
    pub next_page_token: Option<String>,
}

/// What became of one row of a write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowAnswer {
    /// Whether the row was written.
    pub success: bool,
    /// Zoho's code, `SUCCESS` or the reason.
    pub code: String,
    /// Zoho's message.
    pub message: String,
    /// The record written.
    pub id: Option<RecordId>,
    /// For upsert: `insert` or `update`.
    pub action: Option<String>,
    /// The field Zoho complains about.
    pub field: Option<String>,
    /// The existing record that has the same unique value.
    pub duplicate_id: Option<RecordId>,
    /// Zoho's details, or null.
    pub details: Value,
}

impl RowAnswer {
    pub(super) fn from_json(value: &Value) -> Self {
        let details = &value["details"];
        let code = json::text(value, "code");
        let success = json::text(value, "status").eq_ignore_ascii_case("success") || code == "SUCCESS";
        let own_id = json::id(&details["id"]).map(RecordId::from);
        let twin = json::id(&details["duplicate_record"]["id"]).map(RecordId::from);
        Self {
            success,
            message: json::text(value, "message"),
            action: json::optional_text(value, "action"),
            field: json::optional_text(details, "api_name"),
            duplicate_id: twin.or_else(|| own_id.clone().filter(|_| code == "DUPLICATE_DATA")),
            id: own_id.filter(|_| success),
            details: details.clone(),
            code,
        }
    }
}

/// The envelope of lists: `data`, or the resource's own name.
#[derive(Deserialize)]
struct ListAnswer {
    #[serde(
        default,
        alias = "users",
        alias = "currencies",
        alias = "territories",
        alias = "layouts",
        alias = "pipeline",
        alias = "tags"
    )]
    data: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    info: Value,
}

impl From<ListAnswer> for Page {
    fn from(answer: ListAnswer) -> Self {
        Self {
            records: answer.data.unwrap_or_default(),
            more_records: json::flag(&answer.info, "more_records"),
            next_page_token: json::optional_text(&answer.info, "next_page_token"),
        }
    }
}

/// What is sent for a write.
#[derive(Serialize)]
struct WriteBody<'a> {
    data: &'a [Box<RawValue>],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    duplicate_check_fields: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'a [String]>,
}

impl Client {
    /// One page of a module's records.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE`, `NO_PERMISSION`, `LIMIT_EXCEEDED` (too many fields), a page beyond the
    /// reach, and those of every call.
    pub async fn records(&self, query: &RecordsQuery) -> Result<Page, Error> {
        let per_page = if query.per_page == 0 { MAX_PER_PAGE } else { query.per_page };
        let ids: Vec<&str> = query.ids.iter().map(RecordId::as_str).collect();
        let mut call = Call::get(format!("/crm/v8/{}", segment(&query.module)))
            .query("fields", query.fields.join(","))
            .query("per_page", per_page.to_string())
            .query_if("page", query.page.map(|page| page.to_string()))
            .query_if("page_token", query.page_token.clone())
            .query_if("sort_by", query.sort_by.clone())
            .query_if("sort_order", query.sort_order.clone())
            .query_if("ids", (!ids.is_empty()).then(|| ids.join(",")))
            .query_if("converted", query.converted.map(Converted::as_str))
            .heavy(query.sort_by.is_some())
            .module(&query.module);
        if let Some(since) = query.modified_since {
            call = call.header("if-modified-since", iso(since));
        }
        self.fetch_page(&call).await
    }

    /// One record with all of its fields, subforms and multi-select lookups included.
    ///
    /// `None` when there is no such record.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE`, `NO_PERMISSION`, and those of every call.
    pub async fn record(&self, module: &str, id: &RecordId) -> Result<Option<Box<RawValue>>, Error> {
        let call = Call::get(format!("/crm/v8/{}/{}", segment(module), segment(id.as_str()))).module(module);
        match self.fetch_page(&call).await {
            Ok(page) => Ok(page.records.into_iter().next()),
            // Unknown ids are answered with 204, some malformed ones like this.
            Err(error) if error.status() == Some(404) || error.code() == Some("INVALID_DATA") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Number of records of a module; Zoho's statistics may lag some minutes.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE`, `NO_PERMISSION`, a missing scope, and those of every call.
    pub async fn count(&self, module: &str) -> Result<u64, Error> {
        let call = Call::get(format!("/crm/v8/{}/actions/count", segment(module)))
            .module(module)
            .price(Category::Counts, CALL);
        let value = self.fetch_value(&call).await?;
        match &value {
            Value::Null => Ok(0),
            other => json::number(&other["count"]).ok_or_else(|| call.unclear("no `count` in the answer")),
        }
    }

    /// Creates records; the answers are in the order of the rows.
    ///
    /// # Errors
    ///
    /// Only for the call as a whole; refused rows are answers. `in_doubt()` when the call was cut.
    pub async fn insert(&self, call: &WriteCall) -> Result<Vec<RowAnswer>, Error> {
        self.write(Method::Post, format!("/crm/v8/{}", segment(&call.module)), call).await
    }

    /// Changes records by their `id`; the answers are in the order of the rows.
    ///
    /// # Errors
    ///
    /// Only for the call as a whole; refused rows are answers. `in_doubt()` when the call was cut.
    pub async fn update(&self, call: &WriteCall) -> Result<Vec<RowAnswer>, Error> {
        self.write(Method::Put, format!("/crm/v8/{}", segment(&call.module)), call).await
    }

    /// Changes or creates records; the answers are in the order of the rows.
    ///
    /// # Errors
    ///
    /// Only for the call as a whole; refused rows are answers. `in_doubt()` when the call was cut.
    pub async fn upsert(&self, call: &WriteCall) -> Result<Vec<RowAnswer>, Error> {
        self.write(Method::Post, format!("/crm/v8/{}/upsert", segment(&call.module)), call).await
    }

    /// Moves records to the bin; the answers are in the order of the ids.
    ///
    /// A cut call is not repeated, although deleting twice does no harm: the second answer would
    /// call the deleted rows unknown.
    ///
    /// # Errors
    ///
    /// Only for the call as a whole; refused rows are answers. `in_doubt()` when the call was cut.
    pub async fn delete(&self, module: &str, ids: &[RecordId]) -> Result<Vec<RowAnswer>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<&str> = ids.iter().map(RecordId::as_str).collect();
        let call = Call::new(Method::Delete, format!("/crm/v8/{}", segment(module)))
            .query("ids", list.join(","))
            .price(Category::Data, delete_price(ids.len()))
            .module(module);
        let answer = self.execute(&call).await?;
        row_answers(&call, &answer, ids.len())
    }

    async fn write(&self, method: Method, path: String, write: &WriteCall) -> Result<Vec<RowAnswer>, Error> {
        let rows = write.rows.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let body = WriteBody {
            data: &write.rows,
            duplicate_check_fields: &write.duplicate_check_fields,
            trigger: write.trigger.as_deref(),
        };
        let call = Call::new(method, path)
            .repeatable(write.idempotent)
            .price(Category::Data, write_price(rows))
            .heavy(rows > 10)
            .module(&write.module);
        let body = serde_json::to_vec(&body).map_err(|error| call.unsendable(error))?;
        let call = call.json(body);
        let answer = self.execute(&call).await?;
        row_answers(&call, &answer, rows)
    }

    /// Makes a list call; nothing there is an empty page.
    pub(super) async fn fetch_page(&self, call: &Call) -> Result<Page, Error> {
        match self.fetch(call).await? {
            None => Ok(Page::default()),
            Some(body) => serde_json::from_slice::<ListAnswer>(&body)
                .map(Page::from)
                .map_err(|error| call.misunderstood(error)),
        }
    }
}

impl Converted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Only => "true",
            Self::Both => "both",
        }
    }
}

/// An instant as headers want it.
pub(super) fn iso(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// Reads one answer per row. All rows refused is 400, some 207, and older servers say 200 or 202.
fn row_answers(call: &Call, answer: &Answer, rows: usize) -> Result<Vec<RowAnswer>, Error> {
    let good = matches!(answer.status, 200..=299);
    if !good && answer.status != 400 {
        return Err(Refusal::read(&answer.body).into_error(call, answer.status));
    }
    let value: Value = match serde_json::from_slice(&answer.body) {
        Ok(value) => value,
        Err(_) if good => return Err(call.unclear("the answer is no JSON")),
        Err(_) => Value::Null,
    };
    let list = json::list(&value["data"]);
    let is_about_rows = list.len() == rows && list.iter().all(|row| row["code"].is_string());
    if is_about_rows && !(rows == 1 && blames_the_call(&list[0])) {
        return Ok(list.iter().map(RowAnswer::from_json).collect());
    }
    let refusal = Refusal::read(&answer.body);
    if good && (refusal.code.is_empty() || !list.is_empty()) {
        return Err(call.unclear(format!("{} answers to {rows} rows", list.len())));
    }
    Err(refusal.into_error(call, answer.status))
}

/// Refusals of the whole call may come wrapped like the answer to its only row.
fn blames_the_call(row: &Value) -> bool {
    let codes =
        ["INVALID_MODULE", "NO_PERMISSION", "INVALID_URL_PATTERN", "API_NOT_SUPPORTED", "TOO_MANY_REQUESTS"];
    row["code"].as_str().is_some_and(|code| codes.contains(&code)) && row["details"]["json_path"].is_null()
}

#[cfg(test)]
mod tests {
    use super::{ListAnswer, Page, row_answers};
    use crate::zoho::call::Call;
    use crate::zoho::transport::Answer;
    use crate::zoho::types::Method;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned().into(), ..Answer::default() }
    }

    #[test]
    fn records_keep_their_text() {
        let body =
            r#"{"data":[{"id":"7","Amount":10.10}],"info":{"more_records":true,"next_page_token":"c8"}}"#;
        let page = Page::from(serde_json::from_str::<ListAnswer>(body).expect("valid"));
        assert_eq!(page.records[0].get(), r#"{"id":"7","Amount":10.10}"#);
        assert_eq!((page.more_records, page.next_page_token.as_deref()), (true, Some("c8")));
        let bare =
            Page::from(serde_json::from_str::<ListAnswer>(r#"{"data":null,"info":{}}"#).expect("valid"));
        assert!(bare.records.is_empty() && !bare.more_records);
    }

    #[test]
    fn each_row_has_its_answer() {
        let body = r#"{"data":[{"code":"SUCCESS","status":"success","message":"record added","action":"insert","details":{"id":"9"}},
            {"code":"DUPLICATE_DATA","status":"error","message":"duplicate data","details":{"api_name":"Email","duplicate_record":{"id":"5"}}}]}"#;
        let rows = row_answers(&Call::new(Method::Post, "/x"), &answer(207, body), 2).expect("two rows");
        assert_eq!(rows[0].id.as_ref().map(|id| id.as_str()), Some("9"));
        assert_eq!(rows[0].action.as_deref(), Some("insert"));
        assert!(!rows[1].success && rows[1].id.is_none());
        assert_eq!(rows[1].duplicate_id.as_ref().map(|id| id.as_str()), Some("5"));
        assert_eq!(rows[1].field.as_deref(), Some("Email"));
    }

    #[test]
    fn a_wrong_number_of_answers_leaves_doubt() {
        let body = r#"{"data":[{"code":"SUCCESS","status":"success","details":{"id":"9"}}]}"#;
        let once = Call::new(Method::Post, "/x");
        assert!(row_answers(&once, &answer(201, body), 2).is_err_and(|error| error.in_doubt()));
        assert!(row_answers(&once, &answer(201, "<html>"), 2).is_err_and(|error| error.in_doubt()));
        let harmless = Call::new(Method::Post, "/x").repeatable(true);
        assert!(row_answers(&harmless, &answer(201, body), 2).is_err_and(|error| !error.in_doubt()));
    }

    #[test]
    fn a_refused_call_is_no_row_answer() {
        let bare = r#"{"code":"INVALID_MODULE","details":{},"message":"the module name given seems to be invalid","status":"error"}"#;
        let wrapped = format!(r#"{{"data":[{bare}]}}"#);
        for (body, rows) in [(bare, 1), (bare, 3), (wrapped.as_str(), 1), (wrapped.as_str(), 3)] {
            let error =
                row_answers(&Call::new(Method::Post, "/x"), &answer(400, body), rows).expect_err("refused");
            assert_eq!(error.code(), Some("INVALID_MODULE"));
            assert!(!error.in_doubt());
        }
        let row = r#"{"data":[{"code":"INVALID_DATA","status":"error","message":"invalid data","details":{"api_name":"Email"}}]}"#;
        assert!(row_answers(&Call::new(Method::Post, "/x"), &answer(400, row), 1).is_ok());
    }
}
