//! Whole programs beside `unzip` and `zip`: `make bench-e2e`.
//!
//! Makes the reference file from a seed, runs our programs against the emulator, which hands out files
//! made beforehand, and prints the ratios beside what they must be. Pairs alternate, so that whatever
//! else the machine does meets both sides. `BENCH_PAIRS` (5) says how many, `BENCH_ONLY` which measures
//! (their names contain it), `BENCH_LARGE=no` leaves out 2,000,000 rows, `BENCH_DIR` where files are kept.

#![allow(missing_docs)]
#![allow(clippy::print_stdout, clippy::exit, reason = "the figures and their verdict are what it is for")]

mod codec;
mod instructions;
mod process;
mod reference;
mod server;

use process::{Spent, run};
use reference::ROWS_PER_FILE;
use server::Server;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The target's, see `cli/memory.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 1;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("instructions") if !instructions::guard(&Bench::new().dir) => std::process::exit(1),
        Some("instructions") => {}
        _ if codec::run(&arguments) => {}
        _ => Bench::new().run(),
    }
}

/// What was measured and what it must be.
struct Measure {
    name: String,
    found: String,
    must: &'static str,
}

struct Bench {
    dir: PathBuf,
    pairs: usize,
    only: String,
    table: Vec<Measure>,
}

/// Two programs that take turns: ours and theirs.
struct Pair {
    ours: Vec<Spent>,
    theirs: Vec<Spent>,
    /// Time of the server within ours.
    server: Vec<Duration>,
}

impl Bench {
    fn new() -> Self {
        let set = |name: &str| std::env::var(name).ok();
        let dir = set("BENCH_DIR")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-e2e"), PathBuf::from);
        fs::create_dir_all(&dir).expect("a folder");
        let pairs = set("BENCH_PAIRS").map_or(5, |pairs| pairs.parse().expect("BENCH_PAIRS is a number"));
        Self { dir, pairs, only: set("BENCH_ONLY").unwrap_or_default(), table: Vec::new() }
    }

    fn run(&mut self) {
        for tool in ["unzip", "zip"] {
            if Command::new(tool).arg("-v").output().is_err() {
                println!("`{tool}` is not there: install it, it is what we are measured by");
                return;
            }
        }
        let file = self.reference(0);
        let server = Server::start(&self.dir, std::slice::from_ref(&file), ROWS_PER_FILE);
        self.sizes(&file, &server);
        self.reading(&file, &server);
        self.writing(&server);
        self.both(&server);
        drop(server);
        if std::env::var("BENCH_LARGE").is_ok_and(|large| large == "no") {
            println!("2,000,000 rows: left out by BENCH_LARGE");
        } else {
            self.growth(&file);
        }
        println!("\n| measure | must be | is |\n| --- | --- | --- |");
        for Measure { name, found, must } in &self.table {
            println!("| {name} | {must} | {found} |");
        }
    }

    /// The zip of one file of the reference, made unless it is there; its CSV stands beside it.
    fn reference(&self, number: u64) -> PathBuf {
        let (csv, zip) = (self.dir.join(format!("{number}.csv")), self.dir.join(format!("{number}.zip")));
        if !zip.exists() {
            reference::write_csv(&csv, SEED, number * ROWS_PER_FILE, ROWS_PER_FILE).expect("writes");
            let made = zip_command(6, &zip, &csv).status().expect("zip runs");
            assert!(made.success(), "zip: {made}");
            if number > 0 {
                fs::remove_file(&csv).expect("removes");
            }
        }
        zip
    }

    fn sizes(&self, zip: &Path, server: &Server) {
        let lines = self.dir.join("records.jsonl");
        if !lines.exists() {
            run(vec![server.sync()], Some(fs::File::create(&lines).expect("creates")));
        }
        let size = |path: &Path| fs::metadata(path).expect("is there").len() / 1_000_000;
        let csv = zip.with_extension("csv");
        println!(
            "{ROWS_PER_FILE} rows: CSV {} MB, zip {} MB, RECORD lines {} MB",
            size(&csv),
            size(zip),
            size(&lines)
        );
    }

