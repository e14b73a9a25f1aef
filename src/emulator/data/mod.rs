//! Rows made from a seed: every value is a pure function of seed, module, row number and field.
//!
//! Nothing is stored for a row until it is changed, which is how half a million rows start at once
//! and fit in a few megabytes. Adding a field or a module changes no other value. The data is
//! hostile on purpose: scripts of the world, quotes, blanks at the ends, newlines, numbers beyond a
//! binary float, times around daylight saving, many rows with one `Modified_Time`.

mod words;

use super::schema::{DataType, Field, Module};
use super::time::days;
use super::value::{Decimal, Id, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use words::{CITIES, COMPANIES, COUNTRIES, FIRST_NAMES, HOSTILE, LAST_NAMES, LINES, STREETS, TITLES, WORDS};

/// How far apart the ids of neighbouring rows are, so that no client learns to add one.
pub const ID_STEP: Id = 7;

/// When the first generated row was created: 2023-01-01T00:00:00Z.
const FIRST_CREATED: i64 = 1_672_531_200;
/// The generated rows were created over this many seconds, up to 2025-06-01.
const CREATED_SPAN: i64 = 76_204_800;
/// A tenth of all rows share this `Modified_Time`, 2025-07-01T00:00:00Z, as after an import.
const IMPORTED: i64 = 1_751_328_000;
/// Daylight saving switches of Sydney, Berlin and New York, around which datetimes are clustered.
const SWITCHES: [i64; 6] =
    [1_743_868_800, 1_759_593_600, 1_743_296_400, 1_761_440_400, 1_741_503_600, 1_762_063_200];

/// A cheap generator of well spread numbers (splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for a name (FNV-1a), the same on every machine.
pub fn salt(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Draws one number after another from a start value.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same way for one seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0);
        // The high half is as random as the low one and makes the remainder fair enough.
        (self.0 >> 16) % limit.max(1)
    }

    /// One of the items.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        self.pick::<&'static str>(words)
    }
}

/// The id range of a module's generated rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// Id of the first row.
    pub first: Id,
    /// How many rows there are.
    pub count: u32,
}

impl Span {
    /// The id of a row by number.
    pub fn id(&self, row: u32) -> Id {
        self.first + Id::from(row) * ID_STEP
    }
}

/// What the generator of one module has to know.
#[derive(Debug, Clone)]
pub struct Plan {
    seed: u64,
    span: Span,
    makers: Vec<Maker>,
    /// All rows share one `Modified_Time`.
    imported: bool,
    layout: Id,
    users: Vec<Id>,
}

#[derive(Debug, Clone)]
struct Maker {
    seed: u64,
    /// Of 100 rows, how many leave the field empty.
    empty: u64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Empty,
    Created,
    Modified,
    User,
    Layout,
    Converted,
    ConvertedAt(u64),
    Words(&'static [&'static str], u32),
    Unique(u32),
    Phrase(u32),
    Company(u32),
    Lines(u32),
    RichText,
    Email,
    Phone,
    Website,
    Pick(Vec<Box<str>>),
    Picks(Vec<Box<str>>),
    Integer,
    Long,
    Decimal { dp: u32, wide: bool },
    Percent(u32),
    Bool,
    Date,
    DateTime,
    Lookup(Span),
    Files(u32),
    Tags,
    Auto(Box<str>),
}

impl Plan {
    /// Prepares a module: `spans` says where the rows of each module's lookups are.
    pub fn new(seed: u64, module: &Module, spans: &BTreeMap<String, Span>, users: &[Id]) -> Self {
        let seed = mix(seed ^ salt(&module.api_name));
        let maker = |field: &Field| Maker {
            seed: mix(seed ^ salt(&field.api_name)),
            empty: if field.mandatory || field.data_type == DataType::Boolean { 0 } else { 12 },
            kind: if field.generated { kind(seed, field, spans) } else { Kind::Empty },
        };
        Self {
            seed,
            span: spans.get(&module.api_name).copied().unwrap_or_default(),
            makers: module.fields.iter().map(maker).collect(),
            imported: module.one_modified_time,
            layout: module.layout_id,
            users: users.to_vec(),
        }
    }

