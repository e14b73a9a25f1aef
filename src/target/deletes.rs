//! What is to be deleted: gathered to the end of the input, counted, held against a limit, then sent.
//!
//! Rows of a `delete` stream, rows with `_sdc_deleted_at` where that is to mean a delete, and what a mirror
//! does not find any more wait in a spool file. A later row of the same key brings its record back. Nothing
//! is deleted before all candidates of a module are known and are no more than `max_delete_percent` of it.
//!
//! A mirror deletes only after an ACTIVATE_VERSION that follows the last row of its stream and whose version
//! every row of this run carried. The end of the input alone, or a STATE, never deletes: a tap that was
//! killed, and an increment, look like that. Keys that an earlier run saw under the same version count as
//! seen, since a tap goes on with a table where it stopped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::batch::{Entry, OpenBatch, Step};
use super::conduct::{DeletedRows, MirrorScope};
use super::config::Operation;
use super::error::Error;
use super::ledger::Gone;
use super::mapping::{Column, Route, Source};
use super::outcome::{Action, Outcome};
use super::pipeline::Pipeline;
use super::preflight::hash;
use super::record::Record;
use crate::codec::encode::{Kind, push_string, scalar};
use crate::zoho::api::coql::MAX_LIMIT;
use crate::zoho::types::Field;

/// The property by which taps mark a row as deleted.
pub const DELETED_PROPERTY: &str = "_sdc_deleted_at";

/// What waits to be deleted.
#[derive(Debug, Default)]
pub struct Deletes {
    lanes: BTreeMap<i64, Held>,
    versions: BTreeMap<i64, Versions>,
}

/// Candidates of one lane.
#[derive(Debug)]
struct Held {
    route: Arc<Route>,
    spool: OpenBatch,
    /// Input lines of the candidates by key.
    keys: HashMap<u128, Vec<u64>>,
    /// Lines whose record a later row brought back.
    brought_back: HashSet<u64>,
    candidates: u64,
}

/// Table versions of a mirrored stream in this run.
#[derive(Debug, Default)]
struct Versions {
    /// That of the first row.
    first: Option<i64>,
    /// Whether other rows carried another, or none.
    mixed: bool,
    last_row: u64,
    /// The last ACTIVATE_VERSION, and its line.
    activated: Option<(i64, u64)>,
}

impl Deletes {
    /// The line of the first row that waits.
    pub fn first_line(&self) -> Option<u64> {
        self.lanes.values().map(|held| held.spool.first_line).min()
    }

    /// Notes the table version of a row.
    pub fn saw(&mut self, lane: i64, line: u64, version: Option<i64>) {
        let versions = self.versions.entry(lane).or_default();
        if versions.last_row == 0 {
            versions.first = version;
        }
        versions.mixed |= versions.first != version || version.is_none();
        versions.last_row = line;
    }

    /// Notes an ACTIVATE_VERSION.
    pub fn activate(&mut self, lane: i64, line: u64, version: i64) {
        self.versions.entry(lane).or_default().activated = Some((version, line));
    }

    /// A row of this key came that is no delete: what was to be deleted before it stays.
    pub fn bring_back(&mut self, lane: i64, key: Option<u128>) {
        let Some(held) = self.lanes.get_mut(&lane) else { return };
        if let Some(lines) = key.and_then(|key| held.keys.remove(&key)) {
            held.candidates -= lines.len() as u64;
            held.brought_back.extend(lines);
        }
    }
}

impl Versions {
    /// The version whose rows are the whole table, if that is sure, and the line that says so.
    fn whole(&self) -> Option<(i64, u64)> {
        let (version, line) = self.activated?;
        let sure = !self.mixed && self.last_row > 0 && line > self.last_row;
        (sure && self.first == Some(version)).then_some((version, line))
    }
}

/// Whether a record is marked as deleted at its source.
pub fn is_marked(record: &Record<'_>) -> bool {
    [DELETED_PROPERTY, "_ab_cdc_deleted_at"]
        .iter()
        .any(|mark| record.get(mark).is_some_and(|value| value != "null"))
}

impl Route {
    /// The way by which rows of this route are deleted: by id, else by the match fields.
    pub fn deleting(&self) -> Self {
        if self.operation == Operation::Delete {
            return self.clone();
        }
        let id = Column {
            source: Source::Constant("null".to_owned()),
            field: "id".to_owned(),
            kind: Kind::Text,
            ..Column::of(&Field::default())
        };
        let own = self.columns.iter().filter(|column| self.match_on.contains(&column.field));
        let columns: Vec<Column> = if self.column("id").is_some() {
            own.cloned().collect()
        } else {
            std::iter::once(id).chain(own.cloned()).collect()
        };
        Self { operation: Operation::Delete, idempotent: true, bulk: false, columns, ..self.clone() }
    }

