//! The typed vocabulary of Zoho CRM: ids, modules, fields, data types.
//!
//! Follows the pages "Modules Metadata" and "Fields Metadata" of the v8 API. Metadata is read
//! tolerantly, because its shape moves between versions: `{}`, `null` and an absent key all mean
//! "not applicable", ids and numbers come as numbers or strings, a module reference as a name or
//! as an object. Nothing here sends a request or knows Singer.

use super::json;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as Zoho writes it: decimal digits that may overflow every integer type.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Takes a string or a number; a number keeps all of its digits.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                json::id(&value)
                    .map(Self)
                    .ok_or_else(|| serde::de::Error::custom("an id must be a string or a number"))
            }
        }
    };
}

id_type! {
    /// Id of a record of any module, a user included.
    RecordId
}
id_type! {
    /// Id of a bulk read or bulk write job.
    JobId
}
id_type! {
    /// Id of a file uploaded for bulk write.
    FileId
}

/// The verb of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads; may always be repeated.
    Get,
    /// Creates, or asks a question too long for an address.
    Post,
    /// Updates.
    Put,
    /// Changes in part.
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// The verb in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A module: what a table is elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Module {
    /// Id of the module's metadata.
    pub id: Option<String>,
    /// The name used in every address and query.
    pub api_name: String,
    /// Zoho's internal name; differs from `api_name` for custom and some standard modules.
    pub module_name: String,
    /// Label of one record, in the user's language.
    pub singular_label: String,
    /// Label of many records, in the user's language.
    pub plural_label: String,
    /// `default`, `custom`, `linking`, `subform`, `field_tracker`, ...
    pub generated_type: String,
    /// Whether the API knows the module at all.
    pub api_supported: bool,
    /// Whether this user may see records.
    pub viewable: bool,
    /// Whether this user may create records.
    pub creatable: bool,
    /// Whether this user may change records.
    pub editable: bool,
    /// Whether this user may delete records.
    pub deletable: bool,
    /// `visible`, `user_hidden`, `system_hidden`, `scheduled_for_deletion`; empty when not told.
    pub status: String,
    /// For a subform or tracker: the module it belongs to.
    pub parent_module: Option<String>,
}

impl Module {
    /// Reads one element of `modules[]`.
    pub fn from_json(value: &Value) -> Self {
        Self {
            id: json::id(&value["id"]),
            api_name: json::text(value, "api_name"),
            module_name: json::text(value, "module_name"),
            singular_label: json::text(value, "singular_label"),
            plural_label: json::text(value, "plural_label"),
            generated_type: json::text(value, "generated_type").to_ascii_lowercase(),
            api_supported: json::flag(value, "api_supported"),
            viewable: json::flag(value, "viewable"),
            creatable: json::flag(value, "creatable"),
            editable: json::flag(value, "editable"),
            deletable: json::flag(value, "deletable"),
            status: json::text(value, "status").to_ascii_lowercase(),
            parent_module: json::name_of(&value["parent_module"]),
        }
    }
}

impl<'de> Deserialize<'de> for Module {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::from_json(&value))
    }
}

/// A field of a module: what a column is elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Field {
    /// Id of the field's metadata.
    pub id: String,
    /// The name used in records and queries.
    pub api_name: String,
    /// Label in the user's language.
    pub field_label: String,
    /// What the field holds.
    pub data_type: DataType,
    /// How a record writes it: `string`, `integer`, `double`, `boolean`, `jsonobject`, `jsonarray`.
    pub json_type: String,
    /// Most characters (digits for numbers, files for uploads).
    pub length: Option<u32>,
    /// Digits after the point.
    pub decimal_place: Option<u32>,
    /// Mandatory in every layout.
    pub system_mandatory: bool,
    /// Made by the customer.
    pub custom_field: bool,
    /// Not writable by this user; see [`Field::api_create`] for what the API takes.
    pub read_only: bool,
    /// Metadata without a value of its own.
    pub virtual_field: bool,
    /// Visible to this user.
    pub visible: bool,
    /// Taken on insert (`operation_type.api_create`).
    pub api_create: bool,
    /// Taken on update (`operation_type.api_update`).
    pub api_update: bool,
    /// No two records may share a value.
    pub unique: bool,
    /// Whether `unique` tells upper from lower case.
    pub case_sensitive: bool,
    /// For a lookup: the module it points to.
    pub lookup_module: Option<String>,
    /// For a multi-select lookup: the module that holds the links.
    pub linking_module: Option<String>,
    /// For a subform: the module that holds the rows.
    pub subform_module: Option<String>,
    /// For a formula: the type of its result.
    pub formula_type: Option<DataType>,
    /// For a roll-up summary: the type of its result.
    pub rollup_type: Option<DataType>,
    /// Options of a picklist, unused ones included.
    pub pick_list_values: Vec<PickListValue>,
    /// For a text area: `small`, `large` or `rich_text`.
    pub textarea_type: Option<String>,
    /// An external id, addressed by the `X-EXTERNAL` header.
    pub external: bool,
    /// `-1` normal, `2` select only, `3` hidden; `None` when not told.
    pub display_type: Option<i64>,
}

