//! What Zoho says when it refuses a call, in each of the shapes it comes in.
//!
//! Bare, or as the first element of `data` (or another list), at any status, 200 included; in
//! capitals from the upload host; as `{"error": ...}` from the accounts host; as HTML from what
//! stands in between. Follows section "Status and Error Codes" of the v8 API.

use super::call::Call;
use super::error::{Error, ErrorKind};
use super::json;
use serde_json::Value;

/// Longest answer that is searched for a hidden refusal, in bytes; refusals are short.
const MAX_HIDDEN: usize = 64 * 1024;
/// Most characters of an unknown body that are shown.
const MAX_SNIPPET: usize = 200;

/// Code, message and details of a refusal; empty where Zoho gave none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) details: Value,
}

impl Refusal {
    /// Reads the body of an answer whose status says that it is a refusal.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self { message: snippet(body), ..Self::default() };
        };
        let refusal = Self::from_object(innermost(&value));
        if refusal == Self::default() { Self { message: snippet(body), ..refusal } } else { refusal }
    }

    /// Finds a refusal in an answer whose status says that all is well.
    pub(super) fn hidden_in(body: &[u8]) -> Option<Self> {
        let marker = b"\"error\"";
        if body.len() > MAX_HIDDEN || !body.windows(marker.len()).any(|window| window == marker) {
            return None;
        }
        let value: Value = serde_json::from_slice(body).ok()?;
        let object = innermost(&value);
        let is_error = json::text(object, "status").eq_ignore_ascii_case("error");
        // A record may have fields of these names too, but it has an id.
        let is_refusal = is_error && object["code"].is_string() && object["message"].is_string();
        (is_refusal && object["id"].is_null()).then(|| Self::from_object(object))
    }

    fn from_object(object: &Value) -> Self {
        let first =
            |keys: &[&str]| keys.iter().find_map(|key| json::optional_text(object, key)).unwrap_or_default();
        Self {
            code: first(&["code", "ERROR_CODE", "error"]),
            message: first(&["message", "x-error", "ERROR_MESSAGE", "error_description"]),
            details: object["details"].clone(),
        }
    }

    /// The error that this refusal is for this call.
    pub(super) fn into_error(self, call: &Call, status: u16) -> Error {
        let kind = kind_of(status, &self.code);
        let error = Error::new(kind, self.message).with_status(status).with_details(self.details);
        let error = if self.code.is_empty() { error } else { error.with_code(self.code) };
        let error = match kind {
            ErrorKind::SignIn => error.with_hint(
                "a fresh token is refused as well: the grant may be for another data center, environment or organisation",
            ),
            _ => error,
        };
        call.place(error)
    }
}

fn kind_of(status: u16, code: &str) -> ErrorKind {
    match (status, code) {
        (_, "OAUTH_SCOPE_MISMATCH" | "NO_PERMISSION" | "AUTHORIZATION_FAILED") | (403, _) => {
            ErrorKind::Permission
        }
        (401, _) | (_, "INVALID_TOKEN" | "AUTHENTICATION_FAILURE") => ErrorKind::SignIn,
        (429, _) | (_, "TOO_MANY_REQUESTS") => ErrorKind::Throttled,
        (500.., _) => ErrorKind::Service,
        (200..=399, "") => ErrorKind::Answer,
        _ => ErrorKind::Refused,
    }
}

/// The object that holds the code: the answer itself, or the first element of its list.
fn innermost(value: &Value) -> &Value {
    if !value["code"].is_null() || !value["ERROR_CODE"].is_null() {
        return value;
    }
    let lists = value.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_array());
    lists.filter_map(|list| list.first()).find(|element| !element["code"].is_null()).unwrap_or(value)
}

fn snippet(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_SNIPPET) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use crate::zoho::call::Call;
    use crate::zoho::error::ErrorKind;

    #[test]
    fn bare_and_wrapped_are_the_same() {
        let bare = r#"{"code":"INVALID_DATA","details":{"api_name":"Email"},"message":"invalid data","status":"error"}"#;
        let wrapped = format!(r#"{{"data":[{bare}]}}"#);
        assert_eq!(Refusal::read(bare.as_bytes()), Refusal::read(wrapped.as_bytes()));
        assert_eq!(Refusal::hidden_in(bare.as_bytes()), Some(Refusal::read(bare.as_bytes())));
        assert_eq!(Refusal::read(bare.as_bytes()).code, "INVALID_DATA");
    }

    #[test]
    fn records_are_no_refusals() {
        let record = br#"{"data":[{"id":"7","code":"A","status":"error","message":"x"}]}"#;
        assert_eq!(Refusal::hidden_in(record), None);
        assert_eq!(Refusal::hidden_in(br#"{"data":[],"info":{"error":null}}"#), None);
    }

    #[test]
    fn the_upload_host_and_html_are_understood() {
        let upload =
            br#"{"ERROR_CODE":"4031","ERROR_MESSAGE":"Bad Request","x-error":"X-CRM-ORG is missing"}"#;
        assert_eq!(Refusal::read(upload).message, "X-CRM-ORG is missing");
        assert_eq!(Refusal::read(b"<html>\n  Bad\n gateway</html>").message, "<html> Bad gateway</html>");
    }

    #[test]
    fn status_and_code_decide_the_kind() {
        let kind = |status, code: &str| {
            let refusal = Refusal { code: code.to_owned(), ..Refusal::default() };
            refusal.into_error(&Call::get("/crm/v8/Leads"), status).kind()
        };
        assert_eq!(kind(401, "OAUTH_SCOPE_MISMATCH"), ErrorKind::Permission);
        assert_eq!(kind(403, "NO_PERMISSION"), ErrorKind::Permission);
        assert_eq!(kind(401, "INVALID_TOKEN"), ErrorKind::SignIn);
        assert_eq!(kind(429, "TOO_MANY_REQUESTS"), ErrorKind::Throttled);
        assert_eq!(kind(502, ""), ErrorKind::Service);
        assert_eq!(kind(400, "INVALID_MODULE"), ErrorKind::Refused);
        assert_eq!(kind(200, "INVALID_DATA"), ErrorKind::Refused);
    }
}
