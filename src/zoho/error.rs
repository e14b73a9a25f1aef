//! What goes wrong between us and Zoho, and what to do about it.
//!
//! One [`Error`] for the layer, one pointer wide. Its fields carry the facts of the failed call
//! (kind, Zoho's code, status, module, field, job, attempts); the message is built from them, the
//! advice is [`Diagnostic::hint`]. Follows the page "Status and Error Codes" of the v8 API. No
//! secret, and no query that might hold one, is kept.

use super::types::Method;
use crate::diagnostic::{Diagnostic, ErrorClass};
use serde_json::Value;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Which part of the conversation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting of the connection that cannot work.
    #[error("the connection settings cannot work")]
    Config,
    /// The accounts host refused client, secret, code or refresh token.
    #[error("Zoho refused the sign-in")]
    SignIn,
    /// Too many access tokens were asked for; Zoho gives ten per ten minutes.
    #[error("Zoho gives no more access tokens for now")]
    TokenThrottle,
    /// Signed in, but the user or the scopes may not do it.
    #[error("Zoho does not allow it")]
    Permission,
    /// API credits, or a limit of our own on them, are used up.
    #[error("API credits are used up")]
    Quota,
    /// Refused with 429 until patience ran out, with no sign of missing credits.
    #[error("Zoho answered `too many requests` for too long")]
    Throttled,
    /// Zoho failed (5xx).
    #[error("Zoho failed")]
    Service,
    /// No connection, a timeout, a broken connection.
    #[error("the network failed")]
    Network,
    /// Zoho refused the call; `code` says why.
    #[error("Zoho refused the call")]
    Refused,
    /// An answer that is not what the API describes.
    #[error("Zoho's answer is not understood")]
    Answer,
    /// A file that ended early or differs from its announced length, after all attempts.
    #[error("the download is not whole")]
    Download,
    /// A file of ours (state folder, upload, download target) that cannot be read or written.
    #[error("a local file cannot be used")]
    File,
    /// An address that may not see our token.
    #[error("the address is not one of Zoho's")]
    ForeignHost,
}

/// A failed call, with all that is known about it.
pub struct Error(Box<Facts>);

struct Facts {
    kind: ErrorKind,
    code: Option<String>,
    status: Option<u16>,
    message: String,
    details: Value,
    module: Option<String>,
    field: Option<String>,
    job_id: Option<String>,
    call: Option<(Method, String)>,
    attempts: u32,
    elapsed: Duration,
    in_doubt: bool,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that says `message`; the other facts are added by the `with_` methods.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            kind,
            code: None,
            status: None,
            message: message.into(),
            details: Value::Null,
            module: None,
            field: None,
            job_id: None,
            call: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            in_doubt: false,
            hint: None,
            source: None,
        }))
    }

    /// Which part of the conversation failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Zoho's code, such as `INVALID_MODULE`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// What the server, or the failing part of ours, said.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Zoho's `details`, or null.
    pub fn details(&self) -> &Value {
        &self.0.details
    }

    /// The module the call was about.
    pub fn module(&self) -> Option<&str> {
        self.0.module.as_deref()
    }

    /// The field or parameter Zoho complains about.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The bulk job the call was about.
    pub fn job_id(&self) -> Option<&str> {
        self.0.job_id.as_deref()
    }

    /// Verb and path of the call, without its query.
    pub fn call(&self) -> Option<(Method, &str)> {
        self.0.call.as_ref().map(|(method, path)| (*method, path.as_str()))
    }

    /// How often the call was sent or tried to be sent.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Time from the first attempt to giving up.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }

    /// True for a write that was sent and not (or not fully) answered: it may have been executed.
    pub fn in_doubt(&self) -> bool {
        self.0.in_doubt
    }

    pub(super) fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(super) fn with_details(mut self, details: Value) -> Self {
        self.0.field = field_of(&details);
        self.0.details = details;
        self
    }

    pub(super) fn with_module(mut self, module: &str) -> Self {
        self.0.module = Some(module.to_owned());
        self
    }

    pub(super) fn with_job(mut self, job_id: &str) -> Self {
        self.0.job_id = Some(job_id.to_owned());
        self
    }

    pub(super) fn with_call(mut self, method: Method, path: &str) -> Self {
        self.0.call = Some((method, path.to_owned()));
        self
    }

    pub(super) fn with_effort(mut self, attempts: u32, elapsed: Duration) -> Self {
        self.0.attempts = attempts;
        self.0.elapsed = elapsed;
        self
    }

    /// Adds to the message where something was asked.
    pub(super) fn with_place(mut self, place: &str) -> Self {
        let said = std::mem::take(&mut self.0.message);
        self.0.message = if said.is_empty() { place.to_owned() } else { format!("{said}; {place}") };
        self
    }

    pub(super) fn with_doubt(mut self) -> Self {
        self.0.in_doubt = true;
        self
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(super) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

/// The name that `details` blames, under whichever key it comes.
fn field_of(details: &Value) -> Option<String> {
    ["api_name", "param_name", "param", "column_name"]
        .iter()
        .find_map(|key| details[key].as_str())
        .map(str::to_owned)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.0;
        write!(f, "{}", facts.kind)?;
        match (&facts.code, facts.status) {
            (Some(code), _) => write!(f, " ({code})")?,
            (None, Some(status)) => write!(f, " (status {status})")?,
            (None, None) => {}
        }
        if !facts.message.is_empty() {
            write!(f, ": {}", facts.message)?;
        }
        if let Some(field) = facts.field.as_ref().filter(|field| !facts.message.contains(field.as_str())) {
            write!(f, ", about `{field}`")?;
        }
        if let Some((method, path)) = &facts.call {
            write!(f, ", in `{method} {path}`")?;
        }
        if let Some(job_id) = facts.job_id.as_ref().filter(|id| !facts.call_names(id)) {
            write!(f, ", job `{job_id}`")?;
        }
        if let Some(module) = facts.module.as_ref().filter(|module| !facts.names(module)) {
            write!(f, ", module `{module}`")?;
        }
        if facts.attempts > 1 {
            write!(f, ", after {} attempts in {:.1} s", facts.attempts, facts.elapsed.as_secs_f32())?;
        }
        if facts.in_doubt {
            f.write_str("; the call may have been executed")?;
        }
        Ok(())
    }
}

