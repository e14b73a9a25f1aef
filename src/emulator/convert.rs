//! One value of a write: from JSON, or from a cell of a bulk file, to the value a field keeps.
//!
//! Limits are those of section "Fields metadata" of the API reference.

use super::schema::{DataType, Field, Module};
use super::store::Store;
use super::switches::Switches;
use super::time::{Zone, parse_date, parse_datetime, parse_local};
use super::value::{Decimal, Id, Value};
use super::write::Problem;
use serde_json::{Value as Json, json};

/// How values are read.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Values are cells of a file: everything is text, lists are joined by `;`.
    pub cells: bool,
    /// The zone of datetimes without an offset, which only cells may have.
    pub zone: Zone,
    /// See [`Switches::reject_read_only`].
    pub reject_read_only: bool,
    /// See [`Switches::reject_unknown_keys`].
    pub reject_unknown_keys: bool,
    /// See [`Switches::bare_lookup_ids`].
    pub bare_lookup_ids: bool,
    /// See [`Switches::round_decimals`].
    pub round_decimals: bool,
    /// See [`Switches::replace_subform_rows`].
    pub replace_subform_rows: bool,
}

impl Rules {
    /// The rules of the record calls, or of bulk files when `cells`.
    pub fn new(switches: &Switches, zone: Zone, cells: bool) -> Self {
        Self {
            cells,
            zone,
            reject_read_only: switches.reject_read_only,
            reject_unknown_keys: switches.reject_unknown_keys,
            bare_lookup_ids: switches.bare_lookup_ids || cells,
            round_decimals: switches.round_decimals,
            replace_subform_rows: switches.replace_subform_rows,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(&Switches::default(), Zone::UTC, false)
    }
}

/// The word of `details.expected_data_type` for a field.
pub fn expected(field: &Field) -> &'static str {
    match field.data_type {
        DataType::Lookup | DataType::OwnerLookup | DataType::UserLookup | DataType::Layout => "jsonobject",
        DataType::MultiSelectPicklist | DataType::FileUpload | DataType::ImageUpload => "jsonarray",
        DataType::Text if field.api_name == "Tag" => "jsonarray",
        other => other.as_str(),
    }
}

/// Reads one value for a field.
///
/// # Errors
/// `INVALID_DATA` with `expected_data_type` or `maximum_length`.
pub fn convert(store: &Store, field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    if json.is_null() || json.as_str() == Some("") {
        return Ok(Value::Null);
    }
    match field.data_type {
        DataType::Text if field.api_name == "Tag" => tags(store, field, json, rules),
        DataType::Text | DataType::TextArea | DataType::Picklist | DataType::AutoNumber => {
            text(field, json, |_| true)
        }
        DataType::Email => text(field, json, is_email),
        DataType::Phone => text(field, json, is_phone),
        DataType::Website => text(field, json, |text| !text.contains(char::is_whitespace)),
        DataType::MultiSelectPicklist => options(field, json, rules),
        DataType::Integer => integer(field, json, rules),
        DataType::BigInt => long(field, json),
        DataType::Double | DataType::Currency | DataType::Percent => number(field, json, rules),
        DataType::Boolean => boolean(field, json, rules),
        DataType::Date => json.as_str().and_then(parse_date).map(Value::Date).ok_or_else(|| wrong(field)),
        DataType::DateTime => datetime(field, json, rules),
        DataType::Lookup | DataType::OwnerLookup | DataType::UserLookup | DataType::Layout => {
            lookup(store, field, json, rules)
        }
        _ if json.is_array() => Ok(Value::Json(json.to_string().into())),
        _ => Err(wrong(field)),
    }
}

fn wrong(field: &Field) -> Problem {
    Problem::invalid(&field.api_name, json!({"expected_data_type": expected(field)}))
}

fn too_long(field: &Field, length: u32) -> Problem {
    Problem::invalid(&field.api_name, json!({"maximum_length": length}))
}

fn text(field: &Field, json: &Json, is_good: impl Fn(&str) -> bool) -> Result<Value, Problem> {
    let text = json.as_str().ok_or_else(|| wrong(field))?;
    if let Some(length) = field.length
        && text.chars().count() > length as usize
    {
        return Err(too_long(field, length));
    }
    if is_good(text) { Ok(Value::text(text)) } else { Err(wrong(field)) }
}

