//! Plays a scenario with a policy.
//!
//! Nothing is known at once: a handshake needs a hop to the pod and a hop back, a poll too, and who
//! did not close a WebSocket himself learns of its end a hop later. So gateways meet what the
//! filter's table has to cope with: handshakes under way, and polls that cross with them.

use std::time::Duration;

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::poll::first_interval;
use wsbalancer::table::Event;

use crate::pods::{PodId, Pods};
use crate::policy::{ATTEMPTS, Kind, Policy};
use crate::queue::Queue;
use crate::record::{Outcome, Record};
use crate::scenario::{BEGINNING, Scenario, Shares, Start};

mod handshakes;
mod incidents;
mod polls;
mod rebalancing;
mod workers;

/// Plays `scenario` with a policy of this kind.
#[must_use]
pub fn play(scenario: &Scenario, kind: Kind) -> Outcome {
    let mut simulation = Simulation::new(scenario, kind);
    simulation.run();
    simulation.record.finish(scenario.end())
}

/// What is going to happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A client comes, and after it the next.
    Arrival,
    /// A client whose WebSocket was ended comes back.
    Redial,
    /// The next client of the n-th incident, a burst, comes; so many come after it.
    Surge(usize, u32),
    /// A gateway asks for counts before their time.
    Wake(GatewayId),
    /// It is noted how even the pods are.
    Note,
    /// A handshake gets to its pod.
    Reach(ConnectionId),
    /// The pod's answer to a handshake gets to the gateway.
    Return(ConnectionId),
    /// A client leaves.
    Leave(ConnectionId),
    /// A pod notices that a WebSocket has ended.
    Depart(PodId),
    /// A gateway notices that a pod has ended a WebSocket.
    Notice(ConnectionId),
    /// A gateway is up again.
    Start(GatewayId),
    /// A gateway asks all pods.
    Poll(GatewayId),
    /// The question gets to a pod.
    Count(Question),
    /// The pod's answer gets to the gateway; none where there is no pod any more.
    Answer(Question, Option<u32>),
    /// A gateway takes note that one of its workers is lost.
    BeginRecount(GatewayId),
    /// All its others have counted anew.
    EndRecount(GatewayId),
    /// A gateway's timer comes by, and it may rebalance.
    Tick(GatewayId),
    /// A gateway learns of a pod that was added.
    Discover(GatewayId, PodId),
    /// A gateway learns that a pod is gone.
    Forget(GatewayId, PodId),
    /// The n-th incident of the scenario.
    Incident(usize),
}

/// A gateway until its next restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GatewayId {
    index: usize,
    life: u32,
}

struct Gateway {
    policy: Box<dyn Policy>,
    pods: Vec<PodId>,
    life: u32,
    is_up: bool,
    /// When it last looked whether counts are needed before their time.
    looked_at: Timestamp,
    /// How long to wait after each of the first polls.
    first_intervals: std::vec::IntoIter<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    gateway: GatewayId,
    pod: PodId,
    asked_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionId(usize);

impl ConnectionId {
    /// What a policy knows it by.
    fn number(self) -> u32 {
        u32::try_from(self.0).expect("a simulation is over before that")
    }
}

/// A client's connection, from its handshake on.
#[derive(Clone, Copy, Debug)]
struct Connection {
    gateway: u16,
    /// The worker of the gateway that has it.
    worker: u8,
    /// The pods that the handshake tries.
    pods: [Option<PodId>; ATTEMPTS],
    attempt: u8,
    /// Whether the policy named the pods, and counts the first.
    is_chosen: bool,
    stage: Stage,
    /// What the pod that accepted it says that it counted then.
    told: u32,
    lifetime: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No pod has accepted it yet.
    Calling,
    /// A pod has, and the gateway does not know.
    Accepted,
    /// It is a WebSocket.
    Open,
    /// The pod has ended it, and the gateway does not know.
    Severed,
    /// There is nothing any more.
    Over,
}

impl Connection {
    /// The pod that serves it, or is tried.
    fn pod(&self) -> PodId {
        self.pods[usize::from(self.attempt)].expect("only pods that are there are tried")
    }
}

/// Sources of chance that do not depend on each other: who comes is the same whatever a policy
/// does.
struct Chances {
    start: Rng,
    arrivals: Rng,
    hops: Rng,
    choices: Rng,
    incidents: Rng,
    workers: Rng,
}

impl Chances {
    fn new(seed: u64) -> Self {
        let mut all = Rng::with_seed(seed);
        Self {
            start: all.fork(),
            arrivals: all.fork(),
            hops: all.fork(),
            choices: all.fork(),
            incidents: all.fork(),
            workers: all.fork(),
        }
    }
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    kind: Kind,
    now: Timestamp,
    queue: Queue<Happening>,
    chances: Chances,
    pods: Pods,
    gateways: Vec<Gateway>,
    /// The gateways' parts of the clients, added up.
    shares: Vec<f64>,
    connections: Vec<Connection>,
    record: Record,
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, kind: Kind) -> Self {
        let pods = Pods::new(scenario.pods);
        let mut simulation = Self {
            scenario,
            kind,
            now: BEGINNING,
            queue: Queue::new(),
            chances: Chances::new(scenario.seed),
            record: Record::new(scenario, &pods),
            pods,
            gateways: Vec::new(),
            shares: added_up(scenario.shares, scenario.gateways),
            connections: Vec::new(),
        };
        for index in 0..usize::from(scenario.gateways) {
            let phase = simulation.chances.start.f64();
            let gateway = simulation.gateway(scenario.interval.mul_f64(phase));
            simulation.gateways.push(gateway);
            let id = simulation.gateway_id(index);
            simulation.queue.push(BEGINNING, Happening::Poll(id));
            if scenario.rebalance.is_some() {
                simulation.queue.push(BEGINNING, Happening::Tick(id));
            }
        }
        simulation.populate();
        simulation.record.look(BEGINNING, &simulation.pods);
        for (index, (elapsed, _)) in scenario.incidents.iter().enumerate() {
            let happening = Happening::Incident(index);
            simulation.queue.push(Scenario::at(*elapsed), happening);
        }
        for look in &scenario.looks {
            let at = Scenario::at(*look);
            simulation.queue.push(at, Happening::Note);
        }
        if scenario.rate > 0.0 {
            simulation.await_arrival();
        }
        simulation
    }

