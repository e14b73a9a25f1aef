//! The reference file: Leads of 40 mixed columns, made from a seed, as Bulk Read writes them.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use zoho_crm_connector::codec::encode;
use zoho_crm_connector::codec::plan::{Column, RecordPlan};
use zoho_crm_connector::codec::value::Kind;

/// Id of the emulator's first lead, and how far apart ids are.
const FIRST_ID: u64 = 4_876_000_001_000_000_001;
const ID_STEP: u64 = 7;

/// Rows in one file: what one job takes.
pub const ROWS_PER_FILE: u64 = 200_000;

/// What fills a column.
#[derive(Clone, Copy)]
enum Fill {
    Id,
    Reference,
    Name,
    Words(u8),
    Email,
    Phone,
    Website,
    Pick,
    Picks,
    Boolean,
    Integer,
    Decimal,
    Date,
    DateTime,
    Note,
}

/// Name and filling; the custom ones stand in [`schema`] as well.
const COLUMNS: [(&str, Fill); 40] = [
    ("id", Fill::Id),
    ("Owner", Fill::Reference),
    ("First_Name", Fill::Name),
    ("Last_Name", Fill::Name),
    ("Salutation", Fill::Pick),
    ("Company", Fill::Words(3)),
    ("Designation", Fill::Words(2)),
    ("Email", Fill::Email),
    ("Secondary_Email", Fill::Email),
    ("Phone", Fill::Phone),
    ("Mobile", Fill::Phone),
    ("Fax", Fill::Phone),
    ("Website", Fill::Website),
    ("Lead_Source", Fill::Pick),
    ("Lead_Status", Fill::Pick),
    ("Industry", Fill::Pick),
    ("No_of_Employees", Fill::Integer),
    ("Annual_Revenue", Fill::Decimal),
    ("Rating", Fill::Pick),
    ("Email_Opt_Out", Fill::Boolean),
    ("Skype_ID", Fill::Pick),
    ("Twitter", Fill::Pick),
    ("Street", Fill::Words(4)),
    ("City", Fill::Name),
    ("State", Fill::Pick),
    ("Zip_Code", Fill::Integer),
    ("Country", Fill::Pick),
    ("Description", Fill::Note),
    ("Created_Time", Fill::DateTime),
    ("Modified_Time", Fill::DateTime),
    ("Interests", Fill::Picks),
    ("Languages", Fill::Picks),
    ("Birthday", Fill::Date),
    ("Renewal_Day", Fill::Date),
    ("Next_Call", Fill::DateTime),
    ("Budget", Fill::Decimal),
    ("Discount", Fill::Decimal),
    ("Visits", Fill::Integer),
    ("Is_Partner", Fill::Boolean),
    ("Remarks", Fill::Words(6)),
];

/// The emulator's schema with the custom fields; picklists take any value.
pub fn schema() -> Value {
    let field = |name: &str, data_type: &str, length: u32| json!({"api_name": name, "data_type": data_type, "length": length, "custom": true});
    let picks = |name: &str| json!({"api_name": name, "data_type": "multiselectpicklist", "custom": true, "pick_list": WORDS[..16]});
    let mut budget = field("Budget", "currency", 16);
    budget["decimal_place"] = 2.into();
    let fields = json!([
        picks("Interests"),
        picks("Languages"),
        field("Birthday", "date", 20),
        field("Renewal_Day", "date", 20),
        field("Next_Call", "datetime", 40),
        budget,
        field("Discount", "double", 16),
        field("Visits", "integer", 9),
        field("Is_Partner", "boolean", 5),
        field("Remarks", "text", 255),
    ]);
    json!({"modules": [{"api_name": "Leads", "fields": fields}]})
}

/// Names of all columns.
pub fn names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|(name, _)| *name)
}

/// The record plan of the tap for this file.
pub fn plan() -> RecordPlan {
    let kind = |fill: Fill| match fill {
        Fill::Id | Fill::Reference => Kind::Id,
        Fill::Picks => Kind::MultiSelect,
        Fill::Boolean => Kind::Boolean,
        Fill::Integer => Kind::Integer,
        Fill::Decimal => Kind::Decimal,
        Fill::Date => Kind::Date,
        Fill::DateTime => Kind::DateTime,
        _ => Kind::Text,
    };
    // The zip code is a text that looks like a number.
    let of = |(name, fill): &(&str, Fill)| {
        Column::new(*name, if *name == "Zip_Code" { Kind::Text } else { kind(*fill) })
    };
    RecordPlan::new(COLUMNS.iter().map(of))
}