fn is_email(text: &str) -> bool {
    let Some((user, host)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "@,;<>\"()".contains(c))
    };
    plain(user) && plain(host) && host.contains('.') && !host.starts_with('.') && !host.ends_with('.')
}

fn is_phone(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || " +-().,;/#*:".contains(c))
}

fn options(field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    let items: Vec<Box<str>> = match json {
        Json::String(text) if rules.cells => {
            text.split(';').filter(|item| !item.is_empty()).map(Into::into).collect()
        }
        Json::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
            texts.ok_or_else(|| wrong(field))?.into_iter().map(Into::into).collect()
        }
        _ => return Err(wrong(field)),
    };
    Ok(if items.is_empty() { Value::Null } else { Value::List(items.into()) })
}

/// The text of a number: of a JSON number, or of a cell.
fn digits(json: &Json, cells: bool) -> Option<Decimal> {
    match json {
        Json::Number(number) => Decimal::parse(&number.to_string()),
        Json::String(text) if cells => Decimal::parse(text.trim()),
        _ => None,
    }
}

fn integer(field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    let number =
        digits(json, rules.cells).filter(|number| number.digits().1 == 0).ok_or_else(|| wrong(field))?;
    let length = field.length.unwrap_or(9);
    if number.digits().0 > length as usize {
        return Err(too_long(field, length));
    }
    number.as_str().parse().map(Value::Int).map_err(|_| wrong(field))
}

fn long(field: &Field, json: &Json) -> Result<Value, Problem> {
    let number = digits(json, true).filter(|number| number.digits().1 == 0).ok_or_else(|| wrong(field))?;
    let length = field.length.unwrap_or(18);
    if number.digits().0 > length as usize {
        return Err(too_long(field, length));
    }
    number.as_str().parse().map(Value::Int).map_err(|_| wrong(field))
}

fn number(field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    let number = digits(json, rules.cells).ok_or_else(|| wrong(field))?;
    let (before, after) = number.digits();
    let length = field.length.unwrap_or(16);
    if before > length as usize {
        return Err(too_long(field, length));
    }
    let places = field.decimal_place.unwrap_or(9);
    if after <= places as usize {
        return Ok(Value::Decimal(number));
    }
    if rules.round_decimals {
        return Ok(Value::Decimal(number.rounded(places as usize)));
    }
    Err(Problem::invalid(&field.api_name, json!({"maximum_length": length, "decimal_place": places})))
}

fn boolean(field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    match json {
        Json::Bool(flag) => Ok(Value::Bool(*flag)),
        Json::String(text) if rules.cells => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            _ => Err(wrong(field)),
        },
        _ => Err(wrong(field)),
    }
}

fn datetime(field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    let text = json.as_str().ok_or_else(|| wrong(field))?;
    if let Some(instant) = parse_datetime(text) {
        return Ok(Value::DateTime(instant));
    }
    match parse_local(text) {
        Some((local, "")) if rules.cells => Ok(Value::DateTime(rules.zone.from_local(local))),
        _ => Err(wrong(field)),
    }
}

/// Reads `{"id": ".."}`, or a bare id where that is allowed, of something that exists.
fn lookup(store: &Store, field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    let text = match json {
        Json::Object(map) => map.get("id").and_then(Json::as_str).ok_or_else(|| wrong(field))?,
        Json::String(text) if rules.bare_lookup_ids => text,
        _ => return Err(wrong(field)),
    };
    let exists = |id: Id| match field.data_type {
        DataType::Lookup => {
            let target = field.lookup.as_deref().and_then(|name| store.view(name));
            target.is_some_and(|view| view.get(id).is_some())
        }
        DataType::Layout => {
            let own = |module: &&Module| module.field("Layout").is_some_and(|own| own.id == field.id);
            store.schema.modules.iter().find(own).is_some_and(|module| module.layout_at(id).is_some())
        }
        _ => store.user(id).is_some_and(|user| user.active),
    };
    match text.parse::<Id>() {
        Ok(id) if exists(id) => Ok(Value::Id(id)),
        _ => {
            let path = format!("{}.id", field.api_name);
            Err(Problem::new("INVALID_DATA", "the id given seems to be invalid", &path, json!({})))
        }
    }
}

