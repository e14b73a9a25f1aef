//! Streams that no module holds: users, currencies, territories, layouts, pipelines, tags, and the
//! metadata of attachments. Each is read whole, every time; a table says what it has.
//!
//! Some hang on something else: layouts and tags on the modules whose streams are selected, pipelines on
//! layouts, attachments on every single record. What hangs on many things is not selected by default,
//! because it costs a call for each of them.

use super::discover::skips;
use super::error::Error;
use super::extract::{CallError, Context, in_stream, is_of_a_module};
use super::incremental::id_of;
use super::output::StreamOutput;
use super::plan::module_of;
use crate::codec::decode::JsonDecoder;
use crate::codec::plan::{Column, RecordPlan};
use crate::codec::value::Kind;
use crate::protocol::catalog::{CatalogEntry, FULL_TABLE};
use crate::protocol::schema::{Property, object, project};
use crate::zoho;
use crate::zoho::api::org::Org;
use crate::zoho::api::records::Page;
use crate::zoho::api::settings::Setting;
use crate::zoho::types::RecordId;
use futures_util::StreamExt;
use serde_json::value::RawValue;
use serde_json::{Map, json};
use std::sync::Arc;

/// Attachments are asked for so many records at once; the client's gates hold them to the pool.
const RECORDS_AT_ONCE: usize = 10;
/// Ids of records fetched at once: what one query gives.
const IDS: u32 = 2_000;

/// Where the rows of a stream come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Users,
    Currencies,
    Territories,
    Layouts,
    Pipelines,
    Tags,
    Attachments,
}

/// One of these streams.
#[derive(Debug)]
pub struct Small {
    /// Name of the stream.
    pub name: &'static str,
    /// What makes a row of it one of a kind.
    pub keys: &'static [&'static str],
    /// Whether it is read unless somebody deselects it.
    pub by_default: bool,
    /// What it costs.
    pub note: &'static str,
    columns: &'static [(&'static str, Kind)],
    source: Source,
}

/// All of them.
pub const STREAMS: [Small; 7] = [
    Small {
        name: "users",
        keys: &["id"],
        by_default: true,
        note: "one credit for 200 users",
        source: Source::Users,
        columns: USERS,
    },
    Small {
        name: "currencies",
        keys: &["id"],
        by_default: true,
        note: "one credit",
        source: Source::Currencies,
        columns: CURRENCIES,
    },
    Small {
        name: "territories",
        keys: &["id"],
        by_default: false,
        note: "one credit for 200 territories",
        source: Source::Territories,
        columns: TERRITORIES,
    },
    Small {
        name: "layouts",
        keys: &["module", "id"],
        by_default: false,
        note: "one credit for each selected module",
        source: Source::Layouts,
        columns: LAYOUTS,
    },
    Small {
        name: "pipelines",
        keys: &["layout", "id"],
        by_default: false,
        note: "one credit for each selected module with a field `Pipeline`, and for each of its layouts",
        source: Source::Pipelines,
        columns: PIPELINES,
    },
    Small {
        name: "tags",
        keys: &["module", "id"],
        by_default: false,
        note: "one credit for each selected module with a field `Tag`",
        source: Source::Tags,
        columns: TAGS,
    },
    Small {
        name: "attachments",
        keys: &["module", "id"],
        by_default: false,
        note: "one credit for each record of the selected modules: by far the dearest stream",
        source: Source::Attachments,
        columns: ATTACHMENTS,
    },
];

/// Source: "Get Users"; what is the same in every organisation.
const USERS: &[(&str, Kind)] = &[
    ("id", Kind::Id),
    ("zuid", Kind::Id),
    ("email", Kind::Text),
    ("first_name", Kind::Text),
    ("last_name", Kind::Text),
    ("full_name", Kind::Text),
    ("alias", Kind::Text),
    ("status", Kind::Text),
    ("confirm", Kind::Boolean),
    ("role", Kind::Id),
    ("profile", Kind::Id),
    ("Reporting_To", Kind::Id),
    ("created_by", Kind::Id),
    ("created_time", Kind::DateTime),
    ("Modified_By", Kind::Id),
    ("Modified_Time", Kind::DateTime),
    ("time_zone", Kind::Text),
    ("locale", Kind::Text),
    ("country_locale", Kind::Text),
    ("language", Kind::Text),
    ("phone", Kind::Text),
    ("mobile", Kind::Text),
];

