//! The body of a bulk write create call, checked against the schema and the uploaded file.
//!
//! Follows "Bulk Write, Create job", sections Request JSON and Possible errors. What is checked here
//! concerns the whole job; what is wrong with one row is found when the job runs.

use super::Refusal;
use super::archive::{CsvFile, Upload};
use super::pattern::{DEFAULT_DATE, DEFAULT_DATETIME, Pattern};
use crate::emulator::schema::{DataType, Field, Module, Schema};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most columns of a file.
const MAX_COLUMNS: usize = 200;

/// Most rows of a file, header not counted.
const MAX_ROWS: usize = 25_000;

/// Most rows of a child file: subform rows and line items.
const MAX_CHILD_ROWS: usize = 200;

/// What the rows of a job do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Every row is a new record.
    Insert,
    /// Every row changes a record that must exist.
    Update,
    /// Changes what exists, creates what does not.
    Upsert,
}

impl Operation {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "insert" => Self::Insert,
            "update" => Self::Update,
            "upsert" => Self::Upsert,
            _ => return None,
        })
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
        }
    }
}

/// How a record is found by the text of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindBy {
    /// By its id.
    Id,
    /// By the field at this place of its module.
    Field(u16),
}

/// Where the value of one field comes from.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Place of the field in its module.
    pub field: u16,
    /// Column of the file.
    pub column: Option<usize>,
    /// For lookups: how the cell names its target.
    pub find_by: Option<FindBy>,
    /// For dates and datetimes.
    pub pattern: Option<Pattern>,
    /// Used where the cell is empty or there is no column.
    pub default: Option<String>,
    /// For child rows: the column of the parent's file whose value stands in [`Mapping::column`].
    pub parent_column: Option<usize>,
    /// The mapping as the status call repeats it.
    pub echo: Value,
}

/// One file of a job with the module it goes to.
#[derive(Debug)]
pub struct Resource {
    /// Place of the module in the schema.
    pub module: usize,
    /// How existing records are found.
    pub find_by: Option<FindBy>,
    /// Empty cells leave the field alone instead of clearing it.
    pub ignore_empty: bool,
    /// The columns that are used.
    pub mappings: Vec<Mapping>,
    /// The uploaded archive.
    pub upload: Arc<Upload>,
    /// The CSV in it.
    pub file: CsvFile,
}

/// A job that passed all checks.
#[derive(Debug)]
pub struct Request {
    /// What the rows do.
    pub operation: Operation,
    /// As sent, `UTF-8` when absent.
    pub encoding: String,
    /// Where to report the end to, as sent.
    pub callback: Option<Value>,
    /// Parent first, then its children.
    pub resources: Vec<Resource>,
}

/// What the checks need to know besides the body.
pub struct Rules<'a> {
    /// Modules and fields.
    pub schema: &'a Schema,
    /// Finds an uploaded file by its id.
    pub uploads: &'a dyn Fn(&str) -> Option<Arc<Upload>>,
    /// Whether ISO dates are read without a `format`.
    pub iso_dates: bool,
    /// Most rows of a child file of a linking module.
    pub linking_rows: usize,
}

/// Checks the body of a create call.
///
/// # Errors
/// The codes of the create call.
pub fn parse(body: &Value, rules: &Rules<'_>) -> Result<Request, Refusal> {
    if !body.is_object() {
        return Err(Refusal::new("REQUEST_BODY_NOT_SUPPORTED", "request body is not supported", json!({})));
    }
    let text = body["operation"].as_str().ok_or_else(|| missing_key("$.operation"))?;
    let operation = Operation::parse(text).ok_or_else(|| invalid("operation", "unknown operation"))?;
    let resources = body["resource"].as_array().filter(|list| !list.is_empty());
    let resources = resources.ok_or_else(|| missing_key("$.resource"))?;
    let sent = body.get("callback").or_else(|| body.get("callBack"));
    callback(sent)?;
    let callback = sent.cloned();
    let ignore_empty = body["ignore_empty"].as_bool().unwrap_or(false);
    let check = |(number, resource)| Check { rules, operation, number, resource }.resource(ignore_empty);
    let resources = resources.iter().enumerate().map(check).collect::<Result<_, _>>()?;
    let encoding = body["character_encoding"].as_str().unwrap_or("UTF-8").to_owned();
    Ok(Request { operation, encoding, callback, resources })
}

