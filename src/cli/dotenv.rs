//! `.env`: variables in a file of the working folder, as Meltano and the Meltano SDK read it.
//!
//! `NAME=value` lines, `export` in front allowed, values bare or in quotes; in double quotes `\n`, `\"`
//! and `\\` stand for what they do in a shell. Values are taken as they stand, nothing is put into them.

use std::collections::BTreeMap;
use std::path::Path;

/// The variables of a file; none where there is no such file.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(path: &Path) -> std::io::Result<BTreeMap<String, String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(variables(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), plain(value.trim()))).collect()
}

/// A value without its quotes, or without the comment behind it.
fn plain(value: &str) -> String {
    if let Some(quoted) = value.strip_prefix('\'') {
        return quoted.split('\'').next().unwrap_or_default().to_owned();
    }
    let Some(quoted) = value.strip_prefix('"') else {
        return value.split(" #").next().unwrap_or_default().trim_end().to_owned();
    };
    let mut done = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('n') => done.push('\n'),
                Some(other) => done.push(other),
                None => break,
            },
            letter => done.push(letter),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_a_shell_would() {
        let text = "# who\nA=1\nexport B = two words # no comment of ours\nC=\"a \\\"b\\\"\\n# c\" # d\nD='$x \\n'\nE=\nodd\n";
        let read = variables(text);
        let value = |name: &str| read.get(name).map(String::as_str);
        assert_eq!(value("A"), Some("1"));
        assert_eq!(value("B"), Some("two words"));
        assert_eq!(value("C"), Some("a \"b\"\n# c"));
        assert_eq!(value("D"), Some("$x \\n"));
        assert_eq!((value("E"), read.len()), (Some(""), 5));
    }

    #[test]
    fn no_file_is_no_variables() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(read(&dir.path().join(".env")).expect("reads").is_empty());
    }
}
