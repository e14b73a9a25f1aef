//! What ends a target run, and what to do about it.

use std::path::PathBuf;

use super::config::ConfigError;
use super::ledger::LedgerError;
use crate::codec::archive::ArchiveError;
use crate::codec::archive_write::WriteError;
use crate::diagnostic::{Diagnostic, ErrorClass, thousands};
use crate::protocol::reader;
use crate::zoho;

/// A failed run. Whatever was accepted before is written or stands in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// The input is not Singer.
    #[error("{source}")]
    Input {
        /// What is wrong.
        source: Box<reader::Error>,
        /// What became of the lines before it.
        before: Option<Before>,
    },
    /// A message that is Singer, but comes in the wrong order or asks for what is not there.
    #[error("line {} of {input}: {what}", thousands(*.line))]
    Order {
        /// Name of the input.
        input: String,
        /// The line.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Option<String>,
        /// What became of the lines before it.
        before: Option<Before>,
    },
    /// A record that breaks the SCHEMA of its stream.
    #[error("line {} of {input}: {what}", thousands(*.line))]
    Record {
        /// Name of the input.
        input: String,
        /// The line.
        line: u64,
        /// What is wrong.
        what: String,
        /// What became of the lines before it.
        before: Option<Before>,
    },
    /// Zoho, or the way to it, failed.
    #[error("{doing}")]
    Zoho {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: Box<zoho::Error>,
    },
    /// A bulk job that Zoho gave up.
    #[error("bulk write job `{job}` for {module} failed: {}", joined(code, message))]
    Job {
        /// The job.
        job: String,
        /// The module.
        module: String,
        /// Zoho's code.
        code: String,
        /// Zoho's message.
        message: String,
    },
    /// A bulk job that takes longer than `job_timeout`.
    #[error("bulk write job `{job}` for {module} is not done after {seconds} s")]
    JobTimeout {
        /// The job.
        job: String,
        /// The module.
        module: String,
        /// The time waited.
        seconds: u64,
    },
    /// A write that may or may not have been executed and cannot be repeated.
    #[error("{} of call `{call}` may or may not be in {module}: it was cut off before its answer ({})", counted(*.count), numbered(.lines))]
    InDoubt {
        /// The call: its batch and its number there.
        call: String,
        /// The module.
        module: String,
        /// Rows concerned.
        count: u64,
        /// Where the first of them stand: a batch file or else the input, and the line there.
        lines: Vec<(Option<String>, u64)>,
        /// The cause, when it happened in this run.
        #[source]
        source: Option<Box<zoho::Error>>,
    },
    /// More records would be deleted than is allowed; none was.
    #[error("{} of the {} records of {module} would be deleted, more than {most}%: nothing was deleted", thousands(*.candidates), thousands(*.records))]
    TooManyDeletes {
        /// The module.
        module: String,
        /// Records that would be deleted.
        candidates: u64,
        /// Records of the module.
        records: u64,
        /// Most that may be deleted, in percent.
        most: f64,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The result file of a job is not what it should be.
    #[error("the result of bulk write job `{job}` cannot be read")]
    Result {
        /// The job.
        job: String,
        /// The cause.
        #[source]
        source: Box<ArchiveError>,
    },
    /// A bulk write file could not be made.
    #[error(transparent)]
    File(#[from] WriteError),
    /// Rows on their way could not be stored or read back.
    #[error("the rows of a batch cannot be stored or read")]
    Spool(#[source] std::io::Error),
    /// Results or rejected rows could not be written.
    #[error("cannot write results to `{}`", .path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// STATE values or results could not be written to stdout.
    #[error("cannot write to stdout")]
    Output(#[source] std::io::Error),
    /// Told to stop.
    #[error("stopped before the end of the input")]
    Interrupted,
    /// A broken promise of our own.
    #[error("internal: {0}")]
    Internal(String),
}

/// What became of the lines before a bad one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Lines before it.
    pub lines: u64,
    /// The last STATE that was printed.
    pub state: Option<String>,
}

impl Before {
    fn hint(&self) -> String {
        let lines = match self.lines {
            0 => return "it is the first line, so nothing was sent".to_owned(),
            1 => "line before it is".to_owned(),
            lines => format!("{} lines before it are", thousands(lines)),
        };
        match &self.state {
            Some(state) => format!(
                "the {lines} written and confirmed up to state {}; nothing after it was sent",
                crate::protocol::message::shorten(state)
            ),
            None => {
                format!("the {lines} written, but no STATE came to confirm that; nothing after it was sent")
            }
        }
    }
}

impl Error {
    /// A failed call, and what it was for.
    pub fn zoho(doing: impl Into<String>, source: zoho::Error) -> Self {
        Self::Zoho { doing: doing.into(), source: Box::new(source) }
    }

    /// Adds what became of the lines before a bad one.
    #[must_use]
    pub fn with_before(mut self, found: Before) -> Self {
        if let Self::Input { before, .. } | Self::Order { before, .. } | Self::Record { before, .. } =
            &mut self
        {
            *before = Some(found);
        }
        self
    }

    /// Lines before the bad one, of `lines` that were begun. A line that is no message was begun; one that cannot
    /// be read was not.
    pub(super) fn lines_before(&self, lines: u64) -> u64 {
        match self {
            Self::Input { source, .. } if !matches!(**source, reader::Error::Message { .. }) => lines,
            _ => lines.saturating_sub(1),
        }
    }

    /// Whether the input is to blame; then everything before the bad line is still written.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::Order { .. } | Self::Record { .. } | Self::Config(_))
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl From<reader::Error> for Error {
    fn from(error: reader::Error) -> Self {
        Self::Input { source: Box::new(error), before: None }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Spool(error)
    }
}

/// A code and its message, either of which may be missing.
fn joined(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => "Zoho does not say why".to_owned(),
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{message} ({code})"),
    }
}

fn counted(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{} rows", thousands(count)) }
}

pub(super) fn numbered(lines: &[(Option<String>, u64)]) -> String {
    let (in_files, numbers): (Vec<_>, Vec<_>) = lines.iter().partition(|(file, _)| file.is_some());
    let numbers: Vec<String> = numbers.iter().map(|(_, line)| thousands(*line)).collect();
    let mut parts: Vec<String> = in_files
        .iter()
        .map(|(file, line)| format!("line {} of `{}`", thousands(*line), file.as_deref().unwrap_or_default()))
        .collect();
    if !numbers.is_empty() {
        let word = if numbers.len() == 1 { "line" } else { "lines" };
        parts.insert(0, format!("input {word} {}", numbers.join("; ")));
    }
    parts.join("; ")
}

impl Diagnostic for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Config(_) => ErrorClass::Config,
            Self::Input { source, .. } => source.class(),
            Self::Order { .. } => ErrorClass::Protocol,
            Self::Record { .. } => ErrorClass::Data,
            Self::Zoho { source, .. } => source.class(),
            Self::Job { .. } | Self::JobTimeout { .. } => ErrorClass::Retriable,
            Self::InDoubt { .. } => ErrorClass::InDoubt,
            Self::TooManyDeletes { .. } => ErrorClass::Data,
            Self::Ledger(error) => error.class(),
            Self::Result { .. } => ErrorClass::Data,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ErrorClass::Closed,
            Self::File(_) | Self::Spool(_) | Self::Report { .. } | Self::Output(_) => ErrorClass::Retriable,
            Self::Interrupted => ErrorClass::Interrupted,
            Self::Internal(_) => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint.clone(),
            Self::Input { source, before } => join(source.hint(), before.as_ref()),
            Self::Order { hint, before, .. } => join(hint.clone(), before.as_ref()),
            Self::Record { before, .. } => join(None, before.as_ref()),
            Self::Zoho { source, .. } => source.hint(),
            Self::TooManyDeletes { .. } => Some(
                "everything else is written; see whether the source is complete, and if the deletes are meant, \
                 allow them with `max_delete_percent`"
                    .to_owned(),
            ),
            Self::Ledger(error) => error.hint(),
            Self::InDoubt { call, .. } => Some(format!(
                "look in Zoho whether the rows are there, then `zoho-crm jobs resolve {call} --forget --config …` \
                 (they are: take them as written) or `zoho-crm jobs resolve {call} --resend --config …` (they are \
                 not: send them again), and start the pipeline again; with a unique match field this cannot happen"
            )),
            Self::JobTimeout { .. } => Some(
                "it goes on without us; the next run waits for it and sends none of its rows again"
                    .to_owned(),
            ),
            Self::Job { .. } => Some("nothing is lost: the next run sends its rows again".to_owned()),
            _ => None,
        }
    }
}

fn join(advice: Option<String>, before: Option<&Before>) -> Option<String> {
    match (advice, before.map(Before::hint)) {
        (Some(advice), Some(before)) if advice.ends_with('?') => {
            Some(format!("{advice} {}", before.replacen("the", "The", 1)))
        }
        (Some(advice), Some(before)) => Some(format!("{advice}; {before}")),
        (one, other) => one.or(other),
    }
}
