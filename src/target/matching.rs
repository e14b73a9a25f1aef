//! Which line of a bulk result belongs to which row.
//!
//! A result file repeats the first three mapped columns and adds STATUS, RECORD_ID, ERRORS; its order is
//! not promised. So rows are found by those three values. Rows with equal values share the outcome when
//! all of them have the same STATUS, without a record id; else nobody can tell them apart and they are
//! `unknown`. Nothing is guessed. Follows the v8 page "Bulk Write, Download the result".

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::config::Operation;
use super::mapping::Route;
use super::outcome::{Action, Outcome};
use super::preflight::hash;

/// Columns of the upload that a result file repeats.
pub const IDENTIFYING_COLUMNS: usize = 3;

/// One line of a result file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ResultLine {
    status: Cow<'static, str>,
    record_id: String,
    errors: String,
}

impl ResultLine {
    fn of(status: &str, record_id: &str, errors: &str) -> Self {
        let known =
            ["ADDED", "UPDATED", "SKIPPED"].into_iter().find(|known| status.eq_ignore_ascii_case(known));
        let status = known.map_or_else(|| Cow::Owned(status.to_uppercase()), Cow::Borrowed);
        Self { status, record_id: record_id.to_owned(), errors: errors.to_owned() }
    }
}

/// Finds the outcome of every row sent, in the order sent.
///
/// `sent` holds the [`Identity`] of each row.
///
/// # Errors
/// When the file is no CSV.
pub fn outcomes(
    result: impl Read,
    sent: &[Identity],
    columns: usize,
    route: &Route,
    job: &str,
) -> Result<Vec<Outcome>, csv::Error> {
    let mut exact = Lines::with_capacity(sent.len());
    let mut loose = Lines::new();
    let wanted: HashSet<u128> = sent.iter().map(|one| one.exact).collect();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(result);
    let places = Places::of(reader.headers()?, columns);
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row)? {
        let cell = |place: usize| row.get(place).unwrap_or_default();
        let [status, record_id, errors] =
            [places.status, places.record_id, places.errors].map(|place| cell(place).trim());
        let line = ResultLine::of(status, record_id, errors);
        let identity = Identity::of((0..places.identifying).map(cell));
        // Cells that come back letter by letter count first; others are compared without white space.
        if wanted.contains(&identity.exact) {
            put(&mut exact, identity.exact, line);
        } else {
            put(&mut loose, identity.loose, line);
        }
    }
    let key = |one: &Identity| {
        if exact.contains_key(&one.exact) { (true, one.exact) } else { (false, one.loose) }
    };
    let mut rows_of: HashMap<(bool, u128), usize> = HashMap::with_capacity(sent.len());
    for one in sent {
        *rows_of.entry(key(one)).or_default() += 1;
    }
    let outcome = |one: &Identity| {
        let key = key(one);
        let found = if key.0 { exact.get(&key.1) } else { loose.get(&key.1) };
        let outcome = shared_outcome(found, rows_of[&key], route);
        Outcome { job_id: Some(job.to_owned()), ..outcome }
    };
    Ok(sent.iter().map(outcome).collect())
}

/// Lines by identity: the first, and the others, of which nearly all have none.
type Lines = HashMap<u128, (ResultLine, Vec<ResultLine>)>;

fn put(lines: &mut Lines, identity: u128, line: ResultLine) {
    match lines.entry(identity) {
        Entry::Vacant(vacant) => drop(vacant.insert((line, Vec::new()))),
        Entry::Occupied(occupied) => occupied.into_mut().1.push(line),
    }
}

/// What a row is known by: hashes of its first three cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    exact: u128,
    loose: u128,
}

impl Identity {
    /// The identity of a row of cells.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for cell in cells.into_iter().take(IDENTIFYING_COLUMNS) {
            text.push_str(cell);
            text.push('\0');
        }
        let exact = hash(&text);
        let plain = text.bytes().all(|byte| byte == 0 || byte.is_ascii_graphic());
        let loose = if plain { exact } else { hash(&text.split_whitespace().collect::<String>()) };
        Self { exact, loose }
    }
}

