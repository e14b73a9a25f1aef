//! What several subjects need.

pub mod zylker;
