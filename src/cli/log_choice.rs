//! How much to log and in which form: what was typed, else what the environment says.
//!
//! Follows the Meltano SDK: `TAP_ZOHO_CRM_LOGLEVEL` and `LOGLEVEL` hold a level, and
//! `SINGER_SDK_LOG_CONFIG` names a file of Python's logging settings, of which the root's level and the
//! formatter are honoured. Meltano writes one for each run; it names the structured formatter for plugins
//! with the capability `structured-logging`. `LOGGING_CONF_FILE` is its older form.

use super::args::{LogArgs, LogFormat, LogLevel};
use serde_json::Value;
use std::path::Path;

/// How a program logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChoice {
    /// The program's name, which structured lines carry.
    pub program: &'static str,
    /// Least important lines.
    pub level: LogLevel,
    /// Text or JSON.
    pub format: LogFormat,
    /// What the environment says and nobody understands.
    pub complaints: Vec<String>,
}

impl LogChoice {
    /// What was typed goes first, then the most particular word of the environment.
    pub fn new(program: &'static str, args: &LogArgs, variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut complaints = Vec::new();
        let own = format!("{}_LOGLEVEL", program.to_uppercase().replace('-', "_"));
        let mut named = None;
        for name in [own.as_str(), "LOGLEVEL"] {
            let Some(word) = variable(name).filter(|word| !word.is_empty() && named.is_none()) else {
                continue;
            };
            named = level(&word);
            if named.is_none() {
                complaints.push(format!("`{name}` is `{word}`, which is no level, and is passed over"));
            }
        }
        let mut written = Written::default();
        for name in ["SINGER_SDK_LOG_CONFIG", "LOGGING_CONF_FILE"] {
            let Some(path) = variable(name).filter(|path| !path.is_empty()) else { continue };
            match std::fs::read_to_string(Path::new(&path)) {
                Ok(text) => written = written.or(Written::read(&text)),
                Err(error) => complaints.push(format!("`{name}` names `{path}`: {error}")),
            }
        }
        let structured = if written.structured { LogFormat::Json } else { LogFormat::Text };
        Self {
            program,
            level: args.log_level.or(named).or(written.level).unwrap_or(LogLevel::Info),
            format: args.log_format.unwrap_or(structured),
            complaints,
        }
    }
}

/// What a file of logging settings says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Written {
    level: Option<LogLevel>,
    structured: bool,
}

impl Written {
    /// Reads JSON, which Meltano writes, or YAML and INI, which people do: of these only the root
    /// logger's level, by its place, and the formatter's name.
    fn read(text: &str) -> Self {
        let structured = text.contains("singer_sdk.logging.StructuredFormatter");
        let level = match serde_json::from_str::<Value>(text) {
            Ok(json) => json["root"]["level"].as_str().and_then(level),
            Err(_) => root_level(text),
        };
        Self { level, structured }
    }

    fn or(self, other: Self) -> Self {
        Self { level: self.level.or(other.level), structured: self.structured || other.structured }
    }
}

/// The `level` below `root:` (YAML) or `[logger_root]` (INI).
fn root_level(text: &str) -> Option<LogLevel> {
    let is_head = |line: &str| !line.starts_with([' ', '\t']) && line.trim_end().ends_with([':', ']']);
    let mut lines = text.lines().skip_while(|line| !["root:", "[logger_root]"].contains(&line.trim_end()));
    lines.next()?;
    let below = lines.take_while(|line| !is_head(line));
    let mut pairs = below.filter_map(|line| line.trim().split_once([':', '=']));
    let (_, word) = pairs.find(|(key, _)| key.trim() == "level")?;
    level(word.trim().trim_matches(['"', '\'']))
}

/// A level by Python's name.
fn level(word: &str) -> Option<LogLevel> {
    match word.to_uppercase().as_str() {
        "CRITICAL" | "FATAL" | "ERROR" => Some(LogLevel::Error),
        "WARNING" | "WARN" => Some(LogLevel::Warn),
        "INFO" => Some(LogLevel::Info),
        "DEBUG" | "NOTSET" => Some(LogLevel::Debug),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(args: &LogArgs, variables: &[(&str, &str)]) -> LogChoice {
        let set = |name: &str| variables.iter().find(|(known, _)| *known == name);
        LogChoice::new("tap-zoho-crm", args, |name| set(name).map(|(_, value)| (*value).to_owned()))
    }

    const NOTHING: LogArgs = LogArgs { log_level: None, log_format: None };

    #[test]
    fn the_most_particular_word_counts() {
        let both = [("LOGLEVEL", "ERROR"), ("TAP_ZOHO_CRM_LOGLEVEL", "debug")];
        assert_eq!(choice(&NOTHING, &both).level, LogLevel::Debug);
        assert_eq!(choice(&NOTHING, &both[..1]).level, LogLevel::Error);
        let typed = LogArgs { log_level: Some(LogLevel::Warn), log_format: None };
        assert_eq!(choice(&typed, &both).level, LogLevel::Warn);
        assert_eq!(choice(&NOTHING, &[]).level, LogLevel::Info);
    }

    #[test]
    fn a_word_that_is_no_level_is_complained_of() {
        let odd = choice(&NOTHING, &[("LOGLEVEL", "loud")]);
        assert_eq!(odd.level, LogLevel::Info);
        assert_eq!(odd.complaints, ["`LOGLEVEL` is `loud`, which is no level, and is passed over"]);
    }

    #[test]
    fn files_of_three_forms_are_read() {
        let json = r#"{"formatters": {"f": {"()": "singer_sdk.logging.StructuredFormatter"}},
            "root": {"handlers": ["console"], "level": "DEBUG"}}"#;
        assert_eq!(Written::read(json), Written { level: Some(LogLevel::Debug), structured: true });
        let yaml = "version: 1\nloggers:\n  x:\n    level: ERROR\nroot:\n  level: WARNING\n  handlers: [a]\n";
        assert_eq!(Written::read(yaml).level, Some(LogLevel::Warn));
        let ini = "[loggers]\nkeys=root\n[logger_root]\nlevel=ERROR\nhandlers=a\n[handler_a]\nlevel=DEBUG\n";
        assert_eq!(Written::read(ini), Written { level: Some(LogLevel::Error), structured: false });
        assert_eq!(Written::read("[logger_root]\n[handler_a]\nlevel=DEBUG\n"), Written::default());
    }
}
