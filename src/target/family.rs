//! Which modules a config writes, and which of them refer to which: what may wait for a parent.
//!
//! A row whose parent is not there yet waits where a stream of the same config may still bring that parent.
//! Where parents may refer back, to such rows or to each other, nothing would ever be the first; there the
//! row is written without its lookup, which is set in a second pass.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{FieldRule, Nulls, Operation, StreamTarget, TargetConfig};
use super::mapping::{LookupBy, Route, Waits};
use super::metadata::Metadata;

/// The modules of a config.
#[derive(Debug, Default)]
pub struct Family {
    /// Modules whose records some stream creates.
    created: BTreeSet<String>,
    /// Parents by natural key, by module.
    parents: BTreeMap<String, BTreeSet<String>>,
}

impl Family {
    /// Reads the modules of a config; the metadata of all of them are loaded.
    pub fn of(config: &TargetConfig, metadata: &Metadata) -> Self {
        let mut family = Self::default();
        for target in config.streams.values().flatten() {
            let parents = parents(target, metadata);
            family.parents.entry(target.module.clone()).or_default().extend(parents);
            let creates = !matches!(target.operation, Some(Operation::Update | Operation::Delete));
            if creates && target.rows_of.is_none() {
                family.created.insert(target.module.clone());
            }
        }
        family
    }

    /// Notes in a route what of it waits for parents.
    pub fn tell(&self, route: &mut Route) {
        if route.operation == Operation::Delete {
            return;
        }
        route.waits_for_record = route.is_of_subform() && self.created.contains(&route.module);
        let creates = route.operation != Operation::Update;
        for column in &mut route.columns {
            let optional = !column.mandatory && column.nulls != Nulls::SetIfEmpty;
            if let Some(lookup) = &mut column.lookup {
                let back = self.refers(&lookup.module, &route.module);
                let waits = if creates && optional && back { Waits::Lookup } else { Waits::Row };
                lookup.waits = Some(waits).filter(|_| self.may_bring(lookup));
            }
            let nested = column.rows.iter_mut().flat_map(|rows| &mut rows.columns);
            for lookup in nested.filter_map(|column| column.lookup.as_mut()) {
                lookup.waits = Some(Waits::Row).filter(|_| self.may_bring(lookup));
            }
        }
    }

    fn may_bring(&self, lookup: &LookupBy) -> bool {
        lookup.create.is_none() && self.created.contains(&lookup.module)
    }

    /// Whether records of a module lead, from parent to parent, to those of another, or are of it.
    fn refers(&self, from: &str, to: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            if module == to {
                return true;
            }
            if seen.insert(module) {
                next.extend(self.parents.get(module).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }
}

/// Modules that the lookups of a target by natural key point to.
fn parents(target: &StreamTarget, metadata: &Metadata) -> Vec<String> {
    let of = |module: &str, rule: &FieldRule| {
        let field = metadata.get(module)?.field(&rule.to)?;
        field.lookup_module.clone().filter(|_| rule.lookup_by.is_some() && rule.create_missing.is_none())
    };
    let behind = |field: &str| metadata.get(&target.module)?.field(field)?.subform_module.clone();
    let mut found: Vec<String> = Vec::new();
    for rule in target.fields.iter().flatten().filter(|_| target.rows_of.is_none()) {
        found.extend(of(&target.module, rule));
        if let (Some(rows), Some(subform)) = (&rule.rows, behind(&rule.to)) {
            found.extend(rows.fields.iter().filter_map(|rule| of(&subform, rule)));
        }
    }
    if let Some((rows_of, subform)) = target.rows_of.as_ref().and_then(|one| Some((one, behind(&one.field)?)))
    {
        found.extend(rows_of.rule.fields.iter().filter_map(|rule| of(&subform, rule)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::metadata::ModuleMeta;
    use crate::zoho::types::{DataType, Field, Module};
    use serde_json::{Value, json};

    fn family(streams: Value) -> Family {
        let lookup = |name: &str, module: &str| Field {
            api_name: name.to_owned(),
            data_type: DataType::Lookup,
            lookup_module: Some(module.to_owned()),
            ..Field::default()
        };
        let module = |name: &str, fields| ModuleMeta {
            module: Module { api_name: name.to_owned(), ..Module::default() },
            fields,
            layouts: Vec::new(),
        };
        let metadata = Metadata::of(vec![
            module("Accounts", vec![lookup("First_Contact", "Contacts")]),
            module("Contacts", vec![lookup("Account_Name", "Accounts"), lookup("Reporting_To", "Contacts")]),
            module("Deals", vec![lookup("Account_Name", "Accounts")]),
        ]);
        let config = TargetConfig::from_json(&json!({"streams": streams})).expect("good");
        Family::of(&config, &metadata)
    }

    fn waits(family: &Family, module: &str, parent: &str) -> Option<Waits> {
        let mut route = crate::target::tests::route();
        route.module = module.to_owned();
        route.columns[2].lookup = Some(LookupBy {
            module: parent.to_owned(),
            field: "Key".to_owned(),
            numeric: false,
            findable: true,
            create: None,
            waits: None,
        });
        family.tell(&mut route);
        route.columns[2].lookup.as_ref().and_then(|lookup| lookup.waits)
    }

    #[test]
    fn rows_wait_for_what_comes_and_lookups_for_what_refers_back() {
        let keyed = |to: &str| json!({"k": {"to": to, "match": "Key"}});
        let account = json!({"module": "Accounts", "fields": {"n": "Account_Name"}});
        let contact = json!({"module": "Contacts", "fields": keyed("Account_Name")});
        let family_of = |streams| family(streams);
        let tree = family_of(json!({"a": account, "c": contact}));
        assert_eq!(waits(&tree, "Contacts", "Accounts"), Some(Waits::Row));
        assert_eq!(waits(&tree, "Contacts", "Contacts"), Some(Waits::Lookup));
        assert_eq!(waits(&tree, "Contacts", "Deals"), None, "nothing brings deals");
        let back = json!({"module": "Accounts", "fields": keyed("First_Contact")});
        let ring = family_of(
            json!({"a": back, "c": contact, "d": {"module": "Deals", "operation": "update", "fields": keyed("Account_Name")}}),
        );
        assert_eq!(waits(&ring, "Contacts", "Accounts"), Some(Waits::Lookup));
        assert_eq!(waits(&ring, "Accounts", "Contacts"), Some(Waits::Lookup));
        assert_eq!(waits(&ring, "Deals", "Accounts"), Some(Waits::Row), "no account refers to a deal");
        assert_eq!(waits(&ring, "Contacts", "Deals"), None, "an update creates none");
    }
}
