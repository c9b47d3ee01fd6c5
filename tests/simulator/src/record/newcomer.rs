//! What a pod gets that was added, from the moment each gateway knows of it.

use std::time::Duration;

use wsbalancer::clock::Timestamp;

use crate::pods::PodId;

/// How finely time is divided.
const STEP: Duration = Duration::from_secs(2);

/// The choices that gateways made within one step of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// How long after a gateway learned of the pod it begins.
    pub since: Duration,
    /// How long after a gateway learned of the pod it ends.
    pub until: Duration,
    /// All choices.
    pub choices: u32,
    /// Those of the pod.
    pub chosen: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Newcomer {
    /// When each gateway learned of which.
    known: Vec<Option<(Timestamp, PodId)>>,
    /// All choices and those of the pod, by step.
    steps: Vec<(u32, u32)>,
}

impl Newcomer {
    /// The gateway learns of the pod.
    pub(crate) fn introduce(&mut self, gateway: usize, pod: PodId, now: Timestamp) {
        if self.known.len() <= gateway {
            self.known.resize(gateway + 1, None);
        }
        self.known[gateway] = Some((now, pod));
    }

    /// The gateway chooses the pod `chosen`.
    pub(crate) fn choose(&mut self, gateway: usize, chosen: PodId, now: Timestamp) {
        let Some(&Some((since, pod))) = self.known.get(gateway) else {
            return;
        };
        let step = now.since(since).as_nanos() / STEP.as_nanos();
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        if self.steps.len() <= step {
            self.steps.resize(step + 1, (0, 0));
        }
        self.steps[step].0 += 1;
        self.steps[step].1 += u32::from(chosen == pod);
    }

    pub(super) fn finish(self) -> Vec<Bin> {
        let bins = (0..).zip(self.steps);
        bins.map(|(step, (choices, chosen))| Bin {
            since: STEP * step,
            until: STEP * (step + 1),
            choices,
            chosen,
        })
        .collect()
    }
}
