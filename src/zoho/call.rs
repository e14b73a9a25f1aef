//! One call of the API: what it asks, whom, at which price, and whether it may be repeated.

use super::credits::{CALL, Category};
use super::error::{Error, ErrorKind};
use super::transport::Body;
use super::types::Method;
use bytes::Bytes;
use std::path::Path;

/// One call, described by its method in `api`.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    pub(super) repeatable: bool,
    pub(super) category: Category,
    pub(super) price: u64,
    pub(super) is_heavy: bool,
    pub(super) is_download: bool,
    pub(super) is_once: bool,
    /// Where it is taken only so often a minute: how many others it may let pass meanwhile.
    pub(super) turn: Option<u32>,
    pub(super) module: Option<String>,
    pub(super) job: Option<String>,
}

/// Which host a call goes to.
pub(super) enum Target {
    Api(String),
    Content(String),
    Url(String),
}

impl Call {
    /// A call of the API host; reads may be repeated, all else not unless it says so.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            target: Target::Api(path.into()),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            repeatable: method == Method::Get,
            category: Category::Data,
            price: CALL,
            is_heavy: false,
            is_download: false,
            is_once: false,
            turn: None,
            module: None,
            job: None,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    /// A download, from a path of the API host or from an absolute address; free of charge.
    pub(super) fn download(url: &str) -> Self {
        let target =
            if url.starts_with('/') { Target::Api(url.to_owned()) } else { Target::Url(url.to_owned()) };
        Self { target, is_download: true, ..Self::get("").price(Category::Data, 0) }
    }

    /// An upload to the content host; free of charge, and harmless to repeat.
    pub(super) fn upload(path: &str, file: &Path) -> Self {
        Self {
            target: Target::Content(path.to_owned()),
            body: Body::File(file.to_owned()),
            repeatable: true,
            ..Self::new(Method::Post, "").price(Category::Data, 0)
        }
    }

    pub(super) fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    pub(super) fn query_if(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn json(mut self, body: Vec<u8>) -> Self {
        self.body = Body::Json(Bytes::from(body));
        self
    }

    /// Executing it twice does no harm.
    pub(super) fn repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    pub(super) fn price(mut self, category: Category, price: u64) -> Self {
        self.category = category;
        self.price = price;
        self
    }

    /// Takes a place in the pool of ten as well.
    pub(super) fn heavy(mut self, heavy: bool) -> Self {
        self.is_heavy = heavy;
        self
    }

    /// Is not tried again, since there is another way.
    pub(super) fn once(mut self) -> Self {
        self.is_once = true;
        self
    }

    /// Waits for its turn among those that are taken only so often a minute; may let `rank` others pass.
    pub(super) fn in_turn(mut self, rank: u32) -> Self {
        self.turn = Some(rank);
        self
    }

    pub(super) fn module(mut self, module: &str) -> Self {
        self.module = Some(module.to_owned());
        self
    }

    pub(super) fn job(mut self, job: &str) -> Self {
        self.job = Some(job.to_owned());
        self
    }

    /// Path for messages: without host and query.
    pub(super) fn path(&self) -> &str {
        match &self.target {
            Target::Api(path) | Target::Content(path) => path,
            Target::Url(url) => {
                let after_scheme = url.find("://").map_or(0, |at| at + 3);
                let start = url[after_scheme..].find('/').map_or(after_scheme, |at| after_scheme + at);
                url[start..].split(['?', '#']).next().unwrap_or_default()
            }
        }
    }

    /// Adds what the call was about.
    pub(super) fn place(&self, error: Error) -> Error {
        let error = error.with_call(self.method, self.path());
        let error = match &self.module {
            Some(module) => error.with_module(module),
            None => error,
        };
        match &self.job {
            Some(job) => error.with_job(job),
            None => error,
        }
    }

    /// An answer that does not have the shape the API describes.
    pub(super) fn misunderstood(&self, cause: serde_json::Error) -> Error {
        self.place(Error::new(ErrorKind::Answer, "unexpected JSON").with_source(cause))
    }

    /// A body of ours that cannot be written as JSON.
    pub(super) fn unsendable(&self, cause: serde_json::Error) -> Error {
        self.place(Error::new(ErrorKind::Config, "the rows cannot be written as JSON").with_source(cause))
    }

    /// The same for a write: it was executed, but nobody knows how.
    pub(super) fn unclear(&self, message: impl Into<String>) -> Error {
        let error = self.place(Error::new(ErrorKind::Answer, message));
        if self.repeatable { error } else { error.with_doubt() }
    }
}

/// A module name or id as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Call, segment};

    #[test]
    fn a_module_name_cannot_leave_its_segment() {
        assert_eq!(segment("Sales_Orders"), "Sales_Orders");
        assert_eq!(segment("../org?x=1"), "..%2Forg%3Fx%3D1");
    }

    #[test]
    fn messages_show_no_query() {
        let call = Call::download("https://download-accl.zoho.com/v7/crm/a.zip?token=secret");
        assert_eq!(call.path(), "/v7/crm/a.zip");
    }
}
