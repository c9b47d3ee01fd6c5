//! The report for people: a table of the pods, then a line per subject.
//!
//! Rendering is a pure function of the report and the width. No colours: it reads the same
//! in a terminal, a file and a CI log.

use std::fmt::Write;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use indicatif::HumanCount;
use wsbalancer_client::{Handshake, PodShare, Report};

use crate::bar;

const HEADER: [&str; 5] = ["Pod", "Before", "After", "New", "Share"];
/// Explains the mark in the bars below it.
const EVEN_HEADER: &str = "│ even share";
/// A bar of fewer columns shows little, and has no room for its header.
const SHORTEST_BAR: usize = 12;
/// A bar of more columns is a long way to look.
const LONGEST_BAR: usize = 40;
/// The rest is summed up.
const MOST_REASONS: usize = 5;
/// Stands for a number that a pod did not tell.
const UNKNOWN: &str = "–";

/// The report as text of at most `width` columns where the contents allow it; no line break
/// at the end.
pub(crate) fn render(report: &Report, max_imbalance: Option<f64>, width: u16) -> String {
    let mut sections = Vec::new();
    if !report.pods.is_empty() {
        sections.push(pod_table(&report.pods, width));
    }
    sections.push(summary(report, max_imbalance));
    if !report.failures.is_empty() {
        sections.push(failures(report));
    }
    sections.join("\n\n")
}

fn pod_table(pods: &[PodShare], width: u16) -> String {
    let spread = Spread::of(pods);
    let mut table = Table::new();
    // Known to be no terminal, the table adds no escape sequences.
    table
        .force_no_tty()
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(HEADER)
        .add_rows(pods.iter().map(|pod| spread.row(pod)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(columns) = room_for_bars(&table, width) {
        table.set_header(HEADER.into_iter().chain([EVEN_HEADER]));
        for (row, pod) in table.row_iter_mut().zip(pods) {
            row.add_cell(Cell::new(spread.bar(pod, columns)));
        }
        table.discover_columns();
    }
    table.trim_fmt()
}

/// The columns that the table leaves for bars, unless they are too few.
fn room_for_bars(table: &Table, width: u16) -> Option<u64> {
    let contents = table.column_max_content_widths();
    // Two of padding and one of border for each, the bars included, and the left border.
    let frame = 3 * (contents.len() + 1) + 1;
    let taken = usize::from(contents.iter().sum::<u16>()) + frame;
    let room = usize::from(width).saturating_sub(taken).min(LONGEST_BAR);
    (room >= SHORTEST_BAR).then_some(room as u64)
}

/// How the connections are spread over the pods, while all are open.
struct Spread {
    largest: u64,
    sum: u64,
    pods: u64,
}

impl Spread {
    fn of(pods: &[PodShare]) -> Self {
        let counts = || pods.iter().filter_map(|pod| pod.after);
        Self {
            largest: counts().max().unwrap_or_default(),
            sum: counts().sum(),
            pods: counts().count() as u64,
        }
    }

    fn row(&self, pod: &PodShare) -> [String; HEADER.len()] {
        let share = pod
            .after
            .filter(|_| self.sum > 0)
            .map(|after| ratio(after, self.sum));
        [
            pod.pod_name.as_ref().unwrap_or(&pod.address).clone(),
            told(pod.before, |count| HumanCount(count).to_string()),
            told(pod.after, |count| HumanCount(count).to_string()),
            told(pod.new, signed),
            told(share, |share| format!("{:.1} %", share * 100.0)),
        ]
    }

    /// A bar as long as the pod's share, where the largest takes all `columns`; the even
    /// share is marked in it.
    fn bar(&self, pod: &PodShare, columns: u64) -> String {
        let Some(after) = pod.after.filter(|_| self.largest > 0) else {
            return String::new();
        };
        let eighths = after * columns * 8 / self.largest;
        let even = (self.sum * columns / (self.largest * self.pods)).min(columns - 1);
        bar::draw(eighths, Some(even), columns)
    }
}

fn summary(report: &Report, max_imbalance: Option<f64>) -> String {
    let mut lines = Vec::new();
    let connections = &report.connections;
    lines.push((
        "Connections",
        format!(
            "{} opened, {} failed, {} closed early; {:.1} s",
            HumanCount(connections.opened),
            HumanCount(connections.failed),
            HumanCount(connections.closed_early),
            report.duration_seconds,
        ),
    ));
    lines.push((
        "Messages",
        format!(
            "{} verified, {} failed",
            HumanCount(report.messages.verified),
            HumanCount(report.messages.failed)
        ),
    ));
    if let Some(handshake) = &report.handshake {
        lines.push(("Handshake", latencies(handshake)));
    }
    if let Some(imbalance) = report.imbalance {
        let spread = Spread::of(&report.pods);
        let even = ratio(spread.sum, spread.pods);
        lines.push(("Even share", format!("{even:.1} for each pod")));
        let limit = match max_imbalance {
            Some(most) if imbalance > most => format!(", more than the {most} allowed"),
            Some(most) => format!(", at most {most} allowed"),
            None => String::new(),
        };
        lines.push((
            "Imbalance",
            format!("{imbalance:.3} (largest to mean){limit}"),
        ));
    }
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(subject, text)| format!("{subject:<13}{text}"))
        .collect();
    lines.join("\n")
}

fn latencies(handshake: &Handshake) -> String {
    format!(
        "p50 {}, p90 {}, p99 {}, max {}",
        millis(handshake.p50_micros),
        millis(handshake.p90_micros),
        millis(handshake.p99_micros),
        millis(handshake.max_micros)
    )
}

fn failures(report: &Report) -> String {
    let mut text = "Failures".to_owned();
    let widest = report
        .failures
        .first()
        .map_or(0, |most| HumanCount(most.count).to_string().len());
    for failure in report.failures.iter().take(MOST_REASONS) {
        let count = HumanCount(failure.count).to_string();
        // Writing to a string never fails.
        let _ = write!(text, "\n  {count:>widest$} × {}", failure.reason);
    }
    let others = report.failures.len().saturating_sub(MOST_REASONS);
    if others > 0 {
        let _ = write!(text, "\n  and {others} more: see them all with --json");
    }
    text
}

fn told<T>(value: Option<T>, in_words: impl Fn(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), in_words)
}

