//! What is known of the organisation from earlier calls and runs: its edition, its modules, their
//! fields, and how many records they hold. A memory, not a truth: whoever uses it says how old it may
//! be, and what a row looks like is always asked for in the run that reads it (see ARCHITECTURE).
//!
//! One file for each thing, in `state_dir/known/<connection>/`. Each is replaced as a whole, so any
//! number of processes may share the folder: the last one that asked Zoho wins, and all of them asked
//! Zoho. A file that is damaged, of another version or from the future is as good as none.

use super::api::org::Org;
use super::auth::Clock;
use super::call::segment;
use super::client::Client;
use super::config::Connection;
use super::error::Error;
use super::json;
use super::private_file::{make_folder, replace};
use super::token_file::key_of;
use super::types::{Field, Module};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Form of the files; others are not read.
const VERSION: u64 = 1;

/// Something known, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Known<T> {
    /// What is known.
    pub value: T,
    /// When Zoho said so, by our clock.
    pub at: DateTime<Utc>,
}

impl<T> Known<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        Known { value: change(self.value), at: self.at }
    }
}

/// The files of one connection.
pub(super) struct Memory {
    folder: PathBuf,
    clock: Clock,
}

impl Memory {
    pub(super) fn new(connection: &Connection, clock: Clock) -> Self {
        // Two users of one organisation see different modules and fields.
        let who = connection.refresh_token.as_ref().or(connection.grant_code.as_ref());
        let key = key_of(&[
            &connection.accounts_base(),
            connection.api_url.as_deref().unwrap_or_default(),
            connection.environment.host_label(),
            &connection.client_id,
            who.map(|secret| secret.expose()).unwrap_or_default(),
        ]);
        Self { folder: connection.state_dir.join("known").join(key), clock }
    }

    /// The folder of this connection; it need not exist.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps what Zoho said. That it cannot be kept costs a credit later, and is no failure.
    pub(super) fn keep(&self, name: &str, value: &Value) {
        let path = self.path(name);
        let content = json!({"version": VERSION, "at": (self.clock)(), "value": value}).to_string();
        let kept = make_folder(path.parent().unwrap_or(&self.folder))
            .and_then(|()| replace(&path, content.as_bytes()));
        if let Err(error) = kept {
            tracing::debug!(path = %path.display(), %error, "is not kept for later runs");
        }
    }

    /// What is kept under a name, unless it is older than `age`.
    pub(super) fn recall(&self, name: &str, age: Duration) -> Option<Known<Value>> {
        let path = self.path(name);
        let bytes = std::fs::read(&path).ok()?;
        let Some(known) = read(&bytes) else {
            tracing::warn!(path = %path.display(), "what was kept between runs is damaged, it is asked for again");
            return None;
        };
        let since = (self.clock)() - known.at;
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        (since >= TimeDelta::zero() && since <= age).then_some(known)
    }

