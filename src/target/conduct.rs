//! How a stream deals with what is in the CRM already: deletes, marks of its own, changes by others.
//!
//! These settings travel with the route, so that a batch which a killed run left behind is finished by the
//! rules it was made under. What they lead to is done in `deletes`, `doubt`, `look` and `memory`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::{ConfigError, child};

/// Names of the settings, as members of a stream's entry.
pub const KEYS: [&str; 7] = [
    "batch_tag_field",
    "deleted_rows",
    "mirror_scope",
    "only_changed",
    "compare_live",
    "protect",
    "remember_writes",
];

/// What becomes of a row with `_sdc_deleted_at` set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletedRows {
    /// It is left alone and reported as skipped.
    #[default]
    Skip,
    /// Its record is deleted.
    Delete,
    /// It is written like any other.
    Write,
}

/// Which records a mirror may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorScope {
    /// Those that were written with this `state_dir`.
    #[default]
    Own,
    /// Every record of the module.
    All,
}

/// The settings of one stream to one module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Conduct {
    /// A text field that gets a mark of batch and line.
    pub batch_tag_field: Option<String>,
    /// What becomes of a row with `_sdc_deleted_at` set.
    pub deleted_rows: DeletedRows,
    /// Which records a mirror may delete.
    pub mirror_scope: MirrorScope,
    /// Rows that equal what was last accepted are not sent; of others only what changed, by record calls.
    pub only_changed: bool,
    /// Rows are compared with the CRM's values before they are sent.
    pub compare_live: bool,
    /// Fields that somebody else changed since our last write are left alone.
    pub protect: bool,
    /// What was written is remembered, so that a tap knows it again.
    pub remember_writes: bool,
}

impl Conduct {
    /// Reads the settings from a stream's entry; `pointer` is the entry's.
    ///
    /// # Errors
    /// [`ConfigError`] for a value that is none.
    pub fn from_json(keys: &Map<String, Value>, pointer: &str) -> Result<Self, ConfigError> {
        let flag = |name: &str| match keys.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => {
                Err(ConfigError::new(child(pointer, name), format!("{other} is not true or false")))
            }
        };
        Ok(Self {
            batch_tag_field: chosen(keys, pointer, "batch_tag_field", "a field name")?,
            deleted_rows: chosen(keys, pointer, "deleted_rows", "one of skip, delete, write")?
                .unwrap_or_default(),
            mirror_scope: chosen(keys, pointer, "mirror_scope", "one of own, all")?.unwrap_or_default(),
            only_changed: flag("only_changed")?,
            compare_live: flag("compare_live")?,
            protect: flag("protect")?,
            remember_writes: flag("remember_writes")?,
        })
    }

    /// Whether the ledger remembers what was written to a key for longer than one run.
    pub fn remembers(&self) -> bool {
        self.only_changed || self.protect || self.remember_writes
    }

    /// Whether rows are compared with the CRM before they are sent.
    pub fn looks_first(&self) -> bool {
        self.compare_live || self.protect
    }
}

fn chosen<T: serde::de::DeserializeOwned>(
    keys: &Map<String, Value>,
    pointer: &str,
    name: &str,
    expected: &str,
) -> Result<Option<T>, ConfigError> {
    match keys.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| ConfigError::new(child(pointer, name), format!("{value} is not {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: Value) -> Result<Conduct, ConfigError> {
        Conduct::from_json(keys.as_object().expect("an object"), "/streams/a")
    }

    #[test]
    fn nothing_is_deleted_or_compared_unless_asked() {
        let conduct = read(serde_json::json!({})).expect("good");
        assert_eq!(conduct, Conduct::default());
        assert!(!conduct.remembers() && !conduct.looks_first());
        assert_eq!((conduct.deleted_rows, conduct.mirror_scope), (DeletedRows::Skip, MirrorScope::Own));
    }

    #[test]
    fn what_is_no_value_is_named() {
        let error = read(serde_json::json!({"deleted_rows": "purge"})).expect_err("bad");
        assert_eq!(
            error.to_string(),
            "config: /streams/a/deleted_rows: \"purge\" is not one of skip, delete, write"
        );
        assert!(read(serde_json::json!({"protect": "yes"})).is_err());
        assert!(
            read(serde_json::json!({"mirror_scope": "all", "only_changed": true})).expect("good").remembers()
        );
    }
}
