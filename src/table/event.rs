//! What happens to a service's pods, and what it turns out to mean.

use crate::clock::Timestamp;
use crate::metric::{Complaint, LoadReport, PollFailure};
use crate::pod::{
    DiscoveryFailure, HostList, Judgment, MembershipChange, PodAddress, Posting, Reported,
};

/// What happened, as far as the table is concerned.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An upgrade is on its way to `pod`.
    Chosen {
        /// The pod that was chosen first.
        pod: PodAddress,
    },
    /// An upgrade that was on its way to `pod` is not any more.
    Settled {
        /// The pod that was chosen first, whichever served in the end.
        pod: PodAddress,
    },
    /// `pod` accepted an upgrade: a WebSocket is open.
    Opened {
        /// The pod that serves.
        pod: PodAddress,
        /// Since when.
        at: Timestamp,
    },
    /// `pod` answered the opener of a session, which has no WebSocket yet.
    SessionBegun {
        /// The pod that keeps the session.
        pod: PodAddress,
    },
    /// `pod` accepted an upgrade that carries a session: its WebSocket is open.
    OpenedInSession {
        /// The pod that serves.
        pod: PodAddress,
    },
    /// A WebSocket on `pod` has ended.
    Closed {
        /// The pod that served.
        pod: PodAddress,
    },
    /// A WebSocket on `pod` has ended within [`PROVEN`](crate::pod::PROVEN), and its client has not
    /// disconnected.
    Cut {
        /// The pod that served.
        pod: PodAddress,
        /// When its handshake was sent on.
        began_at: Timestamp,
        /// When it was opened.
        opened_at: Timestamp,
        /// When it ended.
        at: Timestamp,
    },
    /// An upgrade went from `pod` on to the next one. Envoy does not tell why: there may have been no
    /// connection, or an answer that the route retries on.
    PassedBy {
        /// The pod that was left.
        pod: PodAddress,
        /// When the upgrade was sent on.
        began_at: Timestamp,
        /// When it was noticed.
        at: Timestamp,
    },
    /// `pod` answered an upgrade with 5xx, or not at all.
    Failed {
        /// The pod that was tried last.
        pod: PodAddress,
        /// When the upgrade was sent on.
        began_at: Timestamp,
        /// When it was noticed.
        at: Timestamp,
    },
    /// `pod` did not accept a connection.
    Refused {
        /// The pod that refused.
        pod: PodAddress,
        /// When it was noticed.
        at: Timestamp,
    },
    /// `pod` has answered a handshake with 101, and told its count with it or not. It comes before
    /// that WebSocket is open.
    LoadReported {
        /// The pod that serves.
        pod: PodAddress,
        /// When the answer came.
        at: Timestamp,
        /// What it says.
        report: LoadReport,
    },
    /// The poll of `pod` that was sent at `asked_at` has ended.
    Answered {
        /// The pod that was asked.
        pod: PodAddress,
        /// When it was asked: tells this answer from an earlier poll's.
        asked_at: Timestamp,
        /// What the pod says, or why it says nothing.
        outcome: Result<Reported, PollFailure>,
    },
    /// The poll of `pod` that was sent at `asked_at` did not get there, because of where it was sent
    /// from: another worker is to send it.
    Unreached {
        /// The pod that was asked.
        pod: PodAddress,
        /// When it was asked.
        asked_at: Timestamp,
    },
    /// The question for the service's pods that was asked at `asked_at` has ended.
    Listed {
        /// When it was asked: tells this answer from an earlier one's.
        asked_at: Timestamp,
        /// The pods, or why there is no list.
        outcome: Result<HostList, DiscoveryFailure>,
    },
}

impl Event {
    /// What it changes of what this gateway has on a pod, and by when what it opened was open; none
    /// where it changes other things, or where it depends on the pod's record what it changes.
    #[must_use]
    pub fn posting(&self) -> Option<(PodAddress, Posting, Timestamp)> {
        let (pod, posting, at) = match *self {
            Self::Chosen { pod } => (pod, Posting::SENT, Timestamp::NEVER),
            Self::Settled { pod } => (pod, Posting::ARRIVED, Timestamp::NEVER),
            Self::Opened { pod, at } => (pod, Posting::OPENED, at),
            Self::SessionBegun { pod } => (pod, Posting::BEGUN, Timestamp::NEVER),
            Self::Closed { pod } => (pod, Posting::CLOSED, Timestamp::NEVER),
            _ => return None,
        };
        Some((pod, posting, at))
    }
}

/// What an answer turned out to mean, for statistics and log.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A poll brought a count.
    Counted {
        /// The pod that was asked.
        pod: PodAddress,
        /// What it reports.
        connections: u64,
        /// The estimate before.
        expected: f64,
        /// Whether the poll before brought none.
        recovered: bool,
        /// Why the count is not believed; none where it is.
        doubted: Option<Judgment>,
        /// Whether the pod's counts have become [implausible](crate::pod::PodRecord::is_implausible),
        /// or are so no more; none where nothing has changed.
        implausible: Option<bool>,
    },
    /// A poll brought no count.
    PollFailed {
        /// The pod that was asked.
        pod: PodAddress,
        /// Why.
        failure: PollFailure,
        /// Whether the poll before brought a count, or failed for another reason.
        is_news: bool,
    },
    /// An answer to a handshake had a mistake in its load report that the pod never made before.
    Complained {
        /// The pod that answered.
        pod: PodAddress,
        /// What is wrong.
        complaint: Complaint,
    },
    /// An answer came that nobody waited for any more.
    PollIgnored,
    /// A list of the pods came.
    Listed {
        /// What it changed.
        change: MembershipChange,
        /// Whether there was none the time before.
        recovered: bool,
    },
    /// No list of the pods came, and those that were known stay.
    DiscoveryFailed {
        /// Why.
        failure: DiscoveryFailure,
        /// Whether there was one the time before, or none for another reason.
        is_news: bool,
    },
}
