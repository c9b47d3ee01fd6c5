//! The table of a service's pods that all workers share: what each pod last reported,
//! what this Envoy did since, and how the polls fared.
//!
//! The table *is* its bytes. Shared data hands out a copy of the whole value and takes a whole
//! value back, so the records have a fixed layout that is read and changed in place: an upgrade
//! costs no decoding, however many pods there are. Every change is an [`Event`]; applying one is
//! pure arithmetic, can't fail, and ignores pods that are not in the table.

use std::collections::BTreeMap;

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;
use crate::discovery::Listed;
use crate::errand::Errand;
use crate::fleet::Fleet;
use crate::pod::PodAddress;
use crate::rebalance::Progress;
use crate::report::PollFailure;
use crate::standing::{Outlook, Rules};

mod record;

use record::PackedAddress;
pub use record::{Pod, Reported};

/// First bytes of every table; another number for another layout, because modules of two
/// versions can share a `vm_id` while one replaces the other.
const LAYOUT: u32 = 0x7773_6203;

/// What happened to a pod, as far as its record is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// A WebSocket on `pod` is closed to relieve it.
    Relieved {
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
        /// What the pod says, or why it says nothing.
        outcome: Result<Reported, PollFailure>,
    },
}

impl Event {
    const fn pod(&self) -> PodAddress {
        match *self {
            Self::Chosen { pod }
            | Self::Settled { pod }
            | Self::Opened { pod }
            | Self::Closed { pod }
            | Self::Relieved { pod }
            | Self::Refused { pod, .. }
            | Self::Answered { pod, .. } => pod,
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
    /// When a pod first gave a count; [`Timestamp::NEVER`] before that.
    began_at: U64,
    /// This gateway's part of the fleet.
    fleet: Fleet,
    /// How far closing old WebSockets has got.
    progress: Progress,
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
        self.parts_mut().map(|(_, pods)| pods).unwrap_or_default()
    }

    /// The record of the pod at `address`.
    #[must_use]
    pub fn pod(&self, address: PodAddress) -> Option<&Pod> {
        let address = PackedAddress::from(address);
        self.pods().iter().find(|pod| pod.is_at(address))
    }

    /// The record of the pod at `address`, to change it.
    pub fn pod_mut(&mut self, address: PodAddress) -> Option<&mut Pod> {
        let address = PackedAddress::from(address);
        self.pods_mut().iter_mut().find(|pod| pod.is_at(address))
    }

    /// The pods as they are at `now`.
    #[must_use]
    pub fn outlook(&self, rules: Rules, now: Timestamp) -> Outlook {
        Outlook {
            now,
            rules,
            ratio: self.header().map_or(1.0, |header| header.fleet.ratio()),
        }
    }

    /// The worker that asks; zero while there is none.
    #[must_use]
    pub fn poller(&self) -> u64 {
        self.header().map_or(0, |header| header.poller.get())
    }

    /// Makes `worker` the one that asks.
    pub fn appoint(&mut self, worker: u64) {
        if let Some((header, _)) = self.parts_mut() {
            header.poller.set(worker);
        }
    }

    /// The question which pods there are.
    #[must_use]
    pub fn listing(&self) -> Errand {
        self.header()
            .map_or_else(Errand::new_zeroed, |header| header.listing)
    }

    /// The question which pods there are, to change it.
    pub fn listing_mut(&mut self) -> Option<&mut Errand> {
        self.parts_mut().map(|(header, _)| &mut header.listing)
    }

    /// How far closing old WebSockets has got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.header()
            .map_or_else(Progress::new_zeroed, |header| header.progress)
    }

    /// How far closing old WebSockets has got, to change it.
    pub fn progress_mut(&mut self) -> Option<&mut Progress> {
        self.parts_mut().map(|(header, _)| &mut header.progress)
    }