impl Facts {
    /// Whether the field or the path already shows the module.
    fn names(&self, module: &str) -> bool {
        self.field.as_deref() == Some(module) || self.call_names(module)
    }

    /// Whether the path already shows `part`.
    fn call_names(&self, part: &str) -> bool {
        self.call.as_ref().is_some_and(|(_, path)| path.split('/').any(|piece| piece == part))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("status", &self.0.status)
            .field("message", &self.to_string())
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl Diagnostic for Error {
    fn class(&self) -> ErrorClass {
        if self.0.in_doubt {
            return ErrorClass::InDoubt;
        }
        match self.0.kind {
            ErrorKind::Config | ErrorKind::File | ErrorKind::ForeignHost => ErrorClass::Config,
            ErrorKind::SignIn => ErrorClass::Auth,
            ErrorKind::Permission => ErrorClass::Permission,
            ErrorKind::Quota => ErrorClass::Quota,
            ErrorKind::TokenThrottle
            | ErrorKind::Throttled
            | ErrorKind::Service
            | ErrorKind::Network
            | ErrorKind::Answer
            | ErrorKind::Download => ErrorClass::Retriable,
            ErrorKind::Refused if names_a_setting(self.code()) => ErrorClass::Config,
            ErrorKind::Refused => ErrorClass::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        self.0.hint.clone().or_else(|| default_hint(self))
    }
}

/// Codes that blame what was configured rather than the data.
fn names_a_setting(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "INVALID_MODULE"
                | "INVALID_HOST"
                | "INVALID_URL_PATTERN"
                | "API_NOT_SUPPORTED"
                | "INVALID_REQUEST_METHOD"
        )
    )
}

/// Advice that follows from the facts alone.
fn default_hint(error: &Error) -> Option<String> {
    let text = match (error.kind(), error.code()) {
        (_, Some("OAUTH_SCOPE_MISMATCH")) => {
            let (method, path) = error.call().unwrap_or((Method::Get, ""));
            format!("the grant lacks a scope; this call needs {}; sign in again with it", scope_for(method, path))
        }
        (_, Some("NO_PERMISSION")) => permission_hint(error.details()),
        (ErrorKind::Permission, _) => "the user's profile does not allow this; ask an administrator of the organisation".into(),
        (_, Some("INVALID_MODULE")) => "`zoho-crm modules` lists the modules this user can reach, by API name".into(),
        (ErrorKind::Quota, _) => "credits free up exactly 24 hours after their use; `zoho-crm check` shows what is left".into(),
        (ErrorKind::Throttled, _) => {
            "other programs may use the organisation's pool of simultaneous calls; lower `max_concurrency`, or try again later".into()
        }
        (ErrorKind::TokenThrottle, _) => "wait ten minutes; programs that share `state_dir` share one token".into(),
        (ErrorKind::Network, _) if !error.in_doubt() => {
            "check the network, the proxy (`HTTPS_PROXY`) and the address, and start again; what is done stays done".into()
        }
        (ErrorKind::Service, _) if !error.in_doubt() => "start again later; what is done stays done".into(),
        _ => return None,
    };
    Some(text)
}

fn permission_hint(details: &Value) -> String {
    let missing: Vec<&str> =
        super::json::list(&details["permissions"]).iter().filter_map(Value::as_str).collect();
    if missing.is_empty() {
        "the user's profile does not allow this; ask an administrator of the organisation".into()
    } else {
        format!("the user's profile lacks {}; ask an administrator of the organisation", missing.join(", "))
    }
}

/// The OAuth scope a call needs, by the page "OAuth, Scopes".
pub(super) fn scope_for(method: Method, path: &str) -> String {
    let operation = match method {
        Method::Get => "READ",
        Method::Post => "CREATE",
        Method::Put | Method::Patch => "UPDATE",
        Method::Delete => "DELETE",
    };
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["crm", "bulk", _, "read", ..] => "`ZohoCRM.bulk.READ` and `ZohoCRM.modules.READ`".into(),
        ["crm", "bulk", ..] => "`ZohoCRM.bulk.CREATE` and `ZohoCRM.modules.CREATE`".into(),
        ["crm", _, "upload", ..] => "`ZohoFiles.files.ALL`".into(),
        ["crm", _, "coql", ..] => "`ZohoCRM.coql.READ` and `ZohoCRM.modules.READ`".into(),
        ["crm", _, "org", ..] => format!("`ZohoCRM.org.{operation}`"),
        ["crm", _, "users", ..] => format!("`ZohoCRM.users.{operation}`"),
        ["crm", _, "settings", group, ..] => format!("`ZohoCRM.settings.{group}.{operation}`"),
        ["crm", _, module, "actions", "count"] => format!(
            "`ZohoCRM.modules.{}.READ`, `ZohoSearch.securesearch.READ` and `ZohoCRM.settings.layouts.READ`",
            scope_name(module)
        ),
        ["crm", _, module, ..] => format!("`ZohoCRM.modules.{}.{operation}`", scope_name(module)),
        _ => "`ZohoCRM.modules.ALL`".into(),
    }
}

