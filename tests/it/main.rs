//! The one integration binary; one module per subject.
//!
//! - `airbyte`: tap and target behind Airbyte's command line.
//! - `architecture`: who may import whom.
//! - `bad_input`: what people see when they give us something wrong, as snapshots.
//! - `batches`: rows in files that BATCH messages name, from the tap and through both programs.
//! - `changes`: increments while somebody writes, calls fail and runs are killed; `make soak` runs more.
//! - `client`: every API method of the client against the local Zoho.
//! - `target`: Singer messages into the local Zoho, crashes included.
//! - `deletes`: both forms of deletes, restores, comparing ids, refreshing formulas.
//! - `discovery`: of organisations with many modules.
//! - `dependencies`: licences and sources of what we depend on.
//! - `docs`: what README and the other documents say is true.
//! - `echo`: what our own target wrote and our tap reads back.
//! - `emulate`: the local Zoho as a program.
//! - `emulator_*`: the local Zoho as its clients see it, over HTTP.
//! - `guides`: the guides in `docs/`, followed to the letter.
//! - `help`: what the programs say about themselves, and that all say the same.
//! - `faults`: the tap while calls fail, jobs fail and rows change under it.
//! - `killed`: runs that are killed at random and taken up again; `make soak` runs them at full size.
//! - `names`: what lookups point at, by name (`lookup_names`).
//! - `northwind`: a sample company from a third-party tap into Zoho, and out again.
//! - `plan`: what a run will cost, said before and counted after, and what is remembered for it.
//! - `policy`: fields that may not leave as they are.
//! - `pipes`: the programs in a pipeline: closed pipes, signals, nothing to do.
//! - `protocol_rules`: the rules of Singer and of the Meltano SDK, held against whole runs.
//! - `reading`: the table of who delivers what, walked.
//! - `regression`: bugs that were there once, each by name.
//! - `resume`: unfinished readings taken up after settings, fields or states changed.
//! - `samples`: every file of `sample_configs/`, run as its README says.
//! - `shards`: one sync divided among processes.
//! - `singer`: what the Meltano SDK and Meltano know beside the protocol: trials, logs, metrics, versions.
//! - `side_by_side`: streams that are read at the same time.
//! - `small_streams`: what no module holds (currencies, layouts, tags ...), and rows behind fields.
//! - `tap`: discovery and sync, by the real program against the emulator.
//! - `wide`: modules that no single reading brings whole: column slices.
//! - `windows`: more rows than one bulk job takes, by several jobs at once.
//! - `zones`: time zones, and the hours that clocks repeat.

#![allow(missing_docs)]

mod airbyte;
mod architecture;
mod bad_input;
mod batches;
mod changes;
mod client;
mod common;
mod deletes;
mod dependencies;
mod discovery;
mod docs;
mod echo;
mod emulate;
mod emulator_bulk;
mod emulator_bulk_write;
mod emulator_change;
mod emulator_coql;
mod emulator_core;
mod emulator_oas;
mod emulator_settings;
mod emulator_switches;
mod faults;
mod guides;
mod help;
mod killed;
mod names;
mod northwind;
mod pipes;
mod plan;
mod policy;
mod protocol_rules;
mod reading;
mod regression;
mod resume;
mod samples;
mod shards;
mod side_by_side;
mod singer;
mod small_streams;
mod tap;
mod target;
mod wide;
mod windows;
mod zones;
