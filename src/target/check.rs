//! What a field can hold: lengths, ranges, forms, options, checked before anything is spent.
//!
//! Only what Zoho is known to refuse is refused; phone numbers, for one, are left to Zoho but for their
//! length. A new picklist option is taken by Zoho and so by us, unless the config says `strict`.
//! Follows the v8 page "Fields Metadata".

use serde::{Deserialize, Serialize};

use crate::zoho::types::{DataType, Field};

/// Most digits of an `integer` field. Source: Zoho CRM API, "Fields Metadata".
const INTEGER_DIGITS: u32 = 9;

/// Most digits of a `bigint` field. Source: as above.
const LONG_DIGITS: u32 = 18;

/// Digits before the point of a decimal field whose metadata does not say it. Source: as above.
const WHOLE_DIGITS: u32 = 16;

/// The limits of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Nothing is known.
    #[default]
    None,
    /// A text of at most so many characters.
    Text {
        /// Characters.
        most: Option<u32>,
    },
    /// An e-mail address of at most so many characters.
    Email {
        /// Characters.
        most: Option<u32>,
    },
    /// A web address of at most so many characters.
    Website {
        /// Characters.
        most: Option<u32>,
    },
    /// A whole number.
    Whole {
        /// Digits.
        most: u32,
    },
    /// A decimal number.
    Decimal {
        /// Digits before the point.
        whole: u32,
        /// Digits after it.
        places: Option<u32>,
    },
    /// One or more of these options, nothing else.
    Options(Vec<String>),
}

impl Check {
    /// The limits that metadata tell; options only if they are to be held to.
    pub fn of(field: &Field, strict: bool) -> Self {
        let most = field.length;
        match &field.data_type {
            DataType::Email => Self::Email { most },
            DataType::Website => Self::Website { most },
            DataType::Integer => {
                Self::Whole { most: most.map_or(INTEGER_DIGITS, |most| most.max(INTEGER_DIGITS)) }
            }
            DataType::BigInt if field.api_name != "id" => {
                Self::Whole { most: most.map_or(LONG_DIGITS, |most| most.max(LONG_DIGITS)) }
            }
            DataType::Double | DataType::Currency | DataType::Percent => {
                Self::Decimal { whole: most.unwrap_or(WHOLE_DIGITS), places: field.decimal_place }
            }
            DataType::Picklist | DataType::MultiSelectPicklist if strict => Self::Options(
                field
                    .pick_list_values
                    .iter()
                    .flat_map(|option| [option.display_value.clone(), option.actual_value.clone()])
                    .collect(),
            ),
            DataType::Text | DataType::TextArea | DataType::Phone | DataType::Picklist => Self::Text { most },
            _ => Self::None,
        }
    }

    /// Checks a value in the form of a record call.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn pass(&self, json: &str) -> Result<(), String> {
        if json == "null" || *self == Self::None {
            return Ok(());
        }
        match self {
            Self::None => Ok(()),
            Self::Text { most } => length(json, *most),
            Self::Email { most } => {
                length(json, *most)?;
                form(json, is_email, "an e-mail address")
            }
            Self::Website { most } => {
                length(json, *most)?;
                form(json, |text| !text.contains(char::is_whitespace), "a web address")
            }
            Self::Whole { most } => {
                let digits = json.trim_matches(['"', '-']).len();
                if digits > *most as usize { Err(format!("longer than {most} digits")) } else { Ok(()) }
            }
            Self::Decimal { whole, places } => decimal(json, *whole, *places),
            Self::Options(options) => allowed(json, options),
        }
    }
}

fn length(json: &str, most: Option<u32>) -> Result<(), String> {
    let Some(most) = most else { return Ok(()) };
    // The text stands between quotes; only one that may be too long is looked at closely.
    if json.len() > most as usize + 2 && text(json).is_some_and(|text| text.chars().count() > most as usize) {
        return Err(format!("longer than {most} characters"));
    }
    Ok(())
}

