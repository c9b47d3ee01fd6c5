//! How a worker reaches a service's table: reads it, changes it, and loses no event.

use std::cell::Cell;

use super::backlog::Backlog;
use super::event::{Effect, Event};
use super::ledger::Ledger;
use super::value::{LAYOUT, Table};
use crate::clock::Timestamp;
use crate::config::{Rules, ServiceConfig};
use crate::host::{Outdated, SharedData, Version};
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

    /// Looks at the table as this worker last had it, which costs no call; none where it had none.
    fn glance<T>(&self, look: impl FnOnce(&Table) -> T) -> Option<T>;

    /// Changes the table, in one step for all workers. `change` may run several times; what it
    /// returns is from the run that was kept. What waits of the traffic goes in as well; events that
    /// wait do so with [`settle`](Self::settle).
    ///
    /// # Errors
    /// [`Contended`]: nothing was changed.
    fn update<T>(&self, change: impl FnMut(&mut Table) -> T) -> Result<T, Contended>;

    /// Keeps events for this worker's next change.
    fn defer(&self, events: &[Event]);

    /// How many ends of WebSockets on `pod` wait for this worker's next change.
    fn deferred_closes(&self, pod: PodAddress) -> u32;

    /// Takes in the events that wait, if it can. What came of them.
    fn settle(&self) -> Vec<Effect>;

    /// The same, and the traffic that waits.
    fn flush(&self) -> Vec<Effect>;

    /// The number of the last [recount](super::Roll) that this worker took part in. It does so with
    /// whatever it changes first.
    fn recount(&self) -> u32;
}

/// A table in the data that VMs share, changed by compare-and-swap.
///
/// It is two values: the traffic, which every WebSocket changes, and the records,
/// of which each worker keeps what it last read. The traffic tells which revision of the records there
/// is, so that a worker reads them anew where another has changed them. Records are written first: a
/// worker that has them sooner than the traffic tells goes by what is newer, and nothing else.
///
/// The number of tries is bounded. What could not go in waits in this worker, at the latest until its
/// next tick.
pub struct Store<D> {
    data: D,
    key: String,
    traffic_key: String,
    /// What the table has at first.
    pods: Vec<PodAddress>,
    rules: Rules,
    /// The table as this worker last had it.
    last: Cell<Option<Table>>,
    /// What is not in the table yet.
    backlog: Cell<Backlog>,
    /// Whether others may not know yet that this worker has changed the records.
    is_unpublished: Cell<bool>,
    /// What this worker has on the pods by what is in the table.
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

fn traffic_key(key: &str) -> String {
    format!("{key}/traffic")
}

/// The table that is shared under `key`; none where there is none.
pub fn read(data: &impl SharedData, key: &str) -> Option<Table> {
    let (records, _) = data.read(key)?;
    let mut table = Table::from_bytes(records)?;
    let traffic = data.read(&traffic_key(key));
    table.set_traffic(traffic.map(|(bytes, _)| bytes).unwrap_or_default());
    Some(table)
}

/// What became of a try to change the table.
enum Try<T> {
    /// It is changed.
    Done(T),
    /// Another worker was faster.
    Lost,
    /// More than the traffic is to be changed.
    ChangesRecords,
    /// What waits has to be noted in the records first.
    NeedsNote,
}

impl<D: SharedData> Store<D> {
    /// The table of `service`, made if no worker has made it yet.
    ///
    /// The host can't create only if absent. Two workers that start at the same moment may both
    /// write the empty table; nothing is lost, because no poll has been sent by then.
    pub fn open(data: D, service: &ServiceConfig) -> Self {
        let key = key(service);
        let store = Self {
            traffic_key: traffic_key(&key),
            key,
            pods: service.endpoints().to_vec(),
            rules: service.rules,
            last: Cell::default(),
            backlog: Cell::default(),
            is_unpublished: Cell::default(),
            ledger: Cell::default(),
            recount: Cell::default(),
            data,
        };
        if let Some(table) = read(&store.data, &store.key) {
            store.recount.set(table.recount());
        } else {
            let table = Table::new(&store.pods);
            // Without a version the host accepts every write.
            let _accepted = store.data.write(&store.key, table.as_bytes(), None);
        }
        if store.data.read(&store.traffic_key).is_none() {
            let empty = Table::new(&[]).traffic_bytes();
            let _accepted = store.data.write(&store.traffic_key, &empty, None);
        }
        store
    }

