//! The table of the pods: as many columns as there is room for, the most telling first. What has no
//! room in a column, as long names and reasons, stands in lines of its own: nothing is cut.

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
/// A name of more columns has a line of its own.
const LONGEST_NAME: u16 = 40;
/// As long as an IPv4 address with its port; longer ones get what is left.
const LONGEST_ADDRESS: u16 = 21;
/// A space, and the direction of the order.
const MARK_WIDTH: usize = 2;
/// Columns before what there is to say of a pod.
const INDENT: &str = "  ";
/// The reason of a pod of which there is nothing to say.
const NOTHING_SPECIAL: &str = "it gets new WebSockets";
/// A bar of fewer columns shows little, and has no room for its header.
const SHORTEST_BAR: u16 = 12;
/// A bar of so many columns shows what there is to see.
const LONG_BAR: u16 = 24;
/// A bar of more columns is a long way to look.
const LONGEST_BAR: u16 = 40;

/// The pods of a service, arranged for a width.
#[derive(Debug)]
pub(crate) struct Table<'status> {
    pods: Vec<&'status PodStatus>,
    order: Order,
    columns: Vec<Column>,
    /// What a full bar stands for.
    largest: f64,
    rows: Vec<Row>,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    /// Of which pod it is, by its place.
    pod: usize,
    /// What stands there instead of the columns.
    text: Option<String>,
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
    Load,
    Bar,
    State,
}

impl Kind {
    /// The most telling first: in a narrow window the last ones have no place.
    const BY_WORTH: [Self; 9] = [
        Self::Name,
        Self::Count,
        Self::State,
        Self::Load,
        Self::Bar,
        Self::Estimate,
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
            Self::Load => "Of share",
            Self::Bar => "│ even share",
            Self::State => "State",
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
            Self::Count | Self::Estimate | Self::Weight | Self::Max | Self::Load
        )
    }

    /// The fewest columns in which it is of use, and the most that it has a use for.
    fn widths(self, natural: u16) -> (u16, u16) {
        match self {
            Self::Name => (natural.min(12), natural.min(LONGEST_NAME)),
            Self::Address => (natural.min(LONGEST_ADDRESS), natural),
            Self::Bar => (SHORTEST_BAR, LONGEST_BAR),
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
            Self::Load => text::told(pod.load, text::percent),
            Self::Bar => "".into(),
            Self::State => words(&pod.state).into(),
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
            Self::Load => pod.load.is_some(),
            Self::State => pod.state != PodState::Healthy,
            Self::Estimate => text::rounded(pod.estimate) != text::count(pod.agents_connections),
            _ => true,
        })
    }
}

/// A state in the words of the page.
fn words(state: &PodState) -> &str {
    match state {
        PodState::SlowStart => "slow start",
        PodState::Unknown => "never answered",
        state => state.name(),
    }
}

