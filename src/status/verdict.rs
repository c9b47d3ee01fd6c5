//! How a service is, in one sentence: what somebody who is woken at night reads first.
//!
//! It is decided here alone. Whoever shows the status shows this sentence, and adds none of its own.

use std::fmt;

use serde::Serialize;

use super::state::State;

/// Pods further from their even share than this part of it are uneven …
const UNEVEN: f64 = 0.1;
/// … if it is more than so many WebSockets: with few of them, one is much.
const FEW: f64 = 2.0;
/// A longer name would push the sentence out of sight, as long as a label of DNS may be (RFC 1035,
/// section 2.3.4).
const LONGEST_NAME: usize = 63;
/// What does not get new WebSockets is told in this order.
const WORST_FIRST: [State; 8] = [
    State::Unhealthy,
    State::Unknown,
    State::Failing,
    State::Refusing,
    State::Ejected,
    State::Stale,
    State::Full,
    State::Draining,
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gravity {
    /// Nothing is to be done.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Clients feel it, or soon will.
    Critical,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) gravity: Gravity,
    /// One sentence without a full stop.
    pub(super) text: String,
}

/// What is known of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Case<'a> {
    /// For how many seconds no filter has told of it; none while one does.
    pub(super) silent_for: Option<f64>,
    /// Whether Envoy was asked for the pods and has not answered yet.
    pub(super) awaits_list: bool,
    /// Why the last list of pods was none.
    pub(super) discovery_error: Option<&'a str>,
    /// What is wrong with the service as a whole: how bad it is, and one sentence.
    pub(super) warnings: Vec<(Gravity, &'a str)>,
    pub(super) pods: Vec<PodCase<'a>>,
}

/// What is known of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct PodCase<'a> {
    /// What it calls itself.
    pub(super) name: Option<&'a str>,
    pub(super) address: &'a str,
    pub(super) state: State,
    pub(super) reason: &'a str,
    /// Why its last poll failed.
    pub(super) last_error: Option<&'a str>,
    pub(super) even_share: f64,
    /// The estimate in proportion to its even share; none where it takes no part in the balance.
    pub(super) load: Option<f64>,
    /// Whether its counts lack WebSockets that are open on it.
    pub(super) implausible: bool,
    /// What is wrong with its answers.
    pub(super) complaint: Option<&'a str>,
}

impl Verdict {
    /// The gravest of what there is to say.
    pub(super) fn of(case: &Case<'_>) -> Self {
        let findings = [
            case.silence(),
            case.no_pods(),
            case.no_usable_pods(),
            case.warning(),
            case.down(),
            case.discovery(),
            case.uneven(),
            case.implausible(),
            case.complaint(),
        ];
        gravest(findings.into_iter().flatten()).unwrap_or_else(|| case.well())
    }

    fn new(gravity: Gravity, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { gravity, text }
    }
}

/// The gravest. Of equal ones the first is the cause of the others, or hides them.
fn gravest(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.reduce(|one, other| {
        if other.gravity > one.gravity {
            other
        } else {
            one
        }
    })
}

