//! Which services there are: those of all filters that share this one's data.
//!
//! The status is served by a filter of its own, on a listener that only operators reach. It finds
//! here what the other filters balance, and so their tables, without being configured alike.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::{Config, Discovery, Rules, ServiceConfig};
use crate::host::SharedData;
use crate::table::Table;

const KEY: &str = "wsbalancer/services";
/// A service that nobody has asked for this many intervals is one that nobody balances any more.
const INTERVALS_ALONE: u32 = 4;
/// Each lost try means that another worker's succeeded.
const TRIES: usize = 32;

/// A service of some filter: what the status has to know of its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// See [`ServiceConfig::cluster`].
    pub(super) cluster: String,
    /// See [`ServiceConfig::table_key`].
    pub(super) table_key: String,
    /// See [`ServiceConfig::metric_path`].
    pub(super) metric_path: String,
    /// See [`ServiceConfig::rules`].
    pub(super) rules: Rules,
    /// See [`ServiceConfig::discovery`].
    pub(super) discovery: Option<Discovery>,
    /// When it was entered, in nanoseconds.
    registered_at: u64,
}

impl Entry {
    fn of(service: &ServiceConfig, now: Timestamp) -> Self {
        Self {
            cluster: service.cluster.clone(),
            table_key: service.table_key(),
            metric_path: service.metric_path.clone(),
            rules: service.rules,
            discovery: service.discovery().cloned(),
            registered_at: now.as_nanos(),
        }
    }

    /// Whether somebody asks for the pods and their counts.
    fn is_tended(&self, table: &Table, now: Timestamp) -> bool {
        let is_recent = |due_at: Timestamp, interval: Duration| {
            let interval = interval.saturating_mul(INTERVALS_ALONE);
            due_at.happened() && due_at.plus(interval) > now
        };
        let mut pods = table.pods().iter();
        pods.any(|pod| is_recent(pod.poll().due_at(), self.rules.refresh_interval))
            || self
                .discovery
                .as_ref()
                .is_some_and(|discovery| is_recent(table.discovery().due_at(), discovery.interval))
    }

    /// Whether it is too new for anybody to have asked.
    fn is_new(&self, now: Timestamp) -> bool {
        let patience = self.rules.refresh_interval.saturating_mul(INTERVALS_ALONE);
        Timestamp::from_nanos(self.registered_at).plus(patience) > now
    }
}

/// Enters the services of a configuration, and forgets those that nobody balances any more.
pub fn register(data: &impl SharedData, config: &Config, now: Timestamp) {
    let new: Vec<Entry> = config
        .services
        .iter()
        .map(|service| Entry::of(service, now))
        .collect();
    if new.is_empty() {
        return;
    }
    for _ in 0..TRIES {
        let (bytes, version) = data.read(KEY).unzip();
        let mut entries = entries(bytes.as_deref());
        entries.retain(|entry| {
            let is_replaced = new.iter().any(|new| new.table_key == entry.table_key);
            let is_tended = table(data, entry).is_some_and(|table| entry.is_tended(&table, now));
            !is_replaced && (is_tended || entry.is_new(now))
        });
        entries.extend_from_slice(&new);
        let bytes = serde_json::to_vec(&entries).unwrap_or_default();
        if data.write(KEY, &bytes, version).is_ok() {
            return;
        }
    }
}

/// The services that somebody balances at `now`, with their tables. Where two are of the same
/// cluster, it is the newer one.
pub(super) fn services(data: &impl SharedData, now: Timestamp) -> Vec<(Entry, Table)> {
    let bytes = data.read(KEY).map(|(bytes, _)| bytes);
    let mut services: Vec<(Entry, Table)> = Vec::new();
    for entry in entries(bytes.as_deref()).into_iter().rev() {
        let is_known = services
            .iter()
            .any(|(known, _)| known.cluster == entry.cluster);
        let table = table(data, &entry).filter(|table| entry.is_tended(table, now));
        if let Some(table) = table.filter(|_| !is_known) {
            services.push((entry, table));
        }
    }
    services.sort_by(|(one, _), (other, _)| one.cluster.cmp(&other.cluster));
    services
}

