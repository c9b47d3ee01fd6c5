//! What waits in one worker for its next change of a table.

use super::event::Event;
use crate::clock::Timestamp;
use crate::pod::{PodAddress, Posting};

/// So much that tells of pods' failures is kept where nothing goes in; more says nothing else.
const MOST_EVIDENCE: usize = 1_000;

/// What waits. What WebSockets do is summed up for each pod, however many there are.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// In the order of their addresses. They go in again and again: what they take is kept.
    postings: Vec<(PodAddress, Waiting)>,
    /// All else, in the order in which it happened.
    events: Vec<Event>,
}

/// What waits for one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub(super) posting: Posting,
    /// When the last of the WebSockets was open; [`Timestamp::NEVER`] where that is noted.
    pub(super) opened_at: Timestamp,
}

impl Backlog {
    /// Adds what happened.
    pub fn add(&mut self, event: &Event) {
        let is_evidence = matches!(
            event,
            Event::PassedBy { .. } | Event::Failed { .. } | Event::Refused { .. }
        );
        if let Some((pod, posting, at)) = event.posting() {
            self.post(pod, posting, at);
        } else if !is_evidence || self.events.len() < MOST_EVIDENCE {
            self.events.push(event.clone());
        }
    }

    /// Adds what the worker did on a pod.
    pub(super) fn post(&mut self, pod: PodAddress, posting: Posting, at: Timestamp) {
        let place = self.place_of(pod).unwrap_or_else(|place| {
            self.postings.insert(place, (pod, Waiting::default()));
            place
        });
        if let Some((_, waiting)) = self.postings.get_mut(place) {
            waiting.posting = waiting.posting.and(posting);
            waiting.opened_at = waiting.opened_at.max(at);
        }
    }

    /// Where a pod is among those for which something waits, or else where it would be.
    fn place_of(&self, pod: PodAddress) -> Result<usize, usize> {
        self.postings.binary_search_by_key(&pod, |(pod, _)| *pod)
    }

    /// How many ends of WebSockets on `pod` wait.
    #[must_use]
    pub fn closed_on(&self, pod: PodAddress) -> u32 {
        let place = self.place_of(pod).ok();
        let waiting = place.and_then(|place| self.postings.get(place));
        waiting.map_or(0, |(_, waiting)| waiting.posting.closed)
    }

    /// What WebSockets did, pod by pod.
    pub(super) fn postings(&self) -> &[(PodAddress, Waiting)] {
        &self.postings
    }

    /// Whether some of that waits.
    pub(super) fn has_postings(&self) -> bool {
        !self.postings.is_empty()
    }

    /// It has gone in.
    pub(super) fn clear_postings(&mut self) {
        self.postings.clear();
    }

    /// The records know when these WebSockets were opened; the traffic does not have them yet.
    pub(super) fn note_opened(&mut self) {
        for (_, waiting) in &mut self.postings {
            waiting.opened_at = Timestamp::NEVER;
        }
    }

    /// All else.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// All else, to go in …
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// … which it did not.
    pub(super) fn put_back(&mut self, mut events: Vec<Event>) {
        events.append(&mut self.events);
        self.events = events;
    }
}
