//! What follow-up passes (deletes, reconcile, refresh) know of a run: the modules that were read to
//! their end, what is remembered of each, and what of their records is to be remembered.

use super::config::DeletedForm;
use super::deletes::Bookmarks;
use super::error::Error;
use super::extract::Context;
use super::keeper::{DELETED_AT, Keeper, Keeps};
use super::memory::{Ids, Memory, StreamMemory};
use super::plan::StreamPlan;
use super::state::{Bookmark, Bounds};
use crate::protocol::schema::Property;
use crate::protocol::state::StateError;
use std::sync::{Arc, PoisonError};

impl Context {
    /// Notes that a module was read to its end.
    pub fn is_read(&self, plan: &StreamPlan) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(plan.clone()));
    }

    /// The modules that were read to their end, by name.
    pub fn read_plans(&self) -> Vec<Arc<StreamPlan>> {
        let mut plans = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        plans.sort_by(|one, other| one.tap_stream_id.cmp(&other.tap_stream_id));
        plans
    }

    /// Whether all of a module was read, is read or would be read by this run from its first row on.
    pub fn is_read_whole(&self, plan: &StreamPlan) -> Result<bool, StateError> {
        let bookmark = Bookmark::read(&self.state, &plan.tap_stream_id, plan.replication_key.as_deref())?;
        Ok(bookmark.in_progress.is_none() && bookmark.replication_key_value.is_none())
    }

    /// The ids of a stream that are this process's.
    pub fn bounds(&self, plan: &StreamPlan) -> Bounds {
        let shard = self.config.shard.as_ref();
        shard.map(|shard| shard.bounds(&plan.tap_stream_id)).unwrap_or_default()
    }

    /// What is remembered of a stream.
    pub fn memory(&self, plan: &StreamPlan) -> Result<StreamMemory, Error> {
        if self.memory.get().is_none() {
            let opened = Memory::open(&self.state_dir, &self.client.connection().key())?;
            // Two streams may be first at once; either handle does.
            drop(self.memory.set(opened));
        }
        let memory = self.memory.get().expect("was just opened");
        let stream = &plan.tap_stream_id;
        let shard = self.config.shard.as_ref();
        Ok(memory.stream(&shard.map_or_else(|| stream.clone(), |shard| shard.memory_name(stream)))?)
    }

    /// Whether the ids of a stream are compared, now or another time.
    pub fn reconciles(&self, plan: &StreamPlan) -> bool {
        self.config.reconcile.as_ref().is_some_and(|settings| settings.streams.takes(&plan.tap_stream_id))
    }

    /// The columns of a stream that are refreshed on their own.
    pub fn refreshed(&self, plan: &StreamPlan) -> Vec<String> {
        let settings = self.config.refresh.as_ref();
        let wanted = settings.is_some_and(|settings| settings.streams.takes(&plan.tap_stream_id));
        if wanted { plan.worked_out() } else { Vec::new() }
    }

    /// Adds to a plan what its records carry besides their fields.
    pub fn complete(&self, plan: &mut StreamPlan) {
        if self.config.deleted_records == DeletedForm::Mark {
            let since = Property::formatted("date-time").with("title", "Deleted since");
            plan.schema["properties"][DELETED_AT] = since.into();
        }
    }

    /// Whether a stream's records are remembered as they go out.
    pub fn keeps(&self, plan: &StreamPlan) -> bool {
        let marks = self.config.deleted_records == DeletedForm::Mark;
        marks || self.reconciles(plan) || !self.refreshed(plan).is_empty()
    }

    /// Who remembers a stream's records as they go out; nobody if nothing of them is needed later.
    pub fn keeper(&self, plan: &StreamPlan) -> Result<Option<Keeper>, Error> {
        if !self.keeps(plan) {
            return self.watcher(plan);
        }
        let (marks, hashed) = (self.config.deleted_records == DeletedForm::Mark, self.refreshed(plan));
        let ids = if self.reconciles(plan) { Ids::Live(0) } else { Ids::Back };
        self.made_keeper(plan, Keeps { marks, ids, hashed, ..Keeps::default() }).map(Some)
    }

    /// Who remembers records that a follow-up pass writes at that time. What is noted of their ids counts
    /// once the bookmark of the deletes has come as far; other passes leave it.
    pub fn follow_up_keeper(&self, plan: &StreamPlan, ids: Ids, at: i64) -> Result<Keeper, Error> {
        let marks = self.config.deleted_records == DeletedForm::Mark;
        self.made_keeper(plan, Keeps { marks, ids, at, hashed: self.refreshed(plan), ..Keeps::default() })
    }

    /// Who takes note of rows that are back by themselves, where deletes were told of before: the next
    /// delete of such a row is another one.
    fn watcher(&self, plan: &StreamPlan) -> Result<Option<Keeper>, Error> {
        if !Bookmarks::read(&self.state)?.modules.contains_key(&plan.module) {
            return Ok(None);
        }
        let memory = self.memory(plan)?;
        let gone = memory.gone()?;
        let is_idle = gone.is_empty();
        let keeps = Keeps { only: Some(gone), ..Keeps::default() };
        Ok((!is_idle).then(|| Keeper::new(memory, keeps)))
    }

    fn made_keeper(&self, plan: &StreamPlan, keeps: Keeps) -> Result<Keeper, Error> {
        let memory = self.memory(plan)?;
        memory.columns(&plan.forms())?;
        Ok(Keeper::new(memory, keeps))
    }
}
