//! Which characters a URI takes as they are, and which names can be a host in one.

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
