//! Bytes to bytes: CSV in a zip file to JSON records and back.
//!
//! Pure and synchronous. It knows Zoho's data types and nothing of HTTP, Singer or async.

pub mod archive;
pub mod archive_write;
mod bytes;
pub mod cursor;
pub mod decode;
pub mod encode;
pub mod encode_csv;
pub mod encode_text;
pub mod fingerprint;
pub mod guard;
pub mod json;
pub mod merge;
pub mod plan;
pub mod split;
pub mod time;
pub mod value;

#[cfg(test)]
mod decode_slow;