/// Reads `[{"name": ".."}]`; a tag that is not known is made.
fn tags(store: &Store, field: &Field, json: &Json, rules: &Rules) -> Result<Value, Problem> {
    let names: Option<Vec<&str>> = match json {
        Json::Array(items) => {
            items.iter().map(|item| item.get("name").or(Some(item)).and_then(Json::as_str)).collect()
        }
        Json::String(text) if rules.cells => Some(text.split([';', ',']).collect()),
        _ => None,
    };
    let names = names.ok_or_else(|| wrong(field))?;
    let base = store.users.first().map_or(0, |user| user.id) - 225_013;
    let tag = |name: &str| {
        let id = base + 700_000 + super::data::salt(name) % 90_000;
        json!({"name": name, "id": id.to_string(), "color_code": null})
    };
    let tags: Vec<Json> = names.into_iter().filter(|name| !name.is_empty()).map(tag).collect();
    Ok(if tags.is_empty() { Value::Null } else { Value::Json(Json::Array(tags).to_string().into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::directory;
    use crate::emulator::schema::Schema;

    fn read(field: &str, json: Json, rules: Rules) -> Result<Value, Problem> {
        const BASE: Id = 4_876_000_000_000_000_000;
        let schema = Schema::load(None, BASE).expect("built-in schema");
        let counts = [("Accounts".to_owned(), 1)].into();
        let store = Store::new(schema, directory::users(BASE, 3, "Australia/Sydney"), &counts, 1, BASE);
        let field =
            store.schema.module("Everything").and_then(|module| module.field(field)).expect("built in");
        convert(&store, field, &json, &rules)
    }

    fn parsed(text: &str) -> Json {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn numbers_keep_every_digit() {
        let currency =
            read("Currency_1", parsed("1234567890123456.123456789"), Rules::default()).expect("fits");
        assert_eq!(currency, Value::Decimal(Decimal::parse("1234567890123456.123456789").expect("number")));
        assert_eq!(
            read("Long_1", json!("999999999999999999"), Rules::default()),
            Ok(Value::Int(999_999_999_999_999_999))
        );
        let problem = read("Integer_1", json!(1_234_567_890), Rules::default()).expect_err("ten digits");
        assert_eq!(problem.details["maximum_length"], json!(9));
        assert!(read("Percent_1", parsed("1.234"), Rules::default()).is_err());
        let rounding = Rules { round_decimals: true, ..Rules::default() };
        assert_eq!(
            read("Percent_1", parsed("1.235"), rounding),
            Ok(Value::Decimal(Decimal::parse("1.24").expect("number")))
        );
    }

    #[test]
    fn json_is_strict_and_cells_are_not() {
        let cells = Rules { cells: true, ..Rules::default() };
        for (field, text) in
            [("Integer_1", "7"), ("Check_1", "true"), ("Multi_1", "Red;Green"), ("Currency_1", "1.5")]
        {
            let problem = read(field, json!(text), Rules::default()).expect_err(field);
            assert!(problem.details.contains_key("expected_data_type"), "{field}");
            assert!(read(field, json!(text), cells).is_ok(), "{field}");
        }
        let sydney = Rules { zone: Zone::named("Australia/Sydney").expect("built in"), ..cells };
        assert_eq!(
            read("DateTime_1", json!("2025-01-01 11:00:00"), sydney),
            Ok(Value::DateTime(1_735_689_600))
        );
        assert!(read("DateTime_1", json!("2025-01-01T11:00:00"), Rules::default()).is_err());
    }

    #[test]
    fn texts_and_lookups_are_checked() {
        assert_eq!(
            read("Email_1", json!("nobody"), Rules::default()).expect_err("no host").details["expected_data_type"],
            json!("email")
        );
        assert_eq!(
            read("Name", json!("é".repeat(121)), Rules::default()).expect_err("121").details["maximum_length"],
            json!(120)
        );
        assert!(read("Lookup_1", json!({"id": "1"}), Rules::default()).is_err());
        assert!(read("Lookup_1", json!({"id": "4876000001000000001"}), Rules::default()).is_ok());
        assert!(read("Pick_1", json!("Never seen"), Rules::default()).is_ok());
    }
}
