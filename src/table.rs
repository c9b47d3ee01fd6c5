//! The table of a service's pods that all workers share: what each pod last reported,
//! what this Envoy did since, and how the polls fared.
//!
//! The table *is* its bytes. Shared data hands out a copy of the whole value and takes a whole
//! value back, so the records have a fixed layout that is read and changed in place: an upgrade
//! costs no decoding, however many pods there are. Every change is an [`Event`]; applying one is
//! pure arithmetic, can't fail, and ignores pods that are not in the table.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zerocopy::native_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;
use crate::discovery::{Exclusion, Listed};
use crate::errand::Errand;
use crate::pod::{PodAddress, PollFailure};

/// First bytes of every table; another number for another layout, because modules of two
/// versions can share a `vm_id` while one replaces the other.
const LAYOUT: u32 = 0x7773_6202;

/// What happened to a pod, as far as its record is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An upgrade is on its way to `pod`.
    Chosen {
        /// The pod that was chosen first.
        pod: PodAddress,
    },
    /// An upgrade that was on its way to `pod` is not any more.
    Settled {
        /// The pod that was chosen first, whichever served in the end.
        pod: PodAddress,
    },
    /// `pod` accepted an upgrade: a WebSocket is open.
    Opened {
        /// The pod that serves.
        pod: PodAddress,
    },
    /// A WebSocket on `pod` has ended.
    Closed {
        /// The pod that served.
        pod: PodAddress,
    },
    /// `pod` did not accept a connection.
    Refused {
        /// The pod that refused.
        pod: PodAddress,
        /// When it was noticed.
        at: Timestamp,
    },
    /// The poll of `pod` that was sent at `asked_at` has ended.
    Answered {
        /// The pod that was asked.
        pod: PodAddress,
        /// When it was asked: tells this answer from an earlier poll's.
        asked_at: Timestamp,
        /// The number of open WebSockets on the pod, or why there is none.
        outcome: Result<u64, PollFailure>,
    },
}

impl Event {
    const fn pod(&self) -> PodAddress {
        match *self {
            Self::Chosen { pod }
            | Self::Settled { pod }
            | Self::Opened { pod }
            | Self::Closed { pod }
            | Self::Refused { pod, .. }
            | Self::Answered { pod, .. } => pod,
        }
    }
}

/// How long counts are trusted, and how many failed polls a pod may have.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// A count older than this is stale.
    pub cache_ttl: Duration,
    /// Polls failed in a row that make a pod unhealthy.
    pub unhealthy_threshold: u32,
}

/// Whether a pod gets new WebSockets, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It never answered a poll.
    Unknown,
    /// It gets new WebSockets.
    Usable,
    /// It did not accept a connection, and has not answered a poll since.
    Refusing,
    /// Too many polls failed in a row.
    Unhealthy,
    /// Its last count is too old.
    Stale,
    /// Envoy holds that it should get nothing new.
    Excluded(Exclusion),
}

impl Standing {
    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Usable => 1,
            Self::Refusing => 2,
            Self::Unhealthy => 3,
            Self::Stale => 4,
            Self::Excluded(exclusion) => exclusion.code().saturating_add(Self::Stale.code()),
        }
    }
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    layout: U32,
    /// The worker that asks; zero while there is none.
    poller: U64,
    /// The question which pods there are; never asked where they are configured.
    listing: Errand,
}

/// A pod's record. All changes go through [`Table::apply`] and the poll's methods.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Pod {
    address: PackedAddress,
    /// The standing that was last told to the log.
    announced: u8,
    /// [`Exclusion::code`] of what Envoy holds against the pod; zero for nothing.
    exclusion: u8,
    /// See [`Listed::tier`].
    tier: U16,
    /// The question for the count.
    poll: Errand,
    /// What the pod last reported.
    count: U64,
    /// When the pod was last seen to refuse; [`Timestamp::NEVER`] once it answered a later poll.
    refused_at: U64,
    /// Upgrades on their way. They are in no report: the pod does not count them yet.
    in_flight: U32,
    /// Opened less closed through this Envoy since the count was taken.
    change: I32,
    /// Opened through this Envoy since the outstanding poll was sent.
    opened_since_asked: U32,
}

