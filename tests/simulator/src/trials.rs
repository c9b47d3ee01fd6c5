//! The scenarios of the standard table.
//!
//! Each trial is of one fleet and one situation, in a few variants: both kinds of lifetimes, and
//! gateways with equal and with unequal parts of the clients. Rates and lifetimes are such that a
//! pod holds some 500 to 750 WebSockets, and that in a report interval between a thirtieth and all
//! of them are replaced.

use std::time::Duration;

use wsbalancer::config::{Rebalance, SlowStart};

use crate::lifetime::{Lifetime, Spread};
use crate::parallel;
use crate::policy::Kind;
use crate::record::Outcome;
use crate::scenario::{Counting, Incident, Scenario, Shares, Start};
use crate::simulation::play;

/// WebSockets on each pod of one half that no gateway opened.
pub const FOREIGN: u32 = 500;

/// How long a message is under way at most: a handshake or a poll takes one to two milliseconds.
pub const HOP: Duration = Duration::from_millis(1);

/// How much is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All there is.
    Standard,
    /// Under a minute on two cores.
    Quick,
}

/// Gateways and pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// How many gateways.
    pub gateways: u16,
    /// How many pods.
    pub pods: u16,
    /// Seconds between two reports.
    pub interval: u64,
}

/// In which situation a fleet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Nothing happens.
    Steady,
    /// It begins like this.
    Start(Start),
    /// This happens to it.
    Incident(Incident),
}

/// A fleet in a situation.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The fleet.
    pub fleet: Fleet,
    /// The situation.
    pub situation: Situation,
    /// Its variants.
    pub scenarios: Vec<Scenario>,
    /// The policies that are tried.
    pub kinds: Vec<Kind>,
}

/// What became of a trial.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The trial.
    pub trial: Trial,
    /// For each variant what came of each of the trial's policies.
    outcomes: Vec<Vec<Outcome>>,
}

impl Tried {
    /// What came of a policy in each variant; nothing where it was not tried.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Outcome> {
        let place = self.trial.kinds.iter().position(|&tried| tried == kind);
        let outcomes = self.outcomes.iter();
        outcomes.filter_map(move |outcomes| outcomes.get(place?))
    }
}

/// Plays all variants of the trials with each of their policies.
#[must_use]
pub fn run(trials: Vec<Trial>) -> Vec<Tried> {
    let plays: Vec<(&Scenario, Kind)> = trials
        .iter()
        .flat_map(|trial| {
            let scenarios = trial.scenarios.iter();
            scenarios.flat_map(|scenario| trial.kinds.iter().map(move |&kind| (scenario, kind)))
        })
        .collect();
    let mut outcomes = parallel::map(&plays, |&(scenario, kind)| play(scenario, kind)).into_iter();
    let tried = trials.into_iter().map(|trial| Tried {
        outcomes: trial
            .scenarios
            .iter()
            .map(|_| outcomes.by_ref().take(trial.kinds.len()).collect())
            .collect(),
        trial,
    });
    tried.collect()
}

/// Fleets in the steady state.
#[must_use]
pub fn steady(size: Size, seed: u64) -> Vec<Trial> {
    let mut fleets = Vec::new();
    for gateways in [1, 3, 10] {
        for pods in [8, 50] {
            for interval in [1, 5, 30] {
                fleets.push(Fleet {
                    gateways,
                    pods,
                    interval,
                });
            }
        }
    }
    fleets.push(Fleet {
        gateways: 30,
        pods: 100,
        interval: 30,
    });
    let trial = |fleet: Fleet| {
        let warm_up = Duration::from_secs(match size {
            Size::Standard => (4 * fleet.interval).max(60),
            Size::Quick => 2 * fleet.interval,
        });
        let duration = Duration::from_secs(match size {
            Size::Standard => 200,
            Size::Quick => 60,
        });
        let scenario = Scenario {
            warm_up,
            duration: warm_up + duration,
            ..fleet.scenario(seed)
        };
        Trial {
            fleet,
            situation: Situation::Steady,
            scenarios: variants(&scenario, size),
            kinds: match size {
                Size::Standard => Kind::ALL.to_vec(),
                Size::Quick => vec![Kind::Filter, Kind::Omniscient],
            },
        }
    };
    fleets.into_iter().map(trial).collect()
}

