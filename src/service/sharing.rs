//! What one worker keeps of those with whom it shares the pods of a service.

use std::cell::Cell;

use crate::clock::Timestamp;
use crate::config::ServiceConfig;
use crate::table::{self, StruckOff};

/// When one worker signs the roll of a service.
pub struct Attendance {
    /// Under what name the roll is shared.
    pub(crate) key: String,
    pub(crate) signed_at: Cell<Timestamp>,
    /// From when on it judges others. One that was held up itself may have been so with all others.
    pub(crate) judges_from: Cell<Timestamp>,
    /// Workers that it has struck off, for whom nobody has begun a recount yet.
    pub(crate) struck_off: Cell<StruckOff>,
    /// How many were on the roll when it last signed.
    pub(crate) workers: Cell<u32>,
}

impl Attendance {
    pub(super) fn of(config: &ServiceConfig) -> Self {
        Self {
            key: table::roll_key(&table::key(config)),
            signed_at: Cell::default(),
            judges_from: Cell::default(),
            struck_off: Cell::default(),
            workers: Cell::default(),
        }
    }
}

/// What one worker knows of the versions that share a service.
pub struct Succession {
    /// Under what name the value is shared: that of the cluster, whatever the version.
    pub(crate) key: String,
    /// Its own version.
    pub(crate) version: u64,
    pub(crate) looked_at: Cell<Timestamp>,
    /// Whether requests have begun since it last told of them.
    pub(crate) has_requests: Cell<bool>,
    pub(crate) is_current: Cell<bool>,
    /// Whether there were other versions when it last looked.
    pub(crate) has_others: Cell<bool>,
}

impl Succession {
    pub(super) fn of(config: &ServiceConfig, version: u64) -> Self {
        Self {
            key: format!("wsbalancer/versions/{}", config.cluster),
            version,
            looked_at: Cell::default(),
            has_requests: Cell::default(),
            is_current: Cell::default(),
            has_others: Cell::default(),
        }
    }

    /// Whether this version was current when the worker last looked.
    pub fn is_current(&self) -> bool {
        self.is_current.get()
    }
}