/// Source: "Get Currencies".
const CURRENCIES: &[(&str, Kind)] = &[
    ("id", Kind::Id),
    ("name", Kind::Text),
    ("iso_code", Kind::Text),
    ("symbol", Kind::Text),
    ("exchange_rate", Kind::Decimal),
    ("is_base", Kind::Boolean),
    ("is_active", Kind::Boolean),
    ("prefix_symbol", Kind::Boolean),
    ("created_by", Kind::Id),
    ("created_time", Kind::DateTime),
    ("modified_by", Kind::Id),
    ("modified_time", Kind::DateTime),
];

/// Source: "Get Territories".
const TERRITORIES: &[(&str, Kind)] = &[
    ("id", Kind::Id),
    ("name", Kind::Text),
    ("api_name", Kind::Text),
    ("description", Kind::Text),
    ("manager", Kind::Id),
    ("reporting_to", Kind::Id),
    ("permission_type", Kind::Text),
    ("created_by", Kind::Id),
    ("created_time", Kind::DateTime),
    ("modified_by", Kind::Id),
    ("modified_time", Kind::DateTime),
];

/// Source: "Get Layouts", without what is inside of one.
const LAYOUTS: &[(&str, Kind)] = &[
    ("module", Kind::Text),
    ("id", Kind::Id),
    ("name", Kind::Text),
    ("api_name", Kind::Text),
    ("display_label", Kind::Text),
    ("status", Kind::Text),
    ("visible", Kind::Boolean),
    ("generated_type", Kind::Text),
    ("created_by", Kind::Id),
    ("created_time", Kind::DateTime),
    ("modified_by", Kind::Id),
    ("modified_time", Kind::DateTime),
];

/// Source: "Get Pipelines"; `maps` are the stages.
const PIPELINES: &[(&str, Kind)] = &[
    ("layout", Kind::Id),
    ("id", Kind::Id),
    ("display_value", Kind::Text),
    ("actual_value", Kind::Text),
    ("default", Kind::Boolean),
    ("maps", Kind::Json),
];

/// Source: "Get Tags".
const TAGS: &[(&str, Kind)] = &[
    ("module", Kind::Text),
    ("id", Kind::Id),
    ("name", Kind::Text),
    ("color_code", Kind::Text),
    ("created_by", Kind::Id),
    ("created_time", Kind::DateTime),
    ("modified_by", Kind::Id),
    ("modified_time", Kind::DateTime),
];

/// Source: "Get Attachments". The keys that Zoho begins with `$` lose that sign.
const ATTACHMENTS: &[(&str, Kind)] = &[
    ("module", Kind::Text),
    ("id", Kind::Id),
    ("Parent_Id", Kind::Id),
    ("File_Name", Kind::Text),
    ("Size", Kind::Integer),
    ("$file_id", Kind::Text),
    ("$type", Kind::Text),
    ("$link_url", Kind::Text),
    ("$attachment_type", Kind::Integer),
    ("Owner", Kind::Id),
    ("Created_By", Kind::Id),
    ("Created_Time", Kind::DateTime),
    ("Modified_By", Kind::Id),
    ("Modified_Time", Kind::DateTime),
];

/// The stream of that name, if it is one of these.
pub fn find(name: &str) -> Option<&'static Small> {
    STREAMS.iter().find(|stream| stream.name == name)
}

/// The entries of the catalog. What the organisation is known not to have is left out.
pub fn entries(org: Option<&Org>) -> impl Iterator<Item = CatalogEntry> {
    let one_currency = org.is_some_and(|org| !org.multi_currency);
    let offered = move |stream: &&Small| stream.source != Source::Currencies || !one_currency;
    STREAMS.iter().filter(offered).map(Small::entry)
}

/// A key of Zoho's as a property is called.
fn property_name(field: &str) -> &str {
    field.trim_start_matches('$')
}

impl Small {
    fn property(&self, (field, kind): &(&str, Kind)) -> (String, serde_json::Value) {
        let property = match kind {
            Kind::Boolean => Property::new("boolean"),
            Kind::Integer => Property::new("integer"),
            Kind::Decimal => Property::new("number"),
            Kind::DateTime => Property::formatted("date-time"),
            Kind::Json => Property::array(),
            _ => Property::new("string"),
        };
        let property = if self.keys.contains(field) { property.never_null() } else { property };
        (property_name(field).to_owned(), property.into())
    }

