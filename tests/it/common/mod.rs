//! What several subjects need.

pub mod bosses;
pub mod changes;
pub mod claims;
pub mod context;
pub mod credits;
pub mod dice;
pub mod discovery;
pub mod feed;
pub mod inserts;
pub mod killed;
pub mod mirror;
pub mod pair;
pub mod process;
pub mod retry;
pub mod shards;
pub mod snapshot;
pub mod ten;
pub mod wide;
pub mod zylker;
