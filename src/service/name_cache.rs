//! The names that pods give themselves, for people who look at the status. No choice depends on
//! them, so they are not in the table, which every upgrade copies.
//!
//! The worker that polls collects them and writes all of a service at once, when some have
//! changed. They come from pods and may be anything: here they are cut to a sensible length, and
//! whoever shows them escapes them. With them is what is wrong with the pod's last answer, in the
//! filter's own words.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::ServiceConfig;
use crate::host::SharedData;
use crate::metric::{Complaint, PodReport};
use crate::pod::PodAddress;
use crate::table::{self, Table};

/// Longest name that is kept, in characters: that of a domain name (RFC 1035, section 2.3.4).
const LONGEST: usize = 255;
/// Longest name in a log line, in characters.
const LONGEST_LOGGED: usize = 64;

/// Who a pod says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodNames {
    /// See [`PodReport::pod_name`].
    pub pod_name: Option<String>,
    /// See [`PodReport::pod_ip`].
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// See [`PodReport::node_name`].
    pub node_name: Option<String>,
    /// See [`PodReport::complaint`].
    pub complaint: Option<String>,
}

impl From<&PodReport> for PodNames {
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
            complaint: report.complaint(),
        }
    }
}

impl PodNames {
    /// All of them, for a log line; control characters are escaped.
    #[must_use]
    pub fn printable(&self) -> String {
        let names = [&self.pod_name, &self.pod_ip, &self.node_name];
        let names: Vec<String> = names
            .into_iter()
            .flatten()
            .map(|name| name.chars().take(LONGEST_LOGGED))
            .map(|name| name.flat_map(char::escape_debug).collect())
            .collect();
        names.join(", ")
    }
}

/// The names of a service's pods, by the text of their addresses.
pub type Directory = BTreeMap<String, PodNames>;