fn signed(difference: i64) -> String {
    let sign = if difference < 0 { "−" } else { "+" };
    format!("{sign}{}", HumanCount(difference.unsigned_abs()))
}

fn millis(micros: u64) -> String {
    format!("{:.2} ms", ratio(micros, 1000))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a few digits of the quotient are shown"
)]
fn ratio(numerator: u64, denominator: u64) -> f64 {
    numerator as f64 / denominator as f64
}

#[cfg(test)]
mod tests {
    use wsbalancer_client::{Connections, Failure, Messages};

    use super::*;
    use crate::bar::FULL_BLOCK;

    fn pod(name: &str, before: Option<u64>, after: Option<u64>) -> PodShare {
        let new = before
            .zip(after)
            .map(|(before, after)| after.cast_signed() - before.cast_signed());
        let (address, pod_name) = ("10.0.0.1:8080".to_owned(), Some(name.to_owned()));
        PodShare {
            address,
            pod_name,
            before,
            after,
            new,
        }
    }

    fn report(pods: Vec<PodShare>, failures: Vec<Failure>) -> Report {
        Report {
            url: "ws://gateway/".to_owned(),
            connections: Connections {
                requested: 1200,
                opened: 1200,
                failed: 0,
                closed_early: 0,
            },
            messages: Messages {
                sent: 1200,
                verified: 1200,
                failed: 0,
            },
            handshake: Some(Handshake {
                p50_micros: 1234,
                p90_micros: 2000,
                p99_micros: 3000,
                max_micros: 41_000,
                mean_micros: 1300.0,
            }),
            imbalance: Some(1.25),
            pods,
            failures,
            duration_seconds: 2.44,
        }
    }

    fn uneven() -> Vec<PodShare> {
        vec![
            pod("agents-0", Some(0), Some(1000)),
            pod("agents-1", Some(700), Some(600)),
            pod("agents-2", None, Some(800)),
        ]
    }

    #[test]
    fn the_report_fits_a_terminal() {
        let text = render(&report(uneven(), Vec::new()), Some(1.02), 64);
        let expected = "\
┌──────────────────────────────────────────────────────────────┐
│ Pod        Before   After      New    Share   │ even share   │
╞══════════════════════════════════════════════════════════════╡
│ agents-0        0   1,000   +1,000   41.7 %   ███████████│██ │
│ agents-1      700     600     −100   25.0 %   ████████▍  │   │
│ agents-2        –     800        –   33.3 %   ███████████│   │
└──────────────────────────────────────────────────────────────┘

Connections  1,200 opened, 0 failed, 0 closed early; 2.4 s
Messages     1,200 verified, 0 failed
Handshake    p50 1.23 ms, p90 2.00 ms, p99 3.00 ms, max 41.00 ms
Even share   800.0 for each pod
Imbalance    1.250 (largest to mean), more than the 1.02 allowed";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_room_means_no_bars() {
        let text = render(&report(uneven(), Vec::new()), None, 50);
        assert!(!text.contains(FULL_BLOCK), "{text}");
        assert!(
            text.lines().take(7).all(|line| line.chars().count() <= 50),
            "{text}"
        );
    }

    #[test]
    fn the_bar_of_the_largest_is_full_and_marks_the_even_share() {
        let spread = Spread {
            largest: 80,
            sum: 120,
            pods: 3,
        };
        assert_eq!(spread.bar(&pod("a", None, Some(80)), 8), "████│███");
        assert_eq!(spread.bar(&pod("b", None, Some(35)), 8), "███▌│   ");
        assert_eq!(spread.bar(&pod("c", None, Some(0)), 8), "    │   ");
        assert_eq!(spread.bar(&pod("d", None, None), 8), "");
    }

    #[test]
    fn empty_pods_have_no_bars_and_no_shares() {
        let text = render(
            &report(vec![pod("agents-0", Some(0), Some(0))], Vec::new()),
            None,
            80,
        );
        assert!(text.contains(UNKNOWN) && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn failures_are_the_first_five_reasons() {
        let failures = (1..=7)
            .rev()
            .map(|count| Failure {
                reason: format!("reason {count}"),
                count: count * 1000,
            })
            .collect();
        let text = render(&report(Vec::new(), failures), None, 80);
        let (_, listed) = text
            .split_once("Failures\n")
            .expect("a section of failures");
        let expected = "  7,000 × reason 7
  6,000 × reason 6
  5,000 × reason 5
  4,000 × reason 4
  3,000 × reason 3
  and 2 more: see them all with --json";
        assert_eq!(listed, expected);
    }
}