    fn reading(&mut self, zip: &Path, server: &Server) {
        let unzip = || vec![command("unzip", &["-p", path(zip)])];
        let ours = || vec![codec_command(&["read", path(zip)])];
        self.ratio("codec, zip file to RECORD lines, over `unzip -p`", "at most 0.80", None, ours, unzip);
        let piped = |mut commands: Vec<Command>| {
            commands.push(command("cat", &[]));
            commands
        };
        let name = "the same through a pipe to `cat`, over `unzip -p | cat`";
        self.ratio(name, "at most 1.2", None, || piped(ours()), || piped(unzip()));
        let name = "whole tap run over `unzip -p`";
        self.ratio(name, "at most 1.5", Some(server), || vec![server.sync()], unzip);
    }

    fn writing(&mut self, server: &Server) {
        let (csv, lines) = (self.dir.join("0.csv"), self.dir.join("records.jsonl"));
        let (theirs, ours) = (self.dir.join("theirs.zip"), self.dir.join("ours.zip"));
        for (level, codec, whole) in [(1, "at most 0.75", "at most 1.5"), (6, "at most 0.65", "at most 1.0")]
        {
            let zip = || {
                let _ = fs::remove_file(&theirs);
                vec![zip_command(level, &theirs, &csv)]
            };
            let fed = |mut command: Command| {
                command.stdin(fs::File::open(&lines).expect("opens"));
                vec![command]
            };
            let write = || fed(codec_command(&["write", &level.to_string(), path(&ours)]));
            let name = format!("codec, RECORD lines to zip, over `zip -{level}`");
            if self.ratio(&name, codec, None, write, zip) {
                let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
                let parts = (1..8).map(|part| size(&ours.with_extension(format!("{part}.zip"))));
                let share = (size(&ours) + parts.sum::<u64>()) as f64 / size(&theirs) as f64;
                let name = format!("size of that output over `zip -{level}`'s");
                self.table.push(Measure { name, found: format!("{share:.2}"), must: "at most 1" });
            }
            let name = format!("whole target run at level {level} over `zip -{level}`");
            self.ratio(&name, whole, Some(server), || fed(server.target(Some(level))), zip);
        }
    }

    /// The tap piped into the target, over the slower of the two alone.
    fn both(&mut self, server: &Server) {
        let name = "tap piped into target, over the slower of the two alone";
        if !name.contains(&self.only) {
            return;
        }
        let lines = self.dir.join("tap.jsonl");
        let (mut clock, mut found) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        for _ in 0..self.pairs {
            let mut timed = |at: usize, commands, out| {
                let before = server.cpu();
                let spent = run(commands, out);
                clock[at].push(spent.wall.as_secs_f64());
                found[at].push(spent.wall.saturating_sub(server.cpu() - before).as_secs_f64());
            };
            timed(0, vec![server.sync()], Some(fs::File::create(&lines).expect("creates")));
            let mut target = server.target(None);
            target.stdin(fs::File::open(&lines).expect("opens"));
            timed(1, vec![target], None);
            timed(2, vec![server.sync(), server.target(None)], None);
        }
        let ratio = |how: &str, times: [Vec<f64>; 3]| {
            let [tap, target, both] = times.map(median);
            println!("{name}, {how}: {both:.2} s; alone {tap:.2} and {target:.2} s");
            both / tap.max(target)
        };
        let (clock, found) = (ratio("by the clock", clock), ratio("without the server's time", found));
        let found = format!("{clock:.2}; {found:.2} without the server's time");
        self.table.push(Measure { name: name.to_owned(), found, must: "at most 1.3" });
    }

    /// Memory and time at 200,000 and 2,000,000 rows.
    fn growth(&mut self, first: &Path) {
        if !"growth, memory and time per row at 2,000,000 rows".contains(&self.only) {
            return;
        }
        let files: Vec<PathBuf> = (0..10).map(|number| self.reference(number)).collect();
        let small = Grown::measure(&self.dir, std::slice::from_ref(&first.to_owned()), 3);
        let large = Grown::measure(&self.dir, &files, 1);
        let mut tell = |name: String, found: String, must| self.table.push(Measure { name, found, must });
        for (at, program, must) in
            [(0, "tap", "48 MB, the same within 10%"), (1, "target", "96 MB, the same within 10%")]
        {
            let (small, large) = (small.peaks[at] as f64 / 1_024.0, large.peaks[at] as f64 / 1_024.0);
            tell(
                format!("peak memory of the {program}, 200,000 and 2,000,000 rows"),
                format!("{small:.1} and {large:.1} MiB, {:+.0}%", (large / small - 1.0) * 100.0),
                must,
            );
        }
        for (at, what) in ["tap", "tap piped into target"].iter().enumerate() {
            let [clock, alone] =
                [(0, "by the clock"), (1, "without the server's time")].map(|(kind, how)| {
                    let (small, large) = (small.per_row[at][kind], large.per_row[at][kind]);
                    println!("{what}, {how}: {small:.2} and {large:.2} µs a row");
                    large / small
                });
            tell(
                format!("time per row at 2,000,000 rows over that at 200,000, {what}"),
                format!("{clock:.2}; {alone:.2} without the server's time"),
                "0.9 to 1.1",
            );
        }
    }

