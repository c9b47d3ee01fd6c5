//! Which of several configurations of a service is current.
//!
//! A changed configuration does not end the old one: Envoy keeps its VM for as long as WebSockets
//! that began under it are open, and both have timers. They share the service's table, so that
//! what either does to the pods is known to both. But only one may ask the pods, and its options
//! count.
//!
//! **Current is the configuration under which new requests begin.** Not the one that was configured
//! last: Envoy keeps VMs, and where a change is taken back, the first configuration goes on without
//! being configured again. And a draining one is configured anew where its VM has crashed.
//!
//! A configuration becomes current
//! - at once, where there is no other, or where the other has stopped polling;
//! - with its first request, if it has never been current: Envoy has begun to use it;
//! - after [`PATIENCE`] without a request under the other one, if it has never been current: on a
//!   quiet day the newest is meant;
//! - if it has been current before, when requests come under it again and have done so for
//!   [`PATIENCE`] without one under the other: the last requests on connections of a draining
//!   listener are fewer, or come beside those of the new one.
//!
//! While there is but one configuration, none of this writes anything.

use std::time::Duration;

use zerocopy::native_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;

/// How long requests must have stayed away before they are taken to be gone.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How exactly it is known when a request last came.
const RESOLUTION: Duration = Duration::from_secs(1);

/// Which configuration is current; part of a service's table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Current {
    /// The fingerprint of the current one; zero before there is one.
    fingerprint: U64,
    /// Of those that were current before, the latest first.
    superseded: [U64; 4],
    /// When a request last began under the current one, known while there is a rival.
    requested_at: U64,
    /// The fingerprint of one that may become current; zero where there is none.
    rival: U64,
    /// Since when it may.
    rival_since: U64,
    /// When the first request began under it since the last under the current one.
    rival_requested_at: U64,
}

/// What a worker sees when it looks whether its configuration is current.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The fingerprint of its configuration.
    pub fingerprint: u64,
    /// The moment.
    pub now: Timestamp,
    /// Whether requests began under it since the last look.
    pub has_requests: bool,
    /// Whether nobody polls.
    pub is_abandoned: bool,
}

