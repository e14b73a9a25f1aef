//! Conditions on records, as COQL and bulk read both need them: typed once, then run on every row.
//!
//! It knows no store: a [`Filter`] is given a function from its paths to values. What Zoho leaves
//! open is decided here: text is compared without regard to case, and the negated tests (`!=`, `not
//! in`, `not like`) hold for empty cells, as Zoho's own filters do.

use super::schema::{DataType, Field};
use super::time;
use super::value::{Decimal, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// The families of data types that differ in what they can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text in all its forms, pick lists too.
    Text,
    /// Numbers of any size.
    Number,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// An instant.
    DateTime,
    /// Anything that points at another record by its id.
    Reference,
    /// A set of texts.
    MultiSelect,
    /// The id of the record itself.
    Id,
    /// Anything that cannot be compared: files, subforms, territories.
    Other,
}

impl Kind {
    /// The family of a field.
    pub fn of(field: &Field) -> Self {
        match field.data_type {
            _ if field.api_name == "id" => Self::Id,
            // Tags are kept in a field of type text that holds a list.
            _ if field.api_name == "Tag" => Self::Other,
            DataType::Text
            | DataType::TextArea
            | DataType::Email
            | DataType::Phone
            | DataType::Website
            | DataType::Picklist
            | DataType::AutoNumber
            | DataType::ProfileImage => Self::Text,
            DataType::Integer
            | DataType::BigInt
            | DataType::Double
            | DataType::Currency
            | DataType::Percent => Self::Number,
            DataType::Boolean => Self::Boolean,
            DataType::Date => Self::Date,
            DataType::DateTime => Self::DateTime,
            DataType::Lookup | DataType::OwnerLookup | DataType::UserLookup | DataType::Layout => {
                Self::Reference
            }
            DataType::MultiSelectPicklist => Self::MultiSelect,
            DataType::Formula => Self::of_result(field.formula.as_deref()),
            DataType::RollupSummary => Self::of_result(field.rollup.as_deref()),
            _ => Self::Other,
        }
    }

    /// The family of what a formula or rollup returns.
    fn of_result(name: Option<&str>) -> Self {
        match name {
            Some("string" | "text") => Self::Text,
            Some("boolean") => Self::Boolean,
            Some("date") => Self::Date,
            Some("datetime") => Self::DateTime,
            _ => Self::Number,
        }
    }
}