impl Pod {
    fn new(address: PodAddress) -> Self {
        Self {
            address: PackedAddress::from(address),
            ..Self::new_zeroed()
        }
    }

    /// The pod's address.
    #[must_use]
    pub fn address(&self) -> PodAddress {
        self.address.unpack()
    }

    /// WebSockets that the pod should hold by now: its last count, what this Envoy opened and
    /// closed on it since, and what is on its way to it.
    ///
    /// While a poll was under way nobody knows whether the pod counted what happened meanwhile.
    /// What was opened is added on top of the report and what was closed is not subtracted, so
    /// that the estimate errs towards too many, by no more than happens during one poll.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        self.count
            .get()
            .saturating_add(u64::from(self.in_flight.get()))
            .saturating_add_signed(i64::from(self.change.get()))
    }

    /// Whether the pod gets new WebSockets at `now`.
    #[must_use]
    pub fn standing(&self, trust: Trust, now: Timestamp) -> Standing {
        let counted_at = self.poll.succeeded_at();
        if let Some(exclusion) = Exclusion::from_code(self.exclusion) {
            Standing::Excluded(exclusion)
        } else if self.refused_at.get() != Timestamp::NEVER.as_nanos() {
            Standing::Refusing
        } else if !counted_at.happened() {
            Standing::Unknown
        } else if self.poll.failures_in_a_row() >= trust.unhealthy_threshold {
            Standing::Unhealthy
        } else if now.since(counted_at) > trust.cache_ttl {
            Standing::Stale
        } else {
            Standing::Usable
        }
    }

    /// Why the last poll failed; none where it brought a count, or where none has ended.
    #[must_use]
    pub fn last_failure(&self) -> Option<PollFailure> {
        PollFailure::from_code(self.poll.failure())
    }

    /// The question for the count.
    #[must_use]
    pub const fn poll(&self) -> &Errand {
        &self.poll
    }

    /// See [`Listed::tier`].
    #[must_use]
    pub fn tier(&self) -> u16 {
        self.tier.get()
    }

    /// Notes that the pod is asked at `now`, and when it will be again.
    pub fn ask(&mut self, now: Timestamp, next: Timestamp) {
        self.poll.ask(now, next);
        self.opened_since_asked.set(0);
    }

    /// Whether `standing` has not been told yet; afterwards it has.
    pub fn announce(&mut self, standing: Standing) -> bool {
        let changed = self.announced != standing.code();
        self.announced = standing.code();
        changed
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Chosen { .. } => add(&mut self.in_flight, 1),
            Event::Settled { .. } => self.in_flight.set(self.in_flight.get().saturating_sub(1)),
            Event::Opened { .. } => {
                self.change.set(self.change.get().saturating_add(1));
                add(&mut self.opened_since_asked, 1);
            }
            Event::Closed { .. } => self.change.set(self.change.get().saturating_sub(1)),
            Event::Refused { at, .. } => self.refused_at.set(at.as_nanos()),
            Event::Answered {
                asked_at, outcome, ..
            } => {
                if self.poll.awaits(asked_at) {
                    self.take(asked_at, outcome);
                }
            }
        }
    }

    fn take(&mut self, asked_at: Timestamp, outcome: Result<u64, PollFailure>) {
        self.poll
            .settle(asked_at, outcome.err().map(PollFailure::code));
        let Ok(count) = outcome else {
            return;
        };
        self.count.set(count);
        let opened = self.opened_since_asked.get();
        self.change.set(i32::try_from(opened).unwrap_or(i32::MAX));
        if asked_at.as_nanos() >= self.refused_at.get() {
            self.refused_at.set(Timestamp::NEVER.as_nanos());
        }
    }

    /// What Envoy says of the pod now.
    fn heed(&mut self, listed: &Listed) {
        self.exclusion = listed.exclusion.map_or(0, Exclusion::code);
        self.tier.set(listed.tier);
    }
}

