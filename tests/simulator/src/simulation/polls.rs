//! What gateways learn from the pods, and when.

use wsbalancer::metric::PollFailure;
use wsbalancer::pod::Reported;
use wsbalancer::table::Event;

use super::{GatewayId, Happening, Question, Simulation};
use crate::pods::PodId;

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
        self.send(Happening::Count(Question {
            gateway: id,
            pod,
            asked_at: now,
        }));
    }

    /// The pod counts, if it is there.
    pub(super) fn count(&mut self, question: Question) {
        let pod = self.pods.get(question.pod);
        let count = pod.is_up().then(|| pod.open());
        self.send(Happening::Answer(question, count));
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
        self.scenario
            .limit
            .filter(|_| is_of_second_half)
            .map(u64::from)
    }
}
