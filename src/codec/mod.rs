//! Bytes to bytes: records, CSV and zip. Pure and synchronous; knows neither HTTP nor Singer.

pub mod archive_write;
pub mod encode;
