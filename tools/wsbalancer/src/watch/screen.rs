//! The whole window: a title, the services, what is wrong, how the service is, the pods, and the keys.

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Paragraph, Scrollbar, ScrollbarOrientation, ScrollbarState, StatefulWidget, Widget,
};
use wsbalancer_client::ServiceStatus;

use super::pods::Table;
use super::view::View;
use super::{heading, text};

/// Columns between two parts of a line.
const GAP: &str = "   ";
/// Columns between two keys.
const KEY_GAP: &str = "  ";
/// Columns of the scrollbar and before it.
const SCROLLBAR: u16 = 2;
/// The name of a service is cut among those of the others.
const LONGEST_TAB: usize = 24;
/// Stands where a service would.
pub(crate) const NO_SERVICES: &str = "the balancer has no services";
/// Stands where the pods would.
pub(crate) const NO_PODS: &str = "no pods are known";

/// Draws what the user looks at.
///
/// How far the pods are scrolled is settled in here, where it is known how many there is room for.
pub(crate) fn draw(view: &mut View, area: Rect, buffer: &mut Buffer, now: Instant) {
    let inner = area.inner(Margin::new(1, 0));
    let tabs = tabs(view, inner.width);
    let title = title(view, inner.width);
    let notice = notice(view, inner.width, now);
    let mut heading = heading(view, inner.width);
    // In a window that is too low for all, the pods have a half of it.
    let others = title.len() + tabs.iter().len() + notice.len();
    heading.truncate(usize::from(inner.height / 2).saturating_sub(others));
    let [
        title_area,
        tabs_area,
        notice_area,
        heading_area,
        pods_area,
        keys_area,
    ] = Layout::vertical([
        lines(title.len()),
        lines(tabs.iter().len()),
        lines(notice.len()),
        lines(heading.len()),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(inner);
    Paragraph::new(title).render(title_area, buffer);
    let bar = title_area.outer(Margin::new(1, 0)).intersection(area);
    buffer.set_style(bar, Modifier::REVERSED);
    if let Some(tabs) = tabs {
        tabs.render(tabs_area, buffer);
    }
    Paragraph::new(notice).render(notice_area, buffer);
    Paragraph::new(heading).render(heading_area, buffer);
    let range = draw_pods(view, pods_area, buffer);
    keys(view, range, keys_area.width).render(keys_area, buffer);
}

fn lines(count: usize) -> Constraint {
    Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX))
}

/// Draws the pods and, where not all are seen, tells which.
fn draw_pods(view: &mut View, area: Rect, buffer: &mut Buffer) -> Option<String> {
    let mut scroll = view.scroll;
    let (_, pods) = view.service()?;
    // Room for a scrollbar, whether there is one or not: the columns stay where they are.
    let table = Table::arrange(pods, view.order, area.width.saturating_sub(SCROLLBAR));
    let [header, rows] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let (height, page) = (table.height(), usize::from(rows.height));
    let seen = scroll.fit(height, page);
    if height == 0 {
        Line::raw(NO_PODS).render(header, buffer);
    } else {
        table.draw_header(header, buffer);
        table.draw_rows(seen.clone(), rows, buffer);
    }
    let (first, last) = table.pods_in(seen.clone());
    let all = table.len();
    view.scroll = scroll;
    if height <= page {
        return None;
    }
    let mut state = ScrollbarState::new(scroll.last_start() + 1)
        .viewport_content_length(page)
        .position(seen.start);
    Scrollbar::new(ScrollbarOrientation::VerticalRight)
        .begin_symbol(None)
        .end_symbol(None)
        .track_symbol(Some("│"))
        .thumb_symbol("█")
        .render(rows, buffer, &mut state);
    let [first, last, all] = [first, last, all].map(|place| text::count(place as u64));
    Some(format!("{first}–{last} of {all}"))
}

