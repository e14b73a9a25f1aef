//! `zoho-crm demo`: discovery, two reads, a write and a crash, against a local Zoho CRM.
//!
//! Starts the real programs with files that stay behind, so that every command it shows can be
//! typed again against `zoho-crm emulate`.

use super::args::DemoArgs;
use super::emulate;
use super::progress::Screen;
use crate::diagnostic::{duration, thousands};
use crate::emulator::{self, Emulator, Options, OrgOptions};
use crate::error::{Error, SettingsError};
use crate::secret::Secret;
use crate::zoho::Client;
use crate::zoho::types::{Method, RecordId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

const LEADS: u64 = 20_000;
const CONTACTS: u64 = 5_000;
/// Leads that somebody changes between the two reads, and that somebody deletes.
const CHANGED: usize = 120;
const DELETED: usize = 7;
/// Addresses that are spoiled on the way back.
const SPOILED: usize = 7;

/// Runs the demonstration.
pub async fn run(args: DemoArgs, screen: &Screen) -> Result<(), Error> {
    let begun = Instant::now();
    let demo = Demo::start(args.dir, screen).await?;
    // Waiting for a program blocks, and the emulator has to answer it meanwhile.
    block_in_place(|| demo.discover().and_then(|()| demo.first_read()))?;
    demo.change().await?;
    block_in_place(|| demo.second_read().and_then(|()| demo.write_back()).and_then(|()| demo.crash()))?;
    let dir = demo.dir.display();
    screen.say(&format!(
        "\nDone in {}. Everything it used is in {dir}/ (settings, catalog, states, messages, results).\n\
         Try it yourself: `zoho-crm emulate --rows Leads=20000 --write-config config.json` keeps a local Zoho running.\n\
         Next: README, \"Your own account\".",
        duration(begun.elapsed())
    ));
    Ok(())
}

struct Demo<'a> {
    dir: PathBuf,
    emulator: Emulator,
    screen: &'a Screen,
}

impl<'a> Demo<'a> {
    async fn start(dir: PathBuf, screen: &'a Screen) -> Result<Self, Error> {
        empty(&dir)?;
        let emulator = emulator::start(options()).await?;
        let org = &emulator.orgs()[0];
        screen.say(&format!(
            "A local Zoho CRM (org \"{}\", {:?}, {} users) listens on {}",
            org.name,
            org.edition,
            org.users,
            emulator.base_url()
        ));
        let demo = Self { dir, emulator, screen };
        demo.settings("config.json", 0, json!({}))?;
        Ok(demo)
    }

    /// Writes settings for one of the organisations.
    fn settings(&self, name: &str, org: usize, more: Value) -> Result<(), Error> {
        let mut settings = emulate::settings(&self.emulator, org);
        let state_dir = std::path::absolute(self.dir.join(format!("state-{org}")));
        settings["state_dir"] =
            state_dir.map_err(|error| self.broken(name, error.to_string()))?.display().to_string().into();
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        Ok(emulate::write(&self.dir.join(name), &settings)?)
    }

    fn discover(&self) -> Result<(), Error> {
        self.title("1. Discovery: which modules and fields there are");
        self.run("tap-zoho-crm", &["--config", "config.json", "--discover"], "catalog.json")?;
        let path = self.dir.join("catalog.json");
        let mut catalog = super::files::json(&path)?;
        for stream in catalog["streams"].as_array_mut().into_iter().flatten() {
            let id = stream["tap_stream_id"].as_str().unwrap_or_default();
            let selected = ["Leads", "Contacts", "deleted_records"].contains(&id);
            stream["metadata"][0]["metadata"]["selected"] = selected.into();
        }
        emulate::write(&path, &catalog)?;
        self.screen.say("   Leads, Contacts and deleted_records are selected in the catalog.");
        Ok(())
    }

    fn first_read(&self) -> Result<(), Error> {
        self.title("2. First read: every record of the selected streams");
        self.run("tap-zoho-crm", &["--config", "config.json", "--catalog", "catalog.json"], "first.jsonl")?;
        self.keep_state("first.jsonl", "state.json")
    }

    fn second_read(&self) -> Result<(), Error> {
        let args = ["--config", "config.json", "--catalog", "catalog.json", "--state", "state.json"];
        self.run("tap-zoho-crm", &args, "second.jsonl")?;
        self.keep_state("second.jsonl", "state.json")
    }

    /// Changes and deletes Leads as another program would: by the API.
    async fn change(&self) -> Result<(), Error> {
        self.title(&format!(
            "3. Somebody changes {CHANGED} Leads and deletes {DELETED}; the second read brings just that"
        ));
        // A read goes two minutes back before its bookmark, for what a server indexes late.
        self.emulator.app().clock.advance_ms(300_000);
        let ids: Vec<String> = self.ids("first.jsonl", CHANGED + DELETED)?;
        let (changed, deleted) = ids.split_at(CHANGED);
        let config = super::args::ConfigArgs { config: vec![self.dir.join("config.json")] };
        let client: Client = super::operator::connect(&config)?.1;
        for ids in changed.chunks(100) {
            let rows: Vec<Value> =
                ids.iter().map(|id| json!({"id": id, "Lead_Status": "Contacted"})).collect();
            client.raw(Method::Put, "/crm/v8/Leads", &[], Some(json!({ "data": rows }))).await?;
        }
        let deleted: Vec<RecordId> = deleted.iter().map(|id| RecordId::from(id.as_str())).collect();
        client.delete("Leads", &deleted).await?;
        Ok(())
    }