    /// When a pod first gave a count; [`Timestamp::NEVER`] before that.
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        self.header().map_or(Timestamp::NEVER, |header| {
            Timestamp::from_nanos(header.began_at.get())
        })
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
        let mut bytes = self
            .header()
            .map_or_else(Vec::new, |header| header.as_bytes().to_vec());
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
        let Some((header, pods)) = self.parts_mut() else {
            return;
        };
        let count = pods.len();
        for event in events {
            let address = PackedAddress::from(event.pod());
            let Some(pod) = pods.iter_mut().find(|pod| pod.is_at(address)) else {
                continue;
            };
            if let Event::Answered {
                asked_at, outcome, ..
            } = *event
            {
                if let Some(interval) = pod.answer(asked_at, outcome) {
                    header.fleet.observe(&interval, count);
                }
                if outcome.is_ok() && header.began_at.get() == Timestamp::NEVER.as_nanos() {
                    header.began_at.set(asked_at.as_nanos());
                }
            } else {
                pod.apply(event);
            }
            if let Event::Opened { .. } = event {
                header.progress.return_one();
            }
        }
    }

    fn header(&self) -> Option<&Header> {
        Header::ref_from_prefix(&self.bytes)
            .ok()
            .map(|(header, _)| header)
    }

    fn parts_mut(&mut self) -> Option<(&mut Header, &mut [Pod])> {
        let (header, pods) = Header::mut_from_prefix(&mut self.bytes).ok()?;
        Some((header, <[Pod]>::mut_from_bytes(pods).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::discovery::Exclusion;
    use crate::fleet::approximate;
    use crate::pod::tests::address;
    use crate::report::Weight;
    use crate::standing::Standing;

    const RULES: Rules = Rules {
        cache_ttl: Duration::from_secs(30),
        unhealthy_threshold: 3,
        slow_start: None,
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
                outcome: outcome.map(counted),
            }]);
        }

        fn poll(&mut self, now: Timestamp, outcome: Result<u64, PollFailure>) {
            self.ask(now);
            self.answer(now, outcome);
        }

        fn happen(&mut self, event: fn(PodAddress) -> Event) {
            self.0.apply(&[event(address(Self::POD))]);
        }

        fn outlook(&self, now: Timestamp) -> Outlook {
            self.0.outlook(RULES, now)
        }

        fn standing(&self, now: Timestamp) -> Standing {
            self.outlook(now).standing(self.pod())
        }

        /// With a single gateway: exact.
        fn estimate(&self) -> f64 {
            self.as_the_only_gateway().estimate(self.pod())
        }

        fn estimate_at_least(&self) -> f64 {
            self.as_the_only_gateway().estimate_at_least(self.pod())
        }

        fn as_the_only_gateway(&self) -> Outlook {
            Outlook {
                ratio: 1.0,
                ..self.outlook(at(1))
            }
        }

        fn report(&mut self, now: Timestamp, reported: Reported) {
            self.ask(now);
            self.0.apply(&[Event::Answered {
                pod: address(Self::POD),
                asked_at: now,
                outcome: Ok(reported),
            }]);
        }
    }

    fn counted(count: u64) -> Reported {
        Reported {
            count,
            ..Reported::default()
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
        assert_eq!(one.estimate(), 11.0);
        one.happen(SETTLED);
        one.happen(OPENED);
        assert_eq!(one.estimate(), 11.0);
        one.poll(at(6), Ok(11));
        assert_eq!(one.estimate(), 11.0, "the report has it now");
        one.happen(CLOSED);
        assert_eq!(one.estimate(), 10.0);
        one.poll(at(11), Ok(10));
        assert_eq!(one.estimate(), 10.0);
        assert_eq!(one.pod().own(), 0);
    }

    #[test]
    fn upgrades_on_their_way_are_in_no_report() {
        let mut one = One::new();
        one.happen(CHOSEN);
        one.poll(at(1), Ok(10));
        assert_eq!(one.estimate(), 11.0);
        one.happen(SETTLED);
        assert_eq!(one.estimate(), 10.0, "the pod declined it");
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
        assert_eq!(one.estimate(), 13.0);
        assert_eq!(one.estimate_at_least(), 10.0);
        one.poll(at(11), Ok(11));
        assert_eq!(one.estimate(), 11.0, "the next report puts it right");
        assert_eq!(one.estimate_at_least(), 11.0);
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
        assert_eq!(one.estimate(), 7.0);
        assert_eq!(one.pod().last_failure(), None);
    }

    #[test]
    fn a_failed_poll_leaves_the_last_count_until_it_is_stale() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.poll(at(6), Err(PollFailure::Status(500)));
        assert_eq!(one.estimate(), 10.0);
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
        assert!(!pod.announce(Standing::Unknown.code()));
        assert!(pod.announce(Standing::Usable.code()));
        assert!(!pod.announce(Standing::Usable.code()));
        assert!(pod.announce(Standing::Stale.code()));
    }

    fn listed(n: u8) -> Listed {
        Listed {
            pod: address(n),
            exclusion: None,
            tier: 0,
            weight: 1,
        }
    }

    #[test]
    fn a_new_list_keeps_the_counts_of_the_pods_that_stay() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        let turnover = one.0.assign(&[listed(2), listed(1)]);
        assert_eq!(turnover, Turnover { new: 1, gone: 0 });
        assert_eq!(one.estimate(), 10.0);
        assert_eq!(
            one.outlook(at(1)).standing(one.0.pod(address(2)).unwrap()),
            Standing::Unknown
        );
        let turnover = one.0.assign(&[listed(2)]);
        assert_eq!(turnover, Turnover { new: 0, gone: 1 });
        one.happen(CLOSED);
        one.0.assign(&[listed(1)]);
        assert_eq!(one.standing(at(1)), Standing::Unknown, "it was forgotten");
        assert_eq!(one.estimate(), 0.0);
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
    fn the_pods_own_word_wins() {
        let mut one = One::new();
        one.0.assign(&[Listed {
            exclusion: Some(Exclusion::Draining),
            weight: 7,
            ..listed(1)
        }]);
        one.report(at(1), counted(10));
        assert_eq!(one.standing(at(1)), Standing::Excluded(Exclusion::Draining));
        assert_eq!(one.pod().weight(), 7.0);
        let says = Reported {
            weight: Weight::try_from(0.5).ok(),
            draining: Some(false),
            ..counted(10)
        };
        one.report(at(2), says);
        assert_eq!(one.standing(at(2)), Standing::Usable);
        assert_eq!(one.pod().weight(), 0.5);
        let drains = Reported {
            draining: Some(true),
            ..counted(10)
        };
        one.report(at(3), drains);
        one.0.assign(&[listed(1)]);
        assert_eq!(one.standing(at(3)), Standing::Draining);
        one.report(at(4), counted(10));
        assert_eq!(
            one.standing(at(4)),
            Standing::Usable,
            "it says nothing any more"
        );
    }

    #[test]
    fn a_pod_is_full_by_the_estimate() {
        let mut one = One::new();
        let limit = Some(12);
        one.report(
            at(1),
            Reported {
                limit,
                ..counted(10)
            },
        );
        one.happen(CHOSEN);
        assert_eq!(one.standing(at(1)), Standing::Usable);
        one.happen(CHOSEN);
        assert_eq!(one.standing(at(1)), Standing::Full);
        one.happen(SETTLED);
        assert_eq!(one.standing(at(1)), Standing::Usable);
        let none = Some(0);
        one.report(
            at(2),
            Reported {
                limit: none,
                ..counted(0)
            },
        );
        assert_eq!(one.standing(at(2)), Standing::Full, "it takes none at all");
    }

    /// Another gateway does three times as much.
    #[test]
    fn own_changes_stand_for_those_of_the_fleet() {
        let mut one = One::new();
        one.poll(at(1), Ok(1_000));
        for second in 1..50 {
            for _ in 0..25 {
                one.happen(OPENED);
            }
            one.poll(at(5 * second), Ok(1_000 + 100 * second));
        }
        one.happen(OPENED);
        let outlook = one.outlook(at(250));
        let ahead = outlook.estimate(one.pod()) - 5_900.0;
        assert!((ahead - 4.0).abs() < 0.05, "{ahead}");
        assert!((outlook.ratio - ahead).abs() < 1e-6);
    }

    #[test]
    fn what_ends_without_having_begun_is_no_change() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.happen(CLOSED);
        assert_eq!((one.estimate(), one.pod().own()), (10.0, 0));
        one.happen(OPENED);
        one.happen(CLOSED);
        one.happen(CLOSED);
        assert_eq!((one.pod().opened(), one.pod().closed()), (1, 1));
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
                        Event::Answered { pod, asked_at: now, outcome: Ok(counted(number)) }
                    }
                };
                table.apply(&[event]);
            }
            for n in 1..4 {
                let pod = address(n);
                table.pods_mut()[usize::from(n) - 1].ask(now, now);
                let outcome = Ok(counted(truth));
                table.apply(&[Event::Answered { pod, asked_at: now, outcome }]);
                let outlook = Outlook { ratio: 1.0, ..table.outlook(RULES, now) };
                let on_their_way = on_their_way[usize::from(n)];
                let expect = approximate(truth) + approximate(on_their_way);
                prop_assert_eq!(outlook.estimate(table.pod(pod).unwrap()), expect);
            }
        }
    }
}
