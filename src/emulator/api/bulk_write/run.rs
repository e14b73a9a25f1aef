//! The work of a bulk write job: each row to a record, and what became of it.
//!
//! A row goes through the same checks as a record of the record calls (`write.rs`). Follows "Bulk
//! Write, Result": states and error codes of a row.

use super::pattern::Pattern;
use super::request::{FindBy, Mapping, Operation, Request, Resource};
use crate::emulator::convert::{Rules, convert};
use crate::emulator::faults::RowCode;
use crate::emulator::schema::{DataType, Field};
use crate::emulator::state::Org;
use crate::emulator::store::{Stamp, Store};
use crate::emulator::time;
use crate::emulator::value::Id;
use crate::emulator::write;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, HashMap};
use std::io;

/// Rows written under one lock: few enough that other calls get their turn.
const LOCKED_ROWS: usize = 200;

/// Columns of the input that the result repeats.
const REPEATED_COLUMNS: usize = 3;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowStatus {
    /// A new record.
    Added,
    /// A changed record.
    Updated,
    /// Nothing; the errors say why.
    Skipped,
    /// Nothing, and nobody looked at the row.
    Unprocessed,
}

impl RowStatus {
    /// The word of the result file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Updated => "UPDATED",
            Self::Skipped => "SKIPPED",
            Self::Unprocessed => "UNPROCESSED",
        }
    }
}

/// One line of the result file.
#[derive(Debug, Clone)]
pub struct RowResult {
    /// Cells of the input that are repeated.
    pub cells: Vec<String>,
    /// What became of the row.
    pub status: RowStatus,
    /// The record, if there is one.
    pub id: Option<Id>,
    /// `CODE-Column` or `CODE-Column1,Column2:CODE2-Column3`.
    pub errors: String,
}

/// What became of one file.
#[derive(Debug, Default)]
pub struct FileResult {
    /// Titles of the repeated columns.
    pub titles: Vec<String>,
    /// Its rows, in order.
    pub rows: Vec<RowResult>,
}

impl FileResult {
    /// How many rows ended that way.
    pub fn count(&self, status: RowStatus) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }
}

/// Records of a parent's file by column and cell, for the rows of its children.
type Parents = HashMap<usize, HashMap<String, Id>>;

/// Decides for each row whether a fault refuses it.
pub type Strike<'a> = dyn Fn() -> Option<RowCode> + 'a;

/// Writes the rows of a job, of each file the first `most`; `strike` is asked once for each.
///
/// # Errors
/// When an uploaded file cannot be read any more.
pub fn run(
    request: &Request,
    org: &Org,
    rules: &Rules,
    stamp: Stamp,
    strike: &Strike<'_>,
    most: usize,
) -> io::Result<Vec<FileResult>> {
    let wanted = request.resources.iter().flat_map(|resource| &resource.mappings);
    let mut parents: Parents =
        wanted.filter_map(|mapping| mapping.parent_column).map(|column| (column, HashMap::new())).collect();
    let mut results = Vec::new();
    for (number, resource) in request.resources.iter().enumerate() {
        let mut rows = Vec::with_capacity(resource.file.rows);
        resource.upload.for_each_row(&resource.file, |_, row| rows.push(row.clone()))?;
        rows.truncate(most);
        let mut result = FileResult { titles: titles(resource), rows: Vec::with_capacity(rows.len()) };
        for chunk in rows.chunks(LOCKED_ROWS) {
            let mut store = org.write();
            let mut writer = Writer {
                operation: request.operation,
                resource,
                rules,
                stamp,
                parents: &parents,
                store: &mut store,
                strike,
            };
            result.rows.extend(chunk.iter().map(|row| writer.row(row)));
        }
        if number == 0 {
            remember(&mut parents, &rows, &result);
        }
        results.push(result);
    }
    Ok(results)
}

/// Takes all rows of a job as added, without a look at what they hold.
///
/// # Errors
/// When an uploaded file cannot be read any more.
pub fn blind(request: &Request, org: &Org) -> io::Result<Vec<FileResult>> {
    let of = |resource: &Resource| {
        let mut result =
            FileResult { titles: titles(resource), rows: Vec::with_capacity(resource.file.rows) };
        let columns: Vec<usize> = repeated(resource).collect();
        let mut store = org.write();
        resource.upload.for_each_row(&resource.file, |_, row| {
            let cells = columns.iter().map(|column| row.get(*column).unwrap_or_default().to_owned());
            let (cells, id) = (cells.collect(), Some(store.next_id()));
            result.rows.push(RowResult { cells, status: RowStatus::Added, id, errors: String::new() });
        })?;
        Ok(result)
    };
    request.resources.iter().map(of).collect()
}

