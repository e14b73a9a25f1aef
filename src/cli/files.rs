//! Files that the command line names: read whole, as JSON, with errors that say where.

use crate::diagnostic::json_trouble;
use crate::error::SettingsError;
use serde_json::Value;
use std::path::Path;

/// Reads a JSON file.
///
/// # Errors
/// When it cannot be read, is empty or is not JSON; then the place is named.
pub fn json(path: &Path) -> Result<Value, SettingsError> {
    let text = text(path)?;
    if text.trim().is_empty() {
        return Err(SettingsError::Empty { path: path.to_owned() });
    }
    serde_json::from_str(&text).map_err(|error| not_json(path, &error))
}

/// Reads a state file: one JSON value, or the last line of what a target printed. An empty file is
/// no state, which is what `tap | target > state.json` leaves when nothing came through.
///
/// # Errors
/// When it cannot be read or its last line is not JSON.
pub fn state(path: &Path) -> Result<Value, SettingsError> {
    let text = text(path)?;
    serde_json::from_str(&text).or_else(|whole| match text.lines().rfind(|line| !line.trim().is_empty()) {
        None => Ok(Value::Null),
        Some(last) => serde_json::from_str(last).map_err(|_| not_json(path, &whole)),
    })
}

/// The text of a file, without a byte order mark.
fn text(path: &Path) -> Result<String, SettingsError> {
    let bytes =
        std::fs::read(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line_start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        SettingsError::NotJson {
            path: path.to_owned(),
            line: good.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: good.len() - line_start + 1,
            message: "the bytes here are not UTF-8 text".to_owned(),
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn not_json(path: &Path, error: &serde_json::Error) -> SettingsError {
    SettingsError::NotJson {
        path: path.to_owned(),
        line: error.line().max(1),
        column: error.column().max(1),
        message: json_trouble(error),
    }
}
