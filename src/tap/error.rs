//! Why the tap stopped.

use super::memory::MemoryError;
use super::shards::ShardError;
use crate::codec::archive::ArchiveError;
use crate::codec::decode::DecodeError;
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::protocol::state::StateError;
use crate::protocol::writer::WriteError;
use crate::zoho;
use std::path::PathBuf;

/// A failed discovery or sync.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call that belongs to no single stream.
    #[error(transparent)]
    Zoho(#[from] zoho::Error),
    /// A call for a stream failed.
    #[error("reading stream `{stream}` failed")]
    Stream {
        /// The stream.
        stream: String,
        /// What Zoho or the network said.
        #[source]
        source: zoho::Error,
    },
    /// The catalog names a module that is not there.
    #[error("the catalog selects stream `{stream}`, and there is no such module")]
    UnknownStream {
        /// The stream.
        stream: String,
        /// The most similar module.
        similar: Option<String>,
    },
    /// A selected stream that cannot be read, while the others can.
    #[error("stream `{stream}` is skipped: {reason}")]
    Skipped {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// A selected stream of which no field is left to read.
    #[error("the catalog's stream `{stream}` lacks the key property `id`")]
    NoKey {
        /// The stream.
        stream: String,
    },
    /// A rule of the field policy takes in what rows are found by.
    #[error("`field_policy` would {action} `{field}` of stream `{stream}`, by which its rows are found")]
    PolicyOnKey {
        /// The stream.
        stream: String,
        /// The property.
        field: String,
        /// What the rule says.
        action: &'static str,
    },
    /// A rule of the field policy hashes, and there is no key to hash with.
    #[error("`field_policy` hashes, and `field_policy_key` is missing")]
    NoPolicyKey,
    /// Every way of reading refused the stream as it is selected.
    #[error("no way of reading can deliver stream `{stream}` as it is selected: {reasons}")]
    NoWay {
        /// The stream.
        stream: String,
        /// What each way said.
        reasons: String,
    },
    /// A bulk read job ended in FAILURE, twice.
    #[error("bulk read job `{job_id}` of stream `{stream}` failed: {message} ({code})")]
    JobFailed {
        /// The stream.
        stream: String,
        /// The job.
        job_id: String,
        /// Zoho's code.
        code: String,
        /// Zoho's message.
        message: String,
    },
    /// A result file that is damaged or not whole, after it was fetched again.
    #[error("the result of bulk read job `{job_id}` of stream `{stream}` is not sound")]
    Archive {
        /// The stream.
        stream: String,
        /// The job.
        job_id: String,
        /// What is wrong with the file.
        #[source]
        source: ArchiveError,
    },
    /// A result file with another number of rows than the job says.
    #[error("bulk read job `{job_id}` of stream `{stream}` says {expected} rows and its file holds {found}")]
    RowCount {
        /// The stream.
        stream: String,
        /// The job.
        job_id: String,
        /// Rows by the job.
        expected: u64,
        /// Rows in the file.
        found: u64,
    },
    /// A value that is not of its field's type, an answer that is no record, or a file that cannot be read.
    #[error("stream `{stream}`: {}", undecodable(source))]
    Decode {
        /// The stream.
        stream: String,
        /// Row, field and value.
        #[source]
        source: DecodeError,
    },
    /// Rows came and went during every attempt to list a module by the records API.
    #[error(
        "stream `{stream}` changes faster than it can be listed: {moves} rows came or went during the last of {passes} passes"
    )]
    Restless {
        /// The stream.
        stream: String,
        /// Rows seen to move in the last pass but one.
        moves: usize,
        /// Passes made.
        passes: u32,
    },
    /// More rows of one second than the records API lists, and nothing else reads the stream.
    #[error(
        "more than {reach} records of stream `{stream}` were modified at {second}, and the records API lists no more of one second"
    )]
    Crowded {
        /// The stream.
        stream: String,
        /// The second.
        second: String,
        /// Rows that it lists.
        reach: u64,
    },
    /// The state handed over cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state handed over is of another shard.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A comparison of ids missed more than can be true.
    #[error(
        "{missing} of the {known} known rows of stream `{stream}` are missing, more than {percent}%; none is called deleted"
    )]
    MassDelete {
        /// The stream.
        stream: String,
        /// Ids that are missing.
        missing: u64,
        /// Ids that are remembered.
        known: u64,
        /// The limit, in percent.
        percent: u8,
    },
    /// What is remembered between runs.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// stdout.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file of ours.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A signal told us to stop; everything read so far is out and bookmarked.
    #[error("stopped by a signal")]
    Interrupted,
    /// A trial has the records it wants of a stream; never leaves the tap.
    #[error("the trial of the stream is done")]
    TrialDone,
}

