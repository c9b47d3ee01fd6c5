//! The way of a client: handshake, WebSocket, end.

use std::time::Duration;

use wsbalancer::metric::LoadReport;
use wsbalancer::table::Event;

use super::{Connection, ConnectionId, Happening, Simulation, Stage, added_up, gateway_of};
use crate::lifetime::{Lifetime, Spread};
use crate::pods::PodId;
use crate::policy::{ATTEMPTS, Sight};
use crate::scenario::Incident;

impl Simulation<'_> {
    /// Has the next client come.
    pub(super) fn await_arrival(&mut self) {
        let gap = Lifetime {
            spread: Spread::Exponential,
            mean: Duration::from_secs_f64(1.0 / self.scenario.rate),
        };
        let at = self.now.plus(gap.draw(&mut self.chances.arrivals));
        self.queue.push(at, Happening::Arrival);
    }

    pub(super) fn arrive(&mut self) {
        let random = &mut self.chances.arrivals;
        let gateway = gateway_of(&self.shares, random);
        let lifetime = self.scenario.lifetime.draw(random);
        self.dial(gateway, lifetime);
        self.await_arrival();
    }

    pub(super) fn redial(&mut self) {
        let random = &mut self.chances.incidents;
        let gateway = gateway_of(&self.shares, random);
        let lifetime = self.scenario.lifetime.draw(random);
        self.dial(gateway, lifetime);
    }

    /// A client of a burst comes, and after it the next.
    pub(super) fn surge(&mut self, incident: usize, more: u32) {
        let (_, Incident::Burst(burst) | Incident::Outage(burst)) =
            self.scenario.incidents[incident]
        else {
            return;
        };
        let shares = added_up(burst.shares, self.scenario.gateways);
        let random = &mut self.chances.incidents;
        let gateway = gateway_of(&shares, random);
        let drawn = self.scenario.lifetime.draw(random);
        self.dial(gateway, burst.stay.unwrap_or(drawn));
        if let Some(more) = more.checked_sub(1)
            && more > 0
        {
            let at = self.now.plus(burst.within / burst.clients.max(1));
            self.queue.push(at, Happening::Surge(incident, more));
        }
    }

    /// A handshake comes to the gateway and goes on to the pod that its policy chooses, or to any
    /// pod if it names none: Envoy's fallback policy knows nothing either.
    fn dial(&mut self, gateway: u16, lifetime: Duration) {
        let index = usize::from(gateway);
        if !self.gateways[index].is_up {
            self.redial_soon();
            return;
        }
        let sight = Sight {
            now: self.now,
            pods: &self.pods,
        };
        let random = &mut self.chances.choices;
        let known = &mut self.gateways[index];
        let mut chosen = known.policy.choose(&sight, random);
        let is_chosen = !chosen.is_empty();
        if !is_chosen {
            chosen.push(known.pods[random.usize(..known.pods.len())]);
        }
        let first = chosen[0];
        self.record.choose(self.now, self.pods.excess(first));
        self.record.newcomer().choose(index, first, self.now);
        let id = self.connect(gateway, &chosen, is_chosen, lifetime);
        if is_chosen {
            let pod = first.address();
            self.tell(gateway, &Event::Chosen { pod });
            self.look_early(index);
        } else {
            self.record.refuse(self.now);
        }
        self.send(Happening::Reach(id));
    }

    /// A connection that tries `pods`.
    pub(super) fn connect(
        &mut self,
        gateway: u16,
        pods: &[PodId],
        is_chosen: bool,
        lifetime: Duration,
    ) -> ConnectionId {
        let mut tries = [None; ATTEMPTS];
        for (place, &pod) in tries.iter_mut().zip(pods) {
            *place = Some(pod);
        }
        let connection = Connection {
            gateway,
            // The kernel spreads clients over workers.
            worker: self.chances.workers.u8(..self.scenario.workers),
            pods: tries,
            attempt: 0,
            is_chosen,
            stage: Stage::Calling,
            told: 0,
            lifetime,
        };
        self.pods.expect_one(connection.pod());
        let id = ConnectionId(self.connections.len());
        self.connections.push(connection);
        id
    }

    /// The handshake gets to the pod, which accepts it if it is there.
    pub(super) fn reach(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        if connection.stage == Stage::Over {
            return;
        }
        let pod = connection.pod();
        if self.pods.get(pod).is_up() {
            connection.stage = Stage::Accepted;
            self.pods.open_one(pod);
            if self.scenario.load_reports {
                let counting = self.scenario.counting;
                let count = self.pods.get_mut(pod).count(self.now, counting);
                self.connections[id.0].told = self.say(pod, count);
            }
            self.record.open(self.now, pod, &self.pods);
            self.look();
        }
        self.send(Happening::Return(id));
    }

    /// The gateway learns what the pod answered. Where it is gone, the next has its turn.
    pub(super) fn answer_handshake(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        if connection.stage == Stage::Over {
            return;
        }
        let is_there = self.pods.get(connection.pod()).is_up();
        if is_there && connection.stage == Stage::Accepted {
            self.tell_load(id);
            self.settle(id);
            self.open(id);
            return;
        }
        connection.stage = Stage::Calling;
        connection.attempt += 1;
        let next = connection.pods.get(usize::from(connection.attempt));
        if let Some(&Some(next)) = next {
            self.pods.expect_one(next);
            self.send(Happening::Reach(id));
        } else {
            connection.stage = Stage::Over;
            self.settle(id);
            self.record.fail();
            self.redial_soon();
        }
    }

    /// The gateway's policy learns the count that came with the answer to a handshake.
    fn tell_load(&mut self, id: ConnectionId) {
        if !self.scenario.load_reports {
            return;
        }
        let Connection { gateway, told, .. } = self.connections[id.0];
        let pod = self.connections[id.0].pod().address();
        let report = LoadReport {
            connections: Some(told.into()),
            complaint: None,
        };
        let at = self.now;
        self.tell(gateway, &Event::LoadReported { pod, at, report });
    }

    /// The gateway's policy learns that a handshake is over, and which pods it had to leave.
    fn settle(&mut self, id: ConnectionId) {
        let connection = self.connections[id.0];
        let policy = &mut self.gateways[usize::from(connection.gateway)].policy;
        if let (true, Some(first)) = (connection.is_chosen, connection.pods[0]) {
            let pod = first.address();
            policy.apply(&Event::Settled { pod });
        }
        let at = self.now;
        let tried = connection.pods.iter().take(connection.attempt.into());
        let mut tried = tried.flatten().map(|pod| pod.address()).peekable();
        while let Some(pod) = tried.next() {
            // Of the last alone Envoy tells why it was left.
            let is_last = connection.stage == Stage::Over && tried.peek().is_none();
            policy.apply(&if is_last {
                Event::Refused { pod, at }
            } else {
                Event::PassedBy {
                    pod,
                    began_at: at,
                    at,
                }
            });
        }
    }

    /// The gateway learns that a WebSocket is open. From then on it lives.
    pub(super) fn open(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        connection.stage = Stage::Open;
        let end = self.now.plus(connection.lifetime);
        let (gateway, pod) = (connection.gateway, connection.pod());
        let now = self.now;
        let policy = &mut self.gateways[usize::from(gateway)].policy;
        policy.open(pod, id.number(), now);
        if end <= self.scenario.end() {
            self.queue.push(end, Happening::Leave(id));
        }
    }

    /// The client leaves, which the gateway knows at once and the pod a hop later.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        if connection.stage != Stage::Open {
            return;
        }
        connection.stage = Stage::Over;
        let gateway = connection.gateway;
        let pod = connection.pod();
        self.pods.expect_one_less(pod);
        self.send(Happening::Depart(pod));
        self.tell_closed(gateway, pod, id);
    }

    /// The gateway notices that the pod has ended a WebSocket.
    pub(super) fn notice(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        if connection.stage != Stage::Severed {
            return;
        }
        connection.stage = Stage::Over;
        let (gateway, pod) = (connection.gateway, connection.pod());
        self.tell_closed(gateway, pod, id);
    }

    /// The gateway's policy learns that a WebSocket has ended.
    pub(super) fn tell_closed(&mut self, gateway: u16, pod: PodId, id: ConnectionId) {
        let policy = &mut self.gateways[usize::from(gateway)].policy;
        policy.close(pod, id.number());
    }
}
