//! The query of a bulk read job, checked against the schema.
//!
//! Follows "Bulk Read, Create job": form of the request, limits and possible errors. The v2 form
//! (module as text, flat criteria) is read as well.

use super::criteria::{self, Rules};
use super::export::Written;
use crate::emulator::coql::Refusal;
use crate::emulator::filter::Filter;
use crate::emulator::path::Path;
use crate::emulator::schema::{DataType, Field, Module, Schema};
use crate::emulator::switches::Switches;
use crate::emulator::value::Id;
use serde_json::{Value, json};

/// Most columns of one job.
const MAX_FIELDS: usize = 200;

/// Most lookups followed by one name.
const MAX_DEPTH: usize = 2;

/// Largest number in `page`.
const MAX_PAGE: u64 = 500;

/// A query that can be run.
#[derive(Debug, Clone)]
pub struct ReadQuery {
    /// Place of the module in the schema.
    pub module: usize,
    /// Header and source of each column.
    pub columns: Vec<(String, Path)>,
    /// Which rows; all when absent.
    pub filter: Option<Filter<Path>>,
    /// Only rows with a larger id.
    pub after: Id,
    /// Matching rows that earlier pages had.
    pub skip: u64,
    /// Most rows.
    pub page_size: u64,
    /// Number of the page, from one.
    pub page: u64,
    /// The query as the status call repeats it.
    pub echo: Value,
}

impl ReadQuery {
    /// The query of the page behind this one: by the last row seen, or by position.
    pub fn next_page(&self, written: &Written, keyset: bool) -> Self {
        let mut next = self.clone();
        next.page += 1;
        next.echo["page"] = next.page.into();
        if keyset {
            (next.after, next.skip) = (written.last, 0);
        } else {
            next.skip += written.count;
        }
        next
    }
}

/// The body of a create call as an object.
///
/// # Errors
/// The `REQUEST_BODY_…` codes.
pub fn read_body(body: &[u8]) -> Result<Value, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::new("REQUEST_BODY_IS_EMPTY", "request body is empty", json!({})));
    }
    let readable: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::new("REQUEST_BODY_NOT_READABLE", "request body is not readable", json!({})))?;
    if !readable["query"].is_object() {
        return Err(Refusal::new("REQUEST_BODY_NOT_SUPPORTED", "request body is not supported", json!({})));
    }
    Ok(readable)
}

/// Checks the body of a create call.
///
/// # Errors
/// The codes of the create call.
pub fn parse(body: &Value, schema: &Schema, switches: &Switches) -> Result<ReadQuery, Refusal> {
    let query = &body["query"];
    let file_type = body["file_type"].as_str().or_else(|| query["file_type"].as_str()).unwrap_or("csv");
    if file_type != "csv" {
        let message = "this emulator makes csv files only";
        return Err(Refusal::new("JOB_NOT_SUPPORTED", message, json!({"file_type": file_type})));
    }
    let at = module(&query["module"], schema, switches)?;
    if !query["cvid"].is_null() {
        return Err(Refusal::new("CVID_NOT_SUPPORTED", "custom views are not supported", json!({})));
    }
    let page = page(&query["page"], switches)?;
    let checker = Checker { schema, at, module: &schema.modules[at], switches };
    let columns = checker.columns(&query["fields"])?;
    let filter = match &query["criteria"] {
        Value::Null => None,
        criteria => Some(checker.filter(criteria)?),
    };
    let page_size = u64::from(switches.bulk_read_page_size);
    let echo = echo(query, checker.module, page);
    Ok(ReadQuery {
        module: at,
        columns,
        filter,
        after: 0,
        skip: (page - 1) * page_size,
        page_size,
        page,
        echo,
    })
}

fn module(module: &Value, schema: &Schema, switches: &Switches) -> Result<usize, Refusal> {
    let Some(name) = module["api_name"].as_str().or_else(|| module.as_str()) else {
        return Err(Refusal::new("REQUEST_BODY_NOT_SUPPORTED", "the query names no module", json!({})));
    };
    let unsupported =
        || Refusal::new("MODULE_NOT_SUPPORTED", "the module is not supported", json!({"module": name}));
    if matches!(name, "Users" | "Attachments") {
        return Err(unsupported());
    }
    let Some(at) = schema.position(name) else {
        let details = json!({"module": name, "api_name": name});
        return Err(Refusal::new("MODULE_NOT_AVAILABLE", "the requested module is not available", details));
    };
    let module = &schema.modules[at];
    let allowed = module.bulk_read || (module.api_name == "Notes" && switches.bulk_read_notes);
    if allowed && module.api_supported { Ok(at) } else { Err(unsupported()) }
}

