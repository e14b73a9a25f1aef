//! JSON text to the JSON text that a record call takes, without a tree: what every row of a target passes
//! through.
//!
//! A value in the form in which nearly all come is copied; any other takes the way by
//! [`Kind::write_record`], which says what a field can hold and what it becomes. Tests hold the short way
//! against the long one.

use super::encode::{Kind, Mismatch, utc_seconds};
use super::json::{Items, plain_string};
use super::time::is_date;
use super::value::is_canonical;
use serde_json::Value;
use std::borrow::Cow;

impl Kind {
    /// Appends the JSON that a record call takes for a value of any tap, given as JSON text; null stays null.
    ///
    /// # Errors
    /// [`Mismatch`] when the field cannot hold the value; `out` is then unchanged.
    #[inline]
    pub fn write_record_text(self, json: &str, out: &mut String) -> Result<(), Mismatch> {
        if self.copy_record(json, out).is_some() {
            return Ok(());
        }
        self.write_record(&tree(json), out)
    }

    /// The short way; none when the value is not in the form that nearly all have.
    #[inline]
    fn copy_record(self, json: &str, out: &mut String) -> Option<()> {
        if json == "null" {
            out.push_str(json);
            return Some(());
        }
        let parts = match self {
            Self::Text if is_own_string(json) => ["", json, ""],
            Self::Text if is_own_scalar(json) => ["\"", json, "\""],
            Self::Integer if is_canonical(json, false) => ["", json, ""],
            Self::Decimal if is_canonical(json, true) => ["", json, ""],
            Self::BigInteger if is_canonical(json, false) => ["\"", json, "\""],
            Self::Boolean if matches!(json, "true" | "false") => ["", json, ""],
            Self::Date if plain_string(json).is_some_and(is_date) => ["", json, ""],
            Self::DateTime => ["\"", plain_string(json).and_then(utc_seconds)?, "+00:00\""],
            Self::Lookup => {
                let id = plain_string(json)?;
                let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
                ["{\"id\":", digits.then_some(json)?, "}"]
            }
            Self::MultiSelect if is_own_list(json) => ["", json, ""],
            _ => return None,
        };
        parts.iter().for_each(|part| out.push_str(part));
        Some(())
    }
}

/// A value as `serde_json` writes it.
pub fn canonical(json: &str) -> Cow<'_, str> {
    if is_own_string(json) || is_own_scalar(json) || json == "null" {
        return Cow::Borrowed(json);
    }
    Cow::Owned(tree(json).to_string())
}

/// The text of a string, number or boolean.
pub fn scalar_text(json: &str) -> Option<Cow<'_, str>> {
    match plain_string(json) {
        Some(text) => Some(Cow::Borrowed(text)),
        None if is_own_scalar(json) => Some(Cow::Borrowed(json)),
        None => super::encode::scalar(&tree(json)).map(Cow::Owned),
    }
}

/// A value as a tree; null for what none can be made of, which whoever reads records has ruled out.
fn tree(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Whether it is a string escaped as `serde_json` escapes it.
#[inline]
fn is_own_string(json: &str) -> bool {
    if plain_string(json).is_some() {
        return true;
    }
    let Some(text) = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) else { return false };
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && !matches!(bytes.next(), Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't')) {
            return false;
        }
    }
    true
}

/// Whether it is a boolean, or a number without an exponent and with no digit that says nothing.
fn is_own_scalar(json: &str) -> bool {
    matches!(json, "true" | "false") || is_canonical(json, true)
}

/// Whether it is a list of strings as `serde_json` writes it.
fn is_own_list(json: &str) -> bool {
    if !json.starts_with('[') {
        return false;
    }
    let mut length = "[]".len();
    for (number, item) in Items::of(json).enumerate() {
        if !is_own_string(item) {
            return false;
        }
        length += item.len() + usize::from(number > 0);
    }
    length == json.len()
}

#[cfg(test)]
mod tests {
    use super::super::encode_csv::tests::{KINDS, any_value};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_one_says(json in any_value()) {
            let value: Value = serde_json::from_str(&json).expect("JSON");
            for kind in KINDS {
                let (mut fast, mut slow) = (String::new(), String::new());
                let said = (kind.write_record_text(&json, &mut fast), kind.write_record(&value, &mut slow));
                prop_assert_eq!(said.0, said.1, "{:?} {}", kind, &json);
                prop_assert_eq!(fast, slow, "{:?} {}", kind, &json);
            }
            prop_assert_eq!(canonical(&json), value.to_string());
            prop_assert_eq!(scalar_text(&json).map(Cow::into_owned), super::super::encode::scalar(&value));
        }
    }
}
