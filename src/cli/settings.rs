//! What the settings mean: files and environment laid over each other, checked against the JSON
//! Schema, turned into what the layers take.

use super::dotenv;
use super::explain::{Finding, findings, unknown_key};
use super::files;
use crate::error::SettingsError;
use crate::secret::Secret;
use crate::zoho::Connection;
use crate::zoho::api::org::Edition;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program with settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `tap-zoho-crm`.
    Tap,
    /// `target-zoho-crm`.
    Target,
    /// `zoho-crm`, which takes the settings of either.
    Operator,
    /// `source-zoho-crm`.
    Source,
    /// `destination-zoho-crm`.
    Destination,
}

/// Keys that platforms add to the settings of any connector: passed over.
const PLATFORM_KEYS: [&str; 14] = [
    "add_record_metadata",
    "batch_config",
    "batch_size_rows",
    "default_target_schema",
    "faker_config",
    "flattening_enabled",
    "flattening_max_depth",
    "hard_delete",
    "load_method",
    "process_activate_version_messages",
    "stream_map_config",
    "stream_maps",
    "target_schema",
    "validate_records",
];

const CONNECTION: &str = include_str!("../../schemas/connection.config.json");
const TAP: &str = include_str!("../../schemas/tap.config.json");
const TARGET: &str = include_str!("../../schemas/target.config.json");
const SOURCE: &str = include_str!("../../schemas/source.config.json");
const DESTINATION: &str = include_str!("../../schemas/destination.config.json");

/// Settings that mean nothing under Airbyte: its programs measure in their own way, have no messages for
/// them, write nothing else to stdout, or would need a folder that is kept between runs.
const NOT_FOR_AIRBYTE: [&str; 10] = [
    "activate_version",
    "batch_config",
    "deleted_records",
    "discover",
    "ignore_own_writes",
    "metrics",
    "reconcile",
    "refresh",
    "replay_states",
    "results",
];

impl Program {
    /// The JSON Schema of all its settings: those of the connection and its own.
    pub fn schema(self) -> Value {
        let parts: &[&str] = match self {
            Self::Tap => &[CONNECTION, TAP],
            Self::Target => &[CONNECTION, TARGET],
            Self::Operator => &[CONNECTION, TAP, TARGET],
            Self::Source => &[CONNECTION, TAP, SOURCE],
            Self::Destination => &[CONNECTION, TARGET, DESTINATION],
        };
        let parts =
            parts.iter().map(|part| serde_json::from_str::<Value>(part).expect("the schemas are JSON"));
        let mut whole = parts.reduce(|first, second| self.merge(first, second)).expect("there is a part");
        whole["description"] =
            format!("Every setting of {}.", whole["title"].as_str().unwrap_or_default()).into();
        whole["additionalProperties"] = (self == Self::Operator).into();
        if let (true, Some(properties)) = (self.is_airbyte(), whole["properties"].as_object_mut()) {
            properties.retain(|key, _| !NOT_FOR_AIRBYTE.contains(&key.as_str()));
        }
        whole
    }

    /// The second schema's title, and the properties of both. The tool that takes the settings of either
    /// program does not check what means something else to each; elsewhere the more particular one holds.
    fn merge(self, mut first: Value, mut second: Value) -> Value {
        first["title"] = second["title"].take();
        for key in ["$defs", "properties"] {
            let Some(Value::Object(more)) = second.get_mut(key).map(Value::take) else { continue };
            for (name, schema) in more {
                let is_open = self == Self::Operator && first[key].get(&name).is_some();
                first[key][&name] = if is_open { Value::Bool(true) } else { schema };
            }
        }
        first
    }

    fn is_airbyte(self) -> bool {
        matches!(self, Self::Source | Self::Destination)
    }

    /// Where every key is explained.
    pub fn explained(self) -> &'static str {
        match self {
            Self::Tap | Self::Operator => "`tap-zoho-crm --about=markdown` explains every key",
            Self::Target => "`target-zoho-crm --about=markdown` explains every key",
            Self::Source => "`source-zoho-crm spec` explains every key",
            Self::Destination => "`destination-zoho-crm spec` explains every key",
        }
    }

    /// What the names of its environment variables begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Tap => "TAP_ZOHO_CRM_",
            Self::Target => "TARGET_ZOHO_CRM_",
            Self::Operator | Self::Source | Self::Destination => "ZOHO_CRM_",
        }
    }
}

/// Checked settings of a program.
#[derive(Debug, Clone)]
pub struct Settings {
    program: Program,
    whole: Map<String, Value>,
    /// As they stood in the last file.
    given: Map<String, Value>,
    /// Which file each key came from, for messages.
    origins: HashMap<String, String>,
    last_origin: String,
}

