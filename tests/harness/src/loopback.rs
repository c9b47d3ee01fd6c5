//! Addresses that must be known before anybody listens on them.
//!
//! A port that the system chooses is known too late for an Envoy that is to reach itself. But all
//! of 127.0.0.0/8 is this machine (RFC 1122, section 3.2.1.3), which has an address for every
//! process.

use std::net::{Ipv4Addr, SocketAddr};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux hands out by itself, from 32768 on.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// An address of this machine that no other process is given, and this one not again for a long
/// time.
#[must_use]
pub fn own_address() -> SocketAddr {
    static CLAIMED: AtomicU16 = AtomicU16::new(0);
    // Ids have at most 22 bits on Linux. With the highest bit, it is none of 127.0.0.x, which
    // others like to use.
    let [_, high, middle, low] = process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, high | 0x80, middle, low);
    let port = FIRST_PORT + CLAIMED.fetch_add(1, Ordering::Relaxed) % PORTS;
    SocketAddr::from((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_are_of_this_machine() {
        let (first, second) = (own_address(), own_address());
        assert_ne!(first, second);
        for address in [first, second] {
            assert!(address.ip().is_loopback(), "{address}");
        }
    }
}
