//! Column slices: the columns of a stream, divided among the ways that can deliver them.
//!
//! One way takes all it can (the *main* way), in as many slices as its width demands; what it does
//! not deliver is fetched by the cheapest way that does. Every slice brings the id, by which
//! `codec/merge.rs` puts records together again, and `Modified_Time`, which tells whether they fit.

use super::delivery::Delivery;
use super::plan::{MODIFIED_TIME, Way};
use crate::codec::plan::{Column, RecordPlan};
use crate::zoho;
use crate::zoho::api::{bulk_read, coql, records};
use std::collections::HashSet;

/// Credits for a thousand rows above which a slice is dear: not read unless somebody asks for it.
/// Queries cost 1.5, lists of records 5.
pub const DEAR_CREDITS: u64 = 4;

/// Rows that lists of the records API reach. Source: "Get Records", `page_token`.
const LIST_REACH: u64 = 100_000;
/// Rows of a page of the records API, and of a call for rows by their ids.
const LIST_PAGE: u64 = 200;
const BY_ID_PAGE: u64 = 50;

/// Some of a stream's columns, by one way of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// How they are read.
    pub way: Way,
    /// Their places in the stream's columns, ascending.
    pub places: Vec<usize>,
}

/// All columns of a stream, each in one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slices {
    /// The way of the first slice, whose rows lead.
    pub main: Way,
    /// The slices; the first one has `id` and `Modified_Time`.
    pub slices: Vec<Slice>,
}

/// What servers taught during a run, for one module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// Most columns of a query, where they are fewer than Zoho's pages say.
    pub coql_columns: Option<usize>,
    /// Columns that a way refused although the table says that it delivers them.
    pub refused: Vec<(Way, String)>,
    /// Ways that refused the module.
    pub ways: Vec<Way>,
}

impl Learned {
    /// Whether this way can deliver this column after all that is known.
    fn delivers(&self, way: Way, column: &Column, delivery: Delivery) -> bool {
        let refused = |(by, name): &(Way, String)| *by == way && *name == source(column, way);
        delivery.by(way) && !self.ways.contains(&way) && !self.refused.iter().any(refused)
    }

    /// Takes note of what a refusal says about the columns that were selected. False if it says
    /// nothing about them that was not known: then it is about something else.
    pub fn note(&mut self, way: Way, selected: &[String], error: &zoho::Error) -> bool {
        match error.code() {
            Some("LIMIT_EXCEEDED") if way == Way::Coql => {
                let limit = width_limit(error).filter(|limit| (3..selected.len()).contains(limit));
                self.coql_columns = limit.or(self.coql_columns);
                limit.is_some()
            }
            Some("FIELD_NOT_SUPPORTED" | "FIELD_NOT_AVAILABLE" | "INVALID_QUERY") => {
                let name = ["api_name", "column_name"].iter().find_map(|key| error.details()[key].as_str());
                name.is_some_and(|name| self.refuse(way, &meant_by(name, selected)))
            }
            // How many parents a reading may reach is written nowhere: then the names of all of them
            // come by another way.
            Some("JOIN_LIMIT_EXCEEDED") => {
                let joined = selected.iter().map(String::as_str).filter(|name| name.contains('.'));
                self.refuse(way, &joined.collect::<Vec<_>>())
            }
            _ => false,
        }
    }

    /// Whether it is news that this way refuses these columns.
    fn refuse(&mut self, way: Way, names: &[&str]) -> bool {
        let before = self.refused.len();
        for name in names {
            let refused = (way, (*name).to_owned());
            if !self.refused.contains(&refused) {
                self.refused.push(refused);
            }
        }
        self.refused.len() > before
    }

    /// Most columns of one reading, `id` included.
    pub fn width(&self, way: Way) -> usize {
        match way {
            Way::BulkRead => bulk_read::MAX_FIELDS,
            Way::Coql => self.coql_columns.unwrap_or(coql::MAX_COLUMNS),
            Way::Records => records::MAX_FIELDS,
        }
    }
}

/// The selected columns that a refusal means: the one it names, else those that end in what it names,
/// where a server says the field of the parent only. Never the ones that no reading can do without.
fn meant_by<'s>(name: &str, selected: &'s [String]) -> Vec<&'s str> {
    let selected = || selected.iter().map(String::as_str).filter(|it| *it != "id" && *it != MODIFIED_TIME);
    match selected().find(|selected| *selected == name) {
        Some(exact) => vec![exact],
        None => {
            let ends = |selected: &&str| selected.rsplit_once('.').is_some_and(|(_, last)| last == name);
            selected().filter(ends).collect()
        }
    }
}

