//! What several subjects need.

pub mod context;
pub mod killed;
pub mod snapshot;
pub mod zylker;
