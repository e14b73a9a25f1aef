//! Criteria of a bulk read query: JSON to a typed filter, or the error that Zoho answers.
//!
//! Two spellings of a condition are read: `field.api_name` (v3 and later) and a flat `api_name`
//! (v2). Follows "Bulk Read, Create job", sections Criteria and Possible errors.

use super::Refusal;
use crate::emulator::filter::{Filter, Kind, Test, TextTest, operand};
use crate::emulator::value::Value as Cell;
use serde_json::{Value, json};

/// Most conditions in one query.
pub const MAX_CONDITIONS: usize = 25;

/// Longest text in a condition, in characters.
const MAX_TEXT: usize = 255;

/// What a condition's value is when it asks for empty cells.
const EMPTY: &str = "${EMPTY}";

/// What the checks need to know besides the query.
pub struct Rules<'a, P> {
    /// Finds the field behind a dotted name.
    pub resolve: &'a dyn Fn(&str) -> Option<(P, Kind)>,
    /// Most values of `in` and `not_in`.
    pub max_values: usize,
    /// Whether a condition on the record id is taken.
    pub id_allowed: bool,
    /// The module's name, for error details.
    pub module: &'a str,
}

/// Checks and types the criteria of a query.
///
/// # Errors
/// The codes of the create call that are about criteria.
pub fn compile<P>(criteria: &Value, rules: &Rules<'_, P>) -> Result<Filter<P>, Refusal> {
    let mut count = 0;
    let filter = node(criteria, rules, &mut count)?;
    if count > MAX_CONDITIONS {
        let details = json!({"max_limit": MAX_CONDITIONS});
        return Err(Refusal::new("CRITERIA_LIMIT_EXCEEDED", "criteria limit exceeded", details));
    }
    Ok(filter)
}

fn node<P>(criteria: &Value, rules: &Rules<'_, P>, count: &mut usize) -> Result<Filter<P>, Refusal> {
    let Some(object) = criteria.as_object() else {
        return Err(invalid(criteria));
    };
    let is_group = object.contains_key("group") || object.contains_key("group_operator");
    let is_condition =
        ["field", "api_name", "comparator", "value"].iter().any(|key| object.contains_key(*key));
    match (is_group, is_condition) {
        (true, true) => Err(Refusal::new("AMBIGUOUS_CRITERIA", "ambiguous criteria", criteria.clone())),
        (true, false) => group(criteria, rules, count),
        (false, true) => {
            *count += 1;
            condition(criteria, rules)
        }
        (false, false) => Err(invalid(criteria)),
    }
}

fn group<P>(criteria: &Value, rules: &Rules<'_, P>, count: &mut usize) -> Result<Filter<P>, Refusal> {
    let members = criteria["group"].as_array().filter(|members| !members.is_empty());
    let (Some(members), Some(operator)) = (members, criteria["group_operator"].as_str()) else {
        return Err(Refusal::new(
            "AMBIGUOUS_GROUP_IN_CRITERIA",
            "ambiguous group in criteria",
            criteria.clone(),
        ));
    };
    let all = match operator.to_ascii_lowercase().as_str() {
        "and" => true,
        "or" => false,
        _ => {
            let details = json!({"supported": ["and", "or"]});
            return Err(Refusal::new(
                "GROUP_OPERATOR_NOT_SUPPORTED",
                "group operator not supported",
                details,
            ));
        }
    };
    let parts = members.iter().map(|member| node(member, rules, count)).collect::<Result<_, _>>()?;
    Ok(if all { Filter::All(parts) } else { Filter::Any(parts) })
}

/// One comparison as it was sent.
struct Condition<'a> {
    name: &'a str,
    comparator: &'a str,
    value: &'a Value,
    kind: Kind,
}

fn condition<P>(criteria: &Value, rules: &Rules<'_, P>) -> Result<Filter<P>, Refusal> {
    let name = criteria["field"]["api_name"].as_str().or_else(|| criteria["api_name"].as_str());
    let (Some(name), Some(comparator), Some(value)) =
        (name, criteria["comparator"].as_str(), criteria.get("value"))
    else {
        return Err(invalid(criteria));
    };
    let Some((path, kind)) = (rules.resolve)(name) else {
        let details = json!({"api_name": name, "module": rules.module});
        let text = "field in criteria is not available";
        return Err(Refusal::new("FIELD_IN_CRITERIA_NOT_AVAILABLE", text, details));
    };
    if kind == Kind::Other || (kind == Kind::Id && !rules.id_allowed) {
        let details = json!({"api_name": name});
        let text = "field in criteria is not supported";
        return Err(Refusal::new("FIELD_IN_CRITERIA_NOT_SUPPORTED", text, details));
    }
    let condition = Condition { name, comparator, value, kind };
    condition.check_comparator()?;
    Ok(Filter::Test(path, condition.test(rules.max_values)?))
}

