//! Bursts: many clients within seconds, alone and in a fleet.

use std::time::Duration;

use crate::parallel;
use crate::policy::Kind;
use crate::record::Outcome;
use crate::scenario::{Burst, Counting, Incident, Scenario, Shares, Start, Wrong};
use crate::simulation::play;
use crate::trials::Fleet;

/// A burst.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// How it goes.
    pub scenario: Scenario,
    /// How much fuller the fullest pod may be when it ends, in parts of what is the best.
    pub bar: f64,
    /// Whether pods count at once when they are asked.
    pub counts_are_prompt: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Played {
    /// The burst.
    pub case: Case,
    /// With the filter.
    pub filter: Outcome,
    /// With the omniscient policy.
    pub omniscient: Outcome,
}

/// Plays them all.
#[must_use]
pub fn run(cases: Vec<Case>) -> Vec<Played> {
    let outcomes = parallel::map(&cases, |case| {
        [Kind::Filter, Kind::Omniscient].map(|kind| play(&case.scenario, kind))
    });
    let played = cases.into_iter().zip(outcomes);
    played
        .map(|(case, [filter, omniscient])| Played {
            case,
            filter,
            omniscient,
        })
        .collect()
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How the clients of a burst come.
const fn burst(clients: u32, within: Duration, shares: Shares) -> Burst {
    Burst {
        clients,
        within,
        shares,
        stay: None,
    }
}

/// So soon after the beginning every gateway knows of all pods.
const FIRST_COUNTS: Duration = Duration::from_millis(100);

/// So long after the beginning all is as it will be.
const WARM: Duration = seconds(40);

/// Long enough before that for every gateway to have asked since.
const BEFORE_WARM: Duration = seconds(34);

struct Builder {
    seed: u64,
    cases: Vec<Case>,
}

impl Builder {
    /// Nobody comes beside the burst, and nobody leaves.
    fn quiet(&self, gateways: u16, pods: u16) -> Scenario {
        let fleet = Fleet {
            gateways,
            pods,
            interval: 5,
        };
        let mut scenario = fleet.scenario(self.seed);
        scenario.rate = 0.0;
        scenario.lifetime.mean = seconds(100_000);
        scenario
    }

    /// Clients come and go through all gateways.
    fn busy(&self, gateways: u16, rate: f64, mean: Duration) -> Scenario {
        let mut scenario = self.quiet(gateways, 8);
        scenario.rate = rate;
        scenario.lifetime.mean = mean;
        scenario
    }

    /// A burst that begins at `at`.
    fn add(
        &mut self,
        name: String,
        mut scenario: Scenario,
        at: Duration,
        clients: Burst,
        bar: f64,
    ) {
        scenario.incidents.push((at, Incident::Burst(clients)));
        self.look(name, scenario, at + clients.within, bar);
    }

    /// What ends at `end`.
    fn look(&mut self, name: String, mut scenario: Scenario, end: Duration, bar: f64) {
        let interval = scenario.interval;
        scenario.warm_up = FIRST_COUNTS;
        scenario.looks = vec![end, end + seconds(1), end + interval];
        scenario.duration = end + interval + seconds(1);
        self.cases.push(Case {
            name,
            counts_are_prompt: scenario.counting == Counting::default(),
            scenario,
            bar,
        });
    }

    fn alone(&mut self) {
        let new = |clients, rate| {
            let within = seconds(clients) / rate;
            let clients = u32::try_from(clients).expect("there are few");
            burst(clients, within, Shares::Equal)
        };
        let own = Burst {
            stay: Some(Duration::from_millis(500)),
            ..burst(400, seconds(1), Shares::Equal)
        };
        let came_and_went = (seconds(1), Incident::Burst(own));
        let lines = [
            (200, 8, new(600, 400), 5, false),
            (200, 8, new(600, 400), 5, true),
            (200, 60, new(600, 400), 5, true),
            (2_000, 8, new(2_000, 400), 5, false),
            (200, 8, new(600, 400), 1, false),
            (200, 8, new(3_000, 300), 5, false),
            (0, 8, new(600, 400), 5, false),
        ];
        for (foreign, wait, new, interval, after_own) in lines {
            let mut scenario = self.quiet(1, 4);
            scenario.interval = seconds(interval);
            if after_own {
                scenario.incidents.push(came_and_went);
            }
            let opened_at = seconds(4);
            let foreign_ones = Incident::ForeignOnOne(foreign);
            scenario.incidents.push((opened_at, foreign_ones));
            let own = if after_own { "400 own before, " } else { "" };
            let name = format!(
                "alone: {own}{foreign} foreign on a pod, {wait} s, {} in {:.1} s, counts every {interval} s",
                new.clients,
                new.within.as_secs_f64()
            );
            self.add(name, scenario, opened_at + seconds(wait), new, 1.05);
        }
    }

    fn fleet(&mut self, gateways: u16) {
        let last = Shares::Only(gateways - 1);
        let idle = Shares::First(gateways - 1);
        let storm = |shares| burst(24_000, seconds(3), shares);

        let mut scenario = self.busy(gateways, 200.0, seconds(30));
        scenario.shares = idle;
        let foreign = Incident::ForeignOnOne(400);
        scenario.incidents.push((BEFORE_WARM, foreign));
        let wakes = burst(2_000, seconds(4), last);
        self.add(
            format!("{gateways}: an idle one wakes"),
            scenario,
            WARM,
            wakes,
            1.02,
        );

        let mut scenario = self.busy(gateways, 200.0, seconds(120));
        scenario.shares = idle;
        scenario.limit_of_all = Some(5_000);
        scenario.incidents.push((WARM, Incident::Switch));
        let end = WARM + seconds(30);
        self.look(format!("{gateways}: failover, 200/s"), scenario, end, 1.02);

        let mut scenario = self.busy(gateways, 200.0, seconds(120));
        scenario.shares = idle;
        scenario.limit_of_all = Some(5_000);
        let outage = Incident::Outage(burst(24_000, seconds(24), last));
        scenario.incidents.push((WARM, Incident::Switch));
        scenario.incidents.push((WARM, outage));
        let end = WARM + seconds(24);
        self.look(
            format!("{gateways}: failover, pods empty"),
            scenario,
            end,
            1.02,
        );

        for (name, shares) in [("all", Shares::Equal), ("one", last)] {
            let scenario = self.scaled_out(gateways);
            let name = format!("{gateways}: a storm over {name}");
            self.add(name, scenario, STORM, storm(shares), 1.02);
        }

        let mut scenario = self.quiet(gateways, 8);
        scenario.start = Start::ForeignButOne(1_000);
        let name = format!("{gateways}: a storm over all, who know nothing");
        self.add(name, scenario, WARM, storm(Shares::Equal), 1.02);

        let mut scenario = self.busy(gateways, 20.0, seconds(300));
        let slow = burst(24_000, seconds(12), Shares::Equal);
        scenario.incidents.push((WARM + seconds(2), Incident::Add));
        let name = format!("{gateways}: a scale-out within a storm");
        self.add(name, scenario, WARM, slow, 1.02);

        let mut scenario = self.scaled_out(gateways);
        scenario
            .incidents
            .push((STORM + seconds(1), Incident::Restart));
        let name = format!("{gateways}: a restart within a storm");
        self.add(name, scenario, STORM, storm(Shares::Equal), 1.02);
    }

    /// A fleet that has just got a pod.
    fn scaled_out(&self, gateways: u16) -> Scenario {
        let mut scenario = self.busy(gateways, 20.0, seconds(300));
        scenario.incidents.push((WARM, Incident::Add));
        scenario
    }

    fn sidecars(&mut self) {
        let mut scenario = self.busy(500, 200.0, seconds(30));
        scenario.incidents.push((WARM, Incident::Add));
        let storm = burst(24_000, seconds(3), Shares::Equal);
        self.add(
            "500: a storm over all".to_owned(),
            scenario,
            STORM,
            storm,
            1.02,
        );
    }

    fn late(&mut self) {
        let late = |millis| Counting {
            delay: Duration::from_millis(millis),
            ..Counting::default()
        };
        let kinds = [
            ("0.5 s late", late(500), 1.3),
            ("2 s late", late(2_000), 1.7),
            (
                "made once a second",
                Counting {
                    period: seconds(1),
                    ..Counting::default()
                },
                1.3,
            ),
        ];
        for (name, counting, bar) in kinds {
            let mut scenario = self.quiet(1, 4);
            scenario.counting = counting;
            scenario
                .incidents
                .push((seconds(4), Incident::ForeignOnOne(200)));
            let new = burst(600, Duration::from_millis(1_500), Shares::Equal);
            self.add(
                format!("alone, counts {name}"),
                scenario,
                seconds(12),
                new,
                bar,
            );
            for gateways in [3, 10] {
                for (over, shares) in [("all", Shares::Equal), ("one", Shares::Only(0))] {
                    let mut scenario = self.scaled_out(gateways);
                    scenario.counting = counting;
                    let storm = burst(24_000, seconds(3), shares);
                    let name = format!("{gateways}: a storm over {over}, counts {name}");
                    self.add(name, scenario, STORM, storm, bar);
                }
            }
        }
    }
}

impl Builder {
    /// One pod is wrong about itself, or all of them count seldom.
    fn wrong(&mut self) {
        let first = |first| Counting {
            first,
            ..Counting::default()
        };
        let seldom = Counting {
            period: seconds(25),
            ..Counting::default()
        };
        // Alone, and in a fleet, where no gateway knows what others have open.
        let wrong = [
            ("one is always 0", first(Wrong::Zero), [1.1, 1.2]),
            (
                "one is a million, once",
                first(Wrong::Once(WARM, 1_000_000)),
                [1.05, 1.05],
            ),
            ("made in each fifth interval", seldom, [1.1, 1.2]),
        ];
        for (name, counting, bars) in wrong {
            for (gateways, bar) in [1, 3].into_iter().zip(bars) {
                let mut scenario = self.busy(gateways, 20.0, seconds(100_000));
                scenario.start = Start::Foreign(0);
                scenario.limit_of_all = Some(5_000);
                scenario.counting = counting;
                let name = format!("{gateways}: counts are wrong, {name}");
                self.look(name, scenario, WARM + seconds(60), bar);
            }
        }
    }
}

/// When a storm begins on pods that every gateway knows.
const STORM: Duration = Duration::from_millis(45_500);

/// All of them.
#[must_use]
pub fn all(seed: u64) -> Vec<Case> {
    let mut builder = Builder {
        seed,
        cases: Vec::new(),
    };
    builder.alone();
    for gateways in [3, 10] {
        builder.fleet(gateways);
    }
    builder.sidecars();
    builder.late();
    builder.wrong();
    builder.cases
}
