//! Which warnings are in force.

use super::findings::Findings;
use super::kind::{Kind, Warning};
use crate::metric::PollFailure;
use crate::pod::PodRecord;
use crate::table::Table;

/// What there is to judge by, of one service.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// Its pods.
    pub table: &'a Table,
    /// Polls failed in a row until a pod is unhealthy.
    pub unhealthy_threshold: u32,
}

/// What has come of a judgment, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What has begun.
    pub begun: Vec<Warning>,
    /// What is over.
    pub over: Vec<Warning>,
}

impl Judge<'_> {
    /// Writes the warnings that are in force into `findings`.
    pub fn judge(&self, findings: &mut Findings) -> Verdict {
        let warnings: Vec<Warning> = [self.no_answer()].into_iter().flatten().collect();
        let before = std::mem::replace(&mut findings.warnings, warnings.clone());
        let lacks = |warnings: &[Warning], kind| !warnings.iter().any(|known| known.kind == kind);
        let is_over = |known: &Warning| lacks(&warnings, known.kind);
        let over = before
            .iter()
            .filter(|known| is_over(known))
            .cloned()
            .collect();
        let mut begun = warnings.clone();
        begun.retain(|new| lacks(&before, new.kind));
        Verdict { begun, over }
    }

    /// No pod has ever answered.
    fn no_answer(&self) -> Option<Warning> {
        let pods = self.table.pods();
        let first = pods.first()?;
        let never = |pod: &PodRecord| {
            let poll = pod.poll();
            !poll.succeeded_at().happened() && poll.failures_in_a_row() >= self.unhealthy_threshold
        };
        if !pods.iter().all(never) {
            return None;
        }
        let failure = first.last_failure().unwrap_or(PollFailure::NoAnswer);
        let count = pods.len();
        Some(Warning {
            kind: Kind::NoAnswer,
            message: format!("none of its {count} pods has ever answered a poll: {failure}"),
            advice: None,
        })
    }
}
