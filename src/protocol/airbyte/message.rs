//! Messages that stand alone: each an object `{"type": …, <payload>}` of one line.
//!
//! Camel and snake case are mixed as the protocol mixes them. `emitted_at` counts milliseconds.

use crate::diagnostic::{Diagnostic, ErrorClass, Report, causes};
use serde_json::{Value, json};

/// A line of the log; `level` is `FATAL`, `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
pub fn log(level: &str, message: &str) -> Value {
    json!({"type": "LOG", "log": {"level": level, "message": message}})
}

/// What a connector is and may be told.
pub fn spec(spec: Value) -> Value {
    json!({"type": "SPEC", "spec": spec})
}

/// Whether the settings work; if not, why.
pub fn connection_status(outcome: Result<(), String>) -> Value {
    let status = match outcome {
        Ok(()) => json!({"status": "SUCCEEDED"}),
        Err(message) => json!({"status": "FAILED", "message": message}),
    };
    json!({"type": "CONNECTION_STATUS", "connectionStatus": status})
}

/// The settings to keep from now on: all of them, since a platform replaces what it has.
pub fn connector_config(config: &Value, emitted_at: i64) -> Value {
    json!({"type": "CONTROL", "control": {"type": "CONNECTOR_CONFIG", "emitted_at": emitted_at,
        "connectorConfig": {"config": config}}})
}

/// How far a stream is: `STARTED`, `RUNNING`, `COMPLETE` or `INCOMPLETE`.
pub fn stream_status(stream: &str, status: &str, emitted_at: i64) -> Value {
    json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": emitted_at,
        "stream_status": {"stream_descriptor": {"name": stream}, "status": status}}})
}

/// A failure, of one stream or of the whole run.
pub fn error(error: &dyn Diagnostic, stream: Option<&str>, emitted_at: i64) -> Value {
    let mut said = json!({
        "message": words(error),
        "internal_message": Report(error).to_string(),
        "failure_type": failure_type(error.class()),
    });
    if let Some(stream) = stream {
        said["stream_descriptor"] = json!({"name": stream});
    }
    json!({"type": "TRACE", "trace": {"type": "ERROR", "emitted_at": emitted_at, "error": said}})
}

/// An error with its causes and what to do, as one text.
pub fn words(error: &dyn Diagnostic) -> String {
    let mut text = error.to_string();
    for cause in causes(error).filter(|cause| !text.contains(cause.as_str())).collect::<Vec<_>>() {
        text.push_str(&format!(": {cause}"));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!(" (hint: {hint})"));
    }
    text
}

/// Whose turn it is: the person's who set the connector up, nobody's but time's, or ours.
fn failure_type(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Config | ErrorClass::Auth | ErrorClass::Permission | ErrorClass::Rejected => {
            "config_error"
        }
        ErrorClass::Quota | ErrorClass::Retriable | ErrorClass::Closed | ErrorClass::Interrupted => {
            "transient_error"
        }
        ErrorClass::Protocol | ErrorClass::Data | ErrorClass::InDoubt | ErrorClass::Internal => {
            "system_error"
        }
    }
}
