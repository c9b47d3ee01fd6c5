//! The passive health of handshakes: which pods are to be preferred to those that fail them, and
//! which are left out for a while. The words are those of Envoy's outlier detection and of linkerd's
//! failure accrual.
//!
//! A pod fails a handshake that it answers with 5xx or not at all, that Envoy takes on to another
//! pod, or whose WebSocket it ends within [`PROVEN`](crate::pod::PROVEN); but many that end together say
//! no more than one, and one alone says nothing.
//!
//! # No client can do it
//! What is wrong may be the pod or the request, and no single answer tells. But if it is the pod, other
//! pods do better in the same time.
//!
//! - **Chance decides which requests a pod gets that has failed one**: [`CHANCE`] of them, if it is its
//!   turn. Nobody who sends what fails everywhere can send it there alone, so it fails as often
//!   elsewhere.
//! - **A row counts as far as it is longer than that explains.** If others fail the part *f* of
//!   theirs, a pod that is like them fails *n* in a row with a chance of *f*ⁿ. Below
//!   [`COINCIDENCE`] it is no coincidence, and the pod is ejected. The first failure is not among the
//!   *n*, for no chance decided where it went.
//! - **A moment counts once**: between two failures that count, others have succeeded.
//!
//! So where all fail alike, because of a path, of a client or of what stands behind the pods, nobody is
//! ejected. Nor is anybody who has no other beside him.

use std::time::Duration;

use super::view::View;
use crate::config::PassiveHealth;
use crate::pod::{Meanwhile, PodRecord};

/// Of the handshakes whose turn it is, so many go to a pod that has failed one and has not succeeded
/// since.
pub const CHANCE: f64 = 0.1;
/// On such a pod so many handshakes wait at most.
pub const MOST_WAITING: u32 = 5;
/// What happens as rarely as this is no coincidence.
pub const COINCIDENCE: f64 = 1e-6;
/// No pod is ejected for longer at once: Envoy's `max_ejection_time`.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// Whether `failures` in a row are more than what others' handshakes came to meanwhile explains.
#[must_use]
pub fn is_no_coincidence(failures: u16, meanwhile: Meanwhile) -> bool {
    let (good, bad) = (f64::from(meanwhile.good), f64::from(meanwhile.bad));
    // As if others had one more of each (the rule of succession).
    let others_fail = (bad + 1.0) / (good + bad + 2.0);
    others_fail.powi(i32::from(failures.saturating_sub(1))) <= COINCIDENCE
}

/// For how long a pod is ejected that was so many times before, in a row.
#[must_use]
pub fn ejection_time(health: &PassiveHealth, ejections: u8) -> Duration {
    let factor = 2_u32.saturating_pow(ejections.into());
    let longest = LONGEST_EJECTION.max(health.base_ejection_time);
    health
        .base_ejection_time
        .saturating_mul(factor)
        .min(longest)
}

/// Whether one more pod may be ejected where so many serve and so many are ejected. Those that are down
/// by other reasons are no part of them.
#[must_use]
pub fn may_eject_one_more(serving: u32, ejected: u32, health: &PassiveHealth) -> bool {
    let all = f64::from(serving) + f64::from(ejected);
    f64::from(ejected) + 1.0 <= all * health.max_ejection_percent / 100.0
}

/// What a pod's last handshakes mean for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing.
    Good,
    /// It has failed one: chance decides.
    Suspect,
    /// It has failed too many, and is to be left out.
    Ejected,
    /// … but has been so for long enough: a single one may try it.
    Probing,
}

impl View {
    /// Whether a pod that has failed a handshake may get another: few wait there at a time. Where it
    /// ended WebSockets, it is to be seen of each whether it lives.
    #[must_use]
    pub fn has_room_to_fail(&self, pod: &PodRecord) -> bool {
        let accrual = pod.accrual();
        if accrual.has_cuts() {
            pod.in_flight() == 0 && accrual.alive(pod.opened()) == 0
        } else {
            pod.in_flight() < MOST_WAITING
        }
    }