/// Notes which record each row of the parent's file became.
fn remember(parents: &mut Parents, rows: &[csv::StringRecord], result: &FileResult) {
    for (column, ids) in parents.iter_mut() {
        for (row, done) in rows.iter().zip(&result.rows) {
            if let (Some(cell), Some(id)) = (row.get(*column), done.id) {
                ids.insert(cell.to_owned(), id);
            }
        }
    }
}

fn repeated(resource: &Resource) -> impl Iterator<Item = usize> {
    resource.mappings.iter().filter_map(|mapping| mapping.column).take(REPEATED_COLUMNS)
}

fn titles(resource: &Resource) -> Vec<String> {
    repeated(resource).map(|column| resource.file.header[column].clone()).collect()
}

/// Error codes of a row with the columns they concern.
#[derive(Default)]
struct Errors(BTreeMap<&'static str, Vec<String>>);

impl Errors {
    fn add(&mut self, code: &'static str, column: impl Into<String>) {
        let columns = self.0.entry(code).or_default();
        let column = column.into();
        if !columns.contains(&column) {
            columns.push(column);
        }
    }

    fn text(&self) -> String {
        let each = self.0.iter().map(|(code, columns)| format!("{code}-{}", columns.join(",")));
        each.collect::<Vec<_>>().join(":")
    }
}

struct Writer<'a> {
    operation: Operation,
    resource: &'a Resource,
    rules: &'a Rules,
    stamp: Stamp,
    parents: &'a Parents,
    store: &'a mut Store,
    strike: &'a Strike<'a>,
}

