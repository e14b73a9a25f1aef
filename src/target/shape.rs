//! What a SCHEMA says of records, as far as that can be seen from their text.
//!
//! Types, lengths, options, required and further members: what taps write. A [`Shape`] says that a value
//! fits for sure, or nothing; then the `jsonschema` crate decides by the tree, and finds the words. So a
//! keyword that is not known here costs time and changes nothing. Follows JSON Schema drafts 4 to 2020-12,
//! in what they agree on.

use serde_json::{Map, Value};

use crate::codec::encode_text::scalar_text;
use crate::codec::json::{Items, Members, plain_string};

/// Keywords that say nothing about values. Formats are not held to, see `ingest`.
const SILENT: [&str; 10] = [
    "$comment",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
];

/// Digits of a whole number that is one in every draft and for every parser.
const SURE_DIGITS: usize = 18;

/// What a value may be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// One of these types; any if none is named.
    types: Vec<Type>,
    /// The least and the largest number.
    minimum: Option<i64>,
    maximum: Option<i64>,
    /// Most characters of a string.
    max_length: Option<usize>,
    /// One of these strings, or null.
    options: Option<Vec<Option<String>>>,
    /// The items of a list.
    items: Option<Box<Shape>>,
    /// The known members of an object.
    members: Vec<Member>,
    /// Whether an object may have others.
    open: bool,
    /// One of these, too, if there are any.
    choices: Vec<Shape>,
}

#[derive(Debug, Clone, PartialEq)]
struct Member {
    name: String,
    required: bool,
    /// None where only a tree tells.
    shape: Option<Shape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Shape {
    /// The shape of a SCHEMA; none if it has a keyword that is not known here.
    pub fn of(schema: &Value) -> Option<Self> {
        let keywords = match schema {
            Value::Bool(true) => return Some(Self { open: true, ..Self::default() }),
            Value::Object(keywords) => keywords,
            _ => return None,
        };
        let mut shape = Self { open: true, ..Self::default() };
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("type", Value::Array(types)) => {
                    shape.types = types.iter().map(Type::of).collect::<Option<_>>()?;
                }
                ("type", one) => shape.types = vec![Type::of(one)?],
                ("maxLength", most) => shape.max_length = Some(usize::try_from(most.as_u64()?).ok()?),
                ("minimum", least) => shape.minimum = Some(least.as_i64()?),
                ("maximum", most) => shape.maximum = Some(most.as_i64()?),
                ("enum", Value::Array(options)) => shape.options = Some(options_of(options)?),
                ("items", items @ (Value::Object(_) | Value::Bool(_))) => {
                    shape.items = Some(Box::new(Self::of(items)?));
                }
                ("properties", Value::Object(properties)) => shape.take_members(properties),
                ("required", Value::Array(_)) => {}
                ("additionalProperties", Value::Bool(open)) => shape.open = *open,
                ("anyOf", Value::Array(choices)) if !choices.is_empty() => {
                    shape.choices = choices.iter().map(Self::of).collect::<Option<_>>()?;
                }
                (silent, _) if SILENT.contains(&silent) || silent.starts_with("x-") => {}
                _ => return None,
            }
        }
        // Named once the members are known.
        for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str()?;
            match shape.members.iter_mut().find(|member| member.name == name) {
                Some(member) => member.required = true,
                None => return None,
            }
        }
        Some(shape)
    }

    fn take_members(&mut self, properties: &Map<String, Value>) {
        let member = |(name, schema): (&String, &Value)| Member {
            name: name.clone(),
            required: false,
            shape: Self::of(schema),
        };
        self.members = properties.iter().map(member).collect();
    }

    /// Whether an object with these members fits for sure.
    pub fn fits<'a>(&self, members: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        self.is_a(Type::Object)
            && self.options.is_none()
            && self.choices.is_empty()
            && self.fits_members(members)
    }

    fn fits_members<'a>(&self, members: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        let mut next = 0;
        for (key, json) in members.clone() {
            // They mostly stand in the order of the SCHEMA.
            let behind = self.members[next..].iter().position(|member| member.name == key);
            let place = behind
                .map(|at| next + at)
                .or_else(|| self.members[..next].iter().position(|member| member.name == key));
            let Some(place) = place else {
                if self.open && !key.contains('\\') { continue } else { return false }
            };
            if !self.members[place].shape.as_ref().is_some_and(|shape| shape.fits_value(json)) {
                return false;
            }
            next = place + 1;
        }
        let required = self.members.iter().filter(|member| member.required);
        required.into_iter().all(|member| members.clone().any(|(key, _)| key == member.name))
    }

    /// Whether a value, given as JSON text, fits for sure.
    fn fits_value(&self, json: &str) -> bool {
        let fits = match json.as_bytes().first() {
            Some(b'"') => {
                self.is_a(Type::String)
                    && self.max_length.is_none_or(|most| {
                        json.len() <= most + 2
                            || scalar_text(json).is_some_and(|text| text.chars().count() <= most)
                    })
            }
            Some(b'n') => self.is_a(Type::Null),
            Some(b't' | b'f') => self.is_a(Type::Boolean),
            Some(b'[') => {
                let fits = |items: &Shape| Items::of(json).all(|item| items.fits_value(item));
                self.is_a(Type::Array) && self.items.as_deref().is_none_or(fits)
            }
            Some(b'{') => self.is_a(Type::Object) && self.fits_members(Members::of(json)),
            Some(_) => self.fits_number(json),
            None => false,
        };
        fits && self.options.as_ref().is_none_or(|options| is_among(json, options))
            && (self.choices.is_empty() || self.choices.iter().any(|choice| choice.fits_value(json)))
    }

    fn fits_number(&self, json: &str) -> bool {
        match whole(json) {
            Some(number) => {
                (self.is_a(Type::Number) || self.is_a(Type::Integer))
                    && self.minimum.is_none_or(|least| number >= least)
                    && self.maximum.is_none_or(|most| number <= most)
            }
            None => self.is_a(Type::Number) && self.minimum.is_none() && self.maximum.is_none(),
        }
    }

    fn is_a(&self, one: Type) -> bool {
        self.types.is_empty() || self.types.contains(&one)
    }
}

