//! How a row looks in an answer, written straight as JSON text.
//!
//! A page of 200 rows has some ten thousand values; building a tree of them first would be most of
//! the work. [`canonical`] is the other form: the truth that tests compare with, free of zone and
//! of names.

use super::reply::push_json_text;
use super::schema::{DataType, Field};
use super::store::{Row, Store, View};
use super::time::{Zone, push_date, push_datetime, push_utc};
use super::value::{Id, Value};
use super::write::parent_field;
use std::fmt::Write as _;

/// Characters of rich text that list calls show.
const SHOWN_RICH_TEXT: usize = 500;

/// For whom, and in how much detail.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The zone of datetimes.
    pub zone: Zone,
    /// Rich text is cut, as in lists.
    pub cut: bool,
    /// Whether users carry their address (from v3 on).
    pub emails: bool,
}

/// Appends `{"id":..,"Last_Name":..}` with the given fields; `id` comes first, always.
pub fn push_row(out: &mut String, row: Row<'_>, places: &[u16], form: Form) {
    let _ = write!(out, "{{\"id\":\"{}\"", row.id);
    for place in places {
        let field = row.view.module.at(*place);
        if field.api_name == "id" {
            continue;
        }
        out.push(',');
        push_json_text(out, &field.api_name);
        out.push(':');
        push_field(out, row, *place, form);
    }
    out.push('}');
}

/// Appends the value of one field.
pub fn push_field(out: &mut String, row: Row<'_>, place: u16, form: Form) {
    let field = row.view.module.at(place);
    let store = row.view.store;
    match row.get(place) {
        Value::Null if field.api_name == "Tag" => out.push_str("[]"),
        Value::Id(id) if field.data_type.is_user() => push_user(out, store, id, form.emails),
        Value::Id(_) if field.data_type == DataType::Lookup => match row.target(place) {
            Some(target) => push_named(out, target.name().as_deref(), target.id),
            None => out.push_str("null"),
        },
        Value::Id(id) if field.data_type == DataType::Layout => {
            let module = row.view.module;
            push_named(out, module.layout_at(id).map(|place| module.layouts[place].name.as_str()), id);
        }
        Value::Text(text) if form.cut && text.len() > SHOWN_RICH_TEXT && field.is_rich_text() => {
            let end = text.char_indices().nth(SHOWN_RICH_TEXT).map_or(text.len(), |(at, _)| at);
            push_json_text(out, &text[..end]);
        }
        Value::DateTime(instant) => {
            out.push('"');
            push_datetime(out, instant, form.zone);
            out.push('"');
        }
        value => push_plain(out, &value, field),
    }
}

/// Appends what looks the same to everyone.
fn push_plain(out: &mut String, value: &Value, field: &Field) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) if field.data_type == DataType::BigInt => {
            let _ = write!(out, "\"{number}\"");
        }
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Decimal(number) => out.push_str(number.as_str()),
        Value::Text(text) => push_json_text(out, text),
        Value::Date(day) => {
            out.push('"');
            push_date(out, *day);
            out.push('"');
        }
        Value::DateTime(instant) => {
            out.push('"');
            push_utc(out, *instant);
            out.push('"');
        }
        Value::Id(id) => {
            let _ = write!(out, "\"{id}\"");
        }
        Value::List(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                push_json_text(out, item);
            }
            out.push(']');
        }
        Value::Json(text) => out.push_str(text),
    }
}

/// Appends `{"name":..,"id":..}`.
pub fn push_named(out: &mut String, name: Option<&str>, id: Id) {
    out.push_str("{\"name\":");
    match name {
        Some(name) => push_json_text(out, name),
        None => out.push_str("null"),
    }
    let _ = write!(out, ",\"id\":\"{id}\"}}");
}

/// Appends a user as lookups show one.
pub fn push_user(out: &mut String, store: &Store, id: Id, email: bool) {
    let Some(user) = store.user(id) else { return out.push_str("null") };
    out.push_str("{\"name\":");
    push_json_text(out, &user.full_name());
    let _ = write!(out, ",\"id\":\"{id}\"");
    if email {
        out.push_str(",\"email\":");
        push_json_text(out, &user.email);
    }
    out.push('}');
}

/// Appends a record as its own call shows it: all fields, rows of subforms and multi-select
/// lookups, and the `$` keys.
pub fn push_record(out: &mut String, row: Row<'_>, places: &[u16], form: Form) {
    let module = row.view.module;
    let (behind, own): (Vec<u16>, Vec<u16>) =
        places.iter().partition(|place| module.at(**place).data_type.is_rows());
    push_row(out, row, &own, form);
    out.pop();
    for place in behind {
        let field = module.at(place);
        out.push(',');
        push_json_text(out, &field.api_name);
        out.push(':');
        push_rows_behind(out, row, field, form);
    }
    out.push_str(
        ",\"$currency_symbol\":\"$\",\"$editable\":true,\"$approved\":true,\"$approval_state\":\"approved\",\
         \"$in_merge\":false,\"$locked_for_me\":false,\"$process_flow\":false,\"$field_states\":null,\"$review\":null}",
    );
}

fn push_rows_behind(out: &mut String, row: Row<'_>, field: &Field, form: Form) {
    let name = field.subform.as_deref().or(field.linking.as_deref());
    let view = name.and_then(|name| row.view.store.view(name));
    let found = view.and_then(|view| Some((view, parent_field(view.module, row.view.module)?)));
    let Some((view, parent)) = found else { return out.push_str("[]") };
    let places: Vec<u16> = match field.data_type {
        DataType::Subform => view.module.active().map(|(place, _)| place).collect(),
        _ => other_lookups(view, parent),
    };
    out.push('[');
    for (number, id) in view.pointing(parent, row.id).into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        if let Some(child) = view.get(id) {
            push_row(out, child, &places, form);
        }
    }
    out.push(']');
}

fn other_lookups(view: View<'_>, parent: u16) -> Vec<u16> {
    let points = |field: &Field| matches!(field.data_type, DataType::Lookup | DataType::UserLookup);
    let lookups = view.module.active().filter(|(place, field)| points(field) && *place != parent);
    lookups.map(|(place, _)| place).collect()
}

/// Appends the truth about a row: ids and lookups as texts, decimals as canonical numbers,
/// datetimes in UTC, empty as null. A column without a place in the module is null.
pub fn canonical(out: &mut String, row: Row<'_>, columns: &[(&str, Option<u16>)]) {
    let mut before = '{';
    for (name, place) in columns {
        out.push(before);
        before = ',';
        push_json_text(out, name);
        out.push(':');
        match place {
            Some(place) => push_plain(out, &row.get(*place), row.view.module.at(*place)),
            None => out.push_str("null"),
        }
    }
    out.push('}');
}
