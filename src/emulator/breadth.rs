//! Wide modules and many of them, without a schema file that lists them all.
//!
//! The metadata of a large customer is a load of its own: three hundred fields in a module, a hundred
//! and fifty modules. What is made here depends on numbers only, so the same numbers give the same schema.

use super::schema::{DataType, Field, Module};
use serde_json::{Value as Json, json};

/// Modules and fields to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breadth {
    /// Custom modules of a few fields to add, `Custom_001` and so on.
    pub modules: u16,
    /// Modules with so many fields in all, each named after its number: `Wide_300`.
    pub wide: Vec<u16>,
}

/// The kinds that a wide module has in turn: every one that a list, a query and a bulk job can all
/// deliver.
const KINDS: [(DataType, &str); 15] = [
    (DataType::Text, "Text"),
    (DataType::Integer, "Integer"),
    (DataType::Picklist, "Pick"),
    (DataType::Currency, "Currency"),
    (DataType::Date, "Date"),
    (DataType::DateTime, "DateTime"),
    (DataType::Boolean, "Check"),
    (DataType::Email, "Email"),
    (DataType::Double, "Double"),
    (DataType::MultiSelectPicklist, "Multi"),
    (DataType::Phone, "Phone"),
    (DataType::Percent, "Percent"),
    (DataType::TextArea, "Lines"),
    (DataType::BigInt, "Long"),
    (DataType::Website, "Website"),
];

/// So many fields of all kinds in turn, `Text_001` first.
pub fn fields(count: usize) -> Vec<Field> {
    let field = |number: usize| {
        let (data_type, name) = KINDS[number % KINDS.len()];
        let mut field = Field::bare(&format!("{name}_{:03}", number + 1), data_type);
        field.custom = true;
        match data_type {
            DataType::Picklist | DataType::MultiSelectPicklist => {
                field.pick_list = ["Red", "Green", "Blau"].map(str::to_owned).into();
            }
            DataType::Currency | DataType::Double | DataType::Percent => field.decimal_place = Some(2),
            DataType::TextArea => field.textarea = Some("small".to_owned()),
            _ => {}
        }
        field
    };
    (0..count).map(field).collect()
}

/// Adds fields to a module until it has as many as its schema asks for, system fields included.
pub fn widen(module: &Module, own: &mut Vec<Field>, others: usize) {
    if let Some(width) = module.wide {
        own.extend(fields(usize::from(width).saturating_sub(own.len() + others)));
    }
}

impl Breadth {
    /// The schema file with these modules added.
    pub fn onto(&self, schema: Option<&Json>) -> Option<Json> {
        if *self == Self::default() {
            return schema.cloned();
        }
        let mut schema = schema.cloned().unwrap_or_else(|| json!({}));
        let mut modules = schema["modules"].as_array().cloned().unwrap_or_default();
        let name = || json!({"api_name": "Name", "data_type": "text", "length": 120, "mandatory": true});
        modules.extend(self.wide.iter().map(|width| {
            json!({"api_name": format!("Wide_{width}"), "wide": width, "fields": [name()],
                "system_fields": ["id", "Created_Time", "Modified_Time"]})
        }));
        modules.extend((1..=self.modules).map(|number| {
            let account = json!({"api_name": "Account", "data_type": "lookup", "lookup": "Accounts"});
            json!({"api_name": format!("Custom_{number:03}"), "wide": 20, "fields": [name(), account]})
        }));
        schema["modules"] = modules.into();
        Some(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::schema::Schema;

    #[test]
    fn a_wide_module_has_the_width_of_its_name() {
        let breadth = Breadth { modules: 2, wide: vec![5, 501] };
        let schema = Schema::load(breadth.onto(None).as_ref(), 1_000_000).expect("a schema");
        let width = |name: &str| schema.module(name).map(|module| module.active().count());
        assert_eq!((width("Wide_5"), width("Wide_501"), width("Custom_002")), (Some(5), Some(501), Some(20)));
        assert!(Breadth::default().onto(None).is_none());
    }
}
