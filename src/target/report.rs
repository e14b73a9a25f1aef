//! The outcome of every row, told: RESULT lines in input order, rejected rows to send again, counts.
//!
//! Nothing here decides an outcome. Results of one stream come in input order even when it feeds several
//! modules, whose batches end at different times: each module's results wait for the others'.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::batch::Entry;
use super::config::Results;
use super::error::Error;
use super::ledger::{InFile, Ledger};
use super::mapping::Route;
use super::outcome::{Action, Outcome};
use super::record::Record;
use super::summary::Tally;
use super::write::Written;

/// Property under which a rejected row carries its reason.
pub const REJECTED_PROPERTY: &str = "_zoho_rejected";

/// The module that rejected this row before, if the row comes from a file of rejected ones.
pub fn rejected_by(record: &Record<'_>) -> Option<String> {
    reason(record, "module")
}

/// The record of a row that was written but for a lookup, and rejected because of that.
pub fn written_as(record: &Record<'_>) -> Option<String> {
    reason(record, "written_as")
}

/// What the reason of a rejected row says under this key.
fn reason(record: &Record<'_>, key: &str) -> Option<String> {
    Some(record.value(REJECTED_PROPERTY)?.get(key)?.as_str()?.to_owned())
}

/// Stream of results in Singer form.
pub const RESULT_STREAM: &str = "zoho_results";

/// One RESULT line.
#[derive(Debug, Serialize)]
struct ResultLine<'a> {
    r#type: &'static str,
    stream: &'a str,
    module: &'a str,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_line: Option<u64>,
    identifier: &'a RawValue,
    record_id: Option<&'a str>,
    success: bool,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_run: Option<&'a str>,
}

/// Where lines go.
enum Sink {
    File { path: PathBuf, file: BufWriter<File> },
    Stdout,
    Singer { announced: bool },
}

/// Results of one module of a stream that wait for those of the others.
type Waiting = VecDeque<(u64, String)>;

/// Tells outcomes.
pub struct Reporter {
    run: String,
    ledger: Ledger,
    sink: Sink,
    rejects: Rejects,
    waiting: HashMap<String, BTreeMap<i64, Waiting>>,
    tallies: BTreeMap<String, Tally>,
    /// Stream and line of rows refused since somebody asked, where somebody does.
    refused: Option<Vec<(String, u64)>>,
}

impl Reporter {
    /// Opens the sink that the config names.
    ///
    /// # Errors
    /// When its file cannot be created.
    pub fn open(results: &Results, state_dir: &Path, run: &str, ledger: Ledger) -> Result<Self, Error> {
        let sink = match results {
            Results::Stdout => Sink::Stdout,
            Results::Singer => Sink::Singer { announced: false },
            Results::File(path) => file_sink(path.clone())?,
            Results::Default => file_sink(state_dir.join("results").join(format!("{run}.jsonl")))?,
        };
        let rejects =
            Rejects { path: state_dir.join("rejected").join(format!("{run}.singer")), ..Rejects::default() };
        Ok(Self {
            run: run.to_owned(),
            ledger,
            sink,
            rejects,
            waiting: HashMap::new(),
            tallies: BTreeMap::new(),
            refused: None,
        })
    }

    /// Notes refused rows from now on.
    pub fn note_refused(&mut self) {
        self.refused = Some(Vec::new());
    }