    /// The value of a field of a row; `id` and computed fields are the store's business.
    pub fn value(&self, row: u32, field: u16) -> Value {
        let Some(maker) = self.makers.get(usize::from(field)) else { return Value::Null };
        let mut dice = Dice(mix(maker.seed ^ u64::from(row)));
        match &maker.kind {
            Kind::Created => Value::DateTime(self.created(row)),
            Kind::Modified => Value::DateTime(self.modified(row)),
            Kind::User => self
                .users
                .get(dice.below(self.users.len() as u64) as usize)
                .map_or(Value::Null, |id| Value::Id(*id)),
            Kind::Layout => Value::Id(self.layout),
            Kind::Converted => Value::Bool(dice.below(20) == 0),
            Kind::ConvertedAt(seed) => {
                let converted = Dice(mix(seed ^ u64::from(row))).below(20) == 0;
                if converted { Value::DateTime(self.modified(row)) } else { Value::Null }
            }
            Kind::Auto(prefix) => Value::text(format!("{prefix}{:05}", row + 1)),
            _ if maker.empty > 0 && dice.below(100) < maker.empty => Value::Null,
            kind => kind.roll(row, &mut dice),
        }
    }

    fn created(&self, row: u32) -> i64 {
        // Five neighbours share a second: ties are the rule, not the exception.
        let step = i64::from(row / 5 * 5) * CREATED_SPAN / i64::from(self.span.count.max(1));
        FIRST_CREATED + step
    }

    fn modified(&self, row: u32) -> i64 {
        if self.imported {
            return IMPORTED;
        }
        let mut dice = Dice(mix(self.seed ^ 0x4d4f_4446 ^ u64::from(row)));
        let created = self.created(row);
        match dice.below(10) {
            0 => IMPORTED,
            1..=4 => created,
            _ => (created + dice.below(60 * 86_400) as i64) / 3_600 * 3_600,
        }
        .max(created)
    }
}

/// Chooses the maker of a field by its type, then by its name.
fn kind(module_seed: u64, field: &Field, spans: &BTreeMap<String, Span>) -> Kind {
    let length = field.length.unwrap_or(255);
    let dp = field.decimal_place.unwrap_or(2);
    let options = || field.pick_list.iter().map(|option| option.as_str().into()).collect();
    match (field.data_type, field.api_name.as_str()) {
        (_, "id") | (DataType::ProfileImage, _) => Kind::Empty,
        (_, "Created_Time") => Kind::Created,
        (_, "Modified_Time") => Kind::Modified,
        (_, "Converted__s") => Kind::Converted,
        (_, "Converted_Date_Time") => Kind::ConvertedAt(mix(module_seed ^ salt("Converted__s"))),
        (_, "Tag") => Kind::Tags,
        (_, "Full_Name") => Kind::Empty,
        (DataType::Text, _) => text_kind(field, length),
        (DataType::TextArea, _) if field.is_rich_text() => Kind::RichText,
        (DataType::TextArea, _) => Kind::Lines(length),
        (DataType::Email, _) => Kind::Email,
        (DataType::Phone, _) => Kind::Phone,
        (DataType::Website, _) => Kind::Website,
        (DataType::Picklist, _) => Kind::Pick(options()),
        (DataType::MultiSelectPicklist, _) => Kind::Picks(options()),
        (DataType::Integer | DataType::RollupSummary, _) => Kind::Integer,
        (DataType::BigInt, _) => Kind::Long,
        (DataType::Double | DataType::Currency, _) => Kind::Decimal { dp, wide: dp >= 9 },
        (DataType::Percent, _) => Kind::Percent(dp),
        (DataType::Boolean, _) => Kind::Bool,
        (DataType::Date, _) => Kind::Date,
        (DataType::DateTime, _) => Kind::DateTime,
        (DataType::Lookup, _) => {
            let span = field.lookup.as_ref().and_then(|module| spans.get(module));
            span.filter(|span| span.count > 0).map_or(Kind::Empty, |span| Kind::Lookup(*span))
        }
        (DataType::OwnerLookup | DataType::UserLookup, _) => Kind::User,
        (DataType::Layout, _) => Kind::Layout,
        (DataType::FileUpload | DataType::ImageUpload, _) => Kind::Files(length),
        (DataType::AutoNumber, _) => Kind::Auto(field.prefix.as_deref().unwrap_or_default().into()),
        (
            DataType::Formula | DataType::Subform | DataType::MultiSelectLookup | DataType::MultiUserLookup,
            _,
        ) => Kind::Empty,
    }
}

fn text_kind(field: &Field, length: u32) -> Kind {
    let name = field.api_name.as_str();
    let ends = |part: &str| name.ends_with(part);
    match name {
        _ if field.unique => Kind::Unique(length),
        "First_Name" => Kind::Words(FIRST_NAMES, length),
        "Last_Name" => Kind::Words(LAST_NAMES, length),
        "Company" | "Account_Name" | "Vendor_Name" | "Deal_Name" | "Product_Name" | "Name" => {
            Kind::Company(length)
        }
        "Title" | "Designation" | "Department" => Kind::Words(TITLES, length),
        _ if ends("City") => Kind::Words(CITIES, length),
        _ if ends("Country") || ends("State") => Kind::Words(COUNTRIES, length),
        _ if ends("Street") => Kind::Words(STREETS, length),
        _ => Kind::Phrase(length),
    }
}

