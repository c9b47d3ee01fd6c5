//! Which services there are: those of all filters that share this one's data.
//!
//! The status is served by a filter of its own, on a listener that only operators reach. It finds
//! here what the other filters balance, and so their tables, without being configured alike.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::{Config, Discovery, Rules, ServiceConfig};
use crate::host::SharedData;
use crate::table::{self, Table};

const KEY: &str = "wsbalancer/services";
/// After so many intervals without a poll it is said that no filter tells of a service …
const INTERVALS_SILENT: u32 = 2;
/// … and after so long it is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// More configurations of one service are not alive at a time.
const MOST_OF_ONE: usize = 8;
/// Each lost try means that another worker's succeeded.
const TRIES: usize = 32;

/// A configuration of a service: what the status has to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// See [`ServiceConfig::cluster`].
    pub(super) cluster: String,
    /// Under what name the service's table is shared.
    pub(super) table_key: String,
    /// See [`ServiceConfig::fingerprint`].
    fingerprint: u64,
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
            table_key: table::key(service),
            fingerprint: service.fingerprint(),
            metric_path: service.metric_path.clone(),
            rules: service.rules,
            discovery: service.discovery().cloned(),
            registered_at: now.as_nanos(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.table_key, self.fingerprint) == (&other.table_key, other.fingerprint)
    }

    fn is_current(&self, table: &Table) -> bool {
        table.current().fingerprint() == self.fingerprint
    }

    /// When the pods, or Envoy, were last to be asked, and how often they are; none where nobody
    /// has asked yet.
    fn last_due(&self, table: &Table) -> Option<(Timestamp, Duration)> {
        let pods = table.pods().iter().map(|pod| pod.poll().due_at());
        let pods = pods.map(|due_at| (due_at, self.rules.refresh_interval));
        let discovery = self.discovery.as_ref();
        let hosts = discovery.map(|discovery| (table.discovery().due_at(), discovery.interval));
        let asked = pods.chain(hosts).filter(|(due_at, _)| due_at.happened());
        asked.max_by_key(|&(due_at, interval)| due_at.plus(interval))
    }

    /// For how long no filter has told of the service; none where one does.
    pub(super) fn silent_for(&self, table: &Table, now: Timestamp) -> Option<Duration> {
        let (due_at, interval) = self.last_due(table)?;
        let is_silent = due_at.plus(interval.saturating_mul(INTERVALS_SILENT)) <= now;
        is_silent.then(|| now.since(due_at))
    }

    /// Whether there is anything to say of the service.
    fn is_known(&self, table: &Table, now: Timestamp) -> bool {
        let last_due = self.last_due(table);
        last_due.is_some_and(|(due_at, _)| due_at.plus(FORGOTTEN_AFTER) > now)
    }

    /// Whether it is too new for anybody to have asked.
    fn is_new(&self, now: Timestamp) -> bool {
        Timestamp::from_nanos(self.registered_at).plus(FORGOTTEN_AFTER) > now
    }
}

/// Enters the services of a configuration, and forgets those that nobody has balanced for long.
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
            let is_replaced = new.iter().any(|new| new.is_same(entry));
            let is_known = table::read(data, &entry.table_key)
                .is_some_and(|table| entry.is_known(&table, now));
            !is_replaced && (is_known || entry.is_new(now))
        });
        entries.extend_from_slice(&new);
        let bytes = serde_json::to_vec(&newest(entries)).unwrap_or_default();
        if data.write(KEY, &bytes, version).is_ok() {
            return;
        }
    }
}

/// Whether any filter has entered a service.
pub fn has_services(data: &impl SharedData) -> bool {
    data.read(KEY).is_some()
}

/// The newest configurations of each service, as many as are kept.
fn newest(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::new();
    while let Some(entry) = entries.pop() {
        let same = kept.iter().filter(|kept| kept.table_key == entry.table_key);
        if same.count() < MOST_OF_ONE {
            kept.push(entry);
        }
    }
    kept.reverse();
    kept
}