    /// Stream and line of the rows of this run that were refused since the last time.
    pub fn take_refused(&mut self) -> Vec<(String, u64)> {
        self.refused.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Makes the results of a stream wait for each other from now on: the lanes of all its modules.
    pub fn expect(&mut self, stream: &str, lanes: &[i64]) {
        if lanes.len() > 1 {
            let waiting = self.waiting.entry(stream.to_owned()).or_default();
            for lane in lanes {
                waiting.entry(*lane).or_default();
            }
        }
    }

    /// Reports a batch; `earlier` names the run that accepted its rows, if it was another.
    ///
    /// # Errors
    /// When the spool cannot be read or a sink not be written.
    pub fn batch(
        &mut self,
        written: &mut Written,
        earlier: Option<&str>,
        stdout: &mut dyn Write,
    ) -> Result<(), Error> {
        let route = &written.batch.route;
        let tally = self
            .tallies
            .entry(format!("{}>{}>{}", route.module, route.stream, earlier.is_none()))
            .or_insert_with(|| Tally { earlier: earlier.is_some(), ..Tally::of(route) });
        tally.effort.add(written.effort);
        let mut rejected = Vec::new();
        let refused = &mut self.refused;
        let mut files = self.ledger.files_of(written.batch.run)?;
        for (number, outcome) in (0..).zip(&written.outcomes) {
            if written.waiting.entries.contains(&number) {
                continue;
            }
            tally.count(outcome);
            if !outcome.success() {
                rejected.push(number);
                if let Some(refused) = refused.as_mut().filter(|_| earlier.is_none()) {
                    refused.push((route.stream.clone(), written.reader.head(number)?.line));
                }
            }
        }
        for number in rejected {
            let (entry, outcome) = (written.reader.entry(number)?, &written.outcomes[number as usize]);
            let file = files.at(entry.line)?;
            self.rejects.add(route, &entry, outcome, file)?;
        }
        self.tell(written, earlier, stdout)?;
        self.release(&written.batch.route.stream, stdout)
    }

    /// Writes the results of a batch, or puts them with those that wait.
    fn tell(
        &mut self,
        written: &mut Written,
        earlier: Option<&str>,
        stdout: &mut dyn Write,
    ) -> Result<(), Error> {
        let (route, lane) = (&written.batch.route, written.batch.lane);
        let mut files = self.ledger.files_of(written.batch.run)?;
        for (number, outcome) in (0..).zip(&written.outcomes) {
            if written.waiting.entries.contains(&number) {
                continue;
            }
            let line = written.reader.head(number)?.line;
            let file = files.at(line)?;
            let told = result_line(route, (line, written.reader.name(number)?), outcome, (file, earlier))?;
            match self.waiting.get_mut(&route.stream).and_then(|lanes| lanes.get_mut(&lane)) {
                Some(waiting) if earlier.is_none() => waiting.push_back((line, told)),
                _ => self.write(&told, stdout)?,
            }
        }
        Ok(())
    }

    /// Writes what need not wait any longer.
    fn release(&mut self, stream: &str, stdout: &mut dyn Write) -> Result<(), Error> {
        let Some(mut lanes) = self.waiting.remove(stream) else { return Ok(()) };
        // Every row goes to every module, so the next result is known once all have one.
        while lanes.values().all(|lane| !lane.is_empty()) {
            for lane in lanes.values_mut() {
                if let Some((_, line)) = lane.pop_front() {
                    self.write(&line, stdout)?;
                }
            }
        }
        self.waiting.insert(stream.to_owned(), lanes);
        Ok(())
    }

    /// How many results wait for those of another module.
    pub fn held(&self) -> usize {
        self.waiting.values().flat_map(BTreeMap::values).map(VecDeque::len).sum()
    }

    /// Writes all that waits, as it is when a run ends early, and makes everything durable.
    ///
    /// # Errors
    /// When a sink cannot be written.
    pub fn finish(&mut self, stdout: &mut dyn Write) -> Result<(), Error> {
        for (_, lanes) in std::mem::take(&mut self.waiting) {
            let mut rest: Vec<(u64, String)> = lanes.into_values().flatten().collect();
            rest.sort_by_key(|(line, _)| *line);
            for (_, line) in rest {
                self.write(&line, stdout)?;
            }
        }
        self.flush()
    }

    /// Hands buffered lines to the system; done before a STATE says that they are told.
    ///
    /// # Errors
    /// When a sink cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        if let Sink::File { path, file } = &mut self.sink {
            file.flush().map_err(|source| Error::Report { path: path.clone(), source })?;
        }
        self.rejects.flush()
    }

    fn write(&mut self, line: &str, stdout: &mut dyn Write) -> Result<(), Error> {
        match &mut self.sink {
            Sink::File { path, file } => {
                writeln!(file, "{line}").map_err(|source| Error::Report { path: path.clone(), source })
            }
            Sink::Stdout => writeln!(stdout, "{line}").map_err(Error::Output),
            Sink::Singer { announced } => {
                if !std::mem::replace(announced, true) {
                    writeln!(stdout, "{}", result_schema()).map_err(Error::Output)?;
                }
                let run = &self.run;
                let members = line.strip_prefix("{\"type\":\"RESULT\",").unwrap_or(line);
                writeln!(
                    stdout,
                    "{{\"type\":\"RECORD\",\"stream\":\"{RESULT_STREAM}\",\"record\":{{\"run\":\"{run}\",{members}}}"
                )
                .map_err(Error::Output)
            }
        }
    }

    /// Counts by module and stream.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.values()
    }

    /// The file of results, if they go to one.
    pub fn results_path(&self) -> Option<&Path> {
        match &self.sink {
            Sink::File { path, .. } => Some(path),
            Sink::Stdout | Sink::Singer { .. } => None,
        }
    }

    /// The file of rejected rows, if there are any.
    pub fn rejects_path(&self) -> Option<&Path> {
        self.rejects.file.is_some().then_some(self.rejects.path.as_path())
    }
}

