//! Field policy: which fields do not leave as they are.
//!
//! A field is left out (it is not even asked for), comes as a keyed hash, or as a mask. The codec puts
//! hash and mask in place of the value while it writes it, so that no way of reading has a record with
//! the value in it. What Bulk Read downloads is Zoho's own file and holds the values; it stands in
//! `state_dir/spool` while it is read.

use super::config::{TapConfig, matches};
use super::error::Error;
use super::names::LookupName;
use super::plan::MODIFIED_TIME;
use crate::codec::guard::{Guard, HashKey, MASK};
use crate::codec::plan::Column;
use crate::protocol::catalog::CatalogEntry;
use crate::protocol::schema::Property;
use serde::Deserialize;
use serde_json::Value;

/// Fields by name, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PolicyRule {
    /// Globs over the names of streams, as discovery lists them; empty: all.
    #[serde(default)]
    pub streams: Vec<String>,
    /// Globs over the names of fields.
    pub fields: Vec<String>,
    /// What becomes of them.
    pub action: Action,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It comes as it is, whatever later rules say.
    Keep,
    /// It is not read.
    Exclude,
    /// Its values come as HMAC-SHA-256 under the key of the settings, in hex.
    Hash,
    /// Its values come as `***`.
    Mask,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Exclude => "exclude",
            Self::Hash => "hash",
            Self::Mask => "mask",
        }
    }
}

/// The rules, with the key taken up.
#[derive(Debug, Clone, Default)]
pub struct FieldPolicy {
    rules: Vec<PolicyRule>,
    key: Option<HashKey>,
}

impl FieldPolicy {
    /// The policy of these settings.
    ///
    /// # Errors
    /// When a rule hashes and there is no key.
    pub fn new(config: &TapConfig) -> Result<Self, Error> {
        let key = config.field_policy_key.as_ref().map(|key| HashKey::new(key.expose().as_bytes()));
        let rules = config.field_policy.clone();
        if key.is_none() && rules.iter().any(|rule| rule.action == Action::Hash) {
            return Err(Error::NoPolicyKey);
        }
        Ok(Self { rules, key })
    }

    /// What becomes of a field.
    pub fn action(&self, stream: &str, field: &str) -> Action {
        let any = |globs: &[String], name: &str| globs.iter().any(|glob| matches(glob, name));
        let takes = |rule: &&PolicyRule| {
            (rule.streams.is_empty() || any(&rule.streams, stream)) && any(&rule.fields, field)
        };
        self.rules.iter().find(takes).map_or(Action::Keep, |rule| rule.action)
    }

    /// Whether a field is left out.
    pub fn excludes(&self, stream: &str, field: &str) -> bool {
        self.action(stream, field) == Action::Exclude
    }

    /// Refuses a policy that touches what rows are found by.
    ///
    /// # Errors
    /// When a rule takes in a key property, or the property that tells what is new.
    pub fn check(&self, entry: &CatalogEntry) -> Result<(), Error> {
        let keys = entry.key_properties.iter().map(String::as_str);
        let keys = keys.chain(entry.replication_key.as_deref()).chain(["id", MODIFIED_TIME]);
        for field in keys {
            let action = self.action(&entry.tap_stream_id, field);
            if action != Action::Keep {
                let stream = entry.tap_stream_id.clone();
                return Err(Error::PolicyOnKey { stream, field: field.to_owned(), action: action.name() });
            }
        }
        Ok(())
    }

    /// Puts a column and its property under the policy; none: it is left out.
    pub fn column(&self, stream: &str, mut column: Column, property: Value) -> Option<(Column, Value)> {
        // What is a part of a field follows the field.
        let action = match self.action(stream, &column.name) {
            Action::Keep => self.action(stream, &column.field),
            action => action,
        };
        column.guard = self.guard(action);
        (action != Action::Exclude).then(|| (column, adapted(action, property)))
    }