impl Case<'_> {
    fn silence(&self) -> Option<Verdict> {
        let seconds = self.silent_for?;
        let text = format!(
            "No filter has told of this service for {}: what is shown was so then",
            span(seconds)
        );
        Some(Verdict::new(Gravity::Critical, text))
    }

    fn no_pods(&self) -> Option<Verdict> {
        if !self.pods.is_empty() {
            return None;
        }
        match self.discovery_error {
            Some(error) => Some(Verdict::new(
                Gravity::Critical,
                format!("No pods are known: Envoy's list of them could not be read ({error})"),
            )),
            None if self.awaits_list => Some(Verdict::new(
                Gravity::Warning,
                "Waiting for Envoy's list of the pods",
            )),
            None => Some(Verdict::new(
                Gravity::Critical,
                "There are no pods: Envoy lists no host of the cluster",
            )),
        }
    }

    fn no_usable_pods(&self) -> Option<Verdict> {
        let all = self.pods.len();
        if all == 0 || self.pods.iter().any(|pod| pod.state.is_usable()) {
            return None;
        }
        let is_each = |state| self.pods.iter().all(|pod| pod.state == state);
        let is_new = self.pods.iter().all(|pod| pod.last_error.is_none());
        if is_each(State::Unknown) && is_new {
            let text = format!(
                "Waiting for the first counts of {}",
                counted(all, "pod", "pods")
            );
            return Some(Verdict::new(Gravity::Warning, text));
        }
        let text = if is_each(State::Full) && all > 1 {
            format!("All {all} pods are full: new WebSockets are refused")
        } else {
            let pods = counted(all, "pod", "pods");
            format!(
                "None of {pods} gets new WebSockets: {}",
                why(&self.pods.iter())
            )
        };
        Some(Verdict::new(Gravity::Critical, text))
    }

    fn warning(&self) -> Option<Verdict> {
        gravest(
            self.warnings
                .iter()
                .map(|&(gravity, text)| Verdict::new(gravity, text.trim_end_matches('.'))),
        )
    }

    /// Pods that get nothing new, though they are to stay.
    fn down(&self) -> Option<Verdict> {
        let down = || self.pods.iter().filter(|pod| pod.is_down());
        let usable = self.pods.iter().filter(|pod| pod.state.is_usable()).count();
        let count = down().count();
        if count == 0 || usable == 0 {
            return None;
        }
        let gravity = if count >= usable {
            Gravity::Critical
        } else {
            Gravity::Warning
        };
        let verb = if count == 1 { "gets" } else { "get" };
        let all = counted(self.pods.len(), "pod", "pods");
        let why = why(&down());
        let rest = self.spread().map(|spread| match usable {
            1 => String::new(),
            _ if spread.is_uneven => format!("; the other {usable} are uneven, {spread}"),
            _ => format!("; the other {usable} are {spread}"),
        });
        let rest = rest.unwrap_or_default();
        Some(Verdict::new(
            gravity,
            format!("{count} of {all} {verb} nothing new: {why}{rest}"),
        ))
    }

    fn discovery(&self) -> Option<Verdict> {
        let error = self.discovery_error?;
        let text = format!("Envoy's list of the pods could not be read ({error}): it may be old");
        Some(Verdict::new(Gravity::Warning, text))
    }

    fn uneven(&self) -> Option<Verdict> {
        let spread = self.spread().filter(|spread| spread.is_uneven)?;
        let count = counted(spread.pods, "pod", "pods");
        let text = format!("Uneven: {count} {spread}{}", self.meanwhile());
        Some(Verdict::new(Gravity::Warning, text))
    }

    fn implausible(&self) -> Option<Verdict> {
        let count = self.pods.iter().filter(|pod| pod.implausible).count();
        if count == 0 {
            return None;
        }
        let pods = counted(count, "pod", "pods");
        let text = format!("The counts of {pods} lack WebSockets that are open there");
        Some(Verdict::new(Gravity::Warning, text))
    }

    fn complaint(&self) -> Option<Verdict> {
        let mut complaints = self
            .pods
            .iter()
            .filter_map(|pod| Some((pod, pod.complaint?)));
        let (pod, complaint) = complaints.next()?;
        let more = match complaints.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let text = format!("{}{more}: {complaint}", pod.called());
        Some(Verdict::new(Gravity::Warning, text))
    }

    fn well(&self) -> Verdict {
        let meanwhile = self.meanwhile();
        let all = counted(self.pods.len(), "pod", "pods");
        let text = match self.spread() {
            None => format!("Idle: nothing is open on {all}{meanwhile}"),
            Some(spread) if spread.pods == 1 => format!("Even: 1 pod gets all{meanwhile}"),
            Some(spread) => format!("Even: {} pods {spread}{meanwhile}", spread.pods),
        };
        Verdict {
            gravity: Gravity::Ok,
            text,
        }
    }

    /// How far the pods that get new WebSockets are from their even shares; none where nothing is
    /// open.
    fn spread(&self) -> Option<Spread> {
        let usable = self.pods.iter().filter(|pod| pod.state.is_usable());
        let spread = usable.fold(Spread::NONE, |spread, pod| match pod.load {
            Some(load) => spread.add(pod, load),
            None => spread,
        });
        (spread.pods > 0).then_some(spread)
    }

    /// What goes on beside, and is as it should be.
    fn meanwhile(&self) -> String {
        let parts = [
            (State::Draining, "drains", "drain"),
            (State::SlowStart, "starts slowly", "start slowly"),
        ];
        let parts = parts.map(|(state, one, many)| {
            match self.pods.iter().filter(|pod| pod.state == state).count() {
                0 => String::new(),
                count => format!("; {}", counted(count, one, many)),
            }
        });
        parts.concat()
    }
}

