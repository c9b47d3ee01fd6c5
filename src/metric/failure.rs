//! Why a poll brought no count, as it is kept in the shared table and told to people.

use std::fmt;

use super::coding::Coding;

/// Longest report that is read, in bytes.
pub const REPORT_LIMIT: usize = 64 * 1024;
/// Longest document that is read for a count in it, in bytes: JSON, or the text of an exporter.
pub const DOCUMENT_LIMIT: usize = 4 * 1024 * 1024;

/// Why a poll brought no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// Envoy would not send the request: it has no such cluster, or the cluster has no hosts.
    NotSent,
    /// The connection failed, or no answer came in time.
    NoAnswer,
    /// A report over [`REPORT_LIMIT`].
    TooLarge,
    /// A body that is not a JSON object.
    NotAnObject,
    /// `agentsConnections` is missing or no integer.
    BadCount,
    /// A body that is not JSON.
    NotJson,
    /// Nothing is where the configuration has the count.
    NothingThere,
    /// What is there is no integer.
    NotACount,
    /// A body that is not in Prometheus' text format.
    NotAnExposition,
    /// A document over [`DOCUMENT_LIMIT`].
    TooLong,
    /// The answer is another pod's, by the `podIP` in it: Envoy has no such host any more.
    AnotherPod,
    /// A body in a content coding, which nobody asked for.
    Coded(Coding),
    /// An HTTP status other than 200. Where no connection could be made, Envoy answers 503
    /// itself; where the answer took too long, 504.
    Status(u16),
}

impl PollFailure {
    /// Those that are neither a coding nor a status, in the order of their numbers from 1.
    const KINDS: [Self; 11] = [
        Self::NotSent,
        Self::NoAnswer,
        Self::TooLarge,
        Self::NotAnObject,
        Self::BadCount,
        Self::NotJson,
        Self::NothingThere,
        Self::NotACount,
        Self::NotAnExposition,
        Self::TooLong,
        Self::AnotherPod,
    ];
    /// Codings have numbers from here on …
    const CODINGS: u16 = 500;
    /// … and statuses from here on: a pod may answer with 001.
    const STATUSES: u16 = 1_000;

    /// A number for the shared table. Zero is left for "none".
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Status(status) => Self::STATUSES.saturating_add(status),
            Self::Coded(coding) => (Self::CODINGS..)
                .zip(Coding::ALL)
                .find(|&(_, known)| known == coding)
                .map_or(0, |(code, _)| code),
            kind => (1..)
                .zip(Self::KINDS)
                .find(|&(_, known)| known == kind)
                .map_or(0, |(code, _)| code),
        }
    }

    /// The failure behind a [`code`](Self::code); none for zero.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        if let Some(status) = code.checked_sub(Self::STATUSES) {
            return Some(Self::Status(status));
        }
        if let Some(index) = code.checked_sub(Self::CODINGS) {
            let coding = Coding::ALL.get(usize::from(index)).copied();
            return coding.map(Self::Coded);
        }
        let index = usize::from(code.checked_sub(1)?);
        Self::KINDS.get(index).copied()
    }
}

/// What to set where a pod answers with a status; empty where the status alone says nothing.
const fn hint(status: u16) -> &'static str {
    match status {
        300..=303 | 307 | 308 => {
            " (a redirect: set metricPath to where it leads, or in metricHeaders the \
             x-forwarded-proto that the pod expects)"
        }
        400 | 421 => " (does the pod expect another host? set metricHost)",
        401 => {
            " (the pod wants credentials: let Envoy's credential_injector add them on a cluster \
             for polls)"
        }
        403 => {
            " (the pod forbids it: let polls pass there, or have Envoy's credential_injector add \
             credentials)"
        }
        404 => " (is metricPath right?)",
        406 | 415 => {
            " (the pod has no such form: set metric to the form that it serves, JSON or \
             prometheus)"
        }
        502 => " (Envoy's own where the answer was no HTTP)",
        503 => " (Envoy's own where it could not connect)",
        504 => " (Envoy's own where no answer came in time)",
        _ => "",
    }
}

impl fmt::Display for PollFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NotSent => "Envoy could not send it: is the cluster there, and the pod in it?",
            Self::NoAnswer => "no answer",
            Self::Status(status) => return write!(f, "status {status}{}", hint(status)),
            Self::TooLarge => return write!(f, "the body is over {REPORT_LIMIT} bytes"),
            Self::TooLong => return write!(f, "the body is over {DOCUMENT_LIMIT} bytes"),
            Self::Coded(coding) => {
                return write!(
                    f,
                    "the body is coded in {coding}, though polls ask for identity"
                );
            }
            Self::NotAnObject => "the body is not a JSON object",
            Self::BadCount => "agentsConnections is not a non-negative integer",
            Self::NotJson => "the body is not JSON",
            Self::NothingThere => {
                "nothing is where the metric of the configuration points to (with absent: 0 that is a \
                 count of 0)"
            }
            Self::NotACount => {
                "what the metric of the configuration points to is not a non-negative integer"
            }
            Self::NotAnExposition => "the body is not in Prometheus' text format",
            Self::AnotherPod => {
                "another pod answered, by its podIP: the cluster does not have this one any more"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_keep_their_codes() {
        let statuses = [0, 1, 8, 13, 204, 404, 503, 999].map(PollFailure::Status);
        let codings = Coding::ALL.map(PollFailure::Coded);
        let all = PollFailure::KINDS.into_iter().chain(codings);
        for failure in all.chain(statuses) {
            assert_ne!(failure.code(), 0, "{failure}");
            assert_eq!(PollFailure::from_code(failure.code()), Some(failure));
        }
        for none in [0, 12, 499, 505, 999] {
            assert_eq!(PollFailure::from_code(none), None);
        }
    }

    #[test]
    fn statuses_are_told_as_numbers_with_what_to_set() {
        let told = |status| PollFailure::Status(status).to_string();
        assert_eq!(told(8), "status 8");
        assert_eq!(told(500), "status 500");
        for (statuses, option) in [
            ([301, 302, 303, 307, 308].as_slice(), "metricPath"),
            (&[301, 308], "x-forwarded-proto"),
            (&[401, 403], "credential_injector"),
            (&[404], "metricPath"),
            (&[406, 415], "set metric to the form"),
            (&[400, 421], "metricHost"),
        ] {
            for &status in statuses {
                let told = told(status);
                assert!(told.starts_with(&format!("status {status} (")), "{told}");
                assert!(told.contains(option), "{told}");
            }
        }
    }
}
