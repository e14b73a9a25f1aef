//! Which way of reading hands over which fields whole: the table of `docs/reading.md`, as code.
//!
//! A way is named here only if what it hands over is, after `codec/value.rs`, the same bytes as by
//! every other way named. What a server refuses beyond this table is learned while reading, see
//! [`super::slices::Learned`]. Follows the pages "Get Records", "COQL Limitations" and "Bulk Read".

use super::plan::Way;
use crate::codec::value::Kind;
use crate::zoho::types::{DataType, Field};

/// Who can deliver a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// As a column of a bulk file.
    pub bulk_read: bool,
    /// As a column of a query.
    pub coql: bool,
    /// As a field of the records API's list.
    pub records: bool,
}

impl Delivery {
    /// Every way can.
    pub const ALL: Self = Self { bulk_read: true, coql: true, records: true };
    /// Only the records API can.
    pub const RECORDS: Self = Self { bulk_read: false, coql: false, records: true };
    /// Bulk Read and queries can; lists show a part only.
    pub const WHOLE: Self = Self { bulk_read: true, coql: true, records: false };
    /// Nobody can, except the call for a single record.
    pub const NONE: Self = Self { bulk_read: false, coql: false, records: false };

    /// Who can deliver this field.
    pub fn of(field: &Field) -> Self {
        match field.data_type {
            DataType::Subform | DataType::MultiSelectLookup | DataType::MultiUserLookup => Self::NONE,
            // The lists of the records API cut rich text to 500 characters.
            _ if field.textarea_type.as_deref() == Some("rich_text") => Self::WHOLE,
            // Tags, territories, files and what else is an object or a list of them.
            _ => match Kind::of(field) {
                Kind::Names | Kind::Ids | Kind::Json => Self::RECORDS,
                _ => Self::ALL,
            },
        }
    }

    /// Whether this way can.
    pub fn by(self, way: Way) -> bool {
        match way {
            Way::BulkRead => self.bulk_read,
            Way::Coql => self.coql,
            Way::Records => self.records,
        }
    }

    /// Whether every way that can costs several credits for a thousand rows.
    pub fn is_dear(self) -> bool {
        !self.bulk_read && !self.coql
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_cut_rich_text_and_alone_show_tags() {
        let of = |field| Delivery::of(&Field::from_json(&field));
        let rich = json!({"api_name": "D", "data_type": "textarea", "textarea": {"type": "rich_text"}});
        assert_eq!(of(rich), Delivery::WHOLE);
        let tags = of(json!({"api_name": "Tag", "data_type": "text", "json_type": "jsonarray"}));
        assert_eq!((tags, tags.is_dear()), (Delivery::RECORDS, true));
        assert_eq!(of(json!({"api_name": "A", "data_type": "currency"})), Delivery::ALL);
    }
}
