//! The fewest in the last report, whatever was opened since: what the Traefik plugin does.

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::table::Event;

use super::{Policy, Sight, fewest};
use crate::pods::PodId;

#[derive(Default)]
pub(super) struct LastReport {
    pods: Vec<PodId>,
    /// By number of the pod; none before the first report.
    reports: Vec<Option<u32>>,
}

impl Policy for LastReport {
    fn reset(&mut self, pods: &[PodId], _now: Timestamp) {
        self.pods = pods.to_vec();
    }

    /// The plugin takes the first of the fewest. Ties at random are kinder to it.
    fn choose(&mut self, _sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let reported = self.pods.iter().filter_map(|&pod| {
            let report = self.reports.get(pod.index())?;
            report.map(|count| (pod, count))
        });
        fewest(reported, random)
    }

    fn apply(&mut self, event: &Event) {
        let Event::Answered {
            pod,
            outcome: Ok(reported),
            ..
        } = *event
        else {
            return;
        };
        let index = PodId::from_address(pod).index();
        if self.reports.len() <= index {
            self.reports.resize(index + 1, None);
        }
        self.reports[index] = u32::try_from(reported.connections).ok();
    }
}
