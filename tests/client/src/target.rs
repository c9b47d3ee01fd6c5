//! Where the WebSockets go: a `ws://` or `wss://` URL that is known to be usable.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use http::Uri;

/// A WebSocket URL (RFC 6455, section 3) with a host and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Plain,
    Tls,
}

impl Target {
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::Tls
    }

    /// `host:port` as a resolver takes it; the port is the scheme's where the URL has none.
    pub(crate) fn address(&self) -> String {
        let default_port = match self.scheme {
            Scheme::Plain => 80,
            Scheme::Tls => 443,
        };
        format!(
            "{}:{}",
            self.uri.host().unwrap_or_default(),
            self.uri.port_u16().unwrap_or(default_port)
        )
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri =
            Uri::from_str(url).map_err(|error| InvalidTarget::Malformed(error.to_string()))?;
        let scheme = match uri.scheme_str() {
            Some("ws") => Scheme::Plain,
            Some("wss") => Scheme::Tls,
            _ => return Err(InvalidTarget::Scheme),
        };
        let authority = uri.authority().ok_or(InvalidTarget::Host)?;
        if authority.host().is_empty() {
            return Err(InvalidTarget::Host);
        }
        if authority.as_str().contains('@') {
            return Err(InvalidTarget::Credentials);
        }
        Ok(Self { uri, scheme })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(formatter)
    }
}

/// Why a text is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidTarget {
    /// It is no URL at all, for this reason.
    Malformed(String),
    /// Its scheme is neither `ws` nor `wss`.
    Scheme,
    /// It names no host.
    Host,
    /// It holds a user name or a password, which RFC 6455 has no place for.
    Credentials,
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => formatter.write_str(reason),
            Self::Scheme => formatter.write_str("the URL must begin with ws:// or wss://"),
            Self::Host => formatter.write_str("the URL names no host"),
            Self::Credentials => {
                formatter.write_str("credentials belong in a header, not in the URL")
            }
        }
    }
}

impl Error for InvalidTarget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_defaults_to_that_of_the_scheme() {
        for (url, address) in [
            ("ws://gateway", "gateway:80"),
            ("wss://gateway/agents", "gateway:443"),
            ("ws://gateway:8080/agents?room=1", "gateway:8080"),
            ("ws://[::1]:8080/", "[::1]:8080"),
        ] {
            let target: Target = url.parse().expect(url);
            assert_eq!(target.address(), address);
        }
    }

    #[test]
    fn unusable_urls_are_told_apart() {
        for (url, expected) in [
            ("http://gateway/", InvalidTarget::Scheme),
            ("/agents", InvalidTarget::Scheme),
            ("ws://user:secret@gateway/", InvalidTarget::Credentials),
            ("ws://:8080/", InvalidTarget::Host),
        ] {
            assert_eq!(url.parse::<Target>(), Err(expected), "{url}");
        }
        assert!(matches!(
            "ws://".parse::<Target>(),
            Err(InvalidTarget::Malformed(_))
        ));
    }
}
