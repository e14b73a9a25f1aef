//! The columns of a route: of a property, of a constant, of the mark; and their order.

use super::check::Check;
use super::config::{ConfigError, Nulls, Operation, StreamTarget, child};
use super::mapping::{Column, Pair, Source, StreamShape, unknown_field};
use super::metadata::{Metadata, ModuleMeta};
use super::nested;
use super::operation;
use super::relations::{is_user_lookup, lookup_by, users_by};
use crate::codec::encode::Kind;
use crate::zoho::types::DataType;

/// The column of a property.
///
/// # Errors
/// [`ConfigError`] for what its field does not have.
pub(super) fn column(
    pair: Pair<'_>,
    nulls: Nulls,
    meta: &ModuleMeta,
    metadata: &Metadata,
) -> Result<Column, ConfigError> {
    let Pair { rule, path, field } = pair;
    let mut column = Column {
        source: Source::Property(path),
        nulls: rule.nulls.unwrap_or(nulls),
        append: rule.append,
        check: Check::of(field, metadata.strict_picklists),
        ..Column::of(field)
    };
    if rule.append && column.kind != Kind::MultiSelect && field.data_type != DataType::MultiSelectLookup {
        let pointer = child(&rule.pointer, "append");
        return Err(ConfigError::new(
            pointer,
            format!("\"{}\" is not a multi-select picklist", field.api_name),
        ));
    }
    column.rows = nested::rows(&rule, field, meta, metadata)?;
    if let Some(key) = rule.lookup_by.as_ref().filter(|_| column.rows.is_none()) {
        if is_user_lookup(field) {
            column.users = Some(users_by(key, &rule, metadata)?);
        } else {
            column.lookup = Some(lookup_by(key, &rule, field, metadata)?);
            // The natural key of a parent travels as text, whatever it is at home.
            column.kind = Kind::Text;
            column.check = Check::None;
        }
    }
    Ok(column)
}

/// The column of a value that is the same in every row.
///
/// # Errors
/// [`ConfigError`] for a field that is unknown or that Zoho does not take, and for a value that it cannot hold.
pub(super) fn constant(
    name: &str,
    value: &serde_json::Value,
    choice: &operation::Choice,
    target: &StreamTarget,
    meta: &ModuleMeta,
) -> Result<Column, ConfigError> {
    let pointer = child(&child(&target.pointer, "constants"), name);
    let field = meta.field(name).ok_or_else(|| unknown_field(name, &pointer, meta))?;
    if !operation::takes(choice, field) {
        return Err(ConfigError::new(
            pointer,
            format!("Zoho does not take \"{name}\" under {}", choice.operation),
        ));
    }
    let kind = Kind::of(field);
    let mut json = String::new();
    kind.write_record(value, &mut json)
        .map_err(|mismatch| ConfigError::new(&pointer, mismatch.to_string()))?;
    Ok(Column { source: Source::Constant(json), kind, ..Column::of(field) })
}

/// The column of the mark. Where Zoho holds the field unique, the mark makes an insert repeatable.
///
/// # Errors
/// [`ConfigError`] for a field that cannot hold it.
pub(super) fn tag(
    name: &str,
    columns: &[Column],
    choice: &mut operation::Choice,
    target: &StreamTarget,
    meta: &ModuleMeta,
) -> Result<Column, ConfigError> {
    let pointer = child(&target.pointer, "batch_tag_field");
    let field = meta.field(name).ok_or_else(|| unknown_field(name, &pointer, meta))?;
    let wrong = |text: String| ConfigError::new(&pointer, text);
    if Kind::of(field) != Kind::Text || field.length.is_some_and(|length| length < MARK_LENGTH) {
        return Err(wrong(format!("\"{name}\" is not a text field of at least {MARK_LENGTH} characters")));
    }
    if !operation::takes(choice, field) {
        return Err(wrong(format!("Zoho does not take \"{name}\" under {}", choice.operation)));
    }
    if columns.iter().any(|column| column.field == *name) {
        return Err(wrong(format!("\"{name}\" gets a value of the stream already")));
    }
    if field.unique && choice.operation == Operation::Insert && !choice.idempotent {
        choice.match_on = vec![name.to_owned()];
        choice.idempotent = true;
    }
    Ok(Column { source: Source::Tag, ..Column::of(field) })
}

/// Longest mark: names of ledger and batch, and a line number.
const MARK_LENGTH: u32 = 40;

/// Columns that tell rows apart come first: a bulk result repeats only three.
pub(super) fn rank(column: &Column, match_on: &[String], shape: StreamShape<'_>) -> usize {
    let place = match_on.iter().position(|field| *field == column.field);
    let is_key = matches!(&column.source, Source::Property(path)
        if shape.key_properties.iter().any(|key| path.is(key)));
    match (place, is_key, &column.source, column.kind) {
        (Some(place), ..) => place,
        (None, _, Source::Tag, _) => 99,
        (None, true, ..) => 100,
        (None, false, Source::Property(_), Kind::Text | Kind::Integer | Kind::BigInteger) => 101,
        (None, false, Source::Property(_), _) => 102,
        (None, false, Source::Constant(_) | Source::Record, _) => 103,
    }
}
