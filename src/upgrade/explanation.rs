//! Why an upgrade is where it is, for people.

use std::fmt;

use super::choice::Candidate;
use crate::num::rounded;

/// What was chosen, and why: `10.0.0.1:8080 (estimate 4, runner-up 10.0.0.2:8080 with 7)`.
///
/// Each upgrade has one, and hardly any is read: so it is one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    text: String,
    /// How long the pod in it is.
    pod: usize,
}

impl Explanation {
    /// Whether a written one may be that of the choice which an override header tells.
    #[must_use]
    pub fn is_of(written: &[u8], header: &[u8]) -> bool {
        let first = header.split(|byte| *byte == b',').next();
        let rest = first.and_then(|first| written.strip_prefix(first.trim_ascii()));
        rest.is_some_and(|rest| rest.starts_with(b" ("))
    }

    /// Explains that the choice was left to whoever keeps the session that the request carries.
    #[must_use]
    pub fn of_session() -> Self {
        Self::new("session", &["the request carries a session"])
    }

    /// Explains the choice of the first of the usable pods, which stand best first.
    #[must_use]
    pub fn of(candidates: &[Candidate]) -> Self {
        let (mut digits, mut next_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let estimate = |candidate: &Candidate| rounded(candidate.estimate);
        match candidates {
            [best, next, ..] => Self::new(
                &best.name,
                &[
                    "estimate ",
                    digits.format(estimate(best)),
                    ", runner-up ",
                    &next.name,
                    " with ",
                    next_digits.format(estimate(next)),
                ],
            ),
            [best] => Self::new(
                &best.name,
                &[
                    "estimate ",
                    digits.format(estimate(best)),
                    ", the only usable pod",
                ],
            ),
            [] => Self::new("fallback", &["no pod is usable"]),
        }
    }

    fn new(pod: &str, reason: &[&str]) -> Self {
        let parts = [&[pod, " ("], reason, &[")"]];
        Self {
            text: parts.concat().concat(),
            pod: pod.len(),
        }
    }

    /// The pod that was chosen; `fallback` where that was left to the fallback policy, `session` to
    /// whoever keeps the session.
    #[must_use]
    pub fn pod(&self) -> &str {
        self.text.get(..self.pod).unwrap_or_default()
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        let reason = self.text.get(self.pod..).unwrap_or_default();
        reason.trim_start_matches(" (").trim_end_matches(')')
    }

    /// Both.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_which_header_is_of_the_same_choice() {
        let written = b"10.0.0.1:8080 (estimate 4, the only usable pod)";
        for (header, is_its) in [
            (b"10.0.0.1:8080".as_slice(), true),
            (b"10.0.0.1:8080,10.0.0.2:8080", true),
            (b"10.0.0.1:80", false),
            (b"10.0.0.2:8080,10.0.0.1:8080", false),
            (b"", false),
        ] {
            assert_eq!(Explanation::is_of(written, header), is_its);
        }
    }
}
