//! Modules and fields of an organisation, loaded from a schema file.
//!
//! The built-in schema (`schema/zylker.json`) follows the field lists of the API reference; a
//! user's or test's file of the same form is laid over it: a module that is not there is added, a
//! field of the same name is replaced, `"remove": true` takes a module or field away. How metadata
//! looks in an answer is the business of `api/modules.rs` and `api/fields.rs`.

use super::Error;
use super::breadth;
use super::value::Id;
use serde::Deserialize;
use std::collections::BTreeMap;

const BUILT_IN: &str = include_str!("schema/zylker.json");

/// Zoho's `data_type` of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DataType {
    Text,
    TextArea,
    Email,
    Phone,
    Website,
    Picklist,
    MultiSelectPicklist,
    Integer,
    BigInt,
    Double,
    Currency,
    Percent,
    Boolean,
    Date,
    DateTime,
    Lookup,
    OwnerLookup,
    UserLookup,
    Layout,
    MultiSelectLookup,
    MultiUserLookup,
    Subform,
    FileUpload,
    ImageUpload,
    ProfileImage,
    Formula,
    #[serde(rename = "rollup_summary")]
    RollupSummary,
    AutoNumber,
}

impl DataType {
    /// The word of the fields metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::TextArea => "textarea",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Website => "website",
            Self::Picklist => "picklist",
            Self::MultiSelectPicklist => "multiselectpicklist",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Double => "double",
            Self::Currency => "currency",
            Self::Percent => "percent",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Lookup => "lookup",
            Self::OwnerLookup => "ownerlookup",
            Self::UserLookup => "userlookup",
            Self::Layout => "layout",
            Self::MultiSelectLookup => "multiselectlookup",
            Self::MultiUserLookup => "multiuserlookup",
            Self::Subform => "subform",
            Self::FileUpload => "fileupload",
            Self::ImageUpload => "imageupload",
            Self::ProfileImage => "profileimage",
            Self::Formula => "formula",
            Self::RollupSummary => "rollup_summary",
            Self::AutoNumber => "autonumber",
        }
    }

    /// Whether rows of another module stand behind the field, so that it has no column of its own.
    pub fn is_rows(self) -> bool {
        matches!(self, Self::Subform | Self::MultiSelectLookup | Self::MultiUserLookup)
    }

    /// Whether the value points at a user.
    pub fn is_user(self) -> bool {
        matches!(self, Self::OwnerLookup | Self::UserLookup)
    }
}

/// One field of a module. Its place in [`Module::fields`] never changes while the emulator runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The name used in every URL, query and record.
    pub api_name: String,
    /// What people see; made from the API name when the file has none.
    #[serde(default)]
    pub field_label: String,
    /// The kind of value.
    pub data_type: DataType,
    /// Most characters or digits; how many files for upload fields.
    #[serde(default)]
    pub length: Option<u32>,
    /// Digits after the point, for numbers that have them.
    #[serde(default)]
    pub decimal_place: Option<u32>,
    /// A record cannot be created without it.
    #[serde(default)]
    pub mandatory: bool,
    /// No two records may have the same value.
    #[serde(default)]
    pub unique: bool,
    /// Whether uniqueness tells upper from lower case.
    #[serde(default)]
    pub case_sensitive: bool,
    /// Not writable through the API.
    #[serde(default)]
    pub read_only: bool,
    /// Made by the user, not by Zoho; everything in a custom module that is not a system field.
    #[serde(default)]
    pub custom: bool,
    /// Has metadata but no value of its own.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    /// The module a lookup or multi-select lookup points to.
    #[serde(default)]
    pub lookup: Option<String>,
    /// The linking module behind a multi-select lookup.
    #[serde(default)]
    pub linking: Option<String>,
    /// The module that holds the rows of a subform.
    #[serde(default)]
    pub subform: Option<String>,
    /// Options of a picklist.
    #[serde(default)]
    pub pick_list: Vec<String>,
    /// `small`, `large` or `rich_text`.
    #[serde(default)]
    pub textarea: Option<String>,
    /// Return type of a formula.
    #[serde(default)]
    pub formula: Option<String>,
    /// The field whose value a formula repeats: the emulator's only formula.
    #[serde(default)]
    pub formula_of: Option<String>,
    /// Return type of a rollup summary.
    #[serde(default)]
    pub rollup: Option<String>,
    /// What an auto number starts with.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Set on `Full_Name`, which is made of the first and last name.
    #[serde(default)]
    pub full_name: Option<String>,
    /// In a file: takes the field away. In a running emulator: the field is gone.
    #[serde(default)]
    pub remove: bool,
    /// Added by Zoho itself, not by the schema file.
    #[serde(skip)]
    pub system: bool,
    /// The metadata id.
    #[serde(skip)]
    pub id: Id,
    /// Rows made from the seed have a value; false for fields added to a running emulator.
    #[serde(skip)]
    pub generated: bool,
}

