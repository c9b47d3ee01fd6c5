//! The order of the pods.

use std::cmp::{Ordering, Reverse};

use wsbalancer_client::{PodState, PodStatus};

/// By what pods are ordered, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) key: Key,
    pub(crate) reversed: bool,
}

/// By what pods are ordered; each has a direction in which it is of most use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// As people count: pod-9 before pod-10.
    Name,
    /// The fullest first.
    Count,
    /// What needs attention first.
    State,
}

impl Order {
    /// What needs attention first.
    pub(crate) const WORST_FIRST: Self = Self {
        key: Key::State,
        reversed: false,
    };

    /// The order after somebody has asked for `key`: asked again, it turns around.
    pub(crate) fn ask(&mut self, key: Key) {
        self.reversed = self.key == key && !self.reversed;
        self.key = key;
    }

    /// Whether small stands before large.
    pub(crate) fn is_ascending(self) -> bool {
        (self.key == Key::Count) == self.reversed
    }

    pub(crate) fn sort(self, pods: &mut [&PodStatus]) {
        pods.sort_by(|one, other| {
            let by_key = match self.key {
                Key::Name => by_name(one, other),
                Key::Count => other.agents_connections.cmp(&one.agents_connections),
                Key::State => badness(one).cmp(&badness(other)),
            };
            let by_key = if self.reversed {
                by_key.reverse()
            } else {
                by_key
            };
            by_key.then_with(|| by_name(one, other))
        });
    }
}

/// What a pod goes by: its name or, where it tells none, its address.
pub(crate) fn name(pod: &PodStatus) -> &str {
    let name = pod.pod_name.as_deref();
    name.filter(|name| !name.is_empty()).unwrap_or(&pod.address)
}

fn by_name(one: &PodStatus, other: &PodStatus) -> Ordering {
    natural(name(one), name(other)).then_with(|| natural(&one.address, &other.address))
}

/// The worst first, as the page has them: by state, and then those that are furthest from even.
fn badness(pod: &PodStatus) -> (u8, Reverse<u64>) {
    // With few WebSockets one is much.
    let is_off = (pod.estimate - pod.even_share).abs() > 2.0;
    let load = pod.load.filter(|_| is_off).unwrap_or(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and the cast saturates"
    )]
    let tenths = ((load - 1.0).abs() * 10.0).round() as u64;
    (rank(&pod.state), Reverse(tenths))
}

/// A state that this client does not know may be the worst of all.
fn rank(state: &PodState) -> u8 {
    match state {
        PodState::Other(_) => 0,
        PodState::Unhealthy => 1,
        PodState::Unknown => 2,
        PodState::Failing => 3,
        PodState::Refusing => 4,
        PodState::Ejected => 5,
        PodState::Stale => 6,
        PodState::Full => 7,
        PodState::Draining => 8,
        PodState::SlowStart => 9,
        PodState::Healthy => 10,
    }
}

/// Compares texts with the numbers in them as numbers.
fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (Some(left), Some(right)) = (one.chars().next(), other.chars().next()) else {
            return one.len().cmp(&other.len());
        };
        let by_part = if left.is_ascii_digit() && right.is_ascii_digit() {
            by_number(take_digits(&mut one), take_digits(&mut other))
        } else {
            one = &one[left.len_utf8()..];
            other = &other[right.len_utf8()..];
            left.cmp(&right)
        };
        if by_part.is_ne() {
            return by_part;
        }
    }
}

/// Takes the digits off the front of a text.
fn take_digits<'text>(text: &mut &'text str) -> &'text str {
    let end = text.find(|character: char| !character.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    digits
}

/// Compares numbers of any length; of the same number, the one with fewer zeros comes first.
fn by_number(one: &str, other: &str) -> Ordering {
    let (left, right) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    let by_value = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
    by_value.then_with(|| one.len().cmp(&other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::sample;

    fn sorted(order: Order, pods: &[PodStatus]) -> Vec<&str> {
        let mut pods: Vec<&PodStatus> = pods.iter().collect();
        order.sort(&mut pods);
        pods.into_iter().map(name).collect()
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let names = [
            "",
            "10.0.0.2:80",
            "10.0.0.10:80",
            "pod",
            "pod-2",
            "pod-02",
            "pod-9b",
            "pod-10",
            "pod-18446744073709551616",
            "pod-x",
            "podé",
        ];
        for (place, one) in names.iter().enumerate() {
            for (other_place, other) in names.iter().enumerate() {
                let expected = place.cmp(&other_place);
                assert_eq!(natural(one, other), expected, "{one} {other}");
            }
        }
    }

    #[test]
    fn each_key_orders_and_turns_around_when_it_is_asked_for_again() {
        let pods = [
            sample::pod("b", 7, "healthy"),
            sample::pod("a", 7, "stale"),
            sample::pod("c", 9, "unhealthy"),
        ];
        let mut order = Order::WORST_FIRST;
        assert_eq!(sorted(order, &pods), ["c", "a", "b"]);
        order.ask(Key::Name);
        assert_eq!(sorted(order, &pods), ["a", "b", "c"]);
        order.ask(Key::Name);
        assert_eq!(sorted(order, &pods), ["c", "b", "a"]);
        order.ask(Key::Count);
        assert_eq!(sorted(order, &pods), ["c", "a", "b"]);
        assert!(!order.is_ascending());
        order.ask(Key::Count);
        assert_eq!(sorted(order, &pods), ["a", "b", "c"]);
        assert!(order.is_ascending());
        order.ask(Key::State);
        assert_eq!(sorted(order, &pods), ["c", "a", "b"]);
        assert_eq!(order, Order::WORST_FIRST);
    }

    #[test]
    fn in_one_state_those_furthest_from_even_come_first() {
        let pods = [
            sample::pod("even", 103, "healthy"),
            sample::pod("below", 20, "healthy"),
            sample::pod("above", 140, "healthy"),
            sample::pod("silent", 0, "unknown"),
            sample::pod("full", 100, "full"),
        ];
        let worst_first = ["silent", "full", "below", "above", "even"];
        assert_eq!(sorted(Order::WORST_FIRST, &pods), worst_first);
    }

    #[test]
    fn a_pod_without_a_name_goes_by_its_address() {
        let mut pod = sample::pod("", 0, "healthy");
        assert_eq!(name(&pod), pod.address);
        pod.pod_name = None;
        assert_eq!(name(&pod), pod.address);
    }
}