impl Error {
    /// Adds the stream to a failed call.
    pub(super) fn in_stream(stream: &str) -> impl FnOnce(zoho::Error) -> Self + '_ {
        |source| Self::Stream { stream: stream.to_owned(), source }
    }
}

/// What it means that something cannot be decoded.
fn undecodable(source: &DecodeError) -> &'static str {
    match source {
        DecodeError::Csv { .. } => "the file of a bulk job cannot be read to its end",
        _ => "what Zoho sent is not what its metadata says",
    }
}

impl Diagnostic for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Zoho(source) | Self::Stream { source, .. } => source.class(),
            Self::UnknownStream { .. }
            | Self::NoKey { .. }
            | Self::PolicyOnKey { .. }
            | Self::NoPolicyKey
            | Self::File { .. } => ErrorClass::Config,
            Self::Skipped { .. } => ErrorClass::Permission,
            Self::State(source) => source.class(),
            Self::Shard(source) => source.class(),
            Self::Memory(source) => source.class(),
            Self::Write(source) => source.class(),
            Self::JobFailed { .. } => ErrorClass::Retriable,
            Self::NoWay { .. }
            | Self::Archive { .. }
            | Self::RowCount { .. }
            | Self::Decode { .. }
            | Self::Crowded { .. }
            | Self::Restless { .. }
            | Self::MassDelete { .. } => ErrorClass::Data,
            Self::Interrupted | Self::TrialDone => ErrorClass::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Zoho(source) | Self::Stream { source, .. } => source.hint(),
            Self::State(source) => source.hint(),
            Self::Shard(source) => source.hint(),
            Self::Memory(source) => source.hint(),
            Self::Skipped { .. } => Some(
                "deselect the stream, or run discovery again as a user who may read it".into(),
            ),
            Self::UnknownStream { similar, .. } => Some(match similar {
                Some(name) => format!("did you mean `{name}`? run discovery again to see all streams"),
                None => "run discovery again: the module may be deleted or hidden from this user".into(),
            }),
            Self::Crowded { .. } => Some(
                "set `method` to `auto` and deselect the fields that only the records API delivers: COQL and Bulk Read know no such limit"
                    .into(),
            ),
            Self::NoKey { .. } => Some("run discovery again and select from what it writes".into()),
            Self::PolicyOnKey { field, .. } => Some(format!(
                "name other fields, or put a rule with `\"fields\": [\"{field}\"], \"action\": \"keep\"` before it"
            )),
            Self::NoPolicyKey => {
                Some("set it to a secret of at least 16 characters, such as `${FIELD_POLICY_KEY}`".into())
            }
            Self::MassDelete { .. } => Some(
                "see whether the user still sees all records (role, territory, sharing); if they are really gone, raise `reconcile.max_missing_percent`"
                    .into(),
            ),
            Self::NoWay { .. } => Some(
                "deselect the fields that are named, give the grant the scope it lacks, or set `method` to another way"
                    .into(),
            ),
            Self::JobFailed { .. } | Self::Restless { .. } => {
                Some("start again from the last state; everything before it is kept".into())
            }
            Self::Archive { .. } | Self::RowCount { .. } => {
                Some("no row of that file was emitted; start again from the last state".into())
            }
            Self::Decode { source: DecodeError::Csv { .. }, .. } => Some(
                "start again from the last state; if it comes again, look whether the disk of `state_dir` is sound and has room"
                    .into(),
            ),
            Self::Decode { .. } => {
                Some("run discovery again if the field's type changed, or deselect the field".into())
            }
            _ => None,
        }
    }
}