/// Where the columns of a result file are.
struct Places {
    identifying: usize,
    status: usize,
    record_id: usize,
    errors: usize,
}

impl Places {
    fn of(header: &csv::StringRecord, columns: usize) -> Self {
        let identifying = columns.min(IDENTIFYING_COLUMNS);
        let find = |name: &str, otherwise: usize| {
            // A field of ours may have the same name; Zoho's own columns come after ours.
            header
                .iter()
                .enumerate()
                .skip(identifying)
                .find(|(_, cell)| cell.trim().eq_ignore_ascii_case(name))
                .map_or(otherwise, |(place, _)| place)
        };
        Self {
            identifying,
            status: find("STATUS", identifying),
            record_id: find("RECORD_ID", identifying + 1),
            errors: find("ERRORS", identifying + 2),
        }
    }
}

fn shared_outcome(found: Option<&(ResultLine, Vec<ResultLine>)>, wanted: usize, route: &Route) -> Outcome {
    match found {
        None => Outcome::unknown("the result file has no line for this row"),
        // One row told twice is still one row.
        Some((one, others)) if wanted == 1 && others.iter().all(|other| other == one) => {
            outcome_of(one, route)
        }
        Some((_, others)) if 1 + others.len() < wanted => {
            Outcome::unknown("the result file has too few lines for rows like this")
        }
        Some((one, others)) => {
            let first = outcome_of(one, route).with_record(None);
            if others.iter().all(|line| outcome_of(line, route).with_record(None) == first) {
                first
            } else {
                Outcome::unknown("rows with the same first three values had different outcomes")
            }
        }
    }
}

fn outcome_of(line: &ResultLine, route: &Route) -> Outcome {
    let (code, field) = first_error(&line.errors);
    let record = Some(line.record_id.clone());
    match &*line.status {
        "ADDED" => Outcome::new(Action::Inserted).with_record(record),
        "UPDATED" => Outcome::new(Action::Updated).with_record(record),
        // Under insert a match by `find_by` is left alone: that is what it was asked for.
        "SKIPPED"
            if route.operation == Operation::Insert && skipped_on_purpose(&code, field.as_deref(), route) =>
        {
            Outcome::new(Action::Skipped).with_record(record)
        }
        "SKIPPED" if code.is_empty() && route.operation == Operation::Update => {
            Outcome::rejected("RESOURCE_NOT_FOUND", route.match_on.first().cloned(), "no record matches")
        }
        status => {
            let message = if line.errors.is_empty() { status } else { &line.errors };
            let code = if code.is_empty() { status } else { &code };
            Outcome::rejected(code, field, message).with_record(record)
        }
    }
}

fn skipped_on_purpose(code: &str, field: Option<&str>, route: &Route) -> bool {
    !route.match_on.is_empty()
        && (code.is_empty()
            || (code == "DUPLICATE_DATA"
                && field.is_none_or(|field| route.match_on.iter().any(|one| one == field))))
}

