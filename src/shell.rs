//! All that a shell brings: what lies between the balancer and the proxy that runs it.
//!
//! There is one shell, `proxy`, for Envoy's Wasm modules. Another would implement these traits,
//! and use the same decisions.

use crate::config::ServiceConfig;
use crate::host::{Calls, Clock, Hosts, SharedData, Statistics, Timer};
use crate::table::SharedTable;

/// What a shell brings. Clones are the same shell.
pub trait Shell: Calls + Clock + Hosts + SharedData + Statistics + Timer + Clone {
    /// How a worker reaches a service's table.
    type Table: SharedTable;

    /// The table of `service`, made if no worker has made it yet.
    fn open_table(&self, service: &ServiceConfig) -> Self::Table;
}