const TEXTS: &[&str] =
    &["equal", "not_equal", "in", "not_in", "contains", "not_contains", "starts_with", "ends_with"];
const NUMBERS: &[&str] =
    &["equal", "not_equal", "in", "not_in", "less_than", "less_equal", "greater_than", "greater_equal"];
const TIMES: &[&str] = &[
    "equal",
    "not_equal",
    "in",
    "not_in",
    "between",
    "not_between",
    "less_than",
    "less_equal",
    "greater_than",
    "greater_equal",
];

fn comparators(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Text | Kind::MultiSelect => TEXTS,
        Kind::Number | Kind::Id => NUMBERS,
        Kind::Date | Kind::DateTime => TIMES,
        Kind::Boolean => &["equal"],
        Kind::Reference => &["equal", "not_equal", "in", "not_in"],
        Kind::Other => &[],
    }
}

impl Condition<'_> {
    fn check_comparator(&self) -> Result<(), Refusal> {
        let supported = comparators(self.kind);
        if supported.contains(&self.comparator) {
            return Ok(());
        }
        let details = json!({"api_name": self.name, "comparator": self.comparator, "supported": supported});
        let text = "comparator is not supported for the field";
        Err(Refusal::new("FIELD_COMPARATOR_IN_CRITERIA_NOT_SUPPORTED", text, details))
    }

    fn test(&self, max_values: usize) -> Result<Test, Refusal> {
        if self.value.as_str() == Some(EMPTY) {
            return match self.comparator {
                "equal" => Ok(Test::Null),
                "not_equal" => Ok(Test::NotNull),
                _ => Err(self.incompatible()),
            };
        }
        Ok(match self.comparator {
            "equal" => Test::Equal(self.one()?),
            "not_equal" => Test::NotEqual(self.one()?),
            "less_than" => Test::Less(self.one()?),
            "less_equal" => Test::LessEqual(self.one()?),
            "greater_than" => Test::Greater(self.one()?),
            "greater_equal" => Test::GreaterEqual(self.one()?),
            "in" => Test::In(self.many(max_values)?),
            "not_in" => Test::NotIn(self.many(max_values)?),
            "between" => self.pair().map(|(low, high)| Test::Between(low, high))?,
            "not_between" => self.pair().map(|(low, high)| Test::NotBetween(low, high))?,
            "contains" => Test::Text(TextTest::Contains, self.text()?),
            "not_contains" => Test::NotText(TextTest::Contains, self.text()?),
            "starts_with" => Test::Text(TextTest::StartsWith, self.text()?),
            _ => Test::Text(TextTest::EndsWith, self.text()?),
        })
    }

    fn one(&self) -> Result<Cell, Refusal> {
        if self.value.is_array() { Err(self.incompatible()) } else { self.typed(self.value) }
    }

    fn many(&self, max_values: usize) -> Result<Vec<Cell>, Refusal> {
        let values = self.value.as_array().ok_or_else(|| self.incompatible())?;
        if values.len() > max_values {
            let details = json!({"api_name": self.name, "max_limit": max_values});
            let text = "value limit exceeded in criteria";
            return Err(Refusal::new("VALUE_LIMIT_EXCEEDED_IN_CRITERIA", text, details));
        }
        values.iter().map(|value| self.typed(value)).collect()
    }

    fn pair(&self) -> Result<(Cell, Cell), Refusal> {
        match self.value.as_array().map(Vec::as_slice) {
            Some([low, high]) => Ok((self.typed(low)?, self.typed(high)?)),
            _ => Err(self.incompatible()),
        }
    }

    fn text(&self) -> Result<String, Refusal> {
        let text = self.value.as_str().ok_or_else(|| self.incompatible())?;
        self.check_length(text).map(|()| text.to_lowercase())
    }

    fn typed(&self, value: &Value) -> Result<Cell, Refusal> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) if matches!(self.kind, Kind::Number | Kind::Id) => value.to_string(),
            Value::Bool(flag) if self.kind == Kind::Boolean => flag.to_string(),
            Value::Object(_) if self.kind == Kind::Reference => {
                value["id"].as_str().unwrap_or_default().to_owned()
            }
            _ => return Err(self.wrong_type()),
        };
        self.check_length(&text)?;
        // Zoho takes datetimes to the second only.
        if self.kind == Kind::DateTime && text.contains('.') {
            return Err(self.wrong_type());
        }
        operand(self.kind, &text).ok_or_else(|| self.wrong_type())
    }

    fn check_length(&self, text: &str) -> Result<(), Refusal> {
        if text.chars().count() <= MAX_TEXT {
            return Ok(());
        }
        let details = json!({"api_name": self.name, "comparator": self.comparator});
        Err(Refusal::new("VALUE_IN_CRITERIA_NOT_SUPPORTED", "value in criteria is too long", details))
    }

    fn incompatible(&self) -> Refusal {
        let details = json!({"api_name": self.name, "comparator": self.comparator, "value": self.value});
        let text = "comparator and value in criteria are not compatible";
        Refusal::new("COMPARATOR_AND_VALUE_IN_CRITERIA_NOT_COMPATIBLE", text, details)
    }

    fn wrong_type(&self) -> Refusal {
        let supported = match self.kind {
            Kind::Number | Kind::Id => "number",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
            Kind::DateTime => "datetime",
            Kind::Reference => "id",
            Kind::Text | Kind::MultiSelect | Kind::Other => "string",
        };
        let details = json!({"api_name": self.name, "supported": [supported]});
        Refusal::new("VALUE_TYPE_NOT_SUPPORTED", "value type is not supported", details)
    }
}

