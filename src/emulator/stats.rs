//! Counts calls, so that a test can say what a sync cost.

use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Counters per endpoint.
#[derive(Debug, Default)]
pub struct Stats {
    endpoints: Mutex<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Default, Clone)]
struct Endpoint {
    calls: u64,
    credits: u64,
    statuses: BTreeMap<u16, u64>,
    /// Which automations writes asked for, as sent: `default` when nothing was said.
    triggers: BTreeMap<String, u64>,
}

impl Stats {
    /// The label under which a call is counted: method and path, ids replaced.
    pub fn label(method: &str, path: &str) -> String {
        let is_id = |part: &str| {
            part.len() >= 6 && part.trim_end_matches(".zip").bytes().all(|byte| byte.is_ascii_digit())
        };
        let parts: Vec<&str> = path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect();
        format!("{method} {}", parts.join("/"))
    }

    /// Counts an answered call; status 0 stands for a connection that was broken.
    pub fn answered(&self, label: &str, status: u16) {
        self.with(label, |endpoint| {
            endpoint.calls += 1;
            *endpoint.statuses.entry(status).or_default() += 1;
        });
    }

    /// Adds credits to an endpoint.
    pub fn credits(&self, label: &str, credits: u64) {
        self.with(label, |endpoint| endpoint.credits += credits);
    }

    /// Counts which automations a write asked for.
    pub fn triggers(&self, label: &str, sent: Option<&Json>) {
        let text = sent.map_or_else(|| "default".to_owned(), Json::to_string);
        self.with(label, |endpoint| *endpoint.triggers.entry(text).or_default() += 1);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// All counters as JSON.
    pub fn to_json(&self) -> Json {
        let endpoints = self.lock();
        let each = endpoints.iter().map(|(label, endpoint)| {
            let statuses: BTreeMap<String, u64> =
                endpoint.statuses.iter().map(|(status, n)| (status.to_string(), *n)).collect();
            let mut shown =
                json!({"calls": endpoint.calls, "credits": endpoint.credits, "statuses": statuses});
            if !endpoint.triggers.is_empty() {
                shown["triggers"] = json!(endpoint.triggers);
            }
            (label.clone(), shown)
        });
        let each: serde_json::Map<String, Json> = each.collect();
        let total: u64 = endpoints.values().map(|endpoint| endpoint.calls).sum();
        json!({"calls": total, "endpoints": each})
    }

    fn with(&self, label: &str, change: impl FnOnce(&mut Endpoint)) {
        change(self.lock().entry(label.to_owned()).or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Endpoint>> {
        self.endpoints.lock().expect("no code panics while it holds the counters")
    }
}

#[cfg(test)]
mod tests {
    use super::Stats;

    #[test]
    fn ids_do_not_split_an_endpoint() {
        assert_eq!(Stats::label("GET", "/crm/v8/Leads/4876000001000000001"), "GET /crm/v8/Leads/{id}");
        let stats = Stats::default();
        stats.answered("GET /a", 200);
        stats.answered("GET /a", 429);
        stats.credits("GET /a", 3);
        assert_eq!(
            stats.to_json()["endpoints"]["GET /a"].to_string(),
            r#"{"calls":2,"credits":3,"statuses":{"200":1,"429":1}}"#
        );
    }
}
