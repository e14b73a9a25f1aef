//! The full figures, on an optimised build: what `make test` shows in small, at the size that counts.
//!
//! `SOAK=full` (`make soak`) runs every part. `SOAK=slice` (`make soak-slice`) runs parts in an order
//! that changes from run to run, as many as fit into its time. Both print what ran, with which seed;
//! `SOAK_SEED` repeats a run, `SOAK_PARTS` names the parts to run (their names contain it).

#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

mod changes;
mod claims;
#[path = "../it/common/mod.rs"]
#[allow(dead_code)]
mod common;
mod credits;
mod killed;
mod memory;
mod reading;
mod shards;
mod writing;

use common::dice::Dice;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the parts of a slice may take together; the build has the rest of the ten minutes.
const SLICE: Duration = Duration::from_secs(480);

/// A part of the soak: its name, the seconds it takes on two idle cores (rather too many than too
/// few: a slice runs what fits), and what it does with a seed; answers its figures.
pub struct Part {
    name: String,
    takes: Duration,
    run: Box<dyn Fn(u64) -> String>,
}

impl Part {
    pub fn new(name: impl Into<String>, seconds: u64, run: impl Fn(u64) -> String + 'static) -> Self {
        Self { name: name.into(), takes: Duration::from_secs(seconds), run: Box::new(run) }
    }
}

fn parts() -> Vec<Part> {
    let subjects = [
        changes::parts(),
        claims::parts(),
        killed::parts(),
        memory::parts(),
        credits::parts(),
        reading::parts(),
        writing::parts(),
        shards::parts(),
    ];
    subjects.into_iter().flatten().collect()
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
        if slice && began.elapsed() + part.takes > SLICE {
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
