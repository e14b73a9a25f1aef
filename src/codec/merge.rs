//! One record out of several readings: the columns of a wide stream come in slices, each by a file
//! or by pages of answers of its own, all ascending by id. Rows of one id are put together in the
//! order of the stream's plan, byte for byte as if they had come by one reading.
//!
//! It does no input and output: it says which source it [needs](Step::Needs) more of and is fed.
//! Rows that do not fit together (another `Modified_Time`, or missing from a slice) are
//! [torn](Step::Torn): somebody has to read them again, whole. Memory is one row a file and one page
//! a source of answers, whatever the number of rows.

use super::decode::{CsvDecoder, DecodeError, Fields, Found};
use super::plan::{Column, RecordPlan};
use super::time::epoch_seconds;
use serde_json::value::RawValue;
use std::io::Read;

/// The field that tells whether two slices saw the same version of a row.
const VERSION: &str = "Modified_Time";

/// What [`Merger::advance`] came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A record that fits together; [`Merger::write`] writes it.
    Whole,
    /// A row that does not: [`Merger::id`] is to be read again.
    Torn,
    /// The source of this number has to be fed or finished.
    Needs(usize),
    /// The source of this number does not ascend by id.
    Disorder(usize),
    /// Every row up to the [edge](Merger::until) has been merged.
    Edge,
    /// All sources are at their end.
    End,
}

/// Puts the rows of several sources together.
pub struct Merger<R> {
    plan: RecordPlan,
    /// For each property its source, and its place in the source's columns.
    origins: Vec<(usize, usize)>,
    sources: Vec<Source<R>>,
    /// Whose row the id of the last step is.
    lead: usize,
    /// The last id of what files were fed for.
    edge: Option<String>,
}

impl<R: Read> Merger<R> {
    /// A merger of these slices of `plan`: each its `id`, its `Modified_Time` if the module has one,
    /// and what it delivers. A property that several slices have is taken from the first.
    ///
    /// # Panics
    /// When a property is in no slice, or a slice lacks the id.
    pub fn new(plan: &RecordPlan, slices: &[RecordPlan]) -> Self {
        let origin = |column: &Column| {
            let found = (0..).zip(slices).find_map(|(at, slice)| Some((at, slice.position(&column.name)?)));
            found.expect("the slices have every column of the stream")
        };
        let origins = plan.columns.iter().map(origin).collect();
        let sources = slices.iter().map(Source::new).collect();
        Self { plan: plan.clone(), origins, sources, lead: 0, edge: None }
    }

    /// Lets a source repeat rows that went before, as lists do that shift between two pages: they are
    /// passed over. Any other source has to ascend.
    pub fn may_repeat(&mut self, source: usize) {
        self.sources[source].repeats = true;
    }

    /// Has every source begin after this id: what is up to it was merged before.
    pub fn start_after(&mut self, id: &str) {
        for source in &mut self.sources {
            id.clone_into(&mut source.before);
        }
    }

    /// The files fed next hold the rows up to this id; what they have behind it is left for the files
    /// after them. Without an edge they hold all that is left.
    pub fn until(&mut self, edge: Option<&str>) {
        self.edge = edge.map(str::to_owned);
    }

    /// Feeds a CSV file in place of the one before.
    ///
    /// # Errors
    /// When there is no header or it lacks a column.
    pub fn feed_file(&mut self, source: usize, file: R) -> Result<(), DecodeError> {
        let source = &mut self.sources[source];
        source.input = Input::File(Box::new(CsvDecoder::new(file, &source.plan)?));
        // A row behind the edge of the file before is in this one, too.
        (source.is_filed, source.has_row) = (true, false);
        Ok(())
    }

    /// Feeds a page of answers.
    pub fn feed_page(&mut self, source: usize, records: Vec<Box<RawValue>>) {
        self.sources[source].input = Input::Page { records, next: 0 };
    }

