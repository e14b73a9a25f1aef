//! What a run did, in words and numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::mapping::Route;
use super::outcome::{Action, Outcome};
use super::write::Effort;
use crate::diagnostic::{duration, thousands};

/// Counts of one stream to one module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The stream.
    pub stream: String,
    /// The module.
    pub module: String,
    /// Operation and match: `upsert by Email`.
    pub how: String,
    /// Whether an earlier run had taken these rows and left them under way. Those that had no STATE
    /// after them come again and are counted as rows of this run, too.
    pub earlier: bool,
    /// Rows by outcome.
    pub actions: BTreeMap<Action, u64>,
    /// Rejected rows by code.
    pub codes: BTreeMap<String, u64>,
    /// Rows that an earlier run had written.
    pub replayed: u64,
    /// Jobs, calls, credits.
    pub effort: Effort,
    /// Which automations the mapping lets run; `None` means those that Zoho starts by itself.
    pub trigger: Option<Vec<String>>,
}

impl Tally {
    /// Nothing counted yet.
    pub fn of(route: &Route) -> Self {
        Self {
            stream: route.stream.clone(),
            module: route.module.clone(),
            how: route.describe(),
            trigger: route.trigger.clone(),
            ..Self::default()
        }
    }

    /// Counts one row.
    pub fn count(&mut self, outcome: &Outcome) {
        *self.actions.entry(outcome.action).or_default() += 1;
        self.replayed += u64::from(outcome.replayed);
        if outcome.action == Action::Rejected {
            *self.codes.entry(outcome.code.clone().unwrap_or_default()).or_default() += 1;
        }
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.actions.values().sum()
    }

    /// Rows that are not in Zoho, or not known to be.
    pub fn failed(&self) -> u64 {
        self.of_action(Action::Rejected) + self.of_action(Action::Unknown)
    }

    fn of_action(&self, action: Action) -> u64 {
        self.actions.get(&action).copied().unwrap_or(0)
    }

    fn counts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        for (action, count) in &self.actions {
            let mut part = format!("{} {}", thousands(*count), action.as_str());
            if *action == Action::Rejected {
                let codes: Vec<String> =
                    self.codes.iter().map(|(code, count)| format!("{} {code}", thousands(*count))).collect();
                part.push_str(&format!(" ({})", codes.join(", ")));
            }
            parts.push(part);
        }
        if self.replayed > 0 {
            parts.push(format!("{} of them by an earlier run, not sent again", thousands(self.replayed)));
        }
        parts
    }

    fn way(&self) -> String {
        let mut parts = vec![self.how.clone()];
        match (self.effort.jobs, self.effort.calls) {
            (0, 0) => parts.push("nothing to send".to_owned()),
            (jobs, calls) => {
                if jobs > 0 {
                    parts.push(format!("bulk write, {}", counted(jobs, "job", "jobs")));
                }
                if calls > 0 {
                    parts.push(counted(calls, "record call", "record calls"));
                }
            }
        }
        parts.push(counted(self.effort.credits, "credit", "credits"));
        parts.join(", ")
    }
}

/// A finished run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Name of the run, in file names.
    pub run: String,
    /// Counts by module and stream.
    pub tallies: Vec<Tally>,
    /// Input lines read.
    pub lines: u64,
    /// STATE values printed.
    pub states: u64,
    /// Records of streams that the config leaves out.
    pub left_out: u64,
    /// Time from start to end.
    pub elapsed: Duration,
    /// Where the results are, if in a file.
    pub results: Option<PathBuf>,
    /// Where the rejected rows are, if there are any.
    pub rejects: Option<PathBuf>,
    /// Whether the state folder knew no earlier run.
    pub fresh_state: bool,
    /// Whether more rows were rejected than `max_rejected` allows: exit code 1.
    pub too_many_rejected: bool,
}

impl Summary {
    /// All rows of this run that went to a module.
    pub fn rows(&self) -> u64 {
        self.of_this_run().map(Tally::rows).sum()
    }