fn entries(bytes: Option<&[u8]>) -> Vec<Entry> {
    bytes
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default()
}

fn table(data: &impl SharedData, entry: &Entry) -> Option<Table> {
    let (bytes, _) = data.read(&entry.table_key)?;
    Table::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::{SharedTable, Store};
    use crate::testing::FakeHost;
    use crate::testing::NOW;

    /// A filter with these clusters, whose pods are asked at `now`.
    fn start(host: &FakeHost, path: &str, clusters: &[&str], now: Timestamp) {
        let services: Vec<_> = clusters
            .iter()
            .map(|cluster| json!({ "cluster": cluster, "endpoints": ["10.0.0.1:8080"] }))
            .collect();
        let config = config(&json!({ "services": services, "metricPath": path }));
        register(host, &config, now);
        for service in config.services {
            let next = now.plus(service.rules.refresh_interval);
            let store = Store::open(host.clone(), &service);
            store
                .update(|table| table.ask(now, |_| Some(next)))
                .unwrap();
        }
    }

    fn config(document: &serde_json::Value) -> Config {
        Config::parse(document.to_string().as_bytes()).unwrap()
    }

    fn shown(host: &FakeHost, now: Timestamp) -> Vec<(String, String)> {
        services(host, now)
            .into_iter()
            .map(|(entry, _)| (entry.cluster, entry.metric_path))
            .collect()
    }

    fn of(cluster: &str, path: &str) -> (String, String) {
        (cluster.to_owned(), path.to_owned())
    }

    fn registered(host: &FakeHost) -> usize {
        let bytes = host.read(KEY).map(|(bytes, _)| bytes);
        entries(bytes.as_deref()).len()
    }

    #[test]
    fn all_filters_are_shown_and_of_one_cluster_the_newest() {
        let host = FakeHost::default();
        assert_eq!(shown(&host, NOW), []);
        start(&host, "/1", &["chat", "mail"], NOW);
        start(&host, "/2", &["chat"], NOW);
        start(&host, "/2", &["chat"], NOW);
        assert_eq!(shown(&host, NOW), [of("chat", "/2"), of("mail", "/1")]);
        assert_eq!(registered(&host), 3, "one twice is one");
        start(&host, "/3", &["mail", "chat", "news"], NOW);
        assert_eq!(
            shown(&host, NOW),
            [of("chat", "/3"), of("mail", "/3"), of("news", "/3")]
        );
    }

    /// Whether under the same names or others.
    #[test]
    fn what_nobody_asks_any_more_is_gone() {
        let host = FakeHost::default();
        start(&host, "/1", &["chat", "old-name"], NOW);
        assert_eq!(shown(&host, NOW.plus(Duration::from_secs(24))).len(), 2);
        let later = NOW.plus(Duration::from_secs(25));
        assert_eq!(shown(&host, later).len(), 0);
        start(&host, "/2", &["new-name"], later);
        assert_eq!(shown(&host, later), [of("new-name", "/2")]);
        assert_eq!(registered(&host), 1);
    }

    #[test]
    fn a_configuration_that_comes_back_is_the_newest() {
        let host = FakeHost::default();
        start(&host, "/1", &["chat"], NOW);
        start(&host, "/2", &["chat"], NOW);
        start(&host, "/1", &["chat"], NOW);
        assert_eq!(shown(&host, NOW), [of("chat", "/1")]);
    }

    #[test]
    fn what_is_no_entry_is_ignored() {
        let host = FakeHost::default();
        let only_status = config(&json!({ "status": { "path": "/status" } }));
        register(&host, &only_status, NOW);
        assert!(host.read(KEY).is_none());
        host.write(KEY, b"garbage", None).unwrap();
        assert_eq!(shown(&host, NOW), []);
        start(&host, "/1", &["chat"], NOW);
        assert_eq!(shown(&host, NOW).len(), 1);
    }
}