    /// Lets two programs take turns and notes the ratio of their medians; false if nobody asked for it.
    fn ratio(
        &mut self,
        name: &str,
        must: &'static str,
        server: Option<&Server>,
        ours: impl Fn() -> Vec<Command>,
        theirs: impl Fn() -> Vec<Command>,
    ) -> bool {
        if !name.contains(&self.only) {
            return false;
        }
        let mut pair = Pair { ours: Vec::new(), theirs: Vec::new(), server: Vec::new() };
        for _ in 0..self.pairs {
            pair.theirs.push(run(theirs(), None));
            let before = server.map(Server::cpu).unwrap_or_default();
            pair.ours.push(run(ours(), None));
            pair.server.push(server.map(Server::cpu).unwrap_or_default() - before);
        }
        let found = pair.tell(name);
        self.table.push(Measure { name: name.to_owned(), found: format!("{found:.2}"), must });
        true
    }
}

impl Pair {
    /// Prints the medians; answers the ratio.
    fn tell(&self, name: &str) -> f64 {
        let wall = |spent: &[Spent]| median(spent.iter().map(|it| it.wall.as_secs_f64()).collect());
        let cpu = |spent: &[Spent]| median(spent.iter().map(|it| it.cpu.as_secs_f64()).collect());
        let ours = self.ours.iter().zip(&self.server);
        let alone =
            median(ours.map(|(spent, server)| spent.wall.saturating_sub(*server).as_secs_f64()).collect());
        let ratio = alone / wall(&self.theirs);
        println!(
            "{name}: {ratio:.2}; {:.2} s (cpu {:.2}, server {:.2}, peak {} MiB) beside {:.2} s (cpu {:.2})",
            wall(&self.ours),
            cpu(&self.ours),
            median(self.server.iter().map(Duration::as_secs_f64).collect()),
            self.ours.iter().map(|it| it.peaks[0]).max().unwrap_or(0) / 1_024,
            wall(&self.theirs),
            cpu(&self.theirs),
        );
        ratio
    }
}

/// What one size took.
struct Grown {
    /// Of the tap and the target, in KiB.
    peaks: [u64; 2],
    /// Of the tap alone and of both, by the clock and without the server's time, in microseconds.
    per_row: [[f64; 2]; 2],
}

impl Grown {
    fn measure(dir: &Path, files: &[PathBuf], times: usize) -> Self {
        let rows = files.len() as u64 * ROWS_PER_FILE;
        let server = Server::start(dir, files, rows);
        let (mut peaks, mut per_row) = ([0, 0], [const { [const { Vec::new() }; 2] }; 2]);
        for _ in 0..times {
            for (at, commands) in
                [vec![server.sync()], vec![server.sync(), server.target(None)]].into_iter().enumerate()
            {
                let before = server.cpu();
                let spent = run(commands, None);
                let alone = spent.wall.saturating_sub(server.cpu() - before);
                for (kind, time) in [spent.wall, alone].iter().enumerate() {
                    per_row[at][kind].push(time.as_secs_f64() * 1e6 / rows as f64);
                }
                peaks = [peaks[0].max(spent.peaks[0]), peaks[1].max(spent.peaks[1])];
            }
        }
        Self { peaks, per_row: per_row.map(|kinds| kinds.map(median)) }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn codec_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("we are a file"));
    command.args(arguments);
    command
}

fn zip_command(level: u32, zip: &Path, csv: &Path) -> Command {
    command("zip", &["-q", "-j", &format!("-{level}"), path(zip), path(csv)])
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
