//! The jobs of one window on their way: waited for and fetched by a task of their own, so that a
//! stream can have several windows under way while it writes the rows of another.

use super::super::error::Error;
use super::super::extract::{Context, in_stream};
use super::file::{ResultFile, fetch};
use super::jobs::{Ended, Phase};
use crate::tap::extract::CallError;
use crate::zoho::api::JobFailure;
use crate::zoho::types::JobId;
use tokio::task::JoinHandle;

/// How the jobs of a window came back.
#[derive(Debug)]
pub(in crate::tap) enum Landed {
    /// Each with its file, in the order of the jobs.
    Files(Vec<ResultFile>),
    /// Zoho gave up on this one.
    Failed(String, JobFailure),
    /// This one, or its result, is no longer kept.
    Gone(String),
}

/// What happened to one job.
enum One {
    File(ResultFile),
    Failed(JobFailure),
    Gone,
}

/// The jobs of one window; nobody waits for them once it is dropped.
pub(in crate::tap) struct Flight(JoinHandle<Result<Landed, Error>>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Flight {
    /// Has jobs waited for. `is_new`: they were created just now; `ahead`: windows before this one.
    pub fn launch(context: &Context, stream: &str, jobs: Vec<String>, is_new: bool, ahead: usize) -> Self {
        let (context, stream) = (context.clone(), stream.to_owned());
        let rank = u32::try_from(ahead).unwrap_or(u32::MAX);
        Self(tokio::spawn(async move {
            let all = jobs.iter().map(|job| one(&context, &stream, job, is_new, rank));
            let all = futures_util::future::try_join_all(all).await?;
            let mut files = Vec::new();
            for (job, one) in jobs.into_iter().zip(all) {
                match one {
                    One::File(file) => files.push(file),
                    One::Failed(failure) => return Ok(Landed::Failed(job, failure)),
                    One::Gone => return Ok(Landed::Gone(job)),
                }
            }
            Ok(Landed::Files(files))
        }))
    }

    /// Waits until all are back.
    ///
    /// # Errors
    /// When a call failed for good, or a file stays damaged.
    pub async fn landed(&mut self) -> Result<Landed, Error> {
        match (&mut self.0).await {
            Ok(landed) => landed,
            Err(broken) => match broken.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Interrupted),
            },
        }
    }
}

async fn one(context: &Context, stream: &str, job: &str, is_new: bool, rank: u32) -> Result<One, Error> {
    let (observer, name) = (context.observer.clone(), stream.to_owned());
    let doing = move |phase| match phase {
        Phase::Waiting => observer.doing(&name, "Bulk Read, queued"),
        Phase::Running => observer.doing(&name, "Bulk Read, running"),
    };
    let waited = context.jobs.ended(JobId::from(job), is_new, doing);
    let ended = match context.call(waited).await {
        Err(CallError::Stopped) => return Err(Error::Interrupted),
        answer => answer.map_err(in_stream(stream))?,
    };
    match ended {
        Ended::Done(result) => {
            context.observer.doing(stream, "Bulk Read, downloading");
            Ok(fetch(context, stream, job, &result, rank).await?.map_or(One::Gone, One::File))
        }
        Ended::Failed(failure) => Ok(One::Failed(failure)),
        Ended::Gone => Ok(One::Gone),
    }
}