    /// What is open at first.
    fn populate(&mut self) {
        let all = self.scenario.pods;
        let half = (all / 2).max(1);
        let but_one = (all - 1).max(1);
        let (own, foreign, on) = match self.scenario.start {
            Start::Even => (all, 0, half),
            Start::Skewed => (half, 0, half),
            Start::Foreign(count) => (0, count, half),
            Start::ForeignBeside(count) => (all, count, half),
            Start::ButOne => (but_one, 0, half),
            Start::ForeignButOne(count) => (0, count, but_one),
        };
        let on: Vec<PodId> = (0..on).map(PodId).collect();
        self.hold_foreign(&on, foreign);
        if own == 0 {
            return;
        }
        let pods = (0..own).cycle().map(PodId);
        let population = usize::try_from(self.scenario.population()).unwrap_or(usize::MAX);
        for pod in pods.take(population) {
            let random = &mut self.chances.start;
            let gateway = gateway_of(&self.shares, random);
            let lifetime = self.scenario.lifetime.draw_rest(random);
            let id = self.connect(gateway, &[pod], false, lifetime);
            self.pods.open_one(pod);
            self.open(id);
        }
    }

    fn run(&mut self) {
        while let Some((at, happening)) = self.queue.pop() {
            if at > self.scenario.end() {
                break;
            }
            self.now = at;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => self.arrive(),
            Happening::Redial => self.redial(),
            Happening::Surge(incident, more) => self.surge(incident, more),
            Happening::Wake(gateway) => self.wake(gateway),
            Happening::Note => self.record.note(),
            Happening::Reach(id) => self.reach(id),
            Happening::Return(id) => self.answer_handshake(id),
            Happening::Leave(id) => self.leave(id),
            Happening::Depart(pod) => {
                self.pods.close_one(pod);
                self.look();
            }
            Happening::Notice(id) => self.notice(id),
            Happening::Start(gateway) => self.start(gateway),
            Happening::Poll(gateway) => self.poll(gateway),
            Happening::Count(question) => self.count(question),
            Happening::Answer(question, count) => self.answer_poll(question, count),
            Happening::BeginRecount(gateway) => self.begin_recount(gateway),
            Happening::EndRecount(gateway) => self.end_recount(gateway),
            Happening::Tick(gateway) => self.tick(gateway),
            Happening::Discover(gateway, pod) => self.discover(gateway, pod),
            Happening::Forget(gateway, pod) => self.forget(gateway, pod),
            Happening::Incident(index) => self.meet(index),
        }
    }

    /// A gateway that has just started and knows which pods there are. It asks them for the second
    /// time when the filter does, for the third time after `third`, and then at intervals.
    fn gateway(&self, third: Duration) -> Gateway {
        let pods: Vec<PodId> = self.pods.up().map(|(pod, _)| pod).collect();
        let mut policy = self.kind.create(self.scenario.settings());
        policy.reset(&pods, self.now);
        Gateway {
            policy,
            pods,
            life: 0,
            is_up: true,
            looked_at: Timestamp::NEVER,
            first_intervals: vec![first_interval(self.scenario.interval), third].into_iter(),
        }
    }

