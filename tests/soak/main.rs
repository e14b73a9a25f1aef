//! The full figures, on the release build: what `make test` shows in small, at the size that counts.
//!
//! `SOAK=full` (`make soak`) runs every part. `SOAK=slice` (`make soak-slice`) runs parts in an order
//! that changes from run to run until its time is over. Both print what ran, with which seed;
//! `SOAK_SEED` repeats a run, `SOAK_PARTS` names parts to run and nothing else.

#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "../it/common/mod.rs"]
#[allow(dead_code)]
mod common;
mod memory;

use common::dice::Dice;
use common::killed::{Figures, tap_survives};
use common::pair::{Case, target_survives};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Rows of a run that is killed.
const ROWS: u64 = 50_000;
/// Times that it is killed.
const KILLS: u32 = 30;
/// No part of a slice begins later than this; the longest takes the rest of the ten minutes.
const SLICE: Duration = Duration::from_secs(330);

/// A part of the soak: its name, and what it does with a seed; answers its figures.
struct Part {
    name: String,
    run: Box<dyn Fn(u64) -> String>,
}

impl Part {
    fn new(name: impl Into<String>, run: impl Fn(u64) -> String + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

fn told(figures: Figures) -> String {
    let Figures { runs, kills, last } = figures;
    format!(
        "{kills} kills in {runs} runs ({last} of them hit the target), {ROWS} rows: none lost, none doubled"
    )
}

fn tap(method: &'static str, rows: u64) -> Part {
    Part::new(format!("tap killed, {method}"), move |seed| {
        let Figures { runs, kills, .. } = tap_survives(seed, rows, KILLS, method);
        format!("{kills} kills in {runs} runs, {rows} rows: none lost, none doubled")
    })
}

fn target(operation: &'static str, write: &'static str, read: Option<&'static str>) -> Part {
    let source = read.map_or("target killed, from a file", |_| "tap and target killed, from our tap");
    Part::new(format!("{source}, {operation} by {write}"), move |seed| {
        told(target_survives(Case { seed, rows: ROWS, kills: KILLS, operation, write, read }))
    })
}

fn parts() -> Vec<Part> {
    let mut parts = vec![tap("bulk_read", ROWS), tap("coql", ROWS), tap("records", 5_000)];
    for operation in ["upsert", "insert", "update"] {
        parts.push(target(operation, "bulk", None));
        parts.push(target(operation, "records", None));
    }
    parts.push(target("upsert", "auto", Some("bulk_read")));
    parts.push(target("insert", "bulk", Some("coql")));
    parts.push(target("update", "records", Some("coql")));
    parts.push(Part::new("memory and increments, 200,000 and 500,000 rows", memory::stays_flat));
    parts
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    std::env::var("SOAK_SEED").ok().map_or(now, |seed| seed.parse().expect("SOAK_SEED is a number"))
}

/// The parts in an order of the dice.
fn shuffled(mut parts: Vec<Part>, dice: &mut Dice) -> Vec<Part> {
    for at in (1..parts.len()).rev() {
        parts.swap(at, dice.below(at as u64 + 1) as usize);
    }
    parts
}

#[test]
fn soak() {
    let began = Instant::now();
    let slice = std::env::var("SOAK").is_ok_and(|size| size == "slice");
    let (seed, wanted) = (seed(), std::env::var("SOAK_PARTS").unwrap_or_default());
    println!("soak: {}, SOAK_SEED={seed}", if slice { "a slice" } else { "all parts" });
    let mut parts = parts();
    parts.retain(|part| part.name.contains(&wanted));
    if slice {
        parts = shuffled(parts, &mut Dice::new(seed));
    }
    for part in parts {
        if slice && began.elapsed() > SLICE {
            println!("left for another run: {}", part.name);
            continue;
        }
        println!("begins: {}", part.name);
        let start = Instant::now();
        let figures = (part.run)(seed);
        println!("  {} s: {figures}", start.elapsed().as_secs());
    }
    println!("soak: {} s", began.elapsed().as_secs());
}
