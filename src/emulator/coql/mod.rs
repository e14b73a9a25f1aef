//! COQL, Zoho's query language: text to tree to rows.
//!
//! [`lexer`] cuts the text into tokens with their place, [`parser`] makes the tree of [`ast`],
//! [`check`] compares it with the module's fields and the limits, [`eval`] runs it on a store. Written
//! from Zoho's pages "COQL" and "COQL limitations"; there is no optimizer beyond one rule: a query in
//! id order with a condition on `id` walks the ids and stops when it has enough rows.
//!
//! Not covered: subqueries, dynamic formulas and custom views.

pub mod ast;
pub mod check;
pub mod eval;
pub mod lexer;
pub mod parser;
pub mod total;

use serde_json::{Map, Value, json};

/// A query that Zoho refuses with status 400.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Zoho's error code, such as `SYNTAX_ERROR`.
    pub code: &'static str,
    /// Text for people.
    pub message: &'static str,
    /// Facts, by the keys of the API reference.
    pub details: Map<String, Value>,
}

impl Refusal {
    /// The text cannot be read at this place.
    pub fn syntax(at: lexer::Position, near: &str) -> Self {
        let details = json!({"line": at.line, "column": at.column, "near": near});
        Self::new("SYNTAX_ERROR", "error occurred while parsing the query", details)
    }

    /// A clause that has to be there is missing.
    pub fn missing_clause(clause: &str) -> Self {
        Self::new("SYNTAX_ERROR", "missing clause", json!({"clause": clause}))
    }

    /// A query that can be read and makes no sense for this module.
    pub fn invalid(details: Value) -> Self {
        Self::new("INVALID_QUERY", "invalid query formed", details)
    }

    /// One of the limits of a query is broken.
    pub fn limit(name: &str, limit: usize) -> Self {
        let details = json!({"limit": limit, "clause": name});
        Self::new("LIMIT_EXCEEDED", "limit exceeded", details)
    }

    /// Any other code.
    pub fn new(code: &'static str, message: &'static str, details: Value) -> Self {
        let details = match details {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        Self { code, message, details }
    }
}
