//! One pass over the deletes of one module: what the list tells, what was restored, how it goes out.

use super::bookmarks::Bookmarks;
use super::{STREAM, list, project_record, reconcile};
use crate::protocol::catalog::CatalogEntry;
use crate::tap::by_id;
use crate::tap::config::DeletedForm;
use crate::tap::error::Error;
use crate::tap::extract::Context;
use crate::tap::keeper::{DELETED_AT, marked};
use crate::tap::memory::{Ids, Known, StreamMemory};
use crate::tap::output::{Output, StreamOutput};
use crate::tap::plan::StreamPlan;
use crate::tap::state::text;
use crate::zoho::api::deleted::DeletedRecord;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use std::collections::HashSet;

/// How long Zoho's list shows what is in the bin. Source: "Get Deleted Records".
pub(super) const KEPT: TimeDelta = TimeDelta::days(60);
/// How long a delete may be listed: what is gone for good, and a day more.
const LISTED: TimeDelta = TimeDelta::days(121);
/// What is deleted for less than this may be restored: a day more, for clocks and slow servers.
const RESTORABLE: TimeDelta = TimeDelta::days(61);
/// Deletes that are watched by way of the list itself: they fit on its first page. More are looked up
/// one by one now and then.
const WATCHED: usize = 150;
/// The kind of a delete that no list told.
pub(super) const MISSING: &str = "missing";

/// The pass over one module.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    entry: &'a CatalogEntry,
    pub(super) plan: &'a StreamPlan,
    pub(super) memory: StreamMemory,
    /// The stream `deleted_records`.
    deletes: &'a mut StreamOutput,
    /// The module's own stream, once something of it comes again.
    rows: Option<StreamOutput>,
    /// The bookmark that was handed over.
    pub(super) heard: Option<DateTime<Utc>>,
    /// The next one: always a later second, because what memory holds is told apart by it.
    pub(super) until: DateTime<Utc>,
    /// Deletes of rows that are not kept.
    unknown: u64,
}

impl<'a> Pass<'a> {
    pub fn new(
        context: &'a Context,
        entry: &'a CatalogEntry,
        plan: &'a StreamPlan,
        deletes: &'a mut StreamOutput,
        bookmarks: &Bookmarks,
    ) -> Result<Self, Error> {
        let heard = bookmarks.modules.get(&plan.module).copied();
        let now = context.server_time();
        let until = heard.map_or(now, |heard| now.max(heard + TimeDelta::seconds(1)));
        let memory = context.memory(plan)?;
        let remembers = context.config.deleted_records == DeletedForm::Mark || context.reconciles(plan);
        if memory.fresh && heard.is_some() && remembers {
            tracing::warn!(
                stream = plan.stream,
                "nothing is remembered of it in `state_dir`: deletes of rows read before come with their id alone"
            );
        }
        Ok(Self { context, entry, plan, memory, deletes, rows: None, heard, until, unknown: 0 })
    }

    /// Reads and tells the deletes; puts into the bookmarks what is true then.
    pub async fn run(&mut self, bookmarks: &mut Bookmarks) -> Result<(), Error> {
        let (heard, horizon) = (self.heard_seconds(), (self.until - RESTORABLE).timestamp());
        let listed = (self.until - LISTED).timestamp();
        self.memory.tidy(listed, heard, self.context.reconciles(self.plan))?;
        let mut open = self.memory.open_ends(horizon, heard)?;
        open.retain(|known| self.context.bounds(self.plan).hold(&known.id));
        let looked_up = bookmarks.looked_up.get(&self.plan.module).copied();
        let every = TimeDelta::hours(self.context.config.restore_check_hours.into());
        let look_up = looked_up.is_none_or(|last| self.until - last >= every);
        let watched = open.len() <= WATCHED;
        let listed = list::read(self.context, self.plan, self.since(&open, watched)).await?;
        let mut entries = listed.entries;
        entries.retain(|record| self.context.bounds(self.plan).hold(record.id.as_str()));
        self.tell(&entries)?;
        let gone: HashSet<&str> = entries.iter().map(|record| record.id.as_str()).collect();
        open.retain(|known| !gone.contains(known.id.as_str()) && (watched || look_up || known.at > heard));
        self.settle(&open).await?;
        if !watched && look_up {
            bookmarks.looked_up.insert(self.plan.module.clone(), self.until);
        }
        reconcile::run(self, bookmarks, listed.cut).await?;
        self.close()?;
        bookmarks.modules.insert(self.plan.module.clone(), self.until);
        Ok(())
    }

    /// What all streams of the run share.
    pub fn shared(&self) -> &Output {
        self.deletes.shared()
    }

    fn heard_seconds(&self) -> i64 {
        self.heard.map_or(0, |heard| heard.timestamp())
    }