    /// What happens to a record that is marked as deleted; `None` where it is like any other.
    pub fn on_deleted(&self, record: &Record<'_>) -> Option<DeletedRows> {
        if self.operation == Operation::Delete {
            return Some(DeletedRows::Delete);
        }
        let way = self.conduct.deleted_rows;
        (way != DeletedRows::Write && is_marked(record)).then_some(way)
    }
}

impl Outcome {
    /// A row that is marked as deleted and left alone.
    pub fn left_deleted() -> Self {
        Self {
            message: Some(format!(
                "marked as deleted by `{DELETED_PROPERTY}`; set \"deleted_rows\" to act on it"
            )),
            ..Self::new(Action::Skipped)
        }
    }
}

impl<W: Write> Pipeline<W> {
    /// Keeps a row that deletes until the end of the input.
    pub(super) fn hold_delete(&mut self, lane: i64, route: &Arc<Route>, entry: &Entry) -> Result<(), Error> {
        let held = match self.deletes.lanes.entry(lane) {
            std::collections::btree_map::Entry::Occupied(held) => held.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let name = format!("r{}-deletes-{lane}", self.writer.run);
                let folder = &self.writer.folder;
                let spool = OpenBatch::create(name, Arc::clone(route), lane, folder, entry.line)?;
                vacant.insert(Held {
                    route: Arc::clone(route),
                    spool,
                    keys: HashMap::new(),
                    brought_back: HashSet::new(),
                    candidates: 0,
                })
            }
        };
        if entry.step == Step::Send {
            held.candidates += 1;
            if let Some(key) = entry.key {
                held.keys.entry(key).or_default().push(entry.line);
            }
        }
        Ok(held.spool.push(entry)?)
    }

    /// Sends what waits to be deleted, once everything else is written. Mirrors delete only when the input
    /// came to its `whole` end.
    pub(super) async fn send_deletes(&mut self, whole: bool) -> Result<(), Error> {
        if whole {
            self.gather_mirrored().await?;
        }
        self.check_share().await?;
        while let Some((lane, held)) = self.deletes.lanes.pop_first() {
            self.deletes_under_way = Some(held.spool.first_line);
            let Held { route, spool, brought_back, .. } = held;
            let mut closed = spool.close()?;
            for number in 0..closed.entries {
                let mut entry = closed.reader.entry(number)?;
                if brought_back.contains(&entry.line) {
                    entry.decide(Outcome {
                        message: Some("a later row of the same key brings the record back".to_owned()),
                        ..Outcome::new(Action::Skipped)
                    });
                }
                self.push(Arc::clone(&route), lane, entry).await?;
            }
            self.finish_batches().await?;
            let _ = std::fs::remove_file(&closed.spool);
        }
        self.deletes_under_way = None;
        Ok(())
    }

    /// Adds what mirrors do not find any more.
    async fn gather_mirrored(&mut self) -> Result<(), Error> {
        let whole: Vec<(i64, i64, u64)> = self
            .deletes
            .versions
            .iter()
            .filter_map(|(lane, versions)| versions.whole().map(|(version, line)| (*lane, version, line)))
            .collect();
        for (lane, version, line) in whole {
            let Some(route) = self.streams.route(lane) else { continue };
            let memory = self.writer.memory_lane(&route)?;
            let gone = match route.conduct.mirror_scope {
                MirrorScope::Own => self.writer.ledger.gone(memory, version)?,
                MirrorScope::All => self.unknown_records(&route, memory, version).await?,
            };
            tracing::info!(
                module = route.module,
                version,
                gone = gone.len(),
                "the mirrored table is complete; what it does not have is to be deleted"
            );
            let deleting = Arc::new(route.deleting());
            for one in gone {
                self.hold_delete(lane, &deleting, &mirrored(one, line))?;
            }
        }
        Ok(())
    }

    /// Records of the module whose match value no row of this version had.
    async fn unknown_records(&self, route: &Route, memory: i64, version: i64) -> Result<Vec<Gone>, Error> {
        let Some(field) = route.match_on.first() else { return Ok(Vec::new()) };
        let there = self.writer.ledger.there(memory, version)?;
        let ids: HashSet<&str> = there.values().flatten().map(String::as_str).collect();
        let values: HashSet<String> = there
            .keys()
            .filter_map(|name| {
                serde_json::from_str::<Map<String, Value>>(name).ok()?.get(field).and_then(scalar)
            })
            .map(|value| folded(&value))
            .collect();
        let mut gone = Vec::new();
        let mut last = String::from("0");
        loop {
            let query = format!(
                "select id, {field} from {} where id > {last} order by id asc limit {MAX_LIMIT}",
                route.module
            );
            let page = self.writer.client.coql(&query, MAX_LIMIT).await.map_err(|error| {
                Error::zoho(format!("cannot list the records of {}", route.module), error)
            })?;
            for record in &page.records {
                let row: Value = serde_json::from_str(record.get()).unwrap_or_default();
                let Some(id) = row["id"].as_str() else { continue };
                last = id.to_owned();
                let value = scalar(&row[field]);
                let known = value.as_ref().is_some_and(|value| values.contains(&folded(value)));
                if !known && !ids.contains(id) {
                    let name = serde_json::json!({field: value});
                    gone.push(Gone {
                        key: hash(id),
                        record_id: Some(id.to_owned()),
                        identifier: name.to_string(),
                    });
                }
            }
            if !page.more_records || page.records.is_empty() {
                return Ok(gone);
            }
        }
    }

    /// Holds the candidates of each module against `max_delete_percent` of it.
    async fn check_share(&mut self) -> Result<(), Error> {
        let mut by_module: BTreeMap<String, u64> = BTreeMap::new();
        for held in self.deletes.lanes.values() {
            *by_module.entry(held.route.module.clone()).or_default() += held.candidates;
        }
        let most = self.writer.config.max_delete_percent;
        for (module, candidates) in by_module.into_iter().filter(|(_, candidates)| *candidates > 0) {
            if most >= 100.0 {
                continue;
            }
            let count = self.writer.client.count(&module).await;
            let records =
                count.map_err(|error| Error::zoho(format!("cannot count the records of {module}"), error))?;
            if candidates as f64 * 100.0 > records as f64 * most {
                return Err(Error::TooManyDeletes { module, candidates, records, most });
            }
        }
        Ok(())
    }
}

