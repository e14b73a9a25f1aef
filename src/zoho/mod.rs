//! Everything about Zoho CRM over HTTP: typed metadata in, raw records and files out.
//!
//! ```text
//! api/* ─▶ client ─▶ retry ─▶ credits (budget, gates) ─▶ auth (token) ─▶ transport (HTTP)
//! ```
//!
//! Records pass through as JSON text and files as bytes; what they mean is for the codec. Nothing
//! here knows Singer, reads configuration or prints.

pub mod api;
mod auth;
mod backoff;
mod call;
mod client;
pub mod config;
pub mod credits;
pub mod datacenter;
mod download;
mod error;
mod json;
pub mod memory;
pub(crate) mod private_file;
mod refusal;
mod retry;
mod spending;
#[cfg(test)]
mod tests;
mod token_file;
mod transport;
mod turns;
pub mod types;

pub use auth::{Clock, Trial, find_data_center};
pub use client::{Client, ClientBuilder};
pub use config::Connection;
pub use credits::{Allowance, Spent, Usage};
pub use datacenter::{DataCenter, Environment};
pub use error::{Error, ErrorKind};