/// The names of the pods whose table is shared as `table_key`.
pub fn names_in(data: &impl SharedData, table_key: &str) -> Directory {
    data.read(&key(table_key))
        .and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn key(table_key: &str) -> String {
    format!("{table_key}/names")
}

/// What one worker has heard of the names of a service's pods.
pub struct NameCache {
    key: String,
    table_key: String,
    /// What is not written yet.
    new: Cell<BTreeMap<PodAddress, PodNames>>,
    /// What was written last, and what is new.
    known: Cell<BTreeMap<PodAddress, PodNames>>,
    /// What this worker has complained of.
    told: Cell<BTreeSet<(PodAddress, Complaint)>>,
}

impl NameCache {
    /// That of a service.
    #[must_use]
    pub fn of(service: &ServiceConfig) -> Self {
        let table_key = table::key(service);
        Self {
            key: key(&table_key),
            table_key,
            new: Cell::default(),
            known: Cell::default(),
            told: Cell::default(),
        }
    }

    /// Takes the names from a report.
    pub fn learn(&self, pod: PodAddress, report: &PodReport) {
        let names = PodNames::from(report);
        let mut known = self.known.take();
        if known.get(&pod) != Some(&names) {
            let mut new = self.new.take();
            new.insert(pod, names.clone());
            self.new.set(new);
            known.insert(pod, names);
        }
        self.known.set(known);
    }

    /// What there is to complain of in a report, before it is learnt, if there is anything that was
    /// not told before: by this worker, or by the one that polled before it.
    pub fn new_complaint(
        &self,
        data: &impl SharedData,
        pod: PodAddress,
        report: &PodReport,
    ) -> Option<String> {
        let complaint = report.complaint()?;
        let mut told = self.told.take();
        let before = told.len();
        told.extend(report.complaints.iter().map(|&complaint| (pod, complaint)));
        let is_new = told.len() > before;
        self.told.set(told);
        let was_told = || {
            let directory = names_in(data, &self.table_key);
            let names = directory.get(&pod.to_string());
            names.is_some_and(|names| names.complaint.as_ref() == Some(&complaint))
        };
        (is_new && !was_told()).then_some(complaint)
    }

    /// The names of `pod`, for a log line.
    #[must_use]
    pub fn printable(&self, pod: PodAddress) -> String {
        let known = self.known.take();
        let names = known.get(&pod).map(PodNames::printable);
        self.known.set(known);
        names.unwrap_or_default()
    }

    /// Writes what is new, and forgets pods that are no longer in `table`.
    pub fn write(&self, data: &impl SharedData, table: &Table) {
        let new = self.new.take();
        if new.is_empty() {
            return;
        }
        let mut directory = names_in(data, &self.table_key);
        directory.extend(new.into_iter().map(|(pod, names)| (pod.to_string(), names)));
        let pods = table.pods().iter().map(|pod| pod.address().to_string());
        let pods: BTreeSet<String> = pods.collect();
        directory.retain(|pod, _| pods.contains(pod));
        let mut known = self.known.take();
        known.retain(|pod, _| table.pod(*pod).is_some());
        self.known.set(known);
        let mut told = self.told.take();
        told.retain(|(pod, _)| table.pod(*pod).is_some());
        self.told.set(told);
        if let Ok(bytes) = serde_json::to_vec(&directory) {
            // Only the worker that polls writes; without a version the host accepts it.
            let _accepted = data.write(&self.key, &bytes, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::testing::FakeHost;
    use crate::testing::address;

    fn cache() -> NameCache {
        let json = br#"{"services": [{"cluster": "chat",
            "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"]}]}"#;
        NameCache::of(&Config::parse(json).unwrap().services[0])
    }

    fn named(name: &str) -> PodReport {
        PodReport {
            pod_name: Some(name.to_owned()),
            ..PodReport::default()
        }
    }

    fn names(host: &FakeHost) -> Vec<(String, Option<String>)> {
        names_in(host, &cache().table_key)
            .into_iter()
            .map(|(pod, names)| (pod, names.pod_name))
            .collect()
    }

    #[test]
    fn names_are_written_when_they_are_new_and_forgotten_with_their_pods() {
        let host = FakeHost::default();
        let one = cache();
        one.learn(address(1), &named("a"));
        one.learn(address(2), &named("b"));
        one.write(&host, &Table::new(&[address(1), address(2)]));
        let of = |n, name: &str| (address(n).to_string(), Some(name.to_owned()));
        assert_eq!(names(&host), [of(1, "a"), of(2, "b")]);

        // Another worker goes on, and adds to what it finds.
        let other = cache();
        other.learn(address(2), &named("c"));
        other.write(&host, &Table::new(&[address(1), address(2)]));
        assert_eq!(names(&host), [of(1, "a"), of(2, "c")]);
        other.learn(address(2), &named("d"));
        other.write(&host, &Table::new(&[address(2)]));
        assert_eq!(names(&host), [of(2, "d")]);
    }

    #[test]
    fn what_is_known_is_not_written_again() {
        let host = FakeHost::default();
        let table = Table::new(&[address(1)]);
        let cache = cache();
        cache.learn(address(1), &named("a"));
        cache.write(&host, &table);
        let version = || host.read(&cache.key).map(|(_, version)| version);
        let before = version();
        cache.learn(address(1), &named("a"));
        cache.write(&host, &table);
        assert_eq!(version(), before);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let names = PodNames::from(&named(&"é".repeat(10_000)));
        assert_eq!(names.pod_name.unwrap(), format!("{}…", "é".repeat(255)));
    }

    #[test]
    fn names_from_a_pod_cannot_forge_a_log_line() {
        let report = PodReport {
            pod_name: Some("a\nb".to_owned()),
            node_name: Some("n".repeat(1000)),
            ..PodReport::default()
        };
        let names = PodNames::from(&report);
        assert_eq!(names.printable(), format!("a\\nb, {}", "n".repeat(64)));
    }
}
