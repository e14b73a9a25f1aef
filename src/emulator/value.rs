//! What one field of one row holds, in a form small enough for millions of them.
//!
//! Values are compared as Zoho's queries compare them: numbers by value, texts without regard to
//! case, times as instants. How a value looks in a JSON answer is the business of `render.rs`.

use std::cmp::Ordering;

/// A record, user, module or field id: 19 digits that share the organisation's prefix.
pub type Id = u64;

/// The value of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Value {
    /// Empty. Zoho keeps no empty string apart from it.
    #[default]
    Null,
    /// A check box.
    Bool(bool),
    /// `integer` and `bigint` fields.
    Int(i64),
    /// `double`, `currency` and `percent` fields.
    Decimal(Decimal),
    /// Every field that is written as one text.
    Text(Box<str>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Seconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// The row, user or layout that a lookup points to.
    Id(Id),
    /// The options of a multi-select picklist, in order.
    List(Box<[Box<str>]>),
    /// A structured value kept as JSON text: tags, files, images, territories.
    Json(Box<str>),
}

impl Value {
    /// A text value, or [`Value::Null`] for an empty text.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Null } else { Self::Text(text) }
    }

    /// Whether the field is empty.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a text value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The target of a lookup value.
    pub fn as_id(&self) -> Option<Id> {
        match self {
            Self::Id(id) => Some(*id),
            _ => None,
        }
    }

    /// The instant of a datetime value, in seconds since 1970-01-01T00:00:00Z.
    pub fn as_instant(&self) -> Option<i64> {
        match self {
            Self::DateTime(seconds) => Some(*seconds),
            _ => None,
        }
    }

    /// The key under which indexes hold the value; `None` when the field is empty.
    ///
    /// Texts are folded to lower case unless `case_sensitive`.
    pub fn index_key(&self, case_sensitive: bool) -> Option<Box<str>> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(flag) => flag.to_string().into(),
            Self::Int(number) => number.to_string().into(),
            Self::Decimal(number) => number.as_str().into(),
            Self::Text(text) if case_sensitive => text.clone(),
            Self::Text(text) => text.to_lowercase().into(),
            Self::Date(days) => days.to_string().into(),
            Self::DateTime(seconds) => seconds.to_string().into(),
            Self::Id(id) => id.to_string().into(),
            Self::List(items) => items.join(";").into(),
            Self::Json(text) => text.clone(),
        })
    }

    /// Orders two values of the same field; empty comes first, values of different kinds do not
    /// compare.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Null, Self::Null) => Some(Ordering::Equal),
            (Self::Null, _) => Some(Ordering::Less),
            (_, Self::Null) => Some(Ordering::Greater),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Decimal(a), Self::Decimal(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Decimal(b)) => Some(Decimal::from(*a).cmp(b)),
            (Self::Decimal(a), Self::Int(b)) => Some(a.cmp(&Decimal::from(*b))),
            (Self::Text(a), Self::Text(b)) => Some(compare_texts(a, b)),
            (Self::Date(a), Self::Date(b)) => Some(a.cmp(b)),
            (Self::DateTime(a), Self::DateTime(b)) => Some(a.cmp(b)),
            (Self::Id(a), Self::Id(b)) => Some(a.cmp(b)),
            (Self::List(a), Self::List(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Orders texts without regard to case, as Zoho sorts and matches them.
fn compare_texts(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        let fold = |byte: u8| byte.to_ascii_lowercase();
        return a.bytes().map(fold).cmp(b.bytes().map(fold));
    }
    a.chars().flat_map(char::to_lowercase).cmp(b.chars().flat_map(char::to_lowercase))
}

/// A decimal number as canonical text: no exponent, no leading or trailing zeros, no `-0`.
///
/// Equal numbers have equal texts, and no digit is ever lost to a binary float.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    /// Reads plain or exponent notation, as JSON numbers have it; `None` when it is no number or
    /// its exponent is beyond anything a field can hold.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: String = [whole, fraction].concat();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || exponent.abs() > 60 {
            return None;
        }
        let point = whole.len() as i32 + exponent;
        Some(Self(canonical(negative, &digits, point).into()))
    }

    /// The canonical text; it is a valid JSON number.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many digits stand before and after the point (a lone `0` before it counts as none).
    pub fn digits(&self) -> (usize, usize) {
        let text = self.0.trim_start_matches('-');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        (if whole == "0" { 0 } else { whole.len() }, fraction.len())
    }
}