impl Field {
    /// Reads one element of `fields[]`.
    pub fn from_json(value: &Value) -> Self {
        let read_only = json::flag(value, "read_only");
        let operations = &value["operation_type"];
        let unique = &value["unique"];
        Self {
            id: json::text(value, "id"),
            api_name: json::text(value, "api_name"),
            field_label: json::text(value, "field_label"),
            data_type: DataType::from(json::text(value, "data_type").as_str()),
            json_type: json::text(value, "json_type").to_ascii_lowercase(),
            length: json::number(&value["length"]),
            decimal_place: json::number(&value["decimal_place"]),
            system_mandatory: json::flag(value, "system_mandatory"),
            custom_field: json::flag(value, "custom_field"),
            read_only,
            virtual_field: json::flag(value, "virtual_field"),
            visible: json::flag_or(value, "visible", true),
            api_create: json::flag_or(operations, "api_create", !read_only),
            api_update: json::flag_or(operations, "api_update", !read_only),
            unique: is_unique(unique),
            case_sensitive: json::flag(unique, "case_sensitive"),
            lookup_module: json::name_of(&value["lookup"]["module"]),
            linking_module: linking_module(value),
            subform_module: subform_module(value),
            formula_type: return_type(&value["formula"]),
            rollup_type: return_type(&value["rollup_summary"]),
            pick_list_values: json::list(&value["pick_list_values"])
                .iter()
                .map(PickListValue::from_json)
                .collect(),
            textarea_type: json::optional_text(&value["textarea"], "type"),
            external: json::is_set(&value["external"]),
            display_type: json::number(&value["display_type"]),
        }
    }
}

/// `{}`, `null` and absent say no; an object with any key says yes.
fn is_unique(value: &Value) -> bool {
    match value {
        Value::Bool(unique) => *unique,
        other => json::is_set(other),
    }
}

fn linking_module(field: &Value) -> Option<String> {
    ["multiselectlookup", "multiuserlookup"]
        .iter()
        .find_map(|key| json::name_of(&field[key]["linking_module"]))
}

fn subform_module(field: &Value) -> Option<String> {
    json::name_of(&field["subform"]["module"])
        .or_else(|| json::name_of(&field["associated_module"]["module"]))
        .or_else(|| json::name_of(&field["associated_module"]))
        .or_else(|| json::name_of(&field["subform"]))
}

fn return_type(value: &Value) -> Option<DataType> {
    json::optional_text(value, "return_type").map(|name| DataType::from(name.as_str()))
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::from_json(&value))
    }
}

/// One option of a picklist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PickListValue {
    /// What the screen shows.
    pub display_value: String,
    /// What a record holds.
    pub actual_value: String,
    /// Whether the option is offered for new values.
    pub used: bool,
}

impl PickListValue {
    fn from_json(value: &Value) -> Self {
        let display_value = json::text(value, "display_value");
        Self {
            actual_value: json::optional_text(value, "actual_value").unwrap_or_else(|| display_value.clone()),
            display_value,
            used: json::text(value, "type") != "unused",
        }
    }
}

macro_rules! data_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(| $alias:literal)*,)*) => {
        /// What a field holds, by Zoho's `data_type`.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DataType {
            $($(#[$doc])* $variant,)*
            /// A type this crate does not know; its values are passed on as they come.
            Other(String),
        }

        impl DataType {
            /// The name Zoho gives the type.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for DataType {
            fn from(name: &str) -> Self {
                match name.to_ascii_lowercase().as_str() {
                    $($name $(| $alias)* => Self::$variant,)*
                    _ => Self::Other(name.to_owned()),
                }
            }
        }
    };
}

