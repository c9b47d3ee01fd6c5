//! What happens to pods and gateways.

use std::time::Duration;

use wsbalancer::clock::Timestamp;

use super::{Connection, ConnectionId, Gateway, GatewayId, Happening, Simulation, Stage, added_up};
use crate::pods::PodId;
use crate::scenario::{Incident, Shares};

/// How long it takes at most until a gateway learns that the list of pods has changed, and until a
/// client comes back whose WebSocket was ended.
const DELAY: Duration = Duration::from_secs(5);

/// How long it takes until a gateway is up again. Pods have noticed by then that it was down.
const DOWNTIME: Duration = Duration::from_millis(500);

impl Simulation<'_> {
    /// The incident at `index` of the scenario.
    pub(super) fn meet(&mut self, index: usize) {
        self.record.mark(self.now);
        let (_, incident) = self.scenario.incidents[index];
        match incident {
            Incident::Add => self.add(),
            Incident::Lose => self.lose(),
            Incident::Restart => self.restart(),
            Incident::LoseWorker { gateway, worker } => self.lose_worker(gateway, worker),
            Incident::Storm => self.storm(),
            Incident::Foreign(count) => {
                let half = self.half();
                self.hold_foreign(&half, count);
            }
            Incident::ForeignOnOne(count) => self.hold_foreign(&[PodId(0)], count),
            Incident::Switch => {
                let all = self.scenario.gateways;
                self.shares = added_up(Shares::Only(all - 1), all);
            }
            Incident::Outage(burst) => {
                let up: Vec<PodId> = self.pods.up().map(|(pod, _)| pod).collect();
                self.end_all(&up);
                self.surge(index, burst.clients);
            }
            Incident::Burst(burst) => self.surge(index, burst.clients),
        }
        self.look();
    }

    fn add(&mut self) {
        let pod = self.pods.add();
        self.tell_all_soon(|gateway| Happening::Discover(gateway, pod));
    }

    /// Takes down the first pod that is up.
    fn lose(&mut self) {
        let Some((pod, _)) = self.pods.up().next() else {
            return;
        };
        self.sever(&[pod]);
        self.pods.lose(pod);
        self.tell_all_soon(|gateway| Happening::Forget(gateway, pod));
    }

    fn storm(&mut self) {
        let half = self.half();
        self.sever(&half);
    }

    /// The first half of the pods that are up.
    fn half(&self) -> Vec<PodId> {
        let up: Vec<PodId> = self.pods.up().map(|(pod, _)| pod).collect();
        up[..up.len() / 2].to_vec()
    }

    /// Each of the pods gets so many WebSockets that no gateway opened.
    pub(super) fn hold_foreign(&mut self, pods: &[PodId], count: u32) {
        for &pod in pods {
            for _ in 0..count {
                self.pods.expect_one(pod);
                self.pods.open_one(pod);
            }
        }
    }

    /// The pods end all WebSockets that they have. Each client comes back.
    fn sever(&mut self, pods: &[PodId]) {
        for _ in 0..self.end_all(pods) {
            self.redial_soon();
        }
    }

    /// The pods end all WebSockets that they have; how many that are.
    fn end_all(&mut self, pods: &[PodId]) -> u32 {
        let mut ended = 0;
        for id in (0..self.connections.len()).map(ConnectionId) {
            let connection = &mut self.connections[id.0];
            if connection.stage != Stage::Open || !pods.contains(&connection.pod()) {
                continue;
            }
            let pod = connection.pod();
            connection.stage = Stage::Severed;
            self.pods.close_one(pod);
            self.pods.expect_one_less(pod);
            self.send(Happening::Notice(id));
            ended += 1;
        }
        ended
    }

    /// Restarts the last gateway, which has the largest part of the clients.
    fn restart(&mut self) {
        let Some(index) = self.gateways.len().checked_sub(1) else {
            return;
        };
        self.drop_all(|connection| usize::from(connection.gateway) == index);
        let gateway = &mut self.gateways[index];
        gateway.life += 1;
        gateway.is_up = false;
        let id = self.gateway_id(index);
        let up_again = self.now.plus(DOWNTIME);
        self.queue.push(up_again, Happening::Start(id));
    }

    /// Those who had these connections are gone. Each client comes back.
    pub(super) fn drop_all(&mut self, is_dropped: impl Fn(&Connection) -> bool) {
        for id in (0..self.connections.len()).map(ConnectionId) {
            let connection = &mut self.connections[id.0];
            if connection.stage == Stage::Over || !is_dropped(connection) {
                continue;
            }
            let pod = connection.pod();
            let stage = std::mem::replace(&mut connection.stage, Stage::Over);
            match stage {
                // Its client is on the way back already.
                Stage::Severed | Stage::Over => continue,
                Stage::Calling => {}
                Stage::Accepted | Stage::Open => self.send(Happening::Depart(pod)),
            }
            self.pods.expect_one_less(pod);
            self.redial_soon();
        }
    }

    /// The gateway is up again, and knows which pods there are and nothing else.
    pub(super) fn start(&mut self, id: GatewayId) {
        let interval = self.scenario.interval;
        self.gateways[id.index] = Gateway {
            life: id.life,
            ..self.gateway(interval)
        };
        self.poll(id);
    }

    pub(super) fn discover(&mut self, id: GatewayId, pod: PodId) {
        let now = self.now;
        let Some(gateway) = self.same_gateway(id) else {
            return;
        };
        if gateway.pods.contains(&pod) {
            return;
        }
        gateway.pods.push(pod);
        gateway.policy.reset(&gateway.pods, now);
        self.record.newcomer().introduce(id.index, pod, now);
        self.ask(id, pod);
    }

    pub(super) fn forget(&mut self, id: GatewayId, pod: PodId) {
        let now = self.now;
        let Some(gateway) = self.same_gateway(id) else {
            return;
        };
        gateway.pods.retain(|&known| known != pod);
        gateway.policy.reset(&gateway.pods, now);
    }

    /// A client comes back within the delay.
    pub(super) fn redial_soon(&mut self) {
        let at = self.soon();
        self.queue.push(at, Happening::Redial);
    }

    /// Every gateway learns within the delay, each at a time of its own.
    fn tell_all_soon(&mut self, news: impl Fn(GatewayId) -> Happening) {
        for index in 0..self.gateways.len() {
            let id = self.gateway_id(index);
            let at = self.soon();
            self.queue.push(at, news(id));
        }
    }

    fn soon(&mut self) -> Timestamp {
        let part = self.chances.incidents.f64();
        self.now.plus(DELAY.mul_f64(part))
    }
}
