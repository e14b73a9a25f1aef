//! Page tokens: bound to the parameters of their call, good for a day, good for 100,000 records.
//!
//! A token carries all it stands for, scrambled so that no client reads it; the server keeps
//! nothing.

use crate::emulator::data::{mix, salt};
use crate::emulator::faults::Kind;
use crate::emulator::reply::Reply;
use crate::emulator::state::Call;
use serde_json::json;

/// How long a token is good, in seconds.
pub const TOKEN_LIFE: i64 = 86_400;

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Rows before it.
    pub offset: usize,
    /// Key of the last row: an instant, or its id.
    pub last_key: i64,
    /// Id of the last row.
    pub last_id: u64,
    /// When the token was made, seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
}

/// A number for the parameters that a token is bound to.
pub fn fingerprint(call: &Call) -> u64 {
    let mut pairs: Vec<String> = call.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.retain(|pair| !pair.starts_with("page=") && !pair.starts_with("page_token="));
    pairs.sort();
    salt(&format!("{} {}", call.path, pairs.join("&")))
}

/// Makes a token.
pub fn encode(cursor: Cursor, bound_to: u64) -> String {
    let parts = [cursor.offset as u64, cursor.last_key as u64, cursor.last_id, cursor.created as u64];
    let mut text = format!("{bound_to:016x}");
    let mut mask = bound_to;
    for part in parts {
        mask = mix(mask);
        text.push_str(&format!("{:016x}", part ^ mask));
    }
    text.push_str(&format!("{:016x}", mix(salt(&text))));
    text
}

/// Reads a token of this call.
///
/// # Errors
/// `INVALID_DATA` for no token of ours, `TOKEN_BOUND_DATA_MISMATCH` for one of another call,
/// `EXPIRED_VALUE` after a day.
pub fn decode(call: &Call, token: &str) -> Result<Cursor, Reply> {
    let (bound_to, cursor) =
        open(token).ok_or_else(|| Reply::invalid_param("page_token", "the page_token given is invalid"))?;
    if bound_to != fingerprint(call) {
        let message = "the given page_token does not belong to these parameters";
        return Err(Reply::error(
            400,
            "TOKEN_BOUND_DATA_MISMATCH",
            message,
            json!({"param_name": "page_token"}),
        ));
    }
    let expired = call.app.clock.now() - cursor.created >= TOKEN_LIFE;
    if expired || call.fired.get(Kind::ExpiredPageToken).is_some() {
        let details = json!({"param_name": "page_token"});
        return Err(Reply::error(400, "EXPIRED_VALUE", "the given page_token has expired", details));
    }
    Ok(cursor)
}

fn open(token: &str) -> Option<(u64, Cursor)> {
    if token.len() != 96 || !token.is_ascii() {
        return None;
    }
    let part = |number: usize| u64::from_str_radix(&token[number * 16..number * 16 + 16], 16).ok();
    if part(5)? != mix(salt(&token[..80])) {
        return None;
    }
    let bound_to = part(0)?;
    let mut mask = bound_to;
    let mut next = |number| {
        mask = mix(mask);
        part(number).map(|part| part ^ mask)
    };
    let (offset, last_key, last_id, created) = (next(1)?, next(2)?, next(3)?, next(4)?);
    Some((
        bound_to,
        Cursor { offset: offset as usize, last_key: last_key as i64, last_id, created: created as i64 },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_cannot_be_forged() {
        let cursor =
            Cursor { offset: 200, last_key: -5, last_id: 4_876_000_000_000_000_007, created: 1_700_000_000 };
        let token = encode(cursor, 42);
        assert_eq!(open(&token), Some((42, cursor)));
        assert_eq!(open(&token.replace('0', "1")), None);
        assert_eq!(open("abc"), None);
    }
}
