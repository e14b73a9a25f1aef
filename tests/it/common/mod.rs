//! What several subjects need.

pub mod context;
pub mod killed;
pub mod zylker;
