//! Queries in Zoho's SQL: `POST /crm/v8/coql`.
//!
//! Follows the page "Query API". Paging beyond the offset's reach is by `id > last`, which is the
//! caller's to write.

use super::records::Page;
use crate::zoho::call::Call;
use crate::zoho::client::Client;
use crate::zoho::credits::{Category, coql_price};
use crate::zoho::error::Error;
use crate::zoho::types::Method;
use serde_json::Value;

/// Most rows of one query. Source: "Query API, Limitations".
pub const MAX_LIMIT: u32 = 2_000;
/// Most columns of one query; older servers take [`MAX_COLUMNS_BEFORE_V7`].
pub const MAX_COLUMNS: usize = 500;
/// Most columns of one query on older servers.
pub const MAX_COLUMNS_BEFORE_V7: usize = 50;

impl Client {
    /// Runs a query; `limit` is its LIMIT, which decides the price.
    ///
    /// # Errors
    ///
    /// `SYNTAX_ERROR`, `INVALID_QUERY`, `LIMIT_EXCEEDED` (details say which), and those of every
    /// call.
    pub async fn coql(&self, query: &str, limit: u32) -> Result<Page, Error> {
        let call = query_call(query).price(Category::Data, coql_price(limit));
        self.fetch_page(&call).await
    }

    /// Counts records: a query whose one row has one value, such as `select COUNT(id) from …`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::coql`], and an answer that is no count.
    pub async fn coql_count(&self, query: &str) -> Result<u64, Error> {
        let call = query_call(query).price(Category::Counts, coql_price(1));
        let page = self.fetch_page(&call).await?;
        let Some(row) = page.records.first() else { return Ok(0) };
        let row: Value = serde_json::from_str(row.get()).map_err(|error| call.misunderstood(error))?;
        let count = row.as_object().and_then(|row| row.values().find_map(Value::as_u64));
        count.ok_or_else(|| call.unclear("no count in the answer"))
    }
}

fn query_call(query: &str) -> Call {
    let body = serde_json::json!({ "select_query": query });
    Call::new(Method::Post, "/crm/v8/coql").json(body.to_string().into_bytes()).repeatable(true).heavy(true)
}