impl PodCase<'_> {
    /// Whether it gets nothing new, though nobody wants it to go.
    fn is_down(&self) -> bool {
        !self.state.is_usable() && self.state != State::Draining
    }

    /// What it is called in a sentence: its address where its name could spoil it.
    fn called(&self) -> &str {
        let is_plain = |name: &&str| {
            (1..=LONGEST_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        self.name.filter(is_plain).unwrap_or(self.address)
    }

    fn why(&self) -> String {
        let name = self.called();
        match (self.state, self.last_error) {
            (State::Unknown, Some(error)) => format!("{name} never answered ({error})"),
            (State::Unknown, None) => format!("{name} has yet to answer"),
            (state, _) => format!("{name} is {} ({})", state.name(), self.reason),
        }
    }
}

/// Why these pods get nothing new: of one all that is known, of several how many for which reason.
fn why<'a>(pods: &(impl Iterator<Item = &'a PodCase<'a>> + Clone)) -> String {
    let mut rest = pods.clone();
    if let (Some(only), None) = (rest.next(), rest.next()) {
        return only.why();
    }
    let of_state = |state| {
        let count = pods.clone().filter(|pod| pod.state == state).count();
        let word = match state {
            State::Unknown => "never answered",
            state => state.name(),
        };
        (count > 0).then(|| format!("{count} {word}"))
    };
    let parts: Vec<String> = WORST_FIRST.into_iter().filter_map(of_state).collect();
    parts.join(", ")
}

/// How far pods are from their even shares.
#[derive(Clone, Copy, Debug)]
struct Spread {
    pods: usize,
    /// The smallest and the largest load.
    least: f64,
    most: f64,
    is_uneven: bool,
}

impl Spread {
    const NONE: Self = Self {
        pods: 0,
        least: f64::INFINITY,
        most: 0.0,
        is_uneven: false,
    };

    fn add(self, pod: &PodCase<'_>, load: f64) -> Self {
        // That a pod in its slow start has few is meant to be so.
        let load = match pod.state {
            State::SlowStart => load.max(1.0),
            _ => load,
        };
        let distance = (load - 1.0).abs();
        Self {
            pods: self.pods.saturating_add(1),
            least: self.least.min(load),
            most: self.most.max(load),
            is_uneven: self.is_uneven || (distance > UNEVEN && distance * pod.even_share > FEW),
        }
    }
}

/// Where they are, behind "are".
impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let furthest = (self.most - 1.0).max(1.0 - self.least);
        let (least, most) = (self.least * 100.0, self.most * 100.0);
        if self.is_uneven {
            write!(formatter, "from {least:.0} % to {most:.0} % of their share")
        } else if furthest > UNEVEN {
            write!(formatter, "within {FEW:.0} WebSockets of their share")
        } else {
            // Rounded up, for what is said holds, but for what only rounding made more.
            let percent = (furthest * 100.0 - 1e-6).ceil().max(1.0);
            write!(formatter, "within {percent:.0} % of their share")
        }
    }
}