impl Writer<'_> {
    fn row(&mut self, row: &csv::StringRecord) -> RowResult {
        let cells =
            repeated(self.resource).map(|column| row.get(column).unwrap_or_default().to_owned()).collect();
        let mut errors = Errors::default();
        if let Some(code) = (self.strike)() {
            errors.add(
                code.as_str(),
                repeated(self.resource).next().map_or("", |at| &self.resource.file.header[at]),
            );
            let lost = code == RowCode::CannotProcess;
            let status = if lost { RowStatus::Unprocessed } else { RowStatus::Skipped };
            return RowResult { cells, status, id: None, errors: errors.text() };
        }
        let written = self.write(row, &mut errors);
        let (status, id) = written.map_or((RowStatus::Skipped, None), |(status, id)| (status, Some(id)));
        RowResult { cells, status, id, errors: errors.text() }
    }

    /// Writes a row; `None` when it is left out, with the reasons in `errors`.
    fn write(&mut self, row: &csv::StringRecord, errors: &mut Errors) -> Option<(RowStatus, Id)> {
        let record = self.record(row, errors);
        let target = self.target(row, errors);
        if !errors.0.is_empty() {
            return None;
        }
        let at = self.resource.module;
        let outcome = match (self.operation, target) {
            (Operation::Insert, Some(_)) => {
                errors.add("DUPLICATE_DATA", self.find_title());
                return None;
            }
            (Operation::Update, None) => {
                errors.add("RESOURCE_NOT_FOUND", self.find_title());
                return None;
            }
            (_, Some(id)) => write::update(self.store, at, id, &record, self.rules, self.stamp)
                .map(|()| (RowStatus::Updated, id)),
            (_, None) => write::insert(self.store, at, &record, self.rules, self.stamp)
                .map(|id| (RowStatus::Added, id)),
        };
        outcome.map_err(|problem| errors.add(problem.code, self.title_of(&problem.api_name))).ok()
    }

    /// The record that a row describes; all of its mistakes are noted.
    fn record(&mut self, row: &csv::StringRecord, errors: &mut Errors) -> Map<String, Json> {
        let resource = self.resource;
        let mut record = Map::new();
        for mapping in &resource.mappings {
            let field = self.store.schema.modules[resource.module].at(mapping.field).clone();
            if field.api_name == "id" {
                continue;
            }
            let cell = mapping.column.and_then(|column| row.get(column)).map(str::trim).unwrap_or_default();
            let text = if cell.is_empty() { mapping.default.as_deref().unwrap_or_default() } else { cell };
            if text.is_empty() {
                if field.mandatory && (self.operation != Operation::Update || !resource.ignore_empty) {
                    errors.add("MANDATORY_NOT_FOUND", self.title(mapping, &field));
                } else if !resource.ignore_empty {
                    record.insert(field.api_name.clone(), Json::Null);
                }
                continue;
            }
            match self.value(mapping, &field, text) {
                Ok(value) => drop(record.insert(field.api_name.clone(), value)),
                Err(code) => errors.add(code, self.title(mapping, &field)),
            }
        }
        record
    }

    /// The JSON of a cell, or the code of what is wrong with it.
    fn value(&mut self, mapping: &Mapping, field: &Field, text: &str) -> Result<Json, &'static str> {
        let value = if let Some(column) = mapping.parent_column {
            let parent = self.parents.get(&column).and_then(|ids| ids.get(text));
            return parent.map(|id| id.to_string().into()).ok_or("RESOURCE_NOT_FOUND");
        } else if let Some(FindBy::Field(place)) = mapping.find_by {
            let target = field.lookup.as_deref().and_then(|name| self.store.schema.position(name));
            let found = target.and_then(|target| self.find(target, place, text));
            return found.map(|id| id.to_string().into()).ok_or("RESOURCE_NOT_FOUND");
        } else if let Some(pattern) = &mapping.pattern {
            moment(pattern, field, text, self.rules).ok_or("INVALID_DATA")?
        } else {
            text.into()
        };
        match convert(self.store, field, &value, self.rules) {
            Ok(_) => Ok(value),
            Err(problem) => Err(problem.code),
        }
    }

    /// The first record whose field has that value.
    fn find(&mut self, at: usize, place: u16, text: &str) -> Option<Id> {
        let field = self.store.schema.modules[at].at(place);
        let value = if field.is_writable() {
            convert(self.store, field, &text.into(), self.rules).ok()?
        } else {
            crate::emulator::value::Value::text(text)
        };
        self.store.find(at, place, &value).first().copied()
    }

    /// The record that a row is about, if it exists already.
    fn target(&mut self, row: &csv::StringRecord, errors: &mut Errors) -> Option<Id> {
        let find_by = self.resource.find_by?;
        let cell =
            self.find_mapping()?.column.and_then(|column| row.get(column)).map(str::trim).unwrap_or_default();
        if cell.is_empty() {
            if self.operation == Operation::Update {
                errors.add("MANDATORY_NOT_FOUND", self.find_title());
            }
            return None;
        }
        match find_by {
            FindBy::Field(place) => self.find(self.resource.module, place, cell),
            FindBy::Id => {
                let id = cell
                    .parse()
                    .ok()
                    .filter(|id| self.store.view_at(self.resource.module).get(*id).is_some());
                if id.is_none() {
                    errors.add("INVALID_DATA", self.find_title());
                }
                id
            }
        }
    }

    fn find_mapping(&self) -> Option<&Mapping> {
        let place = match self.resource.find_by? {
            FindBy::Field(place) => place,
            FindBy::Id => self.store.schema.modules[self.resource.module].index_of("id")?,
        };
        self.resource.mappings.iter().find(|mapping| mapping.field == place)
    }

    fn find_title(&self) -> String {
        let title = self
            .find_mapping()
            .and_then(|mapping| mapping.column)
            .map(|column| self.resource.file.header[column].clone());
        title.unwrap_or_default()
    }

    /// Errors name the column as the file does.
    fn title(&self, mapping: &Mapping, field: &Field) -> String {
        let title = mapping.column.and_then(|column| self.resource.file.header.get(column));
        title.unwrap_or(&field.api_name).clone()
    }

    fn title_of(&self, api_name: &str) -> String {
        let module = &self.store.schema.modules[self.resource.module];
        let name = api_name.split('.').next().unwrap_or(api_name);
        let place = module.index_of(name);
        let mapping = self.resource.mappings.iter().find(|mapping| Some(mapping.field) == place);
        mapping.map_or_else(|| name.to_owned(), |mapping| self.title(mapping, module.at(mapping.field)))
    }
}

/// A date cell as the record calls want it.
fn moment(pattern: &Pattern, field: &Field, text: &str, rules: &Rules) -> Option<Json> {
    let mut out = String::new();
    if field.data_type == DataType::Date {
        time::push_date(&mut out, pattern.read_date(text)?);
    } else {
        time::push_utc(&mut out, pattern.read_datetime(text, rules.zone)?);
    }
    Some(out.into())
}