fn add(counter: &mut U32, n: u32) {
    counter.set(counter.get().saturating_add(n));
}

/// An address in a record. IPv4 is mapped into IPv6 (RFC 4291, section 2.5.5.2), and `is_v4`
/// tells it from an address that was written in the mapped form.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
struct PackedAddress {
    ip: [u8; 16],
    port: U16,
    is_v4: u8,
}

impl From<PodAddress> for PackedAddress {
    fn from(address: PodAddress) -> Self {
        let socket = address.socket();
        let (ip, is_v4) = match socket.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 1),
            IpAddr::V6(ip) => (ip, 0),
        };
        Self {
            ip: ip.octets(),
            port: U16::new(socket.port()),
            is_v4,
        }
    }
}

impl PackedAddress {
    fn unpack(self) -> PodAddress {
        let ip = Ipv6Addr::from(self.ip);
        let ip = match ip.to_ipv4_mapped() {
            Some(v4) if self.is_v4 == 1 => IpAddr::V4(v4),
            _ => IpAddr::V6(ip),
        };
        PodAddress::from_record(SocketAddr::new(ip, self.port.get()))
    }
}

/// How many pods a new list brought and took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turnover {
    /// Pods that were not in the table before.
    pub new: usize,
    /// Pods that are not in the table any more.
    pub gone: usize,
}

/// The pods of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// A [`Header`] and then [`Pod`]s, nothing else.
    bytes: Vec<u8>,
}

impl Table {
    /// A table of pods that nobody has asked yet.
    #[must_use]
    pub fn new(pods: &[PodAddress]) -> Self {
        let header = Header {
            layout: U32::new(LAYOUT),
            ..Header::new_zeroed()
        };
        let mut bytes = header.as_bytes().to_vec();
        for &address in pods {
            bytes.extend_from_slice(Pod::new(address).as_bytes());
        }
        Self { bytes }
    }

