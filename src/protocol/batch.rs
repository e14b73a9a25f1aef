//! BATCH: rows in files of their own, which the Meltano SDK adds to the Singer specification.
//!
//! A file holds bare rows, one JSON object a line. The message names the files by `file://` addresses; they are
//! whole before it is written. Files stay where they are: who reads them deletes nothing. Follows the Meltano
//! SDK's page "Batch Messages".

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};

/// A BATCH message.
#[derive(Debug)]
pub struct BatchMessage<'a> {
    /// The stream.
    pub stream: Cow<'a, str>,
    /// How the files are written.
    pub encoding: Encoding,
    /// Addresses of the files, in the order of their rows.
    pub manifest: Vec<String>,
    /// The table version of the rows, with ACTIVATE_VERSION.
    pub version: Option<i64>,
}

/// How a batch file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A JSON object a line.
    Jsonl,
    /// The same, compressed by gzip.
    JsonlGzip,
    /// Parquet; who reads it learns from the file how it is compressed.
    Parquet,
    /// The same, written with gzip.
    ParquetGzip,
}

#[derive(Deserialize)]
struct Words<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    #[serde(borrow)]
    compression: Option<Cow<'a, str>>,
}

impl Encoding {
    /// Reads `{"format": …, "compression": …}`; nothing where it names what there is not.
    pub fn parse(text: &str) -> Option<Self> {
        let Words { format, compression } = serde_json::from_str(text).ok()?;
        match (format.as_ref(), compression.as_deref()) {
            ("jsonl", None | Some("none")) => Some(Self::Jsonl),
            ("jsonl", Some("gzip")) => Some(Self::JsonlGzip),
            ("parquet", Some("gzip")) => Some(Self::ParquetGzip),
            ("parquet", _) => Some(Self::Parquet),
            _ => None,
        }
    }

    /// As the message has it.
    pub fn to_json(self) -> Value {
        match self {
            Self::Jsonl => json!({"format": "jsonl", "compression": "none"}),
            Self::JsonlGzip => json!({"format": "jsonl", "compression": "gzip"}),
            Self::Parquet => json!({"format": "parquet", "compression": "none"}),
            Self::ParquetGzip => json!({"format": "parquet", "compression": "gzip"}),
        }
    }

    /// What the name of such a file ends with, without the point.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::JsonlGzip => "jsonl.gz",
            Self::Parquet | Self::ParquetGzip => "parquet",
        }
    }

    /// The rows of a file as lines of JSON. Damage shows when the reader comes to it.
    ///
    /// # Errors
    /// When the file cannot be opened, is empty (no file of rows is), or is of a kind that this build does not read.
    pub fn open(self, path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
        }
        match self {
            Self::Jsonl => Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file))),
            Self::JsonlGzip => {
                let bytes = BufReader::with_capacity(BUFFER_BYTES, file);
                Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(bytes))))
            }
            #[cfg(feature = "parquet")]
            Self::Parquet | Self::ParquetGzip => {
                Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, super::parquet::lines(file)?)))
            }
            #[cfg(not(feature = "parquet"))]
            Self::Parquet | Self::ParquetGzip => Err(io::Error::new(io::ErrorKind::Unsupported, NO_PARQUET)),
        }
    }
}

/// What a build without the feature says.
pub const NO_PARQUET: &str = "this build has no parquet; it takes `cargo build --features parquet`";

/// Unit: bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// The path of a `file://` address, or of one without a scheme; nothing for other schemes.
pub fn path_of(address: &str) -> Option<PathBuf> {
    let Some(path) = address.strip_prefix("file://") else {
        return (!address.contains("://")).then(|| PathBuf::from(address));
    };
    let path = path.strip_prefix("localhost/").map_or_else(|| path.to_owned(), |rest| format!("/{rest}"));
    let decoded = decoded(&path);
    let path = PathBuf::from(path);
    // Some taps write the path as it is, with a percent sign of its own.
    Some(decoded.filter(|decoded| decoded.exists() || !path.exists()).unwrap_or(path))
}

fn decoded(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

/// The `file://` address of a path, which is absolute.
///
/// As it is, but for what ends a path in an address: targets of the Meltano SDK (0.54) take what follows `file://`
/// for the path without decoding it, so an encoded space would not be found.
pub fn address_of(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("file://{}", path.replace('%', "%25").replace('?', "%3F").replace('#', "%23"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Message, MessageError};

    #[test]
    fn encodings_are_those_of_the_sdk() {
        let parse = |text: &str| Encoding::parse(text);
        assert_eq!(parse(r#"{"format":"jsonl","compression":"gzip"}"#), Some(Encoding::JsonlGzip));
        assert_eq!(parse(r#"{"format":"jsonl"}"#), Some(Encoding::Jsonl));
        assert_eq!(parse(r#"{"format":"jsonl","compression":null}"#), Some(Encoding::Jsonl));
        assert_eq!(parse(r#"{"format":"parquet","compression":"snappy"}"#), Some(Encoding::Parquet));
        assert_eq!(parse(r#"{"format":"arrow"}"#), None);
        for encoding in [Encoding::Jsonl, Encoding::JsonlGzip, Encoding::Parquet, Encoding::ParquetGzip] {
            assert_eq!(parse(&encoding.to_json().to_string()), Some(encoding));
        }
    }

    #[test]
    fn a_message_says_what_is_wrong_with_it() {
        let parse = |line: &str| Message::parse(line.as_bytes()).map(|_| ());
        let head = r#"{"type":"BATCH","stream":"a","#;
        let good = format!(r#"{head}"encoding":{{"format":"jsonl"}},"manifest":["file:///a"]}}"#);
        assert_eq!(parse(&good), Ok(()));
        let lacks = parse(&format!("{head}\"manifest\":[]}}")).unwrap_err();
        assert!(matches!(lacks, MessageError::MissingKey { key: "encoding", .. }), "{lacks}");
        let wrong = parse(&good.replace("jsonl", "csv")).unwrap_err();
        assert!(wrong.to_string().contains("should be `jsonl` (gzip or none) or `parquet`"), "{wrong}");
        let wrong = parse(&good.replace(r#"["file:///a"]"#, "\"a\"")).unwrap_err();
        assert!(wrong.to_string().contains("BATCH has `manifest`"), "{wrong}");
    }

    #[test]
    fn addresses_go_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b%20é.jsonl");
        File::create(&path).unwrap();
        assert_eq!(path_of(&address_of(&path)), Some(path.clone()));
        assert_eq!(path_of(&format!("file://{}", path.display())), Some(path.clone()), "as it is");
        assert_eq!(path_of("/tmp/a"), Some("/tmp/a".into()));
        assert_eq!(path_of("s3://bucket/a"), None);
    }
}
