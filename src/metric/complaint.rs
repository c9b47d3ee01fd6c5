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
        })
    }
}
