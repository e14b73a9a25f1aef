//! Looking for one of a few bytes, eight at a time: what every byte of every row passes through.
//!
//! Plain arithmetic on `u64`, no `unsafe`: a word minus a word of ones borrows into the high bit of
//! each byte that was zero ("SIMD within a register"). Borrows may reach bytes above a real hit, so only
//! the lowest hit counts.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bits where a byte of `word` is `byte`; exact up to the lowest.
#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// High bits where a byte of `word` is below `byte`, which is at most 0x80; exact up to the lowest.
#[inline]
const fn below(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(ONES * byte as u64) & !word & HIGHS
}

/// Where the first byte stands at or after `at` for which `hits` says so, of a word and of a byte.
#[inline]
fn find(bytes: &[u8], mut at: usize, hits: impl Fn(u64) -> u64, hit: impl Fn(u8) -> bool) -> usize {
    while let Some(word) = bytes.get(at..at + 8) {
        let found = hits(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && !hit(bytes[at]) {
        at += 1;
    }
    at.min(bytes.len())
}

/// Where a CSV cell without quotes ends, which begins at or before `at`; the length if it does not.
#[inline]
pub(super) fn end_of_cell(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| equal(word, b',') | equal(word, b'\n') | equal(word, b'\r'),
        |byte| matches!(byte, b',' | b'\n' | b'\r'),
    )
}

/// Where the next quote stands; the length if there is none.
#[inline]
pub(super) fn quote(bytes: &[u8], at: usize) -> usize {
    find(bytes, at, |word| equal(word, b'"'), |byte| byte == b'"')
}

/// Where the next backslash stands; the length if there is none.
#[inline]
pub(super) fn backslash(bytes: &[u8], at: usize) -> usize {
    find(bytes, at, |word| equal(word, b'\\'), |byte| byte == b'\\')
}

/// Where the next quote or backslash stands; the length if there is none.
#[inline]
pub(super) fn quote_or_backslash(bytes: &[u8], at: usize) -> usize {
    find(bytes, at, |word| equal(word, b'"') | equal(word, b'\\'), |byte| matches!(byte, b'"' | b'\\'))
}

/// Where the next byte stands that makes quotes around a CSV cell needful; the length if there is none.
#[inline]
pub(super) fn to_quote(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| equal(word, b',') | equal(word, b'"') | equal(word, b'\n') | equal(word, b'\r'),
        |byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'),
    )
}

/// Where the next byte stands that a JSON string cannot hold as it is; the length if there is none.
#[inline]
pub(super) fn to_escape(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| equal(word, b'"') | equal(word, b'\\') | below(word, 0x20),
        |byte| matches!(byte, b'"' | b'\\' | ..0x20),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_find_what_bytes_find(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..44) {
            let slow = |wanted: &dyn Fn(u8) -> bool| {
                let rest = bytes.get(at..).unwrap_or_default();
                rest.iter().position(|byte| wanted(*byte)).map_or(bytes.len(), |found| at + found)
            };
            prop_assert_eq!(end_of_cell(&bytes, at), slow(&|byte| b",\n\r".contains(&byte)));
            prop_assert_eq!(quote_or_backslash(&bytes, at), slow(&|byte| b"\"\\".contains(&byte)));
            prop_assert_eq!(to_quote(&bytes, at), slow(&|byte| b",\"\n\r".contains(&byte)));
            prop_assert_eq!(quote(&bytes, at), slow(&|byte| byte == b'"'));
            prop_assert_eq!(backslash(&bytes, at), slow(&|byte| byte == b'\\'));
            prop_assert_eq!(to_escape(&bytes, at), slow(&|byte| byte < 0x20 || b"\"\\".contains(&byte)));
        }
    }
}
