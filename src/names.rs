//! The names that pods give themselves, for people who look at the status. No choice depends on
//! them, so they are not in the table, which every upgrade copies.
//!
//! The worker that polls collects them and writes all of a service at once, when some have
//! changed. They come from pods and may be anything: here they are cut to a sensible length, and
//! whoever shows them escapes them.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use serde::{Deserialize, Serialize};

use crate::balancer::Balancer;
use crate::host::{Host, SharedData};
use crate::pod::PodAddress;
use crate::report::PodReport;
use crate::store::Store;
use crate::table::Table;

/// Longest name that is kept, in characters: that of a domain name (RFC 1035, section 2.3.4).
const LONGEST: usize = 255;

/// Who a pod says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    /// See [`PodReport::pod_name`].
    pub pod_name: Option<String>,
    /// See [`PodReport::pod_ip`].
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// See [`PodReport::node_name`].
    pub node_name: Option<String>,
}

impl From<&PodReport> for Names {
    fn from(report: &PodReport) -> Self {
        let cut = |name: &Option<String>| {
            let name = name.as_ref()?;
            Some(match name.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
                None => name.clone(),
            })
        };
        Self {
            pod_name: cut(&report.pod_name),
            pod_ip: cut(&report.pod_ip),
            node_name: cut(&report.node_name),
        }
    }
}

/// The names of a service's pods.
pub type Directory = BTreeMap<String, Names>;

/// The names of the pods of the table in `store`.
pub fn read(host: &impl SharedData, store: &Store) -> Directory {
    host.read(&key(store))
        .and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// What one worker has heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// By service: what is not written yet.
    new: BTreeMap<usize, Directory>,
    /// By service and pod: what was written last.
    known: BTreeMap<(usize, PodAddress), Names>,
}

impl Heard {
    /// Takes the names from a report.
    pub fn hear(&mut self, service: usize, pod: PodAddress, report: &PodReport) {
        let names = Names::from(report);
        if self.known.get(&(service, pod)) != Some(&names) {
            let new = self.new.entry(service).or_default();
            new.insert(pod.to_string(), names.clone());
            self.known.insert((service, pod), names);
        }
    }

    /// Writes what is new of the service at `index`, and forgets pods that are in its table no
    /// more.
    pub fn write<H: Host>(&mut self, balancer: &Balancer<H>, index: usize, table: &Table) {
        let (Some(service), Some(new)) = (balancer.services.get(index), self.new.get_mut(&index))
        else {
            return;
        };
        if new.is_empty() {
            return;
        }
        let mut directory = read(&balancer.host, &service.store);
        directory.append(&mut mem::take(new));
        let pods: BTreeSet<String> = table
            .pods()
            .iter()
            .map(|pod| pod.address().to_string())
            .collect();
        directory.retain(|pod, _| pods.contains(pod));
        self.known
            .retain(|(of, pod), _| *of != index || table.pod(*pod).is_some());
        if let Ok(bytes) = serde_json::to_vec(&directory) {
            // Only the worker that polls writes; without a version the host accepts it.
            let _accepted = balancer.host.write(&key(&service.store), &bytes, None);
        }
    }
}

fn key(store: &Store) -> String {
    format!("{}/names", store.key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::host::fake::FakeHost;
    use crate::pod::tests::address;

    fn balancer() -> Balancer<FakeHost> {
        let json = br#"{"services": [{"cluster": "chat",
            "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"]}]}"#;
        Balancer::new(FakeHost::default(), Config::parse(json).unwrap(), 1)
    }

    fn named(name: &str) -> PodReport {
        PodReport {
            pod_name: Some(name.to_owned()),
            ..PodReport::default()
        }
    }

    fn names(balancer: &Balancer<FakeHost>) -> Vec<(String, Option<String>)> {
        read(&balancer.host, &balancer.services[0].store)
            .into_iter()
            .map(|(pod, names)| (pod, names.pod_name))
            .collect()
    }

    #[test]
    fn names_are_written_when_they_are_new_and_forgotten_with_their_pods() {
        let balancer = balancer();
        let mut heard = Heard::default();
        heard.hear(0, address(1), &named("a"));
        heard.hear(0, address(2), &named("b"));
        heard.write(&balancer, 0, &Table::new(&[address(1), address(2)]));
        let of = |n, name: &str| (address(n).to_string(), Some(name.to_owned()));
        assert_eq!(names(&balancer), [of(1, "a"), of(2, "b")]);

        // Another worker goes on, and adds to what it finds.
        let mut other = Heard::default();
        other.hear(0, address(2), &named("c"));
        other.write(&balancer, 0, &Table::new(&[address(1), address(2)]));
        assert_eq!(names(&balancer), [of(1, "a"), of(2, "c")]);
        other.hear(0, address(2), &named("d"));
        other.write(&balancer, 0, &Table::new(&[address(2)]));
        assert_eq!(names(&balancer), [of(2, "d")]);
    }

    #[test]
    fn what_is_known_is_not_written_again() {
        let balancer = balancer();
        let table = Table::new(&[address(1)]);
        let mut heard = Heard::default();
        heard.hear(0, address(1), &named("a"));
        heard.write(&balancer, 0, &table);
        let version = |balancer: &Balancer<FakeHost>| {
            let value = balancer.host.read(&key(&balancer.services[0].store));
            value.map(|(_, version)| version)
        };
        let before = version(&balancer);
        heard.hear(0, address(1), &named("a"));
        heard.write(&balancer, 0, &table);
        assert_eq!(version(&balancer), before);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let names = Names::from(&named(&"é".repeat(10_000)));
        assert_eq!(names.pod_name.unwrap(), format!("{}…", "é".repeat(255)));
    }
}