/// Reads `text` as a value of this kind, as comparisons write it.
pub fn operand(kind: Kind, text: &str) -> Option<Value> {
    Some(match kind {
        Kind::Text => Value::Text(text.into()),
        Kind::Number => Value::Decimal(Decimal::parse(text)?),
        Kind::Boolean => Value::Bool(text.parse().ok()?),
        Kind::Date => Value::Date(time::parse_date(text)?),
        Kind::DateTime => Value::DateTime(time::parse_datetime(text)?),
        Kind::Reference | Kind::Id => Value::Id(text.parse().ok()?),
        Kind::MultiSelect => Value::List(text.split(';').map(|part| part.trim().into()).collect()),
        Kind::Other => return None,
    })
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Test {
    Null,
    NotNull,
    Equal(Value),
    NotEqual(Value),
    Less(Value),
    LessEqual(Value),
    Greater(Value),
    GreaterEqual(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Between(Value, Value),
    NotBetween(Value, Value),
    Text(TextTest, String),
    NotText(TextTest, String),
}

/// Tests on a part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TextTest {
    Exact,
    StartsWith,
    EndsWith,
    Contains,
}

impl TextTest {
    /// Reads a `like` pattern: `%` counts only at its two ends.
    pub fn from_pattern(pattern: &str) -> (Self, String) {
        let open_start = pattern.starts_with('%');
        let open_end = pattern.len() > 1 && pattern.ends_with('%');
        let text = pattern.strip_prefix('%').unwrap_or(pattern);
        let text = if open_end { text.strip_suffix('%').unwrap_or(text) } else { text };
        let test = match (open_start, open_end) {
            (true, true) => Self::Contains,
            (true, false) => Self::EndsWith,
            (false, true) => Self::StartsWith,
            (false, false) => Self::Exact,
        };
        (test, text.to_lowercase())
    }

    fn holds(self, cell: &Value, wanted: &str) -> bool {
        let one = |text: &str| {
            let text = text.to_lowercase();
            match self {
                Self::Exact => text == wanted,
                Self::StartsWith => text.starts_with(wanted),
                Self::EndsWith => text.ends_with(wanted),
                Self::Contains => text.contains(wanted),
            }
        };
        match cell {
            Value::Text(text) => one(text),
            Value::List(texts) => texts.iter().any(|text| one(text)),
            _ => false,
        }
    }
}

impl Test {
    /// Whether the cell passes.
    pub fn holds(&self, cell: &Value) -> bool {
        let order = |operand: &Value| compare(cell, operand);
        match self {
            Self::Null => matches!(cell, Value::Null),
            Self::NotNull => !matches!(cell, Value::Null),
            Self::Equal(operand) => order(operand) == Some(Ordering::Equal),
            Self::NotEqual(operand) => order(operand) != Some(Ordering::Equal),
            Self::Less(operand) => order(operand).is_some_and(Ordering::is_lt),
            Self::LessEqual(operand) => order(operand).is_some_and(Ordering::is_le),
            Self::Greater(operand) => order(operand).is_some_and(Ordering::is_gt),
            Self::GreaterEqual(operand) => order(operand).is_some_and(Ordering::is_ge),
            Self::In(operands) => operands.iter().any(|operand| order(operand) == Some(Ordering::Equal)),
            Self::NotIn(operands) => !operands.iter().any(|operand| order(operand) == Some(Ordering::Equal)),
            Self::Between(low, high) => within(order(low), order(high)),
            Self::NotBetween(low, high) => !matches!(cell, Value::Null) && !within(order(low), order(high)),
            Self::Text(test, wanted) => test.holds(cell, wanted),
            Self::NotText(test, wanted) => !test.holds(cell, wanted),
        }
    }
}

fn within(low: Option<Ordering>, high: Option<Ordering>) -> bool {
    low.is_some_and(Ordering::is_ge) && high.is_some_and(Ordering::is_le)
}

/// Order of a cell and an operand of the same kind; none with an empty cell.
fn compare(cell: &Value, operand: &Value) -> Option<Ordering> {
    match (cell, operand) {
        (Value::Null, _) => None,
        (Value::List(left), Value::List(right)) => Some(folded(left).cmp(&folded(right))),
        _ => cell.compare(operand),
    }
}

/// A multi-select value as the set it is.
fn folded(items: &[Box<str>]) -> Vec<String> {
    let mut items: Vec<String> = items.iter().map(|item| item.to_lowercase()).collect();
    items.sort_unstable();
    items
}

/// Tests joined by and/or; `P` says which cell each test looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter<P> {
    /// All must hold; holds when there are none.
    All(Vec<Filter<P>>),
    /// One must hold.
    Any(Vec<Filter<P>>),
    /// One test.
    Test(P, Test),
}

