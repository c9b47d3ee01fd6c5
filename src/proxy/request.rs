//! The request at hand, on the functions of a real Envoy.

use proxy_wasm::hostcalls;
use proxy_wasm::types::MapType;

use super::abi;
use crate::host::{Head, HeaderMap, Request};

/// The request whose context is being called.
#[derive(Clone, Copy, Debug)]
pub(super) struct CurrentRequest;

impl Request for CurrentRequest {
    fn header_map(&self, head: Head) -> HeaderMap {
        HeaderMap::from_pairs(abi::header_map_pairs(map(head)))
    }

    fn header(&self, head: Head, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(map(head), name).ok()?
    }

    fn set_header(&self, head: Head, name: &str, value: Option<&str>) {
        // It fails only where the request is gone, and then nobody misses the field.
        let _set = hostcalls::set_map_value(map(head), name, value);
    }

    fn set_header_bytes(&self, head: Head, name: &str, value: &[u8]) {
        let _set = hostcalls::set_map_value_bytes(map(head), name, Some(value));
    }

    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        hostcalls::get_property(path.to_vec()).ok()?
    }

    fn set_filter_state(&self, name: &str, value: &str) {
        abi::set_filter_state(name, value);
    }

    fn clear_route_cache(&self) {
        // Since Envoy 1.33 it does not by itself when headers change.
        let _cleared = hostcalls::call_foreign_function("clear_route_cache", None);
    }
}

const fn map(head: Head) -> MapType {
    match head {
        Head::Request => MapType::HttpRequestHeaders,
        Head::Response => MapType::HttpResponseHeaders,
    }
}
