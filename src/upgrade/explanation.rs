//! Why an upgrade is where it is, for people.

use std::fmt;

use super::choice::Candidate;

/// What was chosen, and why: `10.0.0.1:8080 (estimate 4, runner-up 10.0.0.2:8080 with 7)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The pod that was chosen; `fallback` where that was left to the fallback policy, `session` to
    /// whoever keeps the session.
    pub pod: String,
    /// Why.
    pub reason: String,
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

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pod, self.reason)
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