fn form(json: &str, is_good: impl Fn(&str) -> bool, what: &str) -> Result<(), String> {
    match text(json) {
        Some(text) if !text.is_empty() && !is_good(&text) => Err(format!("{json} is not {what}")),
        _ => Ok(()),
    }
}

fn is_email(text: &str) -> bool {
    let Some((user, host)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "@,;<>\"()".contains(c))
    };
    plain(user) && plain(host) && host.contains('.') && !host.starts_with('.') && !host.ends_with('.')
}

fn decimal(json: &str, whole: u32, places: Option<u32>) -> Result<(), String> {
    let text = json.trim_start_matches('-');
    let (before, after) = text.split_once('.').unwrap_or((text, ""));
    if before.trim_start_matches('0').len() > whole as usize {
        return Err(format!("more than {whole} digits before the point"));
    }
    match places {
        Some(places) if after.len() > places as usize => {
            Err(format!("more than {places} digits after the point"))
        }
        _ => Ok(()),
    }
}

fn allowed(json: &str, options: &[String]) -> Result<(), String> {
    let given: Vec<String> = match serde_json::from_str(json) {
        Ok(list) => list,
        Err(_) => text(json).into_iter().collect(),
    };
    match given.iter().find(|one| !one.is_empty() && !options.contains(one)) {
        Some(one) => Err(format!("\"{one}\" is not one of its options")),
        None => Ok(()),
    }
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoho::types::PickListValue;

    fn check(
        data_type: DataType,
        length: Option<u32>,
        places: Option<u32>,
        json: &str,
    ) -> Result<(), String> {
        let field = Field { data_type, length, decimal_place: places, ..Field::default() };
        Check::of(&field, false).pass(json)
    }

    #[test]
    fn what_fits_and_what_does_not() {
        use DataType::{BigInt, Currency, Email, Integer, Percent, Phone, Picklist, Text, Website};
        for (data_type, length, places, good, bad) in [
            (Text, Some(3), None, "\"é漢z\"", "\"abcd\""),
            (Email, Some(12), None, "\"a.b+c@x.de\"", "\"nobody\""),
            (Email, Some(12), None, "\"\"", "\"a@x\""),
            (Email, Some(9), None, "\"a@x.test\"", "\"abc@x.test\""),
            (Website, Some(50), None, "\"x.test/a\"", "\"not a site\""),
            (Integer, None, None, "-123456789", "1234567890"),
            (BigInt, None, None, "\"999999999999999999\"", "\"1999999999999999999\""),
            (Currency, Some(5), Some(2), "-12345.67", "123456.7"),
            (Percent, Some(5), Some(2), "0.25", "0.255"),
            (Phone, Some(30), None, "\"+49 (30) 1-2/3 ext. 4\"", "\"1234567890123456789012345678901\""),
            (Picklist, Some(120), None, "\"never seen\"", "\"x\""),
        ] {
            assert_eq!(check(data_type.clone(), length, places, good), Ok(()), "{good}");
            let refused = check(data_type.clone(), length, places, bad);
            assert_eq!(refused.is_err(), data_type != Picklist, "{data_type} {bad}");
            assert_eq!(check(data_type, length, places, "null"), Ok(()));
        }
    }

    #[test]
    fn strict_picklists_hold_to_their_options() {
        let option = |text: &str| PickListValue {
            display_value: text.to_owned(),
            actual_value: text.to_lowercase(),
            used: true,
        };
        let field = |data_type| Field {
            data_type,
            pick_list_values: vec![option("Red"), option("Green")],
            ..Field::default()
        };
        let one = Check::of(&field(DataType::Picklist), true);
        assert_eq!((one.pass("\"Red\""), one.pass("\"green\"")), (Ok(()), Ok(())));
        assert_eq!(one.pass("\"Blue\"").unwrap_err(), "\"Blue\" is not one of its options");
        let many = Check::of(&field(DataType::MultiSelectPicklist), true);
        assert!(many.pass("[\"Red\",\"green\"]").is_ok() && many.pass("[\"Red\",\"Blue\"]").is_err());
    }
}
