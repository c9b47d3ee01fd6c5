//! The workers of a gateway, which share its table, and of which one may end without a word.

use wsbalancer::pod::Posting;
use wsbalancer::table::{BEAT, Ledger, lease};

use super::{Connection, GatewayId, Happening, Simulation, Stage};

impl Simulation<'_> {
    /// A worker ends without a word: what it had stays in its gateway's table, and its pods notice
    /// a hop later. Another that has nothing goes by its number from then on.
    pub(super) fn lose_worker(&mut self, gateway: u16, worker: u8) {
        let is_its =
            |connection: &Connection| (connection.gateway, connection.worker) == (gateway, worker);
        self.drop_all(is_its);
        if !self.scenario.recounts {
            return;
        }
        // The others notice with their first sign of life after its lease.
        let at = self.now.plus(lease(self.scenario.interval)).plus(BEAT);
        let id = self.gateway_id(gateway.into());
        self.queue.push(at, Happening::BeginRecount(id));
    }

    /// The workers of a gateway count anew, and have all done so with their next signs of life.
    pub(super) fn begin_recount(&mut self, id: GatewayId) {
        let ledgers: Vec<Ledger> = (0..self.scenario.workers)
            .map(|worker| self.ledger(id, worker))
            .collect();
        if let Some(gateway) = self.same_gateway(id) {
            gateway.policy.begin_recount(&ledgers);
            let at = self.now.plus(BEAT);
            self.queue.push(at, Happening::EndRecount(id));
        }
    }

    /// Nobody has what was not counted.
    pub(super) fn end_recount(&mut self, id: GatewayId) {
        let now = self.now;
        if let Some(gateway) = self.same_gateway(id) {
            gateway.policy.end_recount(now);
        }
    }

    /// What a worker has by its own books: what it was told of.
    fn ledger(&self, id: GatewayId, worker: u8) -> Ledger {
        let mut ledger = Ledger::default();
        let of_worker = self.connections.iter().filter(|connection| {
            usize::from(connection.gateway) == id.index && connection.worker == worker
        });
        for connection in of_worker {
            match connection.stage {
                Stage::Calling | Stage::Accepted => {
                    let first = connection.pods[0].filter(|_| connection.is_chosen);
                    if let Some(first) = first {
                        ledger.post(first.address(), &Posting::SENT);
                    }
                }
                // It does not know yet that the pod has ended it.
                Stage::Open | Stage::Severed => {
                    let pod = connection.pod().address();
                    ledger.post(pod, &Posting::OPENED);
                }
                Stage::Over => {}
            }
        }
        ledger
    }
}
