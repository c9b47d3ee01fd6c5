//! The page. `build.rs` puts it together from the files in `page/`, and tells its style and its
//! script apart from any other by their hashes.

use super::response::status;
use crate::host::Response;

const PAGE: &str = include_str!(concat!(env!("OUT_DIR"), "/page.html"));
/// Nothing but the page's own style and script, and its requests for the JSON
/// (<https://www.w3.org/TR/CSP3/>).
const POLICY: &str = include_str!(concat!(env!("OUT_DIR"), "/policy.txt"));

pub(super) fn response() -> Response {
    let headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
    ];
    status(&headers, PAGE.as_bytes().to_vec())
}