/// A count with the word for one or for several.
fn counted(count: usize, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{count} {word}")
}

/// A span of time as people say it.
fn span(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::approximate;

    /// Pods in these states, with these estimates; their even share is 100.
    fn pods(pods: &[(State, u64)]) -> Vec<PodCase<'static>> {
        const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let pods = NAMES.into_iter().zip(pods);
        pods.map(|(name, &(state, estimate))| {
            let takes_part = state.is_usable() || state == State::Full;
            PodCase {
                name: Some(name),
                address: "10.0.0.1:80",
                state,
                reason: "it has its reasons",
                last_error: None,
                even_share: 100.0,
                load: takes_part.then(|| approximate(estimate) / 100.0),
                implausible: false,
                complaint: None,
            }
        })
        .collect()
    }

    fn case(of: &[(State, u64)]) -> Case<'static> {
        Case {
            pods: pods(of),
            ..Case::default()
        }
    }

    fn assert_verdict(case: &Case<'_>, gravity: Gravity, text: &str) {
        let verdict = Verdict::of(case);
        assert_eq!((verdict.gravity, verdict.text.as_str()), (gravity, text));
    }

    use Gravity::{Critical, Ok, Warning};
    use State::{Draining, Failing, Full, Healthy, SlowStart, Stale, Unhealthy, Unknown};

    #[test]
    fn all_is_well() {
        for (pods, text) in [
            (
                &[(Healthy, 100), (Healthy, 99), (Healthy, 101)][..],
                "Even: 3 pods within 1 % of their share",
            ),
            (
                &[(Healthy, 93), (Healthy, 104)],
                "Even: 2 pods within 7 % of their share",
            ),
            (
                &[
                    (Healthy, 100),
                    (Healthy, 100),
                    (Draining, 7),
                    (Draining, 900),
                ],
                "Even: 2 pods within 1 % of their share; 2 drain",
            ),
            (
                &[
                    (Healthy, 100),
                    (Healthy, 100),
                    (SlowStart, 5),
                    (Draining, 0),
                ],
                "Even: 3 pods within 1 % of their share; 1 drains; 1 starts slowly",
            ),
            (&[(Healthy, 100)], "Even: 1 pod gets all"),
        ] {
            assert_verdict(&case(pods), Ok, text);
        }
        let mut idle = case(&[(Healthy, 0), (Healthy, 0)]);
        idle.pods.iter_mut().for_each(|pod| pod.load = None);
        assert_verdict(&idle, Ok, "Idle: nothing is open on 2 pods");
        // One WebSocket more than the share is nothing, though it is much of the share.
        let mut few = case(&[(Healthy, 200), (Healthy, 50)]);
        few.pods.iter_mut().for_each(|pod| pod.even_share = 2.0);
        assert_verdict(&few, Ok, "Even: 2 pods within 2 WebSockets of their share");
    }

    #[test]
    fn pods_that_get_nothing_new_come_before_what_is_uneven() {
        for (pods, gravity, text) in [
            (
                &[(Healthy, 100), (Healthy, 120), (Healthy, 80)][..],
                Warning,
                "Uneven: 3 pods from 80 % to 120 % of their share",
            ),
            (
                &[(Healthy, 100), (Healthy, 100), (Full, 40), (Draining, 3)],
                Warning,
                "1 of 4 pods gets nothing new: c is full (it has its reasons); the other 2 are \
                 within 1 % of their share",
            ),
            (
                &[
                    (Healthy, 150),
                    (Healthy, 50),
                    (Healthy, 100),
                    (Unknown, 0),
                    (Full, 10),
                ],
                Warning,
                "2 of 5 pods get nothing new: 1 never answered, 1 full; the other 3 are uneven, \
                 from 50 % to 150 % of their share",
            ),
            (
                &[(Healthy, 100), (Unhealthy, 9), (Failing, 9), (Unhealthy, 9)],
                Critical,
                "3 of 4 pods get nothing new: 2 unhealthy, 1 failing",
            ),
            (
                &[(Unhealthy, 9), (Stale, 9), (Draining, 9)],
                Critical,
                "None of 3 pods gets new WebSockets: 1 unhealthy, 1 stale, 1 draining",
            ),
            (
                &[(Full, 9), (Full, 9)],
                Critical,
                "All 2 pods are full: new WebSockets are refused",
            ),
            (
                &[(Unknown, 0), (Unknown, 0)],
                Warning,
                "Waiting for the first counts of 2 pods",
            ),
        ] {
            assert_verdict(&case(pods), gravity, text);
        }
        let mut absent = case(&[(Unknown, 0)]);
        absent.pods[0].last_error = Some("status 503");
        let text = "None of 1 pod gets new WebSockets: a never answered (status 503)";
        assert_verdict(&absent, Critical, text);
    }

    #[test]
    fn a_service_as_a_whole() {
        let silent = Case {
            silent_for: Some(42.4),
            ..case(&[(Stale, 100)])
        };
        let text = "No filter has told of this service for 42 s: what is shown was so then";
        assert_verdict(&silent, Critical, text);
        let text = "There are no pods: Envoy lists no host of the cluster";
        assert_verdict(&Case::default(), Critical, text);
        let waiting = Case {
            awaits_list: true,
            ..Case::default()
        };
        assert_verdict(&waiting, Warning, "Waiting for Envoy's list of the pods");
        let mut blind = Case {
            discovery_error: Some("status 403"),
            ..waiting
        };
        let text = "No pods are known: Envoy's list of them could not be read (status 403)";
        assert_verdict(&blind, Critical, text);
        blind.pods = pods(&[(Healthy, 100)]);
        let text = "Envoy's list of the pods could not be read (status 403): it may be old";
        assert_verdict(&blind, Warning, text);
    }

    #[test]
    fn the_gravest_is_told_and_of_equal_ones_the_cause() {
        let mut case = case(&[(Healthy, 50), (Healthy, 150), (Full, 9)]);
        case.warnings = vec![
            (Warning, "WebSockets go to other pods than the chosen ones."),
            (Warning, "Another."),
        ];
        let text = "WebSockets go to other pods than the chosen ones";
        assert_verdict(&case, Warning, text);
        case.warnings.push((Critical, "The ports are used up."));
        assert_verdict(&case, Critical, "The ports are used up");
        case.warnings.pop();
        case.pods.push(case.pods[2]);
        let text = Verdict::of(&case).text;
        assert!(text.starts_with("2 of 4 pods get nothing new"), "{text}");
    }

    #[test]
    fn what_is_wrong_with_counts_is_told_where_nothing_else_is() {
        let mut case = case(&[(Healthy, 100), (Healthy, 100)]);
        case.pods[1].complaint = Some("weight is no number");
        assert_verdict(&case, Warning, "b: weight is no number");
        case.pods[0].complaint = Some("weight is no number");
        assert_verdict(&case, Warning, "a, and 1 more: weight is no number");
        case.pods[0].implausible = true;
        let text = "The counts of 1 pod lack WebSockets that are open there";
        assert_verdict(&case, Warning, text);
    }

    #[test]
    fn a_name_that_could_spoil_the_sentence_is_not_in_it() {
        let long = "x".repeat(64);
        for name in ["", "\u{202e}b", "a b", "a\n", "é", &long] {
            let mut case = case(&[(Healthy, 100), (Healthy, 100), (Full, 0)]);
            case.pods[2].name = Some(name);
            let text = Verdict::of(&case).text;
            assert!(text.contains("nothing new: 10.0.0.1:80 is full"), "{text}");
        }
    }
}