    /// What the pod's last handshakes mean for the next one.
    #[must_use]
    pub fn health(&self, pod: &PodRecord) -> Health {
        let accrual = pod.accrual();
        let is_off = self.rules.passive_health.is_none();
        if accrual.failures() == 0 || is_off || accrual.is_disproved(self.now) {
            return Health::Good;
        }
        let is_answered = accrual.alive(pod.opened()) > 0;
        let until = accrual.ejected_until();
        if !until.happened() {
            if is_answered && !accrual.has_cuts() {
                Health::Good
            } else {
                Health::Suspect
            }
        } else if self.now < until || is_answered || pod.in_flight() > 0 {
            Health::Ejected
        } else {
            Health::Probing
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Rules;
    use crate::load::{PodState, rank};
    use crate::pod::{PodAddress, Reported};
    use crate::table::{Event, Table};
    use crate::testing::{NOW, RULES, address, report};

    const HEALTH: PassiveHealth = match RULES.passive_health {
        Some(health) => health,
        None => panic!("it is on by default"),
    };

    /// What becomes of a handshake.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        /// Its WebSocket lives.
        Good,
        /// The pod answers 5xx.
        Fails,
        /// The pod answers 101, and the WebSocket ends so many milliseconds later.
        Cut(u64),
        /// The pod answers 4xx.
        Declined,
    }

    /// Handshakes through a gateway, one after the other.
    struct Gateway {
        table: Table,
        rules: Rules,
        now: Timestamp,
        random: Rng,
        /// To which pods they went.
        tried: Vec<PodAddress>,
        /// The most that were ejected at a time.
        most_ejected: usize,
    }

    impl Gateway {
        /// Pods 1, 2, 3 … that report these counts.
        fn before(counts: &[u64]) -> Self {
            let pods: Vec<PodAddress> = (1..).map(address).take(counts.len()).collect();
            let mut table = Table::new(&pods);
            for (&pod, &count) in pods.iter().zip(counts) {
                report(&mut table, pod, NOW, Reported::of(count));
            }
            Self {
                table,
                rules: Rules {
                    cache_ttl: Duration::from_secs(1_000_000),
                    ..RULES
                },
                now: NOW,
                random: Rng::with_seed(1),
                tried: Vec::new(),
                most_ejected: 0,
            }
        }

        fn after(&mut self, millis: u64) -> &mut Self {
            self.now = self.now.plus(Duration::from_millis(millis));
            self
        }

        fn best(&mut self) -> PodAddress {
            let view = self.table.view(&self.rules, self.now);
            let ranking = rank(self.table.pods(), 1, &view, &mut self.random);
            ranking.best[0].pod
        }

        fn apply(&mut self, events: &[Event]) {
            self.table.apply(&self.rules, events);
            let ejected = self.states().filter(|state| *state == PodState::Failing);
            self.most_ejected = self.most_ejected.max(ejected.count());
        }

        /// A handshake of which `fate` says what becomes of it on the pod that it goes to.
        fn shake(&mut self, fate: impl Fn(PodAddress) -> Fate) -> Fate {
            let pod = self.best();
            self.tried.push(pod);
            let began_at = self.now;
            self.apply(&[Event::Chosen { pod }]);
            let at = self.after(1).now;
            self.apply(&[Event::Settled { pod }]);
            let fate = fate(pod);
            match fate {
                Fate::Good => self.apply(&[Event::Opened { pod, at }]),
                Fate::Declined => {}
                Fate::Fails => self.apply(&[Event::Failed { pod, began_at, at }]),
                Fate::Cut(millis) => {
                    self.apply(&[Event::Opened { pod, at }]);
                    let opened_at = at;
                    let at = self.after(millis).now;
                    self.apply(&[Event::Cut {
                        pod,
                        began_at,
                        opened_at,
                        at,
                    }]);
                }
            }
            fate
        }

        fn states(&self) -> impl Iterator<Item = PodState> {
            let view = self.table.view(&self.rules, self.now);
            self.table.pods().iter().map(move |pod| view.state(pod))
        }

        fn state(&self, n: u8) -> PodState {
            let view = self.table.view(&self.rules, self.now);
            view.state(self.table.pod(address(n)).unwrap())
        }

        fn tried(&self, n: u8) -> usize {
            self.tried.iter().filter(|&&pod| pod == address(n)).count()
        }
    }

    /// The first is the emptiest, and alone does this.
    fn first_alone(fate: Fate) -> impl Fn(PodAddress) -> Fate + Copy {
        move |pod| if pod == address(1) { fate } else { Fate::Good }
    }

    #[test]
    fn a_pod_that_fails_what_others_take_gets_few_and_is_left_out() {
        for fate in [Fate::Fails, Fate::Cut(10), Fate::Cut(900)] {
            let mut gateway = Gateway::before(&[0, 100, 100]);
            for _ in 0..150 {
                gateway.after(20).shake(first_alone(fate));
            }
            assert_eq!(gateway.state(1), PodState::Failing, "{fate:?}");
            let tried = gateway.tried(1);
            assert!((5..=8).contains(&tried), "{fate:?}: {tried}");
        }
    }

    #[test]
    fn an_ejected_pod_is_tried_by_single_handshakes_ever_more_rarely_and_comes_back() {
        let mut gateway = Gateway::before(&[0, 10_000, 10_000]);
        let fate = first_alone(Fate::Fails);
        while gateway.state(1) != PodState::Failing {
            gateway.after(100).shake(fate);
        }
        let mut ejections = Vec::new();
        for _ in 0..4 {
            let (tried, ejected_at) = (gateway.tried(1), gateway.now);
            while gateway.tried(1) == tried {
                gateway.after(100).shake(fate);
            }
            ejections.push(gateway.now.since(ejected_at).as_secs());
        }
        for (ejection, least) in ejections.iter().zip([10, 20, 40, 80]) {
            // And until chance picks one: a tenth of ten in a second.
            assert!((least..least + 8).contains(ejection), "{ejections:?}");
        }
        let tried = gateway.tried(1);
        while gateway.tried(1) == tried {
            gateway.after(100).shake(|_| Fate::Good);
        }
        assert_eq!(gateway.state(1), PodState::Failing, "it has not lived yet");
        gateway.after(500).shake(|_| Fate::Good);
        assert_eq!(gateway.tried(1), tried + 1, "a single one");
        gateway.after(500);
        assert_eq!(gateway.state(1), PodState::Usable);
        let tried = gateway.tried(1);
        for _ in 0..20 {
            gateway.shake(|_| Fate::Good);
        }
        assert_eq!(gateway.tried(1), tried + 20, "it has the fewest");
    }

    #[test]
    fn a_path_that_fails_everywhere_ejects_nobody() {
        for fate in [Fate::Fails, Fate::Cut(10)] {
            let mut gateway = Gateway::before(&[0, 100, 100]);
            for n in 0..5_000 {
                // Another path is well.
                let path = if n % 3 == 0 { Fate::Good } else { fate };
                gateway.after(5).shake(|_| path);
            }
            assert_eq!(gateway.most_ejected, 0);
        }
    }

    #[test]
    fn clients_mistakes_are_no_failures() {
        let mut gateway = Gateway::before(&[0, 100, 100]);
        for _ in 0..100 {
            gateway.after(20).shake(first_alone(Fate::Declined));
        }
        assert_eq!(gateway.tried(1), 100, "nobody is preferred to it");
        assert!(gateway.states().all(|state| state == PodState::Usable));
    }

    /// Its WebSockets overlap: there is always one of which nobody knows how long it lives.
    #[test]
    fn a_pod_that_ends_many_at_a_time_is_left_out() {
        for lives in [10, 500] {
            let mut gateway = Gateway::before(&[0, 1_000, 1_000]);
            let mut open = VecDeque::new();
            for _ in 0..3_000 {
                let pod = gateway.best();
                gateway.tried.push(pod);
                let at = gateway.after(3).now;
                gateway.apply(&[Event::Opened { pod, at }]);
                if pod == address(1) {
                    open.push_back(at);
                }
                let lives = Duration::from_millis(lives);
                while let Some(&began_at) = open.front()
                    && began_at.plus(lives) <= gateway.now
                {
                    open.pop_front();
                    let at = gateway.now;
                    let pod = address(1);
                    gateway.apply(&[Event::Cut {
                        pod,
                        began_at,
                        opened_at: began_at,
                        at,
                    }]);
                }
            }
            assert_eq!(gateway.state(1), PodState::Failing, "{lives}");
            // The first says nothing, and those that came before it ended have come.
            let before_the_second = usize::try_from(2 * lives / 3).unwrap();
            let tried = gateway.tried(1) - before_the_second;
            assert!(tried < 12, "{lives}: {tried}");
        }
    }

    /// Nobody else is there, or others succeed beside it all the time.
    #[test]
    fn a_client_that_asks_the_same_bad_thing_a_hundred_times_ejects_nobody() {
        for others in [0, 1, 3] {
            for seed in 0..50 {
                let mut gateway = Gateway::before(&[0, 100, 100]);
                gateway.random = Rng::with_seed(seed);
                for _ in 0..100 {
                    gateway.after(5).shake(|_| Fate::Fails);
                    for _ in 0..others {
                        gateway.after(5).shake(|_| Fate::Good);
                    }
                }
                assert_eq!(gateway.most_ejected, 0, "{others} others, {seed}");
            }
        }
    }

    /// Opens and closes in good order, which looks as if the pod had ended it.
    #[test]
    fn a_client_that_opens_and_closes_in_a_loop_ejects_nobody() {
        for lives in [1, 10, 999] {
            let mut gateway = Gateway::before(&[0, 100, 100]);
            for n in 0..1_000 {
                gateway.shake(|_| Fate::Cut(lives));
                if n % 10 == 0 {
                    gateway.shake(|_| Fate::Good);
                }
            }
            assert_eq!(gateway.most_ejected, 0, "{lives} ms");
        }
    }

    /// A client that waits for its moment: many at once, then one while others succeed.
    #[test]
    fn nobody_who_sends_bursts_ejects_anybody() {
        for seed in 0..50 {
            let mut gateway = Gateway::before(&[0, 100, 100]);
            gateway.random = Rng::with_seed(seed);
            for _ in 0..50 {
                for _ in 0..20 {
                    gateway.shake(|_| Fate::Fails);
                }
                for _ in 0..40 {
                    gateway.after(5).shake(|_| Fate::Good);
                }
            }
            assert_eq!(gateway.most_ejected, 0, "{seed}");
        }
    }

    #[test]
    fn on_a_pod_that_does_not_answer_few_wait() {
        let mut gateway = Gateway::before(&[0, 1_000, 1_000]);
        gateway.shake(first_alone(Fate::Fails));
        let mut waiting = 0;
        for _ in 0..500 {
            let pod = gateway.best();
            gateway.apply(&[Event::Chosen { pod }]);
            if pod == address(1) {
                waiting += 1;
            } else {
                let at = gateway.after(1).now;
                gateway.apply(&[Event::Settled { pod }, Event::Opened { pod, at }]);
            }
        }
        assert_eq!(waiting, MOST_WAITING);
    }

    #[test]
    fn it_can_be_switched_off() {
        let mut gateway = Gateway::before(&[0, 100, 100]);
        gateway.rules.passive_health = None;
        for _ in 0..90 {
            gateway.after(20).shake(first_alone(Fate::Fails));
        }
        assert_eq!(gateway.tried(1), 90);
    }

    #[test]
    fn where_all_are_ejected_or_refuse_none_is_lost() {
        let mut gateway = Gateway::before(&[0, 10, 20]);
        gateway.rules.passive_health = Some(PassiveHealth {
            max_ejection_percent: 100.0,
            ..HEALTH
        });
        while gateway.state(1) != PodState::Failing {
            gateway.after(20).shake(first_alone(Fate::Fails));
        }
        let at = gateway.now;
        for n in [2, 3] {
            let pod = address(n);
            gateway.apply(&[Event::Refused { pod, at }]);
        }
        let view = gateway.table.view(&gateway.rules, at);
        let ranking = rank(gateway.table.pods(), 3, &view, &mut gateway.random);
        assert_eq!(ranking.best.len(), 3);
        assert_eq!(ranking.best[2].pod, address(1), "it comes last of all");
    }

    #[test]
    fn what_is_chance_depends_on_how_often_others_fail() {
        let meanwhile = |good, bad| Meanwhile { good, bad };
        assert!(is_no_coincidence(5, meanwhile(40, 0)));
        assert!(!is_no_coincidence(5, meanwhile(4, 0)));
        assert!(!is_no_coincidence(5, meanwhile(40, 4)));
        assert!(is_no_coincidence(8, meanwhile(40, 4)));
        assert!(!is_no_coincidence(1_000, meanwhile(0, 1_000)));
        assert!(!is_no_coincidence(1, meanwhile(1_000_000, 0)));
    }

    #[test]
    fn ejections_grow_up_to_a_limit() {
        let seconds = |ejections| ejection_time(&HEALTH, ejections).as_secs();
        assert_eq!([0, 1, 2, 200].map(seconds), [10, 20, 40, 300]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever pods do: no more than the configured part of them is ejected at a time, and
        /// there is always one to choose.
        #[test]
        fn no_more_than_the_configured_part_is_ejected(
            pods in 1_usize..8,
            percent in prop::sample::select(vec![0.0, 10.0, 34.0, 50.0, 75.0, 100.0]),
            bad in any::<u8>(),
            steps in prop::collection::vec((0_u8..8, 0_u64..2_000), 0..600),
            seed in any::<u64>(),
        ) {
            let mut gateway = Gateway::before(&vec![0; pods]);
            gateway.random = Rng::with_seed(seed);
            gateway.rules.passive_health = Some(PassiveHealth {
                max_ejection_percent: percent,
                ..HEALTH
            });
            for (kind, millis) in steps {
                let is_bad = |pod| (0..8).any(|n| bad & 1 << n != 0 && pod == address(n + 1));
                gateway.after(millis).shake(|pod| match kind {
                    0 => Fate::Declined,
                    1 => Fate::Fails,
                    2 if is_bad(pod) => Fate::Cut(millis % 1_000),
                    _ if is_bad(pod) => Fate::Fails,
                    _ => Fate::Good,
                });
            }
            let most = f64::from(u32::try_from(pods).unwrap()) * percent / 100.0;
            let ejected = f64::from(u32::try_from(gateway.most_ejected).unwrap());
            prop_assert!(ejected <= most, "{ejected} of {pods}, at most {most}");
        }

        /// Where pods are alike, however many handshakes fail and in whatever order, none is
        /// ejected.
        #[test]
        fn what_fails_everywhere_ejects_nobody(
            counts in prop::collection::vec(0_u64..50, 2..8),
            bursts in prop::collection::vec((0_usize..30, 0_usize..60, 0_u64..100), 0..60),
            seed in any::<u64>(),
        ) {
            let mut gateway = Gateway::before(&counts);
            gateway.random = Rng::with_seed(seed);
            for (failing, good, millis) in bursts {
                for _ in 0..failing {
                    gateway.shake(|_| Fate::Fails);
                }
                for _ in 0..good {
                    gateway.after(millis).shake(|_| Fate::Good);
                }
            }
            prop_assert_eq!(gateway.most_ejected, 0);
        }
    }
}
