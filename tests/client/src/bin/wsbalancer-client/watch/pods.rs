//! The table of the pods: as many columns as there is room for, the most telling first.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use wsbalancer_client::{PodState, PodStatus};

use super::order::{Key, Order, name};
use super::text;
use crate::bar;

/// Columns between two columns of the table.
const GAP: u16 = 2;
/// A name of more columns is cut.
const LONGEST_NAME: u16 = 32;
/// As long as an IPv4 address with its port; longer ones get what is left.
const LONGEST_ADDRESS: u16 = 21;
/// A space, and the direction of the order.
const MARK_WIDTH: usize = 2;
const LONGEST_STATE: u16 = 10;
/// A bar of fewer columns shows little, and has no room for its header.
const SHORTEST_BAR: u16 = 12;
/// A bar of so many columns shows what there is to see.
const LONG_BAR: u16 = 24;
/// A bar of more columns is a long way to look.
const LONGEST_BAR: u16 = 40;
const SHORTEST_REASON: u16 = 16;
/// A reason of so many columns says most of what there is to say.
const LONG_REASON: u16 = 40;

/// The pods of a service, arranged for a width.
#[derive(Debug)]
pub(crate) struct Table<'status> {
    pods: Vec<&'status PodStatus>,
    order: Order,
    columns: Vec<Column>,
    /// What a full bar stands for.
    largest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    kind: Kind,
    width: u16,
}

/// In the order in which they stand, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Name,
    Address,
    Count,
    Estimate,
    Weight,
    Max,
    Bar,
    State,
    Reason,
}

impl Kind {
    /// The most telling first: in a narrow window the last ones have no place.
    const BY_WORTH: [Self; 9] = [
        Self::Name,
        Self::Count,
        Self::State,
        Self::Bar,
        Self::Estimate,
        Self::Reason,
        Self::Max,
        Self::Weight,
        Self::Address,
    ];

    fn header(self) -> &'static str {
        match self {
            Self::Name => "Pod",
            Self::Address => "Address",
            Self::Count => "Count",
            Self::Estimate => "Estimate",
            Self::Weight => "Weight",
            Self::Max => "Max",
            Self::Bar => "│ even share",
            Self::State => "State",
            Self::Reason => "Reason",
        }
    }

    /// The same whichever column the pods are ordered by: columns stay where they are.
    fn header_width(self) -> usize {
        let mark = self.key().map_or(0, |_| MARK_WIDTH);
        text::width(self.header()) + mark
    }

    /// By which key the column is ordered, if it can be.
    fn key(self) -> Option<Key> {
        match self {
            Self::Name => Some(Key::Name),
            Self::Count => Some(Key::Count),
            Self::State => Some(Key::State),
            _ => None,
        }
    }

    fn is_number(self) -> bool {
        matches!(
            self,
            Self::Count | Self::Estimate | Self::Weight | Self::Max
        )
    }

    /// The fewest columns in which it is of use, and the most that it has a use for.
    fn widths(self, natural: u16) -> (u16, u16) {
        match self {
            Self::Name => (natural.min(12), natural.min(LONGEST_NAME)),
            Self::Address => (natural.min(LONGEST_ADDRESS), natural),
            Self::State => (natural.min(LONGEST_STATE), natural.min(LONGEST_STATE)),
            Self::Bar => (SHORTEST_BAR, LONGEST_BAR),
            Self::Reason => (natural.min(SHORTEST_REASON), natural),
            _ => (natural, natural),
        }
    }

    /// What stands in the column; nothing for a bar, which is drawn.
    fn cell(self, pod: &PodStatus) -> Cow<'_, str> {
        match self {
            Self::Name => name(pod).into(),
            Self::Address => pod.address.as_str().into(),
            Self::Count => {
                let counted = pod.count_age.map(|_| pod.agents_connections);
                text::told(counted, text::count)
            }
            Self::Estimate => text::rounded(pod.estimate).into(),
            Self::Weight => text::exact(pod.weight).into(),
            Self::Max => text::told(pod.max_connections, text::count),
            Self::Bar => "".into(),
            Self::State => pod.state.name().into(),
            Self::Reason => reason(pod),
        }
    }

    /// Whether the column tells anything about these pods.
    fn is_telling(self, pods: &[&PodStatus]) -> bool {
        pods.iter().any(|pod| match self {
            // The name is the address where there is none.
            Self::Address => name(pod) != pod.address,
            #[expect(clippy::float_cmp, reason = "1 is what a pod has that tells no weight")]
            Self::Weight => pod.weight != 1.0,
            Self::Max => pod.max_connections.is_some(),
            Self::Reason => !reason(pod).is_empty(),
            _ => true,
        })
    }
}