/// The services of which something is known at `now`, each in its current configuration, with their
/// tables.
pub(super) fn services(data: &impl SharedData, now: Timestamp) -> Vec<(Entry, Table)> {
    let bytes = data.read(KEY).map(|(bytes, _)| bytes);
    let mut services: Vec<(Entry, Table)> = Vec::new();
    for entry in entries(bytes.as_deref()).into_iter().rev() {
        let table = table::read(data, &entry.table_key);
        let Some(table) = table.filter(|table| entry.is_known(table, now)) else {
            continue;
        };
        let mut known = services.iter_mut();
        match known.find(|(known, _)| known.table_key == entry.table_key) {
            // The newest, unless another is current.
            Some((known, _)) if entry.is_current(&table) => *known = entry,
            Some(_) => {}
            None => services.push((entry, table)),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::{Look, SharedTable, Store};
    use crate::testing::{FakeHost, NOW};

    /// A filter with these clusters becomes current, and asks their pods at `now`.
    fn start(host: &FakeHost, path: &str, clusters: &[&str], now: Timestamp) {
        let services: Vec<_> = clusters
            .iter()
            .map(|cluster| json!({ "cluster": cluster, "endpoints": ["10.0.0.1:8080"] }))
            .collect();
        let config = config(&json!({ "services": services, "metricPath": path }));
        register(host, &config, now);
        for service in config.services {
            let look = Look {
                fingerprint: service.fingerprint(),
                now,
                has_requests: true,
                is_abandoned: true,
            };
            let next = now.plus(service.rules.refresh_interval);
            let store = Store::open(host.clone(), &service);
            let asked = store.update(|table| {
                table.look(&look, &service.rules, None);
                table.ask(now, |_| Some(next))
            });
            asked.unwrap();
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
    fn all_filters_are_shown_and_of_one_cluster_the_current() {
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
        // One that is configured, and under which no request has begun.
        let new = json!({ "services": [{ "cluster": "chat", "endpoints": ["10.0.0.1:8080"] }] });
        register(&host, &config(&new), NOW);
        assert_eq!(shown(&host, NOW)[0], of("chat", "/3"));
    }

    #[test]
    fn what_nobody_asks_any_more_is_silent_and_then_gone() {
        let host = FakeHost::default();
        start(&host, "/1", &["chat", "old-name"], NOW);
        let silent_for = |seconds| {
            let now = NOW.plus(Duration::from_secs(seconds));
            let services = services(&host, now).into_iter();
            let silent = services.map(|(entry, table)| entry.silent_for(&table, now));
            silent.collect::<Vec<_>>()
        };
        assert_eq!(silent_for(14), [None; 2]);
        assert_eq!(silent_for(15), [Some(Duration::from_secs(10)); 2]);
        assert_eq!(silent_for(3_604).len(), 2);
        assert_eq!(silent_for(3_605), []);
        let later = NOW.plus(Duration::from_secs(3_605));
        start(&host, "/2", &["new-name"], later);
        assert_eq!(shown(&host, later), [of("new-name", "/2")]);
        assert_eq!(registered(&host), 1);
    }

    #[test]
    fn of_one_service_no_more_than_a_few_are_kept() {
        let host = FakeHost::default();
        for n in 0..20 {
            start(&host, &format!("/{n}"), &["chat"], NOW);
        }
        assert_eq!(registered(&host), MOST_OF_ONE);
        assert_eq!(shown(&host, NOW), [of("chat", "/19")]);
    }

    #[test]
    fn no_header_of_polls_is_entered() {
        let host = FakeHost::default();
        let headers = json!({ "x-key": "s3cr3t" });
        let services = json!([{ "cluster": "chat", "endpoints": ["10.0.0.1:80"] }]);
        let config = config(&json!({ "metricHeaders": headers, "services": services }));
        register(&host, &config, NOW);
        let (bytes, _) = host.read(KEY).unwrap();
        let entered = String::from_utf8(bytes).unwrap();
        assert!(!entered.contains("s3cr3t"), "{entered}");
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
