//! The zip file around a bulk file: opened without unpacking it to disk, refused when it is not what
//! a bulk API sends, checked to its last byte before a row is taken from it.

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use zip::CompressionMethod;

/// Most bytes a bulk file may unpack to.
///
/// Unit: bytes. 200,000 rows ("Bulk Read, Limitations") of 200 columns of 800 bytes; more than that
/// is no export but an attack on the reader's patience.
pub const MAX_UNPACKED_BYTES: u64 = 32 * 1024 * 1024 * 1024;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It could not be opened or read, or its checksum is wrong.
    #[error("`{}` cannot be read as a zip file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the zip reader says.
        #[source]
        source: io::Error,
    },
    /// It does not hold exactly one plain CSV file.
    #[error("`{}` should hold one CSV file and holds {found}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// It says that it unpacks to more than any export does.
    #[error("`{}` unpacks to {bytes} bytes, more than the {MAX_UNPACKED_BYTES} taken", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The size it declares.
        bytes: u64,
    },
}

/// A zip file with one CSV file in it.
pub struct CsvArchive {
    path: PathBuf,
    csv: Checksum,
    zip: zip::ZipArchive<BufReader<File>>,
}

impl CsvArchive {
    /// Opens the archive and looks at its directory.
    ///
    /// # Errors
    /// When it is damaged, holds anything but one CSV file, names a path outside itself or is too large.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let damaged = |source: io::Error| ArchiveError::Damaged { path: path.to_owned(), source };
        let file = BufReader::with_capacity(64 * 1024, File::open(path).map_err(damaged)?);
        let mut zip = zip::ZipArchive::new(file).map_err(|error| damaged(error.into()))?;
        let names: Result<Vec<String>, _> =
            zip.file_names().map(|name| name.map(std::borrow::Cow::into_owned)).collect();
        let names = names.map_err(|error| damaged(error.into()))?;
        let plain = |name: &str| name.ends_with(".csv") && !name.contains(['/', '\\']);
        if names.len() != 1 || !plain(&names[0]) {
            let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            return Err(ArchiveError::Contents { path: path.to_owned(), found });
        }
        let entry = zip.by_index_raw(0).map_err(|error| damaged(error.into()))?;
        let csv = Checksum { bytes: entry.size(), crc: entry.crc32() };
        drop(entry);
        if csv.bytes > MAX_UNPACKED_BYTES {
            return Err(ArchiveError::TooLarge { path: path.to_owned(), bytes: csv.bytes });
        }
        Ok(Self { path: path.to_owned(), csv, zip })
    }

    /// Length and checksum that its CSV file has to have.
    pub fn checksum(&self) -> Checksum {
        self.csv
    }

    /// The bytes of the CSV file. Length and checksum are compared when the last one is read; wrong
    /// ones are an error of that read.
    ///
    /// # Errors
    /// When the entry cannot be opened, or is packed in a way that no bulk API uses.
    pub fn csv(&mut self) -> Result<impl Read + '_, ArchiveError> {
        Ok(self.csv.hold(self.body()?))
    }

    fn body(&mut self) -> Result<Box<dyn Read + '_>, ArchiveError> {
        let path = self.path.clone();
        // Unpacked here and not by the `zip` crate, which hands 8 KiB at a time to the inflater.
        let entry = self.zip.by_index_raw(0);
        let entry =
            entry.map_err(|error| ArchiveError::Damaged { path: path.clone(), source: error.into() })?;
        let method = if entry.encrypted() { None } else { Some(entry.compression()) };
        match method {
            Some(CompressionMethod::Stored) => Ok(Box::new(entry)),
            Some(CompressionMethod::Deflated) => {
                Ok(Box::new(DeflateDecoder::new(BufReader::with_capacity(PACKED_BYTES, entry))))
            }
            method => {
                let method = method.map_or("encrypted".to_owned(), |method| format!("packed by {method}"));
                Err(ArchiveError::Contents { path, found: format!("one that is {method}") })
            }
        }
    }

    /// As [`CsvArchive::csv`], but unpacked by a thread of its own that runs ahead a few blocks.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn into_reader(mut self) -> Result<impl Read + Send + use<>, ArchiveError> {
        let (send, blocks) = sync_channel(BLOCKS_AHEAD);
        let (used, unused) = channel::<Vec<u8>>();
        let (path, checksum) = (self.path.clone(), self.csv);
        let unpack = move || {
            let mut csv = match self.body() {
                Ok(csv) => csv,
                Err(error) => return drop(send.send(Err(io::Error::other(error)))),
            };
            loop {
                let block = unused.try_recv().unwrap_or_default();
                let block = filled(&mut csv, block);
                let is_last = !matches!(&block, Ok(block) if !block.is_empty());
                // An empty block says that the file is whole; whoever does not get one knows it is not.
                if send.send(block).is_err() || is_last {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("unpack".into()).spawn(unpack);
        started.map_err(|source| ArchiveError::Damaged { path, source })?;
        // Compared by who reads: this thread is the one that is waited for.
        Ok(checksum.hold(Unpacked { blocks, used, block: io::Cursor::new(Vec::new()), is_whole: false }))
    }
}

/// Packed bytes that the inflater is given at once: each time costs it a copy of its window.
const PACKED_BYTES: usize = 64 * 1024;

/// Length and checksum of a CSV file, as its archive has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    bytes: u64,
    crc: u32,
}