    fn ids(&self, messages: &str, count: usize) -> Result<Vec<String>, Error> {
        let lines = self.lines(messages)?;
        let leads =
            lines.iter().filter(|message| message["type"] == "RECORD" && message["stream"] == "Leads");
        // Every 97th: spread over the pages.
        let ids = leads.step_by(97).filter_map(|message| message["record"]["id"].as_str().map(str::to_owned));
        Ok(ids.take(count).collect())
    }

    fn write_back(&self) -> Result<(), Error> {
        self.contacts("spoiled.singer", SPOILED)?;
        let rows = thousands(self.contacts("contacts.singer", 0)? as u64);
        self.title(&format!("4. Write back: {rows} Contacts, {SPOILED} addresses spoiled on the way"));
        let streams = json!({"Contacts": {"operation": "upsert", "match_on": ["Email"],
            "fields": {"First_Name": "First_Name", "Last_Name": "Last_Name", "Email": "Email", "Phone": "Phone"}}});
        let more =
            json!({"streams": streams, "results": self.dir.join("results.jsonl"), "max_rejected": SPOILED});
        self.settings("target.json", 0, more)?;
        self.run(
            "target-zoho-crm",
            &["--config", "target.json", "--input", "spoiled.singer"],
            "state-target.json",
        )?;
        let results = self.lines("results.jsonl")?;
        for result in results.iter().filter(|result| result["success"] == false).take(2) {
            self.screen.say(&format!(
                "     line {}   {}   {}   {}",
                result["line"],
                result["field"].as_str().unwrap_or_default(),
                result["code"].as_str().unwrap_or_default(),
                result["message"].as_str().unwrap_or_default()
            ));
        }
        self.screen.say(&format!(
            "     …   the outcome of every row is in {}",
            self.dir.join("results.jsonl").display()
        ));
        Ok(())
    }

    /// Makes target input of the Contacts that the first read brought, and says how many they are.
    /// Those without a last name, which the generated data has too, cannot be inserted anywhere.
    fn contacts(&self, name: &str, spoiled: usize) -> Result<usize, Error> {
        let failed = |error: std::io::Error| self.broken(name, error.to_string());
        let nameless =
            |record: &Value| record["Last_Name"].as_str().is_none_or(|name| name.trim().is_empty());
        let mut rows = 0;
        let mut file = BufWriter::new(self.create(name)?);
        for mut message in self.lines("first.jsonl")? {
            let kind = message["type"].as_str().unwrap_or_default();
            if kind != "STATE" && message["stream"] != "Contacts"
                || kind == "RECORD" && nameless(&message["record"])
            {
                continue;
            }
            if kind == "RECORD" {
                if rows < spoiled {
                    message["record"]["Email"] = format!("not-an-address-{rows}").into();
                }
                rows += 1;
            }
            writeln!(file, "{message}").map_err(failed)?;
        }
        file.flush().map_err(failed)?;
        Ok(rows)
    }

