//! One service, as one worker sees it: all that belongs to it in one value.
//!
//! What the workers share of a service is in its table; here is what it takes to get there, and
//! what only this worker has.

mod announcer;
mod asking;
mod held;
mod lookout;
mod name_cache;
mod sharing;
mod statistics;

pub use self::announcer::Announcer;
pub use self::asking::{Asking, Round};
pub use self::held::HeldWebSockets;
pub use self::lookout::Lookout;
pub use self::name_cache::{Directory, NameCache, PodNames, names_in};
pub use self::sharing::{Attendance, Succession};
pub use self::statistics::{PREFIX, ServiceCounts, ServiceStatistics};

use std::cell::Cell;
use std::collections::BTreeMap;
use std::slice;

use crate::clock::Timestamp;
use crate::config::ServiceConfig;
use crate::host::StatisticId;
use crate::load::{View, headroom};
use crate::log_budget::RareLine;
use crate::shell::Shell;
use crate::table::{Contended, Effect, Event, LAYOUT, Look, SharedTable, Table};

/// A service, as one worker sees it.
pub struct Service<S: Shell> {
    /// What the worker runs in.
    pub shell: S,
    /// What is configured.
    pub config: ServiceConfig,
    /// See [`ServiceConfig::fingerprint`].
    pub fingerprint: u64,
    /// Its statistics.
    pub statistics: ServiceStatistics,
    /// What log and statistics say of its pods.
    pub announcer: Announcer,
    /// What its pods call themselves.
    pub names: NameCache,
    /// The open WebSockets of this worker, where some may have to be closed.
    pub held: HeldWebSockets,
    /// Tells of handshakes that were refused for their origin.
    pub forbidden_line: RareLine,
    table: S::Table,
    /// What this worker does for warnings.
    pub lookout: Lookout,
    /// When this worker gives signs of life.
    pub attendance: Attendance,
    /// Which version of the module is current.
    pub succession: Succession,
    /// Whether this worker's polls reach pods behind internal listeners.
    pub reach: Cell<Reach>,
    /// How far this worker has got with asking the pods.
    pub asking: Asking,
    /// When this worker last looked whether counts are needed before their time.
    pub looked_at: Cell<Timestamp>,
    /// What is still to be added to counters.
    counts: Cell<BTreeMap<StatisticId, u32>>,
}

/// Whether a worker's polls reach pods behind internal listeners.
///
/// Envoy's main thread has a VM too, and timers, but no such listeners: its polls get no further,
/// and are answered with 503. That can't be told but by trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// None has been tried.
    #[default]
    Unknown,
    /// They do.
    Reaches,
    /// Those that were first tried, at this moment, did not.
    Fails(Timestamp),
}

impl Reach {
    /// Since when another worker should poll; none where this one may as well.
    #[must_use]
    pub const fn stepped_back_at(self) -> Option<Timestamp> {
        match self {
            Self::Fails(first) => Some(first),
            Self::Unknown | Self::Reaches => None,
        }
    }

    /// Whether a failure at `asked_at` says more of the worker than of the pod: it is among those
    /// that were first tried.
    #[must_use]
    pub fn excuses(self, asked_at: Timestamp) -> bool {
        match self {
            Self::Unknown => true,
            Self::Reaches => false,
            Self::Fails(first) => first == asked_at,
        }
    }
}

impl<S: Shell> Service<S> {
    /// Defines the statistics and opens the table.
    pub fn open(shell: S, config: ServiceConfig) -> Self {
        let statistics = ServiceStatistics::define(&shell, &config.cluster);
        Self {
            statistics,
            announcer: Announcer::of(&config.cluster, statistics),
            names: NameCache::of(&config),
            held: HeldWebSockets::default(),
            forbidden_line: RareLine::default(),
            table: shell.open_table(&config),
            lookout: Lookout::of(&config),
            attendance: Attendance::of(&config),
            succession: Succession::of(&config, LAYOUT.into()),
            reach: Cell::default(),
            asking: Asking::default(),
            looked_at: Cell::default(),
            counts: Cell::default(),
            fingerprint: config.fingerprint(),
            config,
            shell,
        }
    }

    /// The table as it is now.
    pub fn table(&self) -> Table {
        self.table.read()
    }

    /// Looks at the table as this worker last had it, which costs no call; none where it had none.
    pub fn glance<T>(&self, look: impl FnOnce(&Table) -> T) -> Option<T> {
        self.table.glance(look)
    }

    /// The pods in `table` as they look at `now`.
    pub fn view(&self, table: &Table, now: Timestamp) -> View {
        table.view(&self.config.rules, now)
    }

    /// Takes in what happened: now, or with this worker's next change.
    pub fn record(&self, events: &[Event]) {
        self.defer(events);
        self.flush();
    }

