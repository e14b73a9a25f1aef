//! A SCHEMA and what it leads to: the metadata that its mapping needs, and the routes of its rows.
//!
//! What the config names is held against the metadata before the first line is read; the properties of a
//! stream are known only when its SCHEMA comes.

use std::io::Write;
use std::sync::Arc;

use super::config::{ConfigError, FieldRule, Operation, StreamTarget, child};
use super::error::Error;
use super::family::Family;
use super::ingest::Stream;
use super::mapping::{self, Mapped, Route, StreamShape};
use super::pipeline::Pipeline;
use super::relations;
use crate::protocol::message::SchemaMessage;
use crate::zoho::types::Field;

impl<W: Write> Pipeline<W> {
    pub(super) async fn take_schema(&mut self, line: u64, message: &SchemaMessage<'_>) -> Result<(), Error> {
        if let Some(known) = self.streams.get(&message.stream) {
            if known.is_same(message) {
                return Ok(());
            }
            // Rows under the old SCHEMA are written as such.
            let lanes: Vec<i64> = known.routes.iter().map(|(_, lane)| *lane).collect();
            for lane in lanes {
                self.close(lane).await?;
            }
        }
        let stream = Stream::compile(message).map_err(|what| self.order(line, what, None))?;
        self.add_stream(&message.stream, stream).await
    }

    /// Finds out where the rows of a stream go.
    pub(super) async fn add_stream(&mut self, name: &str, mut stream: Stream) -> Result<(), Error> {
        for target in self.targets(name) {
            let route = self.route(&stream, name, &target).await?;
            let lane = self.writer.ledger.lane(&self.writer.org, self.source.name(), &route.lane())?;
            if stream.routes.iter().any(|(_, known)| *known == lane) {
                let text = format!("stream \"{name}\" goes to {} twice", route.module);
                return Err(ConfigError::new(target.pointer, text).into());
            }
            stream.routes.push((Arc::new(route), lane));
        }
        let lanes: Vec<i64> = stream.routes.iter().map(|(_, lane)| *lane).collect();
        self.reporter.expect(name, &lanes);
        self.streams.put(name.to_owned(), stream);
        Ok(())
    }

    fn targets(&self, stream: &str) -> Vec<StreamTarget> {
        match self.writer.config.streams.get(stream) {
            Some(targets) => targets.clone(),
            None => vec![StreamTarget::by_name(stream)],
        }
    }

    /// Checks what the config names before the first row is read.
    pub(super) async fn check_config(&mut self) -> Result<(), Error> {
        let config = Arc::clone(&self.writer.config);
        for target in config.streams.values().flatten() {
            self.load_for(target).await?;
            mapping::check_names(target, &self.metadata)?;
        }
        self.family = Family::of(&config, &self.metadata);
        Ok(())
    }

    /// Reads the metadata that a target needs: of its module, of parents, of modules behind subforms and
    /// multi-select lookups and of their parents.
    async fn load_for(&mut self, target: &StreamTarget) -> Result<(), Error> {
        self.load(&target.module).await?;
        let rules: Vec<FieldRule> = target.fields.iter().flatten().cloned().collect();
        match &target.rows_of {
            Some(rows_of) => self.load_behind(&target.module, &rows_of.field, &rows_of.rule.fields).await?,
            None => self.load_parents(&target.module, &rules).await?,
        }
        for rule in rules.iter().filter(|_| target.rows_of.is_none()) {
            let nested = rule.rows.as_ref().map(|rows| rows.fields.clone()).unwrap_or_default();
            self.load_behind(&target.module, &rule.to, &nested).await?;
        }
        if target.layout.is_some() {
            let loaded = self.metadata.load_layouts(&self.writer.client, &target.module).await;
            let doing = || format!("cannot read the layouts of {}", target.module);
            loaded.map_err(|error| Error::zoho(doing(), error))?;
        }
        Ok(())
    }

    /// Reads the module behind a subform or multi-select lookup, and the parents of its rows.
    async fn load_behind(&mut self, module: &str, field: &str, rules: &[FieldRule]) -> Result<(), Error> {
        let field = self.metadata.get(module).and_then(|meta| meta.field(field));
        let behind = field.and_then(|field| field.subform_module.clone().or(field.linking_module.clone()));
        let Some(behind) = behind else { return Ok(()) };
        self.load(&behind).await?;
        let fields = self.metadata.get(&behind).map(|meta| meta.fields.clone()).unwrap_or_default();
        for parent in fields.iter().filter_map(|field| field.lookup_module.as_ref()) {
            // Links are found by whatever the rule of the list says.
            if rules.is_empty() && parent != module {
                self.load(parent).await?;
            }
        }
        self.load_parents(&behind, rules).await
    }

    /// Reads the modules that lookups by natural key point to, and the users.
    async fn load_parents(&mut self, module: &str, rules: &[FieldRule]) -> Result<(), Error> {
        let field =
            |rule: &FieldRule| self.metadata.get(module).and_then(|meta| meta.field(&rule.to)).cloned();
        let keyed: Vec<Field> =
            rules.iter().filter(|rule| rule.lookup_by.is_some()).filter_map(field).collect();
        for parent in keyed.iter().filter_map(|field| field.lookup_module.as_ref()) {
            self.load(parent).await?;
        }
        if keyed.iter().any(relations::is_user_lookup) {
            let loaded = self.metadata.load_users(&self.writer.client).await;
            loaded.map_err(|error| Error::zoho("cannot read the users", error))?;
        }
        Ok(())
    }

    async fn route(&mut self, stream: &Stream, name: &str, target: &StreamTarget) -> Result<Route, Error> {
        self.load_for(target).await?;
        let shape = StreamShape {
            stream: name,
            properties: &stream.properties,
            key_properties: &stream.key_properties,
            schema: stream.schema(),
        };
        let Mapped { mut route, unknown, not_writable } = mapping::compile(shape, target, &self.metadata)?;
        self.family.tell(&mut route);
        route.trigger = route.trigger.or_else(|| self.writer.config.trigger.clone());
        if !not_writable.is_empty() {
            tracing::warn!(
                "stream \"{name}\": left out, because Zoho does not take them under {}: {}",
                route.operation,
                not_writable.join(", ")
            );
        }
        if !unknown.is_empty() {
            tracing::warn!(
                "stream \"{name}\": left out, because {} has no such fields: {}",
                route.module,
                unknown.join(", ")
            );
        }
        if self.fresh
            && route.operation == Operation::Insert
            && !route.idempotent
            && route.tag_place().is_none()
            && !self.writer.config.at_least_once
        {
            return Err(not_repeatable(&route, target).into());
        }
        tracing::info!("stream \"{name}\" goes to {} ({})", route.module, route.describe());
        Ok(route)
    }

    async fn load(&mut self, module: &str) -> Result<(), Error> {
        let loaded = self.metadata.load(&self.writer.client, module).await;
        loaded.map_err(|error| Error::zoho(format!("cannot read the metadata of {module}"), error))
    }
}

fn not_repeatable(route: &Route, target: &StreamTarget) -> ConfigError {
    ConfigError::new(
        child(&target.pointer, "operation"),
        format!("insert of stream \"{}\" cannot be repeated safely, and the state folder is empty", route.stream),
    )
    .with_hint(
        "if a run before this one was cut off elsewhere, its rows would be created twice: match on a unique field, \
         keep `state_dir` between runs, or accept it with \"at_least_once\": true",
    )
}