    fn crash(&self) -> Result<(), Error> {
        self.title("5. The target is killed half way into an empty organisation, and started again");
        let streams = json!({"Contacts": {"operation": "insert", "match_on": ["Email"],
            "fields": {"First_Name": "First_Name", "Last_Name": "Last_Name", "Email": "Email"}}});
        let more = json!({"streams": streams, "method": "records", "batch_rows": 500});
        self.settings("archive.json", 1, more)?;
        let args = ["--config", "archive.json", "--input", "contacts.singer"];
        let rows = self.contacts("contacts.singer", 0)?;
        self.show("target-zoho-crm", &args, "state-archive.json");
        let mut child = self.spawn("target-zoho-crm", &args, "state-archive.json")?;
        while self.archived() < rows / 2 && running(&mut child) {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().and_then(|()| child.wait()).map_err(|error| self.broken("kill", error.to_string()))?;
        self.screen.say(&format!("   killed with {} Contacts written", thousands(self.archived() as u64)));
        self.run("target-zoho-crm", &args, "state-archive.json")?;
        let (total, twice) = self.doubled();
        let lost = rows.saturating_sub(total - twice);
        self.screen.say(&format!(
            "   {} Contacts there: {lost} lost, {twice} written twice",
            thousands(total as u64)
        ));
        match (lost, twice) {
            (0, 0) => Ok(()),
            _ => Err(self.broken("crash", format!("{lost} lost, {twice} written twice"))),
        }
    }

    fn archived(&self) -> usize {
        self.emulator.app().orgs[1].read().view("Contacts").map_or(0, |view| view.count())
    }

    /// Contacts of the second organisation, and how many of them have another one's address.
    fn doubled(&self) -> (usize, usize) {
        let store = self.emulator.app().orgs[1].read();
        let mut addresses = BTreeMap::<String, usize>::new();
        for row in store.view("Contacts").into_iter().flat_map(|view| view.rows()) {
            *addresses.entry(format!("{:?}", row.by_name("Email"))).or_default() += 1;
        }
        let total = addresses.values().sum();
        (total, total - addresses.len())
    }

    fn title(&self, text: &str) {
        self.screen.say(&format!("\n{text}"));
    }

    /// Shows a command as one would type it.
    fn show(&self, program: &str, args: &[&str], out: &str) {
        let args: Vec<String> = args.iter().map(|arg| self.in_dir(arg)).collect();
        self.screen.say(&format!("   $ {program} {} > {}", args.join(" "), self.in_dir(out)));
    }

    /// Arguments that are files stand in the demonstration's folder.
    fn in_dir(&self, arg: &str) -> String {
        let file = Path::new(arg).extension().is_some();
        if file { self.dir.join(arg).display().to_string() } else { arg.to_owned() }
    }

    /// Runs one of our programs and shows its last words.
    fn run(&self, program: &str, args: &[&str], out: &str) -> Result<(), Error> {
        self.show(program, args, out);
        let mut child = self.spawn(program, args, out)?;
        let mut said = String::new();
        let read = child.stderr.take().map_or(Ok(0), |mut stderr| stderr.read_to_string(&mut said));
        let status =
            read.and_then(|_| child.wait()).map_err(|error| self.broken(program, error.to_string()))?;
        for line in said.lines() {
            self.screen.say(&format!("   {line}"));
        }
        if status.success() { Ok(()) } else { Err(self.broken(program, format!("it ended with {status}"))) }
    }

    fn spawn(&self, program: &str, args: &[&str], out: &str) -> Result<Child, Error> {
        let path = std::env::current_exe().map(|exe| exe.with_file_name(program));
        let path = path.map_err(|error| self.broken(program, error.to_string()))?;
        Command::new(path)
            .args(args.iter().map(|arg| self.in_dir(arg)))
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(self.create(out)?)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.broken(program, error.to_string()))
    }

    fn create(&self, name: &str) -> Result<File, Error> {
        File::create(self.dir.join(name)).map_err(|error| self.broken(name, error.to_string()))
    }

    fn lines(&self, name: &str) -> Result<Vec<Value>, Error> {
        let file = File::open(self.dir.join(name)).map_err(|error| self.broken(name, error.to_string()))?;
        let line = |line: std::io::Result<String>| {
            let line = line.map_err(|error| self.broken(name, error.to_string()))?;
            serde_json::from_str(&line).map_err(|error| self.broken(name, error.to_string()))
        };
        BufReader::new(file).lines().map(line).collect()
    }

    fn keep_state(&self, messages: &str, state: &str) -> Result<(), Error> {
        let lines = self.lines(messages)?;
        let last = lines.iter().rfind(|message| message["type"] == "STATE");
        let value = last.map_or(Value::Null, |message| message["value"].clone());
        Ok(emulate::write(&self.dir.join(state), &value)?)
    }

    fn broken(&self, step: &str, message: String) -> Error {
        Error::Demo { step: step.to_owned(), message }
    }
}

fn running(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}

fn options() -> Options {
    let archive = OrgOptions {
        name: "Zylker Archive".to_owned(),
        client_id: "1000.ARCHIVE".to_owned(),
        client_secret: Secret::new("archive-secret"),
        refresh_token: Secret::new("1000.archive.refresh"),
        rows: Some(BTreeMap::new()),
        ..OrgOptions::default()
    };
    Options {
        rows: BTreeMap::from([("Leads".to_owned(), LEADS), ("Contacts".to_owned(), CONTACTS)]),
        // Every Contact has an address, so that it can be matched by it.
        schema: Some(json!({"modules": [{"api_name": "Contacts", "fields": [
            {"api_name": "Email", "field_label": "Email", "data_type": "email", "length": 100, "unique": true, "mandatory": true}
        ]}]})),
        orgs: vec![OrgOptions::default(), archive],
        ..Options::default()
    }
}

/// Makes the folder anew. One that holds anything but an earlier demonstration is left alone.
fn empty(dir: &Path) -> Result<(), Error> {
    let failed = |source| SettingsError::Unreadable { path: dir.to_owned(), source };
    if dir.exists() {
        let foreign =
            !dir.join("config.json").exists() && fs::read_dir(dir).map_err(failed)?.next().is_some();
        if foreign {
            return Err(SettingsError::Usage {
                message: format!("`{}` holds files that are not of a demonstration", dir.display()),
                hint: "name another folder with `--dir`".to_owned(),
            }
            .into());
        }
        fs::remove_dir_all(dir).map_err(failed)?;
    }
    Ok(fs::create_dir_all(dir).map_err(failed)?)
}