/// Checks the callback object of a bulk job; one without a url is no callback.
///
/// # Errors
/// `INVALID_CALLBACK_METHOD` and `INVALID_CALLBACK_URL`.
pub fn callback(callback: Option<&Value>) -> Result<(), Refusal> {
    let Some(callback) = callback.filter(|callback| !callback.is_null()) else { return Ok(()) };
    if !callback["method"].as_str().is_some_and(|method| method.eq_ignore_ascii_case("post")) {
        let details = json!({"supported_callback_methods": ["post"]});
        return Err(Refusal::new("INVALID_CALLBACK_METHOD", "callback method is not supported", details));
    }
    match callback.get("url") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(url)) if url.starts_with("http://") || url.starts_with("https://") => Ok(()),
        Some(_) => Err(Refusal::new("INVALID_CALLBACK_URL", "callback url is invalid", json!({}))),
    }
}

fn missing_key(json_path: &str) -> Refusal {
    Refusal::new("MISSING_REQUIRED_KEY", "required key is missing", json!({"json_path": json_path}))
}

fn invalid(api_name: &str, message: &'static str) -> Refusal {
    Refusal::new("INVALID_DATA", message, json!({"api_name": api_name}))
}

fn mandatory(key: &'static str, api_name: &str) -> Refusal {
    let message = match key {
        "find_by" => "Required key find_by is not available",
        _ => "Required key parent_column_index is not available",
    };
    Refusal::new("MANDATORY_NOT_FOUND", message, json!({"api_name": api_name}))
}

struct Check<'a> {
    rules: &'a Rules<'a>,
    operation: Operation,
    number: usize,
    resource: &'a Value,
}