    fn gateway_id(&self, index: usize) -> GatewayId {
        GatewayId {
            index,
            life: self.gateways[index].life,
        }
    }

    /// The gateway, unless it has been restarted since.
    fn same_gateway(&mut self, id: GatewayId) -> Option<&mut Gateway> {
        let gateway = &mut self.gateways[id.index];
        (gateway.life == id.life).then_some(gateway)
    }

    fn tell(&mut self, gateway: u16, event: &Event) {
        self.gateways[usize::from(gateway)].policy.apply(event);
    }

    fn hop(&mut self) -> Timestamp {
        let part = f64::midpoint(1.0, self.chances.hops.f64());
        self.now.plus(self.scenario.hop.mul_f64(part))
    }

    /// Has `happening` happen a hop later.
    fn send(&mut self, happening: Happening) {
        let at = self.hop();
        self.queue.push(at, happening);
    }

    fn look(&mut self) {
        if !self.scenario.counting.delay.is_zero() {
            self.pods.remember(self.now);
        }
        self.record.look(self.now, &self.pods);
    }
}

/// The gateways' parts of the clients, added up.
fn added_up(shares: Shares, gateways: u16) -> Vec<f64> {
    let parts = (0..gateways).scan(0.0, |sum, index| {
        *sum += shares.of(index);
        Some(*sum)
    });
    parts.collect()
}

/// The gateway that a client comes to, by their parts added up.
fn gateway_of(shares: &[f64], random: &mut Rng) -> u16 {
    let all = shares.last().copied().unwrap_or(1.0);
    let drawn = random.f64() * all;
    let index = shares.partition_point(|&sum| sum <= drawn);
    u16::try_from(index.min(shares.len() - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Incident;
    use crate::trials::{self, Size};

    fn steady() -> Scenario {
        let trials = trials::steady(Size::Quick, 1);
        let three = trials.iter().find(|trial| trial.fleet.gateways == 3);
        let scenario = three.unwrap().scenarios[0].clone();
        Scenario {
            duration: scenario.warm_up + Duration::from_secs(20),
            ..scenario
        }
    }

    #[test]
    fn a_simulation_is_the_same_every_time() {
        let scenario = steady();
        let outcome = || play(&scenario, Kind::Filter);
        let (one, other) = (outcome(), outcome());
        assert_eq!(one.trace, other.trace);
        assert_eq!(one.excesses, other.excesses);
        let seeded = Scenario {
            seed: 2,
            ..scenario.clone()
        };
        assert_ne!(play(&seeded, Kind::Filter).trace, one.trace);
    }

    #[test]
    fn all_policies_have_the_same_clients() {
        let scenario = steady();
        let choices = |kind| play(&scenario, kind).excesses.iter().sum::<u32>();
        let expect = choices(Kind::Omniscient);
        // 200 a second for 20 seconds; five standard deviations are 316.
        assert!((3_684..4_316).contains(&expect), "{expect}");
        for kind in Kind::ALL {
            assert_eq!(choices(kind), expect, "{kind:?}");
        }
    }

    #[test]
    fn the_omniscient_is_perfect() {
        let outcome = play(&steady(), Kind::Omniscient);
        assert_eq!(outcome.largest_excess(), 0);
        assert!(outcome.imbalance < 1.002, "{}", outcome.imbalance);
    }

    /// Whatever happens, what was opened and not closed is what is counted.
    #[test]
    fn nothing_is_lost_or_counted_twice() {
        let mut scenario = steady();
        let moments = (1..).map(|n| Duration::from_secs(7 * n));
        scenario.incidents = moments.zip(Incident::OF_FLEET).collect();
        scenario.duration = Duration::from_secs(40);
        for kind in Kind::ALL {
            let mut simulation = Simulation::new(&scenario, kind);
            simulation.run();
            let is_counted = |connection: &&Connection| {
                matches!(connection.stage, Stage::Accepted | Stage::Open)
                    && simulation.pods.get(connection.pod()).is_up()
            };
            let connections = simulation.connections.iter();
            let connections = u32::try_from(connections.filter(is_counted).count()).unwrap();
            let open: u32 = simulation.pods.up().map(|(_, pod)| pod.open()).sum();
            // A pod hears of an end a hop later.
            let late = open - connections;
            assert!(late < 5, "{kind:?}: {open} open of {connections}");
        }
    }

    #[test]
    fn a_lost_pod_costs_no_handshake() {
        let mut scenario = steady();
        scenario.incidents = vec![(Duration::from_secs(5), Incident::Lose)];
        let outcome = play(&scenario, Kind::Filter);
        assert_eq!(outcome.failures, 0);
    }
}
