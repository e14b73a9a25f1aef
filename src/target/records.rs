//! One record call: up to 100 rows, each with its own answer.
//!
//! Follows the v8 pages "Insert Records", "Update Records", "Upsert Records". Parents named by a natural
//! key, and records to be updated by a field other than `id`, are found first (`lookup`).

use serde_json::value::RawValue;

use super::batch::Step;
use super::config::Operation;
use super::error::Error;
use super::ledger::{Call, Way};
use super::lookup::{Found, Question, ask};
use super::mapping::Route;
use super::outcome::{Action, Outcome};
use super::plan::{Members, record_credits};
use super::replay::Change;
use super::write::{ByEntry, Effort, Job, Laid, after_resend};
use crate::codec::encode::push_string;
use crate::zoho::api::records::{RowAnswer, WriteCall};

/// A unit that is ready, or refused before it was sent.
enum Ready {
    Send(Box<RawValue>),
    Refused(Outcome),
}

impl Job<'_> {
    /// Sends the rows of a record call.
    pub(super) async fn run_records(&self, mut call: Call, effort: &mut Effort) -> Result<ByEntry, Error> {
        let mut laid = Vec::with_capacity(call.units.len());
        for unit in &call.units {
            laid.push(self.lay(unit).await?);
        }
        let ready = self.resolve(laid, call.way, effort).await?;
        let mut rows = Vec::new();
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(ready.len());
        for one in ready {
            match one {
                Ready::Send(row) => {
                    rows.push(row);
                    outcomes.push(None);
                }
                Ready::Refused(outcome) => outcomes.push(Some(outcome)),
            }
        }
        let answers = if rows.is_empty() { Vec::new() } else { self.send(&mut call, rows, effort).await? };
        let mut answers = answers.into_iter();
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Some(outcome) => outcome,
                None => answers.next().map_or_else(
                    || Outcome::unknown("Zoho gave no answer for this row"),
                    |answer| self.outcome(answer, &call),
                ),
            })
            .collect();
        self.done(&call, outcomes).await
    }

    async fn send(
        &self,
        call: &mut Call,
        rows: Vec<Box<RawValue>>,
        effort: &mut Effort,
    ) -> Result<Vec<RowAnswer>, Error> {
        let route = &self.batch.route;
        let write = WriteCall {
            module: route.module.clone(),
            duplicate_check_fields: if call.way == Way::Upsert { route.match_on.clone() } else { Vec::new() },
            trigger: route.trigger.clone(),
            // A second sending is ours to make: only then do the outcomes tell the truth about it.
            idempotent: false,
            rows,
        };
        self.intend(call)?;
        let mut attempt = 1;
        loop {
            effort.calls += 1;
            effort.credits += record_credits(write.rows.len() as u64);
            let client = &self.writer.client;
            let answer = match call.way {
                Way::Update => client.update(&write).await,
                Way::Upsert => client.upsert(&write).await,
                Way::Insert | Way::Bulk => client.insert(&write).await,
            };
            match answer {
                Ok(answers) => return Ok(answers),
                Err(error) => {
                    let doing = format!("cannot {} records of {}", verb(call.way), route.module);
                    self.after_failure(call, error, &doing, attempt).await?;
                }
            }
            attempt += 1;
        }
    }

    /// Puts ids in the place of natural keys and makes the JSON of each row.
    async fn resolve(&self, laid: Vec<Laid>, way: Way, effort: &mut Effort) -> Result<Vec<Ready>, Error> {
        let route = &self.batch.route;
        let mut found: Vec<Option<Found>> = Vec::with_capacity(route.columns.len());
        for (place, column) in route.columns.iter().enumerate() {
            let question = match &column.lookup {
                Some(lookup) => {
                    Some(Question { module: &lookup.module, field: &lookup.field, numeric: lookup.numeric })
                }
                // An update by a field other than id: the record itself is looked up.
                None if way == Way::Update && self.updates_by_field() == Some(column.field.as_str()) => {
                    Some(Question {
                        module: &route.module,
                        field: &column.field,
                        numeric: column.kind.is_number(),
                    })
                }
                None => None,
            };
            found.push(match question {
                None => None,
                Some(question) => {
                    let keys = laid.iter().filter_map(|one| one.members.get(&place)).map(|raw| plain(raw));
                    Some(ask(&self.writer.client, question, keys, effort).await?)
                }
            });
        }
        Ok(laid.into_iter().map(|one| self.ready(one, &found)).collect())
    }

    /// The match field of a plain update that is not by id.
    fn updates_by_field(&self) -> Option<&str> {
        let route = &self.batch.route;
        (route.operation == Operation::Update)
            .then(|| route.match_on.first().map(String::as_str))
            .flatten()
            .filter(|field| *field != "id")
    }

    fn ready(&self, laid: Laid, found: &[Option<Found>]) -> Ready {
        let route = &self.batch.route;
        let mut body = String::with_capacity(256);
        body.push('{');
        if let Step::Change(Change::ById(id)) = &laid.first.step {
            push_member("id", &mut body);
            push_string(id, &mut body);
        }
        for (place, raw) in &laid.members {
            let column = &route.columns[*place];
            let Some(found) = &found[*place] else {
                push_member(&column.field, &mut body);
                body.push_str(raw.get());
                continue;
            };
            let key = plain(raw);
            if key.is_empty() {
                push_member(&column.field, &mut body);
                body.push_str("null");
                continue;
            }
            match found.id(&key) {
                Ok(id) if column.lookup.is_some() => {
                    push_member(&column.field, &mut body);
                    body.push_str("{\"id\":");
                    push_string(id, &mut body);
                    body.push('}');
                }
                Ok(id) => {
                    push_member("id", &mut body);
                    push_string(id, &mut body);
                }
                Err(missing) => {
                    let module = column.lookup.as_ref().map_or(&route.module, |lookup| &lookup.module);
                    let field = column.lookup.as_ref().map_or(&column.field, |lookup| &lookup.field);
                    return Ready::Refused(missing.outcome(&column.field, module, field, &key));
                }
            }
        }
        push_appended(&laid.members, route, &mut body);
        body.push('}');
        match RawValue::from_string(body) {
            Ok(row) => Ready::Send(row),
            Err(error) => Ready::Refused(Outcome::rejected("INVALID_DATA", None, error.to_string())),
        }
    }

    fn outcome(&self, answer: RowAnswer, call: &Call) -> Outcome {
        let route = &self.batch.route;
        let id = answer.id.map(|id| id.to_string());
        let twin = answer.duplicate_id.map(|id| id.to_string());
        if answer.success {
            let action = match (call.way, answer.action.as_deref()) {
                (_, Some("update")) | (Way::Update, _) => Action::Updated,
                _ => Action::Inserted,
            };
            return after_resend(Outcome::new(action).with_record(id), call);
        }
        let on_match = answer.field.as_ref().is_none_or(|field| route.match_on.contains(field));
        // Under insert by a unique field, what exists is left alone, as bulk write does.
        if answer.code == "DUPLICATE_DATA"
            && call.way == Way::Insert
            && !route.match_on.is_empty()
            && on_match
        {
            return after_resend(Outcome::new(Action::Skipped).with_record(twin), call);
        }
        Outcome::rejected(answer.code, answer.field, answer.message).with_record(twin)
    }
}

fn verb(way: Way) -> &'static str {
    match way {
        Way::Update => "update",
        Way::Upsert => "upsert",
        Way::Insert | Way::Bulk => "insert",
    }
}

fn push_member(name: &str, body: &mut String) {
    if body.len() > 1 {
        body.push(',');
    }
    push_string(name, body);
    body.push(':');
}

/// Says which multi-select picklists keep the options they have.
fn push_appended(members: &Members, route: &Route, body: &mut String) {
    let appends =
        |(place, raw): &(&usize, &Box<RawValue>)| route.columns[**place].append && raw.get() != "null";
    let names = members.iter().filter(appends).map(|(place, _)| route.columns[*place].field.as_str());
    let mut list = String::from("{");
    for name in names {
        push_member(name, &mut list);
        list.push_str("true");
    }
    if list.len() > 1 {
        push_member("$append_values", body);
        body.push_str(&list);
        body.push('}');
    }
}

/// The text of a JSON scalar; null is empty.
fn plain(raw: &RawValue) -> String {
    let text = raw.get();
    if text == "null" {
        return String::new();
    }
    serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())
}