impl Settings {
    /// Reads the files in order, later ones winning, and checks what comes out.
    ///
    /// # Errors
    /// When a file cannot be read, a variable is not set, or a value is not what the schema allows.
    pub fn load(program: Program, configs: &[PathBuf]) -> Result<Self, SettingsError> {
        if configs.is_empty() {
            return Err(SettingsError::Usage {
                message: "no settings are given".into(),
                hint: format!("name a JSON file with `--config`; {}", program.explained()),
            });
        }
        let schema = program.schema();
        let last_origin = configs.last().map(|path| path.display().to_string()).unwrap_or_default();
        let mut loaded =
            Self { program, whole: Map::new(), given: Map::new(), origins: HashMap::new(), last_origin };
        for path in configs {
            let (settings, by_hand) = match path.to_str() {
                Some("ENV") => (from_environment(program, &schema)?, false),
                _ => (from_file(path)?, true),
            };
            let origin = path.display().to_string();
            for (key, value) in known_keys(settings, &schema, program, &origin, by_hand)? {
                loaded.origins.insert(key.clone(), origin.clone());
                loaded.whole.insert(key, value);
            }
        }
        loaded.check(&schema)?;
        Ok(loaded)
    }

    /// Reads the file that a platform made of what a form holds: nulls are absent, texts of JSON stand for
    /// what a form cannot show, nothing is taken from the environment, and keys of others are passed over.
    ///
    /// # Errors
    /// When the file cannot be read, or a value is not what the schema allows.
    pub fn from_platform(program: Program, path: &Path) -> Result<Self, SettingsError> {
        let schema = program.schema();
        let origin = path.display().to_string();
        let given = object(path, files::json(path)?)?;
        let value = |key: &str, value: &Value| match value {
            Value::String(text) => typed(&schema["properties"][key], text.clone()),
            other => without_nulls(other),
        };
        let there = given.iter().filter(|(_, value)| !value.is_null() && **value != json!(""));
        let whole: Map<_, _> = there.map(|(key, found)| (key.clone(), value(key, found))).collect();
        let (origins, last_origin) = (HashMap::new(), origin.clone());
        if let Some(key) = NOT_FOR_AIRBYTE.into_iter().find(|key| whole.contains_key(*key)) {
            let what =
                format!("/{key}: it is a setting of the Singer programs and means nothing under Airbyte");
            return Err(SettingsError::Invalid { origin, what, hint: Some(program.explained().to_owned()) });
        }
        let whole = known_keys(whole, &schema, program, &origin, false)?;
        let loaded = Self { program, whole, given, origins, last_origin };
        loaded.check(&schema)?;
        Ok(loaded)
    }

    /// What the last file held, word for word.
    pub fn given(&self) -> &Map<String, Value> {
        &self.given
    }

    /// Whether a setting is on.
    pub fn flag(&self, key: &str) -> bool {
        self.whole.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    fn check(&self, schema: &Value) -> Result<(), SettingsError> {
        let findings = findings(schema, &Value::Object(self.whole.clone()));
        let Some(first) = findings.first() else { return self.check_sign_in() };
        let what: Vec<String> = findings.iter().map(Finding::text).collect();
        let advice = first.advice.as_deref().map(|advice| with_more(advice, self.program.explained()));
        Err(SettingsError::Invalid {
            origin: self.origin(&first.pointer).to_owned(),
            what: what.join("\n  "),
            hint: advice.or_else(|| Some(self.program.explained().to_owned())),
        })
    }

    fn check_sign_in(&self) -> Result<(), SettingsError> {
        if self.whole.contains_key("refresh_token") || self.whole.contains_key("grant_code") {
            return Ok(());
        }
        let hint = "README, \"Your own account\", shows how to get one";
        Err(self.invalid("", "\"refresh_token\" is missing (or \"grant_code\")".into(), Some(hint.into())))
    }

    /// The file that a key came from, by JSON pointer.
    fn origin(&self, pointer: &str) -> &str {
        let key = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
        self.origins.get(key).unwrap_or(&self.last_origin)
    }

    /// An error about the setting at `pointer`.
    pub fn invalid(&self, pointer: &str, what: String, hint: Option<String>) -> SettingsError {
        let what = if pointer.is_empty() { what } else { format!("{pointer}: {what}") };
        SettingsError::Invalid { origin: self.origin(pointer).to_owned(), what, hint }
    }

    /// Whether measurements are asked for.
    pub fn metrics(&self) -> bool {
        self.at("/metrics").and_then(Value::as_bool).unwrap_or_default()
    }

    /// All settings, as one object.
    pub fn whole(&self) -> Value {
        Value::Object(self.whole.clone())
    }

    /// A program's own settings.
    ///
    /// # Errors
    /// When a value passed the schema and still is none that the program can use.
    pub fn own<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        serde_json::from_value(self.whole()).map_err(|error| self.invalid("", error.to_string(), None))
    }