/// How the target writes the columns.
pub fn kinds() -> impl Iterator<Item = encode::Kind> {
    COLUMNS.iter().map(|(name, fill)| match fill {
        _ if *name == "Zip_Code" => encode::Kind::Text,
        Fill::Reference => encode::Kind::Lookup,
        Fill::Picks => encode::Kind::MultiSelect,
        Fill::Boolean => encode::Kind::Boolean,
        Fill::Integer => encode::Kind::Integer,
        Fill::Decimal => encode::Kind::Decimal,
        Fill::Date => encode::Kind::Date,
        Fill::DateTime => encode::Kind::DateTime,
        _ => encode::Kind::Text,
    })
}

/// Writes the CSV of so many rows, the `first` being counted from 0.
pub fn write_csv(path: &Path, seed: u64, first: u64, rows: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let header: Vec<&str> = names().map(|name| if name == "id" { "Id" } else { name }).collect();
    write!(out, "{}\r\n", header.join(","))?;
    let mut line = String::new();
    for row in first..first + rows {
        // Each row has its own dice: a file does not depend on the rows before it.
        let mut dice = fastrand::Rng::with_seed(seed ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        line.clear();
        for (number, (_, fill)) in COLUMNS.iter().enumerate() {
            if number > 0 {
                line.push(',');
            }
            push(&mut line, *fill, row, &mut dice).map_err(io::Error::other)?;
        }
        line.push_str("\r\n");
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn push(out: &mut String, fill: Fill, row: u64, dice: &mut fastrand::Rng) -> std::fmt::Result {
    match fill {
        Fill::Id => write!(out, "{}", FIRST_ID + row * ID_STEP),
        Fill::Reference => write!(out, "48760000000002250{:02}", dice.u8(10..40)),
        Fill::Boolean => write!(out, "{}", dice.bool()),
        // A tenth of what may be empty is.
        _ if dice.u8(..10) == 0 && !matches!(fill, Fill::DateTime | Fill::Name) => Ok(()),
        Fill::Name => write!(out, "{}", words(dice, 1)),
        Fill::Words(count) => text(out, &words(dice, count)),
        Fill::Email => write!(out, "{}.{}{}@example.com", word(dice), word(dice), dice.u16(..100)),
        Fill::Phone => {
            write!(out, "+61 {} 55{:02} {:04}", dice.u8(2..5), dice.u8(..100), dice.u16(..10_000))
        }
        Fill::Website => write!(out, "https://www.{}-{}.example", word(dice), word(dice)),
        Fill::Pick => write!(out, "{} {}", WORDS[dice.usize(..8)], WORDS[8 + dice.usize(..4)]),
        Fill::Picks => {
            let first = dice.usize(..14);
            write!(out, "{};{}", WORDS[first], WORDS[first + 1])
        }
        Fill::Integer => write!(out, "{}", dice.u32(..100_000)),
        Fill::Decimal => write!(out, "{}.{:02}", dice.u32(..1_000_000), dice.u8(..100)),
        Fill::Date => write!(out, "{}-{:02}-{:02}", dice.u16(1950..2026), dice.u8(1..=12), dice.u8(1..=28)),
        Fill::DateTime => write!(
            out,
            "{}-{:02}-{:02}T{:02}:{:02}:{:02}+{}:00",
            dice.u16(2023..2026),
            dice.u8(1..=12),
            dice.u8(1..=28),
            dice.u8(..24),
            dice.u8(..60),
            dice.u8(..60),
            10 + dice.u8(..2)
        ),
        Fill::Note => {
            let (one, two, quoted) = (words(dice, 4), words(dice, 5), words(dice, 2));
            text(out, &format!("{one}, {two}\n\"{quoted}\""))
        }
    }
}

/// RFC 4180: quotes where they are needed.
fn text(out: &mut String, text: &str) -> std::fmt::Result {
    if text.contains([',', '"', '\n', '\r']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_str(text)
    }
}

fn words(dice: &mut fastrand::Rng, count: u8) -> String {
    let words: Vec<&str> = (0..count).map(|_| word(dice)).collect();
    words.join(" ")
}

fn word(dice: &mut fastrand::Rng) -> &'static str {
    WORDS[dice.usize(..WORDS.len())]
}

/// Some of them are not ASCII.
const WORDS: [&str; 64] = [
    "alpine", "amber", "anchor", "aurora", "bakery", "beacon", "birch", "bridge", "cedar", "cobalt",
    "copper", "coral", "delta", "drift", "ember", "falcon", "fjord", "flint", "garden", "glacier", "granite",
    "harbor", "hazel", "heron", "indigo", "ivory", "jasper", "juniper", "kestrel", "lantern", "laurel",
    "linden", "lotus", "maple", "marble", "meadow", "mercury", "mosaic", "nectar", "nimbus", "oasis", "onyx",
    "orchid", "osprey", "pebble", "pioneer", "prairie", "quartz", "raven", "ridge", "saffron", "sierra",
    "sparrow", "summit", "thistle", "timber", "tundra", "Müller", "Žižkov", "São", "naïve", "Łódź", "東京",
    "señor",
];