/// The first of `CODE-Col1,Col2:CODE2-Col3`.
fn first_error(errors: &str) -> (String, Option<String>) {
    let first = errors.split(':').next().unwrap_or_default();
    match first.split_once('-') {
        None => (first.trim().to_owned(), None),
        Some((code, columns)) => {
            let column = columns.split(',').next().map(str::trim).filter(|column| !column.is_empty());
            (code.trim().to_owned(), column.map(str::to_owned))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(result: &str, sent: &[[&str; 3]]) -> Vec<Outcome> {
        let sent: Vec<Identity> = sent.iter().map(|row| Identity::of(row.iter().copied())).collect();
        outcomes(result.as_bytes(), &sent, 5, &crate::target::tests::route(), "77").unwrap()
    }

    #[test]
    fn rows_are_found_in_any_order() {
        let result = "Email,Last_Name,Phone,STATUS,RECORD_ID,ERRORS\n\
            c@x,C,3,SKIPPED,,\"INVALID_DATA-Email,Phone:MANDATORY_NOT_FOUND-Last_Name\"\n\
            a@x,A,1,ADDED,11,\nb@x,B,2,UPDATED,12,\n";
        let found =
            read(result, &[["a@x", "A", "1"], ["b@x", "B", "2"], ["c@x", "C", "3"], ["d@x", "D", "4"]]);
        assert_eq!((found[0].action, found[0].record_id.as_deref()), (Action::Inserted, Some("11")));
        assert_eq!((found[1].action, found[1].job_id.as_deref()), (Action::Updated, Some("77")));
        assert_eq!(
            (found[2].code.as_deref(), found[2].field.as_deref()),
            (Some("INVALID_DATA"), Some("Email"))
        );
        assert_eq!(found[3].action, Action::Unknown);
    }

    #[test]
    fn equal_rows_share_an_outcome_or_have_none() {
        let head = "Email,Last_Name,Phone,STATUS,RECORD_ID,ERRORS\n";
        let twice = [["a", "A", ""], ["a", "A", ""]];
        let same = read(&format!("{head}a,A,,ADDED,11,\na,A,,ADDED,12,\n"), &twice);
        assert_eq!(same[0], same[1]);
        assert_eq!((same[0].action, &same[0].record_id), (Action::Inserted, &None));
        let mixed = read(&format!("{head}a,A,,ADDED,11,\na,A,,SKIPPED,,INVALID_DATA-Phone\n"), &twice);
        assert_eq!((mixed[0].action, mixed[1].action), (Action::Unknown, Action::Unknown));
    }

    #[test]
    fn a_file_may_repeat_a_line_and_change_white_space() {
        let head = "Email,Last_Name,Phone,STATUS,RECORD_ID,ERRORS\n";
        let found = read(&format!("{head}a,A B,,ADDED,11,\na,A B,,ADDED,11,\n"), &[["a", "A  B ", ""]]);
        assert_eq!((found[0].action, found[0].record_id.as_deref()), (Action::Inserted, Some("11")));
        // Letter by letter wins over the same without white space.
        let sent = [["a", "A B", ""], ["a", "AB", ""]];
        let found = read(&format!("{head}a,AB,,UPDATED,2,\na,A B,,ADDED,1,\n"), &sent);
        assert_eq!((found[0].record_id.as_deref(), found[1].record_id.as_deref()), (Some("1"), Some("2")));
    }

    proptest::proptest! {
        /// In place of a fuzz target: see CONTRIBUTING.
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            text in "(a|b|STATUS|RECORD_ID|ERRORS|ADDED|SKIPPED|-|:|,|\"|\r|\n|é){0,40}",
        ) {
            let sent = [Identity::of(["a", "b"]), Identity::of([""])];
            for result in [&bytes[..], text.as_bytes()] {
                let read = outcomes(result, &sent, 2, &crate::target::tests::route(), "77");
                proptest::prop_assert!(read.is_ok_and(|read| read.len() == 2) || std::str::from_utf8(result).is_err());
            }
        }

        #[test]
        fn distinct_rows_are_told_apart_in_any_order(rows in 1usize..60, seed in proptest::prelude::any::<u64>()) {
            let sent: Vec<[String; 3]> = (0..rows).map(|n| [format!("{}", n / 7), format!("{}", n % 7), "x".into()]).collect();
            let mut order: Vec<usize> = (0..rows).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut order);
            let mut result = String::from("a,b,c,STATUS,RECORD_ID,ERRORS\n");
            for n in order {
                result.push_str(&format!("{},{},x,ADDED,{n},\n", sent[n][0], sent[n][1]));
            }
            let sent: Vec<[&str; 3]> = sent.iter().map(|row| [row[0].as_str(), row[1].as_str(), row[2].as_str()]).collect();
            for (n, outcome) in read(&result, &sent).into_iter().enumerate() {
                proptest::prop_assert_eq!(outcome.record_id, Some(n.to_string()));
            }
        }
    }
}
