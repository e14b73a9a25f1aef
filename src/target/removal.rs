//! One delete call: up to 100 records, by id, found by their match fields where the id is not known.
//!
//! A record that is not there is no failure: it is as the row wants it. Deleted records go to Zoho's bin.
//! Follows the v8 page "Delete Records".

use std::collections::HashMap;

use super::error::Error;
use super::job::{ByEntry, Job, Laid};
use super::ledger::Call;
use super::lookup::{Found, Missing, Question, ask};
use super::outcome::{Action, Outcome};
use super::write::Effort;
use crate::zoho::api::records::RowAnswer;
use crate::zoho::credits::delete_price;
use crate::zoho::types::RecordId;

impl Job<'_> {
    /// Deletes the records of a call.
    pub(super) async fn run_delete(&self, mut call: Call, effort: &mut Effort) -> Result<ByEntry, Error> {
        let mut laid = Vec::with_capacity(call.units.len());
        for unit in &call.units {
            laid.push(self.lay(unit).await?);
        }
        let found = self.find_doomed(&laid, effort).await?;
        let mut ids: Vec<RecordId> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for id in found.iter().flatten() {
            places.entry(id.as_str()).or_insert_with(|| {
                ids.push(RecordId::from(id.as_str()));
                ids.len() - 1
            });
        }
        let answers = if ids.is_empty() { Vec::new() } else { self.delete(&mut call, &ids, effort).await? };
        let resent = call.resent;
        let outcomes = found.iter().map(|found| match found {
            Err(outcome) if resent && outcome.action == Action::Skipped => gone_by_now(None),
            Err(outcome) => Outcome::clone(outcome),
            Ok(id) => match answers.get(places[id.as_str()]) {
                Some(answer) => told(answer, id, resent),
                None => Outcome::unknown("Zoho gave no answer for this record"),
            },
        });
        let outcomes = outcomes.collect();
        self.done(&call, outcomes).await
    }

    async fn delete(
        &self,
        call: &mut Call,
        ids: &[RecordId],
        effort: &mut Effort,
    ) -> Result<Vec<RowAnswer>, Error> {
        let module = &self.batch.route.module;
        self.intend(call)?;
        let mut attempt = 1;
        loop {
            effort.calls += 1;
            effort.credits += delete_price(ids.len());
            match self.writer.client.delete(module, ids).await {
                Ok(answers) => return Ok(answers),
                Err(error) => {
                    let doing = format!("cannot delete records of {module}");
                    self.after_failure(call, error, &doing, attempt).await?;
                }
            }
            attempt += 1;
        }
    }

    /// The record of each unit, or why there is none.
    async fn find_doomed(
        &self,
        laid: &[Laid],
        effort: &mut Effort,
    ) -> Result<Vec<Result<String, Box<Outcome>>>, Error> {
        let route = &self.batch.route;
        let mut keys = Vec::new();
        for field in &route.match_on {
            let Some(place) = route.column(field).filter(|_| field != "id") else { continue };
            let question = Question {
                module: &route.module,
                field,
                numeric: route.columns[place].kind.is_number(),
                more: &[],
            };
            let without_id = laid.iter().filter(|one| self.text(one, "id").is_none());
            let mut found = Found::default();
            let values = found.unknown(without_id.filter_map(|one| self.text(one, field)));
            ask(&self.writer.client, question, &values, &mut found, effort).await?;
            keys.push((field, found));
        }
        Ok(laid.iter().map(|one| self.doomed(one, &keys)).collect())
    }

    fn doomed(&self, laid: &Laid, keys: &[(&String, Found)]) -> Result<String, Box<Outcome>> {
        if let Some(id) = self.text(laid, "id") {
            return Ok(id);
        }
        let module = &self.batch.route.module;
        let mut outcome = not_there(format!("nothing tells which record of {module} is meant"));
        for (field, found) in keys {
            let Some(key) = self.text(laid, field) else { continue };
            match found.id(&key) {
                Ok(id) => return Ok(id.to_owned()),
                Err(Missing::None) => {
                    outcome = not_there(format!("no record of {module} has {field} \"{key}\""));
                }
                Err(several) => return Err(Box::new(several.outcome(field, module, field, &key))),
            }
        }
        Err(Box::new(outcome))
    }

    /// The text of a unit's value in a field; none where it is empty.
    fn text(&self, laid: &Laid, field: &str) -> Option<String> {
        let raw = laid.members.get(&self.batch.route.column(field)?)?;
        Some(super::resolve::plain(raw)).filter(|text| !text.is_empty())
    }
}

fn not_there(message: String) -> Outcome {
    Outcome {
        code: Some("RESOURCE_NOT_FOUND".to_owned()),
        message: Some(message),
        ..Outcome::new(Action::Skipped)
    }
}

/// A record that is not there after a sending whose answer was lost.
fn gone_by_now(id: Option<String>) -> Outcome {
    Outcome {
        message: Some("the record is gone; the answer to the first sending was lost".to_owned()),
        ..Outcome::new(Action::Deleted).with_record(id)
    }
}

fn told(answer: &RowAnswer, id: &str, resent: bool) -> Outcome {
    let id = Some(id.to_owned());
    if answer.success {
        return Outcome::new(Action::Deleted).with_record(id);
    }
    match answer.code.as_str() {
        "INVALID_DATA" | "RESOURCE_NOT_FOUND" if resent => gone_by_now(id),
        "INVALID_DATA" | "RESOURCE_NOT_FOUND" => {
            not_there("no record has this id".to_owned()).with_record(id)
        }
        code => Outcome::rejected(code, answer.field.clone(), answer.message.clone()).with_record(id),
    }
}
