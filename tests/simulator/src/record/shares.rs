//! How the new WebSockets of each second are spread.

use wsbalancer::clock::Timestamp;

use crate::pods::PodId;
use crate::scenario::BEGINNING;

/// With fewer on each pod, chance alone gives some of them twice as many.
const FEWEST_ON_EACH: f64 = 20.0;

/// Nobody should get more than so many even shares.
pub const LARGEST: f64 = 2.0;

/// What pods got of the new WebSockets of a second, in even shares, where an even share was 20 at
/// least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// How often it was looked at what a pod got within a second.
    pub looks: u32,
    /// How often that was more than [`LARGEST`].
    pub too_large: u32,
    /// The largest; none without a look.
    pub largest: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Seconds {
    second: u64,
    opened: Vec<u32>,
    pods: usize,
    shares: Shares,
}

impl Seconds {
    /// One of so many `pods` accepts a WebSocket.
    pub(super) fn open(&mut self, now: Timestamp, pod: PodId, pods: usize) {
        let second = now.since(BEGINNING).as_secs();
        if second != self.second {
            self.close_second();
            self.second = second;
        }
        if self.opened.len() <= pod.index() {
            self.opened.resize(pod.index() + 1, 0);
        }
        self.opened[pod.index()] += 1;
        self.pods = pods;
    }

    pub(super) fn finish(mut self) -> Shares {
        self.close_second();
        self.shares
    }

    fn close_second(&mut self) {
        let all: u32 = self.opened.iter().sum();
        let pods = u32::try_from(self.pods).unwrap_or(u32::MAX);
        let even = f64::from(all) / f64::from(pods);
        if even >= FEWEST_ON_EACH {
            self.shares.looks += pods;
            for &opened in &self.opened {
                let share = f64::from(opened) / even;
                self.shares.too_large += u32::from(share > LARGEST);
                let largest = self.shares.largest.unwrap_or(share);
                self.shares.largest = Some(largest.max(share));
            }
        }
        self.opened.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::Scenario;

    fn shares(opened: &[(u64, u16, u32)]) -> Shares {
        let mut seconds = Seconds::default();
        for &(millis, pod, count) in opened {
            for _ in 0..count {
                let now = Scenario::at(Duration::from_millis(millis));
                seconds.open(now, PodId(pod), 2);
            }
        }
        seconds.finish()
    }

    #[test]
    fn seconds_count_apart() {
        let shares = shares(&[(0, 0, 30), (900, 1, 30), (1_100, 1, 95), (1_900, 0, 5)]);
        let expect = Shares {
            looks: 4,
            too_large: 0,
            largest: Some(1.9),
        };
        assert_eq!(shares, expect);
    }

    #[test]
    fn seconds_with_few_do_not_count() {
        assert_eq!(shares(&[]), Shares::default());
        assert_eq!(shares(&[(0, 0, 39)]), Shares::default());
        let only_one = shares(&[(0, 0, 40)]);
        assert_eq!((only_one.looks, only_one.largest), (2, Some(2.0)));
    }
}