impl Current {
    /// The fingerprint of the current configuration; zero before there is one.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.get()
    }

    /// What it is after a look; none where nothing changes.
    #[must_use]
    pub fn after(&self, look: &Look) -> Option<Self> {
        if self.fingerprint.get() == look.fingerprint {
            self.confirmed(look)
        } else if self.gives_way_to(look) {
            Some(self.succeeded_by(look))
        } else {
            self.challenged_by(look)
        }
    }

    /// Requests under the current one, while there is a rival.
    fn confirmed(&self, look: &Look) -> Option<Self> {
        let is_known = look.now.since(Timestamp::from(self.requested_at)) < RESOLUTION
            && !Timestamp::from(self.rival_requested_at).happened();
        let matters = self.rival.get() != 0 && look.has_requests && !is_known;
        matters.then(|| Self {
            requested_at: look.now.into(),
            rival_requested_at: Timestamp::NEVER.into(),
            ..*self
        })
    }

    fn gives_way_to(&self, look: &Look) -> bool {
        if self.fingerprint.get() == 0 || look.is_abandoned {
            return true;
        }
        let is_rival = self.rival.get() == look.fingerprint;
        let has_waited =
            |since: Timestamp| is_rival && since.happened() && look.now.since(since) >= PATIENCE;
        if self.was_current(look.fingerprint) {
            look.has_requests && has_waited(Timestamp::from(self.rival_requested_at))
        } else {
            let since = Timestamp::from(self.rival_since);
            look.has_requests || has_waited(since.max(Timestamp::from(self.requested_at)))
        }
    }

    fn was_current(&self, fingerprint: u64) -> bool {
        self.superseded.iter().any(|one| one.get() == fingerprint)
    }

    fn succeeded_by(&self, look: &Look) -> Self {
        let [first, second, third, _] = self.superseded;
        Self {
            fingerprint: U64::new(look.fingerprint),
            superseded: [self.fingerprint, first, second, third],
            requested_at: look.now.into(),
            rival: U64::new(0),
            rival_since: Timestamp::NEVER.into(),
            rival_requested_at: Timestamp::NEVER.into(),
        }
    }

    /// A rival, and its first request.
    fn challenged_by(&self, look: &Look) -> Option<Self> {
        let requested_at = if look.has_requests {
            look.now
        } else {
            Timestamp::NEVER
        };
        if self.rival.get() == look.fingerprint {
            let is_first =
                look.has_requests && !Timestamp::from(self.rival_requested_at).happened();
            return is_first.then(|| Self {
                rival_requested_at: requested_at.into(),
                ..*self
            });
        }
        // One that is idle and has had its time is none.
        let is_rival = look.has_requests || !self.was_current(look.fingerprint);
        let rival_since = Timestamp::from(self.rival_since);
        let is_free = self.rival.get() == 0
            || self.was_current(self.rival.get())
            || look.now.since(rival_since) >= PATIENCE.saturating_mul(2);
        (is_rival && is_free).then(|| Self {
            rival: U64::new(look.fingerprint),
            rival_since: look.now.into(),
            rival_requested_at: requested_at.into(),
            ..*self
        })
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    const A: u64 = 1;
    const B: u64 = 2;

    /// Some configurations of a service that look at what is current.
    struct Service {
        current: Current,
        now: Timestamp,
        writes: u32,
    }

    impl Service {
        /// `A` is current.
        fn new() -> Self {
            let mut service = Self {
                current: Current::new_zeroed(),
                now: Timestamp::from_nanos(1_000_000_000),
                writes: 0,
            };
            service.look(A, false);
            assert_eq!(service.current.fingerprint(), A);
            service
        }

        fn look(&mut self, fingerprint: u64, has_requests: bool) {
            self.see(fingerprint, has_requests, false);
        }

        fn see(&mut self, fingerprint: u64, has_requests: bool, is_abandoned: bool) {
            let look = Look {
                fingerprint,
                now: self.now,
                has_requests,
                is_abandoned,
            };
            if let Some(current) = self.current.after(&look) {
                self.current = current;
                self.writes += 1;
            }
        }

        /// Four looks a second; each configuration may have requests.
        fn go_on(&mut self, seconds: u64, configurations: &[(u64, bool)]) {
            for _ in 0..4 * seconds {
                self.now = self.now.plus(Duration::from_millis(250));
                for &(fingerprint, has_requests) in configurations {
                    self.look(fingerprint, has_requests);
                }
            }
        }
    }

    #[test]
    fn one_alone_writes_nothing() {
        let mut service = Service::new();
        service.writes = 0;
        service.go_on(60, &[(A, true)]);
        assert_eq!(service.writes, 0);
    }

    #[test]
    fn a_new_one_is_current_with_its_first_request() {
        let mut service = Service::new();
        service.go_on(5, &[(A, true), (B, false)]);
        assert_eq!(service.current.fingerprint(), A);
        service.look(B, true);
        assert_eq!(service.current.fingerprint(), B);
    }

    #[test]
    fn where_no_requests_come_the_newest_is_current_after_a_while() {
        let mut service = Service::new();
        service.go_on(9, &[(A, false), (B, false)]);
        assert_eq!(service.current.fingerprint(), A);
        service.go_on(2, &[(A, false), (B, false)]);
        assert_eq!(service.current.fingerprint(), B);
        service.go_on(60, &[(A, false), (B, false)]);
        assert_eq!(service.current.fingerprint(), B, "it stays");
    }

    #[test]
    fn one_that_gets_no_requests_while_another_does_is_not() {
        let mut service = Service::new();
        service.go_on(60, &[(A, true), (B, false)]);
        assert_eq!(service.current.fingerprint(), A);
        assert!(
            service.writes <= 70,
            "about one a second: {}",
            service.writes
        );
    }

    #[test]
    fn the_last_requests_of_a_draining_one_change_nothing() {
        let mut service = Service::new();
        service.look(B, true);
        // Some beside those of the new one, and some while it has none.
        service.go_on(45, &[(A, true), (B, true)]);
        service.go_on(9, &[(A, true), (B, false)]);
        assert_eq!(service.current.fingerprint(), B);
        service.go_on(60, &[(A, false), (B, false)]);
        assert_eq!(service.current.fingerprint(), B);
    }

    #[test]
    fn a_change_that_is_taken_back_is_noticed() {
        let mut service = Service::new();
        service.look(B, true);
        service.go_on(11, &[(A, true), (B, false)]);
        assert_eq!(service.current.fingerprint(), A);
        service.go_on(11, &[(A, false), (B, true)]);
        assert_eq!(service.current.fingerprint(), B, "and once more");
    }

    /// The draining one's VM has crashed, and Envoy configures it anew.
    #[test]
    fn to_be_configured_again_is_nothing_new() {
        let mut service = Service::new();
        service.look(B, true);
        service.go_on(60, &[(B, false), (A, false)]);
        assert_eq!(service.current.fingerprint(), B);
    }

    #[test]
    fn whoever_finds_that_nobody_polls_takes_over() {
        let mut service = Service::new();
        service.look(B, true);
        service.see(A, false, true);
        assert_eq!(service.current.fingerprint(), A);
    }

    #[test]
    fn two_that_wait_do_not_keep_each_other_from_it() {
        let mut service = Service::new();
        service.writes = 0;
        service.go_on(60, &[(A, false), (B, false), (3, false)]);
        assert_ne!(service.current.fingerprint(), A);
        assert!(service.writes < 10, "{}", service.writes);
    }
}
