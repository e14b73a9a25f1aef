//! A file on its way from the server: what has arrived, what is missing, whether it is whole.
//!
//! A cut download goes on where it stopped (`Range`, guarded by `If-Range` where the server names
//! the file's version). The bytes lie in `<name>.part` until all of them are there.

use super::error::{Error, ErrorKind};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A download in progress.
pub(super) struct Partial {
    file: File,
    part: PathBuf,
    target: PathBuf,
    received: u64,
    total: Option<u64>,
    validator: Option<String>,
    finished: bool,
}

impl Partial {
    /// Starts an empty download to `target`.
    pub(super) fn create(target: &Path) -> Result<Self, Error> {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let file = File::create(&part).map_err(|error| trouble(&part, error))?;
        Ok(Self {
            file,
            part,
            target: target.to_owned(),
            received: 0,
            total: None,
            validator: None,
            finished: false,
        })
    }

    /// Headers that ask for what is missing.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        if self.received == 0 {
            return Vec::new();
        }
        let mut headers = vec![("range", format!("bytes={}-", self.received))];
        if let Some(validator) = self.validator.as_ref().filter(|tag| !tag.starts_with("W/")) {
            headers.push(("if-range", validator.clone()));
        }
        headers
    }

    /// Takes note of an answer's headers; starts over when the server sends the whole file, or
    /// another one than before.
    pub(super) fn begin(
        &mut self,
        status: u16,
        content_range: Option<&str>,
        length: Option<u64>,
        validator: Option<String>,
    ) -> Result<(), Error> {
        if status == 206 {
            let (start, total) = content_range.and_then(parse_content_range).unwrap_or((u64::MAX, None));
            let same_file = self.total.is_none() || total.is_none() || self.total == total;
            if start == self.received && same_file {
                self.total = total.or(self.total);
                return Ok(());
            }
            self.restart()?;
            return Err(Error::new(ErrorKind::Download, "the server sent another part than was asked for"));
        }
        self.restart()?;
        self.total = length;
        self.validator = validator;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.received = 0;
        self.total = None;
        self.validator = None;
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(|error| trouble(&self.part, error))
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| trouble(&self.part, error))?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Whether as many bytes came as were announced.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.total {
            Some(total) if total != self.received => {
                Err(Error::new(ErrorKind::Download, format!("{} of {total} bytes arrived", self.received)))
            }
            _ => Ok(()),
        }
    }

    /// Gives the whole file its name; answers its size in bytes.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        std::fs::rename(&self.part, &self.target).map_err(|error| trouble(&self.target, error))?;
        self.finished = true;
        Ok(self.received)
    }
}

impl Drop for Partial {
    /// A part that nobody will ask the rest of is of no use.
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Start and total of `bytes 10-99/100`; the total may be `*`.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn trouble(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::File, format!("`{}` cannot be written", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::{Partial, parse_content_range};

    #[test]
    fn content_range_is_read() {
        assert_eq!(parse_content_range("bytes 10-99/100"), Some((10, Some(100))));
        assert_eq!(parse_content_range("bytes 10-99/*"), Some((10, None)));
        assert_eq!(parse_content_range("lines 1-2/3"), None);
    }

    #[test]
    fn a_cut_download_goes_on_and_a_changed_file_starts_over() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let target = folder.path().join("a.zip");
        let mut partial = Partial::create(&target)?;
        partial.begin(200, None, Some(6), Some("\"v1\"".to_owned()))?;
        partial.append(b"abc")?;
        assert!(partial.check().is_err());
        assert_eq!(partial.headers(), [("range", "bytes=3-".to_owned()), ("if-range", "\"v1\"".to_owned())]);
        assert!(partial.begin(206, Some("bytes 0-5/6"), Some(6), None).is_err());
        partial.begin(200, None, Some(2), None)?;
        partial.append(b"x")?;
        partial.begin(206, Some("bytes 1-1/2"), Some(1), None)?;
        partial.append(b"y")?;
        partial.check()?;
        assert_eq!(partial.finish()?, 2);
        assert_eq!(std::fs::read(&target)?, b"xy");
        Ok(())
    }
}