fn invalid(criteria: &Value) -> Refusal {
    Refusal::new("INVALID_CRITERIA", "invalid criteria", criteria.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(criteria: Value) -> Result<Filter<String>, Refusal> {
        let resolve = |name: &str| {
            let kind = match name {
                "id" => Kind::Id,
                "Last_Name" => Kind::Text,
                "Amount" => Kind::Number,
                "Active" => Kind::Boolean,
                "Owner" => Kind::Reference,
                "Modified_Time" => Kind::DateTime,
                "Tag" => Kind::Other,
                _ => return None,
            };
            Some((name.to_owned(), kind))
        };
        compile(&criteria, &Rules { resolve: &resolve, max_values: 20, id_allowed: true, module: "Leads" })
    }

    fn code(criteria: Value) -> &'static str {
        compiled(criteria).expect_err("refused").code
    }

    fn on(name: &str, comparator: &str, value: Value) -> Value {
        json!({"field": {"api_name": name}, "comparator": comparator, "value": value})
    }

    #[test]
    fn nested_groups_in_both_spellings() {
        let flat = json!({"api_name": "Amount", "comparator": "greater_equal", "value": 12.5});
        let time =
            on("Modified_Time", "between", json!(["2026-01-01T00:00:00+11:00", "2026-02-01T00:00:00+11:00"]));
        let inner =
            json!({"group_operator": "OR", "group": [flat, on("Last_Name", "not_equal", json!("${EMPTY}"))]});
        let filter = compiled(json!({"group_operator": "and", "group": [inner, time]})).expect("compiles");
        let Filter::All(parts) = filter else { panic!("a group of both") };
        assert_eq!(
            parts[0],
            Filter::Any(vec![
                Filter::Test(
                    "Amount".into(),
                    Test::GreaterEqual(operand(Kind::Number, "12.5").expect("a number"))
                ),
                Filter::Test("Last_Name".into(), Test::NotNull),
            ])
        );
    }

    #[test]
    fn each_mistake_has_its_code() {
        assert_eq!(code(json!([])), "INVALID_CRITERIA");
        assert_eq!(code(json!({"group": [], "value": "x"})), "AMBIGUOUS_CRITERIA");
        assert_eq!(code(json!({"group": [], "group_operator": "and"})), "AMBIGUOUS_GROUP_IN_CRITERIA");
        assert_eq!(code(json!({"group": [1], "group_operator": "xor"})), "GROUP_OPERATOR_NOT_SUPPORTED");
        assert_eq!(code(on("Nope", "equal", json!("x"))), "FIELD_IN_CRITERIA_NOT_AVAILABLE");
        assert_eq!(code(on("Tag", "equal", json!("x"))), "FIELD_IN_CRITERIA_NOT_SUPPORTED");
        assert_eq!(
            code(on("Active", "not_equal", json!(true))),
            "FIELD_COMPARATOR_IN_CRITERIA_NOT_SUPPORTED"
        );
        assert_eq!(
            code(on("Owner", "equal", json!(["1"]))),
            "COMPARATOR_AND_VALUE_IN_CRITERIA_NOT_COMPATIBLE"
        );
        assert_eq!(
            code(on("Modified_Time", "between", json!(["x"]))),
            "COMPARATOR_AND_VALUE_IN_CRITERIA_NOT_COMPATIBLE"
        );
        assert_eq!(code(on("Amount", "equal", json!("abc"))), "VALUE_TYPE_NOT_SUPPORTED");
        assert_eq!(
            code(on("Modified_Time", "equal", json!("2026-01-01T00:00:00.000Z"))),
            "VALUE_TYPE_NOT_SUPPORTED"
        );
        assert_eq!(code(on("id", "in", json!(vec!["1"; 21]))), "VALUE_LIMIT_EXCEEDED_IN_CRITERIA");
        let many = vec![on("Last_Name", "equal", json!("x")); 26];
        assert_eq!(code(json!({"group_operator": "or", "group": many})), "CRITERIA_LIMIT_EXCEEDED");
    }
}