    /// The records as they are now, and their version. Where there are none, new ones that are to be
    /// written.
    fn records(&self) -> (Table, Option<Version>) {
        let (bytes, version) = self.data.read(&self.key).unzip();
        let table = bytes.and_then(Table::from_bytes);
        (
            table.unwrap_or_else(|| Table::replacing(&self.pods)),
            version,
        )
    }

    fn traffic(&self) -> (Vec<u8>, Option<Version>) {
        let (bytes, version) = self.data.read(&self.traffic_key).unzip();
        (bytes.unwrap_or_default(), version)
    }

    /// The records beside this traffic, as this worker last had them if they are the same.
    fn table_beside(&self, traffic: Vec<u8>) -> Table {
        let last = self.last.take();
        let revision = Table::revision_beside(&traffic);
        let is_same = |table: &Table| table.revision() == revision;
        let mut table = last.filter(is_same).unwrap_or_else(|| self.records().0);
        table.set_traffic(traffic);
        table
    }

    /// Posts what waits.
    fn post(&self, table: &mut Table) {
        let backlog = self.backlog.take();
        for (pod, waiting) in backlog.postings() {
            table.post(*pod, waiting.posting, waiting.opened_at);
        }
        self.backlog.set(backlog);
    }

    fn change_backlog<T>(&self, change: impl FnOnce(&mut Backlog) -> T) -> T {
        let mut backlog = self.backlog.take();
        let result = change(&mut backlog);
        self.backlog.set(backlog);
        result
    }

    /// Tries to change nothing but the traffic, in one step.
    fn try_traffic<T>(&self, change: &mut impl FnMut(&mut Table) -> T) -> Try<T> {
        let (traffic, version) = self.traffic();
        let mut table = self.table_beside(traffic);
        let (recount, last) = (table.recount(), self.recount.get());
        let mut ledger = self.ledger.take();
        if recount != last {
            table.take_part(&ledger, last);
        }
        let is_replaced = table.is_changed();
        self.post(&mut table);
        let needs_note = table.is_changed() && !is_replaced;
        let result = change(&mut table);
        let outcome = if needs_note {
            Try::NeedsNote
        } else if table.is_changed() {
            Try::ChangesRecords
        } else {
            let bytes = table.traffic_bytes();
            let postings = table.take_postings();
            self.last.set(Some(table));
            match self.data.write(&self.traffic_key, &bytes, version) {
                Ok(()) => {
                    for (pod, posting) in &postings {
                        ledger.post(*pod, posting);
                    }
                    self.change_backlog(Backlog::clear_postings);
                    self.recount.set(recount);
                    self.is_unpublished.set(false);
                    Try::Done(result)
                }
                Err(Outdated) => Try::Lost,
            }
        };
        self.ledger.set(ledger);
        outcome
    }

    /// Tries to change the records. What is to change of the traffic waits for the next step.
    fn try_records<T>(&self, change: &mut impl FnMut(&mut Table) -> T) -> Try<T> {
        let (mut table, version) = self.records();
        table.set_traffic(self.traffic().0);
        self.post(&mut table);
        // These wait already.
        table.take_postings();
        let result = change(&mut table);
        let postings = table.take_postings();
        table.revise();
        let written = self.data.write(&self.key, table.as_bytes(), version);
        self.last.set(Some(table));
        if written.is_err() {
            return Try::Lost;
        }
        self.is_unpublished.set(true);
        self.change_backlog(|backlog| {
            backlog.note_opened();
            for (pod, posting) in postings {
                backlog.post(pod, posting, Timestamp::NEVER);
            }
        });
        Try::Done(result)
    }

