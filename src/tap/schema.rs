//! From a field of Zoho's to the schema of a property.
//!
//! Exact where Zoho is exact (length, scale, format), nullable unless the field cannot be empty, and
//! never an `enum`: picklists accept values nobody listed. Zoho's own words ride along as annotations.

use crate::codec::value::Kind;
use crate::protocol::schema::Property;
use crate::zoho::types::{DataType, Field};
use serde_json::Value;

/// The schema of the property that carries this field.
pub fn property(field: &Field) -> Value {
    let kind = Kind::of(field);
    let mut property = typed(kind, field).with("x-zoho-type", field.data_type.as_str());
    if !field.field_label.is_empty() {
        property = property.with("title", field.field_label.as_str());
    }
    // Only the id is never empty: a field that is mandatory now may be empty in older rows.
    if field.api_name == "id" {
        property = property.never_null();
    }
    property.into()
}

fn typed(kind: Kind, field: &Field) -> Property {
    match kind {
        Kind::Id | Kind::Name => Property::new("string"),
        Kind::Text => match field.length.filter(|length| *length > 0) {
            Some(length) if has_length(&field.data_type) => Property::new("string").with("maxLength", length),
            _ => Property::new("string"),
        },
        // Zoho's `integer` holds up to nine digits ("Field Meta Data"); rollups may count further.
        Kind::Integer if field.data_type == DataType::Integer => {
            Property::new("integer").with("minimum", -999_999_999).with("maximum", 999_999_999)
        }
        Kind::Integer => Property::new("integer"),
        Kind::Decimal => match field.decimal_place {
            Some(places) => Property::new("number").with("x-zoho-scale", places),
            None => Property::new("number"),
        },
        Kind::Boolean => Property::new("boolean"),
        Kind::Date => Property::formatted("date"),
        Kind::DateTime => Property::formatted("date-time"),
        Kind::MultiSelect | Kind::Names | Kind::Ids => Property::strings(),
        Kind::Json => Property::array(),
    }
}

/// Whether `length` counts the characters of a value of this type. For picklists it counts those of
/// an option, for files their number, for the rest it is a display width.
fn has_length(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Text | DataType::TextArea | DataType::Email | DataType::Phone | DataType::Website
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema_of(field: Value) -> Value {
        property(&Field::from_json(&field))
    }

    #[test]
    fn types_are_exact() {
        let email =
            json!({"api_name": "Email", "field_label": "E-Mail", "data_type": "email", "length": 100});
        assert_eq!(
            schema_of(email),
            json!({"type": ["null", "string"], "maxLength": 100, "x-zoho-type": "email", "title": "E-Mail"})
        );
        let id = schema_of(json!({"api_name": "id", "data_type": "bigint"}));
        assert_eq!(id, json!({"type": "string", "x-zoho-type": "bigint"}));
        let amount = schema_of(json!({"api_name": "A", "data_type": "currency", "decimal_place": 2}));
        assert_eq!(amount["x-zoho-scale"], 2);
        let tags = schema_of(json!({"api_name": "Tag", "data_type": "text", "json_type": "jsonarray"}));
        assert_eq!(tags["items"], json!({"type": "string"}));
    }
}