    /// Forgets what is kept under a name.
    pub(super) fn forget(&self, name: &str) {
        std::fs::remove_file(self.path(name)).ok();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

fn read(bytes: &[u8]) -> Option<Known<Value>> {
    let mut content: Value = serde_json::from_slice(bytes).ok()?;
    let at = content["at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok())?;
    let value = content.get_mut("value").map(Value::take)?;
    (content["version"] == VERSION).then(|| Known { value, at: at.with_timezone(&Utc) })
}

/// Names of the files.
pub(super) const ORG: &str = "org";
pub(super) const MODULES: &str = "modules";
const POLLS: &str = "polls";

pub(super) fn fields_of(module: &str) -> String {
    format!("fields/{}", segment(module))
}

fn rows_of(module: &str, since: Option<DateTime<Utc>>) -> String {
    match since {
        None => format!("rows/{}", segment(module)),
        Some(_) => format!("rows/{}.since", segment(module)),
    }
}

impl Client {
    /// The organisation, asked for unless an answer of at most this age is kept; from then on gates and
    /// budget follow its edition.
    ///
    /// # Errors
    ///
    /// Those of [`Client::org`].
    pub async fn org_within(&self, age: Duration) -> Result<Org, Error> {
        match self.memory().recall(ORG, age) {
            Some(known) => {
                let org = Org::from_json(&known.value);
                self.learn_org(&org);
                Ok(org)
            }
            None => self.org().await,
        }
    }

    /// The modules as an earlier call saw them, unless that is longer ago than `age`.
    pub fn known_modules(&self, age: Duration) -> Option<Known<Vec<Module>>> {
        let known = self.memory().recall(MODULES, age)?;
        Some(known.map(|value| json::list(&value).iter().map(Module::from_json).collect()))
    }

    /// The fields of a module as an earlier call saw them, unless that is longer ago than `age`.
    pub fn known_fields(&self, module: &str, age: Duration) -> Option<Known<Vec<Field>>> {
        let known = self.memory().recall(&fields_of(module), age)?;
        Some(known.map(|value| json::list(&value).iter().map(Field::from_json).collect()))
    }

    /// Forgets the fields of a module: what was read does not fit them.
    pub fn forget_fields(&self, module: &str) {
        self.memory().forget(&fields_of(module));
    }

    /// How many records a module holds, or has changed since an instant, as somebody counted or read
    /// them at most `age` ago. Good for a choice, no proof of anything.
    pub fn known_rows(
        &self,
        module: &str,
        since: Option<DateTime<Utc>>,
        age: Duration,
    ) -> Option<Known<u64>> {
        let known = self.memory().recall(&rows_of(module, since), age)?;
        let same = known.value["since"] == json!(since);
        let rows = known.value["rows"].as_u64().filter(|_| same)?;
        Some(known.map(|_| rows))
    }

    /// How many polls a bulk read job took in the last run that had some, rounded up.
    pub fn known_polls_per_job(&self, age: Duration) -> Option<u64> {
        self.memory().recall(POLLS, age)?.value["per_job"].as_u64()
    }

    /// Keeps how many polls the jobs of this run took, if it had some.
    pub fn keep_polls(&self) {
        let usage = self.usage();
        if usage.jobs > 0 {
            let per_job = usage.credits.polls.div_ceil(usage.jobs);
            self.memory().keep(POLLS, &json!({"jobs": usage.jobs, "per_job": per_job}));
        }
    }

    /// Keeps how many records a module holds, or has changed since an instant.
    pub fn keep_rows(&self, module: &str, since: Option<DateTime<Utc>>, rows: u64) {
        self.memory().keep(&rows_of(module, since), &json!({"rows": rows, "since": since}));
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::secret::Secret;
    use crate::zoho::Connection;
    use chrono::{DateTime, Utc};
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn memory(folder: &std::path::Path, seconds: &Arc<AtomicI64>) -> Memory {
        let seconds = Arc::clone(seconds);
        let clock = move || -> DateTime<Utc> {
            DateTime::from_timestamp(seconds.load(Ordering::Relaxed), 0).expect("in range")
        };
        Memory::new(&Connection::new("1000.ID", Secret::new("s"), folder), Arc::new(clock))
    }

    #[test]
    fn what_is_kept_is_recalled_until_it_is_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let kept = memory(folder.path(), &seconds);
        assert_eq!(kept.recall("fields/Leads", HOUR), None);
        kept.keep("fields/Leads", &json!([1]));
        seconds.fetch_add(3_600, Ordering::Relaxed);
        let known = memory(folder.path(), &seconds).recall("fields/Leads", HOUR).expect("is kept");
        assert_eq!((known.value, known.at.timestamp()), (json!([1]), 1_800_000_000));
        seconds.fetch_add(1, Ordering::Relaxed);
        assert_eq!(kept.recall("fields/Leads", HOUR), None, "an hour and a second");
        seconds.store(1_799_999_999, Ordering::Relaxed);
        assert_eq!(kept.recall("fields/Leads", HOUR), None, "from the future");
    }

    #[test]
    fn damage_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let kept = memory(folder.path(), &seconds);
        kept.keep("org", &json!({"id": "7"}));
        let path = kept.folder().join("org.json");
        let text = std::fs::read_to_string(&path).expect("is there");
        for broken in [&text[..text.len() / 2], "", "[]", &text.replace("\"version\":1", "\"version\":2")] {
            std::fs::write(&path, broken).expect("writes");
            assert_eq!(kept.recall("org", HOUR), None, "{broken}");
        }
        kept.keep("org", &json!({"id": "8"}));
        assert_eq!(kept.recall("org", HOUR).expect("is kept").value["id"], "8");
        kept.forget("org");
        assert_eq!(kept.recall("org", HOUR), None);
    }

    #[test]
    fn users_do_not_share_what_they_see() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = Connection::new("1000.ID", Secret::new("s"), folder.path());
        let clock: crate::zoho::Clock = Arc::new(Utc::now);
        connection.refresh_token = Some(Secret::new("one"));
        let one = Memory::new(&connection, Arc::clone(&clock));
        connection.refresh_token = Some(Secret::new("two"));
        assert_ne!(one.folder(), Memory::new(&connection, clock).folder());
    }
}
