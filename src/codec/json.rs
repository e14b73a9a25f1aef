//! Walks over JSON text that is known to be JSON, without building anything: the members of an object,
//! the items of an array.
//!
//! Whoever calls has had the text checked (a `RawValue` of a message, or what we wrote ourselves). On
//! anything else a walk ends early; it never panics.

use super::bytes::{backslash, quote_or_backslash};

/// The members of an object in their order: the key, still escaped, and the text of the value.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    /// Walks over this object.
    pub fn of(object: &'a str) -> Self {
        Self { text: object, at: inside(object, b'{') }
    }
}

impl Members<'_> {
    /// Whether the walk, which has ended, ended where the object does.
    pub fn was_whole(&self) -> bool {
        self.text.get(self.at..).is_some_and(|rest| rest.trim_ascii() == "}")
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let start = self.at + spaces(bytes, self.at);
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let end = end_of_string(bytes, start);
        let key = self.text.get(start + 1..end - 1)?;
        let colon = end + spaces(bytes, end);
        let from = colon + 1 + spaces(bytes, colon + 1);
        let to = end_of_value(bytes, from);
        self.at = behind_comma(bytes, to);
        Some((key, self.text.get(from..to)?))
    }
}

/// The items of an array in their order, each as its text.
pub struct Items<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Items<'a> {
    /// Walks over this array.
    pub fn of(array: &'a str) -> Self {
        Self { text: array, at: inside(array, b'[') }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let from = self.at + spaces(bytes, self.at);
        if matches!(bytes.get(from), None | Some(b']')) {
            return None;
        }
        let to = end_of_value(bytes, from);
        if to == from {
            return None;
        }
        self.at = behind_comma(bytes, to);
        self.text.get(from..to)
    }
}

/// What stands between the quotes of a JSON string without escapes; none for anything else.
#[inline]
pub fn plain_string(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (backslash(text.as_bytes(), 0) == text.len()).then_some(text)
}

fn inside(text: &str, open: u8) -> usize {
    let start = spaces(text.as_bytes(), 0);
    if text.as_bytes().get(start) == Some(&open) { start + 1 } else { text.len() }
}

#[inline]
pub(super) fn spaces(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

fn behind_comma(bytes: &[u8], at: usize) -> usize {
    let at = at + spaces(bytes, at);
    if bytes.get(at) == Some(&b',') { at + 1 } else { at }
}

/// Behind the closing quote of the string that begins at `start`.
#[inline]
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        at = quote_or_backslash(bytes, at);
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(_) => return at + 1,
            None => return bytes.len(),
        }
    }
}

#[inline]
fn end_of_value(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start) {
        Some(b'"') => end_of_string(bytes, start),
        Some(b'{' | b'[') => end_of_nested(bytes, start),
        _ => {
            let rest = bytes.get(start..).unwrap_or_default();
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            start + rest.iter().position(ends).unwrap_or(rest.len())
        }
    }
}

fn end_of_nested(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],: ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn walks_find_what_a_parser_finds(items in proptest::collection::vec((any::<String>(), any_json()), 0..6), pretty in any::<bool>()) {
            let object = Value::Object(items.iter().cloned().collect());
            let text = if pretty { format!(" {object:#}\n") } else { object.to_string() };
            let parse = |json: &str| serde_json::from_str::<Value>(json).expect("JSON");
            let found: Vec<(Value, Value)> =
                Members::of(&text).map(|(key, value)| (parse(&format!("\"{key}\"")), parse(value))).collect();
            let members = object.as_object().expect("an object").iter();
            let mut walk = Members::of(&text);
            walk.by_ref().for_each(drop);
            prop_assert!(walk.was_whole());
            let expected: Vec<(Value, Value)> = members.map(|(key, value)| (key.as_str().into(), value.clone())).collect();
            prop_assert_eq!(found, expected);
            let array = Value::Array(items.into_iter().map(|(_, value)| value).collect());
            let text = if pretty { format!(" {array:#}\n") } else { array.to_string() };
            let found: Vec<Value> = Items::of(&text).map(parse).collect();
            prop_assert_eq!(Value::Array(found), array);
        }

        #[test]
        fn what_is_no_json_ends_the_walk(text in "[\\\\\"{}\\[\\],: a1é]{0,20}") {
            Members::of(&text).for_each(drop);
            Items::of(&text).for_each(drop);
        }
    }
}
