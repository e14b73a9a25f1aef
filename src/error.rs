//! The top error: wraps each layer's, for the command line and for users of the library.

use crate::diagnostic::{Diagnostic, ErrorClass, thousands};
use crate::protocol::state::StateError;
use crate::protocol::writer::WriteError;
use crate::storage::StorageError;
use crate::{tap, target, zoho};
use std::path::PathBuf;

/// Any failure of any program of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting, or what is said about settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A call to Zoho.
    #[error(transparent)]
    Zoho(#[from] zoho::Error),
    /// The tap.
    #[error(transparent)]
    Tap(#[from] tap::Error),
    /// The target.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// More rows were rejected than `max_rejected` allows; all others are written.
    #[error("{} rows were rejected or have no certain outcome", thousands(*rejected))]
    Rejected {
        /// How many.
        rejected: u64,
        /// The file they are in, with their reasons.
        rejects: Option<PathBuf>,
    },
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The storage of rejected rows.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// stdout.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The emulator.
    #[cfg(feature = "emulator")]
    #[error(transparent)]
    Emulator(#[from] crate::emulator::Error),
    /// A step of the demonstration.
    #[error("`{step}` failed: {message}")]
    Demo {
        /// The command that was run.
        step: String,
        /// What it said.
        message: String,
    },
    /// The runtime could not be started.
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
}

/// A setting that is missing, wrong or unreadable.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file that cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder that cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not JSON.
    #[error("`{}` is not JSON: line {line}, column {column}: {message}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the JSON reader says, without the place.
        message: String,
    },
    /// A file without anything in it.
    #[error("`{}` is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A value against the JSON Schema of the settings.
    #[error("{origin}: {what}")]
    Invalid {
        /// The file, or the name of what stands for it.
        origin: String,
        /// JSON pointer, value and what is allowed.
        what: String,
        /// What to do, if that is known.
        hint: Option<String>,
    },
    /// A variable that is named and not set.
    #[error("{origin}: {pointer} names the environment variable `{variable}`, which is not set")]
    Variable {
        /// The file.
        origin: String,
        /// JSON pointer.
        pointer: String,
        /// The variable.
        variable: String,
    },
    /// Flags that do not go together, or one that is missing.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl Diagnostic for SettingsError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { hint, .. } => hint.clone(),
            Self::Usage { hint, .. } => Some(hint.clone()),
            Self::Variable { variable, .. } => {
                Some(format!("set it, or write `$${{{variable}}}` for the text itself"))
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } | Self::NotJson { .. } | Self::Empty { .. } => {
                None
            }
        }
    }
}

impl Error {
    fn inner(&self) -> Option<&dyn Diagnostic> {
        match self {
            Self::Settings(error) => Some(error),
            Self::Zoho(error) => Some(error),
            Self::Tap(error) => Some(error),
            Self::Target(error) => Some(error),
            Self::State(error) => Some(error),
            Self::Storage(error) => Some(error),
            Self::Write(error) => Some(error),
            #[cfg(feature = "emulator")]
            Self::Emulator(error) => Some(error),
            Self::Rejected { .. } | Self::Demo { .. } | Self::Runtime(_) => None,
        }
    }
}

impl Diagnostic for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Rejected { .. } => ErrorClass::Rejected,
            _ => self.inner().map_or(ErrorClass::Internal, Diagnostic::class),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Rejected { rejects, .. } => rejects.as_ref().map(|path| {
                format!(
                    "correct the rows in `{}` and give that file to the target with `--input`; `max_rejected` allows some",
                    path.display()
                )
            }),
            _ => self.inner().and_then(Diagnostic::hint),
        }
    }
}