/// What there is to say of a pod that does not just get its share.
fn reason(pod: &PodStatus) -> Cow<'_, str> {
    let failed = pod.last_error.as_deref();
    let failed = failed.map(|error| format!("last poll: {error}"));
    match (&pod.state, failed) {
        (PodState::Healthy, failed) => failed.unwrap_or_default().into(),
        (_, Some(failed)) => format!("{}; {failed}", pod.reason).into(),
        (_, None) => pod.reason.as_str().into(),
    }
}

fn color(state: &PodState) -> Color {
    match state {
        PodState::Healthy => Color::Green,
        PodState::SlowStart => Color::Cyan,
        PodState::Full => Color::Yellow,
        PodState::Draining => Color::Blue,
        PodState::Stale => Color::Magenta,
        PodState::Ejected | PodState::Unhealthy | PodState::Failing | PodState::Refusing => {
            Color::Red
        }
        PodState::Unknown => Color::DarkGray,
        PodState::Other(_) => Color::Reset,
    }
}

impl<'status> Table<'status> {
    /// The pods in this order, in a table of at most `width` columns.
    pub(crate) fn arrange(pods: Vec<&'status PodStatus>, order: Order, width: u16) -> Self {
        let larger = |largest: f64, pod: &&PodStatus| {
            let (count, even) = (as_length(pod.agents_connections), pod.even_share);
            largest.max(count).max(even)
        };
        Self {
            largest: pods.iter().fold(0.0, larger),
            columns: columns(&pods, width),
            pods,
            order,
        }
    }

    /// How many pods there are.
    pub(crate) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Draws the names of the columns into the first line of `area`.
    pub(crate) fn draw_header(&self, area: Rect, buffer: &mut Buffer) {
        let style = Style::new().add_modifier(Modifier::BOLD);
        let cell = |column: Column| Line::styled(self.header(column), style);
        self.draw_line(area, buffer, cell);
    }

    /// Draws these pods, one in each line of `area`.
    pub(crate) fn draw_rows(&self, rows: std::ops::Range<usize>, area: Rect, buffer: &mut Buffer) {
        let pods = self.pods.get(rows).unwrap_or_default();
        for (pod, line) in pods.iter().zip(area.rows()) {
            self.draw_line(line, buffer, |column| self.cell(pod, column));
        }
    }

    fn draw_line<'line>(
        &self,
        area: Rect,
        buffer: &mut Buffer,
        cell: impl Fn(Column) -> Line<'line>,
    ) {
        let mut left = area.left();
        for column in &self.columns {
            let room = area.right().saturating_sub(left).min(column.width);
            if area.height > 0 && room > 0 {
                buffer.set_line(left, area.top(), &cell(*column), room);
            }
            left = left.saturating_add(column.width + GAP);
        }
    }

    /// The name of a column, with the direction of the order where it is by this column.
    fn header(&self, Column { kind, width }: Column) -> String {
        pad(kind, &marked(kind, self.order), width)
    }

    fn cell(&self, pod: &PodStatus, Column { kind, width }: Column) -> Line<'static> {
        let color = color(&pod.state);
        match kind {
            Kind::Bar => self.bar(pod, width, color),
            Kind::State => Line::styled(pad(kind, &kind.cell(pod), width), color),
            _ => Line::raw(pad(kind, &kind.cell(pod), width)),
        }
    }

    /// A bar as long as the pod's count, with a mark where its even share ends.
    fn bar(&self, pod: &PodStatus, width: u16, color: Color) -> Line<'static> {
        if self.largest <= 0.0 || pod.count_age.is_none() {
            return Line::default();
        }
        let scale = f64::from(width) / self.largest;
        let eighths = whole(as_length(pod.agents_connections) * scale * 8.0);
        // The largest share ends beyond the last column.
        let last = u64::from(width).saturating_sub(1);
        let even = (pod.even_share > 0.0).then(|| whole(pod.even_share * scale).min(last));
        let drawn = bar::draw(eighths, even, u64::from(width));
        let spans = drawn.chars().zip(0_u64..).map(|(character, place)| {
            let style = match character {
                bar::EVEN_MARK if eighths >= (place + 1) * 8 => {
                    Style::new().fg(Color::Black).bg(color)
                }
                bar::EVEN_MARK => Style::new(),
                _ => Style::new().fg(color),
            };
            Span::styled(character.to_string(), style)
        });
        Line::from(spans.collect::<Vec<_>>())
    }
}

