//! The one integration binary; one module per subject.
//!
//! - `client`: the HTTP client against the local Zoho.
//! - `emulator_*`: the local Zoho as its clients see it, over HTTP.

#![allow(missing_docs)]

mod client;
mod common;
mod emulator_bulk;
mod emulator_bulk_write;
mod emulator_coql;
mod emulator_core;