    /// Says that nothing follows what a source was fed.
    pub fn finish(&mut self, source: usize) {
        self.sources[source].finished = true;
    }

    /// Goes to the next row.
    ///
    /// # Errors
    /// When a file or an answer cannot be read.
    pub fn advance(&mut self) -> Result<Step, DecodeError> {
        for (at, source) in self.sources.iter_mut().enumerate() {
            match source.fill()? {
                Filled::Row | Filled::End => {}
                // A file that is at its end has nothing more up to the edge.
                Filled::Needs if source.is_filed => {}
                Filled::Needs => return Ok(Step::Needs(at)),
                Filled::Disorder => return Ok(Step::Disorder(at)),
            }
        }
        let rows = self.sources.iter().enumerate().filter(|(_, source)| source.has_row);
        let lead = rows.min_by(|(_, one), (_, other)| order(&one.id).cmp(&order(&other.id)));
        let Some((lead, source)) = lead else {
            return Ok(if self.edge.is_some() { Step::Edge } else { Step::End });
        };
        if self.edge.as_ref().is_some_and(|edge| order(edge) < order(&source.id)) {
            return Ok(Step::Edge);
        }
        self.lead = lead;
        let mut whole = true;
        for at in 0..self.sources.len() {
            let (source, leader) = (&self.sources[at], &self.sources[lead]);
            let same = source.has_row && source.id == leader.id;
            whole &= same && leader.agrees(source);
            self.sources[at].taken = same;
        }
        Ok(if whole { Step::Whole } else { Step::Torn })
    }

    /// The id of the row that the last step came upon; empty before the first.
    pub fn id(&self) -> &str {
        &self.sources[self.lead].id
    }

