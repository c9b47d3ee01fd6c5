//! Where the log's lines go: to Envoy, as far as the [budget](crate::log_budget) reaches.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};

use super::abi;
use crate::log_budget::{Budget, Verdict};

static LOGGER: Logger = Logger;
/// The level that was last configured. All filters of a VM have one, for they have one logger.
static LEVEL: AtomicUsize = AtomicUsize::new(LevelFilter::Trace as usize);

thread_local! {
    static BUDGET: Cell<Budget> = const { Cell::new(Budget::new()) };
}

/// Begins to log, at `level` if that is configured.
pub(super) fn configure(level: Option<LevelFilter>) {
    if let Some(level) = level {
        LEVEL.store(level as usize, Ordering::Relaxed);
    }
    // It is set already where this VM has been configured before.
    let _first = log::set_logger(&LOGGER);
    adjust();
}

/// Follows Envoy's own level, which may have changed.
pub(super) fn adjust() {
    let configured = LEVEL.load(Ordering::Relaxed);
    let configured = LevelFilter::iter().find(|level| *level as usize == configured);
    let envoys = abi::log_level();
    log::set_max_level(configured.map_or(envoys, |level| level.min(envoys)));
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut budget = BUDGET.get();
        let verdict = budget.spend(record.level(), abi::now());
        BUDGET.set(budget);
        let Verdict::Write { left_out } = verdict else {
            return;
        };
        if left_out > 0 {
            abi::log(
                record.level(),
                &format!("{left_out} lines were left out: there were too many"),
            );
        }
        abi::log(record.level(), &record.args().to_string());
    }

    fn flush(&self) {}
}
