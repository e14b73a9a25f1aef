//! What several subjects need.

pub mod context;
pub mod zylker;
