//! Reads JSON text once and holds it against the grammar on the way, without building anything.
//!
//! It takes what `serde_json` makes a tree of, but for what is nested too deep, and does not say what is
//! wrong with anything else: whoever has to tell asks `serde_json`. Walks over text that is known to be
//! JSON are in `json`. Follows RFC 8259.

use super::bytes::to_escape;
use super::json::spaces;

/// Deepest nesting; `serde_json` has another end, at 128.
const DEEPEST: u8 = 100;

/// A place in a text.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

impl<'a> Cursor<'a> {
    /// At the start of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Reads the object that stands here. `member` gets each key, still escaped, with the cursor before its
    /// value, which it has to read. None if no object stands here, or `member` says so.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.nested(b'{', b'}', |cursor| {
            let key = cursor.string()?;
            cursor.expect(b':')?;
            cursor.skip_spaces();
            member(cursor, &key[1..key.len() - 1])
        })
    }

    /// The text of the value that stands here; none if none does.
    #[inline]
    pub fn value(&mut self) -> Option<&'a str> {
        self.skip_spaces();
        let start = self.at;
        match self.text.as_bytes().get(self.at)? {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            b'{' => self.object(|cursor, _| cursor.value().map(drop))?,
            b'[' => self.nested(b'[', b']', |cursor| cursor.value().map(drop))?,
            _ => {
                self.at +=
                    ["true", "false", "null"].iter().find(|word| self.rest().starts_with(**word))?.len()
            }
        }
        self.text.get(start..self.at)
    }

    /// Reads what stands between brackets, piece by piece.
    #[inline]
    fn nested(&mut self, open: u8, close: u8, mut piece: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        if self.next_is(close) {
            self.at += 1;
        } else {
            loop {
                self.skip_spaces();
                piece(self)?;
                self.skip_spaces();
                let found = *self.text.as_bytes().get(self.at)?;
                self.at += 1;
                if found == close {
                    break;
                }
                (found == b',').then_some(())?;
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Whether nothing but white space follows.
    pub fn is_at_end(&mut self) -> bool {
        self.skip_spaces();
        self.at == self.text.len()
    }

    /// Reads a string with its quotes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let mut at = self.at + 1;
        loop {
            at = to_escape(bytes, at);
            match (bytes.get(at)?, bytes.get(at + 1)) {
                (b'"', _) => return self.take(at + 1),
                (b'\\', Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
                (b'\\', Some(b'u')) => at = self.escaped(at)?,
                _ => return None,
            }
        }
    }

    /// Behind the `\u` escape, or the pair of them, that begins at `at`.
    fn escaped(&self, at: usize) -> Option<usize> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u16::from_str_radix(digits, 16).ok().filter(|_| hex)
        };
        match unit(at)? {
            0xd800..0xdc00 => matches!(unit(at + 6)?, 0xdc00..0xe000).then_some(at + 12),
            0xdc00..0xe000 => None,
            _ => Some(at + 6),
        }
    }

    #[inline]
    fn number(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + usize::from(bytes[self.at] == b'-');
        let zero = bytes.get(at) == Some(&b'0');
        let whole = digits(bytes, &mut at)?;
        if zero && whole > 1 {
            return None;
        }
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            digits(bytes, &mut at)?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            digits(bytes, &mut at)?;
        }
        self.take(at)
    }

    #[inline]
    fn take(&mut self, end: usize) -> Option<&'a str> {
        let taken = self.text.get(self.at..end);
        self.at = end;
        taken
    }

    #[inline]
    fn skip_spaces(&mut self) {
        self.at += spaces(self.text.as_bytes(), self.at);
    }

    #[inline]
    fn next_is(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        self.text.as_bytes().get(self.at) == Some(&byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        let found = self.next_is(byte);
        self.at += 1;
        found.then_some(())
    }
}

/// Moves over digits and says how many; none if there are none.
#[inline]
fn digits(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let count = bytes.get(*at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    *at += count;
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    /// The members of an object; none if the text is no object.
    fn members(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut cursor = Cursor::new(text);
        let mut members = Vec::new();
        cursor.object(|cursor, key| {
            members.push((key, cursor.value()?));
            Some(())
        })?;
        cursor.is_at_end().then_some(members)
    }

    fn any_text() -> impl Strategy<Value = String> {
        let token = "(\\{|\\}|\\[|\\]|,|:|\"a\"|\"(\\\\u00E9|\\\\ud83d|\\\\ude00){1,3}\"|\"\\\\n\"|\"\\\\x\"|\"\t\"|-|0|1|\\.5|e|E\\+2|true|null|nul| |\n|é){0,12}";
        let sound = proptest::collection::vec(("[a\"\\\\é\n]{0,3}", "[ -~é\n]{0,5}", any::<i32>()), 0..4)
            .prop_map(|all| {
                let members = all.into_iter().map(|(key, text, number)| {
                    (key, if number % 2 == 0 { Value::from(text) } else { serde_json::json!([number, null]) })
                });
                Value::Object(members.collect()).to_string()
            });
        let damaged = (sound.clone(), any::<proptest::sample::Index>()).prop_map(|(text, cut)| {
            let kept: Vec<char> = text.chars().collect();
            kept[..cut.index(kept.len())].iter().collect()
        });
        prop_oneof![
            token.prop_map(|text| format!("{{{text}}}")),
            token.prop_map(|text| format!("{{\"a\":{text}}}")),
            sound,
            damaged,
        ]
    }

    #[test]
    fn deep_nesting_is_left_to_others() {
        let deep = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(members(&deep(50)).is_some() && members(&deep(100_000)).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn any_text_is_taken_as_serde_json_takes_it(text in any_text()) {
            let known = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object());
            let found = members(&text);
            prop_assert_eq!(found.is_some(), known, "{}", text);
            for (key, value) in found.unwrap_or_default() {
                let key = format!("\"{key}\"");
                prop_assert!(serde_json::from_str::<Value>(&key).is_ok());
                let raw: Box<RawValue> = serde_json::from_str(value).expect("JSON");
                prop_assert_eq!(raw.get(), value);
            }
        }
    }
}