/// Fleets that something happens to, or that begin uneven.
#[must_use]
pub fn disturbed(size: Size, seed: u64) -> Vec<Trial> {
    let fleet = |gateways, pods, interval| Fleet {
        gateways,
        pods,
        interval,
    };
    let (fleets, incidents) = match size {
        Size::Standard => (
            vec![
                fleet(3, 8, 5),
                fleet(3, 8, 30),
                fleet(10, 8, 5),
                fleet(10, 8, 30),
                fleet(10, 50, 30),
            ],
            Duration::from_secs(120),
        ),
        Size::Quick => (
            vec![fleet(3, 8, 5), fleet(10, 8, 30)],
            Duration::from_secs(60),
        ),
    };
    let starts = [
        Start::Skewed,
        Start::Foreign(FOREIGN),
        Start::ForeignBeside(FOREIGN),
    ];
    let starts = starts.map(Situation::Start).into_iter();
    let situations = starts.chain(Incident::OF_FLEET.map(Situation::Incident));
    let trial = |situation: Situation, fleet: Fleet| {
        let mut scenario = fleet.scenario(seed);
        match situation {
            Situation::Steady => {}
            Situation::Start(start) => scenario.start = start,
            Situation::Incident(incident) => {
                let happens_at = Duration::from_secs(2 * fleet.interval).max(DISCOVERY);
                scenario.incidents.push((happens_at, incident));
                scenario.duration = happens_at;
            }
        }
        scenario.duration += incidents;
        Trial {
            fleet,
            situation,
            scenarios: variants(&scenario, size),
            kinds: Kind::ALL.to_vec(),
        }
    };
    situations
        .flat_map(|situation| fleets.iter().map(move |&fleet| (situation, fleet)))
        .map(|(situation, fleet)| trial(situation, fleet))
        .collect()
}

/// Long enough for every gateway to know of what it shall know.
const DISCOVERY: Duration = Duration::from_secs(15);

/// A gateway without any other, measured from the beginning on.
#[must_use]
pub fn alone(start: Start, hop: Duration, seed: u64) -> Vec<Trial> {
    let intervals = [1, 5, 30].into_iter();
    let trials = intervals.map(|interval| {
        let fleet = Fleet {
            gateways: 1,
            pods: 8,
            interval,
        };
        let scenario = Scenario {
            start,
            hop,
            duration: Duration::from_secs(120),
            ..fleet.scenario(seed)
        };
        Trial {
            fleet,
            situation: Situation::Start(start),
            scenarios: variants(&scenario, Size::Standard),
            kinds: vec![Kind::Filter, Kind::Omniscient],
        }
    });
    trials.collect()
}

/// A pod is added that is started slowly, while each gateway would give it all there is. The
/// WebSockets live so long that it does not fill up meanwhile.
#[must_use]
pub fn slow_start(slow_start: SlowStart, seed: u64) -> Scenario {
    let fleet = Fleet {
        gateways: 3,
        pods: 8,
        interval: 5,
    };
    let mut scenario = fleet.scenario(seed);
    scenario.rate = 1_000.0;
    scenario.lifetime.mean = Duration::from_secs(200);
    scenario.slow_start = Some(slow_start);
    scenario.incidents = vec![(DISCOVERY, Incident::Add)];
    scenario.duration = DISCOVERY + Duration::from_secs(30);
    scenario
}

/// The curves of [`slow_start`]: a straight line, and one that is faster at first.
pub const CURVES: [SlowStart; 2] = [curve(1.0), curve(2.0)];

const fn curve(aggression: f64) -> SlowStart {
    SlowStart {
        window: Duration::from_secs(20),
        aggression,
        min_weight_percent: 10.0,
    }
}

/// By which [`rebalancing`] gateways close: all together 20 a second, down to 1.1 even shares.
pub const REBALANCE: Rebalance = Rebalance {
    threshold: 1.1,
    max_per_second: 20.0,
    min_age: Duration::from_secs(10),
};

/// How long the clients stay away whose WebSockets are closed: those that try at once, those that
/// wait a little, and those that a gateway only just does not wait for.
pub const RETURN_DELAYS: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// Half of the pods hold all, and as good as no client comes or leaves by itself.
#[must_use]
pub fn rebalancing(
    gateways: u16,
    shares: Shares,
    limit: Option<u32>,
    return_delay: Duration,
    seed: u64,
) -> Scenario {
    let fleet = Fleet {
        gateways,
        pods: 8,
        interval: 5,
    };
    let mut scenario = fleet.scenario(seed);
    scenario.shares = shares;
    scenario.limit = limit;
    scenario.rate = 0.000_1;
    scenario.lifetime.mean = Duration::from_secs(20_000_000);
    scenario.start = Start::Skewed;
    scenario.rebalance = Some(REBALANCE);
    scenario.return_delay = return_delay;
    scenario.duration = Duration::from_secs(300);
    scenario
}

