//! Somebody who keeps changing rows while a client works.
//!
//! Either with every call that comes in, which needs no waiting, or so many times a second. Which rows
//! and what happens to them follow from the seed; when, from the calls or the time.

use super::data::Dice;
use super::mutate::Work;
use super::state::{AppState, Org};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Shortest pause between two changes; faster writers make several at once.
const TICK: Duration = Duration::from_millis(5);

/// What a writer does.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Modules it works in, one drawn each time.
    pub modules: Vec<String>,
    /// Decides rows and kinds.
    pub seed: u64,
    /// Changes before each call that is let through.
    pub per_call: f64,
    /// Changes in a second of real time.
    pub per_second: f64,
    /// It stops after so many; without end when absent.
    pub total: Option<u64>,
    /// How often each kind is drawn, relative to the others.
    pub weights: Weights,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            modules: Vec::new(),
            seed: 1,
            per_call: 0.0,
            per_second: 0.0,
            total: None,
            weights: Weights::default(),
        }
    }
}

/// How often a writer does what.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Weights {
    pub change: u64,
    pub insert: u64,
    pub delete: u64,
    pub restore: u64,
    pub recompute: u64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { change: 6, insert: 2, delete: 1, restore: 1, recompute: 0 }
    }
}

/// A writer at work.
#[derive(Debug)]
pub struct Writer {
    plan: Plan,
    org: Weak<Org>,
    places: Vec<usize>,
    dice: Dice,
    left: u64,
    /// Changes that are due, with fractions of one.
    due: f64,
    /// Done so far: changed, inserted, deleted, restored, recomputed.
    done: [u64; 5],
}

impl Writer {
    /// A writer for one organisation.
    ///
    /// # Errors
    /// When one of the modules does not exist or none is given.
    pub fn new(plan: Plan, org: &Arc<Org>) -> Result<Self, String> {
        let store = org.read();
        let place = |name: &String| store.schema.position(name).ok_or(format!("no module `{name}`"));
        let places = plan.modules.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        if places.is_empty() {
            return Err("`modules` names none".to_owned());
        }
        let (dice, left) = (Dice::new(plan.seed ^ 0x7772_6974), plan.total.unwrap_or(u64::MAX));
        Ok(Self { plan, org: Arc::downgrade(org), places, dice, left, due: 0.0, done: [0; 5] })
    }

    /// Sets a writer to work, in place of the one before.
    pub fn start(app: &AppState, org: &Arc<Org>, writer: Self) {
        let per_tick = writer.plan.per_second * TICK.as_secs_f64();
        *app.writer() = Some(writer);
        if per_tick <= 0.0 {
            return;
        }
        let (app, org) = (Arc::downgrade(app), Arc::clone(org));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(app) = app.upgrade() else { return };
                let mut slot = app.writer();
                match slot.as_mut().filter(|writer| writer.plan.per_second > 0.0 && writer.left > 0) {
                    Some(writer) => writer.work(&app, &org, per_tick),
                    None => return,
                }
            }
        });
    }

    /// What is due when a call comes in.
    pub fn on_call(app: &AppState, org: &Arc<Org>) {
        if let Some(writer) = app.writer().as_mut()
            && std::ptr::eq(writer.org.as_ptr(), Arc::as_ptr(org))
        {
            writer.work(app, org, writer.plan.per_call);
        }
    }

    fn work(&mut self, app: &AppState, org: &Org, more: f64) {
        self.due += more;
        while self.due >= 1.0 && self.left > 0 {
            self.due -= 1.0;
            self.left -= 1;
            self.one(app, org);
        }
    }

    fn one(&mut self, app: &AppState, org: &Org) {
        let Weights { change, insert, delete, restore, recompute } = self.plan.weights;
        let mut drawn = self.dice.below(change + insert + delete + restore + recompute);
        let kind = [change, insert, delete, restore, recompute].iter().position(|weight| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        let at = self.places[self.dice.below(self.places.len() as u64) as usize];
        let switches = app.switches();
        let mut store = org.write();
        let mut work = Work::new(&mut store, at, self.dice.below(u64::MAX), app.clock.now());
        let reached = match kind {
            Some(0) => work.change(),
            Some(1) => Some(work.insert()),
            Some(2) => work.delete(),
            Some(3) => work.restore(&switches),
            Some(_) => work.recompute(),
            None => None,
        };
        if let (Some(kind), Some(_)) = (kind, reached) {
            self.done[kind] += 1;
        }
    }

    /// How far it has come.
    pub fn to_json(&self) -> Json {
        let [changed, inserted, deleted, restored, recomputed] = self.done;
        let left = if self.plan.total.is_some() { json!(self.left) } else { Json::Null };
        json!({"changed": changed, "inserted": inserted, "deleted": deleted, "restored": restored,
            "recomputed": recomputed, "left": left})
    }
}