impl Decimal {
    /// The number with at most `places` digits after the point, halves away from zero.
    pub fn rounded(&self, places: usize) -> Self {
        let Some((whole, fraction)) = self.0.split_once('.') else { return self.clone() };
        if fraction.len() <= places {
            return self.clone();
        }
        let up = fraction.as_bytes()[places] >= b'5';
        let negative = whole.starts_with('-');
        let mut digits: Vec<u8> = [whole.trim_start_matches('-'), &fraction[..places]].concat().into_bytes();
        let carried = up
            && !digits.iter_mut().rev().any(|digit| {
                let nine = *digit == b'9';
                *digit = if nine { b'0' } else { *digit + 1 };
                !nine
            });
        if carried {
            digits.insert(0, b'1');
        }
        let text = String::from_utf8_lossy(&digits).into_owned();
        Self(canonical(negative, &text, (digits.len() - places) as i32).into())
    }
}

/// Puts the point at `point` digits from the left of `digits` and strips what says nothing.
fn canonical(negative: bool, digits: &str, point: i32) -> String {
    let (whole, fraction) = if point <= 0 {
        (String::new(), "0".repeat(point.unsigned_abs() as usize) + digits)
    } else if point as usize >= digits.len() {
        (digits.to_owned() + &"0".repeat(point as usize - digits.len()), String::new())
    } else {
        (digits[..point as usize].to_owned(), digits[point as usize..].to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let mut text = String::with_capacity(whole.len() + fraction.len() + 3);
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        text.push('-');
    }
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(number.to_string().into())
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let split = |text: &str| -> (bool, String, String) {
            let digits = text.trim_start_matches('-');
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            (text.starts_with('-'), whole.to_owned(), fraction.to_owned())
        };
        let (a_negative, a_whole, a_fraction) = split(&self.0);
        let (b_negative, b_whole, b_fraction) = split(&other.0);
        if a_negative != b_negative {
            return b_negative.cmp(&a_negative);
        }
        // Canonical texts: a longer whole part is a larger number, fractions compare as texts.
        let size =
            a_whole.len().cmp(&b_whole.len()).then(a_whole.cmp(&b_whole)).then(a_fraction.cmp(&b_fraction));
        if a_negative { size.reverse() } else { size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_one_text_per_number() {
        for (given, canonical) in [
            ("1.50", "1.5"),
            ("-0.0", "0"),
            ("007", "7"),
            ("1e3", "1000"),
            ("12.5E-4", "0.00125"),
            ("1234567890123456.123456789", "1234567890123456.123456789"),
            (".5", "0.5"),
        ] {
            assert_eq!(Decimal::parse(given).expect(given).as_str(), canonical);
        }
        for bad in ["", "-", "1.2.3", "abc", "1e999"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rounding_carries() {
        for (given, places, rounded) in
            [("9.995", 2, "10"), ("-0.005", 2, "-0.01"), ("1.24", 1, "1.2"), ("7", 2, "7")]
        {
            assert_eq!(Decimal::parse(given).expect(given).rounded(places).as_str(), rounded);
        }
    }

    #[test]
    fn decimals_are_ordered_by_value() {
        let sorted = ["-10", "-9.5", "-0.1", "0", "0.09", "0.1", "9", "10.01", "10.1"];
        for pair in sorted.windows(2) {
            let (a, b) = (Decimal::parse(pair[0]).unwrap(), Decimal::parse(pair[1]).unwrap());
            assert!(a < b, "{pair:?}");
        }
    }

    #[test]
    fn texts_compare_without_case_and_kinds_do_not_mix() {
        assert_eq!(Value::text("Ärger").compare(&Value::text("äRGER")), Some(Ordering::Equal));
        assert_eq!(Value::Null.compare(&Value::Int(1)), Some(Ordering::Less));
        assert_eq!(Value::Bool(true).compare(&Value::Int(1)), None);
        assert_eq!(Value::text(""), Value::Null);
    }
}
