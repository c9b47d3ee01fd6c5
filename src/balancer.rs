//! What all contexts of one worker share: its services, and what holds for all of them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

use crate::clock::Timestamp;
use crate::config::{Config, ServiceConfig, Settings};
use crate::service::Service;
use crate::shell::Shell;

/// So many handshakes that are no service's are no accident.
const ENOUGH_PASSED_BY: u32 = 5;

/// The services of one worker.
pub struct Balancer<S: Shell> {
    /// What the worker runs in.
    pub shell: S,
    /// What holds for all services.
    pub settings: Settings,
    /// The services, in the order of the configuration.
    pub services: Vec<Rc<Service<S>>>,
    /// Whether any of them has sessions: then plain requests are looked at, too.
    pub has_sessions: bool,
    seed: Cell<u64>,
    /// Whether requests have begun since the last tick.
    has_requests: Cell<bool>,
    /// The last moment of which it was told.
    noted_at: Cell<Timestamp>,
    /// Whether the next tick is to come at once.
    hurries: Cell<bool>,
    /// WebSocket handshakes that were no service's.
    passed_by: Cell<u32>,
}

impl<S: Shell> Balancer<S> {
    /// Opens the services. `seed` should differ between workers.
    pub fn new(shell: S, config: Config, seed: u64) -> Self {
        let open = |service: ServiceConfig| Rc::new(Service::open(shell.clone(), service));
        Self {
            has_sessions: config
                .services
                .iter()
                .any(|service| service.sessions.is_some()),
            services: config.services.into_iter().map(open).collect(),
            settings: config.settings,
            seed: Cell::new(seed),
            has_requests: Cell::new(false),
            noted_at: Cell::default(),
            hurries: Cell::new(false),
            passed_by: Cell::default(),
            shell,
        }
    }

    /// The service whose cluster is `cluster`.
    pub fn service_of(&self, cluster: &[u8]) -> Option<&Rc<Service<S>>> {
        self.services
            .iter()
            .find(|service| service.config.cluster.as_bytes() == cluster)
    }

    /// Notes that a request has begun.
    pub fn note_request(&self) {
        self.has_requests.set(true);
    }

    /// Whether requests have begun since this was last asked.
    pub fn take_requests(&self) -> bool {
        self.has_requests.take()
    }

    /// Notes what time it is.
    pub fn note_time(&self, now: Timestamp) {
        self.noted_at.set(now);
    }

    /// A moment that is not long past, a tick at most; asking for it costs no call.
    pub fn lately(&self) -> Timestamp {
        self.noted_at.get()
    }

    /// Notes a WebSocket handshake on a route to `cluster`, which is no service's. The services are
    /// told once, if none of them has opened a WebSocket yet: then it may have been meant for them.
    pub fn note_passed_by(&self, cluster: &[u8]) {
        let passed_by = self.passed_by.get().saturating_add(1);
        self.passed_by.set(passed_by);
        if passed_by == ENOUGH_PASSED_BY && self.is_unused() {
            let cluster = String::from_utf8_lossy(cluster);
            for service in &self.services {
                service.lookout.passed_by(&self.shell, &cluster);
            }
        }
    }

    /// Whether none of the services has opened a WebSocket.
    pub fn is_unused(&self) -> bool {
        let mut services = self.services.iter();
        services.all(|service| service.table().opened() == 0)
    }

    /// Has the worker tick after `period`: a tick can ask pods, a request can't.
    pub fn hurry(&self, period: Duration) {
        if !self.hurries.replace(true) {
            self.shell.set_tick_period(period);
        }
    }

    /// Has the worker tick each `period` again, where it [hurried](Self::hurry); whether it did.
    pub fn calm_down(&self, period: Duration) -> bool {
        let hurried = self.hurries.take();
        if hurried {
            self.shell.set_tick_period(period);
        }
        hurried
    }

    /// Random numbers that no earlier call has given out.
    pub fn random(&self) -> Rng {
        let mut random = Rng::with_seed(self.seed.get());
        self.seed.set(random.u64(..));
        random
    }
}
