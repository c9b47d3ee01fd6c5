//! What a rule finds.

use std::fmt;

use serde::Serialize;

/// Something that hurts, or will.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is: a cluster, a listener, a route.
    pub place: String,
    /// The rule that found it.
    pub rule: &'static str,
    /// What is so, and what comes of it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// WebSockets fail, or the filter has no effect.
    Error,
    /// They will fail when something else happens: many clients, silence, a dying pod.
    Warning,
}

impl Finding {
    /// An error.
    pub(super) fn error(
        rule: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            place: place.into(),
            rule,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// A warning.
    pub(super) fn warning(
        rule: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(rule, place, what, remedy)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self {
            place,
            rule,
            what,
            remedy,
            ..
        } = self;
        write!(f, "{severity}: {place}: {what} [{rule}]\n  {remedy}")
    }
}
