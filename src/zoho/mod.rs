//! Everything about Zoho CRM over HTTP: typed metadata in, raw records and files out.
//!
//! ```text
//! api/* ─▶ client ─▶ retry ─▶ credits (budget, gates) ─▶ auth (token) ─▶ transport (HTTP)
//! ```
//!
//! Records pass through as JSON text and files as bytes; what they mean is for the codec. Nothing
//! here knows Singer, reads configuration or prints.

pub mod api;
pub mod config;
pub mod datacenter;
mod error;
mod json;
pub mod types;

pub use config::Connection;
pub use datacenter::{DataCenter, Environment};
pub use error::{Error, ErrorKind};