    /// Rows of this run that are not in Zoho, or not known to be.
    pub fn failed(&self) -> u64 {
        self.of_this_run().map(Tally::failed).sum()
    }

    /// Which automations ran in Zoho, in words; `None` when nothing was sent.
    fn automations(&self) -> Option<String> {
        let sent: Vec<&Tally> =
            self.of_this_run().filter(|tally| tally.effort != Effort::default()).collect();
        let line = |tally: &Tally| match &tally.trigger {
            None => "as Zoho starts them by itself (`trigger` is not set)".to_owned(),
            Some(names) if names.is_empty() => "none, by `trigger`".to_owned(),
            Some(names) => format!("{}, by `trigger`", names.join(", ")),
        };
        let first = line(sent.first()?);
        if sent.iter().all(|tally| line(tally) == first) {
            return Some(format!("Automations in Zoho: {first}"));
        }
        let each: Vec<String> =
            sent.iter().map(|tally| format!("{} {}", tally.module, line(tally))).collect();
        Some(format!("Automations in Zoho: {}", each.join("; ")))
    }

    fn of_this_run(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.iter().filter(|tally| !tally.earlier)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines == 0 && self.tallies.is_empty() {
            return write!(f, "Wrote nothing: the input is empty.");
        }
        for tally in self.tallies.iter().filter(|tally| tally.earlier) {
            let rows = counted(tally.rows(), "row", "rows");
            writeln!(f, "Finished {rows} to {} that an earlier run had under way:", tally.module)?;
            writeln!(f, "  {}", tally.counts().join("   "))?;
        }
        if self.of_this_run().next().is_none() {
            write!(f, "Wrote nothing: {} without a row to write.", counted(self.lines, "line", "lines"))?;
        }
        for (place, tally) in self.of_this_run().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            let written = tally.rows() - tally.failed() - tally.replayed;
            write!(f, "Wrote {} to {} ({})", counted(written, "row", "rows"), tally.module, tally.way())?;
            if place == 0 {
                write!(f, " in {}", duration(self.elapsed))?;
            }
            write!(f, ":\n  {}", tally.counts().join("   "))?;
        }
        if let Some(line) = self.automations() {
            write!(f, "\n{line}")?;
        }
        if self.left_out > 0 {
            write!(f, "\nLeft out by the config: {}", counted(self.left_out, "row", "rows"))?;
        }
        if let Some(path) = &self.results {
            write!(f, "\nResult of every row: {}", path.display())?;
        }
        if let Some(path) = &self.rejects {
            let path = path.display();
            write!(f, "\nRejected rows: {path}    correct and send again: zoho-crm retry {path}")?;
        }
        if self.fresh_state {
            write!(
                f,
                "\nThe state folder was empty: rows of a run before this one could not be recognised."
            )?;
        }
        Ok(())
    }
}

/// A number with its noun.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::route;

    #[test]
    fn a_run_in_words() {
        let mut tally = Tally::of(&route());
        for (action, count) in [(Action::Updated, 21_004), (Action::Inserted, 3_981)] {
            (0..count).for_each(|_| tally.count(&Outcome::new(action)));
        }
        (0..9).for_each(|_| tally.count(&Outcome::rejected("INVALID_DATA", None, "")));
        tally.effort = Effort { jobs: 1, calls: 0, credits: 500 };
        let summary = Summary {
            tallies: vec![tally],
            lines: 24_996,
            elapsed: Duration::from_secs(48),
            rejects: Some("r.singer".into()),
            ..Summary::default()
        };
        assert_eq!(
            summary.to_string(),
            "Wrote 24,985 rows to Contacts (upsert by Email, bulk write, 1 job, 500 credits) in 48 s:\n  \
             3,981 inserted   21,004 updated   9 rejected (9 INVALID_DATA)\n\
             Automations in Zoho: as Zoho starts them by itself (`trigger` is not set)\n\
             Rejected rows: r.singer    correct and send again: zoho-crm retry r.singer"
        );
        assert_eq!((summary.rows(), summary.failed()), (24_994, 9));
    }
}
