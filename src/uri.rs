//! Which characters a URI takes as they are, which names can be a host in one, and the parts of an
//! authority.

use std::net::Ipv6Addr;

/// Whether `byte` is an unreserved character (RFC 3986, section 2.3).
#[must_use]
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether `name` can be a host as it is. Of what RFC 3986, section 3.2.2, lets be in a name this
/// takes what names have: the unreserved characters.
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_unreserved)
}

/// The host of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name, or an IPv4 address: see [`is_host_name`].
    Name(&'a str),
    /// What stands in brackets.
    V6(Ipv6Addr),
}

/// Host and port of `authority` (RFC 3986, section 3.2); none where it is none, or has more to it,
/// such as a user.
#[must_use]
pub fn split_authority(authority: &str) -> Option<(Host<'_>, Option<u16>)> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        let port = match rest {
            "" => None,
            rest => Some(port(rest.strip_prefix(':')?)?),
        };
        return Some((Host::V6(address.parse().ok()?), port));
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, digits)) => (name, Some(port(digits)?)),
        None => (authority, None),
    };
    is_host_name(name).then_some((Host::Name(name), port))
}

/// Only digits: Rust's own parser takes a plus sign, too.
fn port(digits: &str) -> Option<u16> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| are_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        let localhost = Ipv6Addr::LOCALHOST;
        for (text, parts) in [
            ("chat", Some((Host::Name("chat"), None))),
            ("chat:0", Some((Host::Name("chat"), Some(0)))),
            (
                "10.0.0.1:65535",
                Some((Host::Name("10.0.0.1"), Some(65535))),
            ),
            ("[::1]", Some((Host::V6(localhost), None))),
            (
                "[0:0:0:0:0:0:0:1]:80",
                Some((Host::V6(localhost), Some(80))),
            ),
            ("", None),
            (":80", None),
            ("chat:", None),
            ("chat:+80", None),
            ("chat:65536", None),
            ("chat:80:80", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]80", None),
            ("[chat]", None),
            ("user@chat", None),
            ("chat/", None),
            ("chät", None),
        ] {
            assert_eq!(split_authority(text), parts, "{text}");
        }
    }
}
