//! Answers: JSON bodies written as text, and Zoho's error envelope.
//!
//! Codes and statuses follow section "Errors and status codes" of the API reference. Request-level
//! errors are bare objects; per-record errors are elements of `data`.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

/// An answer of the emulator, good or bad.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body; empty for 204 and 304.
    pub body: Vec<u8>,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

/// What a handler gives back: both sides are answers, the `Err` side ends the work early.
pub type Answer = Result<Reply, Reply>;

impl Reply {
    /// A JSON body that is already text.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            content_type: "application/json;charset=UTF-8",
            headers: Vec::new(),
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Json) -> Self {
        Self::text(status, body.to_string())
    }

    /// A status without a body: 204 for an empty list, 304 for nothing newer.
    pub fn empty(status: u16) -> Self {
        Self::text(status, Vec::new())
    }

    /// Bytes of another kind, such as a zip.
    pub fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { content_type, ..Self::text(status, body) }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A request-level error.
    pub fn error(status: u16, code: &str, message: &str, details: Json) -> Self {
        Self::json(status, &envelope(code, message, details))
    }

    /// 400 `INVALID_MODULE`.
    pub fn invalid_module(api_name: &str) -> Self {
        let message = "the module name given seems to be invalid";
        Self::error(400, "INVALID_MODULE", message, json!({"resource_path_index": 0, "api_name": api_name}))
    }

    /// 404 `INVALID_URL_PATTERN`.
    pub fn invalid_url() -> Self {
        Self::error(
            404,
            "INVALID_URL_PATTERN",
            "Please check if the URL trying to access is a correct one",
            json!({}),
        )
    }

    /// 400 `INVALID_REQUEST_METHOD`.
    pub fn invalid_method() -> Self {
        let message = "The http request method type is not a valid one";
        Self::error(400, "INVALID_REQUEST_METHOD", message, json!({}))
    }

    /// 400 `REQUIRED_PARAM_MISSING`.
    pub fn param_missing(name: &str) -> Self {
        let message = "One of the expected parameter is missing";
        Self::error(400, "REQUIRED_PARAM_MISSING", message, json!({"param_name": name, "param": name}))
    }

    /// 400 `INVALID_DATA` about a parameter.
    pub fn invalid_param(name: &str, message: &str) -> Self {
        Self::error(400, "INVALID_DATA", message, json!({"param_name": name}))
    }

    /// 400 `INVALID_DATA` about the body: it is no JSON object, or a key has the wrong type.
    pub fn invalid_body(key: &str, expected: &str) -> Self {
        let details =
            json!({"expected_data_type": expected, "api_name": key, "json_path": format!("$.{key}")});
        Self::error(400, "INVALID_DATA", "invalid data", details)
    }

    /// 400 `MANDATORY_NOT_FOUND` about a key of the body.
    pub fn key_missing(key: &str) -> Self {
        let details = json!({"api_name": key, "json_path": format!("$.{key}")});
        Self::error(400, "MANDATORY_NOT_FOUND", "required field not found", details)
    }

    /// 400 `LIMIT_EXCEEDED`.
    pub fn limit_exceeded(details: Json, message: &str) -> Self {
        Self::error(400, "LIMIT_EXCEEDED", message, details)
    }

    /// 403 `NO_PERMISSION`.
    pub fn no_permission(permission: &str) -> Self {
        let details = json!({"permissions": [permission]});
        Self::error(403, "NO_PERMISSION", "permission denied", details)
    }

    /// 429 `TOO_MANY_REQUESTS`.
    pub fn too_many_requests() -> Self {
        Self::error(429, "TOO_MANY_REQUESTS", "too many requests, try later", json!({}))
    }
}

/// Zoho's error envelope, bare or as an element of a list.
pub fn envelope(code: &str, message: &str, details: Json) -> Json {
    json!({"code": code, "details": details, "message": message, "status": "error"})
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !matches!(self.status, 204 | 304) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// Appends a text as a JSON string.
pub fn push_json_text(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (0, 0);
    out.push('"');
    // An index instead of an iterator: this loop sees every byte of every answer, and test builds
    // do not inline iterators.
    while at < bytes.len() {
        let byte = bytes[at];
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            at += 1;
            continue;
        }
        out.push_str(&text[plain..at]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => out.push_str(&format!("\\u{byte:04x}")),
        }
        at += 1;
        plain = at;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_json() {
        let text = "a\"b\\c\nd\te\u{1}é🦀";
        let mut out = String::new();
        push_json_text(&mut out, text);
        assert_eq!(serde_json::from_str::<String>(&out).expect(&out), text);
    }

    #[test]
    fn errors_have_the_envelope() {
        let reply = Reply::invalid_module("Nope");
        let body: Json = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(
            (reply.status, &body["code"], &body["status"]),
            (400, &json!("INVALID_MODULE"), &json!("error"))
        );
    }
}
