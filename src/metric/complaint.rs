//! What is wrong with an answer that brings a count all the same.

use std::fmt;

/// Something in a pod's answer that can't be, and that the count does not depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// The count, or a part of it, is below zero.
    BelowZero,
    /// `weight` is no number within [`Weight::WEIGHTS`](super::Weight::WEIGHTS).
    Weight,
    /// `maxConnections` is no non-negative integer.
    Limit,
    /// `draining` is neither true nor false.
    Draining,
    /// `podName` is no string.
    PodName,
    /// `podIP` is no string.
    PodIp,
    /// `nodeName` is no string.
    NodeName,
    /// An answer to a handshake has no load report, where the count should be.
    NoLoadReport,
    /// … or one that can't be read.
    LoadReportForm,
    /// … or one without the metric that is the count.
    NoNamedMetric,
    /// … or the metric is no count.
    NamedMetricCount,
}

/// Those of load reports, by their codes, which begin with 1.
const OF_LOAD_REPORTS: [Complaint; 5] = [
    Complaint::BelowZero,
    Complaint::NoLoadReport,
    Complaint::LoadReportForm,
    Complaint::NoNamedMetric,
    Complaint::NamedMetricCount,
];

impl Complaint {
    /// The number by which a pod's record has a complaint of its load reports; zero for what is
    /// none.
    #[must_use]
    pub fn load_report_code(self) -> u8 {
        let mut codes = (1..).zip(OF_LOAD_REPORTS);
        let code = codes.find(|(_, complaint)| *complaint == self);
        code.map_or(0, |(code, _)| code)
    }

    /// The complaint with this code.
    #[must_use]
    pub fn of_load_report(code: u8) -> Option<Self> {
        let place = usize::from(code).checked_sub(1)?;
        OF_LOAD_REPORTS.get(place).copied()
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BelowZero => "its count is below zero, which counts as 0",
            Self::Weight => "weight is not within 0.01 to 100 and is ignored",
            Self::Limit => "maxConnections is not a non-negative integer and is ignored",
            Self::Draining => "draining is neither true nor false and is ignored",
            Self::PodName => "podName is not a string and is ignored",
            Self::PodIp => "podIP is not a string and is ignored",
            Self::NodeName => "nodeName is not a string and is ignored",
            Self::NoLoadReport => {
                "its 101 lacks the header endpoint-load-metrics, which metric.orca is for"
            }
            Self::LoadReportForm => {
                "endpoint-load-metrics of its 101 is no load report in the form of TEXT, JSON or \
                 BIN, and is ignored"
            }
            Self::NoNamedMetric => {
                "endpoint-load-metrics of its 101 lacks the metric that metric.orca names"
            }
            Self::NamedMetricCount => {
                "the metric that metric.orca names is not a non-negative integer and is ignored"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_load_reports_have_codes() {
        for code in 1..=5 {
            let complaint = Complaint::of_load_report(code).unwrap();
            assert_eq!(complaint.load_report_code(), code);
        }
        assert_eq!(Complaint::of_load_report(0), None);
        assert_eq!(Complaint::of_load_report(6), None);
        assert_eq!(Complaint::PodIp.load_report_code(), 0);
    }
}