    /// Puts the name of what a lookup points at under the policy; none: it is left out.
    pub fn name(&self, stream: &str, mut name: LookupName) -> Option<LookupName> {
        let action = self.name_action(stream, &name);
        name.column.guard = self.guard(action);
        name.schema = adapted(action, name.schema);
        (action != Action::Exclude).then_some(name)
    }

    /// A name follows its lookup, and what is kept back where it comes from is kept back here as well.
    fn name_action(&self, stream: &str, name: &LookupName) -> Action {
        let own = [&name.column.name, &name.column.field].map(|field| self.action(stream, field));
        if let Some(own) = own.into_iter().find(|own| *own != Action::Keep) {
            return own;
        }
        let (shown, fields) = &name.shows;
        let there: Vec<Action> = fields.iter().map(|field| self.action(shown, field)).collect();
        let strictest = [Action::Exclude, Action::Mask, Action::Hash];
        strictest.into_iter().find(|action| there.contains(action)).unwrap_or(Action::Keep)
    }

    /// Puts the names of lookups in a stream of the catalog under the policy.
    pub fn names(&self, entry: &mut CatalogEntry, names: Vec<LookupName>) {
        for name in names {
            let property = name.column.name.clone();
            let Some(Value::Object(properties)) = entry.schema.get_mut("properties") else { return };
            match self.name(&entry.tap_stream_id, name) {
                Some(name) => drop(properties.insert(property, name.schema)),
                None => {
                    properties.shift_remove(&property);
                    exclude(entry, &property);
                }
            }
        }
    }

    /// Puts a stream of the catalog under the policy: its schema, and what can be selected.
    ///
    /// # Errors
    /// As [`FieldPolicy::check`].
    pub fn entry(&self, entry: &mut CatalogEntry) -> Result<(), Error> {
        self.check(entry)?;
        let stream = entry.tap_stream_id.clone();
        self.schema(&stream, &mut entry.schema);
        let fields = entry.metadata.iter().filter_map(|metadata| metadata.breadcrumb.get(1));
        let excluded: Vec<String> = fields.filter(|field| self.excludes(&stream, field)).cloned().collect();
        for field in excluded {
            exclude(entry, &field);
        }
        Ok(())
    }

    /// Puts the properties of a schema under the policy.
    pub fn schema(&self, stream: &str, schema: &mut Value) {
        let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
        properties.retain(|name, _| !self.excludes(stream, name));
        for (name, property) in properties {
            *property = adapted(self.action(stream, name), property.take());
        }
    }

    /// Puts a record under the policy, for streams whose records do not come by the codec.
    pub fn record(&self, stream: &str, record: &mut Value) {
        let Value::Object(properties) = record else { return };
        properties.retain(|name, _| !self.excludes(stream, name));
        for (name, value) in properties {
            if let Some(guard) = self.guard(self.action(stream, name)) {
                let mut json = value.to_string().into_bytes();
                guard.apply(0, &mut json);
                *value = serde_json::from_slice(&json).expect("a guard writes JSON");
            }
        }
    }

    /// Whether fields of this stream are kept back: then what shows a whole record in a few words, like
    /// the name in the list of deletes, is kept back as well.
    pub fn touches(&self, stream: &str) -> bool {
        let takes = |rule: &PolicyRule| {
            rule.streams.is_empty() || rule.streams.iter().any(|glob| matches(glob, stream))
        };
        self.rules.iter().any(|rule| rule.action != Action::Keep && takes(rule))
    }

    /// Columns under the policy, for streams that are decoded without a module's plan.
    pub fn columns(&self, stream: &str, columns: impl Iterator<Item = Column>) -> Vec<Column> {
        columns.filter_map(|column| Some(self.column(stream, column, Value::Null)?.0)).collect()
    }

    fn guard(&self, action: Action) -> Option<Guard> {
        match action {
            Action::Keep | Action::Exclude => None,
            Action::Mask => Some(Guard::Mask),
            Action::Hash => self.key.clone().map(Guard::Hash),
        }
    }
}

