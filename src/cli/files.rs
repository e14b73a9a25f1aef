//! Files that the command line names: read whole, as JSON, with errors that say where.

use crate::error::SettingsError;
use serde_json::Value;
use std::path::Path;

/// Reads a JSON file.
///
/// # Errors
/// When it cannot be read or is not JSON; then the place is named.
pub fn json(path: &Path) -> Result<Value, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let said = error.to_string();
        let message = said.split(" at line ").next().unwrap_or_default().to_owned();
        SettingsError::NotJson { path: path.to_owned(), line: error.line(), column: error.column(), message }
    })
}

/// Reads a state file: one JSON value, or the last line of what a target printed. An empty file is
/// no state, which is what `tap | target > state.json` leaves when nothing came through.
///
/// # Errors
/// When it cannot be read or its last line is not JSON.
pub fn state(path: &Path) -> Result<Value, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(whole) => {
            let last = text.lines().rfind(|line| !line.trim().is_empty());
            let Some(last) = last else { return Ok(Value::Null) };
            serde_json::from_str(last).map_err(|_| SettingsError::NotJson {
                path: path.to_owned(),
                line: whole.line(),
                column: whole.column(),
                message: "neither the file nor its last line is a JSON value".to_owned(),
            })
        }
    }
}