fn page(page: &Value, switches: &Switches) -> Result<u64, Refusal> {
    let number = match page {
        Value::Null => 1,
        page => page.as_u64().filter(|page| *page > 0).ok_or_else(|| {
            Refusal::new("INVALID_REQUEST", "page has to be a number from one", json!({"api_name": "page"}))
        })?,
    };
    if number > MAX_PAGE {
        return Err(Refusal::new(
            "PAGE_RANGE_EXCEEDED",
            "page range exceeded",
            json!({"max_limit": MAX_PAGE}),
        ));
    }
    if number > 1 && !switches.bulk_read_pages {
        return Err(Refusal::new("PAGE_NOT_SUPPORTED", "use page_token for further pages", json!({})));
    }
    Ok(number)
}

/// What the status call shows: the module with its id, the rest as it was sent.
fn echo(query: &Value, module: &Module, page: u64) -> Value {
    let mut echo = json!({"module": {"id": module.id.to_string(), "api_name": module.api_name}});
    for key in ["fields", "criteria"] {
        if !query[key].is_null() {
            echo[key] = query[key].clone();
        }
    }
    echo["page"] = page.into();
    echo
}

struct Checker<'a> {
    schema: &'a Schema,
    at: usize,
    module: &'a Module,
    switches: &'a Switches,
}

impl Checker<'_> {
    fn columns(&self, fields: &Value) -> Result<Vec<(String, Path)>, Refusal> {
        let names = match fields {
            Value::Null => self.all(),
            fields => self.named(fields)?,
        };
        let mut columns: Vec<(String, Path)> = Vec::new();
        for name in names {
            let seen = columns.iter().any(|(earlier, _)| *earlier == name);
            if !seen && !name.eq_ignore_ascii_case("id") {
                let path = self.path(&name)?;
                columns.push((name, path));
            }
        }
        if columns.len() > MAX_FIELDS {
            let details = json!({"max_limit": MAX_FIELDS});
            return Err(Refusal::new("LIMIT_EXCEEDED", "too many fields", details));
        }
        if let Some(id) = Path::find(self.schema, self.at, ["id"]) {
            let place = if self.switches.bulk_read_id_first { 0 } else { columns.len() };
            columns.insert(place, (self.switches.bulk_read_id_column.clone(), id));
        }
        Ok(columns)
    }

    /// Every field that can be exported; without `fields` nothing is refused.
    fn all(&self) -> Vec<String> {
        let fields = self.module.active().filter(|(_, field)| self.is_exported(field));
        fields.map(|(_, field)| field.api_name.clone()).collect()
    }

    fn named(&self, fields: &Value) -> Result<Vec<String>, Refusal> {
        let names = fields.as_array().filter(|fields| !fields.is_empty());
        let names: Option<Vec<String>> =
            names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
        names.ok_or_else(|| Refusal::new("INVALID_REQUEST", "fields has to be a list of names", json!({})))
    }

    fn is_exported(&self, field: &Field) -> bool {
        let kept_apart = match field.data_type {
            data_type if data_type.is_rows() => true,
            DataType::FileUpload | DataType::ImageUpload => true,
            _ => field.api_name == "Tag",
        };
        let name = if field.api_name == "Tag" { "Tag" } else { field.data_type.as_str() };
        !kept_apart || self.switches.bulk_read_extra_types.iter().any(|extra| extra == name)
    }

    fn path(&self, name: &str) -> Result<Path, Refusal> {
        let Some(path) = Path::find(self.schema, self.at, name.split('.')) else {
            let details = json!({"api_name": name, "module": self.module.api_name});
            return Err(Refusal::new("FIELD_NOT_AVAILABLE", "the field is not available", details));
        };
        let refused = self.switches.bulk_read_refused_fields.iter().any(|refused| refused == name);
        if refused || path.field(self.schema).is_some_and(|field| !self.is_exported(field)) {
            let details = json!({"api_name": name});
            return Err(Refusal::new("FIELD_NOT_SUPPORTED", "the field is not supported", details));
        }
        if path.joins() > MAX_DEPTH {
            return Err(Refusal::new(
                "JOIN_LIMIT_EXCEEDED",
                "join limit exceeded",
                json!({"api_name": name}),
            ));
        }
        Ok(path)
    }

    fn filter(&self, criteria: &Value) -> Result<Filter<Path>, Refusal> {
        let resolve = |name: &str| {
            let name = if name == "Id" { "id" } else { name };
            let path = Path::find(self.schema, self.at, name.split('.'))?;
            let kind = path.kind(self.schema);
            Some((path, kind))
        };
        let rules = Rules {
            resolve: &resolve,
            max_values: self.switches.bulk_read_in_values as usize,
            id_allowed: self.switches.bulk_read_id_criteria,
            module: &self.module.api_name,
        };
        criteria::compile(criteria, &rules)
    }
}
