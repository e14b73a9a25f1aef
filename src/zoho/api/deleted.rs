//! Deleted records of a module: `GET /crm/v8/{module}/deleted`.
//!
//! Zoho lists records in the bin for 60 days and purged ones for 120 days, in no promised order.

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