impl<P> Filter<P> {
    /// Whether a record passes; `cell` finds its values.
    pub fn matches<'a>(&self, cell: &impl Fn(&P) -> Cow<'a, Value>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(cell)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(cell)),
            Self::Test(path, test) => test.holds(cell(path).as_ref()),
        }
    }

    /// Bounds, both included, that the value at `wanted` has in every matching record.
    pub fn bounds<'f>(&'f self, wanted: &impl Fn(&P) -> bool) -> (Option<&'f Value>, Option<&'f Value>) {
        match self {
            Self::All(parts) => {
                parts.iter().map(|part| part.bounds(wanted)).fold((None, None), |all, part| {
                    (tighter(all.0, part.0, Ordering::Greater), tighter(all.1, part.1, Ordering::Less))
                })
            }
            Self::Test(path, test) if wanted(path) => match test {
                Test::Equal(value) => (Some(value), Some(value)),
                Test::Greater(value) | Test::GreaterEqual(value) => (Some(value), None),
                Test::Less(value) | Test::LessEqual(value) => (None, Some(value)),
                Test::Between(low, high) => (Some(low), Some(high)),
                _ => (None, None),
            },
            Self::Test(..) | Self::Any(_) => (None, None),
        }
    }

    /// A path that passes `wanted`, and the values of which its own is one in every matching record.
    pub fn among(&self, wanted: &impl Fn(&P, &[Value]) -> bool) -> Option<(&P, &[Value])> {
        let (path, values) = match self {
            Self::All(parts) => return parts.iter().find_map(|part| part.among(wanted)),
            Self::Test(path, Test::Equal(value)) => (path, std::slice::from_ref(value)),
            Self::Test(path, Test::In(values)) => (path, values.as_slice()),
            Self::Test(..) | Self::Any(_) => return None,
        };
        wanted(path, values).then_some((path, values))
    }
}

/// Of two bounds the one that lets fewer values through.
fn tighter<'v>(one: Option<&'v Value>, other: Option<&'v Value>, wanted: Ordering) -> Option<&'v Value> {
    match (one, other) {
        (Some(one), Some(other)) if other.compare(one) == Some(wanted) => Some(other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_compared_not_their_text() {
        let value = |text: &str| operand(Kind::DateTime, text).expect("an instant");
        let test = Test::GreaterEqual(value("2026-10-25T00:30:00+00:00"));
        assert!(test.holds(&value("2026-10-25T02:30:00+02:00")));
        assert!(!test.holds(&value("2026-10-25T02:29:59+02:00")));
    }

    #[test]
    fn like_patterns() {
        let holds = |pattern: &str, text: &str| {
            let (test, wanted) = TextTest::from_pattern(pattern);
            test.holds(&Value::text(text), &wanted)
        };
        assert!(holds("%SON", "Johnson") && !holds("%son", "Sonja"));
        assert!(holds("jo%", "Johnson") && holds("%hn%", "Johnson") && holds("%", "anything"));
    }

    #[test]
    fn empty_cells() {
        assert!(Test::NotEqual(Value::text("x")).holds(&Value::Null));
        assert!(!Test::Equal(Value::text("x")).holds(&Value::Null));
        assert!(!Test::Less(Value::text("x")).holds(&Value::Null));
        assert!(Test::Null.holds(&Value::Null));
    }

    #[test]
    fn multi_select_is_a_set() {
        let wanted = operand(Kind::MultiSelect, "B;a").expect("a set");
        assert!(Test::Equal(wanted).holds(&Value::List(["A".into(), "b".into()].into())));
    }

    #[test]
    fn bounds_of_a_keyset_page() {
        let test = |number: u64| Filter::Test("id", Test::Greater(Value::Id(number)));
        let either = Filter::Any(vec![Filter::Test("id", Test::Less(Value::Id(3)))]);
        let filter = Filter::All(vec![test(4), test(7), either, Filter::Test("x", Test::Null)]);
        assert_eq!(filter.bounds(&|path| *path == "id"), (Some(&Value::Id(7)), None));
    }

    #[test]
    fn values_of_which_one_must_be_there() {
        let of = |name: &'static str, numbers: [u64; 2]| {
            Filter::Test(name, Test::In(numbers.map(Value::Id).to_vec()))
        };
        let all = Filter::All(vec![Filter::Test("x", Test::Null), of("y", [1, 2]), of("z", [3, 4])]);
        let found = |filter: &Filter<&'static str>, name| {
            filter.among(&|path, _| *path == name).map(|(_, values)| values.to_vec())
        };
        assert_eq!(found(&all, "z"), Some([3, 4].map(Value::Id).to_vec()));
        assert_eq!(found(&all, "x"), None);
        assert_eq!(found(&Filter::Any(vec![all]), "z"), None, "the other side may match too");
    }
}