    /// Where memory between runs is kept.
    pub fn state_dir(&self) -> PathBuf {
        self.text("state_dir").map_or_else(default_state_dir, PathBuf::from)
    }

    /// The settings of the connection.
    ///
    /// # Errors
    /// When a value passed the schema and still is none that the client can use.
    pub fn connection(&self) -> Result<Connection, SettingsError> {
        let secret = |key: &str| self.text(key).map(Secret::new);
        let id = self.text("client_id").unwrap_or_default();
        let mut connection =
            Connection::new(id, secret("client_secret").unwrap_or_else(|| Secret::new("")), self.state_dir());
        connection.refresh_token = secret("refresh_token");
        connection.grant_code = secret("grant_code");
        if let Some(data_center) = self.read("data_center")? {
            connection.data_center = data_center;
        }
        if let Some(environment) = self.read("environment")? {
            connection.environment = environment;
        }
        connection.api_url = self.text("api_url").map(str::to_owned);
        connection.accounts_url = self.text("accounts_url").map(str::to_owned);
        connection.content_url = self.text("content_url").map(str::to_owned);
        connection.max_concurrency = self.read("max_concurrency")?;
        if let Some(downloads) = self.read("downloads_per_minute")? {
            connection.downloads_per_minute = downloads;
        }
        if let Some(user_agent) = self.text("user_agent") {
            connection.user_agent = user_agent.to_owned();
        }
        connection.ca_file = self.text("ca_file").map(PathBuf::from);
        connection.credits.per_run = self.at("/api_credits/per_run").and_then(Value::as_u64);
        connection.credits.reserve_percent =
            self.read_at("/api_credits/reserve_percent")?.unwrap_or_default();
        connection.credits.per_day = self.read("daily_credits")?;
        connection.credits.addon = self.read("addon_credits")?.unwrap_or_default();
        connection.credits.edition = self.text("product_edition").map(Edition::from_paid_type);
        connection.credits.users = self.read("user_count")?.unwrap_or_default();
        let retry = &mut connection.retry;
        retry.max_attempts = self.read_at("/retry/max_attempts")?.unwrap_or(retry.max_attempts);
        let seconds = |pointer: &str| self.at(pointer).and_then(Value::as_f64).map(Duration::from_secs_f64);
        retry.base = seconds("/retry/first_pause_seconds").unwrap_or(retry.base);
        retry.cap = seconds("/retry/longest_pause_seconds").unwrap_or(retry.cap).max(retry.base);
        Ok(connection)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.whole.get(key).and_then(Value::as_str)
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        let (key, rest) = pointer[1..].split_once('/').unwrap_or((&pointer[1..], ""));
        self.whole.get(key)?.pointer(&if rest.is_empty() { String::new() } else { format!("/{rest}") })
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SettingsError> {
        self.read_at(&format!("/{key}"))
    }

    fn read_at<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, SettingsError> {
        let read = self.at(pointer).map(|value| serde_json::from_value(value.clone())).transpose();
        read.map_err(|error| self.invalid(pointer, error.to_string(), None))
    }
}

/// The user's folder for what programs remember between runs.
fn default_state_dir() -> PathBuf {
    let set =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local").join("state")));
    base.unwrap_or_else(std::env::temp_dir).join("zoho-crm")
}

fn from_file(path: &Path) -> Result<Map<String, Value>, SettingsError> {
    let origin = path.display().to_string();
    let mut settings = object(path, files::json(path)?)?;
    for (key, value) in &mut settings {
        substitute(value, &format!("/{key}"), &origin)?;
    }
    Ok(settings)
}

fn object(path: &Path, document: Value) -> Result<Map<String, Value>, SettingsError> {
    match document {
        Value::Object(settings) => Ok(settings),
        other => {
            // What stands there may be a secret, so it is not shown.
            let kind = if other.is_array() { "a list" } else { "a single value" };
            let what = format!("settings are an object of keys and values, and this is {kind}");
            Err(SettingsError::Invalid { origin: path.display().to_string(), what, hint: None })
        }
    }
}

/// A value without the nulls that a form leaves in objects.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let there = entries.iter().filter(|(_, value)| !value.is_null());
            there.map(|(key, value)| (key.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Puts the environment's variables into strings: `${NAME}`; `$${NAME}` stands for the text itself.
fn substitute(value: &mut Value, pointer: &str, origin: &str) -> Result<(), SettingsError> {
    match value {
        Value::String(text) => *text = substituted(text, pointer, origin)?,
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                substitute(item, &format!("{pointer}/{at}"), origin)?;
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                substitute(item, &format!("{pointer}/{key}"), origin)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn substituted(text: &str, pointer: &str, origin: &str) -> Result<String, SettingsError> {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((variable, behind)) = after.split_once('}') else { break };
        if let Some(before) = before.strip_suffix('$') {
            done.extend([before, "${", variable, "}"]);
        } else {
            let value = std::env::var(variable).map_err(|_| SettingsError::Variable {
                origin: origin.to_owned(),
                pointer: pointer.to_owned(),
                variable: variable.to_owned(),
            })?;
            done.extend([before, &value]);
        }
        rest = behind;
    }
    done.push_str(rest);
    Ok(done)
}

/// Settings from the environment, and below it from `.env` of the working folder:
/// `TAP_ZOHO_CRM_CLIENT_ID` is `client_id`. What is no string by the schema is read as JSON.
fn from_environment(program: Program, schema: &Value) -> Result<Map<String, Value>, SettingsError> {
    let path = PathBuf::from(".env");
    let mut variables =
        dotenv::read(&path).map_err(|source| SettingsError::Unreadable { path: path.clone(), source })?;
    variables.extend(std::env::vars());
    let read = |(name, value): (String, String)| {
        let key = name.strip_prefix(program.prefix())?.to_lowercase();
        // How much to log is told in the same way and is no setting.
        (key != "loglevel").then(|| (key.clone(), typed(&schema["properties"][&key], value)))
    };
    Ok(variables.into_iter().filter_map(read).collect())
}

/// A variable as its property wants it; truth in the words that the Meltano SDK takes.
fn typed(property: &Value, value: String) -> Value {
    if property["type"] == "boolean" {
        return match value.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true.into(),
            "false" | "0" | "no" | "off" => false.into(),
            _ => value.into(),
        };
    }
    let is_text = property["type"] == "string" || property.get("enum").is_some();
    let json = (!is_text).then(|| serde_json::from_str(&value).ok()).flatten();
    json.unwrap_or(Value::String(value))
}

/// Refuses keys nobody knows in a file written by hand; elsewhere, and where a platform is known to
/// add them, they are passed over with a warning.
fn known_keys(
    settings: Map<String, Value>,
    schema: &Value,
    program: Program,
    origin: &str,
    by_hand: bool,
) -> Result<Map<String, Value>, SettingsError> {
    let properties = schema["properties"].as_object().expect("the schema has properties");
    let open = schema["additionalProperties"] == Value::Bool(true);
    let mut known = Map::new();
    for (key, value) in settings {
        if properties.contains_key(&key) || open {
            known.insert(key, value);
        } else if !by_hand || PLATFORM_KEYS.contains(&key.as_str()) {
            tracing::warn!("setting `{key}` is not one of ours and is passed over");
        } else {
            let names: Vec<&str> = properties.keys().map(String::as_str).collect();
            let finding = unknown_key("", &key, &names);
            let explained = program.explained();
            let hint =
                finding.advice.as_deref().map_or(explained.to_owned(), |text| with_more(text, explained));
            let (origin, what) = (origin.to_owned(), finding.text());
            return Err(SettingsError::Invalid { origin, what, hint: Some(hint) });
        }
    }
    Ok(known)
}

/// Advice, and where there is more of it.
fn with_more(advice: &str, more: &str) -> String {
    let glue = if advice.ends_with('?') { "" } else { ";" };
    format!("{advice}{glue} {more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_valid_and_every_property_explained() {
        for program in
            [Program::Tap, Program::Target, Program::Operator, Program::Source, Program::Destination]
        {
            let schema = program.schema();
            assert!(jsonschema::meta::is_valid(&schema), "{program:?}");
            for (key, property) in schema["properties"].as_object().expect("has properties") {
                assert!(property == true || property["description"].is_string(), "{key}");
            }
        }
    }

    #[test]
    fn variables_are_put_in_and_a_missing_one_is_named() {
        let home = std::env::var("PATH").expect("PATH is set");
        assert_eq!(substituted("a ${PATH} b", "/x", "c.json").expect("is set"), format!("a {home} b"));
        assert_eq!(substituted("$${PATH} $5 ${", "/x", "c.json").expect("nothing to do"), "${PATH} $5 ${");
        let missing = substituted("${NOBODY_SETS_THIS}", "/client_secret", "c.json").expect_err("is not set");
        assert_eq!(
            missing.to_string(),
            "c.json: /client_secret names the environment variable `NOBODY_SETS_THIS`, which is not set"
        );
    }
}