fn file_sink(path: PathBuf) -> Result<Sink, Error> {
    let file = create(&path).map_err(|source| Error::Report { path: path.clone(), source })?;
    Ok(Sink::File { path, file })
}

fn create(path: &Path) -> std::io::Result<BufWriter<File>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(BufWriter::with_capacity(256 << 10, File::create(path)?))
}

fn result_line(
    route: &Route,
    (line, name): (u64, &str),
    outcome: &Outcome,
    (file, earlier): (Option<InFile<'_>>, Option<&str>),
) -> Result<String, Error> {
    let spool = |source: serde_json::Error| Error::Spool(source.into());
    let identifier: &RawValue = serde_json::from_str(name).map_err(spool)?;
    serde_json::to_string(&ResultLine {
        r#type: "RESULT",
        stream: &route.stream,
        module: &route.module,
        line,
        file: file.map(|file| file.name),
        file_line: file.map(|file| file.line),
        identifier,
        record_id: outcome.record_id.as_deref(),
        success: outcome.success(),
        action: outcome.action,
        code: outcome.code.as_deref(),
        field: outcome.field.as_deref(),
        message: outcome.message.as_deref(),
        job_id: outcome.job_id.as_deref(),
        replayed: outcome.replayed,
        from_run: earlier,
    })
    .map_err(spool)
}

fn result_schema() -> Value {
    let text = json!({"type": ["null", "string"]});
    json!({"type": "SCHEMA", "stream": RESULT_STREAM, "key_properties": ["run", "stream", "module", "line"], "schema": {
        "type": "object", "properties": {
            "run": {"type": "string"}, "stream": {"type": "string"}, "module": {"type": "string"},
            "line": {"type": "integer"}, "file": text, "file_line": {"type": ["null", "integer"]}, "identifier": {"type": ["null", "object"]}, "record_id": text,
            "success": {"type": "boolean"}, "action": {"type": "string"}, "code": text, "field": text,
            "message": text, "job_id": text, "replayed": {"type": ["null", "boolean"]}, "from_run": text}}})
}

/// Rejected rows as Singer messages, so that they can be corrected and sent again.
#[derive(Default)]
struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    announced: HashMap<String, String>,
}

impl Rejects {
    fn add(
        &mut self,
        route: &Route,
        entry: &Entry,
        outcome: &Outcome,
        place: Option<InFile<'_>>,
    ) -> Result<(), Error> {
        let path = self.path.clone();
        self.try_add(route, entry, outcome, place).map_err(|source| Error::Report { path, source })
    }

    fn try_add(
        &mut self,
        route: &Route,
        entry: &Entry,
        outcome: &Outcome,
        place: Option<InFile<'_>>,
    ) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(create(&self.path)?),
        };
        if self.announced.get(&route.stream) != Some(&route.schema) {
            let mut schema: Value = serde_json::from_str(&route.schema)?;
            schema["properties"][REJECTED_PROPERTY] = json!({"type": ["null", "object"]});
            let message = json!({"type": "SCHEMA", "stream": route.stream, "schema": schema, "key_properties": route.key_properties});
            writeln!(file, "{message}")?;
            self.announced.insert(route.stream.clone(), route.schema.clone());
        }
        let mut record: Value = serde_json::from_str(&entry.record)?;
        record[REJECTED_PROPERTY] = json!({"module": route.module, "line": entry.line, "action": outcome.action,
            "code": outcome.code, "field": outcome.field, "message": outcome.message});
        if let Some(InFile { name, line }) = place {
            record[REJECTED_PROPERTY]["file"] = json!(name);
            record[REJECTED_PROPERTY]["file_line"] = json!(line);
        }
        if let Some(id) = outcome.record_id.as_ref().filter(|_| outcome.partly) {
            record[REJECTED_PROPERTY]["written_as"] = json!(id);
        }
        writeln!(file, "{}", json!({"type": "RECORD", "stream": route.stream, "record": record}))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.flush().map_err(|source| Error::Report { path: self.path.clone(), source })
    }
}
