//! A source of rows as a file of Singer messages, which can be taken up at any of its STATEs.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Rows whose last contents are known.
pub struct Feed {
    first: u64,
    rows: u64,
    changes: bool,
    state_every: u64,
}

impl Feed {
    /// So many rows at first; with `changes`, every tenth is a new content of a key that came before.
    pub fn new(rows: u64, changes: bool) -> Self {
        Self { first: rows, rows, changes, state_every: (rows / 15).max(1) }
    }

    /// Half as many rows again come: new contents with `changes`, otherwise new keys.
    pub fn grow(&mut self) {
        self.rows += self.first / 2;
    }

    fn key(&self, number: u64) -> String {
        let place = number % self.first;
        match self.changes {
            true if place % 10 == 9 => format!("k{}", place - 5),
            true => format!("k{place}"),
            false => format!("k{number}"),
        }
    }

    fn row(&self, number: u64) -> Value {
        json!({"id": self.key(number), "First_Name": format!("Name \"{number}\", Jr."), "Phone": format!("0-{number}")})
    }

    /// The messages from a row on, and for each line the row on it.
    pub fn from(&self, first: u64) -> (String, Vec<Option<u64>>) {
        let text = json!({"type": ["null", "string"]});
        let schema = json!({"type": "SCHEMA", "stream": "Leads", "key_properties": ["id"],
            "schema": {"type": "object", "properties": {"id": text, "First_Name": text, "Phone": text}}});
        let (mut out, mut lines) = (format!("{schema}\n"), vec![None]);
        for number in first..self.rows {
            let record = json!({"type": "RECORD", "stream": "Leads", "record": self.row(number)});
            writeln!(out, "{record}").expect("a string takes it");
            lines.push(Some(number));
            if (number + 1) % self.state_every == 0 || number + 1 == self.rows {
                let state = json!({"type": "STATE", "value": {"at": number + 1}});
                writeln!(out, "{state}").expect("a string takes it");
                lines.push(None);
            }
        }
        (out, lines)
    }

    /// The last content of each key.
    pub fn truth(&self) -> BTreeMap<String, Value> {
        (0..self.rows).map(|number| (self.key(number), self.row(number))).collect()
    }

    /// How many rows it has, changes included.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}
