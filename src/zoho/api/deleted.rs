//! Deleted records of a module: `GET /crm/v8/{module}/deleted`.
//!
//! Zoho lists records in the bin for 60 days and purged ones for 120 days, in no promised order.

use super::records::{MAX_PER_PAGE, iso};
use crate::zoho::call::{Call, segment};
use crate::zoho::client::Client;
use crate::zoho::credits::{Category, DELETED_PAGE};
use crate::zoho::error::Error;
use crate::zoho::json;
use crate::zoho::types::RecordId;
use chrono::{DateTime, Utc};
use serde_json::Value;

// Response types

/// One deletion.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedRecord {
    /// The record that is gone.
    pub id: RecordId,
    /// What the screen showed for it.
    pub display_name: Option<String>,
    /// `recycle` (in the bin) or `permanent`.
    pub deletion_type: String,
    /// When it went to the bin, or for good.
    pub deleted_time: Option<DateTime<Utc>>,
    /// Who deleted it.
    pub deleted_by: Option<Person>,
    /// Who had created it.
    pub created_by: Option<Person>,
}

/// A user as other records name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Id of the user.
    pub id: RecordId,
    /// Name of the user.
    pub name: String,
}

/// Which deletions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedKind {
    /// Both.
    All,
    /// What lies in the bin.
    Recycle,
    /// What is gone for good.
    Permanent,
}

impl DeletedKind {
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Recycle => "recycle",
            Self::Permanent => "permanent",
        }
    }
}

/// One page of deletions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeletedPage {
    /// The deletions, in the order of the answer.
    pub records: Vec<DeletedRecord>,
    /// Whether there is another page.
    pub more_records: bool,
}

impl DeletedRecord {
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            id: RecordId::from(json::id(&value["id"])?),
            display_name: json::optional_text(value, "display_name"),
            deletion_type: json::text(value, "type"),
            deleted_time: json::instant(&value["deleted_time"]),
            deleted_by: Person::from_json(&value["deleted_by"]),
            created_by: Person::from_json(&value["created_by"]),
        })
    }
}

impl Person {
    fn from_json(value: &Value) -> Option<Self> {
        Some(Self { id: RecordId::from(json::id(&value["id"])?), name: json::text(value, "name") })
    }
}

impl Client {
    /// One page of a module's deletions, numbered from 1; `since` leaves out older ones.
    ///
    /// # Errors
    ///
    /// `INVALID_MODULE`, `NO_PERMISSION`, and those of every call.
    pub async fn deleted(
        &self,
        module: &str,
        kind: DeletedKind,
        since: Option<DateTime<Utc>>,
        page: u32,
    ) -> Result<DeletedPage, Error> {
        let mut call = Call::get(format!("/crm/v8/{}/deleted", segment(module)))
            .query("type", kind.name())
            .query("page", page.to_string())
            .query("per_page", MAX_PER_PAGE.to_string())
            .price(Category::Data, DELETED_PAGE)
            .module(module);
        if let Some(since) = since {
            call = call.header("if-modified-since", iso(since));
        }
        let value = self.fetch_value(&call).await?;
        let records =
            json::list(&value["data"]).iter().map(DeletedRecord::from_json).collect::<Option<Vec<_>>>();
        Ok(DeletedPage {
            records: records.ok_or_else(|| call.unclear("a deletion without id"))?,
            more_records: json::flag(&value["info"], "more_records"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::DeletedRecord;
    use serde_json::json;

    #[test]
    fn purged_records_have_no_name_and_no_deleter() {
        let record = DeletedRecord::from_json(
            &json!({"id": "4812000000098001", "display_name": null, "type": "permanent",
            "deleted_time": "2026-02-01T11:00:00+11:00", "deleted_by": null, "created_by": {}}),
        );
        let record = record.expect("it has an id");
        assert_eq!((record.display_name, record.deleted_by, record.created_by), (None, None, None));
        assert_eq!(
            record.deleted_time.map(|time| time.to_rfc3339()).as_deref(),
            Some("2026-02-01T00:00:00+00:00")
        );
        assert!(DeletedRecord::from_json(&json!({"type": "recycle"})).is_none());
    }
}
