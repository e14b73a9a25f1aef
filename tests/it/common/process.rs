//! Our programs as processes: started, watched, killed.

use super::context::TestContext;
use assert_cmd::cargo::cargo_bin;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// When a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Not at all.
    Never,
    /// After this many lines of the last program's stdout.
    Lines(u64),
    /// After this many calls, as the emulator counts them.
    Calls(u64),
    /// After this long.
    Time(Duration),
}

/// How often a moment is looked for, and a peak of memory.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Lines of a program's stdout, gathered as they come.
#[derive(Clone, Default)]
struct Lines {
    whole: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicU64>,
}

impl Lines {
    /// Reads on a thread until the program closes its stdout; a line without its end is dropped.
    fn gather(&self, out: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                line.pop();
                lines.whole.lock().expect("not poisoned").push(std::mem::take(&mut line));
                lines.count.fetch_add(1, Ordering::AcqRel);
            }
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.whole.lock().expect("not poisoned"))
    }
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    /// Whole lines of the last program's stdout.
    pub lines: Vec<String>,
    /// Whether we killed one of the programs.
    pub killed: bool,
    /// Whether every program ended well.
    pub good: bool,
    /// Calls made.
    pub calls: u64,
    /// Time taken.
    pub time: Duration,
    /// Peak of resident memory per program, in KiB, as last seen before its end.
    #[allow(dead_code, reason = "read by the soak only")]
    pub peaks: Vec<u64>,
    /// What the programs said on stderr.
    pub said: String,
}

/// A program of ours, ready to be started, with its stderr in a file.
pub fn command(context: &TestContext, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin(program));
    command.env_clear().current_dir(context.path(".")).args(args);
    command
}

/// Runs programs as a shell pipes them, kills those at `victims` when the moment comes.
pub fn run(context: &TestContext, commands: Vec<Command>, moment: Moment, victims: &[usize]) -> Ran {
    let (calls_before, started) = (context.calls(), Instant::now());
    let mut children: Vec<Child> = Vec::new();
    let mut said = Vec::new();
    for (at, mut command) in commands.into_iter().enumerate() {
        let stderr = tempfile::NamedTempFile::new().expect("a file");
        command.stdout(Stdio::piped()).stderr(stderr.reopen().expect("opens"));
        if let Some(before) = children.last_mut() {
            command.stdin(before.stdout.take().expect("is piped"));
        }
        children.push(command.spawn().unwrap_or_else(|error| panic!("program {at}: {error}")));
        said.push(stderr);
    }
    let lines = Lines::default();
    let out = children.last_mut().and_then(|child| child.stdout.take()).expect("is piped");
    let reader = lines.gather(out);
    let mut peaks = vec![0; children.len()];
    let mut killed = false;
    while children.iter_mut().any(|child| child.try_wait().expect("waits").is_none()) {
        let due = match moment {
            Moment::Never => false,
            Moment::Lines(count) => lines.count.load(Ordering::Acquire) >= count,
            Moment::Calls(count) => context.calls() - calls_before >= count,
            Moment::Time(time) => started.elapsed() >= time,
        };
        if due && !killed {
            for at in victims {
                killed |= children[*at].try_wait().expect("waits").is_none();
                children[*at].kill().expect("is killed");
            }
        }
        for (peak, child) in peaks.iter_mut().zip(&children) {
            *peak = peak_of(child.id()).unwrap_or(0).max(*peak);
        }
        thread::sleep(LOOK_EVERY);
    }
    reader.join().expect("the reader ends");
    let good = children.iter_mut().all(|child| child.wait().expect("waits").success());
    let said = said.iter().map(|file| fs::read_to_string(file.path()).expect("reads")).collect();
    let calls = context.calls() - calls_before;
    Ran { lines: lines.take(), killed, good, calls, time: started.elapsed(), peaks, said }
}

/// What a program made of rows that were written to it.
#[derive(Debug)]
#[allow(dead_code, reason = "the soak reads more of it")]
pub struct Fed {
    /// Lines of stdout, and when each came.
    pub lines: Vec<(Duration, String)>,
    /// Whether it ended well.
    pub good: bool,
    /// Peak of resident memory, in KiB.
    pub peak: u64,
    /// What it said on stderr.
    pub said: String,
}

/// Runs a program on what `write` gives it, line by line.
#[allow(dead_code, reason = "used by the soak only")]
pub fn fed(mut command: Command, write: impl FnOnce(&mut dyn Write) + Send + 'static) -> Fed {
    let stderr = tempfile::NamedTempFile::new().expect("a file");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr.reopen().expect("opens"));
    let mut child = command.spawn().expect("is started");
    let mut input = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("is piped"));
    let writer = thread::spawn(move || write(&mut input));
    let (begun, out) = (Instant::now(), child.stdout.take().expect("is piped"));
    let reader = thread::spawn(move || {
        let lines = BufReader::new(out).lines();
        lines.map(|line| (begun.elapsed(), line.expect("UTF-8"))).collect()
    });
    let mut peak = 0;
    while child.try_wait().expect("waits").is_none() {
        peak = peak_of(child.id()).unwrap_or(0).max(peak);
        thread::sleep(LOOK_EVERY);
    }
    writer.join().expect("the writer ends");
    let said = fs::read_to_string(stderr.path()).expect("reads");
    let good = child.wait().expect("waits").success();
    Fed { lines: reader.join().expect("the reader ends"), good, peak, said }
}

/// Peak of resident memory in KiB, where the system tells it.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