    /// Takes in what happened with this worker's next change, at the latest with its next tick.
    pub fn defer(&self, events: &[Event]) {
        self.table.defer(events);
    }

    /// Takes in the answer to a poll: now, or while many are to come with others, at the latest with
    /// this worker's next change.
    pub fn record_answer(&self, answer: Event) {
        if self.asking.waits() {
            self.defer(&[answer]);
        } else {
            self.record(&[answer]);
        }
    }

    /// See [`SharedTable::recount`].
    pub fn recount(&self) -> u32 {
        self.table.recount()
    }

    /// Takes in that a WebSocket has ended: at once where somebody could be refused for one that
    /// waits.
    pub fn take_end(&self, event: &Event, now: Timestamp) {
        let pod = match event {
            Event::Closed { pod } => Some(*pod),
            _ => None,
        };
        let waits = pod.is_some_and(|pod| {
            let waiting = self.table.deferred_closes(pod);
            let room = self.glance(|table| {
                let view = self.view(table, now);
                table.pod(pod).and_then(|pod| view.room(pod))
            });
            headroom::end_may_wait(waiting, room.flatten(), self.attendance.workers.get())
        });
        self.defer(slice::from_ref(event));
        if !waits {
            self.flush();
        }
    }

    /// Takes in what waits, if it can.
    pub fn flush(&self) {
        self.asking.take_in();
        self.announce(&self.table.flush());
        for (counter, n) in self.counts.take() {
            self.shell.add(counter, n);
        }
    }

    /// Changes the table, in one step for all workers. `change` may run several times; what it
    /// returns is from the run that was kept.
    ///
    /// # Errors
    /// [`Contended`]: nothing was changed.
    pub fn update<T>(&self, change: impl FnMut(&mut Table) -> T) -> Result<T, Contended> {
        self.asking.take_in();
        self.announce(&self.table.settle());
        self.table.update(change)
    }

    fn announce(&self, effects: &[Effect]) {
        self.announcer.effects(&self.shell, &self.names, effects);
    }

    /// Whether this configuration of the service is the current one by `table`.
    pub fn is_current(&self, table: &Table) -> bool {
        table.current().fingerprint() == self.fingerprint
    }

    /// Whether this configuration is the one that polls: the current one, of the current version.
    pub fn may_poll(&self, table: &Table) -> bool {
        self.succession.is_current() && self.is_current(table)
    }

    /// Adds one to a counter.
    pub fn count(&self, counter: StatisticId) {
        self.shell.add(counter, 1);
    }

    /// Adds one to a counter with this worker's next [`flush`](Self::flush), for what happens often.
    pub fn count_later(&self, counter: StatisticId) {
        let mut counts = self.counts.take();
        let count = counts.entry(counter).or_default();
        *count = count.saturating_add(1);
        self.counts.set(counts);
    }

    /// Chooses from the table for a request that begins at `now`, and has the choice take effect in
    /// the same step: `choose` returns it with the event that it is. Under contention the event waits
    /// for the next change.
    ///
    /// A configuration that has never been current is so from its first request on, so that this one
    /// already gets what it asks for.
    pub fn choose<T>(
        &self,
        now: Timestamp,
        mut choose: impl FnMut(&Table) -> (T, Option<Event>),
    ) -> T {
        if !self.glance(|table| self.is_current(table)).unwrap_or(false) {
            self.begin_requests(now);
        }
        // What else waits would make it a change of the whole table.
        let chosen = self.table.update(|table| {
            let (choice, event) = choose(table);
            // No answer is among them, so nothing else comes of it.
            let _effects = table.apply(&self.config.rules, event.as_slice());
            choice
        });
        if let Ok(choice) = chosen {
            return choice;
        }
        let (choice, event) = choose(&self.table());
        self.defer(event.as_slice());
        choice
    }

    /// Makes this configuration the current one, if it has never been.
    fn begin_requests(&self, now: Timestamp) {
        let look = Look {
            fingerprint: self.fingerprint,
            now,
            has_requests: true,
            is_abandoned: false,
        };
        let table = self.table();
        if self.is_current(&table) || table.current().after(&look).is_none() {
            return;
        }
        // Under contention the next request tries again.
        if let Ok(true) = self.update(|table| self.look(table, &look)) {
            self.announcer.is_current(&self.config);
        }
    }

    /// Looks whether this configuration is the current one; whether it is so only now, after
    /// another.
    pub fn look(&self, table: &mut Table, look: &Look) -> bool {
        let had_one = table.current().fingerprint() != 0;
        let pods = self.config.listed_pods();
        table.look(look, &self.config.rules, pods) && had_one
    }
}
