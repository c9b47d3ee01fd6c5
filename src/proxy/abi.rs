//! Functions of the host that the SDK does not offer, or not safely: some of its own end the VM on
//! a status that they do not expect.

#![expect(unsafe_code, reason = "these are calls into the host")]

use std::time::{Duration, SystemTime};

use log::LevelFilter;
use proxy_wasm::types::MapType;

use crate::clock::Timestamp;

const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
/// `WasmStreamType::Request`.
const HTTP_REQUEST: u32 = 0;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u16;
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_set_effective_context(context_id: u32) -> u32;
    fn proxy_close_stream(kind: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_header_map_pairs(map: MapType, pairs: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

/// The monotonic clock that all workers share.
pub(super) fn now() -> Timestamp {
    Timestamp::from_nanos(nanos(CLOCK_MONOTONIC))
}

/// The clock on the wall, to be shown to people and for nothing else.
pub(super) fn date() -> SystemTime {
    let since_epoch = Duration::from_nanos(nanos(CLOCK_REALTIME));
    let date = SystemTime::UNIX_EPOCH.checked_add(since_epoch);
    date.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn nanos(clock: u32) -> u64 {
    let mut nanos = 0;
    // SAFETY: the host writes eight bytes to a place that outlives the call.
    unsafe { clock_time_get(clock, 1, &raw mut nanos) };
    nanos
}

/// Has the root context of the current one tick after `period`, and again and again; in whole
/// milliseconds.
pub(super) fn set_tick_period(period: Duration) {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: it takes a number.
    unsafe { proxy_set_tick_period_milliseconds(millis) };
}

/// Writes a line to Envoy's log.
pub(super) fn log(level: log::Level, message: &str) {
    let level = match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    };
    // SAFETY: the host reads the message during the call.
    unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// Ends the request of the context `context_id`, whose answer may have begun long ago. Its context
/// is told before this returns. Afterwards the calls are the context `own`'s again.
pub(super) fn reset(context_id: u32, own: u32) {
    const OK: u32 = 0;
    // SAFETY: neither takes any memory.
    unsafe {
        if proxy_set_effective_context(context_id) == OK {
            proxy_close_stream(HTTP_REQUEST);
        }
        proxy_set_effective_context(own);
    }
}

/// All header fields, as the host serializes them; empty where there are none.
pub(super) fn header_map_pairs(map: MapType) -> Vec<u8> {
    let (mut pairs, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the host writes an address and a size to places that outlive the call. The address is
    // of memory that the module's own allocator has given out for so many bytes, as a box's, and is
    // the caller's from then on.
    unsafe {
        proxy_get_header_map_pairs(map, &raw mut pairs, &raw mut size);
        if pairs.is_null() {
            return Vec::new();
        }
        Box::from_raw(std::ptr::slice_from_raw_parts_mut(pairs, size)).into_vec()
    }
}

/// Keeps `value` with the request, where the access log finds it as the filter state
/// `wasm.NAME`.
pub(super) fn set_filter_state(name: &str, value: &str) {
    // SAFETY: the host reads both during the call.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
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