    /// Where the list is read from: the bookmark, or the oldest delete that is watched. A second earlier,
    /// because whether the server compares with `>` or `>=` is not documented.
    fn since(&self, open: &[Known], watched: bool) -> Option<DateTime<Utc>> {
        let lookback = TimeDelta::seconds(i64::from(self.context.config.lookback_seconds) + 1);
        let since = self.heard.map(|heard| heard - lookback).or(self.context.config.start_date)?;
        let oldest = open.iter().filter_map(|known| known.gone).min().filter(|_| watched);
        let oldest = oldest.and_then(|seconds| DateTime::from_timestamp(seconds - 1, 0));
        Some(oldest.map_or(since, |oldest| oldest.min(since)))
    }

    /// Tells what the list told, unless it was told and heard of before, and remembers it.
    fn tell(&mut self, entries: &[DeletedRecord]) -> Result<(), Error> {
        let heard = self.heard_seconds();
        let mut told = Vec::new();
        for record in entries {
            let seconds = record.deleted_time.unwrap_or(self.until).timestamp();
            // Nobody can restore what is gone for good.
            let gone = if record.deletion_type == "permanent" { -seconds } else { seconds };
            let known = self.memory.known(record.id.as_str())?;
            if known.is_some_and(|known| known.gone == Some(gone) && known.at <= heard) {
                continue;
            }
            self.delete(record)?;
            told.push((record.id.as_str(), Some(gone)));
        }
        Ok(self.memory.found(told, self.until.timestamp())?)
    }

    /// Finds out what became of rows that were deleted and are not listed as such any more, and of those
    /// of which a run that was cut off may have told.
    async fn settle(&mut self, open: &[Known]) -> Result<(), Error> {
        let ids: Vec<String> = open.iter().map(|known| known.id.clone()).collect();
        let back = self.again(&ids, None).await?;
        let (heard, at) = (self.heard_seconds(), self.until.timestamp());
        let mut told = Vec::new();
        // What was heard of stays open: a server may be late to show what it gave back.
        for known in open.iter().filter(|known| known.at > heard && !back.contains(&known.id)) {
            let gone = known.gone.unwrap_or(at);
            self.missing(&known.id, gone.abs())?;
            told.push((known.id.as_str(), Some(gone)));
        }
        Ok(self.memory.found(told, at)?)
    }

    /// Writes those of these rows that are there, in the module's stream; answers their ids.
    pub async fn again(&mut self, ids: &[String], of: Option<u64>) -> Result<HashSet<String>, Error> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        // Deletes that were told come first.
        self.deletes.flush()?;
        let (context, plan) = (self.context, self.plan);
        let back = by_id::rows(context, plan, ids, of, self.rows()?).await?;
        if !back.is_empty() {
            tracing::info!(stream = plan.stream, rows = back.len(), "rows that were gone are back");
        }
        Ok(back)
    }

    /// The module's own stream, begun when it is first asked for.
    fn rows(&mut self) -> Result<&mut StreamOutput, Error> {
        if self.rows.is_none() {
            let plan = self.plan;
            let mut rows = self.deletes.shared().stream(&plan.tap_stream_id, &plan.stream);
            let cursor: Vec<String> = plan.replication_key.iter().cloned().collect();
            rows.begin(&plan.schema, &["id".to_owned()], &cursor)?;
            let at = self.until.timestamp();
            rows.keep(Some(self.context.follow_up_keeper(plan, Ids::Live(at), at)?));
            rows.extracted_at(&text(self.context.server_time()));
            self.rows = Some(rows);
        }
        Ok(self.rows.as_mut().expect("was just made"))
    }

    /// Tells a delete that no list told.
    pub fn missing(&mut self, id: &str, since: i64) -> Result<(), Error> {
        self.delete(&DeletedRecord {
            id: id.into(),
            display_name: None,
            deletion_type: MISSING.to_owned(),
            deleted_time: DateTime::from_timestamp(since, 0),
            deleted_by: None,
            created_by: None,
        })
    }

    fn delete(&mut self, record: &DeletedRecord) -> Result<(), Error> {
        let context = self.context;
        if context.config.deleted_records == DeletedForm::Stream {
            let record = project_record(&context.policy, self.entry, &self.plan.module, record);
            self.deletes.extracted_at(&text(context.server_time()));
            return self.deletes.ready(&record.to_string());
        }
        let (id, since) = (record.id.as_str(), text(record.deleted_time.unwrap_or(self.until)));
        let marked = match self.memory.record(id)? {
            Some(kept) => marked(&kept, &since),
            // Before the first bookmark everything that is deleted is listed, most of it never read.
            None if self.heard.is_none() => return Ok(()),
            None => {
                self.unknown += 1;
                json!({"id": id, DELETED_AT: since}).to_string()
            }
        };
        self.deletes.count(1);
        self.rows()?.ready(&marked)
    }

    /// Hands everything on, before the bookmark that covers it.
    fn close(&mut self) -> Result<(), Error> {
        if self.unknown > 0 {
            tracing::warn!(
                stream = self.plan.stream,
                deletes = self.unknown,
                "deletes of rows that are not kept in `state_dir` come with their id alone"
            );
        }
        match self.rows.take() {
            Some(rows) => rows.close(),
            None => Ok(()),
        }
    }
}

/// The key of the bookmarks, for messages.
pub(super) fn bookmark_key(plan: &StreamPlan) -> String {
    format!("{STREAM}/modules/{}", plan.module)
}
