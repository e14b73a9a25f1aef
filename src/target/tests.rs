//! What the unit tests of this folder share.

use super::check::Check;
use super::condition::Condition;
use super::conduct::Conduct;
use super::config::Operation;
use super::mapping::{Column, Route, Source};
use super::path::Path;
use crate::codec::encode::Kind;
use crate::zoho::types::Field;

/// An upsert of contacts by e-mail address.
pub fn route() -> Route {
    let column = |field: &str, kind, mandatory| Column {
        source: Source::Property(Path::plain(&field.to_lowercase())),
        field: field.to_owned(),
        kind,
        check: if kind == Kind::Text { Check::Text { most: Some(20) } } else { Check::Whole { most: 9 } },
        mandatory,
        ..Column::of(&Field::default())
    };
    Route {
        stream: "people".to_owned(),
        module: "Contacts".to_owned(),
        operation: Operation::Upsert,
        match_on: vec!["Email".to_owned()],
        idempotent: true,
        folds_case: true,
        when: Condition::default(),
        trigger: None,
        conduct: Conduct::default(),
        mirror: false,
        columns: vec![
            column("Email", Kind::Text, false),
            column("Last_Name", Kind::Text, true),
            column("Phone", Kind::Text, false),
            column("Age", Kind::Integer, false),
        ],
        key_properties: vec!["email".to_owned()],
        schema: "{}".to_owned(),
        bulk: true,
        waits_for_record: false,
    }
}