impl Check<'_> {
    fn resource(&self, ignore_empty: bool) -> Result<Resource, Refusal> {
        let (position, module) = self.module()?;
        let (upload, file) = self.file(module)?;
        let mappings = match self.resource["field_mappings"].as_array() {
            Some(mappings) => mappings
                .iter()
                .map(|mapping| self.mapping(module, &file, mapping))
                .collect::<Result<Vec<_>, _>>()?,
            None => self.header_mappings(module, &file)?,
        };
        check_twice(module, &mappings)?;
        let find_by = self.find_by(module, &mappings)?;
        self.check_mandatory(module, &mappings)?;
        let ignore_empty = self.resource["ignore_empty"].as_bool().unwrap_or(ignore_empty);
        Ok(Resource { module: position, find_by, ignore_empty, mappings, upload, file })
    }

    fn module(&self) -> Result<(usize, &Module), Refusal> {
        let name = &self.resource["module"];
        let name = name["api_name"].as_str().or_else(|| name.as_str());
        let name =
            name.ok_or_else(|| missing_key(&format!("$.resource[{}].module.api_name", self.number)))?;
        let schema = self.rules.schema;
        let found = schema.position(name).map(|at| (at, &schema.modules[at]));
        found.filter(|(_, module)| module.bulk_write).ok_or_else(|| {
            Refusal::new(
                "MODULE_NOT_AVAILABLE",
                "the requested module is not available",
                json!({"module": name}),
            )
        })
    }

    fn file(&self, module: &Module) -> Result<(Arc<Upload>, CsvFile), Refusal> {
        let id = match &self.resource["file_id"] {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return Err(missing_key(&format!("$.resource[{}].file_id", self.number))),
        };
        let upload = (self.rules.uploads)(&id)
            .ok_or_else(|| Refusal::new("INVALID_FILE_ID", "improper file id", json!({"file_id": id})))?;
        let name = self.resource["file_names"][0].as_str();
        let file = upload.file(name).cloned().ok_or_else(|| {
            Refusal::new("FILE_NOT_FOUND", "file not found in the archive", json!({"file_name": name}))
        })?;
        if !file.name.to_ascii_lowercase().ends_with(".csv") {
            return Err(Refusal::new(
                "FILE_NOT_SUPPORTED",
                "file not supported",
                json!({"file_name": file.name}),
            ));
        }
        if file.header.len() > MAX_COLUMNS {
            let details = json!({"limit": MAX_COLUMNS});
            return Err(Refusal::new("HEADER_LIMIT_EXCEEDED", "too many columns", details));
        }
        let limit = match (module.generated_type.as_str(), self.number) {
            ("subform", _) => MAX_CHILD_ROWS,
            ("linking", 1..) => self.rules.linking_rows,
            _ => MAX_ROWS,
        };
        if file.rows > limit {
            let message = "too many rows in the file";
            return Err(Refusal::new("LIMIT_EXCEEDED", message, json!({"limit": limit})));
        }
        Ok((upload, file))
    }

    fn field<'m>(&self, module: &'m Module, name: &str) -> Result<(u16, &'m Field), Refusal> {
        let found = module.index_of(name).map(|at| (at, module.at(at)));
        let usable = |field: &Field| {
            let names_record = field.api_name == "id" && self.operation != Operation::Insert;
            let is_file = matches!(field.data_type, DataType::FileUpload | DataType::ImageUpload);
            names_record || (field.is_writable() && !field.data_type.is_rows() && !is_file)
        };
        found.filter(|(_, field)| usable(field)).ok_or_else(|| {
            let details = json!({"api_name": name, "module": module.api_name});
            Refusal::new("INVALID_FIELD", "the field is not available for bulk write", details)
        })
    }

    fn mapping(&self, module: &Module, file: &CsvFile, mapping: &Value) -> Result<Mapping, Refusal> {
        let name = mapping["api_name"].as_str();
        let name =
            name.ok_or_else(|| missing_key(&format!("$.resource[{}].field_mappings.api_name", self.number)))?;
        let (at, field) = self.field(module, name)?;
        let default = match &mapping["default_value"]["value"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let column = match mapping.get("index") {
            None | Some(Value::Null) if default.is_some() => None,
            index => {
                let index = index.and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
                Some(index.filter(|index| *index < file.header.len()).ok_or_else(|| {
                    Refusal::new(
                        "COLUMN_INDEX_NOT_FOUND",
                        "column index not found",
                        json!({"api_name": name}),
                    )
                })?)
            }
        };
        let parent_column = self.parent_column(mapping)?;
        let find_by = self.lookup_find_by(field, mapping, parent_column)?;
        let pattern = self.pattern(field, mapping)?;
        Ok(Mapping { field: at, column, find_by, pattern, default, parent_column, echo: echo(mapping) })
    }

    fn parent_column(&self, mapping: &Value) -> Result<Option<usize>, Refusal> {
        let Some(index) = mapping["parent_column_index"].as_u64() else { return Ok(None) };
        if mapping.get("find_by").is_some_and(|find_by| !find_by.is_null()) {
            let details = json!({"keys": ["parent_column_index", "find_by"]});
            let message = "parent_column_index and find_by cannot stand together";
            return Err(Refusal::new("COEXISTENCE_NOT_ALLOWED", message, details));
        }
        Ok(usize::try_from(index).ok())
    }

    /// A lookup says how its cells name the target, unless the target is a row of the parent's file.
    fn lookup_find_by(
        &self,
        field: &Field,
        mapping: &Value,
        parent_column: Option<usize>,
    ) -> Result<Option<FindBy>, Refusal> {
        let Some(target) = field.lookup.as_deref().and_then(|name| self.rules.schema.module(name)) else {
            return Ok(None);
        };
        match (mapping["find_by"].as_str(), parent_column) {
            (Some(name), _) => finder(target, name).map(Some).ok_or_else(|| invalid(name, "invalid find_by")),
            (None, Some(_)) => Ok(None),
            (None, None) if field.api_name == "Parent_Id" => {
                Err(mandatory("parent_column_index", &field.api_name))
            }
            // A fixed value is an id.
            (None, None) if mapping.get("index").is_none() => Ok(Some(FindBy::Id)),
            (None, None) => Err(mandatory("find_by", &field.api_name)),
        }
    }

    fn pattern(&self, field: &Field, mapping: &Value) -> Result<Option<Pattern>, Refusal> {
        let (iso, default) = match field.data_type {
            DataType::Date => ("yyyy-MM-dd", DEFAULT_DATE),
            DataType::DateTime => ("yyyy-MM-dd'T'HH:mm:ssXXX", DEFAULT_DATETIME),
            _ => return Ok(None),
        };
        let text = mapping["format"].as_str();
        let text = text.unwrap_or(if self.rules.iso_dates { iso } else { default });
        Pattern::parse(text).map(Some).ok_or_else(|| {
            let details = json!({"api_name": field.api_name, "format": text});
            Refusal::new("INVALID_FORMAT", "invalid date format", details)
        })
    }

    /// Without mappings the header says it: `Field`, or `Lookup.find_by`.
    fn header_mappings(&self, module: &Module, file: &CsvFile) -> Result<Vec<Mapping>, Refusal> {
        let columns = file.header.iter().enumerate();
        let mapping = |(index, title): (usize, &String)| {
            let (name, find_by) = title.split_once('.').map_or((title.as_str(), None), |(n, f)| (n, Some(f)));
            let mapping = json!({"api_name": name, "index": index, "find_by": find_by});
            self.mapping(module, file, &mapping)
        };
        columns.map(mapping).collect()
    }

    fn find_by(&self, module: &Module, mappings: &[Mapping]) -> Result<Option<FindBy>, Refusal> {
        let Some(name) = self.resource["find_by"].as_str() else {
            return match (self.operation, &module.parent) {
                (Operation::Insert, _) | (_, Some(_)) => Ok(None),
                _ => Err(mandatory("find_by", "find_by")),
            };
        };
        let find_by = unique(module, name).ok_or_else(|| invalid(name, "invalid find_by"))?;
        let place = match find_by {
            FindBy::Id => module.index_of("id"),
            FindBy::Field(at) => Some(at),
        };
        if mappings.iter().any(|mapping| Some(mapping.field) == place) {
            return Ok(Some(find_by));
        }
        Err(not_mapped(&[name]))
    }

    /// What can create records must have a source for every mandatory field.
    fn check_mandatory(&self, module: &Module, mappings: &[Mapping]) -> Result<(), Refusal> {
        if self.operation == Operation::Update {
            return Ok(());
        }
        let mapped = |at| mappings.iter().any(|mapping| mapping.field == at);
        // Rows behind a field come from a file of their own.
        let needed = |field: &Field| field.mandatory && !field.data_type.is_rows();
        let missing = module.active().filter(|(at, field)| needed(field) && !mapped(*at));
        let missing: Vec<&str> = missing.map(|(_, field)| field.api_name.as_str()).collect();
        if missing.is_empty() { Ok(()) } else { Err(not_mapped(&missing)) }
    }
}