impl Field {
    /// Whether a value may be sent on create.
    pub fn is_writable(&self) -> bool {
        !self.read_only && self.full_name.is_none() && self.api_name != "id"
    }

    /// Whether rich text, which list calls cut.
    pub fn is_rich_text(&self) -> bool {
        self.textarea.as_deref() == Some("rich_text")
    }
}

/// A page layout: a form for the records of a module.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Its name.
    pub name: String,
    /// Fields that a new record with this layout has to have, by the record calls at least.
    #[serde(default)]
    pub required: Vec<String>,
}

/// How far apart the ids of a module's layouts are.
const LAYOUT_STEP: Id = 1_000_000;

fn yes() -> bool {
    true
}

/// One module with its fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// The key of every URL and query.
    pub api_name: String,
    /// Zoho's internal name, different from the API name for custom and linking modules.
    #[serde(default)]
    pub module_name: String,
    /// One record of it, as people say it.
    #[serde(default)]
    pub singular_label: String,
    /// Many records of it.
    #[serde(default)]
    pub plural_label: String,
    /// `default`, `custom`, `subform` or `linking`.
    #[serde(default)]
    pub generated_type: String,
    /// Whether the record calls know it.
    #[serde(default = "yes")]
    pub api_supported: bool,
    /// Whether records can be created by their own call (rows of subforms cannot).
    #[serde(default = "yes")]
    pub creatable: bool,
    /// Whether records can be changed by their own call.
    #[serde(default = "yes")]
    pub editable: bool,
    /// Whether bulk read takes it.
    #[serde(default = "yes")]
    pub bulk_read: bool,
    /// Whether bulk write takes it.
    #[serde(default = "yes")]
    pub bulk_write: bool,
    /// Whether queries take it.
    #[serde(default = "yes")]
    pub coql: bool,
    /// Whether records can be converted.
    #[serde(default)]
    pub convertable: bool,
    /// Whether it has the `Tag` field.
    #[serde(default)]
    pub tags: bool,
    /// Whether it has the `Record_Image` field.
    #[serde(default)]
    pub image: bool,
    /// `visible` or one of the hidden states.
    #[serde(default)]
    pub status: String,
    /// Its layouts, the default one first; one called Standard when absent.
    #[serde(default)]
    pub layouts: Vec<Layout>,
    /// What an upsert checks by default.
    #[serde(default)]
    pub duplicate_field: Option<String>,
    /// What a lookup to this module shows as name.
    #[serde(default)]
    pub display_field: Option<String>,
    /// The module whose records own the rows of this one.
    #[serde(default)]
    pub parent: Option<String>,
    /// Fields of all kinds are added until it has so many, system fields included.
    #[serde(default)]
    pub wide: Option<u16>,
    /// All generated rows have the same `Modified_Time`, as after an import.
    #[serde(default)]
    pub one_modified_time: bool,
    /// Which system fields it has; all when absent.
    #[serde(default)]
    pub system_fields: Option<Vec<String>>,
    /// In a file: takes the module away.
    #[serde(default)]
    pub remove: bool,
    /// All fields that ever were; use [`Module::active`] for those that are.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// The metadata id.
    #[serde(skip)]
    pub id: Id,
    /// The first layout's id.
    #[serde(skip)]
    pub layout_id: Id,
    #[serde(skip)]
    by_name: BTreeMap<String, u16>,
}

impl Module {
    /// The place of a field that exists.
    pub fn index_of(&self, api_name: &str) -> Option<u16> {
        self.by_name.get(api_name).copied()
    }

    /// A field by name.
    pub fn field(&self, api_name: &str) -> Option<&Field> {
        self.index_of(api_name).map(|index| self.at(index))
    }

    /// A field by place.
    pub fn at(&self, index: u16) -> &Field {
        &self.fields[usize::from(index)]
    }

    /// Every field that exists, with its place, in the order of the metadata.
    pub fn active(&self) -> impl Iterator<Item = (u16, &Field)> {
        (0u16..).zip(&self.fields).filter(|(_, field)| !field.remove)
    }

    /// The place of the field that lookups show.
    pub fn display_index(&self) -> Option<u16> {
        self.display_field.as_deref().and_then(|name| self.index_of(name))
    }

    /// The id of a layout by place.
    pub fn layout_id_at(&self, place: usize) -> Id {
        self.layout_id + place as Id * LAYOUT_STEP
    }

