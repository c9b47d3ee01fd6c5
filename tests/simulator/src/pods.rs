//! The pods as they are, which no gateway sees but the omniscient one.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use wsbalancer::clock::Timestamp;
use wsbalancer::pod::PodAddress;

use crate::scenario::Counting;

/// The n-th pod of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodId(pub u16);

impl PodId {
    /// Its place in lists of pods.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// What the filter knows it by.
    ///
    /// # Panics
    /// Never: it is an address that a pod can have.
    #[must_use]
    pub fn address(self) -> PodAddress {
        let [high, low] = self.0.to_be_bytes();
        let socket = SocketAddr::from(([10, 0, high, low], 8080));
        PodAddress::try_from(socket).expect("10.0.0.0/16 can be reached")
    }

    /// The pod that the filter knows by `address`.
    ///
    /// # Panics
    /// If that is no address of [`address`](Self::address).
    #[must_use]
    pub fn from_address(address: PodAddress) -> Self {
        let Some(IpAddr::V4(ip)) = address.socket().map(|endpoint| endpoint.ip()) else {
            panic!("{address} is no address of a simulated pod");
        };
        let [.., high, low] = Ipv4Addr::octets(&ip);
        Self(u16::from_be_bytes([high, low]))
    }
}

/// A pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    is_up: bool,
    open: u32,
    load: u32,
    /// What it held since when, where its counts are late.
    history: VecDeque<(Timestamp, u32)>,
    /// The last count, and when it was made.
    counted: Option<(Timestamp, u32)>,
}

impl Pod {
    /// The WebSockets that it counts.
    #[must_use]
    pub const fn open(&self) -> u32 {
        self.open
    }

    /// The WebSockets that it has or is about to have, as somebody counts who sees all gateways:
    /// those on their way to it too, and not those whose end it has not noticed yet.
    #[must_use]
    pub const fn load(&self) -> u32 {
        self.load
    }

    /// What it reports at `now`.
    pub fn count(&mut self, now: Timestamp, counting: Counting) -> u32 {
        if let Some((at, count)) = self.counted
            && now.since(at) < counting.period
        {
            return count;
        }
        let count = self.held_before(now, counting.delay);
        self.counted = Some((now, count));
        count
    }

    /// What it held so long ago.
    fn held_before(&mut self, now: Timestamp, delay: Duration) -> u32 {
        while let Some((since, _)) = self.history.get(1)
            && now.since(*since) >= delay
        {
            self.history.pop_front();
        }
        match self.history.front() {
            Some((_, held)) if !delay.is_zero() => *held,
            _ => self.open,
        }
    }

    /// Whether it has not been lost.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.is_up
    }
}

/// How counts spread around their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balance {
    /// The largest to the mean: the imbalance.
    pub largest: f64,
    /// The smallest to the mean.
    pub smallest: f64,
}

impl Balance {
    /// All are the same, or nothing is open.
    pub const PERFECT: Self = Self {
        largest: 1.0,
        smallest: 1.0,
    };
}

/// All pods there ever were.
#[derive(Clone, Debug)]
pub struct Pods(Vec<Pod>);

impl Pods {
    /// So many pods that are up and empty.
    #[must_use]
    pub fn new(count: u16) -> Self {
        let up = Pod {
            is_up: true,
            ..Pod::default()
        };
        Self(vec![up; usize::from(count)])
    }

    /// One more.
    ///
    /// # Panics
    /// If there are 65,535 already.
    pub fn add(&mut self) -> PodId {
        let id = PodId(u16::try_from(self.0.len()).expect("there are few pods"));
        self.0.push(Pod {
            is_up: true,
            ..Pod::default()
        });
        id
    }

    /// Takes down the pod, with all it holds.
    pub fn lose(&mut self, pod: PodId) {
        self.0[pod.index()] = Pod::default();
    }

    /// The pod.
    #[must_use]
    pub fn get(&self, pod: PodId) -> &Pod {
        &self.0[pod.index()]
    }