/// How many columns a query may have, by its refusal. The same code is given for too many rows, with
/// their limit.
fn width_limit(error: &zoho::Error) -> Option<usize> {
    let limit = usize::try_from(error.details()["limit"].as_u64()?).ok()?;
    let of_columns = error.details()["clause"] == "select" || limit == coql::MAX_COLUMNS_BEFORE_V7;
    of_columns.then_some(limit)
}

impl Slice {
    /// Credits of reading so many rows.
    pub fn credits(&self, rows: u64) -> u64 {
        match self.way {
            // Rows past the reach of lists are asked for by their ids, together with their siblings.
            Way::Records => {
                let listed = rows.min(LIST_REACH);
                listed.div_ceil(LIST_PAGE).max(1) + 2 * (rows - listed).div_ceil(BY_ID_PAGE)
            }
            way => way.credits(rows),
        }
    }

    /// The slice as a plan of its own: `id` first, then `Modified_Time` if there is one, then what it
    /// delivers.
    pub fn plan(&self, whole: &RecordPlan) -> RecordPlan {
        let common = common(whole);
        let own = self.places.iter().filter(|place| !common.contains(place));
        RecordPlan::new(common.iter().chain(own).map(|place| whole.columns[*place].clone()))
    }
}

impl Slices {
    /// Divides the columns: as many as possible to `main`, the rest to the way that is cheapest for
    /// `rows` rows.
    ///
    /// # Errors
    /// When `main` delivers no column, or nobody delivers some column.
    pub fn new(
        columns: &RecordPlan,
        deliveries: &[Delivery],
        main: Way,
        rows: u64,
        learned: &Learned,
    ) -> Result<Self, String> {
        // Files lead or stay away: beside a query they would cost more than they bring.
        let others = Way::ALL.into_iter().filter(|way| *way != main && *way != Way::BulkRead);
        let mut others: Vec<Way> = others.collect();
        others.sort_by_key(|way| way.credits(rows));
        let mut taken: Vec<(Way, Vec<usize>)> =
            std::iter::once(main).chain(others).map(|way| (way, Vec::new())).collect();
        let common = common(columns);
        for (place, (column, delivery)) in columns.columns.iter().zip(deliveries).enumerate() {
            if common.contains(&place) {
                continue;
            }
            let able = |(way, _): &&mut (Way, Vec<usize>)| learned.delivers(*way, column, *delivery);
            match taken.iter_mut().find(able) {
                Some((_, places)) => places.push(place),
                None => return Err(format!("nothing delivers `{}`", column.name)),
            }
        }
        if columns.columns.len() > common.len() && taken[0].1.is_empty() {
            return Err("delivers no selected field".to_owned());
        }
        let mut slices = Vec::new();
        for (way, places) in taken {
            slices.extend(cut(columns, way, &places, learned.width(way)));
        }
        match slices.first_mut() {
            Some(Slice { places, .. }) => {
                places.extend(common);
                places.sort_unstable();
            }
            None => slices.push(Slice { way: main, places: common }),
        }
        Ok(Self { main, slices })
    }

    /// Credits of reading so many rows: the sum over the slices, and the pass that looks for rows
    /// that slipped between the pages of a list.
    pub fn credits(&self, rows: u64) -> u64 {
        let sweep = match self.main {
            Way::Records if rows > LIST_PAGE => rows.div_ceil(LIST_PAGE),
            _ => 0,
        };
        sweep + self.slices.iter().map(|slice| slice.credits(rows)).sum::<u64>()
    }

    /// The columns that are dear to read beside what the main way brings.
    pub fn dear<'c>(&self, columns: &'c RecordPlan) -> Vec<&'c str> {
        let places = self.dear_slices().flat_map(|slice| &slice.places);
        places.map(|place| columns.columns[*place].name.as_str()).collect()
    }

    /// Credits of those columns for so many rows.
    pub fn dear_credits(&self, rows: u64) -> u64 {
        self.dear_slices().map(|slice| slice.credits(rows)).sum()
    }

    fn dear_slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter().filter(|slice| slice.way != self.main && slice.credits(1_000) > DEAR_CREDITS)
    }

    /// How many slices this way brings.
    pub fn count(&self, way: Way) -> u64 {
        self.slices.iter().filter(|slice| slice.way == way).count() as u64
    }

    /// The columns of each file of Bulk Read.
    pub fn files(&self, whole: &RecordPlan) -> Vec<RecordPlan> {
        let files = self.slices.iter().filter(|slice| slice.way == Way::BulkRead);
        files.map(|slice| if self.is_single() { whole.clone() } else { slice.plan(whole) }).collect()
    }

    /// Whether one reading brings all columns.
    pub fn is_single(&self) -> bool {
        self.slices.len() == 1
    }
}

/// The columns that every slice has: `id`, and `Modified_Time` if there is one.
fn common(columns: &RecordPlan) -> Vec<usize> {
    [columns.position("id"), columns.position(MODIFIED_TIME)].into_iter().flatten().collect()
}

