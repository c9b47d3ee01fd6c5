//! Two functions of the host that the SDK does not offer, or not safely.

#![expect(unsafe_code, reason = "these are calls into the host")]

use log::LevelFilter;

use crate::clock::Timestamp;

const CLOCK_MONOTONIC: u32 = 1;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u16;
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_log_level(level: *mut u32) -> u32;
}

/// The monotonic clock that all workers share.
pub(super) fn now() -> Timestamp {
    let mut nanos = 0;
    // SAFETY: the host writes eight bytes to a place that outlives the call.
    unsafe { clock_time_get(CLOCK_MONOTONIC, 1, &raw mut nanos) };
    Timestamp::from_nanos(nanos)
}

/// The level of Envoy's `wasm` logger. The SDK's own getter takes "off" for a value of an enum
/// that has none for it.
pub(super) fn log_level() -> LevelFilter {
    let mut level = 2;
    // SAFETY: the host writes four bytes to a place that outlives the call.
    unsafe { proxy_get_log_level(&raw mut level) };
    match level {
        0 => LevelFilter::Trace,
        1 => LevelFilter::Debug,
        2 => LevelFilter::Info,
        3 => LevelFilter::Warn,
        4 | 5 => LevelFilter::Error,
        _ => LevelFilter::Off,
    }
}
