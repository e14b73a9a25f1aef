//! Which operation a stream gets, and which field finds the existing record.
//!
//! What the config says counts. Otherwise the stream's key decides: `id` means update by id, since only
//! Zoho gives ids; a key that goes to a unique field means upsert by it; under a configured upsert the
//! module's own duplicate check field serves too. Nothing is guessed beyond that: a load that would create
//! the same rows again on every run has to be asked for.
//!
//! Sources: the pages "Upsert Records" (duplicate check fields by module) and "Bulk Write" (`find_by`).

use super::config::{ConfigError, Operation, StreamTarget, child};
use super::mapping::{Pair, StreamShape, unknown_field};
use super::metadata::ModuleMeta;
use crate::zoho::types::{DataType, Field};

/// The operation of a route and what it rests on.
#[derive(Debug)]
pub struct Choice {
    /// What is done with a row.
    pub operation: Operation,
    /// The fields that find the existing record.
    pub match_on: Vec<String>,
    /// Whether sending a row twice does no harm.
    pub idempotent: bool,
    /// Whether the match ignores upper and lower case.
    pub folds_case: bool,
}

/// Decides operation and match fields of a route.
///
/// # Errors
/// [`ConfigError`] when a match field is missing, unknown, unmapped or of no use.
pub(super) fn choose(
    shape: StreamShape<'_>,
    target: &StreamTarget,
    meta: &ModuleMeta,
    pairs: &[Pair<'_>],
) -> Result<Choice, ConfigError> {
    let configured = configured_match(target, meta, pairs)?;
    let by_key = key_field(shape, pairs);
    // A mirror writes as an upsert does.
    let wanted = target.operation.map(|one| if one == Operation::Mirror { Operation::Upsert } else { one });
    let (operation, match_on) = match (wanted, configured.is_empty()) {
        (Some(operation), false) => (operation, configured),
        (None, false) if configured == ["id"] => (Operation::Update, configured),
        (None, false) => (Operation::Upsert, configured),
        (None, true) => match by_key {
            Some("id") => (Operation::Update, vec!["id".to_owned()]),
            Some(field) => (Operation::Upsert, vec![field.to_owned()]),
            None => return Err(no_operation(shape, target)),
        },
        (Some(Operation::Insert), true) => {
            (Operation::Insert, by_key.filter(|key| *key != "id").map(str::to_owned).into_iter().collect())
        }
        (Some(operation @ (Operation::Update | Operation::Delete)), true) => {
            (operation, vec![by_key.ok_or_else(|| no_match(shape, target, operation))?.to_owned()])
        }
        (Some(Operation::Upsert | Operation::Mirror), true) => {
            let field = by_key
                .filter(|key| *key != "id")
                .or_else(|| system_field(&meta.module.api_name).filter(|name| is_mapped(name, pairs)))
                .ok_or_else(|| no_match(shape, target, Operation::Upsert))?;
            (Operation::Upsert, vec![field.to_owned()])
        }
    };
    check(operation, &match_on, target)?;
    let fields: Vec<&Field> = match_on.iter().filter_map(|name| meta.field(name)).collect();
    // Zoho refuses a second record with the same value of such a field; an `id` creates nothing.
    let unique_ones = || fields.iter().filter(|field| field.api_name != "id");
    let unique = unique_ones().next().is_some() && unique_ones().all(|field| field.unique || field.external);
    Ok(Choice {
        idempotent: matches!(operation, Operation::Update | Operation::Delete) || unique,
        folds_case: fields.iter().any(|field| !field.case_sensitive && field.api_name != "id"),
        operation,
        match_on,
    })
}

/// Whether Zoho takes the field in this operation.
pub(super) fn takes(choice: &Choice, field: &Field) -> bool {
    if field.api_name == "id" {
        return choice.match_on.iter().any(|name| name == "id");
    }
    let computed =
        matches!(field.data_type, DataType::Formula | DataType::RollupSummary | DataType::AutoNumber);
    let taken = match choice.operation {
        Operation::Insert => field.api_create,
        Operation::Update => field.api_update,
        Operation::Upsert | Operation::Mirror => field.api_create && field.api_update,
        // What is sent names the record and changes nothing.
        Operation::Delete => return choice.match_on.contains(&field.api_name),
    };
    // What is written with its record has no value of its own, and is taken all the same.
    let has_rows = matches!(field.data_type, DataType::Subform | DataType::MultiSelectLookup);
    taken && (has_rows || !field.virtual_field) && !computed
}

fn configured_match(
    target: &StreamTarget,
    meta: &ModuleMeta,
    pairs: &[Pair<'_>],
) -> Result<Vec<String>, ConfigError> {
    for (place, name) in target.match_on.iter().enumerate() {
        let pointer = format!("{}/{place}", child(&target.pointer, "match_on"));
        if meta.field(name).is_none() {
            return Err(unknown_field(name, &pointer, meta));
        }
        if !is_mapped(name, pairs) {
            return Err(ConfigError::new(pointer, format!("no property of the stream goes to \"{name}\""))
                .with_hint("a match field has to get a value from every row"));
        }
    }
    Ok(target.match_on.clone())
}

/// The field of a single key property, if it can find records.
fn key_field<'a>(shape: StreamShape<'_>, pairs: &'a [Pair<'_>]) -> Option<&'a str> {
    let [key] = shape.key_properties else { return None };
    pairs
        .iter()
        .filter(|pair| pair.path.is(key) && pair.rule.lookup_by.is_none())
        .map(|pair| pair.field)
        .find(|field| field.unique || field.api_name == "id")
        .map(|field| field.api_name.as_str())
}