impl Type {
    fn of(name: &Value) -> Option<Self> {
        Some(match name.as_str()? {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

/// The options of a list that has nothing but strings and null.
fn options_of(options: &[Value]) -> Option<Vec<Option<String>>> {
    let option = |option: &Value| match option {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    };
    options.iter().map(option).collect()
}

fn is_among(json: &str, options: &[Option<String>]) -> bool {
    match plain_string(json) {
        Some(text) => options.iter().any(|option| option.as_deref() == Some(text)),
        None => json == "null" && options.contains(&None),
    }
}

/// A whole number that is one in every draft.
fn whole(json: &str) -> Option<i64> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    let sure = digits.len() <= SURE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    json.parse().ok().filter(|_| sure)
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_schema() -> impl Strategy<Value = Value> {
        let kind = proptest::sample::select(vec![
            "null", "boolean", "integer", "number", "string", "array", "object",
        ]);
        let leaf = prop_oneof![
            Just(json!({})),
            Just(json!(true)),
            kind.clone().prop_map(|kind| json!({"type": kind})),
            (kind, 0..4).prop_map(
                |(kind, most)| json!({"type": ["null", kind], "maxLength": most, "format": "date"})
            ),
            Just(json!({"enum": ["a", null, "é\n"]})),
            Just(json!({"type": "number", "minimum": 1, "x-more": true})),
            Just(json!({"type": ["integer", "string"], "minimum": -5, "maximum": 10})),
            Just(json!({"minimum": 0.5})),
            Just(json!({"maxLength": 2.0})),
        ];
        leaf.prop_recursive(2, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|items| json!({"type": ["null", "array"], "items": items})),
                proptest::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"anyOf": all})),
                (inner.clone(), inner, any::<bool>(), any::<bool>()).prop_map(|(a, b, open, needs)| {
                    let required = if needs { json!(["a"]) } else { json!([]) };
                    json!({"type": "object", "properties": {"a": a, "b": b}, "additionalProperties": open, "required": required})
                }),
            ]
        })
    }

    fn any_record() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("false".to_owned()),
            "-?(0|[1-9][0-9]{0,2}|12345678901234567890)(\\.[05])?(e[+-]?[0-9])?",
            "[aé\n\"]{0,4}".prop_map(|text| json!(text).to_string()),
            Just(r#""\u0061""#.to_owned()),
        ];
        let value = leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                proptest::collection::vec(("[abc]", inner), 0..3).prop_map(object),
            ]
        });
        proptest::collection::vec(("[abc]", value), 0..4).prop_map(object)
    }

    fn object(members: Vec<(String, String)>) -> String {
        let members: Vec<String> = members.iter().map(|(key, json)| format!("\"{key}\": {json}")).collect();
        format!("{{{}}}", members.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn any_record_that_fits_is_valid(schema in any_schema(), record in any_record()) {
            let validator = jsonschema::options().should_validate_formats(false).build(&schema);
            let Ok(validator) = validator else { return Ok(()) };
            let Some(shape) = Shape::of(&schema) else { return Ok(()) };
            let record = Record::parse(&record).expect("an object");
            let tree = Value::Object(record.tree());
            if shape.fits(record.members()) || shape.fits_value(&tree.to_string()) {
                prop_assert!(validator.is_valid(&tree), "{} {}", schema, tree);
            }
        }
    }

    #[test]
    fn what_taps_write_is_known() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["id"], "properties": {
            "id": {"type": "string", "title": "Id"}, "n": {"type": ["null", "integer"]}, "d": {"type": ["number", "null"]},
            "t": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            "l": {"type": ["null", "array"], "items": {"type": "string"}}, "s": {"type": "string", "maxLength": 2}}});
        let shape = Shape::of(&schema).expect("is known");
        let fits = |record: &str| shape.fits(Record::parse(record).expect("an object").members());
        assert!(fits(r#"{"s": "é\n", "id": "1", "n": 5, "d": -1.5e3, "t": null, "l": ["a", "b"]}"#));
        assert!(!fits(r#"{"n": 5}"#) && !fits(r#"{"id": "1", "x": 1}"#) && !fits(r#"{"id": "1", "l": [1]}"#));
    }
}