    /// The place of the layout with that id.
    pub fn layout_at(&self, id: Id) -> Option<usize> {
        (0..self.layouts.len()).find(|place| self.layout_id_at(*place) == id)
    }

    /// Adds or replaces a field of a running module; rows made from the seed leave it empty.
    pub fn add_field(&mut self, mut field: Field, id: Id) {
        field.id = id;
        field.generated = false;
        field.custom = true;
        self.remove_field(&field.api_name.clone());
        self.push(field);
    }

    /// Takes a field away; its place stays, so that stored rows keep their meaning.
    pub fn remove_field(&mut self, api_name: &str) -> bool {
        match self.by_name.remove(api_name) {
            Some(index) => {
                self.fields[usize::from(index)].remove = true;
                true
            }
            None => false,
        }
    }

    fn push(&mut self, mut field: Field) {
        if field.field_label.is_empty() {
            field.field_label = field.api_name.replace('_', " ");
        }
        self.by_name.insert(field.api_name.clone(), self.fields.len() as u16);
        self.fields.push(field);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaFile {
    #[serde(default)]
    modules: Vec<Module>,
}

/// The modules of an organisation, in the order of the metadata call.
#[derive(Debug, Clone)]
pub struct Schema {
    /// All modules, complete with system fields and ids.
    pub modules: Vec<Module>,
}

impl Schema {
    /// The built-in schema with the given file laid over it.
    ///
    /// `org_base` is the organisation's id prefix as a number; metadata ids are made from it.
    ///
    /// # Errors
    /// [`Error::Schema`] when the file does not have the form of a schema.
    pub fn load(overlay: Option<&serde_json::Value>, org_base: Id) -> Result<Self, Error> {
        let mut modules = parse(BUILT_IN)?;
        if let Some(overlay) = overlay {
            for module in parse(&overlay.to_string())? {
                lay_over(&mut modules, module);
            }
        }
        let mut next_field = org_base + 10_000;
        for (number, module) in (0u64..).zip(&mut modules) {
            complete(module, org_base + 2_000 + number * 2, &mut next_field);
        }
        Ok(Self { modules })
    }

    /// A module by API name; Zoho takes any case here.
    pub fn module(&self, api_name: &str) -> Option<&Module> {
        self.position(api_name).map(|at| &self.modules[at])
    }

    /// Where a module stands in [`Schema::modules`].
    pub fn position(&self, api_name: &str) -> Option<usize> {
        self.modules.iter().position(|module| module.api_name.eq_ignore_ascii_case(api_name))
    }
}

fn parse(text: &str) -> Result<Vec<Module>, Error> {
    serde_json::from_str::<SchemaFile>(text).map(|file| file.modules).map_err(Error::Schema)
}

fn lay_over(modules: &mut Vec<Module>, new: Module) {
    let Some(at) = modules.iter().position(|module| module.api_name == new.api_name) else {
        modules.push(Module { generated_type: or(new.generated_type.clone(), "custom"), ..new });
        return;
    };
    if new.remove {
        modules.remove(at);
        return;
    }
    let old = &mut modules[at];
    old.wide = new.wide.or(old.wide);
    if !new.layouts.is_empty() {
        old.layouts = new.layouts;
    }
    old.one_modified_time |= new.one_modified_time;
    for field in new.fields {
        old.fields.retain(|existing| existing.api_name != field.api_name);
        if !field.remove {
            old.fields.push(Field { custom: true, ..field });
        }
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// Fills in what a schema file may leave out: labels, system fields, ids.
fn complete(module: &mut Module, id: Id, next_field: &mut Id) {
    let name = module.api_name.clone();
    module.id = id;
    module.layout_id = id + 80_000;
    if module.layouts.is_empty() {
        module.layouts.push(Layout { name: "Standard".to_owned(), required: Vec::new() });
    }
    module.module_name = or(std::mem::take(&mut module.module_name), &name);
    module.singular_label = or(std::mem::take(&mut module.singular_label), &name);
    module.plural_label = or(std::mem::take(&mut module.plural_label), &name);
    module.generated_type = or(std::mem::take(&mut module.generated_type), "default");
    module.status = or(std::mem::take(&mut module.status), "visible");
    let is_custom = module.generated_type != "default";
    if module.display_field.is_none() && module.fields.iter().any(|field| field.api_name == "Name") {
        module.display_field = Some("Name".into());
        module.duplicate_field.get_or_insert_with(|| "Name".into());
    }
    let mut own = std::mem::take(&mut module.fields);
    let (first, last) = system_fields(module);
    breadth::widen(module, &mut own, first.len() + last.len());
    for mut field in first.into_iter().chain(own).chain(last) {
        field.id = *next_field;
        *next_field += 3;
        field.generated = true;
        field.custom |= is_custom && !field.system;
        field.length = field.length.or(default_length(&field));
        module.push(field);
    }
}

/// The system fields that stand before and after the module's own ones.
fn system_fields(module: &Module) -> (Vec<Field>, Vec<Field>) {
    let wanted = |name: &str| match &module.system_fields {
        Some(names) => names.iter().any(|wanted| wanted == name),
        None => true,
    };
    let make = |name: &str, data_type, read_only| {
        wanted(name).then(|| Field { read_only, system: true, ..Field::bare(name, data_type) })
    };
    let first = [make("id", DataType::BigInt, true), make("Owner", DataType::OwnerLookup, false)];
    let mut last = vec![
        make("Created_By", DataType::OwnerLookup, true),
        make("Modified_By", DataType::OwnerLookup, true),
        make("Created_Time", DataType::DateTime, true),
        make("Modified_Time", DataType::DateTime, true),
    ];
    if module.system_fields.is_none() && module.api_supported {
        last.push(make("Layout", DataType::Layout, false));
    }
    if module.tags {
        last.push(make("Tag", DataType::Text, false));
    }
    if module.image {
        last.push(make("Record_Image", DataType::ProfileImage, true));
    }
    (first.into_iter().flatten().collect(), last.into_iter().flatten().collect())
}

impl Field {
    /// A field with nothing but a name and a type.
    pub fn bare(api_name: &str, data_type: DataType) -> Self {
        Self {
            api_name: api_name.to_owned(),
            field_label: String::new(),
            data_type,
            length: None,
            decimal_place: None,
            mandatory: false,
            unique: false,
            case_sensitive: false,
            read_only: false,
            custom: false,
            is_virtual: false,
            lookup: None,
            linking: None,
            subform: None,
            pick_list: Vec::new(),
            textarea: None,
            formula: None,
            formula_of: None,
            rollup: None,
            prefix: None,
            full_name: None,
            remove: false,
            system: false,
            id: 0,
            generated: true,
        }
    }
}

/// Lengths that Zoho gives a field when nobody chose one (API reference, "fields metadata").
fn default_length(field: &Field) -> Option<u32> {
    Some(match field.data_type {
        DataType::Text | DataType::Website | DataType::ProfileImage => 255,
        DataType::TextArea => 2_000,
        DataType::Email => 100,
        DataType::Phone => 30,
        DataType::Picklist | DataType::OwnerLookup | DataType::UserLookup | DataType::Layout => 120,
        DataType::MultiSelectPicklist => 100,
        DataType::Integer => 9,
        DataType::BigInt => 18,
        DataType::Double | DataType::Currency => 16,
        DataType::Percent => 5,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_built_in_schema_is_complete() {
        let schema = Schema::load(None, 4_876_000_000_000_000_000).expect("built-in schema");
        let leads = schema.module("leads").expect("any case");
        assert!(leads.active().count() >= 40);
        assert_eq!(leads.field("id").expect("id").data_type, DataType::BigInt);
        assert!(schema.module("Contacts").expect("Contacts").field("Email").expect("Email").unique);
        assert!(schema.module("Sensor_Readings").expect("there").field("Modified_Time").is_none());
        for module in &schema.modules {
            for (_, field) in module.active() {
                for target in [&field.lookup, &field.linking, &field.subform].into_iter().flatten() {
                    assert!(schema.module(target).is_some(), "{}.{}", module.api_name, field.api_name);
                }
            }
        }
    }

    #[test]
    fn a_file_adds_replaces_and_removes() {
        let overlay = json!({"modules": [
            {"api_name": "Contacts", "fields": [
                {"api_name": "Northwind_Id", "data_type": "text", "length": 40, "unique": true},
                {"api_name": "Twitter", "data_type": "text", "remove": true}]},
            {"api_name": "Orders", "fields": [{"api_name": "Name", "data_type": "text", "mandatory": true}]},
            {"api_name": "Vendors", "remove": true}]});
        let schema = Schema::load(Some(&overlay), 1_000_000).expect("good file");
        let contacts = schema.module("Contacts").expect("kept");
        assert!(contacts.field("Northwind_Id").expect("added").custom);
        assert!(contacts.field("Twitter").is_none());
        let orders = schema.module("Orders").expect("added");
        assert_eq!(
            (orders.generated_type.as_str(), orders.display_field.as_deref()),
            ("custom", Some("Name"))
        );
        assert!(schema.module("Vendors").is_none());
        let bad = json!({"modules": [{"api_name": "X", "colour": 1}]});
        assert!(matches!(Schema::load(Some(&bad), 0), Err(Error::Schema(_))));
    }
}