/// Zoho compares text without regard to case.
fn folded(value: &str) -> String {
    value.trim().to_lowercase()
}

/// The candidate for a key that is gone; it stands on the line that completed its table.
fn mirrored(gone: Gone, line: u64) -> Entry {
    let mut body = String::from("{");
    if let Some(id) = &gone.record_id {
        body.push_str("\"id\":");
        push_string(id, &mut body);
        body.push('}');
    } else {
        body = gone.identifier.clone();
    }
    Entry {
        line,
        key: Some(gone.key),
        hash: hash(&body),
        match_key: None,
        step: Step::Send,
        identifier: gone.identifier,
        columns: None,
        record: body.clone(),
        body,
        version: None,
        unchanged: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(rows: &[(u64, Option<i64>)], activated: &[(u64, i64)]) -> Option<(i64, u64)> {
        let mut deletes = Deletes::default();
        rows.iter().for_each(|(line, version)| deletes.saw(1, *line, *version));
        activated.iter().for_each(|(line, version)| deletes.activate(1, *line, *version));
        deletes.versions[&1].whole()
    }

    #[test]
    fn a_table_is_whole_only_when_its_tap_says_so_after_the_last_row() {
        let rows = [(2, Some(7)), (3, Some(7))];
        assert_eq!(versions(&rows, &[(4, 7)]), Some((7, 4)));
        // As classic taps do on the first load: once before the rows, once after them.
        assert_eq!(versions(&rows, &[(1, 7), (4, 7)]), Some((7, 4)));
        assert_eq!(versions(&rows, &[]), None, "the end of the input says nothing");
        assert_eq!(versions(&rows, &[(1, 7)]), None, "a tap that was killed");
        assert_eq!(versions(&[], &[(1, 7)]), None, "before its first row, too");
        assert_eq!(versions(&rows, &[(4, 8)]), None, "rows of another version");
        assert_eq!(versions(&[(2, Some(6)), (3, Some(7))], &[(4, 7)]), None, "mixed versions");
        assert_eq!(versions(&[(2, None)], &[(4, 7)]), None, "an increment");
    }

    #[test]
    fn a_route_deletes_by_id_or_by_what_it_matches_on() {
        let route = crate::target::tests::route().deleting();
        let fields: Vec<&str> = route.columns.iter().map(|column| column.field.as_str()).collect();
        assert_eq!((fields, route.operation), (vec!["id", "Email"], Operation::Delete));
        assert_eq!(route.deleting().columns.len(), 2);
    }
}
