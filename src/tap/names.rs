//! Names of what lookups point at (`lookup_names`): for each lookup field one property more.
//!
//! Only names that are the same bytes by every way that delivers them. For a record that is what its
//! module shows it by: lists and queries tell it as the lookup's `name`, files as a column of the parent.
//! For a user lists tell the full name and queries the last name, so the last name it is, which files have
//! as well. Consents, layouts and lookups into several modules come without: queries do not tell their
//! names. Follows the pages "Get Records", "COQL" and "Bulk Read" (names with dots).

use super::delivery::Delivery;
use crate::codec::plan::Column;
use crate::codec::value::Kind;
use crate::protocol::schema::Property;
use crate::zoho::types::{DataType, Field};
use serde_json::Value;

/// The name of what a lookup field points at.
#[derive(Debug, Clone, PartialEq)]
pub struct LookupName {
    /// The property it is, as a part of its field.
    pub column: Column,
    /// Who can deliver it.
    pub delivery: Delivery,
    /// The schema of its property.
    pub schema: Value,
    /// The stream whose records it shows, and the fields of theirs that it is made of.
    pub shows: (String, Vec<&'static str>),
}

impl LookupName {
    /// The name that comes with a field; none if it is no lookup, or one without a name that every
    /// way tells alike. A field of that very name goes before it.
    pub fn of(field: &Field, fields: &[Field]) -> Option<Self> {
        let name = match field.data_type {
            DataType::OwnerLookup | DataType::UserLookup => Self::of_a_user(field),
            // Zoho writes `se_module` where a lookup points into several modules.
            DataType::Lookup => match field.lookup_module.as_deref() {
                None | Some("se_module") => return None,
                Some(module) => Self::of_a_record(field, module),
            },
            _ => return None,
        };
        let is_taken = fields.iter().any(|field| field.api_name == name.column.name);
        (!is_taken && !field.virtual_field).then_some(name)
    }

    fn of_a_record(field: &Field, module: &str) -> Self {
        let shown = display_field(module);
        let made_of = shown.map_or_else(|| vec!["First_Name", "Last_Name", "Full_Name"], |shown| vec![shown]);
        let delivery = Delivery { bulk_read: shown.is_some(), ..Delivery::ALL };
        let shows = (module.to_owned(), made_of);
        Self::new(field, ("name", "name"), shown.unwrap_or("Full_Name"), delivery, shows)
    }

    fn of_a_user(field: &Field) -> Self {
        let shows = ("users".to_owned(), vec!["last_name", "full_name"]);
        Self::new(field, ("last_name", "last name"), "last_name", Delivery::WHOLE, shows)
    }

    fn new(
        field: &Field,
        (suffix, words): (&str, &str),
        cell: &str,
        delivery: Delivery,
        shows: (String, Vec<&'static str>),
    ) -> Self {
        let of = field.api_name.clone();
        let label = if field.field_label.is_empty() { &of } else { &field.field_label };
        let schema = Property::new("string").with("title", format!("{label} ({words})"));
        let schema = schema.with("x-zoho-name-of", of.as_str()).into();
        let column = Column::part(format!("{of}__{suffix}"), Kind::Name, of.clone(), format!("{of}.{cell}"));
        Self { column, delivery, schema, shows }
    }
}

/// The field by which a module shows its records, where files have it as a column. Contacts and leads
/// are shown by their first and last name together, which no file has.
///
/// Custom modules have a `Name`. A wrong guess (modules can be renamed) costs one refused job: then
/// queries bring the name, see [`super::slices::Learned`].
fn display_field(module: &str) -> Option<&'static str> {
    match module {
        "Contacts" | "Leads" => None,
        "Accounts" => Some("Account_Name"),
        "Campaigns" => Some("Campaign_Name"),
        "Deals" => Some("Deal_Name"),
        "Events" => Some("Event_Title"),
        "Price_Books" => Some("Price_Book_Name"),
        "Products" => Some("Product_Name"),
        "Solutions" => Some("Solution_Title"),
        "Vendors" => Some("Vendor_Name"),
        "Calls" | "Cases" | "Invoices" | "Purchase_Orders" | "Quotes" | "Sales_Orders" | "Tasks" => {
            Some("Subject")
        }
        _ => Some("Name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name_of(field: Value) -> Option<LookupName> {
        LookupName::of(&Field::from_json(&field), &[])
    }

    #[test]
    fn records_are_named_by_what_their_module_shows() {
        let to = |module: &str| {
            let field = json!({"api_name": "X", "field_label": "An X", "data_type": "lookup",
                "lookup": {"module": {"api_name": module}}});
            name_of(field)
        };
        let account = to("Accounts").expect("has a name");
        assert_eq!(
            (account.column.name.as_str(), account.column.cell.as_str()),
            ("X__name", "X.Account_Name")
        );
        assert_eq!(account.delivery, Delivery::ALL);
        assert_eq!(
            account.schema,
            json!({"type": ["null", "string"], "title": "An X (name)", "x-zoho-name-of": "X"})
        );
        assert_eq!(to("Machines").expect("has a name").column.cell, "X.Name");
        let contact = to("Contacts").expect("has a name").delivery;
        assert_eq!(contact, Delivery { bulk_read: false, ..Delivery::ALL });
        assert_eq!(to("se_module"), None);
    }

    #[test]
    fn users_are_named_by_what_all_ways_but_lists_tell() {
        let owner = name_of(json!({"api_name": "Owner", "data_type": "ownerlookup"})).expect("has a name");
        assert_eq!((owner.column.name.as_str(), owner.delivery), ("Owner__last_name", Delivery::WHOLE));
        assert_eq!(name_of(json!({"api_name": "L", "data_type": "layout"})), None);
    }

    #[test]
    fn a_field_goes_before_a_name() {
        let [lookup, other] = [("A", "userlookup"), ("A__last_name", "text")]
            .map(|(name, kind)| Field::from_json(&json!({"api_name": name, "data_type": kind})));
        assert_eq!(LookupName::of(&lookup, &[lookup.clone(), other]), None);
    }
}
