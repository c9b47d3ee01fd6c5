//! What stands above the pods of a service: whose it is, how it is in one sentence, what is wrong with
//! it as a whole, and its figures. All of it is broken into lines, and nothing is cut.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use wsbalancer_client::{Gravity, ServiceStatus, Status, Warning};

use super::text;

/// Columns between two figures.
const GAP: &str = "   ";
/// Columns before what is to be added to the configuration.
const INDENT: usize = 2;
/// The statistics in the words of the page; those that count what should not be are told where they
/// have counted.
const STATISTICS: [(&str, &str); 7] = [
    ("upgrades_balanced", "balanced"),
    ("upgrades_fallback", "fallback"),
    ("upgrades_rejected", "rejected"),
    ("upgrades_full", "refused"),
    ("upgrades_failed", "failed"),
    ("upgrades_retried", "retried"),
    ("upgrades_mismatched", "mismatched"),
];

/// What a service was before, and how many seconds ago: rates go by the difference.
pub(crate) type Before<'status> = Option<(&'status ServiceStatus, f64)>;

/// Whose state it is, and when it was so.
pub(crate) fn title(status: &Status, service: &ServiceStatus, width: u16) -> Vec<String> {
    let gateway = status.gateway.as_ref();
    let gateway = gateway.map(|gateway| format!("gateway {gateway}"));
    let parts = [
        Some(service.url.clone()),
        gateway,
        Some(status.timestamp.clone()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    text::flow(&parts, GAP, width.into())
}

/// How the service is.
pub(crate) fn lines(
    status: &Status,
    service: &ServiceStatus,
    before: Before<'_>,
    width: u16,
) -> Vec<Line<'static>> {
    let columns = usize::from(width);
    let mut lines = Vec::new();
    if let Some(verdict) = &service.verdict {
        let (word, color) = match verdict.gravity {
            Gravity::Ok => ("OK", Color::Green),
            Gravity::Warning => ("Warning", Color::Yellow),
            Gravity::Critical => ("Critical", Color::Red),
        };
        let style = Style::new().fg(color).add_modifier(Modifier::BOLD);
        let sentence = text::wrap(&format!("{word}: {}", verdict.text), columns);
        lines.extend(sentence.into_iter().map(|line| Line::styled(line, style)));
    }
    let said = service
        .verdict
        .as_ref()
        .map(|verdict| verdict.text.as_str());
    for warning in status.warnings.iter().chain(&service.warnings) {
        lines.extend(warn(warning, said, columns));
    }
    let figures = text::flow(&figures(service, before), GAP, columns);
    lines.extend(figures.into_iter().map(Line::raw));
    lines
}

/// What is wrong with the gateway as a whole, where no service is there to say it of.
pub(crate) fn of_gateway(status: &Status, width: u16) -> Vec<Line<'static>> {
    let warnings = status.warnings.iter();
    warnings
        .flat_map(|warning| warn(warning, None, width.into()))
        .collect()
}

/// A warning, unless the verdict has said it, and what helps.
fn warn(warning: &Warning, said: Option<&str>, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if said != Some(warning.message.trim_end_matches('.')) {
        lines.extend(text::wrap(&warning.message, columns));
    }
    for line in warning.advice.iter().flat_map(|advice| advice.lines()) {
        let content = line.trim_start_matches(' ');
        let indent = (INDENT + line.len() - content.len()).min(columns / 2);
        let wrapped = text::wrap(content, columns - indent);
        lines.extend(wrapped.into_iter().map(|line| " ".repeat(indent) + &line));
    }
    lines
        .into_iter()
        .map(|line| Line::styled(line, Color::Yellow))
        .collect()
}

fn figures(service: &ServiceStatus, before: Before<'_>) -> Vec<String> {
    let mut figures = vec![
        format!("{} connections", text::count(service.connections)),
        format!("even share {}", text::exact(service.even_share)),
        format!("imbalance {}", text::told(service.imbalance, text::exact)),
        format!("gateway share {}", text::percent(service.share)),
        format!(
            "{} of {} pods usable",
            text::count(service.pods_usable),
            text::count(service.pods_known)
        ),
    ];
    for (name, word) in STATISTICS {
        let Some(&counted) = service.statistics.get(name) else {
            continue;
        };
        if counted > 0 || name == "upgrades_balanced" {
            let rate = rate(name, counted, before);
            let rate = rate.map(|rate| format!(" ({})", text::per_second(rate)));
            let counted = text::count(counted);
            figures.push(format!("{word} {counted}{}", rate.unwrap_or_default()));
        }
    }
    figures
}

