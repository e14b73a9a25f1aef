//! Programs as processes: how long they took by the clock and by the processor, and how much memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Ticks of a processor in a second, as `/proc` counts them. Source: proc(5), fixed on Linux.
const TICKS: u64 = 100;

/// How often the peak of memory is looked at; the kernel keeps the peak, so nothing between is lost.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub wall: Duration,
    /// User and system time of all its programs.
    pub cpu: Duration,
    /// Peak of resident memory of each program, in KiB; of the first two.
    pub peaks: [u64; 2],
}

/// Runs programs joined by pipes, the last one's stdout being `out` or nothing.
pub fn run(commands: Vec<Command>, out: Option<fs::File>) -> Spent {
    let (begun, cpu) = (Instant::now(), of_children());
    let children = start(commands, out);
    let ids: Vec<u32> = children.iter().map(Child::id).collect();
    let (ended, peaks) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let mut wall = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                for (id, peak) in ids.iter().zip(&peaks) {
                    peak.fetch_max(peak_of(*id), Ordering::AcqRel);
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        for mut child in children {
            let status = child.wait().expect("waits");
            assert!(status.success(), "a program failed: {status}");
        }
        wall = begun.elapsed();
        ended.store(true, Ordering::Release);
    });
    Spent { wall, cpu: of_children() - cpu, peaks: peaks.map(AtomicU64::into_inner) }
}

fn start(commands: Vec<Command>, out: Option<fs::File>) -> Vec<Child> {
    let (mut children, mut input, last) = (Vec::<Child>::new(), None::<Stdio>, commands.len() - 1);
    let mut out = Some(out.map_or_else(Stdio::null, Stdio::from));
    for (number, mut command) in commands.into_iter().enumerate() {
        if let Some(input) = input.take() {
            command.stdin(input);
        }
        command.stdout(if number == last { out.take().expect("once") } else { Stdio::piped() });
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        input = child.stdout.take().map(Stdio::from);
        children.push(child);
    }
    children
}

/// Processor time of a running process.
pub fn cpu_of(id: u32) -> Duration {
    ticks(&format!("/proc/{id}/stat"), 13)
}

/// Processor time of children that have ended.
fn of_children() -> Duration {
    ticks("/proc/self/stat", 15)
}

/// The sum of the field at this place, counted from 0, and the next one.
fn ticks(path: &str, place: usize) -> Duration {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name, in brackets, may hold spaces.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let sum: u64 = fields.skip(place - 2).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(sum * 1_000 / TICKS)
}

fn peak_of(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