/// The lines above all others.
fn title(view: &View, width: u16) -> Vec<Line<'static>> {
    let lines = match (&view.status, view.service()) {
        (Some(status), Some((service, _))) => heading::title(status, service, width),
        _ => text::flow(
            &["wsbalancer".to_owned(), view.url.clone()],
            GAP,
            width.into(),
        ),
    };
    let name = |place| {
        if place == 0 {
            Modifier::BOLD
        } else {
            Modifier::empty()
        }
    };
    let lines = lines.into_iter().enumerate();
    lines
        .map(|(place, line)| Line::styled(line, name(place)))
        .collect()
}

/// How the service is.
fn heading(view: &View, width: u16) -> Vec<Line<'static>> {
    match (&view.status, view.service()) {
        (Some(status), Some((service, _))) => {
            heading::lines(status, service, view.before(service), width)
        }
        (Some(status), None) => heading::of_gateway(status, width),
        (None, _) => Vec::new(),
    }
}

/// The services, where there are several, moved so far that the chosen one is seen.
fn tabs(view: &View, width: u16) -> Option<Paragraph<'static>> {
    let services = view.services();
    if services.len() < 2 {
        return None;
    }
    let place = view.place();
    let names: Vec<String> = services
        .iter()
        .map(|service| text::fit(&service.url, LONGEST_TAB))
        .collect();
    let up_to_chosen = names.iter().take(place + 1);
    let end: usize = up_to_chosen.map(|name| text::width(name) + GAP.len()).sum();
    let hidden = end.saturating_sub(GAP.len() + usize::from(width));
    let spans = names.into_iter().enumerate().flat_map(|(index, name)| {
        let style = if index == place {
            Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
        } else {
            Style::new().fg(Color::DarkGray)
        };
        [Span::styled(name, style), Span::raw(GAP)]
    });
    let line = Line::from(spans.collect::<Vec<_>>());
    Some(Paragraph::new(line).scroll((0, u16::try_from(hidden).unwrap_or(u16::MAX))))
}

/// What the user should know beside the state itself.
fn notice(view: &View, width: u16, now: Instant) -> Vec<Line<'static>> {
    let (notice, color) = if view.is_paused {
        ("paused: p goes on".to_owned(), Color::Yellow)
    } else if let Some(failure) = &view.failure {
        // Whole seconds: nobody reads the rest.
        let age = Duration::from_secs(now.duration_since(view.since).as_secs());
        let age = humantime::format_duration(age);
        let notice = format!("no state for {age}, trying again: {failure}");
        (notice, Color::Red)
    } else if view.status.is_none() {
        ("waiting for the first answer".to_owned(), Color::Reset)
    } else if let Some((service, _)) = view.service() {
        match discovery_error(service) {
            Some(notice) => (notice, Color::Yellow),
            None => return Vec::new(),
        }
    } else {
        (NO_SERVICES.to_owned(), Color::Yellow)
    };
    let lines = text::wrap(&notice, width.into()).into_iter();
    lines.map(|line| Line::styled(line, color)).collect()
}

/// Why the pods may be others than those that are shown.
pub(crate) fn discovery_error(service: &ServiceStatus) -> Option<String> {
    let discovery = service.discovery.as_ref()?;
    let error = discovery.last_error.as_ref()?;
    Some(format!("{} told no pods: {error}", discovery.admin_cluster))
}