    /// Appends the record of the last step, a [whole](Step::Whole) one, to `out`.
    ///
    /// # Errors
    /// When a value is not of its field's type.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut separator = b'{';
        for (column, (source, place)) in self.plan.columns.iter().zip(&self.origins) {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(&column.key);
            self.sources[*source].write(*place, column, out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Ids compare as the numbers they are.
fn order(id: &str) -> (usize, &str) {
    (id.len(), id)
}

enum Input<R> {
    Waiting,
    File(Box<CsvDecoder<R>>),
    Page { records: Vec<Box<RawValue>>, next: usize },
}

/// How a source stands after it was asked for its next row.
enum Filled {
    Row,
    Needs,
    Disorder,
    End,
}

struct Source<R> {
    plan: RecordPlan,
    fields: Fields,
    id_place: usize,
    version_place: Option<usize>,
    input: Input<R>,
    /// Where the current answer's values stand in its text.
    found: Found,
    id: String,
    /// The id of the row before.
    before: String,
    /// Number of the current row, over all that was fed.
    row: u64,
    has_row: bool,
    /// It is fed files.
    is_filed: bool,
    /// The current row has been handed out.
    taken: bool,
    finished: bool,
    repeats: bool,
}

impl<R: Read> Source<R> {
    fn new(plan: &RecordPlan) -> Self {
        Self {
            plan: plan.clone(),
            fields: Fields::new(&plan.columns),
            id_place: plan.position("id").expect("every slice has the id"),
            version_place: plan.position(VERSION),
            input: Input::Waiting,
            found: Found::new(),
            id: String::new(),
            before: String::new(),
            row: 0,
            has_row: false,
            is_filed: false,
            taken: false,
            finished: false,
            repeats: false,
        }
    }

    /// Goes to the next row, if the current one has been handed out.
    fn fill(&mut self) -> Result<Filled, DecodeError> {
        if self.has_row && !self.taken {
            return Ok(Filled::Row);
        }
        if self.has_row {
            std::mem::swap(&mut self.before, &mut self.id);
            self.has_row = false;
        }
        while self.load()? {
            if order(&self.before) < order(&self.id) {
                (self.has_row, self.taken) = (true, false);
                return Ok(Filled::Row);
            }
            if !self.repeats {
                return Ok(Filled::Disorder);
            }
        }
        Ok(if self.finished { Filled::End } else { Filled::Needs })
    }

    /// Takes the next row of what was fed; false when there is none left.
    fn load(&mut self) -> Result<bool, DecodeError> {
        let more = match &mut self.input {
            Input::Waiting => false,
            Input::File(file) => file.advance()?,
            Input::Page { records, next } => match records.get(*next) {
                Some(record) => {
                    let row = self.row + 1;
                    let found = self.fields.find(record.get(), &mut self.found);
                    found.map_err(|source| DecodeError::Json { row, source })?;
                    *next += 1;
                    true
                }
                None => false,
            },
        };
        if !more {
            self.input = Input::Waiting;
            return Ok(false);
        }
        self.row += 1;
        let mut id = std::mem::take(&mut self.id);
        id.clear();
        id.push_str(self.text(self.id_place));
        self.id = id;
        Ok(true)
    }

    /// A value of the current row as plain text, empty where there is none.
    fn text(&self, place: usize) -> &str {
        match &self.input {
            Input::Waiting => "",
            Input::File(file) => std::str::from_utf8(file.cell(place)).unwrap_or_default(),
            Input::Page { .. } => match self.json(place) {
                "null" => "",
                text => text.trim_matches('"'),
            },
        }
    }

    /// A value of the current answer, as it stands there.
    fn json(&self, place: usize) -> &str {
        let Input::Page { records, next } = &self.input else { return "null" };
        let record = records[*next - 1].get();
        self.found[self.fields.places[place]].clone().map_or("null", |range| &record[range])
    }

    /// Whether both saw the same version of the row; a module without versions cannot tell.
    fn agrees(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (self.version_place, other.version_place) else { return true };
        let (one, two) = (self.text(one), other.text(two));
        // The same instant can be written with another offset, so texts that differ are read.
        one == two || epoch_seconds(one).is_some_and(|one| Some(one) == epoch_seconds(two))
    }

    fn write(&self, place: usize, column: &Column, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let written = match &self.input {
            Input::File(file) => column.write_cell(file.cell(place), out),
            _ => column.write_json(self.json(place), out),
        };
        let field = || column.name.clone();
        written.map_err(|source| DecodeError::Value { row: self.row, field: field(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode_slow;
    use super::super::value::Kind;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    /// A row of a made-up module: id, version, and its values, which change with the version.
    type Row = (u64, u32);

    fn plan(width: usize) -> RecordPlan {
        let kinds = [Kind::Text, Kind::Decimal, Kind::MultiSelect, Kind::Boolean];
        let values = (0..width).map(|at| Column::new(format!("F{at}"), kinds[at % kinds.len()]));
        let version = Column::new(VERSION, Kind::DateTime);
        RecordPlan::new([Column::new("id", Kind::Id)].into_iter().chain(values).chain([version]))
    }

    /// The slices of a plan: each property but id and version goes where `owners` says.
    fn slices(plan: &RecordPlan, owners: &[usize], count: usize) -> Vec<RecordPlan> {
        let owned = |slice: usize| {
            let owns = move |at: usize| owners[at % owners.len()] % count == slice;
            plan.columns
                .iter()
                .enumerate()
                .filter(move |(at, column)| column.name == "id" || column.name == VERSION || owns(*at))
        };
        (0..count).map(|slice| RecordPlan::new(owned(slice).map(|(_, column)| column.clone()))).collect()
    }

    /// The cell of a property: something else for every id, version and property.
    fn cell(column: &Column, (id, version): Row) -> String {
        let seed = id * 31 + u64::from(version) * 7 + column.name.len() as u64;
        match column.kind {
            Kind::Id => id.to_string(),
            Kind::DateTime => format!("2026-03-01T0{}:30:00+11:00", version % 10),
            Kind::Decimal => format!("{seed}.{}0", seed % 10),
            Kind::Boolean => seed.is_multiple_of(2).to_string(),
            Kind::MultiSelect => ["", "A", "A;B \"c\""][seed as usize % 3].to_owned(),
            _ => ["", "line\n\"two\", é", "x;y"][seed as usize % 3].to_owned(),
        }
    }

    fn csv(plan: &RecordPlan, rows: &[Row]) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(plan.columns.iter().map(|column| &column.cell)).expect("writes");
        for row in rows {
            writer.write_record(plan.columns.iter().map(|column| cell(column, *row))).expect("writes");
        }
        writer.into_inner().expect("flushes")
    }

    fn answers(plan: &RecordPlan, rows: &[Row]) -> Vec<Box<RawValue>> {
        let value = |column: &Column, row| match (column.kind, cell(column, row)) {
            (_, text) if text.is_empty() => Value::Null,
            (Kind::MultiSelect, text) => text.split(';').collect::<Vec<_>>().into(),
            (Kind::Boolean, text) => (text == "true").into(),
            (Kind::Decimal, text) => serde_json::from_str(&text).expect("a number"),
            // The same instant in another zone.
            (Kind::DateTime, text) => text.replace("T0", "T1").replace("+11", "+21").into(),
            (_, text) => text.into(),
        };
        let answer = |row: &Row| {
            let mut object = Map::from_iter([("$editable".to_owned(), json!({"a": [1]}))]);
            object
                .extend(plan.columns.iter().rev().map(|column| (column.field.clone(), value(column, *row))));
            serde_json::value::to_raw_value(&object).expect("is JSON")
        };
        rows.iter().map(answer).collect()
    }

    /// What a merger makes of sources: its records, and the ids that are torn.
    fn merged(
        plan: &RecordPlan,
        slices: &[RecordPlan],
        rows: &[Vec<Row>],
        page: usize,
    ) -> (Vec<String>, Vec<u64>) {
        let mut merger = Merger::new(plan, slices);
        let mut fed = vec![0; slices.len()];
        let files: Vec<Vec<u8>> = slices.iter().zip(rows).map(|(slice, rows)| csv(slice, rows)).collect();
        let (mut records, mut torn) = (Vec::new(), Vec::new());
        loop {
            match merger.advance().expect("decodes") {
                Step::End => return (records, torn),
                Step::Disorder(source) => panic!("source {source} does not ascend"),
                Step::Edge => unreachable!("there is none"),
                Step::Torn => torn.push(merger.id().parse().expect("a number")),
                Step::Whole => {
                    let mut out = Vec::new();
                    merger.write(&mut out).expect("writes");
                    records.push(String::from_utf8(out).expect("UTF-8"));
                }
                Step::Needs(source) if fed[source] >= rows[source].len() && fed[source] > 0 => {
                    merger.finish(source);
                }
                // Every other source is a file.
                Step::Needs(source) if source % 2 == 0 => {
                    merger.feed_file(source, files[source].as_slice()).expect("a header");
                    fed[source] = rows[source].len().max(1);
                }
                Step::Needs(source) => {
                    let from = fed[source];
                    let to = (from + page).min(rows[source].len());
                    merger.feed_page(source, answers(&slices[source], &rows[source][from..to]));
                    fed[source] = to.max(1);
                }
            }
        }
    }

    /// The same by hand: every record whole from one file, kept where all slices have its row.
    fn expected(plan: &RecordPlan, rows: &[Vec<Row>]) -> (Vec<String>, Vec<u64>) {
        let mut ids: Vec<u64> = rows.iter().flatten().map(|row| row.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let version = |rows: &Vec<Row>, id| rows.iter().find(|row| row.0 == id).map(|row| row.1 % 10);
        let same = |id: &u64| {
            let first = version(&rows[0], *id);
            first.is_some() && rows.iter().all(|rows| version(rows, *id) == first)
        };
        let (whole, torn): (Vec<u64>, Vec<u64>) = ids.into_iter().partition(same);
        let row = |id: &u64| *rows[0].iter().find(|row| row.0 == *id).expect("is there");
        let whole: Vec<Row> = whole.iter().map(row).collect();
        (decode_slow::records(&csv(plan, &whole), plan).expect("decodes"), torn)
    }

    #[test]
    fn a_list_that_shifts_repeats_rows_and_nobody_else_may() {
        let plan = plan(2);
        let slices = slices(&plan, &[0, 1], 2);
        let rows: Vec<Row> = (1..5).map(|id| (id, 0)).collect();
        for repeats in [true, false] {
            let mut merger: Merger<&[u8]> = Merger::new(&plan, &slices);
            if repeats {
                merger.may_repeat(1);
            }
            merger.feed_page(0, answers(&slices[0], &rows));
            merger.feed_page(1, answers(&slices[1], &rows[..2]));
            assert_eq!([merger.advance().ok(), merger.advance().ok()], [Some(Step::Whole); 2]);
            assert_eq!(merger.advance().ok(), Some(Step::Needs(1)));
            merger.feed_page(1, answers(&slices[1], &rows[1..]));
            let expected = if repeats { Step::Whole } else { Step::Disorder(1) };
            assert_eq!(merger.advance().ok(), Some(expected));
        }
    }

    #[test]
    fn files_may_end_at_different_rows_of_one_window() {
        let plan = plan(3);
        let slices = slices(&plan, &[0, 1], 3);
        let rows: Vec<Row> = (11..19).map(|id| (id, 0)).collect();
        let file = |slice: usize, ids: std::ops::Range<usize>| csv(&slices[slice], &rows[ids]);
        // The second file of the first window went on behind its edge.
        let files = [file(0, 0..3), file(1, 0..5), file(0, 3..8), file(1, 3..7)];
        let mut merger = Merger::new(&plan, &slices);
        let mut steps = Vec::new();
        for (window, edge) in [(0, Some("13")), (2, None)] {
            merger.until(edge);
            for source in 0..2 {
                merger.feed_file(source, files[window + source].as_slice()).expect("a header");
            }
            loop {
                match merger.advance().expect("decodes") {
                    Step::Needs(2) => {
                        merger.feed_page(2, answers(&slices[2], &rows));
                        merger.finish(2);
                    }
                    Step::Edge | Step::End => break,
                    step => steps.push((step, merger.id().to_owned())),
                }
            }
        }
        let whole = (11..18).map(|id| (Step::Whole, id.to_string()));
        assert_eq!(steps, whole.chain([(Step::Torn, "18".to_owned())]).collect::<Vec<_>>());
    }

    #[test]
    fn ids_compare_as_numbers_across_sources() {
        let plan = plan(2);
        let slices = slices(&plan, &[0, 1], 2);
        let rows = vec![vec![(9, 0), (10, 0)], vec![(10, 0), (100, 0)]];
        let (records, torn) = merged(&plan, &slices, &rows, 5);
        assert_eq!((records.len(), torn), (1, vec![9, 100]));
    }

    fn source() -> impl Strategy<Value = Vec<Row>> {
        // Few versions and rows left out now and then: what changes between two readings.
        let row = (1u64..4, prop_oneof![8 => Just(0u32), 1 => 1u32..3], prop::bool::weighted(0.9));
        proptest::collection::vec(row, 0..40).prop_map(|rows| {
            let mut id = 8;
            let step = |(_, version, there): (u64, u32, bool)| {
                id += 1;
                there.then_some((id, version))
            };
            rows.into_iter().filter_map(step).collect()
        })
    }

    proptest! {
        #[test]
        fn slices_merge_to_the_record_of_one_reading(
            rows in proptest::collection::vec(source(), 1..5),
            owners in proptest::collection::vec(0usize..5, 1..12),
            width in 1usize..12,
            page in 1usize..9,
        ) {
            let plan = plan(width);
            let slices = slices(&plan, &owners, rows.len());
            prop_assert_eq!(merged(&plan, &slices, &rows, page), expected(&plan, &rows));
        }
    }
}
