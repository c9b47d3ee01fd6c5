//! Why a poll brought no count, as it is kept in the shared table and told to people.

use std::fmt;

/// Longest body that is read, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Why a poll brought no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// Envoy would not send the request: it has no such cluster, or the cluster has no hosts.
    NotSent,
    /// The connection failed, or no answer came in time.
    NoAnswer,
    /// A body over [`BODY_LIMIT`].
    TooLarge,
    /// A body that is not a JSON object.
    NotAnObject,
    /// `agentsConnections` is missing or no non-negative integer.
    BadCount,
    /// `weight` is no number greater than 0.
    BadWeight,
    /// `maxConnections` is no non-negative integer.
    BadLimit,
    /// `draining` is neither true nor false.
    BadDraining,
    /// A name is no string.
    BadName,
    /// A body that is not JSON.
    NotJson,
    /// Nothing is where the configuration has the count.
    NothingThere,
    /// What is there is no non-negative integer.
    NotACount,
    /// A body that is not in Prometheus' text format.
    NotAnExposition,
    /// An HTTP status other than 200. Where no connection could be made, Envoy answers 503
    /// itself; where the answer took too long, 504.
    Status(u16),
}

impl PollFailure {
    /// Those that are no status, in the order of their numbers from 1.
    const KINDS: [Self; 13] = [
        Self::NotSent,
        Self::NoAnswer,
        Self::TooLarge,
        Self::NotAnObject,
        Self::BadCount,
        Self::BadWeight,
        Self::BadLimit,
        Self::BadDraining,
        Self::BadName,
        Self::NotJson,
        Self::NothingThere,
        Self::NotACount,
        Self::NotAnExposition,
    ];

    /// A number for the shared table. HTTP statuses stand for themselves, zero is left for "none".
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Status(status) => status,
            kind => (1..)
                .zip(Self::KINDS)
                .find(|&(_, known)| known == kind)
                .map_or(0, |(code, _)| code),
        }
    }

    /// The failure behind a [`code`](Self::code); none for zero.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        let index = usize::from(code.checked_sub(1)?);
        let kind = Self::KINDS.get(index).copied();
        Some(kind.unwrap_or(Self::Status(code)))
    }
}

impl fmt::Display for PollFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "Envoy could not send it: is the cluster there?",
            Self::NoAnswer => "no answer",
            Self::Status(503) => "status 503 (Envoy's own where it could not connect)",
            Self::Status(504) => "status 504 (Envoy's own where no answer came in time)",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::TooLarge => return write!(f, "the body is over {BODY_LIMIT} bytes"),
            Self::NotAnObject => "the body is not a JSON object",
            Self::BadCount => "agentsConnections is not a non-negative integer",
            Self::BadWeight => "weight is not a number greater than 0",
            Self::BadLimit => "maxConnections is not a non-negative integer",
            Self::BadDraining => "draining is neither true nor false",
            Self::BadName => "podName, podIP or nodeName is not a string",
            Self::NotJson => "the body is not JSON",
            Self::NothingThere => "nothing is where the metric of the configuration points to",
            Self::NotACount => {
                "what the metric of the configuration points to is not a non-negative integer"
            }
            Self::NotAnExposition => "the body is not in Prometheus' text format",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_keep_their_codes() {
        let statuses = [204, 404, 503].map(PollFailure::Status);
        for failure in PollFailure::KINDS.into_iter().chain(statuses) {
            assert_eq!(PollFailure::from_code(failure.code()), Some(failure));
        }
        assert_eq!(PollFailure::from_code(0), None);
    }
}
