//! A service's table in shared data: read it, change it, and lose no change.
//!
//! Workers change the table by compare-and-swap, a bounded number of tries. An event that could
//! not be recorded waits in this worker and goes in with its next change, at the latest with its
//! next tick: a count may be late, but it is never lost.

use std::cell::Cell;

use crate::config::Service;
use crate::host::SharedData;
use crate::pod::PodAddress;
use crate::table::{Event, Table};

/// Each lost try means that another worker's succeeded; so many in a row are a matter of
/// hundreds of workers.
pub(crate) const TRIES: usize = 32;

/// Another worker was faster every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

/// The table of one service, as one worker reaches it.
pub struct Store {
    key: String,
    pods: Vec<PodAddress>,
    /// Events that are not in the table yet.
    backlog: Cell<Vec<Event>>,
}

impl Store {
    /// The table of `service`.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        Self {
            key: format!(
                "wsbalancer/{}/{:016x}",
                service.cluster,
                service.fingerprint()
            ),
            pods: service.endpoints().to_vec(),
            backlog: Cell::default(),
        }
    }

    /// The table of `service`, made if no worker has made it yet.
    ///
    /// The host can't create only if absent. Two workers that start at the same moment may both
    /// write the empty table; nothing is lost, because no poll has been sent by then.
    pub fn open(host: &impl SharedData, service: &Service) -> Self {
        let store = Self::of(service);
        if host.read(&store.key).is_none() {
            let table = Table::new(&store.pods);
            // Without a version the host accepts every write.
            let _accepted = host.write(&store.key, table.as_bytes(), None);
        }
        store
    }

    /// Under what name the table is shared; other values of the service begin with it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The table as it is now, this worker's backlog included.
    pub fn read(&self, host: &impl SharedData) -> Table {
        let mut table = host
            .read(&self.key)
            .and_then(|(bytes, _)| Table::from_bytes(bytes))
            .unwrap_or_else(|| Table::new(&self.pods));
        let backlog = self.backlog.take();
        table.apply(&backlog);
        self.backlog.set(backlog);
        table
    }

    /// Changes the table, in one step for all workers. `change` may run several times; what it
    /// returns is from the run that was kept.
    ///
    /// # Errors
    /// [`Contended`]: nothing was changed.
    pub fn update<T>(
        &self,
        host: &impl SharedData,
        mut change: impl FnMut(&mut Table) -> T,
    ) -> Result<T, Contended> {
        let backlog = self.backlog.take();
        for _ in 0..TRIES {
            let (bytes, version) = host.read(&self.key).unzip();
            let mut table = bytes
                .and_then(Table::from_bytes)
                .unwrap_or_else(|| Table::new(&self.pods));
            table.apply(&backlog);
            let result = change(&mut table);
            if host.write(&self.key, table.as_bytes(), version).is_ok() {
                return Ok(result);
            }
        }
        self.backlog.set(backlog);
        Err(Contended)
    }

    /// Records events: now, or with this worker's next change.
    pub fn record(&self, host: &impl SharedData, events: &[Event]) {
        if self.update(host, |table| table.apply(events)).is_err() {
            self.defer(events);
        }
    }

    /// Keeps events for this worker's next change.
    pub fn defer(&self, events: &[Event]) {
        let mut backlog = self.backlog.take();
        backlog.extend_from_slice(events);
        self.backlog.set(backlog);
    }

    /// Tries again to record what waits.
    pub fn flush(&self, host: &impl SharedData) {
        let backlog = self.backlog.take();
        let waiting = !backlog.is_empty();
        self.backlog.set(backlog);
        if waiting {
            self.record(host, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::host::fake::FakeHost;
    use crate::pod::tests::address;

    fn service() -> Service {
        Config::parse(br#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:8080"]}]}"#)
            .unwrap()
            .services
            .remove(0)
    }

    const CHOSEN: Event = Event::Chosen {
        pod: PodAddress::from_record(std::net::SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
            8080,
        )),
    };

    fn in_flight(table: &Table) -> u32 {
        table.pod(address(1)).unwrap().in_flight()
    }

    #[test]
    fn workers_share_one_table() {
        let host = FakeHost::default();
        let one = Store::open(&host, &service());
        one.record(&host, &[CHOSEN]);
        let other = Store::open(&host, &service());
        other.record(&host, &[CHOSEN]);
        assert_eq!(in_flight(&one.read(&host)), 2);
    }

    #[test]
    fn a_lost_race_is_run_again() {
        let host = FakeHost::default();
        let store = Store::open(&host, &service());
        host.outdate(3);
        let mut runs = 0;
        let result = store.update(&host, |table| {
            runs += 1;
            table.apply(&[CHOSEN]);
            runs
        });
        assert_eq!(result, Ok(4));
        assert_eq!(in_flight(&store.read(&host)), 1);
    }

    #[test]
    fn nothing_is_lost_under_contention() {
        let host = FakeHost::default();
        let store = Store::open(&host, &service());
        let other = Store::open(&host, &service());
        host.outdate(u32::MAX);
        store.record(&host, &[CHOSEN]);
        store.record(&host, &[CHOSEN]);
        assert_eq!(store.update(&host, |_| ()), Err(Contended));
        assert_eq!(in_flight(&store.read(&host)), 2, "this worker knows");
        assert_eq!(in_flight(&other.read(&host)), 0);
        host.outdate(0);
        store.flush(&host);
        assert_eq!(in_flight(&other.read(&host)), 2);
        store.flush(&host);
        assert_eq!(in_flight(&other.read(&host)), 2, "once");
    }

    #[test]
    fn a_value_that_is_no_table_is_replaced() {
        let host = FakeHost::default();
        let store = Store::open(&host, &service());
        host.write(&store.key, b"garbage", None).unwrap();
        store.record(&host, &[CHOSEN]);
        assert_eq!(in_flight(&store.read(&host)), 1);
    }
}