    /// The table in a value of shared data; none where the value is of another layout.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (header, pods) = Header::ref_from_prefix(&bytes).ok()?;
        let sound = header.layout.get() == LAYOUT && <[Pod]>::ref_from_bytes(pods).is_ok();
        sound.then_some(Self { bytes })
    }

    /// The table as a value of shared data.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The pods, in the order of the configuration or of Envoy's list.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        Header::ref_from_prefix(&self.bytes)
            .ok()
            .and_then(|(_, pods)| <[Pod]>::ref_from_bytes(pods).ok())
            .unwrap_or_default()
    }

    /// The pods, to change them.
    pub fn pods_mut(&mut self) -> &mut [Pod] {
        Header::mut_from_prefix(&mut self.bytes)
            .ok()
            .and_then(|(_, pods)| <[Pod]>::mut_from_bytes(pods).ok())
            .unwrap_or_default()
    }

    /// The record of the pod at `address`.
    #[must_use]
    pub fn pod(&self, address: PodAddress) -> Option<&Pod> {
        let address = PackedAddress::from(address);
        self.pods().iter().find(|pod| pod.address == address)
    }

    /// The worker that asks; zero while there is none.
    #[must_use]
    pub fn poller(&self) -> u64 {
        Header::ref_from_prefix(&self.bytes).map_or(0, |(header, _)| header.poller.get())
    }

    /// Makes `worker` the one that asks.
    pub fn appoint(&mut self, worker: u64) {
        if let Ok((header, _)) = Header::mut_from_prefix(&mut self.bytes) {
            header.poller.set(worker);
        }
    }

    /// The question which pods there are.
    #[must_use]
    pub fn listing(&self) -> Errand {
        Header::ref_from_prefix(&self.bytes)
            .map_or_else(|_| Errand::new_zeroed(), |(header, _)| header.listing)
    }

    /// The question which pods there are, to change it.
    pub fn listing_mut(&mut self) -> Option<&mut Errand> {
        let (header, _) = Header::mut_from_prefix(&mut self.bytes).ok()?;
        Some(&mut header.listing)
    }

    /// Makes the listed pods the table's: those it had keep their counts, others are forgotten.
    pub fn assign(&mut self, listed: &[Listed]) -> Turnover {
        let before = self.pods().len();
        let known: BTreeMap<PodAddress, Pod> = self
            .pods()
            .iter()
            .map(|pod| (pod.address(), *pod))
            .collect();
        let mut kept = 0_usize;
        let mut bytes = Header::ref_from_prefix(&self.bytes)
            .map_or_else(|_| Vec::new(), |(header, _)| header.as_bytes().to_vec());
        for listed in listed {
            let mut pod = match known.get(&listed.pod) {
                Some(&pod) => {
                    kept = kept.saturating_add(1);
                    pod
                }
                None => Pod::new(listed.pod),
            };
            pod.heed(listed);
            bytes.extend_from_slice(pod.as_bytes());
        }
        self.bytes = bytes;
        Turnover {
            new: listed.len().saturating_sub(kept),
            gone: before.saturating_sub(kept),
        }
    }

    /// Records what happened. Events of pods that are not in the table change nothing.
    pub fn apply(&mut self, events: &[Event]) {
        for event in events {
            let address = PackedAddress::from(event.pod());
            if let Some(pod) = self
                .pods_mut()
                .iter_mut()
                .find(|pod| pod.address == address)
            {
                pod.apply(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::tests::address;
    use proptest::prelude::*;

    const TRUST: Trust = Trust {
        cache_ttl: Duration::from_secs(30),
        unhealthy_threshold: 3,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::NEVER.plus(Duration::from_secs(seconds))
    }

    /// A table of one pod, and shorthands for what happens to it.
    struct One(Table);

    impl One {
        const POD: u8 = 1;

        fn new() -> Self {
            Self(Table::new(&[address(Self::POD)]))
        }

        fn pod(&self) -> &Pod {
            self.0.pod(address(Self::POD)).unwrap()
        }

        fn ask(&mut self, now: Timestamp) {
            self.0.pods_mut()[0].ask(now, now.plus(Duration::from_secs(5)));
        }

        fn answer(&mut self, asked_at: Timestamp, outcome: Result<u64, PollFailure>) {
            self.0.apply(&[Event::Answered {
                pod: address(Self::POD),
                asked_at,
                outcome,
            }]);
        }

        fn poll(&mut self, now: Timestamp, outcome: Result<u64, PollFailure>) {
            self.ask(now);
            self.answer(now, outcome);
        }

        fn happen(&mut self, event: fn(PodAddress) -> Event) {
            self.0.apply(&[event(address(Self::POD))]);
        }

        fn standing(&self, now: Timestamp) -> Standing {
            self.pod().standing(TRUST, now)
        }
    }

    const CHOSEN: fn(PodAddress) -> Event = |pod| Event::Chosen { pod };
    const SETTLED: fn(PodAddress) -> Event = |pod| Event::Settled { pod };
    const OPENED: fn(PodAddress) -> Event = |pod| Event::Opened { pod };
    const CLOSED: fn(PodAddress) -> Event = |pod| Event::Closed { pod };

    #[test]
    fn records_keep_their_address_through_bytes() {
        let pods: Vec<PodAddress> = ["10.0.0.1:80", "[fd00::1]:80", "[::ffff:10.0.0.1]:80"]
            .map(|text| text.parse().unwrap())
            .into();
        let table = Table::from_bytes(Table::new(&pods).as_bytes().to_vec()).unwrap();
        let kept: Vec<PodAddress> = table.pods().iter().map(Pod::address).collect();
        assert_eq!(kept, pods);
    }

    #[test]
    fn values_of_another_layout_are_no_tables() {
        let bytes = Table::new(&[address(1)]).as_bytes().to_vec();
        assert!(Table::from_bytes(bytes[1..].to_vec()).is_none());
        assert!(Table::from_bytes(bytes[..bytes.len() - 1].to_vec()).is_none());
        assert!(Table::from_bytes(Vec::new()).is_none());
        let mut other = bytes;
        other[0] ^= 1;
        assert!(Table::from_bytes(other).is_none());
    }

    #[test]
    fn the_estimate_follows_an_upgrade_to_its_end() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.happen(CHOSEN);
        assert_eq!(one.pod().estimate(), 11);
        one.happen(SETTLED);
        one.happen(OPENED);
        assert_eq!(one.pod().estimate(), 11);
        one.poll(at(6), Ok(11));
        assert_eq!(one.pod().estimate(), 11, "the report has it now");
        one.happen(CLOSED);
        assert_eq!(one.pod().estimate(), 10);
        one.poll(at(11), Ok(10));
        assert_eq!(one.pod().estimate(), 10);
    }

    #[test]
    fn upgrades_on_their_way_are_in_no_report() {
        let mut one = One::new();
        one.happen(CHOSEN);
        one.poll(at(1), Ok(10));
        assert_eq!(one.pod().estimate(), 11);
        one.happen(SETTLED);
        assert_eq!(one.pod().estimate(), 10, "the pod declined it");
    }

    #[test]
    fn what_happens_during_a_poll_errs_towards_too_many() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.ask(at(6));
        one.happen(OPENED);
        one.happen(OPENED);
        one.happen(CLOSED);
        one.answer(at(6), Ok(11));
        assert_eq!(one.pod().estimate(), 13);
        one.poll(at(11), Ok(11));
        assert_eq!(one.pod().estimate(), 11, "the next report puts it right");
    }

    #[test]
    fn late_and_repeated_answers_change_nothing() {
        let mut one = One::new();
        one.ask(at(1));
        one.ask(at(6));
        one.answer(at(1), Ok(99));
        assert_eq!(one.standing(at(6)), Standing::Unknown);
        one.answer(at(6), Ok(7));
        one.answer(at(6), Ok(99));
        one.answer(at(6), Err(PollFailure::NoAnswer));
        one.answer(Timestamp::NEVER, Ok(99));
        assert_eq!(one.pod().estimate(), 7);
        assert_eq!(one.pod().last_failure(), None);
    }

    #[test]
    fn a_failed_poll_leaves_the_last_count_until_it_is_stale() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.poll(at(6), Err(PollFailure::Status(500)));
        assert_eq!(one.pod().estimate(), 10);
        assert_eq!(one.pod().last_failure(), Some(PollFailure::Status(500)));
        assert_eq!(one.standing(at(31)), Standing::Usable);
        assert_eq!(one.standing(at(32)), Standing::Stale);
    }

    #[test]
    fn the_threshold_makes_unhealthy_and_one_good_answer_mends_it() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for second in 2..=3 {
            one.poll(at(second), Err(PollFailure::NoAnswer));
            assert_eq!(one.standing(at(second)), Standing::Usable);
        }
        one.poll(at(4), Err(PollFailure::NoAnswer));
        assert_eq!(one.standing(at(4)), Standing::Unhealthy);
        one.poll(at(5), Ok(0));
        assert_eq!(one.standing(at(5)), Standing::Usable);
    }

    #[test]
    fn a_pod_that_refused_returns_with_an_answer_to_a_later_poll() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.ask(at(6));
        one.happen(|pod| Event::Refused { pod, at: at(7) });
        assert_eq!(one.standing(at(7)), Standing::Refusing);
        one.answer(at(6), Ok(10));
        assert_eq!(
            one.standing(at(7)),
            Standing::Refusing,
            "it was asked before"
        );
        one.poll(at(11), Ok(0));
        assert_eq!(one.standing(at(11)), Standing::Usable);
    }

    #[test]
    fn a_standing_is_announced_once() {
        let mut one = One::new();
        let pod = &mut one.0.pods_mut()[0];
        assert!(!pod.announce(Standing::Unknown));
        assert!(pod.announce(Standing::Usable));
        assert!(!pod.announce(Standing::Usable));
        assert!(pod.announce(Standing::Stale));
    }

    fn listed(n: u8) -> Listed {
        Listed {
            pod: address(n),
            exclusion: None,
            tier: 0,
        }
    }

    #[test]
    fn a_new_list_keeps_the_counts_of_the_pods_that_stay() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        let turnover = one.0.assign(&[listed(2), listed(1)]);
        assert_eq!(turnover, Turnover { new: 1, gone: 0 });
        assert_eq!(one.pod().estimate(), 10);
        assert_eq!(
            one.0.pod(address(2)).unwrap().standing(TRUST, at(1)),
            Standing::Unknown
        );
        let turnover = one.0.assign(&[listed(2)]);
        assert_eq!(turnover, Turnover { new: 0, gone: 1 });
        one.happen(CLOSED);
        one.0.assign(&[listed(1)]);
        assert_eq!(one.standing(at(1)), Standing::Unknown, "it was forgotten");
        assert_eq!(one.pod().estimate(), 0);
    }

    #[test]
    fn what_envoy_holds_against_a_pod_counts_while_it_does() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        let exclusion = Exclusion::Ejected;
        one.0.assign(&[Listed {
            exclusion: Some(exclusion),
            ..listed(1)
        }]);
        assert_eq!(one.standing(at(1)), Standing::Excluded(exclusion));
        one.0.assign(&[listed(1)]);
        assert_eq!(one.standing(at(1)), Standing::Usable);
    }

    #[test]
    fn a_table_survives_a_list_through_bytes() {
        let mut table = Table::new(&[]);
        table.appoint(7);
        table.listing_mut().unwrap().ask(at(1), at(6));
        table.assign(&[listed(1), listed(2)]);
        let table = Table::from_bytes(table.as_bytes().to_vec()).unwrap();
        assert_eq!((table.pods().len(), table.poller()), (2, 7));
        assert!(table.listing().awaits(at(1)));
    }

    proptest! {
        /// Whatever happens in whatever order: nothing overflows, pods don't mix, and after a
        /// quiet poll the estimate is the pod's own count plus the upgrades on their way.
        #[test]
        fn counts_come_back_to_the_truth(
            steps in prop::collection::vec((0_u8..6, 1_u8..4, any::<u64>()), 0..200),
            truth in any::<u64>(),
        ) {
            let mut table = Table::new(&[address(1), address(2), address(3)]);
            let mut on_their_way = [0_u64; 4];
            let mut now = at(1);
            for (kind, n, number) in steps {
                let pod = address(n);
                let waiting = &mut on_their_way[usize::from(n)];
                now = now.plus(Duration::from_millis(1));
                let event = match kind {
                    0 => { *waiting += 1; Event::Chosen { pod } }
                    1 => { *waiting = waiting.saturating_sub(1); Event::Settled { pod } }
                    2 => Event::Opened { pod },
                    3 => Event::Closed { pod },
                    4 => Event::Refused { pod, at: now },
                    _ => {
                        table.pods_mut()[usize::from(n) - 1].ask(now, now);
                        Event::Answered { pod, asked_at: now, outcome: Ok(number) }
                    }
                };
                table.apply(&[event]);
            }
            for n in 1..4 {
                let pod = address(n);
                table.pods_mut()[usize::from(n) - 1].ask(now, now);
                table.apply(&[Event::Answered { pod, asked_at: now, outcome: Ok(truth) }]);
                let expect = truth.saturating_add(on_their_way[usize::from(n)]);
                prop_assert_eq!(table.pod(pod).unwrap().estimate(), expect);
            }
        }
    }
}
