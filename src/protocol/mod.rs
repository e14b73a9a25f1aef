//! The words of Singer and of Airbyte: messages, catalog, schema, state. Knows nothing of Zoho.
//!
//! Follows the Singer specification 0.3.0 and what the Meltano SDK made of it; [`airbyte`] follows the
//! Airbyte protocol. A sync speaks through [`edge::Edge`], which both implement.

pub mod airbyte;
pub mod batch;
pub mod catalog;
pub mod edge;
pub mod message;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod reader;
pub mod schema;
pub mod state;
pub mod writer;
