//! Which records a table has once its pods are listed anew: those of the pods on the list, and behind
//! them those of pods that are away.
//!
//! A DNS server may tell some of the pods at a time, and a control plane may lose one for a moment.
//! A pod that was away for a moment keeps its counts and is not new. What this gateway has open on
//! it lives on meanwhile, and is counted on; nothing else sees its record until it is back. Whoever
//! comes under the same address much later is another pod.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::Rules;
use crate::pod::{Member, MembershipChange, PodAddress, PodRecord};

/// A pod that left is remembered for so long, or for as long as a count is trusted.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// … and no more than so many pods are, for each is in every copy of the table.
const MOST_AWAY: usize = 256;

/// The records of a table.
pub(super) struct Roster {
    /// Those of the pods that are listed, in the order of the list …
    pub(super) present: Vec<PodRecord>,
    /// … and those of pods that are away, the last to leave first.
    pub(super) away: Vec<PodRecord>,
    /// What the list changed.
    pub(super) change: MembershipChange,
}

impl Roster {
    /// What a list of `members` that is of `now` makes of a table's records.
    pub(super) fn after(
        records: &[PodRecord],
        members: &[Member],
        rules: &Rules,
        now: Timestamp,
    ) -> Self {
        let is_remembered = |pod: &PodRecord| {
            !pod.is_away() || now.since(pod.away_since()) <= rules.cache_ttl.max(REMEMBERED_FOR)
        };
        let known = records.iter().filter(|pod| is_remembered(pod));
        let mut known: BTreeMap<PodAddress, PodRecord> =
            known.map(|pod| (pod.address(), *pod)).collect();
        let before = records.iter().filter(|pod| !pod.is_away()).count();
        let mut stayed = 0_usize;
        let mut present = Vec::with_capacity(members.len());
        for member in members {
            let known = known.remove(&member.pod);
            let mut pod = known.unwrap_or_else(|| PodRecord::new(member.pod));
            if known.is_some() && !pod.is_away() {
                stayed = stayed.saturating_add(1);
            }
            pod.come_back();
            pod.set_member(member);
            present.push(pod);
        }
        let mut away: Vec<PodRecord> = known.into_values().collect();
        for pod in &mut away {
            pod.leave(now);
        }
        away.sort_by_key(|pod| Reverse(pod.away_since()));
        away.truncate(MOST_AWAY);
        let change = MembershipChange {
            pods: present.len(),
            added: present.len().saturating_sub(stayed),
            removed: before.saturating_sub(stayed),
        };
        Self {
            present,
            away,
            change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Posting;
    use crate::testing::{NOW, RULES, address};

    fn listed(pods: &[u8]) -> Vec<Member> {
        pods.iter().map(|n| Member::new(address(*n))).collect()
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    /// What lists make of no records, each so many seconds after [`NOW`].
    fn after(lists: &[(u64, &[u8])]) -> Roster {
        let none = Roster::after(&[], &[], &RULES, NOW);
        lists.iter().fold(none, |roster, (seconds, pods)| {
            let records = [roster.present, roster.away].concat();
            Roster::after(&records, &listed(pods), &RULES, later(*seconds))
        })
    }

    fn numbers(records: &[PodRecord]) -> Vec<u8> {
        let number = |pod: &PodRecord| (1..=9).find(|n| pod.address() == address(*n)).unwrap();
        records.iter().map(number).collect()
    }

    #[test]
    fn the_last_to_leave_come_first() {
        let roster = after(&[(0, &[1, 2, 3, 4]), (1, &[4, 3, 1]), (2, &[4, 5])]);
        assert_eq!(numbers(&roster.present), [4, 5]);
        assert_eq!(numbers(&roster.away), [1, 3, 2]);
        let expect = MembershipChange {
            pods: 2,
            added: 1,
            removed: 2,
        };
        assert_eq!(roster.change, expect);
    }

    #[test]
    fn who_comes_back_was_not_there_before() {
        let roster = after(&[(0, &[1, 2]), (1, &[1]), (2, &[1, 2])]);
        assert!(roster.away.is_empty());
        let expect = MembershipChange {
            pods: 2,
            added: 1,
            removed: 0,
        };
        assert_eq!(roster.change, expect);
    }

    /// From when it left, however often others are listed meanwhile.
    #[test]
    fn who_is_away_for_long_is_forgotten() {
        let mut roster = after(&[(0, &[1, 2])]);
        roster.present[1].traffic_mut().post(&Posting::OPENED);
        let mut opened = Vec::new();
        for seconds in [10, 40, 70, 71] {
            let records = [roster.present, roster.away].concat();
            roster = Roster::after(&records, &listed(&[1]), &RULES, later(seconds));
            let back = [&roster.present[..], &roster.away].concat();
            let back = Roster::after(&back, &listed(&[2]), &RULES, later(seconds));
            opened.push(back.present[0].opened());
        }
        assert_eq!(opened, [1, 1, 1, 0]);
        assert!(roster.away.is_empty());
    }

    #[test]
    fn a_count_is_remembered_for_as_long_as_it_is_trusted() {
        let rules = Rules {
            cache_ttl: Duration::from_secs(300),
            ..RULES
        };
        let there = Roster::after(&[], &listed(&[1]), &rules, NOW);
        let gone = Roster::after(&there.present, &[], &rules, NOW);
        for (seconds, expect) in [(300, 1), (301, 0)] {
            let roster = Roster::after(&gone.away, &[], &rules, later(seconds));
            assert_eq!(roster.away.len(), expect);
        }
    }

    #[test]
    fn of_many_that_leave_some_are_forgotten_at_once() {
        let many: Vec<Member> = (0..=u16::MAX >> 6)
            .map(|port| format!("10.0.0.1:{}", port + 1).parse().unwrap())
            .map(Member::new)
            .collect();
        let there = Roster::after(&[], &many, &RULES, NOW);
        assert_eq!(there.present.len(), 1_024);
        let gone = Roster::after(&there.present, &[], &RULES, NOW);
        assert_eq!(gone.away.len(), MOST_AWAY);
        assert_eq!(gone.change.removed, 1_024);
    }
}
