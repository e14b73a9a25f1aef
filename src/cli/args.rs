//! What was typed. Parsing touches neither disk nor network.

use crate::tap::shards::{MOST_SHARDS, Share};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How much to say on stderr.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Least important lines to log; `info`, unless the environment says otherwise (`LOGLEVEL`)
    #[arg(long, value_enum, global = true)]
    pub log_level: Option<LogLevel>,
    /// Form of the log on stderr; `text`, unless Meltano asks for structured logs
    #[arg(long, value_enum, global = true)]
    pub log_format: Option<LogFormat>,
}

/// Importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what is odd.
    Warn,
    /// And what was done.
    Info,
    /// And how.
    Debug,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people; a progress bar on a terminal.
    Text,
    /// One JSON object a line.
    Json,
    /// LOG messages on stdout: Airbyte's programs always log so, and others never.
    #[value(skip)]
    Airbyte,
}

/// What `--test` tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TestKind {
    /// One record of every stream.
    All,
    /// The SCHEMA of every stream.
    Schema,
}

/// Form of `--about`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AboutFormat {
    /// For programs.
    Json,
    /// For people.
    Markdown,
    /// A plugin definition in YAML, for `meltano add --from-ref`.
    Meltano,
}

/// Singer tap for Zoho CRM: reads modules and writes Singer messages to stdout
#[derive(Debug, Parser)]
#[command(name = "tap-zoho-crm", version, after_help = EXIT_CODES)]
pub struct TapArgs {
    /// Settings, a JSON file; may be repeated, later ones win. `ENV` reads `TAP_ZOHO_CRM_*` variables
    #[arg(long, short, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Write the catalog of all streams to stdout
    #[arg(long, short)]
    pub discover: bool,
    /// Which streams and fields to read; without it every stream that is selected by default
    #[arg(long, alias = "properties", value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Where the run before this one stopped
    #[arg(long, short, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Try every stream: `all` reads one record each, `schema` none; no STATE is written
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, default_missing_value = "all", require_equals = true, conflicts_with = "discover")]
    pub test: Option<TestKind>,
    /// Read one of N parts of every stream, such as `2/8`; other processes read the others
    #[arg(long, value_name = "K/N", requires = "shard_plan", conflicts_with = "discover")]
    pub shard: Option<Share>,
    /// Where streams are divided, as `zoho-crm plan --shards N` wrote it
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub shard_plan: Option<PathBuf>,
    /// Describe the tap and its settings
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "json", require_equals = true)]
    pub about: Option<AboutFormat>,
    /// Logging
    #[command(flatten)]
    pub log: LogArgs,
}

/// Singer target for Zoho CRM: writes the records of any Singer tap into modules
#[derive(Debug, Parser)]
#[command(name = "target-zoho-crm", version, after_help = EXIT_CODES)]
pub struct TargetArgs {
    /// Settings, a JSON file; may be repeated, later ones win. `ENV` reads `TARGET_ZOHO_CRM_*` variables
    #[arg(long, short, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Read messages from this file instead of stdin
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Read the input and say what would be written, how, and for how many credits; write nothing to Zoho
    #[arg(long)]
    pub dry_run: bool,
    /// Describe the target and its settings
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "json", require_equals = true)]
    pub about: Option<AboutFormat>,
    /// Logging
    #[command(flatten)]
    pub log: LogArgs,
}

/// Operator's tool for the Zoho CRM connector
#[derive(Debug, Parser)]
#[command(name = "zoho-crm", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct OperatorArgs {
    /// What to do
    #[command(subcommand)]
    pub command: OperatorCommand,
    /// Logging
    #[command(flatten)]
    pub log: LogArgs,
}

/// A settings file, as every command that signs in takes it.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Settings, a JSON file of the tap or the target; may be repeated, later ones win
    #[arg(long, short, value_name = "FILE", required = true)]
    pub config: Vec<PathBuf>,
}

/// What the operator's tool can do.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Check sign-in, organisation, credits and hosts
    Check(ConfigArgs),
    /// Sign in and out
    #[command(subcommand)]
    Auth(AuthCommand),
    /// List the modules this user can reach
    Modules(ConfigArgs),
    /// List the fields of a module
    Fields {
        /// The module, by API name
        module: String,
        /// Settings
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Say what a sync would read, by which way and for how many credits
    Plan(PlanArgs),
    /// Make one signed call and print the answer
    Api(ApiArgs),
    /// Show and resolve what the target has under way
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Send a file of rejected rows again, after they were corrected
    Retry {
        /// The file, as the target's summary names it
        file: PathBuf,
        /// Settings
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Run a local Zoho CRM
    #[cfg(feature = "emulator")]
    Emulate(EmulateArgs),
    /// Show discovery, tap and target at work, without an account
    #[cfg(feature = "emulator")]
    Demo(DemoArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of the programs
    Man {
        /// Folder to write them to, such as `/usr/local/share/man/man1`
        dir: PathBuf,
    },
}

/// Sign-in.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Exchange the `grant_code` of the settings for a refresh token, which is kept in `state_dir`
    SelfClient(ConfigArgs),
    /// Say who is signed in and until when
    Status {
        /// Settings
        #[command(flatten)]
        config: ConfigArgs,
        /// Try the refresh token in every data center
        #[arg(long)]
        find_data_center: bool,
    },
    /// Make the refresh token worthless
    Revoke(ConfigArgs),
}

/// The plan of a sync.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Settings
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Which streams and fields to read; without it every stream that is selected by default
    #[arg(long, alias = "properties", value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Where the run before stopped: the plan is that of the run that goes on from there
    #[arg(long, short, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Write the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Instead, divide the streams among N processes: write where, for `tap-zoho-crm --shard K/N`
    #[arg(long, value_name = "N", value_parser = parse_shards, conflicts_with_all = ["state", "json"])]
    pub shards: Option<usize>,
    /// File for that; without it stdout
    #[arg(long, value_name = "FILE", requires = "shards")]
    pub shard_plan: Option<PathBuf>,
}

