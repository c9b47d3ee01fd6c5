//! The origin of the page that opens a WebSocket (RFC 6454), and which origins may.
//!
//! A browser lets any page open a WebSocket to any host, and sends the user's cookies with it. All
//! that tells whose page it was is the header `origin`, which no page can change (RFC 6455, section
//! 10.2). Other clients send what they like: this protects users of browsers, and no pod.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::uri::{Host, split_authority};

/// Scheme, host and port, in the form in which they are compared (RFC 6454, sections 4 and 5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: OriginHost,
    /// None for a scheme whose default is not known.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginHost {
    /// In lower case.
    Name(String),
    V6(Ipv6Addr),
}

impl Origin {
    /// A serialized origin (RFC 6454, section 6.2): `https://app.example.com:8443`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let begins_well = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        let goes_on_well = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !begins_well || !scheme.bytes().all(goes_on_well) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_authority(authority)?;
        let host = match host {
            Host::Name(name) => {
                // The root's dot may end it, which makes it another host.
                let labels = name.strip_suffix('.').unwrap_or(name);
                if labels.split('.').any(str::is_empty) {
                    return None;
                }
                OriginHost::Name(name.to_ascii_lowercase())
            }
            Host::V6(address) => OriginHost::V6(address),
        };
        Some(Self {
            host,
            port: port.or_else(|| default_port(&scheme)),
            scheme,
        })
    }

    /// Whether it is that of `parent`'s host with something before it, at any depth.
    fn is_below(&self, parent: &Self) -> bool {
        let (OriginHost::Name(name), OriginHost::Name(parents)) = (&self.host, &parent.host) else {
            return false;
        };
        let before = name.strip_suffix(parents.as_str());
        let before = before.and_then(|before| before.strip_suffix('.'));
        before.is_some_and(|before| !before.is_empty())
            && self.scheme == parent.scheme
            && self.port == parent.port
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// One or many origins: `https://app.example.com`, `https://*.example.com`, `null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// That of pages without one, such as files.
    Null,
    Exact(Origin),
    Below(Origin),
}

impl FromStr for OriginPattern {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let pattern = if text == "null" {
            Some(Pattern::Null)
        } else if let Some((scheme, parent)) = text.split_once("://*.") {
            // Below an address there is nothing.
            let host = parent.split(':').next().unwrap_or_default();
            let last = host.rsplit('.').next().unwrap_or_default();
            let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
            Origin::parse(&format!("{scheme}://{parent}"))
                .filter(|origin| !is_address && matches!(origin.host, OriginHost::Name(_)))
                .map(Pattern::Below)
        } else {
            Origin::parse(text).map(Pattern::Exact)
        };
        let pattern = pattern.map(Self);
        pattern.ok_or_else(|| NoOrigin(text.to_owned()))
    }
}

/// A text is no [`OriginPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoOrigin(String);

impl fmt::Display for NoOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an origin: write https://app.example.com, https://*.example.com with or \
             without a port, or null; no path, not even a slash",
            self.0
        )
    }
}

impl std::error::Error for NoOrigin {}

/// Which origins may open WebSockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigins {
    /// Those that may.
    pub patterns: Vec<OriginPattern>,
    /// Whether a client without one may not.
    pub is_required: bool,
}

/// Why a handshake is refused for its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginRefusal {
    /// It has none, and needs one.
    Missing,
    /// It has another, or several, or something that is none.
    NotAllowed,
}

impl OriginRefusal {
    /// What the client is told, as the body of the response.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Missing => "a WebSocket needs the header origin here\n",
            Self::NotAllowed => "pages of this origin may not open a WebSocket here\n",
        }
    }
}

impl AllowedOrigins {
    /// Looks at the header `origin` of a handshake. Where there are several they stand behind one
    /// another, with commas, and no origin has one.
    ///
    /// # Errors
    /// Where it may not open a WebSocket.
    pub fn check(&self, sent: Option<&[u8]>) -> Result<(), OriginRefusal> {
        let Some(sent) = sent else {
            return if self.is_required {
                Err(OriginRefusal::Missing)
            } else {
                Ok(())
            };
        };
        let is_allowed = if sent == b"null" {
            self.patterns.contains(&OriginPattern(Pattern::Null))
        } else {
            let text = std::str::from_utf8(sent).ok();
            text.and_then(Origin::parse)
                .is_some_and(|origin| self.has(&origin))
        };
        if is_allowed {
            Ok(())
        } else {
            Err(OriginRefusal::NotAllowed)
        }
    }

