//! What gateways end themselves, so that clients come back to other pods.

use std::time::Duration;

use super::{ConnectionId, GatewayId, Happening, Simulation, Stage};

/// How often a gateway looks: the filter's tick at the default intervals.
const TICK: Duration = Duration::from_millis(250);

impl Simulation<'_> {
    /// The gateway ends what it may.
    pub(super) fn tick(&mut self, id: GatewayId) {
        let now = self.now;
        let Some(gateway) = self.same_gateway(id) else {
            return;
        };
        for connection in gateway.policy.rebalance(now) {
            self.end(connection);
        }
        self.queue.push(now.plus(TICK), Happening::Tick(id));
    }

    /// The gateway ends a WebSocket, which its pod notices a hop later. The client comes back
    /// through any gateway.
    fn end(&mut self, id: u32) {
        let id = ConnectionId(usize::try_from(id).unwrap_or(usize::MAX));
        let connection = &mut self.connections[id.0];
        assert_eq!(connection.stage, Stage::Open, "only what is open is ended");
        connection.stage = Stage::Over;
        let (gateway, pod) = (connection.gateway, connection.pod());
        self.tell_closed(gateway, pod, id);
        self.pods.expect_one_less(pod);
        self.send(Happening::Depart(pod));
        self.record.rebalance(self.now);
        let back_at = self.now.plus(self.scenario.return_delay);
        self.queue.push(back_at, Happening::Redial);
    }
}
