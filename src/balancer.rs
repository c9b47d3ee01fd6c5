//! What all contexts of one worker share: the services, their tables and statistics.
//!
//! The worker's state proper is in shared data; here is only what it takes to get there.

use std::cell::Cell;

use fastrand::Rng;

use crate::clock::Timestamp;
use crate::config::{Config, OnNoPods, RouteBy, Service};
use crate::host::Host;
use crate::metrics::ServiceMetrics;
use crate::rebalance::Held;
use crate::standing::Outlook;
use crate::store::Store;
use crate::table::Table;

/// One worker's view of everything.
pub struct Balancer<H> {
    /// The host's functions.
    pub host: H,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceState>,
    /// Header, in lower case, by which Envoy is told the pods.
    pub override_header: String,
    /// How many pods it names.
    pub attempts: usize,
    /// What an upgrade's pod is to Envoy.
    pub route_by: RouteBy,
    /// What happens to an upgrade when no pod is usable.
    pub on_no_pods: OnNoPods,
    /// Path of the status; none where it is not shown.
    pub status_path: Option<String>,
    /// Whether responses tell which pod was chosen, and why.
    pub debug_headers: bool,
    /// The open WebSockets of this worker, where some may have to be closed.
    pub held: Held,
    seed: Cell<u64>,
}

/// One service, as one worker sees it.
pub struct ServiceState {
    /// Its configuration.
    pub config: Service,
    /// Its table.
    pub store: Store,
    /// Its statistics.
    pub metrics: ServiceMetrics,
}

impl ServiceState {
    /// The service's pods in `table` as they are at `now`.
    #[must_use]
    pub fn outlook(&self, table: &Table, now: Timestamp) -> Outlook {
        table.outlook(self.config.rules(), now)
    }
}

impl<H: Host> Balancer<H> {
    /// Defines the statistics and opens the tables. `seed` should differ between workers.
    pub fn new(host: H, config: Config, seed: u64) -> Self {
        let services = config
            .services
            .into_iter()
            .map(|config| ServiceState {
                store: Store::open(&host, &config),
                metrics: ServiceMetrics::define(&host, &config.cluster),
                config,
            })
            .collect();
        Self {
            host,
            services,
            override_header: config.override_header,
            attempts: config.attempts,
            route_by: config.route_by,
            on_no_pods: config.on_no_pods,
            status_path: config.status_path,
            debug_headers: config.debug_headers,
            held: Held::default(),
            seed: Cell::new(seed),
        }
    }

    /// The service whose cluster is `cluster`, and its place among the services.
    pub fn service_of(&self, cluster: &[u8]) -> Option<(usize, &ServiceState)> {
        self.services
            .iter()
            .enumerate()
            .find(|(_, service)| service.config.cluster.as_bytes() == cluster)
    }

    /// Random numbers that no earlier call has given out.
    pub fn random(&self) -> Rng {
        let mut random = Rng::with_seed(self.seed.get());
        self.seed.set(random.u64(..));
        random
    }
}