/// Says in the catalog that a property cannot be had.
fn exclude(entry: &mut CatalogEntry, property: &str) {
    let of_it = entry
        .metadata
        .iter_mut()
        .filter(|metadata| metadata.breadcrumb.get(1).is_some_and(|it| it == property));
    for metadata in of_it {
        metadata.metadata.insert("inclusion".into(), "unsupported".into());
        metadata.metadata.insert("zoho-note".into(), "`field_policy` excludes it".into());
    }
}

/// The schema of a property under an action: hashes and masks are strings.
fn adapted(action: Action, property: Value) -> Value {
    let string = match action {
        Action::Keep | Action::Exclude => return property,
        Action::Hash => Property::new("string").with("maxLength", 64),
        Action::Mask => Property::new("string").with("maxLength", MASK.len()),
    };
    let mut string = string.with("x-field-policy", action.name());
    for annotation in ["title", "x-zoho-type", "x-zoho-name-of"] {
        if let Some(value) = property.get(annotation) {
            string = string.with(annotation, value.clone());
        }
    }
    string.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::value::Kind;
    use crate::secret::Secret;
    use serde_json::json;

    fn policy(rules: Value) -> FieldPolicy {
        let config = TapConfig {
            field_policy: serde_json::from_value(rules).expect("rules"),
            field_policy_key: Some(Secret::new("0123456789abcdef")),
            ..TapConfig::default()
        };
        FieldPolicy::new(&config).expect("has a key")
    }

    #[test]
    fn the_first_rule_that_matches_holds() {
        let policy = policy(json!([
            {"streams": ["users"], "fields": ["email"], "action": "keep"},
            {"fields": ["*mail*", "Email*"], "action": "hash"},
            {"streams": ["Le?ds"], "fields": ["*"], "action": "mask"},
        ]));
        assert_eq!(policy.action("users", "email"), Action::Keep);
        assert_eq!(policy.action("Leads", "Email"), Action::Hash);
        assert_eq!(policy.action("Leads", "Phone"), Action::Mask);
        assert_eq!(policy.action("Deals", "Phone"), Action::Keep);
        let entry = CatalogEntry { tap_stream_id: "Leads".into(), ..CatalogEntry::default() };
        let error = policy.check(&entry).expect_err("`*` takes in the key");
        assert_eq!(
            error.to_string(),
            "`field_policy` would mask `id` of stream `Leads`, by which its rows are found"
        );
        assert!(policy.check(&CatalogEntry { tap_stream_id: "Deals".into(), ..entry }).is_ok());
    }

    #[test]
    fn schema_and_records_follow() {
        let policy = policy(json!([
            {"fields": ["A"], "action": "hash"}, {"fields": ["B"], "action": "exclude"}, {"fields": ["C"], "action": "mask"},
        ]));
        let property = json!({"type": ["null", "integer"], "title": "An A"});
        let (column, schema) =
            policy.column("S", Column::new("A", Kind::Integer), property).expect("is kept");
        assert!(matches!(column.guard, Some(Guard::Hash(_))));
        assert_eq!(
            schema,
            json!({"type": ["null", "string"], "maxLength": 64, "x-field-policy": "hash", "title": "An A"})
        );
        assert!(policy.column("S", Column::new("B", Kind::Text), json!({})).is_none());
        let mut record = json!({"id": "1", "A": 7, "B": 1, "C": "secret"});
        policy.record("S", &mut record);
        assert_eq!(record["C"], "***");
        assert_eq!(record["A"].as_str().map(str::len), Some(64));
        assert!(record.get("B").is_none() && record["id"] == "1");
    }

    #[test]
    fn hashing_needs_a_key() {
        let rules = serde_json::from_value(json!([{"fields": ["A"], "action": "hash"}])).expect("rules");
        let config = TapConfig { field_policy: rules, ..TapConfig::default() };
        assert!(FieldPolicy::new(&config).is_err());
    }
}
