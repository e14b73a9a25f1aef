//! Bulk jobs and uploaded files of one organisation.

/// The jobs of an organisation.
#[derive(Debug, Default)]
pub struct Jobs {}