fn not_mapped(names: &[&str]) -> Refusal {
    let message = "All mandatory fields are not mapped for the layout";
    Refusal::new("MANDATORY_FIELDS_NOT_MAPPED", message, json!({"api_names": names}))
}

/// What a job may find its own records by: id, unique fields, the module's duplicate check field.
fn unique(module: &Module, name: &str) -> Option<FindBy> {
    if name == "id" {
        return Some(FindBy::Id);
    }
    let at = module.index_of(name)?;
    let usable = module.at(at).unique || module.duplicate_field.as_deref() == Some(name);
    usable.then_some(FindBy::Field(at))
}

/// What a lookup may find its target by: the same, and the field it shows as name.
fn finder(target: &Module, name: &str) -> Option<FindBy> {
    unique(target, name)
        .or_else(|| target.index_of(name).filter(|at| target.display_index() == Some(*at)).map(FindBy::Field))
}

fn check_twice(module: &Module, mappings: &[Mapping]) -> Result<(), Refusal> {
    for (number, mapping) in mappings.iter().enumerate() {
        if mappings[..number].iter().any(|earlier| earlier.field == mapping.field) {
            let details = json!({"api_name": module.at(mapping.field).api_name});
            return Err(Refusal::new("DUPLICATE_DATA", "the field is mapped twice", details));
        }
    }
    Ok(())
}

/// A mapping with all the keys that the status call shows.
fn echo(mapping: &Value) -> Value {
    let keys = ["api_name", "index", "format", "find_by", "default_value", "module", "parent_column_index"];
    keys.into_iter()
        .map(|key| (key.to_owned(), mapping[key].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