    /// The stream's entry in the catalog.
    pub fn entry(&self) -> CatalogEntry {
        let keys: Vec<String> = self.keys.iter().map(|key| (*key).to_owned()).collect();
        let mut entry = CatalogEntry {
            tap_stream_id: self.name.into(),
            stream: self.name.into(),
            key_properties: keys.clone(),
            schema: object(self.columns.iter().map(|column| self.property(column)).collect::<Map<_, _>>()),
            replication_method: Some(FULL_TABLE.into()),
            ..CatalogEntry::default()
        };
        let mut metadata = json!({"inclusion": "available", "selected-by-default": self.by_default,
            "table-key-properties": keys, "forced-replication-method": FULL_TABLE});
        if !self.by_default {
            metadata["zoho-note"] = self.note.into();
        }
        entry.push_metadata(&[], metadata);
        for key in self.keys {
            entry.push_metadata(&["properties", key], json!({"inclusion": "automatic"}));
        }
        entry
    }

    /// The least that it costs, in credits.
    pub fn credits(&self, selected: &[Arc<CatalogEntry>]) -> u64 {
        match self.source {
            Source::Users | Source::Currencies | Source::Territories => 1,
            // The layouts of a module, and the pipelines of at least one of them.
            Source::Pipelines => 2 * self.owners(selected).count() as u64,
            Source::Layouts | Source::Tags | Source::Attachments => self.owners(selected).count() as u64,
        }
    }

    /// The selected modules that the stream hangs on.
    fn owners<'a>(&self, selected: &'a [Arc<CatalogEntry>]) -> impl Iterator<Item = &'a CatalogEntry> {
        let source = self.source;
        // A stream that was listed without its fields may have any.
        let has = |entry: &CatalogEntry, field: &str| {
            entry.schema["properties"].get(field).is_some() || entry.schema["additionalProperties"] == true
        };
        selected.iter().map(Arc::as_ref).filter(move |entry| {
            let kind = entry.stream_metadata("zoho-generated-type").and_then(|kind| kind.as_str());
            let own = is_of_a_module(entry) && !matches!(kind, Some("subform" | "linking"));
            own && match source {
                Source::Pipelines => has(entry, "Pipeline"),
                Source::Tags => has(entry, "Tag"),
                _ => true,
            }
        })
    }
}

/// Reads all rows of one of these streams.
pub(super) async fn read(
    context: &Context,
    stream: &'static Small,
    entry: &CatalogEntry,
    selected: &[Arc<CatalogEntry>],
    output: &mut StreamOutput,
) -> Result<String, Error> {
    let is_selected = |name: &str| entry.is_property_selected(name);
    let column = |(field, kind): &(&str, Kind)| {
        let name = property_name(field);
        Column::part(name.to_owned(), *kind, (*field).to_owned(), name.to_owned())
    };
    let columns = stream.columns.iter().filter(|(field, _)| is_selected(property_name(field))).map(column);
    let decoder = JsonDecoder::new(&RecordPlan::new(context.policy.columns(stream.name, columns)));
    let mut schema = project(&stream.entry().schema, is_selected);
    context.policy.schema(stream.name, &mut schema);
    output.begin(&schema, &entry.key_properties, &[])?;
    if context.config.activate_version {
        output.versioned(context.server_time());
    }
    let mut rows = Rows { context, stream: entry.stream_name(), decoder, output };
    match stream.source {
        Source::Users => rows.users().await?,
        Source::Currencies => drop(rows.setting(Setting::Currencies, None).await?),
        Source::Territories => drop(rows.setting(Setting::Territories, None).await?),
        source => {
            for owner in stream.owners(selected) {
                rows.of(source, owner).await?;
            }
        }
    }
    output.activate_version()?;
    output.checkpoint(json!({}))?;
    Ok(String::new())
}

/// Rows on their way out.
struct Rows<'a> {
    context: &'a Context,
    stream: &'a str,
    decoder: JsonDecoder,
    output: &'a mut StreamOutput,
}