/// Cuts columns into slices of at most `width` fields, the common ones included.
fn cut(columns: &RecordPlan, way: Way, places: &[usize], width: usize) -> Vec<Slice> {
    let common: HashSet<&str> =
        common(columns).into_iter().map(|place| source(&columns.columns[place], way)).collect();
    let mut slices: Vec<Slice> = Vec::new();
    let mut sources = common.clone();
    for &place in places {
        let source = source(&columns.columns[place], way);
        let full = sources.len() >= width && !sources.contains(source);
        if slices.is_empty() || full {
            slices.push(Slice { way, places: Vec::new() });
            sources = common.clone();
        }
        sources.insert(source);
        if let Some(slice) = slices.last_mut() {
            slice.places.push(place);
        }
    }
    slices
}

/// The field that a way has to select for a column.
pub fn source(column: &Column, way: Way) -> &str {
    match way {
        Way::BulkRead => &column.cell,
        Way::Coql | Way::Records => &column.field,
    }
}

/// The fields that a reading has to select, each once.
pub fn selection(columns: &RecordPlan, way: Way) -> Vec<String> {
    let mut seen = HashSet::new();
    let sources = columns.columns.iter().map(|column| source(column, way));
    sources.filter(|source| seen.insert(*source)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::value::Kind;

    fn columns(count: usize) -> RecordPlan {
        let names = (2..count).map(|number| format!("F{number}"));
        let names = ["id".to_owned()].into_iter().chain(names).chain([MODIFIED_TIME.to_owned()]);
        RecordPlan::new(names.map(|name| Column::new(name, Kind::Text)))
    }

    fn widths(slices: &Slices, columns: &RecordPlan) -> Vec<(Way, usize)> {
        slices
            .slices
            .iter()
            .map(|slice| (slice.way, selection(&slice.plan(columns), slice.way).len()))
            .collect()
    }

    #[test]
    fn wide_modules_are_cut_so_that_every_reading_fits() {
        let cases = [
            (Way::BulkRead, 200, vec![200]),
            (Way::BulkRead, 201, vec![200, 3]),
            (Way::BulkRead, 501, vec![200, 200, 105]),
            (Way::Coql, 500, vec![500]),
            (Way::Coql, 501, vec![500, 3]),
            (Way::Records, 51, vec![50, 3]),
        ];
        for (way, count, expected) in cases {
            let columns = columns(count);
            let slices = Slices::new(&columns, &vec![Delivery::ALL; count], way, 0, &Learned::default());
            let slices = slices.expect("all can be had");
            let expected: Vec<_> = expected.into_iter().map(|width| (way, width)).collect();
            assert_eq!(widths(&slices, &columns), expected, "{count}");
            let mut places: Vec<usize> = slices.slices.into_iter().flat_map(|slice| slice.places).collect();
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>(), "every column once");
        }
    }

    #[test]
    fn what_is_refused_goes_to_the_next_cheapest_way() {
        let columns = columns(5);
        let deliveries = vec![Delivery::ALL; 5];
        let mut learned = Learned { coql_columns: Some(50), ..Learned::default() };
        let plan = |learned: &Learned| {
            let slices = Slices::new(&columns, &deliveries, Way::BulkRead, 200_000, learned);
            slices.map(|slices| {
                (
                    slices.slices.iter().map(|slice| (slice.way, slice.places.clone())).collect::<Vec<_>>(),
                    slices.credits(200_000),
                )
            })
        };
        assert_eq!(plan(&learned), Ok((vec![(Way::BulkRead, vec![0, 1, 2, 3, 4])], 50)));
        learned.refused.push((Way::BulkRead, "F3".into()));
        assert_eq!(plan(&learned), Ok((vec![(Way::BulkRead, vec![0, 1, 3, 4]), (Way::Coql, vec![2])], 350)));
        learned.refused.push((Way::Coql, "F3".into()));
        let records = (Way::Records, vec![2]);
        assert_eq!(plan(&learned), Ok((vec![(Way::BulkRead, vec![0, 1, 3, 4]), records], 50 + 500 + 4_000)));
        learned.refused.push((Way::Records, "F3".into()));
        assert_eq!(plan(&learned), Err("nothing delivers `F3`".to_owned()));
    }

    #[test]
    fn two_properties_of_one_field_count_once() {
        let name = Column::part("A__name".into(), Kind::Text, "A".into(), "A.Account_Name".into());
        let columns = RecordPlan::new([Column::new("id", Kind::Id), Column::new("A", Kind::Id), name]);
        assert_eq!(selection(&columns, Way::Coql), ["id", "A"]);
        assert_eq!(selection(&columns, Way::BulkRead), ["id", "A", "A.Account_Name"]);
    }
}
