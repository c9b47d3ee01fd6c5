//! What a simulation is of: the fleet, the clients, and what happens to them.

use std::time::Duration;

use wsbalancer::clock::Timestamp;
use wsbalancer::config::{Rebalance, SlowStart};

use crate::lifetime::Lifetime;
use crate::policy::Settings;

/// When every simulation begins: the clock's zero stands for "never".
pub const BEGINNING: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// The parts of the clients that come to each gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shares {
    /// As many to each.
    Equal,
    /// To the n-th n times as many as to the first.
    Rising,
    /// As many to each of the first, and none to those after them.
    First(u16),
    /// All to this one.
    Only(u16),
}

impl Shares {
    /// Those that a fleet can have in the long run.
    pub const ALL: [Self; 2] = [Self::Equal, Self::Rising];

    /// The part of the gateway at `index`, in parts of the first one's.
    #[must_use]
    pub fn of(self, index: u16) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Rising => f64::from(index) + 1.0,
            Self::First(count) => f64::from(u8::from(index < count)),
            Self::Only(only) => f64::from(u8::from(index == only)),
        }
    }
}

/// What is open when a simulation begins. The gateways hold as many as are open in the steady
/// state, but where all are foreign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The same on each pod.
    Even,
    /// All on one half of the pods.
    Skewed,
    /// So many on each pod of one half that no gateway opened, and that never end; nothing else.
    Foreign(u32),
    /// So many on each pod of one half that no gateway opened and that never end, and the same
    /// number of the gateways' on each pod.
    ForeignBeside(u32),
    /// The same on each pod but the last, which is empty.
    ButOne,
    /// So many on each pod but the last that no gateway opened and that never end.
    ForeignButOne(u32),
}

/// Something that changes the balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A pod is added. Each gateway learns of it some time later.
    Add,
    /// A pod is lost. Its clients come back. Each gateway's list has it for some time.
    Lose,
    /// A gateway is restarted and knows nothing any more. Its clients come back.
    Restart,
    /// One worker of a gateway ends without a word, and a new one takes its place. Its clients come
    /// back.
    LoseWorker {
        /// Which gateway's.
        gateway: u16,
        /// Which of its workers.
        worker: u8,
    },
    /// Half of the pods end all their WebSockets at once. The clients come back.
    Storm,
    /// On each pod of one half so many WebSockets are opened that no gateway knows of, and that
    /// never end.
    Foreign(u32),
    /// On one pod so many WebSockets are opened that no gateway knows of, and that never end.
    ForeignOnOne(u32),
    /// From now on all clients come to the last gateway.
    Switch,
    /// All WebSockets end at once, and their clients come back in the same order.
    Outage(Burst),
    /// Clients come beside the others.
    Burst(Burst),
}

/// Clients that come at the same distance from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// How many.
    pub clients: u32,
    /// From the first to the last.
    pub within: Duration,
    /// To which gateways.
    pub shares: Shares,
    /// How long they stay; none for as long as the others.
    pub stay: Option<Duration>,
}

/// What the pods' reports are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// How old the count is that a pod reports.
    pub delay: Duration,
    /// How long a pod keeps reporting the same count; zero where it counts each time.
    pub period: Duration,
    /// What is wrong with the first pod's counts.
    pub first: Wrong,
}

/// What is wrong with a pod's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    #[default]
    Nothing,
    /// They are all 0.
    Zero,
    /// Those of one interval, from so long after the beginning on, are this.
    Once(Duration, u32),
}

impl Incident {
    /// Those of pods and gateways.
    pub const OF_FLEET: [Self; 4] = [Self::Add, Self::Lose, Self::Restart, Self::Storm];
}

/// Gateways, pods, clients, and what happens.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How many gateways there are.
    pub gateways: u16,
    /// How many workers each has.
    pub workers: u8,
    /// Whether all workers of a gateway count anew what they have when one is lost.
    pub recounts: bool,
    /// Which parts of the clients come to them.
    pub shares: Shares,
    /// How many pods there are at first.
    pub pods: u16,
    /// How often each gateway asks the pods for their counts.
    pub interval: Duration,
    /// Clients that come in a second, on average.
    pub rate: f64,
    /// How long a message is under way between a gateway and a pod: at least half of this.
    pub hop: Duration,
    /// How long clients stay.
    pub lifetime: Lifetime,
    /// What is open at first.
    pub start: Start,
    /// How gateways start new pods.
    pub slow_start: Option<SlowStart>,
    /// Which WebSockets gateways end on pods that hold too many.
    pub rebalance: Option<Rebalance>,
    /// How long a client stays away whose WebSocket was ended to rebalance.
    pub return_delay: Duration,
    /// At how many each pod of the second half is full, by its own word.
    pub limit: Option<u32>,
    /// At how many each pod is full that has no limit by that.
    pub limit_of_all: Option<u32>,
    /// How pods count.
    pub counting: Counting,
    /// Whether pods tell their count with each answer to a handshake, the new WebSocket in it.
    pub load_reports: bool,
    /// Whether gateways ask before their time too.
    pub asks_early: bool,
    /// Moments after the beginning at which it is noted how even the pods are.
    pub looks: Vec<Duration>,
    /// What happens, and how long after the beginning.
    pub incidents: Vec<(Duration, Incident)>,
    /// When the steady state begins.
    pub warm_up: Duration,
    /// How long it all takes.
    pub duration: Duration,
    /// What chance is made of.
    pub seed: u64,
}

impl Scenario {
    /// How each gateway is set up.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        Settings {
            interval: self.interval,
            asks_early: self.asks_early,
            slow_start: self.slow_start,
            rebalance: self.rebalance,
        }
    }

    /// WebSockets of gateways that are open in the steady state.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a small positive number, and a fraction of a WebSocket does not matter"
    )]
    pub fn population(&self) -> u32 {
        (self.rate * self.lifetime.mean.as_secs_f64()).round() as u32
    }

    /// New WebSockets that each pod should get in a second.
    #[must_use]
    pub fn even_share(&self) -> f64 {
        self.rate / f64::from(self.pods)
    }

    /// The moment that is so long after the beginning.
    #[must_use]
    pub fn at(elapsed: Duration) -> Timestamp {
        BEGINNING.plus(elapsed)
    }

    /// When it ends.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        Self::at(self.duration)
    }
}
