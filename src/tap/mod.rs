//! The tap: Zoho CRM to Singer messages.
//!
//! [`discover`] turns Zoho's metadata into a catalog. [`extract`] reads the selected streams side by
//! side; [`reader`] reads one module by one of three ways and moves its bookmark only when everything
//! before it is out.

mod again;
pub mod batches;
pub mod bulk;
mod by_id;
pub mod config;
pub mod deletes;
pub mod delivery;
pub mod discover;
pub mod error;
pub mod extract;
mod follow_up;
pub mod forecast;
pub mod glance;
pub mod incremental;
pub mod keeper;
pub mod list;
pub mod memory;
pub mod names;
pub mod output;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod price;
pub mod reader;
pub mod refresh;
pub mod schema;
pub mod shards;
pub mod slices;
pub mod small;
mod spool;
pub mod state;
pub mod summary;
mod wide;

pub use config::TapConfig;
pub use error::Error;
