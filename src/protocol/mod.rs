//! The words of Singer: messages, catalog, schema, state. Knows nothing of Zoho.
//!
//! Follows the Singer specification 0.3.0 and what the Meltano SDK made of it.

pub mod catalog;
pub mod message;
pub mod reader;
pub mod schema;
pub mod state;
pub mod writer;