/// How often a second a statistic has counted since `before`; none where it began anew, as it does with
/// Envoy.
fn rate(name: &str, counted: u64, before: Before<'_>) -> Option<f64> {
    let (service, seconds) = before.filter(|&(_, seconds)| seconds > 0.0)?;
    let more = counted.checked_sub(*service.statistics.get(name)?)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody counts beyond 2^53 handshakes"
    )]
    let more = more as f64;
    Some(more / seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::sample;

    fn shown(status: &Status, before: Before<'_>) -> Vec<String> {
        let lines = lines(status, &status.services[0], before, 80);
        let lines: Vec<String> = lines.iter().map(Line::to_string).collect();
        assert!(
            lines.iter().all(|line| text::width(line) <= 80),
            "{lines:#?}"
        );
        lines
    }

    #[test]
    fn the_verdict_comes_first_and_nothing_is_cut() {
        let mut service = sample::service_json("chat");
        service["verdict"] = json!({
            "gravity": "critical",
            "text": "5 of 8 pods get nothing new: 3 unhealthy, 2 full; the other 3 are uneven, \
                from 50 % to 150 % of their share",
        });
        service["warnings"] = json!([{
            "kind": "steering", "message": "WebSockets go to other pods than the chosen ones.",
            "advice": "load_balancing_policy:\n  policies: []",
        }]);
        let status = sample::status_of(&[service], &[]);
        let expected = [
            "Critical: 5 of 8 pods get nothing new: 3 unhealthy, 2 full; the other 3 are",
            "uneven, from 50 % to 150 % of their share",
            "WebSockets go to other pods than the chosen ones.",
            "  load_balancing_policy:",
            "    policies: []",
            "1,234 connections   even share 100   imbalance 1.02   gateway share 33 %",
            "7 of 8 pods usable",
        ];
        assert_eq!(shown(&status, None), expected);
    }

    #[test]
    fn what_the_verdict_says_is_not_said_again() {
        let mut service = sample::service_json("chat");
        service["verdict"] = json!({ "gravity": "warning", "text": "It is late" });
        service["warnings"] = json!([{ "kind": "a", "message": "It is late.", "advice": "b: c" }]);
        let shown = shown(&sample::status_of(&[service], &[]), None);
        assert_eq!(shown[..2], ["Warning: It is late", "  b: c"]);
    }

    #[test]
    fn statistics_have_counts_and_rates() {
        let status = |balanced, retried| {
            let mut service = sample::service_json("chat");
            service["statistics"] = json!({
                "upgrades_balanced": balanced, "upgrades_retried": retried,
                "upgrades_full": 0, "polls_ok": 7,
            });
            sample::status_of(&[service], &[])
        };
        let (before, now) = (status(1_000, 3), status(1_160, 4));
        let last = |before| shown(&now, before).pop();
        let told = "7 of 8 pods usable   balanced 1,160   retried 4";
        assert_eq!(last(None).as_deref(), Some(told));
        let told = "7 of 8 pods usable   balanced 1,160 (80/s)   retried 4 (0.5/s)";
        assert_eq!(
            last(Some((&before.services[0], 2.0))).as_deref(),
            Some(told)
        );
        // Envoy has started anew.
        let later = status(2_000, 4);
        let told = "7 of 8 pods usable   balanced 1,160   retried 4 (0/s)";
        assert_eq!(last(Some((&later.services[0], 2.0))).as_deref(), Some(told));
    }

    #[test]
    fn the_title_names_service_and_gateway() {
        let mut status = sample::status(&["outbound|8080||chat.production.svc.cluster.local"]);
        status.gateway = Some("istio-ingressgateway-6c9f.istio-system".to_owned());
        let expected = [
            "outbound|8080||chat.production.svc.cluster.local",
            "gateway istio-ingressgateway-6c9f.istio-system   2026-11-25T00:50:00Z",
        ];
        assert_eq!(title(&status, &status.services[0], 80), expected);
    }
}
