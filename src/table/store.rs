//! How a worker reaches a service's table: reads it, changes it, and loses no event.

use std::cell::Cell;

use super::event::{Effect, Event};
use super::ledger::Ledger;
use super::value::{LAYOUT, Table};
use crate::config::{Rules, ServiceConfig};
use crate::host::SharedData;
use crate::pod::PodAddress;

/// Each lost try means that another worker's succeeded; so many in a row are a matter of
/// hundreds of workers.
const TRIES: usize = 32;

/// Other workers were faster every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

/// A service's table, the same for all workers.
pub trait SharedTable {
    /// The table as it is now, with what waits in this worker.
    fn read(&self) -> Table;

    /// Changes the table, in one step for all workers. `change` may run several times; what it
    /// returns is from the run that was kept. Beside it stands what came of the events that
    /// waited, which have gone in as well.
    ///
    /// # Errors
    /// [`Contended`]: nothing was changed.
    fn update<T>(&self, change: impl FnMut(&mut Table) -> T)
    -> Result<(T, Vec<Effect>), Contended>;

    /// Keeps events for this worker's next change.
    fn defer(&self, events: &[Event]);

    /// Whether events wait.
    fn has_deferred(&self) -> bool;

    /// The number of the last [recount](super::Roll) that this worker took part in. It does so with
    /// whatever it changes first.
    fn recount(&self) -> u32;

    /// Takes in events: now, or with this worker's next change. What came of those that went in.
    fn record(&self, rules: &Rules, events: &[Event]) -> Vec<Effect> {
        let Ok((new, mut effects)) = self.update(|table| table.apply(rules, events)) else {
            self.defer(events);
            return Vec::new();
        };
        effects.extend(new);
        effects
    }
}

/// A table in the data that VMs share, changed by compare-and-swap.
///
/// The number of tries is bounded. An event that could not go in waits in this worker, at the
/// latest until its next tick.
pub struct Store<D> {
    data: D,
    key: String,
    /// What the table has at first.
    pods: Vec<PodAddress>,
    rules: Rules,
    /// Events that are not in the table yet.
    backlog: Cell<Vec<Event>>,
    /// What this worker has on the pods by the events that are.
    ledger: Cell<Ledger>,
    /// See [`SharedTable::recount`].
    recount: Cell<u32>,
}

/// Under what name a service's table is shared; other shared values begin with it. Tables of
/// another layout have other names, so that modules of two versions leave each other's alone.
#[must_use]
pub fn key(service: &ServiceConfig) -> String {
    format!("wsbalancer/{LAYOUT:x}/{}", service.cluster)
}

impl<D: SharedData> Store<D> {
    /// The table of `service`, made if no worker has made it yet.
    ///
    /// The host can't create only if absent. Two workers that start at the same moment may both
    /// write the empty table; nothing is lost, because no poll has been sent by then.
    pub fn open(data: D, service: &ServiceConfig) -> Self {
        let store = Self {
            key: key(service),
            pods: service.endpoints().to_vec(),
            rules: service.rules,
            backlog: Cell::default(),
            ledger: Cell::default(),
            recount: Cell::default(),
            data,
        };
        if let Some((bytes, _)) = store.data.read(&store.key) {
            store.recount.set(store.table(Some(bytes)).recount());
        } else {
            let table = Table::new(&store.pods);
            // Without a version the host accepts every write.
            let _accepted = store.data.write(&store.key, table.as_bytes(), None);
        }
        store
    }

    fn table(&self, bytes: Option<Vec<u8>>) -> Table {
        bytes
            .and_then(Table::from_bytes)
            .unwrap_or_else(|| Table::new(&self.pods))
    }
}

impl<D: SharedData> SharedTable for Store<D> {
    fn read(&self) -> Table {
        let bytes = self.data.read(&self.key).map(|(bytes, _)| bytes);
        let mut table = self.table(bytes);
        let backlog = self.backlog.take();
        // They are not in yet: what comes of them is told when they are.
        let _effects = table.apply(&self.rules, &backlog);
        self.backlog.set(backlog);
        table
    }