    /// The pod, to be asked.
    pub(crate) fn get_mut(&mut self, pod: PodId) -> &mut Pod {
        &mut self.0[pod.index()]
    }

    /// The pods keep what they held, for those that report late.
    pub(crate) fn remember(&mut self, now: Timestamp) {
        for pod in &mut self.0 {
            if pod.history.back().map(|(_, held)| *held) != Some(pod.open) {
                pod.history.push_back((now, pod.open));
            }
        }
    }

    /// Those that are up.
    pub fn up(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        let all = (0..).map(PodId).zip(&self.0);
        all.filter(|(_, pod)| pod.is_up)
    }

    /// A WebSocket is on its way to the pod.
    pub fn expect_one(&mut self, pod: PodId) {
        if let Some(pod) = self.up_mut(pod) {
            pod.load += 1;
        }
    }

    /// A WebSocket that was on its way to the pod, or on it, will not be there any more.
    pub fn expect_one_less(&mut self, pod: PodId) {
        if let Some(pod) = self.up_mut(pod) {
            pod.load -= 1;
        }
    }

    /// The pod has accepted a WebSocket.
    pub fn open_one(&mut self, pod: PodId) {
        if let Some(pod) = self.up_mut(pod) {
            pod.open += 1;
        }
    }

    /// The pod has noticed the end of one of its WebSockets.
    pub fn close_one(&mut self, pod: PodId) {
        if let Some(pod) = self.up_mut(pod) {
            pod.open -= 1;
        }
    }

    /// How the counts spread around their mean.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let (mut largest, mut smallest, mut sum, mut count) = (0, u32::MAX, 0, 0_u32);
        for (_, pod) in self.up() {
            largest = largest.max(pod.open);
            smallest = smallest.min(pod.open);
            sum += pod.open;
            count += 1;
        }
        if sum == 0 {
            return Balance::PERFECT;
        }
        let mean = f64::from(sum) / f64::from(count);
        Balance {
            largest: f64::from(largest) / mean,
            smallest: f64::from(smallest) / mean,
        }
    }

    /// By how many WebSockets the pod has more than the one that has the fewest, as
    /// [`load`](Pod::load) counts them.
    #[must_use]
    pub fn excess(&self, pod: PodId) -> u32 {
        let fewest = self.up().map(|(_, pod)| pod.load).min().unwrap_or(0);
        self.get(pod).load.saturating_sub(fewest)
    }

    /// What is lost is empty and stays so.
    fn up_mut(&mut self, pod: PodId) -> Option<&mut Pod> {
        Some(&mut self.0[pod.index()]).filter(|pod| pod.is_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_its_pod() {
        for number in [0, 1, 255, 256, u16::MAX] {
            let pod = PodId(number);
            assert_eq!(PodId::from_address(pod.address()), pod);
        }
    }

    #[test]
    fn lost_pods_do_not_count() {
        let mut pods = Pods::new(3);
        assert_eq!(pods.balance(), Balance::PERFECT, "all are empty");
        for (pod, count) in [(0, 30), (1, 10), (2, 20)] {
            for _ in 0..count {
                pods.expect_one(PodId(pod));
                pods.open_one(PodId(pod));
            }
        }
        let balance = pods.balance();
        assert!((balance.largest - 1.5).abs() < 1e-9, "{balance:?}");
        assert!((balance.smallest - 0.5).abs() < 1e-9, "{balance:?}");
        assert_eq!(pods.excess(PodId(0)), 20);
        pods.lose(PodId(1));
        assert!((pods.balance().largest - 1.2).abs() < 1e-9);
        assert_eq!(pods.excess(PodId(0)), 10);
        pods.close_one(PodId(1));
        assert_eq!(pods.get(PodId(1)).open(), 0);
        let added = pods.add();
        assert_eq!((added, pods.up().count()), (PodId(3), 3));
    }
}
