//! What this gateway does on one pod: the part of the pod's record that changes with every WebSocket.
//! It is kept and shared apart from the rest, so it is small and of a fixed layout.
//!
//! Opens and closes are counted from the record's beginning. The counters may wrap, their
//! differences don't.

use zerocopy::native_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What workers did on a pod: so many …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posting {
    /// … upgrades are on their way …
    pub sent: u32,
    /// … and are so no more, …
    pub arrived: u32,
    /// … WebSockets are open …
    pub opened: u32,
    /// … and have ended, …
    pub closed: u32,
    /// … sessions have begun, whose WebSockets are still to come …
    pub begun: u32,
    /// … and are waited for no more.
    pub continued: u32,
}

impl Posting {
    const NONE: Self = Self {
        sent: 0,
        arrived: 0,
        opened: 0,
        closed: 0,
        begun: 0,
        continued: 0,
    };
    /// An upgrade is on its way …
    pub const SENT: Self = Self {
        sent: 1,
        ..Self::NONE
    };
    /// … or is so no more.
    pub const ARRIVED: Self = Self {
        arrived: 1,
        ..Self::NONE
    };
    /// A WebSocket is open …
    pub const OPENED: Self = Self {
        opened: 1,
        ..Self::NONE
    };
    /// … or has ended.
    pub const CLOSED: Self = Self {
        closed: 1,
        ..Self::NONE
    };
    /// A session has begun.
    pub const BEGUN: Self = Self {
        begun: 1,
        ..Self::NONE
    };

    /// This and `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            arrived: self.arrived.saturating_add(other.arrived),
            opened: self.opened.saturating_add(other.opened),
            closed: self.closed.saturating_add(other.closed),
            begun: self.begun.saturating_add(other.begun),
            continued: self.continued.saturating_add(other.continued),
        }
    }
}

/// What this gateway has on a pod, and has had.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Traffic {
    /// Upgrades on their way. They are in no report: the pod does not count them yet.
    in_flight: U32,
    /// WebSockets opened through this Envoy.
    pub(super) opened: U32,
    /// WebSockets closed that were opened through this Envoy.
    pub(super) closed: U32,
    /// Openers of sessions that the pod answered, less those whose WebSocket has opened since: with
    /// `opened`, what has begun on the pod. Only its differences mean something.
    pub(super) sessions: U32,
    /// Open WebSockets of workers that are lost: nobody will tell of their ends.
    lost: U32,
    /// Of the opened and the closed, those that workers of other versions opened and closed.
    opened_elsewhere: U32,
    closed_elsewhere: U32,
    /// WebSockets that are open by the books of those who took part in the last recount …
    recounted: U32,
    /// … and upgrades on their way.
    recounted_in_flight: U32,
}

impl Traffic {
    /// Enters what workers did. Of the WebSockets that ended, those that had been opened on this
    /// record: one that was opened on a record that was forgotten is not among them. How many.
    pub(crate) fn post(&mut self, posting: &Posting) -> u32 {
        let Posting { sent, arrived, .. } = *posting;
        for in_flight in [&mut self.in_flight, &mut self.recounted_in_flight] {
            let sum = in_flight.get().saturating_add(sent);
            in_flight.set(sum.saturating_sub(arrived));
        }
        add(&mut self.opened, posting.opened);
        let closed = posting.closed.min(left(self.opened, self.closed));
        add(&mut self.closed, closed);
        let recounted = self.recounted.get().saturating_add(posting.opened);
        self.recounted.set(recounted.saturating_sub(closed));
        let sessions = self.sessions.get().wrapping_add(posting.begun);
        self.sessions.set(sessions.wrapping_sub(posting.continued));
        closed
    }

    /// Upgrades on their way to the pod.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// WebSockets on the pod that are open through this Envoy.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open_of(self.opened, self.closed)
    }

    /// How many of so many that were opened are open, of which so many were closed.
    pub(super) const fn open_of(&self, opened: U32, closed: U32) -> u32 {
        left(opened, closed).saturating_sub(self.lost.get())
    }

    /// WebSockets that workers of this version have opened, and how many of them have ended; both
    /// may wrap.
    pub(super) fn opened_and_closed_here(&self) -> (u32, u32) {
        let ended = self.closed.get().wrapping_add(self.lost.get());
        let closed = ended.wrapping_sub(self.closed_elsewhere.get());
        (since(self.opened, self.opened_elsewhere), closed)
    }

    /// All workers are to count anew what they have on the pod.
    pub(crate) fn begin_recount(&mut self) {
        self.recounted.set(0);
        self.recounted_in_flight.set(0);
    }

    /// A worker counts what it has, while that is `recounted`, or comes later than all others.
    pub(crate) fn add_holding(&mut self, open: u32, in_flight: u32, is_recounting: bool) {
        let add = |count: &mut U32, more| count.set(count.get().saturating_add(more));
        add(&mut self.recounted, open);
        add(&mut self.recounted_in_flight, in_flight);
        if !is_recounting {
            self.lost.set(self.lost.get().saturating_sub(open));
            add(&mut self.in_flight, in_flight);
        }
    }

    /// Nobody has anything else on the pod than was counted anew. Whether that is news.
    pub(crate) fn end_recount(&mut self) -> bool {
        let before = (self.lost, self.in_flight);
        let elsewhere = since(self.opened_elsewhere, self.closed_elsewhere);
        let known = left(self.opened, self.closed).saturating_sub(elsewhere);
        self.lost.set(known.saturating_sub(self.recounted.get()));
        self.in_flight = self.recounted_in_flight;
        before != (self.lost, self.in_flight)
    }

    /// Workers of other versions have so many WebSockets open on the pod; how many more that is than
    /// before.
    pub(crate) fn count_elsewhere(&mut self, open: u32) -> u32 {
        let before = since(self.opened_elsewhere, self.closed_elsewhere);
        let (more, fewer) = (open.saturating_sub(before), before.saturating_sub(open));
        add(&mut self.opened, more);
        add(&mut self.opened_elsewhere, more);
        add(&mut self.closed, fewer);
        add(&mut self.closed_elsewhere, fewer);
        more
    }
}

/// By how much a counter has grown.
pub(super) const fn since(now: U32, then: U32) -> u32 {
    now.get().wrapping_sub(then.get())
}

/// How many of so many that were opened are left, of which so many were closed; none where more were
/// closed, for some of them were opened later.
pub(super) const fn left(opened: U32, closed: U32) -> u32 {
    let left = since(opened, closed);
    if left > u32::MAX / 2 { 0 } else { left }
}

fn add(counter: &mut U32, more: u32) {
    counter.set(counter.get().wrapping_add(more));
}