    /// Changes the table in one step. What waits of the traffic goes in as well, events don't.
    fn swap<T>(&self, mut change: impl FnMut(&mut Table) -> T) -> Result<T, Contended> {
        let mut changes_records = false;
        for _ in 0..TRIES {
            let outcome = if changes_records {
                self.try_records(&mut change)
            } else {
                self.try_traffic(&mut change)
            };
            match outcome {
                Try::Done(result) => {
                    if changes_records {
                        self.publish();
                    }
                    return Ok(result);
                }
                Try::Lost => {}
                Try::ChangesRecords => changes_records = true,
                Try::NeedsNote => {
                    // A choice is to be one step, on the traffic as it is then.
                    self.try_records(&mut |_| ());
                }
            }
        }
        Err(Contended)
    }

    /// Enters what waits of the traffic, and tells of the records that were written.
    fn publish(&self) {
        for _ in 0..TRIES {
            if !matches!(self.try_traffic(&mut |_| ()), Try::Lost) {
                return;
            }
        }
    }
}

impl<D: SharedData> SharedTable for Store<D> {
    fn read(&self) -> Table {
        let (traffic, _) = self.traffic();
        let mut table = self.table_beside(traffic);
        self.last.set(Some(table.clone()));
        self.post(&mut table);
        // They are not in yet: what comes of them is told when they are.
        let _effects = self.change_backlog(|backlog| table.apply(&self.rules, backlog.events()));
        table
    }

    fn glance<T>(&self, look: impl FnOnce(&Table) -> T) -> Option<T> {
        let table = self.last.take()?;
        let seen = look(&table);
        self.last.set(Some(table));
        Some(seen)
    }

    fn update<T>(&self, change: impl FnMut(&mut Table) -> T) -> Result<T, Contended> {
        self.swap(change)
    }

    fn defer(&self, events: &[Event]) {
        self.change_backlog(|backlog| events.iter().for_each(|event| backlog.add(event)));
    }

    fn deferred_closes(&self, pod: PodAddress) -> u32 {
        self.change_backlog(|backlog| backlog.closed_on(pod))
    }

    fn settle(&self) -> Vec<Effect> {
        let events = self.change_backlog(Backlog::take_events);
        if events.is_empty() {
            return Vec::new();
        }
        let settled = self.swap(|table| table.apply(&self.rules, &events));
        settled.unwrap_or_else(|Contended| {
            self.change_backlog(|backlog| backlog.put_back(events));
            Vec::new()
        })
    }