data_types! {
    /// One line of text.
    #[default]
    Text = "text" | "string",
    /// Many lines of text, plain or rich.
    TextArea = "textarea",
    /// An e-mail address.
    Email = "email",
    /// A telephone number, free text.
    Phone = "phone",
    /// A web address, free text.
    Website = "website",
    /// One option of a list.
    Picklist = "picklist",
    /// Several options of a list.
    MultiSelectPicklist = "multiselectpicklist",
    /// Up to nine digits.
    Integer = "integer",
    /// Up to nineteen digits, a string in records.
    BigInt = "bigint" | "long",
    /// A decimal number.
    Double = "double" | "decimal",
    /// An amount of money.
    Currency = "currency",
    /// A percentage.
    Percent = "percent",
    /// True or false.
    Boolean = "boolean",
    /// A calendar day.
    Date = "date",
    /// An instant, resolution one second.
    DateTime = "datetime",
    /// A record of one other module.
    Lookup = "lookup",
    /// The user a record belongs to.
    OwnerLookup = "ownerlookup",
    /// A user.
    UserLookup = "userlookup",
    /// The layout of the record.
    Layout = "layout",
    /// Records of another module, by way of a linking module.
    MultiSelectLookup = "multiselectlookup",
    /// Users, by way of a linking module.
    MultiUserLookup = "multiuserlookup",
    /// Rows of their own module.
    Subform = "subform",
    /// Attached files.
    FileUpload = "fileupload",
    /// Attached pictures.
    ImageUpload = "imageupload",
    /// The picture of the record.
    ProfileImage = "profileimage",
    /// Computed from other fields; the result's type is in [`Field::formula_type`].
    Formula = "formula",
    /// Computed from related records; the result's type is in [`Field::rollup_type`].
    RollupSummary = "rollup_summary",
    /// A number the server counts up, with prefix and suffix.
    AutoNumber = "autonumber",
    /// Territories of the record.
    Territories = "territories",
    /// Consent of the person, in organisations under GDPR.
    ConsentLookup = "consent_lookup",
    /// A record of one of several modules.
    MultiModuleLookup = "multi_module_lookup",
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DataType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

impl Serialize for DataType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{DataType, Field, Module, RecordId};
    use serde_json::json;

    #[test]
    fn ids_keep_their_digits() {
        let ids: Vec<RecordId> =
            serde_json::from_str(r#"["4812000000331007", 98765432109876543210]"#).expect("valid");
        assert_eq!(ids[0].as_str(), "4812000000331007");
        assert_eq!(ids[1].as_str(), "98765432109876543210");
        assert!(serde_json::from_str::<RecordId>("{}").is_err());
    }

    #[test]
    fn a_lookup_is_read_in_each_of_its_shapes() {
        for lookup in [json!({"module": {"api_name": "Accounts", "id": "7"}}), json!({"module": "Accounts"})]
        {
            let field = Field::from_json(&json!({
                "id": 4812000000002591u64, "api_name": "Account_Name", "data_type": "lookup",
                "lookup": lookup, "unique": {}, "formula": {}, "operation_type": {"api_create": true, "api_update": false},
            }));
            assert_eq!(field.lookup_module.as_deref(), Some("Accounts"));
            assert_eq!(field.id, "4812000000002591");
            assert!(field.api_create && !field.api_update && !field.unique);
            assert_eq!(field.formula_type, None);
        }
    }

    #[test]
    fn empty_null_and_absent_mean_not_applicable() {
        let absent = Field::from_json(&json!({"api_name": "A", "data_type": "text"}));
        for nothing in [json!({}), json!(null)] {
            let field = Field::from_json(&json!({
                "api_name": "A", "data_type": "text", "unique": nothing, "lookup": nothing, "subform": nothing,
                "associated_module": nothing, "multiselectlookup": nothing, "formula": nothing, "rollup_summary": nothing,
                "textarea": nothing, "pick_list_values": null, "length": null, "external": nothing,
            }));
            assert_eq!(field, absent);
        }
        assert!(!absent.unique && absent.visible && absent.api_create);
    }

    #[test]
    fn computed_and_child_fields_name_their_types() {
        let formula =
            Field::from_json(&json!({"data_type": "formula", "formula": {"return_type": "currency"}}));
        assert_eq!(formula.formula_type, Some(DataType::Currency));
        let subform = Field::from_json(
            &json!({"data_type": "subform", "associated_module": {"module": "Items", "id": "1"}}),
        );
        assert_eq!(subform.subform_module.as_deref(), Some("Items"));
        let links = Field::from_json(&json!({"data_type": "multiselectlookup",
            "multiselectlookup": {"linking_module": {"api_name": "Leads_X_Products"}}}));
        assert_eq!(links.linking_module.as_deref(), Some("Leads_X_Products"));
        let unique = Field::from_json(&json!({"unique": {"case_sensitive": "false"}, "length": "255"}));
        assert!(unique.unique && !unique.case_sensitive);
        assert_eq!(unique.length, Some(255));
    }

    #[test]
    fn picklists_tell_used_from_unused() {
        let field = Field::from_json(&json!({"data_type": "picklist", "pick_list_values": [
            {"display_value": "Open", "actual_value": "open_1", "type": "used"},
            {"display_value": "Old", "type": "unused"}]}));
        assert_eq!(field.pick_list_values[0].actual_value, "open_1");
        assert_eq!(field.pick_list_values[1].actual_value, "Old");
        assert!(!field.pick_list_values[1].used);
    }

    #[test]
    fn unknown_types_keep_their_name() {
        assert_eq!(DataType::from("hologram").as_str(), "hologram");
        assert_eq!(DataType::from("ownerlookup"), DataType::OwnerLookup);
    }

    #[test]
    fn a_module_with_empty_parent_has_none() {
        let module = Module::from_json(&json!({"api_name": "Leads", "parent_module": {}, "viewable": true,
            "api_supported": "true", "generated_type": "default", "modified_time": null}));
        assert!(module.viewable && module.api_supported && !module.creatable);
        assert_eq!(module.parent_module, None);
    }
}