impl Rows<'_> {
    fn write(&mut self, records: &[Box<RawValue>]) -> Result<(), Error> {
        self.context.page(self.stream, self.output, &self.decoder, records)
    }

    async fn users(&mut self) -> Result<(), Error> {
        for page in 1.. {
            let answer = self.context.call(self.context.client.users(page)).await;
            let answer = answer.map_err(in_stream(self.stream))?;
            self.write(&answer.records)?;
            if !answer.more_records {
                break;
            }
        }
        Ok(())
    }

    /// Writes a list of settings, and answers the ids in it. `owner` is a property that each row gets.
    async fn setting(
        &mut self,
        setting: Setting<'_>,
        owner: Option<(&str, &str)>,
    ) -> Result<Vec<String>, Error> {
        let mut ids = Vec::new();
        for page in 1.. {
            let answer = self.context.call(self.context.client.settings(setting, page)).await;
            let answer = answer.map_err(in_stream(self.stream))?;
            ids.extend(answer.records.iter().filter_map(|record| id_of(record)));
            self.write(&owned(answer.records, owner))?;
            if !answer.more_records {
                break;
            }
        }
        Ok(ids)
    }

    /// Writes what hangs on one module. A module that has no such thing is no failure.
    async fn of(&mut self, source: Source, owner: &CatalogEntry) -> Result<(), Error> {
        let module = module_of(owner);
        let done = match source {
            Source::Tags => self.setting(Setting::Tags { module }, Some(("module", module))).await.map(drop),
            Source::Layouts => {
                self.setting(Setting::Layouts { module }, Some(("module", module))).await.map(drop)
            }
            Source::Pipelines => self.pipelines(module).await,
            _ => self.attachments(module).await,
        };
        match done {
            Err(Error::Stream { source, .. }) if skips(&source) => {
                tracing::info!(stream = self.stream, module, reason = %source, "the module has none");
                Ok(())
            }
            done => done,
        }
    }

    async fn pipelines(&mut self, module: &str) -> Result<(), Error> {
        let layouts = self.context.call(self.context.client.settings(Setting::Layouts { module }, 1)).await;
        let layouts = layouts.map_err(in_stream(self.stream))?;
        for layout in layouts.records.iter().filter_map(|record| id_of(record)) {
            self.setting(Setting::Pipelines { layout: &layout }, Some(("layout", &layout))).await?;
        }
        Ok(())
    }

    /// Writes the attachments of every record, asked for one by one.
    async fn attachments(&mut self, module: &str) -> Result<(), Error> {
        self.context.plan_at_least();
        let mut after = String::from("0");
        loop {
            let query = format!("select id from {module} where id > {after} order by id asc limit {IDS}");
            let page = self.context.call(self.context.client.coql(&query, IDS)).await;
            let page = page.map_err(in_stream(self.stream))?;
            let ids: Vec<RecordId> =
                page.records.iter().filter_map(|record| id_of(record)).map(RecordId::from).collect();
            let Some(last) = ids.last() else { return Ok(()) };
            after = last.to_string();
            let context = self.context;
            let calls = ids.into_iter().map(|id| attachments_of(context, module, id));
            let mut answers = futures_util::stream::iter(calls).buffered(RECORDS_AT_ONCE);
            while let Some(answer) = answers.next().await {
                let records = answer.map_err(in_stream(self.stream))?;
                if !records.is_empty() {
                    self.write(&owned(records, Some(("module", module))))?;
                }
            }
            if !page.more_records {
                return Ok(());
            }
        }
    }
}

/// The attachments of one record; none of one that is gone by now.
async fn attachments_of(
    context: &Context,
    module: &str,
    id: RecordId,
) -> Result<Vec<Box<RawValue>>, CallError<zoho::Error>> {
    let mut found = Vec::new();
    for number in 1.. {
        match context.call(context.client.attachments(module, &id, number)).await {
            Ok(Page { records, more_records, .. }) => {
                found.extend(records);
                if !more_records {
                    break;
                }
            }
            Err(CallError::Failed(error)) if error.code() == Some("INVALID_DATA") => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The records with one more property in front.
fn owned(records: Vec<Box<RawValue>>, owner: Option<(&str, &str)>) -> Vec<Box<RawValue>> {
    let Some((name, value)) = owner else { return records };
    let head = format!("{{{}:{},", json!(name), json!(value));
    let with_owner = |record: Box<RawValue>| {
        let rest = record.get().trim_start().strip_prefix('{')?;
        RawValue::from_string(format!("{head}{rest}")).ok()
    };
    records.into_iter().filter_map(with_owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_its_keys_and_properties_that_are_not_called_after_a_sign() {
        for stream in &STREAMS {
            let entry = stream.entry();
            for key in stream.keys {
                assert!(entry.schema["properties"].get(*key).is_some(), "{} {key}", stream.name);
            }
            let names = entry.schema["properties"].as_object().expect("properties").keys();
            assert!(names.into_iter().all(|name| !name.starts_with('$')), "{}", stream.name);
        }
    }

    #[test]
    fn a_record_is_told_whose_it_is() {
        let record = RawValue::from_string(r#"{"id":"1"}"#.to_owned()).expect("JSON");
        let told = owned(vec![record], Some(("module", "Leads")));
        assert_eq!(told[0].get(), r#"{"module":"Leads","id":"1"}"#);
    }
}
