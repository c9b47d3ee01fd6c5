//! What it does for a fleet that pods tell their count with each answer to a handshake.

use std::time::Duration;

use crate::parallel;
use crate::policy::Kind;
use crate::record::Outcome;
use crate::scenario::{Incident, Scenario, Start};
use crate::simulation::play;
use crate::trials::{self, Fleet, Situation, Size};

/// Ten gateways that ask eight pods every 30 s.
pub const FLEET: Fleet = Fleet {
    gateways: 10,
    pods: 8,
    interval: 30,
};

/// What the fleet is looked at in.
const SITUATIONS: [Situation; 7] = [
    Situation::Steady,
    Situation::Start(Start::Skewed),
    Situation::Incident(Incident::Add),
    Situation::Incident(Incident::Restart),
    Situation::Incident(Incident::Storm),
    Situation::Incident(Incident::Foreign(trials::FOREIGN)),
    Situation::Incident(Incident::ForeignOnOne(trials::FOREIGN)),
];

/// What came of a situation, in all its variants.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The situation.
    pub situation: Situation,
    /// With polls alone.
    pub polls: Vec<Outcome>,
    /// With load reports beside them.
    pub load_reports: Vec<Outcome>,
    /// Of the omniscient.
    pub omniscient: Vec<Outcome>,
}

/// Plays all situations with load reports, and without.
#[must_use]
pub fn run(seed: u64) -> Vec<Compared> {
    let situations = SITUATIONS.iter();
    let plays: Vec<(Scenario, Kind)> = situations
        .flat_map(|&situation| scenarios(situation, seed))
        .flat_map(|scenario| {
            let told = Scenario {
                load_reports: true,
                ..scenario.clone()
            };
            [
                (scenario.clone(), Kind::Filter),
                (told, Kind::Filter),
                (scenario, Kind::Omniscient),
            ]
        })
        .collect();
    let outcomes = parallel::map(&plays, |(scenario, kind)| play(scenario, *kind));
    let mut outcomes = outcomes.into_iter();
    let compared = SITUATIONS.into_iter().map(|situation| {
        let mut compared = Compared {
            situation,
            polls: Vec::new(),
            load_reports: Vec::new(),
            omniscient: Vec::new(),
        };
        for _ in scenarios(situation, seed) {
            compared.polls.extend(outcomes.next());
            compared.load_reports.extend(outcomes.next());
            compared.omniscient.extend(outcomes.next());
        }
        compared
    });
    compared.collect()
}

fn scenarios(situation: Situation, seed: u64) -> Vec<Scenario> {
    let mut scenario = FLEET.scenario(seed);
    scenario.duration = Duration::from_secs(240);
    match situation {
        Situation::Steady => scenario.warm_up = Duration::from_secs(120),
        Situation::Start(start) => scenario.start = start,
        Situation::Incident(incident) => {
            scenario.incidents = vec![(Duration::from_secs(65), incident)];
        }
    }
    trials::variants(&scenario, Size::Standard)
}