    fn update<T>(
        &self,
        mut change: impl FnMut(&mut Table) -> T,
    ) -> Result<(T, Vec<Effect>), Contended> {
        let backlog = self.backlog.take();
        let mut ledger = self.ledger.take();
        let mut kept = Err(Contended);
        for _ in 0..TRIES {
            let (bytes, version) = self.data.read(&self.key).unzip();
            let mut table = self.table(bytes);
            let recount = table.recount();
            if recount != self.recount.get() {
                table.take_part(&ledger, self.recount.get());
            }
            let effects = table.apply(&self.rules, &backlog);
            let result = change(&mut table);
            let written = self.data.write(&self.key, table.as_bytes(), version);
            if written.is_ok() {
                self.recount.set(recount);
                for (pod, posting) in table.take_postings() {
                    ledger.post(pod, posting);
                }
                kept = Ok((result, effects));
                break;
            }
        }
        if kept.is_err() {
            self.backlog.set(backlog);
        }
        self.ledger.set(ledger);
        kept
    }

    fn defer(&self, events: &[Event]) {
        let mut backlog = self.backlog.take();
        backlog.extend_from_slice(events);
        self.backlog.set(backlog);
    }

    fn has_deferred(&self) -> bool {
        let backlog = self.backlog.take();
        let waits = !backlog.is_empty();
        self.backlog.set(backlog);
        waits
    }

    fn recount(&self) -> u32 {
        self.recount.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Config;
    use crate::pod::Reported;
    use crate::testing::FakeHost;
    use crate::testing::address;
    use crate::testing::{NOW, RULES};

    fn service() -> ServiceConfig {
        Config::parse(br#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:8080"]}]}"#)
            .unwrap()
            .services
            .remove(0)
    }

    fn open(host: &FakeHost) -> Store<FakeHost> {
        Store::open(host.clone(), &service())
    }

    fn chosen() -> Event {
        Event::Chosen { pod: address(1) }
    }

    fn in_flight(store: &Store<FakeHost>) -> u32 {
        store.read().pod(address(1)).unwrap().in_flight()
    }

    #[test]
    fn workers_share_one_table() {
        let host = FakeHost::default();
        let one = open(&host);
        one.record(&RULES, &[chosen()]);
        let other = open(&host);
        other.record(&RULES, &[chosen()]);
        assert_eq!(in_flight(&one), 2);
    }

    #[test]
    fn a_lost_race_is_run_again() {
        let host = FakeHost::default();
        let store = open(&host);
        host.outdate(3);
        let mut runs = 0;
        let result = store.update(|table| {
            runs += 1;
            table.apply(&RULES, &[chosen()]);
            runs
        });
        assert_eq!(result, Ok((4, vec![])));
        assert_eq!(in_flight(&store), 1);
    }

    #[test]
    fn nothing_is_lost_under_contention() {
        let host = FakeHost::default();
        let (store, other) = (open(&host), open(&host));
        host.outdate(u32::MAX);
        store.record(&RULES, &[chosen()]);
        store.record(&RULES, &[chosen()]);
        assert_eq!(store.update(|_| ()), Err(Contended));
        assert_eq!(in_flight(&store), 2, "this worker knows");
        assert!(store.has_deferred());
        assert_eq!(in_flight(&other), 0);
        host.outdate(0);
        store.record(&RULES, &[]);
        assert_eq!(in_flight(&other), 2);
        assert!(!store.has_deferred());
        store.record(&RULES, &[]);
        assert_eq!(in_flight(&other), 2, "once");
    }

    /// A pod is asked at `at`; the event that its answer is.
    fn asked(store: &Store<FakeHost>, at: Timestamp) -> Event {
        store.update(|table| table.ask(at, |_| Some(at))).unwrap();
        Event::Answered {
            pod: address(1),
            asked_at: at,
            outcome: Ok(Reported::of(7)),
        }
    }

    /// Neither that it was counted, nor that the pod has come up.
    #[test]
    fn what_comes_of_an_answer_is_not_lost_under_contention() {
        let host = FakeHost::default();
        let store = open(&host);
        let first = asked(&store, NOW);
        assert_eq!(store.record(&RULES, &[first]).len(), 1);
        // The count before is stale by then.
        let later = NOW.plus(RULES.cache_ttl * 2);
        let second = asked(&store, later);
        host.outdate(u32::MAX);
        assert_eq!(store.record(&RULES, &[second]), []);
        host.outdate(0);
        let effects = store.record(&RULES, &[]);
        assert!(
            matches!(effects[..], [Effect::Counted { .. }]),
            "{effects:?}"
        );
        let table = open(&host).read();
        assert_eq!(table.pod(address(1)).unwrap().started_at(), later);
    }

    #[test]
    fn a_value_that_is_no_table_is_replaced() {
        let host = FakeHost::default();
        let store = open(&host);
        host.write(&store.key, b"garbage", None).unwrap();
        store.record(&RULES, &[chosen()]);
        assert_eq!(in_flight(&store), 1);
    }
}
