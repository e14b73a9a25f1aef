//! Records one call at a time: list, single, count, insert, update, upsert, delete.
//!
//! Records pass through as raw JSON text, so that no digit is lost and nothing is parsed twice.
//! Follows the pages "Get Records", "Insert Records", "Update Records", "Upsert Records",
//! "Delete Records".

use crate::zoho::json;
use crate::zoho::types::RecordId;
use chrono::{DateTime, Utc};
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
