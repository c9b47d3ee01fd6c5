//! What gateways learn from the pods, and when.

use wsbalancer::metric::PollFailure;
use wsbalancer::pod::Reported;
use wsbalancer::poll::{EARLY_LOOK, SHORTEST_TICK};
use wsbalancer::table::Event;

use super::{GatewayId, Happening, Question, Simulation};
use crate::pods::PodId;
use crate::scenario::{BEGINNING, Wrong};

impl Simulation<'_> {
    /// The gateway asks all pods together, and will again.
    pub(super) fn poll(&mut self, id: GatewayId) {
        let interval = self.scenario.interval;
        let Some(gateway) = self.same_gateway(id) else {
            return;
        };
        let interval = gateway.first_intervals.next().unwrap_or(interval);
        for pod in gateway.pods.clone() {
            self.ask(id, pod);
        }
        let next = self.now.plus(interval);
        self.queue.push(next, Happening::Poll(id));
    }

    /// The gateway asks one pod.
    pub(super) fn ask(&mut self, id: GatewayId, pod: PodId) {
        let now = self.now;
        let Some(gateway) = self.same_gateway(id) else {
            return;
        };
        gateway.policy.ask(pod, now);
        self.send_question(id, pod, false);
    }

    fn send_question(&mut self, gateway: GatewayId, pod: PodId, is_early: bool) {
        self.record.ask(self.now, pod, is_early);
        self.send(Happening::Count(Question {
            gateway,
            pod,
            asked_at: self.now,
        }));
    }

    /// The gateway at `index` has sent a handshake to a pod: it looks whether counts are needed, as
    /// often as the filter does.
    pub(super) fn look_early(&mut self, index: usize) {
        let now = self.now;
        let gateway = &mut self.gateways[index];
        if now.since(gateway.looked_at) < EARLY_LOOK {
            return;
        }
        gateway.looked_at = now;
        if gateway.policy.wants_counts(now) {
            let id = self.gateway_id(index);
            self.queue
                .push(now.plus(SHORTEST_TICK), Happening::Wake(id));
        }
    }

    /// The gateway asks for the counts that are needed before their time.
    pub(super) fn wake(&mut self, id: GatewayId) {
        let now = self.now;
        let Some(gateway) = self.same_gateway(id) else {
            return;
        };
        for pod in gateway.policy.ask_early(now) {
            self.send_question(id, pod, true);
        }
    }

    /// The pod counts, if it is there.
    pub(super) fn count(&mut self, question: Question) {
        let counting = self.scenario.counting;
        let now = self.now;
        let pod = self.pods.get_mut(question.pod);
        let count = pod.is_up().then(|| pod.count(now, counting));
        let count = count.map(|count| self.say(question.pod, count));
        self.send(Happening::Answer(question, count));
    }

    /// What the pod says that it counted.
    pub(super) fn say(&self, pod: PodId, count: u32) -> u32 {
        match self.scenario.counting.first {
            _ if pod.0 != 0 => count,
            Wrong::Nothing => count,
            Wrong::Zero => 0,
            Wrong::Once(since, wrong) => {
                let elapsed = self.now.since(BEGINNING);
                let is_wrong = (since..since + self.scenario.interval).contains(&elapsed);
                if is_wrong { wrong } else { count }
            }
        }
    }

    /// The gateway learns what the pod counted.
    pub(super) fn answer_poll(&mut self, question: Question, count: Option<u32>) {
        let Question {
            gateway,
            pod,
            asked_at,
        } = question;
        let limit = self.limit_of(pod);
        let report = count.map(|count| Reported {
            limit,
            ..Reported::of(count.into())
        });
        let Some(gateway) = self.same_gateway(gateway) else {
            return;
        };
        gateway.policy.apply(&Event::Answered {
            pod: pod.address(),
            asked_at,
            outcome: report.ok_or(PollFailure::NoAnswer),
        });
    }

    fn limit_of(&self, pod: PodId) -> Option<u64> {
        let is_of_second_half = pod.0 >= (self.scenario.pods / 2).max(1);
        let limit = self.scenario.limit.filter(|_| is_of_second_half);
        limit.or(self.scenario.limit_of_all).map(u64::from)
    }
}