/// What there is to say of a pod that does not just get its share.
fn remark(pod: &PodStatus) -> Option<String> {
    let reason = Some(pod.reason.clone()).filter(|reason| reason != NOTHING_SPECIAL);
    let failed = pod.last_error.as_deref();
    let failed = failed.map(|error| format!("last poll: {error}"));
    let parts: Vec<String> = [reason, failed, pod.complaint.clone()]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn color(state: &PodState) -> Color {
    match state {
        PodState::Healthy => Color::Green,
        PodState::SlowStart => Color::Cyan,
        PodState::Full => Color::Yellow,
        PodState::Draining => Color::Blue,
        PodState::Stale => Color::Magenta,
        PodState::Ejected
        | PodState::Unhealthy
        | PodState::Unknown
        | PodState::Failing
        | PodState::Refusing => Color::Red,
        PodState::Other(_) => Color::Reset,
    }
}

impl<'status> Table<'status> {
    /// The pods in this order, in a table of at most `width` columns.
    pub(crate) fn arrange(pods: Vec<&'status PodStatus>, order: Order, width: u16) -> Self {
        let larger = |largest: f64, pod: &&PodStatus| {
            let (count, even) = (as_length(pod.agents_connections), share(pod));
            largest.max(count).max(even)
        };
        let columns = columns(&pods, width);
        Self {
            largest: pods.iter().fold(0.0, larger),
            rows: rows(&pods, &columns, width),
            columns,
            pods,
            order,
        }
    }

    /// How many pods there are.
    pub(crate) fn len(&self) -> usize {
        self.pods.len()
    }

    /// How many lines they take.
    pub(crate) fn height(&self) -> usize {
        self.rows.len()
    }

    /// The places of the first and of the last pod in these lines, beginning with 1.
    pub(crate) fn pods_in(&self, lines: std::ops::Range<usize>) -> (usize, usize) {
        let rows = self.rows.get(lines).unwrap_or_default();
        let place = |row: Option<&Row>| row.map_or(0, |row| row.pod + 1);
        (place(rows.first()), place(rows.last()))
    }

    /// Draws the names of the columns into the first line of `area`.
    pub(crate) fn draw_header(&self, area: Rect, buffer: &mut Buffer) {
        let style = Style::new().add_modifier(Modifier::BOLD);
        let cell = |column: Column| Line::styled(self.header(column), style);
        self.draw_line(area, buffer, cell);
    }

    /// Draws these lines.
    pub(crate) fn draw_rows(&self, lines: std::ops::Range<usize>, area: Rect, buffer: &mut Buffer) {
        let rows = self.rows.get(lines).unwrap_or_default();
        for (row, line) in rows.iter().zip(area.rows()) {
            let pod = self.pods[row.pod];
            match &row.text {
                Some(text) => {
                    let room = line.width;
                    buffer.set_line(line.left(), line.top(), &Line::raw(text), room);
                }
                None => self.draw_line(line, buffer, |column| self.cell(pod, column)),
            }
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
            Kind::Name if is_long(pod, width) => Line::default(),
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
        let even = share(pod);
        let even = (even > 0.0).then(|| whole(even * scale).min(last));
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

/// The even share of a pod; 0 where it takes no part in the balance.
fn share(pod: &PodStatus) -> f64 {
    pod.load.map_or(0.0, |_| pod.even_share)
}

/// Whether its name has no room in a column of this width.
fn is_long(pod: &PodStatus, width: u16) -> bool {
    text::width(&text::clean(name(pod))) > usize::from(width)
}

/// The lines of the pods: each has one with its columns, below its name where that is too long for
/// them, and above what there is to say of it.
fn rows(pods: &[&PodStatus], columns: &[Column], width: u16) -> Vec<Row> {
    let names = columns.iter().find(|column| column.kind == Kind::Name);
    let names = names.map_or(0, |column| column.width);
    let has_addresses = columns.iter().any(|column| column.kind == Kind::Address);
    let mut rows = Vec::new();
    for (place, &pod) in pods.iter().enumerate() {
        let mut add = |text| rows.push(Row { pod: place, text });
        if is_long(pod, names) {
            for line in text::wrap(name(pod), width.into()) {
                add(Some(line));
            }
        }
        add(None);
        let Some(mut remark) = remark(pod) else {
            continue;
        };
        if !has_addresses && name(pod) != pod.address {
            remark = format!("{}: {remark}", pod.address);
        }
        let room = usize::from(width).saturating_sub(INDENT.len());
        for line in text::wrap(&remark, room) {
            add(Some(format!("{INDENT}{line}")));
        }
    }
    rows
}

/// The columns that there is room for, with their widths.
fn columns(pods: &[&PodStatus], width: u16) -> Vec<Column> {
    let mut arrangement = Arrangement {
        room: width,
        columns: Vec::new(),
    };
    // What is cut so far gets its room before anything less telling gets any.
    let (main, details) = Kind::BY_WORTH.split_at(5);
    let has_all = arrangement.add(main, pods);
    arrangement.grow(Kind::Name, u16::MAX);
    if has_all {
        arrangement.add(details, pods);
    }
    arrangement.grow(Kind::Bar, LONG_BAR);
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
    /// Adds columns in their fewest columns, up to the first that there is no room for; whether there
    /// is for all.
    fn add(&mut self, kinds: &[Kind], pods: &[&PodStatus]) -> bool {
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
                return false;
            };
            self.room = rest;
            self.columns.push((Column { kind, width: least }, most));
        }
        true
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
        use Kind::{Address, Bar, Count, Estimate, Load, Max, Name, State, Weight};
        let pods = mixed();
        for (width, expected) in [
            (4, &[Name][..]),
            (17, &[Name, Count]),
            (37, &[Name, Count, State]),
            (47, &[Name, Count, Load, State]),
            (61, &[Name, Count, Load, Bar, State]),
            (75, &[Name, Count, Estimate, Load, Bar, State]),
            (
                160,
                &[
                    Name, Address, Count, Estimate, Weight, Max, Load, Bar, State,
                ],
            ),
        ] {
            assert_eq!(kinds(&pods, width), expected, "{width}");
        }
    }

    #[test]
    fn columns_that_would_say_the_same_of_all_are_left_out() {
        use Kind::{Address, Bar, Count, Estimate, Load, Name};
        let mut pod = sample::pod("a", 1, "healthy");
        let named = [Name, Address, Count, Estimate, Load, Bar];
        assert_eq!(kinds(std::slice::from_ref(&pod), 200), named);
        pod.pod_name = None;
        pod.estimate = 1.0;
        let nameless = [Name, Count, Load, Bar];
        assert_eq!(kinds(&[pod], 200), nameless);
    }

    #[test]
    fn a_bar_marks_the_even_share_where_it_ends() {
        let bar = |count: u64, even: f64| {
            let mut pod = sample::pod("a", count, "healthy");
            pod.even_share = even;
            pod.load = Some(1.0);
            let mut table = Table::arrange(vec![&pod], Order::WORST_FIRST, 80);
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
        let table = Table::arrange(pods.iter().collect(), Order::WORST_FIRST, 80);
        assert_eq!(table.largest, 1000.0);
        let mut idle = sample::pod("a", 0, "healthy");
        let table = Table::arrange(vec![&idle], Order::WORST_FIRST, 80);
        assert_eq!(table.largest, 100.0);
        idle.even_share = 0.0;
        let table = Table::arrange(vec![&idle], Order::WORST_FIRST, 80);
        assert_eq!(table.bar(&idle, 8, Color::Green), Line::default());
    }

    #[test]
    fn what_is_to_be_said_of_a_pod_is_said_in_full() {
        let pods = mixed();
        let remarks: Vec<_> = pods.iter().map(remark).collect();
        let remarks: Vec<_> = remarks.iter().map(Option::as_deref).collect();
        assert_eq!(
            remarks,
            [
                Some("last poll: status 503"),
                Some("3 polls failed in a row; last poll: no answer within 2 s"),
                Some("has not told a count yet"),
                Some("holds 1,000 of 1,000 WebSockets"),
                None,
            ]
        );
    }

    #[test]
    fn a_long_name_has_lines_of_its_own() {
        let long = "chat-".repeat(20);
        let pods = [
            sample::pod(&long, 7, "healthy"),
            sample::pod("b", 7, "full"),
        ];
        let table = Table::arrange(pods.iter().collect(), Order::WORST_FIRST, 80);
        let texts: Vec<_> = table.rows.iter().map(|row| row.text.as_deref()).collect();
        let expected = [
            Some(&long[..80]),
            Some(&long[80..]),
            None,
            None,
            Some("  10.0.0.1:8080: has its reasons"),
        ];
        assert_eq!(texts, expected);
        assert_eq!(table.pods_in(0..2), (1, 1));
        assert_eq!(table.pods_in(1..5), (1, 2));
    }
}
