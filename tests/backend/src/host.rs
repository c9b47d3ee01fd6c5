//! The `host` of a request: a server refuses what can't be one (RFC 9112, section 3.2).
//!
//! Many real servers do, a sidecar of Istio's among them, and so do all pods here: a proxy that
//! names something else finds out in every test.

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version, header};

/// Whether the request names one host, as it must.
pub(crate) fn is_sound(request: &Parts) -> bool {
    // Of HTTP/2 the parser has made sure.
    if request.version == Version::HTTP_2 {
        return true;
    }
    let mut hosts = request.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version < Version::HTTP_11,
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
    }
}

/// `uri-host [":" port]` (RFC 9110, section 7.2), with the characters that names of hosts have.
fn is_host(value: &HeaderValue) -> bool {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:[]".contains(b);
    value.as_bytes().iter().all(is_part)
        && Authority::try_from(value.as_bytes())
            .is_ok_and(|host| host.as_str() == host.host() || host.port_u16().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_host() {
        for host in [
            "chat",
            "chat.example.com:80",
            "10.0.0.1:8080",
            "[fd00::1]:80",
            "localhost",
        ] {
            assert!(is_host(&HeaderValue::from_static(host)), "{host}");
        }
        for host in [
            "",
            "outbound|8080||chat.default.svc.cluster.local",
            "httproute/default/chat/rule/0",
            "user@chat",
            "a:b",
        ] {
            assert!(!is_host(&HeaderValue::from_static(host)), "{host}");
        }
    }
}
