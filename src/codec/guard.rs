//! What stands in a record instead of a value that may not leave: its keyed hash, or a mask.
//!
//! Applied to the JSON that the functions of [`super::value`] wrote, so that every way of reading
//! gives the same: CSV cells and JSON answers alike. HMAC as in RFC 2104, over SHA-256.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// What a masked value reads.
pub const MASK: &str = "***";

/// Length of SHA-256's block. Unit: bytes. Source: FIPS 180-4.
const BLOCK: usize = 64;

/// How a value is kept back. Empty stays null either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Its HMAC-SHA-256 in hex: equal values stay equal, so that joins still work.
    Hash(HashKey),
    /// [`MASK`].
    Mask,
}

/// A key, ready to hash with; it cannot be read back.
#[derive(Clone)]
pub struct HashKey(Arc<Keyed>);

struct Keyed {
    inner: Sha256,
    outer: Sha256,
    /// Tells keys apart without telling them.
    print: [u8; 8],
}

impl HashKey {
    /// Takes up a key of any length.
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0u8; BLOCK];
        if key.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let padded = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
        let (inner, outer) = (padded(0x36), padded(0x5c));
        let mut keyed = Keyed { inner, outer, print: [0; 8] };
        let print = keyed.hash(b"zoho-crm-connector: which key");
        keyed.print.copy_from_slice(&print[..8]);
        Self(Arc::new(keyed))
    }

    /// Equal for equal keys, and nothing that leads back to one.
    pub fn print(&self) -> [u8; 8] {
        self.0.print
    }
}

impl Keyed {
    fn hash(&self, text: &[u8]) -> [u8; 32] {
        let inner = self.inner.clone().chain_update(text).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

impl PartialEq for HashKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.print == other.0.print
    }
}

impl Eq for HashKey {}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(***)")
    }
}

impl Guard {
    /// Replaces the JSON value that stands in `out` from `start` on. Of a string its text is hashed,
    /// of anything else its JSON.
    pub fn apply(&self, start: usize, out: &mut Vec<u8>) {
        let json = &out[start..];
        if json == b"null" {
            return;
        }
        let shown = match self {
            Self::Mask => MASK.to_owned(),
            Self::Hash(key) => hex(&match serde_json::from_slice::<String>(json) {
                Ok(text) => key.0.hash(text.as_bytes()),
                Err(_) => key.0.hash(json),
            }),
        };
        out.truncate(start);
        super::value::string(&shown, out);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(guard: &Guard, json: &str) -> String {
        let mut out = format!("{{\"a\":{json}").into_bytes();
        guard.apply(5, &mut out);
        String::from_utf8(out).expect("UTF-8")[5..].to_owned()
    }

    #[test]
    fn hashes_are_those_of_rfc_4231() {
        let cases = [
            (&[0x0b; 20][..], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, text, expected) in cases {
            let guard = Guard::Hash(HashKey::new(key));
            assert_eq!(guarded(&guard, &format!("\"{text}\"")), format!("\"{expected}\""));
        }
    }

    #[test]
    fn null_stays_and_everything_else_becomes_a_string() {
        let hash = Guard::Hash(HashKey::new(b"k"));
        for guard in [&hash, &Guard::Mask] {
            assert_eq!(guarded(guard, "null"), "null");
        }
        assert_eq!(guarded(&Guard::Mask, "[\"a\"]"), "\"***\"");
        assert_eq!(guarded(&hash, "\"7\""), guarded(&hash, "7"), "the text of a number is its JSON");
        assert_ne!(guarded(&hash, "\"a\""), guarded(&Guard::Hash(HashKey::new(b"l")), "\"a\""));
    }
}