impl Kind {
    fn roll(&self, row: u32, dice: &mut Dice) -> Value {
        match self {
            Self::Words(words, length) => {
                let list: &[&str] = if dice.below(16) == 0 { HOSTILE } else { words };
                cut(dice.word(list), *length)
            }
            Self::Unique(length) => cut(&format!("{}-{row:06}", dice.word(WORDS)), *length),
            Self::Company(length) => cut(&format!("{} {}", dice.word(COMPANIES), row + 1), *length),
            Self::Phrase(length) if dice.below(16) == 0 => cut(dice.word(HOSTILE), *length),
            Self::Phrase(length) => cut(&phrase(dice, 4), *length),
            Self::Lines(length) => cut(&lines(dice), *length),
            Self::RichText => rich_text(dice),
            Self::Email => Value::text(email(row, dice)),
            Self::Phone => Value::text(format!(
                "+61 {} {:04} {:04}",
                2 + dice.below(7),
                dice.below(10_000),
                dice.below(10_000)
            )),
            Self::Website => Value::text(format!(
                "https://www.{}{}.example/a?b=c&d={}",
                dice.word(WORDS),
                row,
                dice.below(99)
            )),
            Self::Pick(options) if options.is_empty() => Value::Null,
            Self::Pick(options) => Value::Text(dice.pick(options).clone()),
            Self::Picks(options) => picks(options, dice),
            Self::Lookup(span) => Value::Id(span.id(dice.below(u64::from(span.count)) as u32)),
            Self::Files(most) => files(*most, row, dice),
            Self::Tags => tags(dice),
            kind => kind.roll_number(dice),
        }
    }

    fn roll_number(&self, dice: &mut Dice) -> Value {
        match self {
            Self::Integer if dice.below(10) == 0 => Value::Int(-(dice.below(1_000_000_000) as i64)),
            Self::Integer => Value::Int(dice.below(10_000) as i64),
            Self::Long if dice.below(10) == 0 => Value::Int(999_999_999_999_999_999),
            Self::Long => {
                Value::Int(100_000_000_000_000_000 + (dice.below(u64::MAX) % 900_000_000_000_000_000) as i64)
            }
            Self::Decimal { dp, wide } => {
                let digits = if *wide && dice.below(8) == 0 { 16 } else { 1 + dice.below(7) as u32 };
                decimal(dice, digits, *dp)
            }
            Self::Percent(dp) => decimal(dice, 2, *dp),
            Self::Bool => Value::Bool(dice.below(2) == 0),
            Self::Date if dice.below(20) == 0 => Value::Date(days(2024, 2, 29)),
            Self::Date => Value::Date(days(1950, 1, 1) + dice.below(36_500) as i32),
            Self::DateTime if dice.below(4) == 0 => {
                Value::DateTime(dice.pick(&SWITCHES) - 7_200 + dice.below(14_400) as i64)
            }
            Self::DateTime => Value::DateTime(FIRST_CREATED + dice.below(CREATED_SPAN as u64) as i64),
            _ => Value::Null,
        }
    }
}

/// The text, shortened to what the field can hold.
fn cut(text: &str, length: u32) -> Value {
    // No text has more characters than bytes, and most fit: counting is the exception.
    if text.len() <= length as usize {
        return Value::text(text);
    }
    let end = text.char_indices().nth(length as usize).map_or(text.len(), |(at, _)| at);
    Value::text(&text[..end])
}

fn phrase(dice: &mut Dice, most: u64) -> String {
    let mut text = String::with_capacity(32);
    for number in 0..=dice.below(most) {
        if number > 0 {
            text.push(' ');
        }
        text.push_str(dice.word(WORDS));
    }
    text
}

fn lines(dice: &mut Dice) -> String {
    let mut text = phrase(dice, 8);
    for _ in 0..dice.below(3) {
        text.push_str(dice.word(LINES));
        text.push_str(&phrase(dice, 8));
    }
    text
}

/// Half of these are longer than the 500 characters that list calls show.
fn rich_text(dice: &mut Dice) -> Value {
    let mut text = String::from("<p>");
    for _ in 0..1 + dice.below(12) {
        text.push_str(&lines(dice));
        text.push_str("<br/>é&amp;");
        text.push_str(&phrase(dice, 6));
    }
    text.push_str("</p>");
    Value::text(text)
}

