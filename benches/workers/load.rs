//! What is asked of the workers, and when: upgrades at an even rate, of which some end soon, and
//! then a storm in which all others end.

use std::time::Duration;

use wsbalancer::clock::Timestamp;

/// The load of all workers together.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) workers: u32,
    /// Upgrades a second.
    pub(crate) rate: u32,
    /// How long they come.
    pub(crate) opening: Duration,
}

/// What happens to one of a worker's upgrades, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Its request comes.
    Begin { upgrade: usize },
    /// Its pod has accepted it.
    Open { upgrade: usize },
    /// It ends.
    Close { upgrade: usize },
}

/// How long a pod takes to accept an upgrade.
const HANDSHAKE: Duration = Duration::from_millis(5);
/// How long those live that do not wait for the storm: one in six.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const SHORT_LIVED: usize = 6;
/// How long the storm lasts.
pub(crate) const STORM: Duration = Duration::from_secs(2);

impl Load {
    /// All upgrades.
    pub(crate) fn upgrades(&self) -> u32 {
        self.rate * u32::try_from(self.opening.as_secs()).expect("it is no year")
    }

    /// Those of one worker.
    fn share(&self) -> u32 {
        self.upgrades() / self.workers
    }

    /// How much later than the first a worker begins what comes each `period`.
    pub(crate) fn offset(&self, worker: u32, period: Duration) -> Duration {
        period * worker / self.workers
    }

    /// When the upgrades of a worker begin.
    pub(crate) fn begins(
        &self,
        worker: u32,
        begins_at: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Step)> {
        let period = Duration::from_secs(1) * self.workers / self.rate;
        let first = begins_at.plus(self.offset(worker, period));
        let share = self.share();
        let at = move |n| first.plus(self.opening / share * n);
        (0..share)
            .zip(0..)
            .map(move |(n, upgrade)| (at(n), Step::Begin { upgrade }))
    }

    /// What follows on a step that was taken at `now`.
    pub(crate) fn after(
        &self,
        step: Step,
        worker: u32,
        begins_at: Timestamp,
        now: Timestamp,
    ) -> Option<(Timestamp, Step)> {
        match step {
            Step::Begin { upgrade } => Some((now.plus(HANDSHAKE), Step::Open { upgrade })),
            Step::Open { upgrade } if upgrade.is_multiple_of(SHORT_LIVED) => {
                Some((now.plus(SHORT_LIFE), Step::Close { upgrade }))
            }
            Step::Open { upgrade } => {
                let storm = begins_at.plus(self.opening + SHORT_LIFE);
                let spacing = STORM / self.share();
                let place = u32::try_from(upgrade).expect("they are not so many");
                let at = storm.plus(spacing * place + self.offset(worker, spacing));
                Some((at, Step::Close { upgrade }))
            }
            Step::Close { .. } => None,
        }
    }

    /// When everything should be done.
    pub(crate) fn length(&self) -> Duration {
        self.opening + SHORT_LIFE + STORM
    }
}
