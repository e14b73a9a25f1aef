//! The way of a stream's rows to one module, as it is followed row by row and kept in the ledger.
//!
//! A [`Route`] is made by `mapping`; nothing here looks at a config or at metadata.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::condition::Condition;
use super::conduct::Conduct;
use super::config::{Nulls, Operation};
use super::path::Path;
use super::users::Users;
use crate::codec::encode::Kind;
use crate::zoho::types::Field;

/// Where the rows of a stream go, and how each value is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    /// The stream.
    pub stream: String,
    /// API name of the module.
    pub module: String,
    /// What is done with a row.
    pub operation: Operation,
    /// The fields that find the existing record, in order; empty for an insert that matches nothing.
    pub match_on: Vec<String>,
    /// Whether sending a row twice does no harm.
    pub idempotent: bool,
    /// Whether Zoho's match ignores upper and lower case.
    pub folds_case: bool,
    /// Which rows go there; not stored, since stored rows have passed it.
    #[serde(skip)]
    pub when: Condition,
    /// Which automations run; `None` means all that Zoho starts by itself.
    #[serde(default)]
    pub trigger: Option<Vec<String>>,
    /// How the route deals with what is there already.
    #[serde(default)]
    pub conduct: Conduct,
    /// Whether what a whole table does not have any more is deleted.
    #[serde(default)]
    pub mirror: bool,
    /// The fields sent; those of `match_on` come first.
    pub columns: Vec<Column>,
    /// Properties that identify a row of the stream.
    pub key_properties: Vec<String>,
    /// The stream's JSON Schema as it came, for the file of rejected rows.
    pub schema: String,
    /// Whether Bulk Write takes this module and operation.
    pub bulk: bool,
    /// Whether rows of a subform wait for their record, which another stream may still bring.
    #[serde(default)]
    pub waits_for_record: bool,
}

/// One field of a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    /// Where the value comes from.
    pub source: Source,
    /// API name of the field.
    pub field: String,
    /// How values are written.
    pub kind: Kind,
    /// For a lookup by the parent's natural key.
    pub lookup: Option<LookupBy>,
    /// For a lookup of users: their ids by e-mail address. Not stored, since stored rows have the ids.
    #[serde(skip)]
    pub users: Option<Arc<Users>>,
    /// What nulls do, and whether a value gives way to one that is there.
    #[serde(default)]
    pub nulls: Nulls,
    /// Whether options are added to those the record has.
    #[serde(default)]
    pub append: bool,
    /// What the field can hold.
    #[serde(default)]
    pub check: Check,
    /// For a subform or a multi-select lookup: how its rows are written.
    #[serde(default)]
    pub rows: Option<Box<Rows>>,
    /// Whether a new record needs it.
    pub mandatory: bool,
    /// Whether Zoho holds its values unique.
    #[serde(default)]
    pub unique: bool,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A place in the records of the stream.
    Property(Path),
    /// The same JSON in every row, as text.
    Constant(String),
    /// The mark of batch and line.
    Tag,
    /// The whole record, as one row of a subform.
    Record,
}

/// How the rows of a subform or linking module are written with their record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rows {
    /// API name of the module that holds the rows.
    pub module: String,
    /// Its lookup to the record.
    pub parent: String,
    /// The fields sent.
    pub columns: Vec<Column>,
    /// Fields that find a row again among those the record has; without any, every row is new.
    pub match_on: Vec<String>,
    /// Whether rows that are not sent are removed.
    pub delete_others: bool,
}

/// A parent found by a field of its own instead of its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupBy {
    /// Module of the parent.
    pub module: String,
    /// The field that holds the natural key.
    pub field: String,
    /// Whether its values are numbers.
    pub numeric: bool,
    /// Whether a bulk job finds parents by that field.
    #[serde(default)]
    pub findable: bool,
    /// Parents that are not there are created: the fields they get besides their key, as a JSON object.
    #[serde(default)]
    pub create: Option<String>,
    /// What waits for a parent that a stream of the same config may still bring; `None` if none may.
    #[serde(default)]
    pub waits: Option<Waits>,
}

/// What waits for a parent that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Waits {
    /// The whole row.
    Row,
    /// The lookup alone: parents may refer back to such rows, so the row is written without it first.
    Lookup,
}

impl Column {
    /// A column of a field that nothing is said about: no source worth the name, nulls clear.
    pub fn of(field: &Field) -> Self {
        Self {
            source: Source::Constant("null".to_owned()),
            field: field.api_name.clone(),
            kind: Kind::of(field),
            lookup: None,
            users: None,
            nulls: Nulls::Clear,
            append: false,
            check: Check::of(field, false),
            rows: None,
            mandatory: field.system_mandatory,
            unique: field.unique,
        }
    }

    /// Whether its rows are written first and get this lookup once the parents are there.
    pub fn comes_second(&self) -> bool {
        self.lookup.as_ref().is_some_and(|lookup| lookup.waits == Some(Waits::Lookup))
    }

    /// Whether a CSV cell can say what is to be done: nested values and what depends on the value that
    /// is there take record calls.
    pub fn fits_bulk(&self) -> bool {
        let findable = self.lookup.as_ref().is_none_or(|lookup| lookup.findable);
        self.kind != Kind::Nested && !self.append && self.nulls != Nulls::SetIfEmpty && findable
    }
}

impl Route {
    /// Name under which the ledger keeps the rows of this route.
    pub fn lane(&self) -> String {
        format!("{}>{}", self.stream, self.module)
    }

    /// The place of a field among the columns.
    pub fn column(&self, field: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.field == field)
    }

    /// Modules whose rows have to be written before those of this route.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        let own = self.columns.iter();
        let nested =
            self.columns.iter().filter_map(|column| column.rows.as_ref()).flat_map(|rows| &rows.columns);
        own.chain(nested)
            .filter_map(|column| column.lookup.as_ref())
            .map(|lookup| lookup.module.as_str())
            .filter(|module| *module != self.module)
    }

    /// Whether rows, or lookups of theirs, may wait for parents.
    pub fn waits(&self) -> bool {
        let nested = self.columns.iter().filter_map(|column| column.rows.as_ref());
        let all = self.columns.iter().chain(nested.flat_map(|rows| &rows.columns));
        self.waits_for_record
            || all.filter_map(|column| column.lookup.as_ref()).any(|lookup| lookup.waits.is_some())
    }

    /// Whether the stream's rows are rows of a subform of records that another stream writes.
    pub fn is_of_subform(&self) -> bool {
        self.columns.iter().any(|column| column.source == Source::Record)
    }

    /// Whether sending a row twice adds rows to a subform twice.
    pub fn adds_rows(&self) -> bool {
        self.columns.iter().filter_map(|column| column.rows.as_ref()).any(|rows| rows.match_on.is_empty())
    }

    /// Whether the ledger remembers from run to run what was written to each key.
    pub fn remembers(&self) -> bool {
        self.mirror || self.conduct.remembers()
    }

    /// The route in words: `upsert by Email`.
    pub fn describe(&self) -> String {
        let mirrors = self.mirror && self.operation == Operation::Upsert;
        let operation = if mirrors { Operation::Mirror } else { self.operation };
        if self.match_on.is_empty() {
            operation.to_string()
        } else {
            format!("{operation} by {}", self.match_on.join(", "))
        }
    }
}
