//! Jobs that write the rows of uploaded CSV files.
//!
//! Follows "Bulk Write": upload, create, status, result.

pub mod archive;
pub mod pattern;
pub mod request;

use crate::emulator::coql::Refusal;
