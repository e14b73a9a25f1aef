//! One record call: up to 100 rows, each with its own answer.
//!
//! Follows the v8 pages "Insert Records", "Update Records", "Upsert Records". Parents named by a natural
//! key, and records to be updated by a field other than `id`, are found first (`lookup`).

use chrono::DateTime;
use serde_json::value::RawValue;

use super::error::Error;
use super::job::{ByEntry, Job, Laid, after_resend};
use super::ledger::{Call, Way};
use super::outcome::{Action, Outcome};
use super::plan::record_credits;
use super::write::Effort;
use crate::zoho::api::records::{RowAnswer, WriteCall};

/// A unit that is ready, or refused before it was sent.
enum Ready {
    Send(Box<RawValue>),
    Refused(Outcome),
}

impl Job<'_> {
    /// Sends the rows of a record call.
    pub(super) async fn run_records(&self, mut call: Call, effort: &mut Effort) -> Result<ByEntry, Error> {
        if let Some(others) = self.with_known_ids(&call).await? {
            return self.run_instead(&call, others, effort).await;
        }
        let mut laid = Vec::with_capacity(call.units.len());
        for (place, unit) in call.units.iter().enumerate() {
            let mut one = self.lay(unit).await?;
            if call.way == Way::Update {
                // A create needs the whole row.
                one.drop_unchanged(&self.batch.route);
            }
            if let Some(note) = call.notes.get(place) {
                one.heed(note, call.way);
            }
            laid.push(one);
        }
        if let Some(others) = self.without_parents(&call, &laid, effort).await? {
            return self.run_instead(&call, others, effort).await;
        }
        let (outcomes, answers) = self.send_until_answered(&laid, &mut call, effort).await?;
        let mut answers = answers.into_iter();
        let outcomes = outcomes
            .into_iter()
            .enumerate()
            .map(|(place, outcome)| {
                let outcome = outcome.unwrap_or_else(|| {
                    answers.next().map_or_else(
                        || Outcome::unknown("Zoho gave no answer for this row"),
                        |answer| self.outcome(answer, &call),
                    )
                });
                call.notes.get(place).map_or(outcome.clone(), |note| note.told(outcome))
            })
            .collect();
        self.done(&call, outcomes).await
    }

    /// Sends rows until Zoho answers, as often as that does no harm. What was found out before is found out
    /// again each time: a lost answer may have changed it.
    async fn send_until_answered(
        &self,
        laid: &[Laid],
        call: &mut Call,
        effort: &mut Effort,
    ) -> Result<(Vec<Option<Outcome>>, Vec<RowAnswer>), Error> {
        let mut attempt = 1;
        loop {
            let mut rows = Vec::new();
            let mut outcomes = Vec::with_capacity(laid.len());
            for ready in self.resolve(laid, call.way, effort).await? {
                match ready {
                    Ready::Send(row) => {
                        rows.push(row);
                        outcomes.push(None);
                    }
                    Ready::Refused(outcome) => outcomes.push(Some(outcome)),
                }
            }
            if rows.is_empty() {
                return Ok((outcomes, Vec::new()));
            }
            match self.send(call, rows, effort).await? {
                Ok(answers) => return Ok((outcomes, answers)),
                Err(error) => {
                    let doing = format!("cannot {} records of {}", verb(call.way), self.batch.route.module);
                    self.after_failure(call, *error, &doing, attempt).await?;
                }
            }
            attempt += 1;
        }
    }

    async fn send(
        &self,
        call: &mut Call,
        rows: Vec<Box<RawValue>>,
        effort: &mut Effort,
    ) -> Result<Result<Vec<RowAnswer>, Box<crate::zoho::Error>>, Error> {
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
        effort.calls += 1;
        effort.credits += record_credits(write.rows.len() as u64);
        let client = &self.writer.client;
        let answer = match call.way {
            Way::Update | Way::Lookups => client.update(&write).await,
            Way::Upsert => client.upsert(&write).await,
            _ => client.insert(&write).await,
        };
        Ok(answer.map_err(Box::new))
    }

    /// The JSON of each row, keys turned into ids.
    async fn resolve(&self, laid: &[Laid], way: Way, effort: &mut Effort) -> Result<Vec<Ready>, Error> {
        self.learn_all(laid, effort).await?;
        let known = self.known(laid, way, effort).await?;
        let parents = self.parents.lock().await;
        let ready = |one: &Laid| match self.body(one, way, &parents, &known) {
            Ok(body) => match RawValue::from_string(body) {
                Ok(row) => Ready::Send(row),
                Err(error) => Ready::Refused(Outcome::rejected("INVALID_DATA", None, error.to_string())),
            },
            Err(outcome) => Ready::Refused(*outcome),
        };
        Ok(laid.iter().map(ready).collect())
    }

    fn outcome(&self, answer: RowAnswer, call: &Call) -> Outcome {
        let route = &self.batch.route;
        let id = answer.id.map(|id| id.to_string());
        let twin = answer.duplicate_id.map(|id| id.to_string());
        if answer.success {
            let action = match (call.way, answer.action.as_deref()) {
                (_, Some("update")) | (Way::Update | Way::Lookups, _) => Action::Updated,
                _ => Action::Inserted,
            };
            let modified = answer.details["Modified_Time"]
                .as_str()
                .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            let outcome = Outcome { modified: modified.map(|time| time.timestamp()), ..Outcome::new(action) };
            return after_resend(outcome.with_record(id), call);
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
        Way::Update | Way::Lookups => "update",
        Way::Upsert => "upsert",
        Way::Delete => "delete",
        _ => "insert",
    }
}