impl Checksum {
    /// Hands on what `body` reads. Another length or checksum is an error of the last read.
    pub fn hold<R: Read>(self, body: R) -> impl Read + use<R> {
        Checked { body, expected: self, read: 0, found: Crc::new() }
    }
}

/// What it reads, held against a checksum.
struct Checked<R> {
    body: R,
    expected: Checksum,
    read: u64,
    found: Crc,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(out)?;
        self.found.update(&out[..read]);
        self.read += read as u64;
        let is_over = read == 0 && !out.is_empty();
        let (found, expected) = (Checksum { bytes: self.read, crc: self.found.sum() }, self.expected);
        if found.bytes > expected.bytes || is_over && found != expected {
            let text = format!(
                "{} bytes with checksum {:08x}, expected {} with {:08x}",
                found.bytes, found.crc, expected.bytes, expected.crc
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(read)
    }
}

/// Bytes handed over at once, and how many such blocks wait for their reader. Smaller ones cost the
/// inflater a copy of its window more often.
const BLOCK_BYTES: usize = 128 * 1024;
const BLOCKS_AHEAD: usize = 2;

/// A block with as much as there is; an empty one at the end.
fn filled(input: &mut impl Read, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
    block.resize(BLOCK_BYTES, 0);
    let mut end = 0;
    while end < block.len() {
        match input.read(&mut block[end..]) {
            Ok(0) => break,
            Ok(read) => end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(end);
    Ok(block)
}

/// The bytes of a CSV file that another thread unpacks.
struct Unpacked {
    blocks: Receiver<io::Result<Vec<u8>>>,
    /// Where blocks go that are read, to be filled again.
    used: Sender<Vec<u8>>,
    block: io::Cursor<Vec<u8>>,
    is_whole: bool,
}

impl Read for Unpacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(out)?;
            if read > 0 || self.is_whole || out.is_empty() {
                return Ok(read);
            }
            let block = self.blocks.recv().map_err(|_| io::ErrorKind::UnexpectedEof)??;
            self.is_whole = block.is_empty();
            let used = std::mem::replace(&mut self.block, io::Cursor::new(block));
            // The thread has ended when nothing is left to unpack.
            self.used.send(used.into_inner()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn archive(files: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        let mut zip = zip::ZipWriter::new(file.reopen().expect("reopens"));
        for (name, text) in files {
            zip.start_file(*name, SimpleFileOptions::default()).expect("starts");
            zip.write_all(text.as_bytes()).expect("writes");
        }
        zip.finish().expect("finishes");
        file
    }

    fn unpacked(path: &Path) -> Result<String, String> {
        let mut archive = CsvArchive::open(path).map_err(|error| error.to_string())?;
        let csv = archive.csv().map_err(|error| error.to_string())?;
        io::read_to_string(csv).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sound_file_is_unpacked_byte_by_byte() {
        let file = archive(&[("1.csv", "Id,A\n1,\"x\ny\"\n2,z\n")]);
        assert_eq!(unpacked(file.path()).as_deref(), Ok("Id,A\n1,\"x\ny\"\n2,z\n"));
    }

    #[test]
    fn another_thread_unpacks_the_same_bytes() {
        let text: String = (0..100_000).map(|row| format!("{row},{}\n", row * 7_919)).collect();
        let file = archive(&[("1.csv", &text)]);
        let mut found = String::new();
        let archive = CsvArchive::open(file.path()).expect("opens");
        let mut reader = archive.into_reader().expect("starts");
        reader.read_to_string(&mut found).expect("reads");
        assert!(found == text && reader.read(&mut [0; 8]).is_ok_and(|read| read == 0));
        // A reader that is dropped early leaves no thread behind that waits for it.
        drop(CsvArchive::open(file.path()).and_then(CsvArchive::into_reader).expect("starts"));
    }

    #[test]
    fn a_damaged_or_strange_archive_is_refused() {
        let text: String = (0..2_000).map(|row| format!("{row},{}\n", row * 7_919)).collect();
        let file = archive(&[("1.csv", &text)]);
        let mut bytes = std::fs::read(file.path()).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(file.path(), &bytes).expect("writes");
        unpacked(file.path()).expect_err("is refused");
        std::fs::write(file.path(), &bytes[..middle]).expect("writes");
        assert!(matches!(CsvArchive::open(file.path()), Err(ArchiveError::Damaged { .. })));
        let strange = archive_error(&[("../1.csv", "x")]);
        assert!(strange.ends_with("should hold one CSV file and holds ../1.csv"), "{strange}");
        assert!(archive_error(&[("a.csv", ""), ("b.csv", "")]).ends_with("holds a.csv, b.csv"));
    }

    #[test]
    fn a_file_that_is_not_packed_is_read_as_it_stands() {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        let mut zip = zip::ZipWriter::new(file.reopen().expect("reopens"));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file("1.csv", stored).expect("starts");
        zip.write_all(b"Id\n1\n").expect("writes");
        zip.finish().expect("finishes");
        assert_eq!(unpacked(file.path()).as_deref(), Ok("Id\n1\n"));
    }

    #[test]
    fn an_archive_that_lies_about_its_length_or_checksum_is_refused() {
        let file = archive(&[("1.csv", "Id\n1\n2\n")]);
        let sound = std::fs::read(file.path()).expect("reads");
        let entry = sound.windows(4).position(|bytes| bytes == b"PK\x01\x02").expect("a directory");
        for (place, change) in [(16, 1_u8), (24, 1), (24, 8)] {
            let mut bytes = sound.clone();
            bytes[entry + place] ^= change;
            std::fs::write(file.path(), &bytes).expect("writes");
            let error = unpacked(file.path()).expect_err("is refused");
            assert!(error.starts_with("7 bytes with checksum"), "{error}");
        }
    }

    proptest::proptest! {
        /// In place of a fuzz target: see CONTRIBUTING.
        #[test]
        fn any_bytes_are_unpacked_or_refused(
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            changes in proptest::collection::vec((proptest::prelude::any::<u16>(), proptest::prelude::any::<u8>()), 1..6),
        ) {
            let text: String = (0..200).map(|row| format!("{row},{}\n", row * 7_919)).collect();
            let file = archive(&[("1.csv", &text)]);
            let mut bytes = std::fs::read(file.path()).expect("reads");
            for (at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            for bytes in [noise, bytes] {
                std::fs::write(file.path(), &bytes).expect("writes");
                let mut found = String::new();
                let unpacked = CsvArchive::open(file.path()).and_then(CsvArchive::into_reader);
                let read = unpacked.map(|mut unpacked| unpacked.read_to_string(&mut found));
                proptest::prop_assert!(!matches!(read, Ok(Ok(_))) || found == text);
            }
        }
    }

    fn archive_error(files: &[(&str, &str)]) -> String {
        CsvArchive::open(archive(files).path()).map(drop).expect_err("is refused").to_string()
    }
}
