//! Queries in Zoho's SQL: `POST /crm/v8/coql`.
//!
//! Follows the page "Query API". Paging beyond the offset's reach is by `id > last`, which is the
//! caller's to write.

use super::records::Page;
use crate::zoho::client::{Call, Client};
use crate::zoho::credits::{Category, coql_price};
use crate::zoho::error::Error;
use crate::zoho::types::Method;

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
        let body = serde_json::json!({ "select_query": query });
        let call = Call::new(Method::Post, "/crm/v8/coql")
            .json(body.to_string().into_bytes())
            .repeatable(true)
            .heavy(true)
            .price(Category::Data, coql_price(limit));
        self.fetch_page(&call).await
    }
}
