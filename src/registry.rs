//! Which services there are: the configurations of all filters that share this one's data.
//!
//! The status is served by a filter of its own, on a listener that only operators reach. It finds
//! here what the other filters balance, and so their tables, without being configured alike.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::{Config, Service};
use crate::host::SharedData;
use crate::store::{self, Store};
use crate::table::{Pod, Table};

const KEY: &str = "wsbalancer/configurations";
/// A service that nobody has asked for this many intervals is one that nobody balances any more.
const INTERVALS_ALONE: u32 = 4;

/// Adds a configuration. Others that name no other clusters have been replaced by it.
pub fn register(host: &impl SharedData, document: &Value) {
    let Some(clusters) = clusters(document).filter(|clusters| !clusters.is_empty()) else {
        return;
    };
    for _ in 0..store::TRIES {
        let (bytes, version) = host.read(KEY).unzip();
        let mut documents = documents(bytes.as_deref());
        if documents.last() == Some(document) {
            return;
        }
        documents.retain(|other| {
            let others = self::clusters(other).unwrap_or_default();
            !others.iter().all(|cluster| clusters.contains(cluster))
        });
        documents.push(document.clone());
        let bytes = serde_json::to_vec(&documents).unwrap_or_default();
        if host.write(KEY, &bytes, version).is_ok() {
            return;
        }
    }
}

/// The services that somebody balances at `now`, with their tables. Where two configurations have
/// the same cluster, it is the newer one's.
pub fn services(host: &impl SharedData, now: Timestamp) -> Vec<(Service, Store, Table)> {
    let bytes = host.read(KEY).map(|(bytes, _)| bytes);
    let mut services: Vec<(Service, Store, Table)> = Vec::new();
    for document in documents(bytes.as_deref()).into_iter().rev() {
        for service in Config::check(document).map_or_else(|_| Vec::new(), |config| config.services)
        {
            let is_known = |(known, ..): &(Service, Store, Table)| known.cluster == service.cluster;
            let store = Store::of(&service);
            let table = store.read(host);
            if is_tended(&service, &table, now) && !services.iter().any(is_known) {
                services.push((service, store, table));
            }
        }
    }
    services.sort_by(|(one, ..), (other, ..)| one.cluster.cmp(&other.cluster));
    services
}

/// Whether somebody asks for the pods and their counts.
fn is_tended(service: &Service, table: &Table, now: Timestamp) -> bool {
    let polls = table
        .pods()
        .iter()
        .map(|pod: &Pod| (pod.poll().due_at(), service.refresh_interval));
    let listing = service
        .discovery()
        .map(|discovery| (table.listing().due_at(), discovery.interval));
    polls.chain(listing).any(|(due_at, interval)| {
        due_at.happened() && due_at.plus(interval.saturating_mul(INTERVALS_ALONE)) > now
    })
}

fn documents(bytes: Option<&[u8]>) -> Vec<Value> {
    bytes
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default()
}

/// The clusters of a configuration.
fn clusters(document: &Value) -> Option<Vec<&str>> {
    let services = document.get("services")?.as_array()?;
    services
        .iter()
        .map(|service| service.get("cluster")?.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::host::fake::FakeHost;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

    /// A filter with these clusters, whose pods are asked at `NOW`.
    fn start(host: &FakeHost, path: &str, clusters: &[&str]) {
        let services: Vec<Value> = clusters
            .iter()
            .map(|cluster| json!({ "cluster": cluster, "endpoints": ["10.0.0.1:8080"] }))
            .collect();
        let document = json!({ "services": services, "metricPath": path });
        register(host, &document);
        for service in Config::check(document).unwrap().services {
            let next = NOW.plus(service.refresh_interval);
            let asked = Store::open(host, &service)
                .update(host, |table| table.pods_mut()[0].ask(NOW, next));
            asked.unwrap();
        }
    }

    fn shown(host: &FakeHost, now: Timestamp) -> Vec<(String, String)> {
        services(host, now)
            .into_iter()
            .map(|(service, ..)| (service.cluster, service.metric_path))
            .collect()
    }

    fn of(cluster: &str, path: &str) -> (String, String) {
        (cluster.to_owned(), path.to_owned())
    }

    #[test]
    fn all_filters_are_shown_and_of_one_cluster_the_newest() {
        let host = FakeHost::default();
        assert_eq!(shown(&host, NOW), []);
        start(&host, "/1", &["chat", "mail"]);
        start(&host, "/2", &["chat"]);
        start(&host, "/2", &["chat"]);
        assert_eq!(shown(&host, NOW), [of("chat", "/2"), of("mail", "/1")]);
        start(&host, "/3", &["mail", "chat", "news"]);
        assert_eq!(
            shown(&host, NOW),
            [of("chat", "/3"), of("mail", "/3"), of("news", "/3")]
        );
        let (bytes, _) = host.read(KEY).unwrap();
        assert_eq!(documents(Some(&bytes)).len(), 1, "the others are replaced");
    }

    #[test]
    fn what_nobody_asks_any_more_is_gone() {
        let host = FakeHost::default();
        start(&host, "/1", &["chat"]);
        assert_eq!(shown(&host, NOW.plus(Duration::from_secs(24))).len(), 1);
        assert_eq!(shown(&host, NOW.plus(Duration::from_secs(25))).len(), 0);
    }

    #[test]
    fn what_is_no_configuration_is_ignored() {
        let host = FakeHost::default();
        register(&host, &json!({ "status": { "path": "/status" } }));
        assert!(host.read(KEY).is_none());
        host.write(KEY, b"garbage", None).unwrap();
        assert_eq!(shown(&host, NOW), []);
        start(&host, "/1", &["chat"]);
        assert_eq!(shown(&host, NOW).len(), 1);
    }
}