/// The columns that there is room for, with their widths.
fn columns(pods: &[&PodStatus], width: u16) -> Vec<Column> {
    let mut arrangement = Arrangement {
        room: width,
        columns: Vec::new(),
    };
    // What is cut so far gets its room before anything less telling gets any.
    let (main, details) = Kind::BY_WORTH.split_at(6);
    arrangement.add(main, pods);
    arrangement.grow(Kind::Name, u16::MAX);
    arrangement.grow(Kind::Reason, LONG_REASON);
    arrangement.grow(Kind::Bar, LONG_BAR);
    arrangement.add(details, pods);
    arrangement.grow(Kind::Reason, u16::MAX);
    arrangement.grow(Kind::Address, u16::MAX);
    arrangement.grow(Kind::Bar, u16::MAX);
    let columns = arrangement.columns.into_iter();
    let mut columns: Vec<Column> = columns.map(|(column, _)| column).collect();
    columns.sort_by_key(|column| column.kind);
    columns
}

/// Columns on their way to their widths.
struct Arrangement {
    /// What none of them has taken yet.
    room: u16,
    /// Each with the most that it has a use for.
    columns: Vec<(Column, u16)>,
}

impl Arrangement {
    /// Adds columns in their fewest columns, up to the first that there is no room for.
    fn add(&mut self, kinds: &[Kind], pods: &[&PodStatus]) {
        for &kind in kinds.iter().filter(|kind| kind.is_telling(pods)) {
            let cells = pods
                .iter()
                .map(|pod| text::width(&text::clean(&kind.cell(pod))));
            let header = kind.header_width();
            let natural = cells.max().unwrap_or(0).max(header);
            let (least, most) = kind.widths(u16::try_from(natural).unwrap_or(u16::MAX));
            let (gap, least) = if self.columns.is_empty() {
                // There is always a name, and a third of a narrow window is enough for it.
                (0, least.min(self.room / 3))
            } else {
                (GAP, least)
            };
            let Some(rest) = self.room.checked_sub(gap + least) else {
                return;
            };
            self.room = rest;
            self.columns.push((Column { kind, width: least }, most));
        }
    }

    /// Lets a column grow to what it has a use for, and no wider than `limit`.
    fn grow(&mut self, kind: Kind, limit: u16) {
        let mut columns = self.columns.iter_mut();
        if let Some((column, most)) = columns.find(|(column, _)| column.kind == kind) {
            let more = (*most).min(limit).saturating_sub(column.width);
            let more = more.min(self.room);
            column.width += more;
            self.room -= more;
        }
    }
}

/// The name of a column; the one by which the pods are ordered says in which direction.
fn marked(kind: Kind, order: Order) -> String {
    let header = kind.header();
    match kind.key() {
        Some(key) if key == order.key && order.is_ascending() => format!("{header} ▲"),
        Some(key) if key == order.key => format!("{header} ▼"),
        _ => header.to_owned(),
    }
}