/// Scopes spell modules in lower case without underscores.
fn scope_name(module: &str) -> String {
    module.to_ascii_lowercase().replace('_', "")
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind, scope_for};
    use crate::diagnostic::{Diagnostic, ErrorClass};
    use crate::zoho::types::Method;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn message_names_call_code_and_field() {
        let error = Error::new(ErrorKind::Refused, "invalid data")
            .with_code("INVALID_DATA")
            .with_status(400)
            .with_details(json!({"api_name": "Email"}))
            .with_module("Leads")
            .with_call(Method::Post, "/crm/v8/Leads")
            .with_effort(3, Duration::from_millis(4500));
        assert_eq!(
            error.to_string(),
            "Zoho refused the call (INVALID_DATA): invalid data, about `Email`, in `POST /crm/v8/Leads`, after 3 attempts in 4.5 s"
        );
        assert_eq!(error.class(), ErrorClass::Data);
        assert_eq!(error.field(), Some("Email"));
    }

    #[test]
    fn doubt_decides_the_class() {
        let error = Error::new(ErrorKind::Network, "connection reset").with_doubt();
        assert_eq!(error.class(), ErrorClass::InDoubt);
        assert!(error.to_string().ends_with("; the call may have been executed"));
    }

    #[test]
    fn hints_name_scope_and_permission() {
        let scope = Error::new(ErrorKind::Permission, "")
            .with_code("OAUTH_SCOPE_MISMATCH")
            .with_call(Method::Post, "/crm/bulk/v8/read");
        assert!(scope.hint().is_some_and(|hint| hint.contains("`ZohoCRM.bulk.READ`")));
        let permission = Error::new(ErrorKind::Permission, "")
            .with_code("NO_PERMISSION")
            .with_details(json!({"permissions": ["Crm_Implied_View_Cases"]}));
        assert!(permission.hint().is_some_and(|hint| hint.contains("Crm_Implied_View_Cases")));
        assert_eq!(scope_for(Method::Put, "/crm/v8/Sales_Orders"), "`ZohoCRM.modules.salesorders.UPDATE`");
        assert_eq!(scope_for(Method::Get, "/crm/v8/settings/fields"), "`ZohoCRM.settings.fields.READ`");
    }
}
