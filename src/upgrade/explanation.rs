//! Why an upgrade is where it is, for people.

use super::choice::Candidate;

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The pod that was chosen; `fallback` where that was left to the fallback policy, `session` to
    /// whoever keeps the session.
    pub pod: String,
    /// Why.
    pub reason: String,
}

impl Explanation {
    /// Explains that the choice was left to whoever keeps the session that the request carries.
    #[must_use]
    pub fn of_session() -> Self {
        Self {
            pod: "session".to_owned(),
            reason: "the request carries a session".to_owned(),
        }
    }

    /// Explains the choice of the first of the usable pods, which stand best first.
    #[must_use]
    pub fn of(candidates: &[Candidate]) -> Self {
        let (pod, reason) = match candidates {
            [best, next, ..] => (
                best.name.clone(),
                format!(
                    "estimate {:.0}, runner-up {} with {:.0}",
                    best.estimate, next.name, next.estimate
                ),
            ),
            [best] => (
                best.name.clone(),
                format!("estimate {:.0}, the only usable pod", best.estimate),
            ),
            [] => ("fallback".to_owned(), "no pod is usable".to_owned()),
        };
        Self { pod, reason }
    }
}
