//! The state as lines of text: all services and all pods, and no escape sequences.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;
use wsbalancer_client::{PodStatus, ServiceStatus, Status};

use super::order::Order;
use super::pods::Table;
use super::{heading, screen, text};

/// The state in lines of at most `width` columns, each with its end.
pub(crate) fn render(status: &Status, width: u16) -> String {
    if status.services.is_empty() {
        let warnings = heading::of_gateway(status, width).into_iter();
        let lines = warnings.map(|line| format!("{line}\n"));
        return format!("{}\n", screen::NO_SERVICES) + &lines.collect::<String>();
    }
    let services = status.services.iter();
    let services: Vec<String> = services
        .map(|service| render_service(status, service, width))
        .collect();
    services.join("\n")
}

fn render_service(status: &Status, service: &ServiceStatus, width: u16) -> String {
    let mut pods: Vec<&PodStatus> = status.pods(service).iter().collect();
    Order::WORST_FIRST.sort(&mut pods);
    let table = Table::arrange(pods, Order::WORST_FIRST, width);
    // One buffer for each line: as many lines as there are pods, more than a buffer can have.
    let line = Rect::new(0, 0, width, 1);
    let mut lines = String::new();
    let mut add = |draw: &dyn Fn(&mut Buffer)| {
        let mut buffer = Buffer::empty(line);
        draw(&mut buffer);
        lines.push_str(text_of(&buffer).trim_end());
        lines.push('\n');
    };
    for text in heading::title(status, service, width) {
        add(&|buffer| Line::raw(&text).render(line, buffer));
    }
    for text in heading::lines(status, service, None, width) {
        add(&|buffer| (&text).render(line, buffer));
    }
    let error = screen::discovery_error(service);
    for text in error
        .iter()
        .flat_map(|error| text::wrap(error, width.into()))
    {
        add(&|buffer| Line::raw(&text).render(line, buffer));
    }
    if table.len() == 0 {
        add(&|buffer| screen::NO_PODS.render(line, buffer));
        return lines;
    }
    add(&|buffer| table.draw_header(line, buffer));
    for row in 0..table.height() {
        add(&|buffer| table.draw_rows(row..row + 1, line, buffer));
    }
    lines
}

/// What a buffer of one line shows.
fn text_of(buffer: &Buffer) -> String {
    let mut hidden = 0;
    let cells = buffer.content().iter().map(ratatui::buffer::Cell::symbol);
    cells
        .filter(|symbol| {
            // The cells beside a wide character are under it.
            let is_seen = hidden == 0;
            hidden = if is_seen {
                text::width(symbol).saturating_sub(1)
            } else {
                hidden - 1
            };
            is_seen
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::sample;

    #[test]
    fn all_services_and_all_pods_stand_below_each_other() {
        let services = ["chat", "feed"].map(sample::service_json);
        let mut pods = sample::mixed_pods();
        pods.push(sample::pod_json("馬-2", 20, "slowStart"));
        let text = render(&sample::status_of(&services, &pods), 80);
        let expected = "\
chat   2026-11-25T00:50:00Z
Warning: 1 of 8 pods gets nothing new: it has its reasons
1,234 connections   even share 100   imbalance 1.02   gateway share 33 %
7 of 8 pods usable
Pod              Count  Estimate    Max  Of share  │ even share   State ▲
chat-x2z           150       151      –         –  █▉             unhealthy
  10.0.0.1:8080: 3 polls failed in a row; last poll: no answer within 2 s
10.0.0.9:8080        –         1      –         –                 never answered
  has not told a count yet
chat-9           1,000     1,001  1,000   1,000 %  ███│█████████  full
  10.0.0.1:8080: holds 1,000 of 1,000 WebSockets
馬-2                20        21      –      20 %  ▎│             slow start
  10.0.0.1:8080: has its reasons
chat-7d4            80        81      –      80 %  █│             healthy
  10.0.0.1:8080: last poll: status 503
chat-10            100       101      –     100 %  █│             healthy

feed   2026-11-25T00:50:00Z
Warning: 1 of 8 pods gets nothing new: it has its reasons
1,234 connections   even share 100   imbalance 1.02   gateway share 33 %
7 of 8 pods usable
no pods are known
";
        assert_eq!(text, expected);
        let nothing = render(&sample::status(&[]), 76);
        assert_eq!(nothing, "the balancer has no services\n");
        // What helps is told all the same.
        let mut alone = sample::document(&[], &[]);
        alone["warnings"] =
            json!([{ "kind": "vmId", "message": "It sees none.", "advice": "a: b" }]);
        let alone = serde_json::from_value(alone).expect("a status");
        let expected = "the balancer has no services\nIt sees none.\n  a: b\n";
        assert_eq!(render(&alone, 80), expected);
    }

    #[test]
    fn a_thousand_pods_are_a_thousand_lines() {
        let pods: Vec<_> = (0..1000)
            .map(|number| sample::pod_json(&format!("chat-{number}"), number, "healthy"))
            .collect();
        let status = sample::status_of(&[sample::service_json("chat")], &pods);
        let text = render(&status, 120);
        assert_eq!(text.lines().count(), 1004);
        assert!(text.lines().any(|line| line.starts_with("chat-999 ")));
    }
}