/// Plays [`rebalancing`] with fleets of several sizes.
#[must_use]
pub fn play_rebalancing(seed: u64) -> Vec<(Scenario, Outcome)> {
    let mut scenarios = Vec::new();
    for limit in [None, Some(200)] {
        for delay in RETURN_DELAYS {
            scenarios.push(rebalancing(1, Shares::Equal, limit, delay, seed));
            for gateways in [3, 10] {
                let of = |shares| rebalancing(gateways, shares, limit, delay, seed);
                scenarios.extend(Shares::ALL.map(of));
            }
        }
    }
    let outcomes = parallel::map(&scenarios, |scenario| play(scenario, Kind::Filter));
    scenarios.into_iter().zip(outcomes).collect()
}

/// How many minutes [`losing_workers`] takes, in each of which a worker is lost.
const LOSSES: u16 = 36;

/// Three gateways of four workers each, of which one ends without a word every minute. The pods
/// have room for a third more than there is.
#[must_use]
pub fn losing_workers(recounts: bool, seed: u64) -> Scenario {
    let fleet = Fleet {
        gateways: 3,
        pods: 8,
        interval: 5,
    };
    let mut scenario = fleet.scenario(seed);
    scenario.workers = 4;
    scenario.recounts = recounts;
    // 24,000 are open.
    scenario.rate = 10.0;
    scenario.lifetime.mean = Duration::from_secs(2_400);
    scenario.limit_of_all = Some(4_000);
    scenario.warm_up = Duration::from_secs(1);
    for loss in 0..LOSSES {
        let at = Duration::from_secs(60) * (u32::from(loss) + 1);
        let gateway = loss % fleet.gateways;
        let worker = u8::try_from(loss / fleet.gateways % 4).unwrap_or(0);
        let incident = Incident::LoseWorker { gateway, worker };
        scenario.incidents.push((at, incident));
        // Its lease is over, and the others have counted.
        scenario.looks.push(at + Duration::from_secs(15));
        scenario.duration = at + Duration::from_secs(60);
    }
    scenario
}

/// Plays [`losing_workers`] with recounts, and without.
#[must_use]
pub fn play_losing_workers(seed: u64) -> [Outcome; 2] {
    [true, false].map(|recounts| play(&losing_workers(recounts, seed), Kind::Filter))
}

/// WebSockets that come to each pod of one half beside the gateways'.
const FOREIGN_LATER: u32 = 250;

/// The scenario that is drawn: everything happens, one after the other.
#[must_use]
pub fn eventful(seed: u64) -> Scenario {
    let fleet = Fleet {
        gateways: 10,
        pods: 8,
        interval: 5,
    };
    let mut scenario = fleet.scenario(seed);
    scenario.shares = Shares::Rising;
    let incidents = Incident::OF_FLEET.into_iter();
    let incidents = incidents.chain([Incident::Foreign(FOREIGN_LATER)]);
    let moments = (1..).map(|minute| Duration::from_secs(60 * minute));
    scenario.incidents = moments.zip(incidents).collect();
    scenario.duration = Duration::from_secs(360);
    scenario
}

impl Fleet {
    /// Nothing happens to it, and its pods begin even.
    pub(crate) fn scenario(self, seed: u64) -> Scenario {
        let (rate, mean) = match self.pods {
            ..20 => (200.0, 30),
            20..100 => (1_000.0, 30),
            _ => (1_000.0, 50),
        };
        Scenario {
            gateways: self.gateways,
            workers: 1,
            recounts: true,
            shares: Shares::Equal,
            pods: self.pods,
            interval: Duration::from_secs(self.interval),
            rate,
            hop: HOP,
            lifetime: Lifetime {
                spread: Spread::Exponential,
                mean: Duration::from_secs(mean),
            },
            start: Start::Even,
            slow_start: None,
            rebalance: None,
            return_delay: Duration::ZERO,
            limit: None,
            limit_of_all: None,
            counting: Counting::default(),
            load_reports: false,
            asks_early: true,
            looks: Vec::new(),
            incidents: Vec::new(),
            warm_up: Duration::ZERO,
            duration: Duration::ZERO,
            seed,
        }
    }
}

pub(crate) fn variants(scenario: &Scenario, size: Size) -> Vec<Scenario> {
    let mut variants = Vec::new();
    for spread in Spread::ALL {
        for shares in Shares::ALL {
            let lifetime = Lifetime {
                spread,
                ..scenario.lifetime
            };
            // With a single gateway both are the same.
            let is_known = scenario.gateways == 1 && shares == Shares::Rising;
            // The simplest and the hardest variant will do.
            let is_extra = (spread == Spread::Exponential) != (shares == Shares::Equal);
            if !is_known && (size == Size::Standard || !is_extra || scenario.gateways == 1) {
                variants.push(Scenario {
                    shares,
                    lifetime,
                    ..scenario.clone()
                });
            }
        }
    }
    variants
}