/// The keys that do something now, as far as there is room, and what is seen of the pods.
fn keys(view: &View, range: Option<String>, width: u16) -> Line<'static> {
    let mut keys = vec![
        ("q", "quit"),
        ("n", "name"),
        ("c", "count"),
        ("s", "state"),
        ("p", if view.is_paused { "go on" } else { "pause" }),
    ];
    if view.services().len() > 1 {
        keys.push(("Tab", "service"));
    }
    if range.is_some() {
        keys.push(("↑↓", "scroll"));
    }
    let range = range.unwrap_or_default();
    let mut room = usize::from(width).saturating_sub(text::width(&range));
    let mut spans = Vec::new();
    for (key, action) in keys {
        let action = format!(" {action}{KEY_GAP}");
        let Some(rest) = room.checked_sub(text::width(key) + text::width(&action)) else {
            break;
        };
        room = rest;
        spans.push(Span::styled(key, Modifier::BOLD));
        spans.push(Span::raw(action));
    }
    spans.push(Span::raw(" ".repeat(room)));
    spans.push(Span::raw(range));
    Line::from(spans).style(Color::DarkGray)
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyCode;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::{Value, json};
    use wsbalancer_client::Status;

    use super::*;
    use crate::watch::sample;

    const URL: &str = "http://envoy:9902/balancer-metrics";

    fn view(services: &[Value], pods: &[Value]) -> View {
        let mut view = View::new(URL.to_owned(), Instant::now());
        view.answer(Ok(sample::status_of(services, pods)), view.since);
        view
    }

    /// The frame after some seconds.
    fn backend(view: &mut View, width: u16, height: u16, seconds: u64) -> TestBackend {
        let now = view.since + Duration::from_secs(seconds);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let drawn = terminal.draw(|frame| draw(view, frame.area(), frame.buffer_mut(), now));
        drawn.expect("a frame");
        terminal.backend().clone()
    }

    fn frame(view: &mut View, width: u16, height: u16) -> String {
        backend(view, width, height, 0).to_string()
    }

    fn assert_frame(frame: &TestBackend, expected: &str) {
        let shown = frame.to_string().replace('"', "");
        let shown: Vec<&str> = shown.lines().map(str::trim_end).collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(shown, expected, "{frame}");
    }

    #[test]
    fn every_pod_stands_against_its_even_share() {
        let mut view = view(&[sample::service_json("chat")], &sample::mixed_pods());
        let frame = backend(&mut view, 80, 15, 0);
        assert_frame(
            &frame,
            " chat   2026-11-25T00:50:00Z
 Warning: 1 of 8 pods gets nothing new: it has its reasons
 1,234 connections   even share 100   imbalance 1.02   gateway share 33 %
 7 of 8 pods usable
 Pod              Count  Estimate  Of share  │ even share      State ▲
 chat-x2z           150       151         –  ██▍               unhealthy
   10.0.0.1:8080: 3 polls failed in a row; last poll: no answer within 2 s
 10.0.0.9:8080        –         1         –                    never answered
   has not told a count yet
 chat-9           1,000     1,001   1,000 %  ████│███████████  full
   10.0.0.1:8080: holds 1,000 of 1,000 WebSockets
 chat-7d4            80        81      80 %  █│                healthy
   10.0.0.1:8080: last poll: status 503
 chat-10            100       101     100 %  █│                healthy
 q quit  n name  c count  s state  p pause",
        );
        let color = |y| {
            let state = frame.buffer().cell((66, y)).expect("a cell");
            assert_ne!(state.symbol(), " ");
            state.fg
        };
        let colors = [5, 7, 9, 11].map(color);
        let expected = [Color::Red, Color::Red, Color::Yellow, Color::Green];
        assert_eq!(colors, expected);
        let verdict = frame.buffer().cell((1, 1)).expect("a cell");
        assert_eq!(verdict.fg, Color::Yellow);
        // The mark stays visible where the bar goes on.
        let mark = frame.buffer().cell((49, 9)).expect("a cell");
        assert_eq!((mark.symbol(), mark.bg), ("│", Color::Yellow));
        let title = frame.buffer().cell((79, 0)).expect("a cell");
        assert!(title.modifier.contains(Modifier::REVERSED));
    }

    #[test]
    fn a_narrow_window_shows_what_tells_most() {
        let services = ["chat", "feed", "mail"].map(sample::service_json);
        let mut view = view(&services, &sample::mixed_pods());
        view.press(KeyCode::Char('c').into());
        assert_frame(
            &backend(&mut view, 60, 16, 0),
            " chat   2026-11-25T00:50:00Z
 chat   feed   mail
 Warning: 1 of 8 pods gets nothing new: it has its reasons
 1,234 connections   even share 100   imbalance 1.02
 gateway share 33 %   7 of 8 pods usable
 Pod            Count ▼  Of share  State
 chat-9           1,000   1,000 %  full                   █
   10.0.0.1:8080: holds 1,000 of 1,000 WebSockets         █
 chat-x2z           150         –  unhealthy              █
   10.0.0.1:8080: 3 polls failed in a row; last poll: no  █
   answer within 2 s                                      █
 chat-10            100     100 %  healthy                █
 chat-7d4            80      80 %  healthy                █
   10.0.0.1:8080: last poll: status 503                   █
 10.0.0.9:8080        –         –  never answered         │
 q quit  n name  c count  s state  p pause         1–5 of 5",
        );
        let small = frame(&mut view, 40, 10);
        assert!(small.contains("Pod            Count ▼"), "{small}");
        let smallest = frame(&mut view, 20, 8);
        assert!(smallest.contains("Count ▼"), "{smallest}");
        for width in 0..20 {
            for height in 0..6 {
                let area = Rect::new(0, 0, width, height);
                draw(&mut view, area, &mut Buffer::empty(area), Instant::now());
            }
        }
    }

    #[test]
    fn a_thousand_pods_scroll() {
        let pods: Vec<Value> = (0..1000)
            .rev()
            .map(|number| sample::pod_json(&format!("chat-{number}"), number, "healthy"))
            .collect();
        let mut view = view(&[sample::service_json("chat")], &pods);
        assert_frame(
            &backend(&mut view, 80, 10, 0),
            " chat   2026-11-25T00:50:00Z
 Warning: 1 of 8 pods gets nothing new: it has its reasons
 1,234 connections   even share 100   imbalance 1.02   gateway share 33 %
 7 of 8 pods usable
 Pod       Address          Count  Estimate  Of share  │ even share
 chat-995  10.0.0.1:8080      995       996     995 %  ██│██████████████████▉ █
 chat-996  10.0.0.1:8080      996       997     996 %  ██│██████████████████▉ │
 chat-997  10.0.0.1:8080      997       998     997 %  ██│██████████████████▉ │
 chat-998  10.0.0.1:8080      998       999     998 %  ██│██████████████████▉ │
 q quit  n name  c count  s state  p pause  ↑↓ scroll              1–4 of 1,000",
        );
        view.press(KeyCode::End.into());
        let last = frame(&mut view, 80, 10);
        assert!(last.contains("997–1,000 of 1,000"), "{last}");
        // With fewer pods than before the last page is full.
        view.answer(
            Ok(sample::status_of(
                &[sample::service_json("chat")],
                &pods[..3],
            )),
            view.since,
        );
        let shown = frame(&mut view, 80, 10);
        assert!(
            shown.contains("chat-997") && shown.contains("chat-999"),
            "{shown}"
        );
        assert!(!shown.contains(" of 3\""), "{shown}");
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\r\n\u{7}\u{202e}evil\u{2066}\u{200f}<script>";
        fn poison(value: &mut Value) {
            match value {
                // One of three words.
                Value::String(text) if text == "warning" => {}
                Value::String(text) => *text = format!("{HOSTILE}{text}"),
                Value::Array(elements) => elements.iter_mut().for_each(poison),
                Value::Object(fields) => fields.values_mut().for_each(poison),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        let mut services = ["chat", "feed"].map(sample::service_json);
        services[0]["discovery"]["lastError"] = json!("status 503");
        services[0]["warnings"] = json!([{ "message": "It is late.", "advice": "a: b\n  c: d" }]);
        let mut pods = sample::mixed_pods();
        pods.push(sample::pod_json(&HOSTILE.repeat(500), 7, "healthy"));
        services.iter_mut().chain(&mut pods).for_each(poison);
        let mut document = sample::document(&services, &pods);
        poison(&mut document["timestamp"]);
        document["gateway"] = json!(HOSTILE);
        let status: Status = serde_json::from_value(document).expect("a status");

        let plain = crate::watch::plain::render(&status, 250);
        assert!(plain.contains("evil"), "{plain}");
        let is_hostile = |character: char| {
            HOSTILE[..HOSTILE.len() - 8].contains(character) && !character.is_ascii_graphic()
        };
        assert!(!plain.replace('\n', "").contains(is_hostile), "{plain:?}");

        let mut view = View::new(URL.to_owned(), Instant::now());
        for failure in [None, Some(HOSTILE)] {
            view.answer(Ok(status.clone()), view.since);
            if let Some(failure) = failure {
                view.answer(Err(failure.to_owned()), view.since);
            }
            for width in [30, 80, 250] {
                let frame = backend(&mut view, width, 14, 0);
                for cell in frame.buffer().content() {
                    assert!(
                        !cell.symbol().contains(is_hostile),
                        "{:?} in {frame}",
                        cell.symbol()
                    );
                }
                assert!(frame.to_string().contains("�[2J"), "{frame}");
            }
        }
    }

    #[test]
    fn what_is_wrong_stands_above_the_pods() {
        let begun = Instant::now();
        let mut waiting = View::new(URL.to_owned(), begun);
        assert_frame(
            &backend(&mut waiting, 60, 4, 0),
            " wsbalancer   http://envoy:9902/balancer-metrics
 waiting for the first answer

 q quit  n name  c count  s state  p pause",
        );
        waiting.answer(Err("Connection refused".to_owned()), begun);
        let shown = backend(&mut waiting, 60, 4, 3).to_string();
        let expected = "no state for 3s, trying again: Connection refused";
        assert!(shown.contains(expected), "{shown}");

        let mut service = sample::service_json("chat");
        service["discovery"]["lastError"] = json!("status 503");
        let mut view = view(&[service.clone()], &[sample::pod_json("a", 1, "stale")]);
        let shown = frame(&mut view, 60, 12);
        assert!(
            shown.contains("envoy_admin told no pods: status 503"),
            "{shown}"
        );
        view.answer(Err("no answer within 5s".to_owned()), Instant::now());
        let failing = backend(&mut view, 60, 12, 75);
        let expected = "no state for 1m 15s, trying again: no answer within 5s";
        assert!(failing.to_string().contains(expected), "{failing}");
        assert!(
            failing.to_string().contains("stale"),
            "the last state stays: {failing}"
        );
        assert_eq!(
            failing.buffer().cell((1, 1)).map(|cell| cell.fg),
            Some(Color::Red)
        );
        view.press(KeyCode::Char('p').into());
        let shown = frame(&mut view, 60, 12);
        assert!(shown.contains("paused: p goes on"), "{shown}");
        assert!(shown.contains("p go on"), "{shown}");

        service["discovery"] = Value::Null;
        service["imbalance"] = Value::Null;
        view = self::view(&[service], &[]);
        let shown = frame(&mut view, 70, 12);
        assert!(
            shown.contains("imbalance –") && shown.contains(NO_PODS),
            "{shown}"
        );
        view = self::view(&[], &[]);
        let shown = frame(&mut view, 60, 5);
        assert!(shown.contains(NO_SERVICES), "{shown}");
    }

    #[test]
    fn the_chosen_service_is_seen_among_many() {
        let names: Vec<String> = (0..20).map(|number| format!("service-{number}")).collect();
        let services: Vec<Value> = names
            .iter()
            .map(|name| sample::service_json(name))
            .collect();
        let mut view = view(&services, &[]);
        for name in &names {
            let frame = frame(&mut view, 40, 5);
            let tabs = frame
                .lines()
                .nth(1)
                .expect("a line of tabs")
                .replace('"', " ");
            assert!(tabs.contains(&format!(" {name} ")), "{name} in {tabs}");
            view.press(KeyCode::Tab.into());
        }
        assert_eq!(view.place(), 0);
    }
}