fn parse_shards(text: &str) -> Result<usize, String> {
    let shards = text.parse().ok().filter(|shards| (1..=MOST_SHARDS).contains(shards));
    shards.ok_or_else(|| format!("expected a number from 1 to {MOST_SHARDS}"))
}

/// A raw call.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// GET, POST, PUT, PATCH or DELETE
    #[arg(value_parser = parse_method)]
    pub method: crate::zoho::types::Method,
    /// Path with its query, such as `/crm/v8/Leads?fields=Last_Name`
    pub path: String,
    /// JSON body, or `@FILE`
    #[arg(long, value_name = "JSON")]
    pub body: Option<String>,
    /// Settings
    #[command(flatten)]
    pub config: ConfigArgs,
}

fn parse_method(text: &str) -> Result<crate::zoho::types::Method, String> {
    use crate::zoho::types::Method;
    let all = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
    let found = all.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "one of GET, POST, PUT, PATCH, DELETE".to_owned())
}

/// What the target has under way.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List batches whose outcome is not known yet
    List(ConfigArgs),
    /// Wait for what is under way and report its rows; sends only what was never sent
    Wait(ConfigArgs),
    /// Decide about calls in doubt: nobody knows whether their rows were written
    #[command(group = clap::ArgGroup::new("choice").required(true).args(["resend", "forget"]))]
    Resolve {
        /// The call, as `jobs list` names it, such as `r4-b4/3`; a batch, `r4-b4`, for all of its calls
        call: String,
        /// Its rows were not written: they are sent again
        #[arg(long)]
        resend: bool,
        /// Its rows were written: they are left out
        #[arg(long)]
        forget: bool,
        /// Settings
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// The local Zoho.
#[derive(Debug, Args)]
pub struct EmulateArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8720")]
    pub listen: SocketAddr,
    /// Seed of the generated rows
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rows of a module, as `Leads=200000`; may be repeated
    #[arg(long, value_name = "MODULE=N", value_parser = parse_rows)]
    pub rows: Vec<(String, u64)>,
    /// JSON file of modules and fields to add
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Write settings for the tap and the target to this file
    #[arg(long, value_name = "FILE")]
    pub write_config: Option<PathBuf>,
    /// Further organisations, empty ones, with settings of their own
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub more_orgs: u8,
    /// A module of so many fields of all kinds, named `Wide_N`; may be repeated
    #[arg(long, value_name = "N")]
    pub wide: Vec<u16>,
    /// Further custom modules of twenty fields, `Custom_001` and so on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub more_modules: u16,
    /// What the API's description leaves open, as `bulk_read_page_size=1000`; may be repeated
    #[arg(long = "switch", value_name = "NAME=VALUE", value_parser = parse_switch)]
    pub switches: Vec<(String, serde_json::Value)>,
    /// A fault from the start, as JSON: {"match": {"path_contains": "/coql"}, "action": {"kind": "throttle"}}
    #[arg(long = "fault", value_name = "JSON")]
    pub faults: Vec<String>,
    /// Time a bulk job takes, in milliseconds
    #[arg(long, value_name = "MS")]
    pub job_millis: Option<u64>,
    /// A zip that Bulk Read answers with where it is just what a job asks for, as `Leads=leads.zip`; may be
    /// repeated. Its ids are those of the generated rows
    #[arg(long, value_name = "MODULE=FILE", value_parser = parse_prepared)]
    pub prepared: Vec<(String, PathBuf)>,
    /// Take the rows of Bulk Write as added without a look at them
    #[arg(long)]
    pub blind_writes: bool,
    /// No credits, calls at a time, downloads per minute or tokens per ten minutes
    #[arg(long)]
    pub no_limits: bool,
}

fn parse_prepared(text: &str) -> Result<(String, PathBuf), String> {
    let (module, file) = text.split_once('=').ok_or("expected MODULE=FILE")?;
    Ok((module.to_owned(), file.into()))
}

fn parse_rows(text: &str) -> Result<(String, u64), String> {
    let (module, rows) = text.split_once('=').ok_or("expected MODULE=N")?;
    let rows = rows.replace('_', "").parse().map_err(|_| format!("`{rows}` is not a number of rows"))?;
    Ok((module.to_owned(), rows))
}

fn parse_switch(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// The demonstration.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for everything it makes; emptied first
    #[arg(long, default_value = "demo")]
    pub dir: PathBuf,
}

/// In the words of [`crate::diagnostic::ExitStatus`] and of README; a test compares them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   done, but more rows were rejected than `max_rejected` allows
  2   usage or config
  3   sign-in
  4   permission or scope
  5   API credits
  6   network or service, after retries
  7   malformed or out-of-order message
  8   record against its SCHEMA, or data that cannot be had whole
  9   in doubt
  70  internal";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_well_formed() {
        TapArgs::command().debug_assert();
        TargetArgs::command().debug_assert();
        OperatorArgs::command().debug_assert();
    }

    #[test]
    fn rows_are_a_module_and_a_number() {
        assert_eq!(parse_rows("Leads=200_000"), Ok(("Leads".to_owned(), 200_000)));
        assert!(parse_rows("Leads").is_err() && parse_rows("Leads=many").is_err());
    }
}