fn is_mapped(name: &str, pairs: &[Pair<'_>]) -> bool {
    pairs.iter().any(|pair| pair.field.api_name == name && pair.rule.lookup_by.is_none())
}

/// The field by which Zoho itself looks for duplicates.
pub(super) fn system_field(module: &str) -> Option<&'static str> {
    Some(match module {
        "Leads" | "Contacts" => "Email",
        "Accounts" => "Account_Name",
        "Deals" => "Deal_Name",
        "Campaigns" => "Campaign_Name",
        "Products" => "Product_Name",
        "Vendors" => "Vendor_Name",
        "Price_Books" => "Price_Book_Name",
        "Solutions" => "Solution_Title",
        "Cases" | "Quotes" | "Sales_Orders" | "Purchase_Orders" | "Invoices" => "Subject",
        _ => return None,
    })
}

fn check(operation: Operation, match_on: &[String], target: &StreamTarget) -> Result<(), ConfigError> {
    let pointer = child(&target.pointer, "match_on");
    let by_id = match_on.iter().any(|name| name == "id");
    if by_id && operation == Operation::Insert {
        return Err(ConfigError::new(pointer, format!("{operation} cannot match on \"id\"")).with_hint(
            "Zoho gives the ids of new records; \"operation\": \"update\" changes records by id",
        ));
    }
    Ok(())
}

fn no_operation(shape: StreamShape<'_>, target: &StreamTarget) -> ConfigError {
    let key = if shape.key_properties.is_empty() {
        "it has no key".to_owned()
    } else {
        format!("its key {} goes to no unique field of {}", shape.key_properties.join(", "), target.module)
    };
    ConfigError::new(&target.pointer, format!("cannot tell what to do with stream \"{}\": {key}", shape.stream))
        .with_hint(format!(
            "set \"match_on\" to a field that finds existing records, or \"operation\": \"insert\" to create every row: {{\"streams\": {{\"{}\": {{\"match_on\": [\"Email\"]}}}}}}",
            shape.stream
        ))
}

fn no_match(shape: StreamShape<'_>, target: &StreamTarget, operation: Operation) -> ConfigError {
    ConfigError::new(
        child(&target.pointer, "match_on"),
        format!("{operation} of stream \"{}\" needs a field that finds existing records", shape.stream),
    )
    .with_hint("name one that a property goes to, best a unique one")
}