fn email(row: u32, dice: &mut Dice) -> String {
    let ascii = |names: &[&'static str], dice: &mut Dice| {
        let name = dice.word(names);
        if name.is_ascii() && !name.contains([' ', '\'', '-']) { name.to_lowercase() } else { "x".to_owned() }
    };
    let mut text = ascii(FIRST_NAMES, dice);
    text.push('.');
    text.push_str(&ascii(LAST_NAMES, dice));
    let _ = write!(text, "{row}@example.test");
    text
}

fn picks(options: &[Box<str>], dice: &mut Dice) -> Value {
    let chosen: Box<[Box<str>]> = options.iter().filter(|_| dice.below(3) == 0).cloned().collect();
    if chosen.is_empty() { Value::Null } else { Value::List(chosen) }
}

/// A number of up to `digits` digits before the point and up to `dp` after it.
fn decimal(dice: &mut Dice, digits: u32, dp: u32) -> Value {
    let whole = dice.below(10u64.pow(digits.min(16)));
    let places = dice.below(u64::from(dp.min(9)) + 1) as u32;
    let sign = if dice.below(8) == 0 { "-" } else { "" };
    let text = if places == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{:0width$}", dice.below(10u64.pow(places)), width = places as usize)
    };
    Decimal::parse(&text).map_or(Value::Null, Value::Decimal)
}

fn files(most: u32, row: u32, dice: &mut Dice) -> Value {
    if dice.below(4) != 0 {
        return Value::Null;
    }
    let mut text = String::from("[");
    for number in 0..1 + dice.below(u64::from(most.min(3))) {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}{{\"File_Id__s\":\"f{row:x}n{number}\",\"File_Name__s\":\"página {number}.pdf\",\"Size__s\":\"{}\"}}",
            dice.below(1_000_000)
        );
    }
    text.push(']');
    Value::Json(text.into())
}

fn tags(dice: &mut Dice) -> Value {
    const TAGS: [(&str, u32); 3] = [("VIP", 1), ("Messe 2025", 2), ("日本", 3)];
    if dice.below(5) != 0 {
        return Value::Null;
    }
    let (name, number) = dice.pick(&TAGS);
    Value::Json(
        format!("[{{\"name\":\"{name}\",\"id\":\"48760000000070000{number}\",\"color_code\":null}}]").into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::schema::Schema;

    fn plan(seed: u64, module: &str) -> (Schema, Plan) {
        let schema = Schema::load(None, 4_876_000_000_000_000_000).expect("built-in schema");
        let spans: BTreeMap<String, Span> = schema
            .modules
            .iter()
            .map(|m| (m.api_name.clone(), Span { first: 1_000, count: 2_000 }))
            .collect();
        let plan = Plan::new(seed, schema.module(module).expect("known"), &spans, &[1, 2, 3]);
        (schema, plan)
    }

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        let (schema, first) = plan(1, "Everything");
        let (_, again) = plan(1, "Everything");
        let (_, other) = plan(2, "Everything");
        let module = schema.module("Everything").expect("built in");
        let row = |plan: &Plan, n| module.active().map(|(at, _)| plan.value(n, at)).collect::<Vec<_>>();
        assert_eq!(row(&first, 17), row(&again, 17));
        assert_ne!(row(&first, 17), row(&other, 17));
    }

    #[test]
    fn values_keep_the_limits_of_their_fields() {
        let (schema, plan) = plan(7, "Everything");
        for (at, field) in schema.module("Everything").expect("built in").active() {
            let mut filled = 0;
            for row in 0..2_000 {
                match plan.value(row, at) {
                    Value::Null => continue,
                    Value::Text(text) => assert!(
                        text.chars().count() <= field.length.unwrap_or(255) as usize,
                        "{}",
                        field.api_name
                    ),
                    Value::Decimal(number) => {
                        assert!(number.digits().1 <= field.decimal_place.unwrap_or(9) as usize);
                        assert!(number.digits().0 <= field.length.unwrap_or(16) as usize);
                    }
                    Value::List(items) => assert!(items.iter().all(|item| !item.contains(';'))),
                    _ => {}
                }
                filled += 1;
            }
            let computed = field.is_virtual
                || field.formula.is_some()
                || matches!(field.api_name.as_str(), "id" | "Record_Image");
            assert_eq!(filled == 0, computed, "{}", field.api_name);
        }
    }

    #[test]
    fn many_rows_share_a_modified_time() {
        let (schema, plan) = plan(3, "Leads");
        let leads = schema.module("Leads").expect("built in");
        let at = leads.index_of("Modified_Time").expect("there");
        let imported = (0..2_000).filter(|row| plan.value(*row, at) == Value::DateTime(IMPORTED)).count();
        assert!((150..260).contains(&imported), "{imported}");
    }
}