    fn flush(&self) -> Vec<Effect> {
        let effects = self.settle();
        if self.is_unpublished.get() || self.change_backlog(|backlog| backlog.has_postings()) {
            // What does not go in waits on.
            let _gone_in = self.swap(|_| ());
        }
        effects
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

    fn record(store: &Store<FakeHost>, events: &[Event]) -> Vec<Effect> {
        store.defer(events);
        store.flush()
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
        record(&one, &[chosen()]);
        let other = open(&host);
        record(&other, &[chosen()]);
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
        assert_eq!(result, Ok(4));
        assert_eq!(in_flight(&store), 1);
    }

    #[test]
    fn nothing_is_lost_under_contention() {
        let host = FakeHost::default();
        let (store, other) = (open(&host), open(&host));
        host.outdate(u32::MAX);
        record(&store, &[chosen()]);
        record(&store, &[chosen()]);
        assert_eq!(store.update(|_| ()), Err(Contended));
        assert_eq!(in_flight(&store), 2, "this worker knows");
        assert_eq!(in_flight(&other), 0);
        host.outdate(0);
        record(&store, &[]);
        assert_eq!(in_flight(&other), 2);
        record(&store, &[]);
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
        assert_eq!(record(&store, &[first]).len(), 1);
        // The count before is stale by then.
        let later = NOW.plus(RULES.cache_ttl * 2);
        let second = asked(&store, later);
        host.outdate(u32::MAX);
        assert_eq!(record(&store, &[second]), []);
        host.outdate(0);
        let effects = record(&store, &[]);
        assert!(
            matches!(effects[..], [Effect::Counted { .. }]),
            "{effects:?}"
        );
        let table = open(&host).read();
        assert_eq!(table.pod(address(1)).unwrap().started_at(), later);
    }

    /// Records and traffic are two values, of which either may be outdated.
    #[test]
    fn what_changes_both_is_not_lost_between_them() {
        for outdated in 0..8 {
            let host = FakeHost::default();
            let (store, other) = (open(&host), open(&host));
            let answer = asked(&store, NOW);
            record(&other, &[chosen()]);
            store.defer(&[chosen(), answer]);
            host.outdate(outdated);
            assert_eq!(store.flush().len(), 1, "{outdated}");
            for worker in [&store, &other, &open(&host)] {
                let table = worker.read();
                let pod = table.pod(address(1)).unwrap();
                assert_eq!((pod.in_flight(), pod.connections()), (2, 7), "{outdated}");
            }
        }
    }

    /// The records are in, and all tries to tell of them, and of the traffic, are lost.
    #[test]
    fn what_could_not_be_told_is_told_with_the_next_change() {
        let host = FakeHost::default();
        let (store, other) = (open(&host), open(&host));
        record(&other, &[chosen()]);
        let answer = asked(&store, NOW);
        store.defer(&[chosen(), answer]);
        // The first write is that of the records.
        host.outdate_after(1, u32::MAX);
        assert_eq!(store.flush().len(), 1);
        assert_eq!(in_flight(&store), 2, "this worker knows");
        assert_eq!(in_flight(&other), 1);
        host.outdate(0);
        assert_eq!(store.flush(), []);
        let table = other.read();
        let pod = table.pod(address(1)).unwrap();
        assert_eq!((pod.in_flight(), pod.connections()), (2, 7));
    }

    #[test]
    fn what_waits_goes_in_with_the_next_change_and_counts_for_its_worker_at_once() {
        let host = FakeHost::default();
        let (store, other) = (open(&host), open(&host));
        let pod = address(1);
        record(&store, &[Event::Opened { pod, at: NOW }]);
        store.defer(&[Event::Closed { pod }]);
        let open = |store: &Store<_>| store.read().pod(pod).unwrap().own_connections();
        assert_eq!((open(&store), open(&other)), (0, 1));
        assert_eq!(store.deferred_closes(pod), 1);
        assert_eq!(store.update(|_| ()), Ok(()));
        assert_eq!((open(&store), open(&other)), (0, 0));
        assert_eq!(store.deferred_closes(pod), 0);
    }

    /// A choice reads and writes what every WebSocket changes, and nothing else.
    #[test]
    fn the_records_are_read_anew_only_where_they_have_changed() {
        let host = FakeHost::default();
        let (store, other) = (open(&host), open(&host));
        record(&store, &[chosen()]);
        let reads = |store: &Store<_>| {
            let before = host.reads(&store.key);
            record(store, &[chosen()]);
            host.reads(&store.key) - before
        };
        assert_eq!(reads(&store), 0);
        let answer = asked(&other, NOW);
        record(&other, &[answer]);
        assert_eq!((reads(&store), reads(&store)), (1, 0));
    }

    #[test]
    fn a_value_that_is_no_table_is_replaced() {
        let host = FakeHost::default();
        let store = open(&host);
        host.write(&store.key, b"garbage", None).unwrap();
        record(&store, &[chosen()]);
        assert_eq!(in_flight(&store), 1);
    }
}