    fn has(&self, origin: &Origin) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|OriginPattern(pattern)| match pattern {
            Pattern::Null => false,
            Pattern::Exact(allowed) => origin == allowed,
            Pattern::Below(parent) => origin.is_below(parent),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(patterns: &[&str]) -> AllowedOrigins {
        AllowedOrigins {
            patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
            is_required: false,
        }
    }

    fn may(patterns: &[&str], sent: &[u8]) -> bool {
        allowed(patterns).check(Some(sent)).is_ok()
    }

    #[test]
    fn scheme_host_and_port_are_compared() {
        let patterns = [
            "https://app.example.com",
            "http://10.0.0.1:8080",
            "https://[::1]",
        ];
        for (sent, expected) in [
            ("https://app.example.com", true),
            ("HTTPS://App.EXAMPLE.com", true),
            ("https://app.example.com:443", true),
            ("http://10.0.0.1:8080", true),
            ("https://[0:0:0:0:0:0:0:1]:443", true),
            ("http://app.example.com", false),
            ("http://app.example.com:443", false),
            ("wss://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://app.example.com.", false),
            ("https://example.com", false),
            ("https://x.app.example.com", false),
            ("https://app.example.com.evil.example", false),
            ("https://appXexample.com", false),
            ("https://10.0.0.1:8080", false),
            ("null", false),
        ] {
            assert_eq!(may(&patterns, sent.as_bytes()), expected, "{sent}");
        }
    }

    #[test]
    fn a_star_stands_for_subdomains_of_any_depth_and_for_nothing_else() {
        let patterns = ["https://*.Example.com", "http://*.local.test:3000"];
        for (sent, expected) in [
            ("https://a.example.com", true),
            ("https://A.b.c.example.com:443", true),
            ("http://x.local.test:3000", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://evilexample.com", false),
            ("https://a.example.com.evil.example", false),
            ("https://a.example.com:8443", false),
            ("http://a.example.com", false),
            ("http://x.local.test", false),
        ] {
            assert_eq!(may(&patterns, sent.as_bytes()), expected, "{sent}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_and_so_are_several() {
        let patterns = ["https://a.example", "https://*.b.example", "null"];
        assert!(may(&patterns, b"null"));
        let long = [b"https://", vec![b'a'; 70_000].as_slice(), b".b.example"].concat();
        assert!(may(&patterns, &long), "there is no limit but Envoy's");
        for sent in [
            b"".as_slice(),
            b"*",
            b"NULL",
            b"null, null",
            b"null null",
            b"https://a.example, https://a.example",
            b"https://a.example,https://a.example",
            b"https://a.example https://a.example",
            b"https://a.example/",
            b"https://a.example?",
            b"https://a.example#",
            b"https://a.example:",
            b"https://a.example:+443",
            b"https://a.example:99999",
            b"https://user@a.example",
            b"https:a.example",
            b"https://",
            b"://a.example",
            b"1https://a.example",
            b"a.example",
            b" https://a.example",
            b"https://a.example\0",
            b"https://a%2eexample",
            b"https://x..b.example",
            b"https://*.b.example",
            b"\xff\xfe",
            b"https://\xff\xfe.b.example",
        ] {
            assert!(!may(&patterns, sent), "{}", sent.escape_ascii());
        }
    }

    #[test]
    fn a_client_without_one_passes_unless_it_is_required() {
        let mut origins = allowed(&["https://a.example"]);
        assert_eq!(origins.check(None), Ok(()));
        origins.is_required = true;
        assert_eq!(origins.check(None), Err(OriginRefusal::Missing));
        assert_eq!(origins.check(Some(b"https://a.example")), Ok(()));
    }

    #[test]
    fn what_can_not_be_a_pattern() {
        for text in [
            "",
            "*",
            "https://*",
            "https://*.",
            "https://*example.com",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://a.example/",
            "a.example",
            "https://*.0.0.1",
            "https://*.[::1]",
            "https://*.0.0.1:80",
            "Null",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9-]{0,8}(\\.[a-z][a-z0-9-]{0,8}){0,3}"
    }

    /// The same letters, some of them in upper case.
    fn shouted(text: &str, which: u64) -> String {
        let letters = text.chars().enumerate();
        letters
            .map(|(index, letter)| match which >> (index % 64) & 1 {
                1 => letter.to_ascii_uppercase(),
                _ => letter,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn an_origin_is_itself_in_any_case(host in name(), port in any::<u16>(), which: u64) {
            let origin = format!("https://{host}:{port}");
            prop_assert!(may(&[&origin], shouted(&origin, which).as_bytes()));
            let other = format!("https://{host}:{}", port.wrapping_add(1));
            prop_assert!(!may(&[&origin], other.as_bytes()));
            prop_assert_eq!(may(&[&format!("https://{host}")], origin.as_bytes()), port == 443);
        }

        #[test]
        fn a_star_takes_exactly_what_ends_in_a_dot_and_its_name(host in name(), parent in name()) {
            let pattern = format!("https://*.{parent}");
            let below = format!("https://{host}.{parent}");
            prop_assert!(may(&[&pattern], below.as_bytes()));
            let beside = format!("https://{host}");
            let expected = host.ends_with(&format!(".{parent}"));
            prop_assert_eq!(may(&[&pattern], beside.as_bytes()), expected);
            let glued = format!("https://{host}{parent}");
            let expected = format!("{host}{parent}").ends_with(&format!(".{parent}"));
            prop_assert_eq!(may(&[&pattern], glued.as_bytes()), expected);
        }

        /// Whatever is let through is the one origin that is listed, but for case and port.
        #[test]
        fn no_bytes_pass_for_another_origin(
            before in prop::collection::vec(any::<u8>(), 0..4),
            after in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let sent = [&before[..], b"https://a.example", &after[..]].concat();
            if may(&["https://a.example"], &sent) {
                prop_assert!(before.is_empty());
                let digits = after.strip_prefix(b":").unwrap_or(&after);
                prop_assert!(digits.iter().all(u8::is_ascii_digit), "{}", sent.escape_ascii());
            }
            let _anything = may(&["null"], &after);
        }
    }
}