/// The text in exactly so many columns: numbers to the right, all else to the left.
fn pad(kind: Kind, shown: &str, width: u16) -> String {
    let fitted = text::fit(shown, usize::from(width));
    let padding = " ".repeat(usize::from(width).saturating_sub(text::width(&fitted)));
    if kind.is_number() {
        padding + &fitted
    } else {
        fitted + &padding
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bar has a few hundred steps")]
fn as_length(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths are far below 2^64 and not negative, and the cast saturates"
)]
fn whole(length: f64) -> u64 {
    length as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::sample;

    fn kinds(pods: &[PodStatus], width: u16) -> Vec<Kind> {
        let pods: Vec<&PodStatus> = pods.iter().collect();
        let columns = columns(&pods, width);
        let taken: u16 = columns.iter().map(|column| column.width).sum();
        let gaps = GAP * u16::try_from(columns.len() - 1).expect("a few columns");
        assert!(taken + gaps <= width, "{columns:?} in {width}");
        columns.into_iter().map(|column| column.kind).collect()
    }

    fn mixed() -> Vec<PodStatus> {
        let pods = serde_json::Value::from(sample::mixed_pods());
        serde_json::from_value(pods).expect("pods")
    }

    #[test]
    fn the_wider_the_more_columns() {
        use Kind::{Address, Bar, Count, Estimate, Max, Name, Reason, State, Weight};
        let pods = mixed();
        for (width, expected) in [
            (4, &[Name][..]),
            (17, &[Name, Count]),
            (37, &[Name, Count, State]),
            (46, &[Name, Count, Bar, State]),
            (56, &[Name, Count, Estimate, Bar, State]),
            (75, &[Name, Count, Estimate, Bar, State, Reason]),
            (
                160,
                &[
                    Name, Address, Count, Estimate, Weight, Max, Bar, State, Reason,
                ],
            ),
        ] {
            assert_eq!(kinds(&pods, width), expected, "{width}");
        }
    }

    #[test]
    fn columns_that_would_say_nothing_are_left_out() {
        use Kind::{Address, Bar, Count, Estimate, Name, State};
        let mut pod = sample::pod("a", 1, "healthy");
        let named = [Name, Address, Count, Estimate, Bar, State];
        assert_eq!(kinds(std::slice::from_ref(&pod), 200), named);
        pod.pod_name = None;
        let nameless = [Name, Count, Estimate, Bar, State];
        assert_eq!(kinds(&[pod], 200), nameless);
    }

    #[test]
    fn a_bar_marks_the_even_share_where_it_ends() {
        let bar = |count: u64, even: f64| {
            let mut pod = sample::pod("a", count, "healthy");
            pod.even_share = even;
            let mut table = Table::arrange(vec![&pod], Order::BY_NAME, 80);
            table.largest = 80.0;
            table.bar(&pod, 8, Color::Green).to_string()
        };
        assert_eq!(bar(80, 40.0), "████│███");
        assert_eq!(bar(35, 40.0), "███▌│   ");
        assert_eq!(bar(0, 80.0), "       │");
        // A pod that is to have none has no mark, as little as one that has told nothing.
        assert_eq!(bar(40, 0.0), "████    ");
        assert_eq!(bar(0, -1.0), "        ");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these numbers are exact")]
    fn the_largest_of_counts_and_shares_is_a_full_bar() {
        let pods = mixed();
        let table = Table::arrange(pods.iter().collect(), Order::BY_NAME, 80);
        assert_eq!(table.largest, 1000.0);
        let mut idle = sample::pod("a", 0, "healthy");
        let table = Table::arrange(vec![&idle], Order::BY_NAME, 80);
        assert_eq!(table.largest, 100.0);
        idle.even_share = 0.0;
        let table = Table::arrange(vec![&idle], Order::BY_NAME, 80);
        assert_eq!(table.bar(&idle, 8, Color::Green), Line::default());
    }

    #[test]
    fn the_reason_is_told_where_a_pod_is_not_just_healthy() {
        let reasons = mixed();
        let reasons: Vec<_> = reasons.iter().map(reason).collect();
        assert_eq!(
            reasons,
            [
                "last poll: status 503",
                "3 polls failed in a row; last poll: no answer within 2 s",
                "has not told a count yet",
                "holds 1,000 of 1,000 WebSockets",
                "",
            ]
        );
    }
}
