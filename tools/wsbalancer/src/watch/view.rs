//! What the user looks at: the latest state of the balancer, and which part of it in which order.
//!
//! Nothing in here reads, waits or draws: answers and keys come in, and [`screen`](super::screen)
//! looks at what came of them.

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use wsbalancer_client::{PodStatus, ServiceStatus, Status};

use super::heading::Before;
use super::order::{Key, Order};

/// What the user looks at.
#[derive(Debug)]
pub(crate) struct View {
    /// Where the state comes from.
    pub(crate) url: String,
    /// The last state that came.
    pub(crate) status: Option<Status>,
    /// The one before it, and how many seconds earlier that came.
    before: Option<(Status, f64)>,
    /// Why the last answer was none.
    pub(crate) failure: Option<String>,
    /// When the last state came, or the first was asked for.
    pub(crate) since: Instant,
    pub(crate) order: Order,
    pub(crate) is_paused: bool,
    pub(crate) scroll: Scroll,
    /// The chosen service, by its name: the others may come and go.
    chosen: Option<String>,
}

/// Which of many rows are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scroll {
    first: usize,
    rows: usize,
    page: usize,
}

/// What is to be done after a key was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// To go on.
    Stay,
    /// To end.
    Quit,
}

impl View {
    /// Nothing has come yet.
    pub(crate) fn new(url: String, now: Instant) -> Self {
        Self {
            url,
            status: None,
            before: None,
            failure: None,
            since: now,
            order: Order::WORST_FIRST,
            is_paused: false,
            scroll: Scroll::default(),
            chosen: None,
        }
    }

    /// Takes in an answer. A failure leaves the last state to be looked at.
    pub(crate) fn answer(&mut self, answer: Result<Status, String>, now: Instant) {
        match answer {
            Ok(status) => {
                let seconds = now.duration_since(self.since).as_secs_f64();
                self.before = self.status.replace(status).map(|status| (status, seconds));
                self.failure = None;
                self.since = now;
            }
            Err(reason) => self.failure = Some(reason),
        }
    }

    /// All services; none before the first state has come.
    pub(crate) fn services(&self) -> &[ServiceStatus] {
        self.status.as_ref().map_or(&[], |status| &status.services)
    }

    /// The place of the chosen service, or of the first.
    pub(crate) fn place(&self) -> usize {
        let is_chosen = |service: &ServiceStatus| Some(&service.url) == self.chosen.as_ref();
        self.services().iter().position(is_chosen).unwrap_or(0)
    }

    /// The service that is looked at, if there is any, and its pods in their order.
    pub(crate) fn service(&self) -> Option<(&ServiceStatus, Vec<&PodStatus>)> {
        let service = self.services().get(self.place())?;
        let pods = self.status.as_ref()?.pods(service);
        let mut pods: Vec<&PodStatus> = pods.iter().collect();
        self.order.sort(&mut pods);
        Some((service, pods))
    }

    /// What the service was before.
    pub(crate) fn before(&self, service: &ServiceStatus) -> Before<'_> {
        let (status, seconds) = self.before.as_ref()?;
        let mut services = status.services.iter();
        let same = services.find(|before| before.url == service.url)?;
        Some((same, *seconds))
    }

    /// Does what a key asks for.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Outcome {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Outcome::Quit,
            _ if is_control || key.modifiers.contains(KeyModifiers::ALT) => {}
            KeyCode::Char('q') => return Outcome::Quit,
            KeyCode::Char('n') => self.sort(Key::Name),
            KeyCode::Char('c') => self.sort(Key::Count),
            KeyCode::Char('s') => self.sort(Key::State),
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(-1),
            KeyCode::Up => self.scroll.by(-1),
            KeyCode::Down => self.scroll.by(1),
            KeyCode::PageUp => self.scroll.by_pages(-1),
            KeyCode::PageDown => self.scroll.by_pages(1),
            KeyCode::Home => self.scroll.go_to_start(),
            KeyCode::End => self.scroll.go_to_end(),
            _ => {}
        }
        Outcome::Stay
    }

    /// Orders the pods, and shows those that come first.
    fn sort(&mut self, key: Key) {
        self.order.ask(key);
        self.scroll.go_to_start();
    }

    /// Goes on to another service; after the last comes the first.
    fn turn(&mut self, steps: isize) {
        let services = self.services();
        if services.len() < 2 {
            return;
        }
        // A step back is as many steps forward as there are others.
        let steps = steps
            .rem_euclid(services.len().cast_signed())
            .cast_unsigned();
        let place = (self.place() + steps) % services.len();
        self.chosen = Some(services[place].url.clone());
        self.scroll.go_to_start();
    }
}

impl Scroll {
    /// The rows that are seen of `rows`, where there is room for `page`.
    pub(crate) fn fit(&mut self, rows: usize, page: usize) -> std::ops::Range<usize> {
        self.rows = rows;
        self.page = page;
        self.first = self.first.min(self.last_start());
        self.first..rows.min(self.first + page)
    }

    /// The first row of the last page.
    pub(crate) fn last_start(self) -> usize {
        self.rows.saturating_sub(self.page)
    }

    fn by(&mut self, rows: isize) {
        self.first = self
            .first
            .saturating_add_signed(rows)
            .min(self.last_start());
    }

    fn by_pages(&mut self, pages: isize) {
        // A row stays, for the eye to find its place again.
        let page = self.page.saturating_sub(1).max(1);
        self.by(page.cast_signed().saturating_mul(pages));
    }

    fn go_to_start(&mut self) {
        self.first = 0;
    }

    fn go_to_end(&mut self) {
        self.first = self.last_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::sample;

    fn view(services: &[&str]) -> View {
        let mut view = View::new("http://envoy:9902/".to_owned(), Instant::now());
        view.answer(Ok(sample::status(services)), Instant::now());
        view
    }

    fn press(view: &mut View, code: KeyCode) -> Outcome {
        view.press(KeyEvent::from(code))
    }

    fn chosen(view: &View) -> &str {
        &view.service().expect("a service").0.url
    }

    #[test]
    fn keys_turn_to_other_services_and_around() {
        let mut view = view(&["chat", "feed", "mail"]);
        assert_eq!(chosen(&view), "chat");
        for (code, expected) in [
            (KeyCode::Tab, "feed"),
            (KeyCode::Right, "mail"),
            (KeyCode::Right, "chat"),
            (KeyCode::BackTab, "mail"),
            (KeyCode::Left, "feed"),
        ] {
            assert_eq!(press(&mut view, code), Outcome::Stay);
            assert_eq!(chosen(&view), expected, "{code:?}");
        }
        // The choice is of a service, not of a place.
        view.answer(Ok(sample::status(&["feed", "mail"])), Instant::now());
        assert_eq!(chosen(&view), "feed");
        view.answer(Ok(sample::status(&["mail"])), Instant::now());
        assert_eq!(chosen(&view), "mail");
        view.answer(Ok(sample::status(&[])), Instant::now());
        assert!(view.service().is_none());
        press(&mut view, KeyCode::Tab);
        view.answer(Ok(sample::status(&["mail", "feed"])), Instant::now());
        assert_eq!(chosen(&view), "feed");
    }

    #[test]
    fn keys_order_pause_and_quit() {
        let mut view = view(&["chat"]);
        press(&mut view, KeyCode::Char('c'));
        assert_eq!((view.order.key, view.order.reversed), (Key::Count, false));
        press(&mut view, KeyCode::Char('c'));
        assert_eq!((view.order.key, view.order.reversed), (Key::Count, true));
        press(&mut view, KeyCode::Char('n'));
        assert_eq!((view.order.key, view.order.reversed), (Key::Name, false));
        press(&mut view, KeyCode::Char('s'));
        assert_eq!(view.order, Order::WORST_FIRST);
        press(&mut view, KeyCode::Char('p'));
        assert!(view.is_paused);
        press(&mut view, KeyCode::Char('p'));
        assert!(!view.is_paused);
        assert_eq!(press(&mut view, KeyCode::Char('q')), Outcome::Quit);
    }

    #[test]
    fn control_c_quits_and_other_chords_do_nothing() {
        let mut view = view(&["chat"]);
        let chord = |character, modifiers| KeyEvent::new(KeyCode::Char(character), modifiers);
        let interrupt = chord('c', KeyModifiers::CONTROL);
        assert_eq!(view.press(interrupt), Outcome::Quit);
        for key in [
            chord('s', KeyModifiers::CONTROL),
            chord('q', KeyModifiers::ALT),
        ] {
            assert_eq!(view.press(key), Outcome::Stay);
        }
        assert_eq!(view.order, Order::WORST_FIRST);
    }

    #[test]
    fn rows_scroll_by_one_by_page_and_to_the_ends() {
        let mut view = view(&["chat", "feed"]);
        assert_eq!(view.scroll.fit(100, 10), 0..10);
        for (code, expected) in [
            (KeyCode::Up, 0..10),
            (KeyCode::Down, 1..11),
            (KeyCode::PageDown, 10..20),
            (KeyCode::PageUp, 1..11),
            (KeyCode::End, 90..100),
            (KeyCode::PageDown, 90..100),
            (KeyCode::Up, 89..99),
            (KeyCode::Home, 0..10),
        ] {
            press(&mut view, code);
            assert_eq!(view.scroll.fit(100, 10), expected, "{code:?}");
        }
        press(&mut view, KeyCode::End);
        press(&mut view, KeyCode::Char('c'));
        assert_eq!(
            view.scroll.fit(100, 10),
            0..10,
            "the first in the new order"
        );
        press(&mut view, KeyCode::End);
        // Fewer pods, or a larger window: the last page stays full.
        assert_eq!(view.scroll.fit(30, 20), 10..30);
        assert_eq!(view.scroll.fit(5, 20), 0..5);
        assert_eq!(view.scroll.fit(5, 0), 0..0);
        press(&mut view, KeyCode::PageDown);
        assert_eq!(view.scroll.fit(5, 2), 1..3);
        press(&mut view, KeyCode::Tab);
        assert_eq!(
            view.scroll.fit(5, 2),
            0..2,
            "another service starts at its top"
        );
    }

    #[test]
    fn a_failure_leaves_the_last_state() {
        let begun = Instant::now();
        let mut view = View::new("http://envoy:9902/".to_owned(), begun);
        view.answer(Err("Connection refused".to_owned()), Instant::now());
        assert_eq!((view.since, view.services().len()), (begun, 0));
        let told = Instant::now();
        view.answer(Ok(sample::status(&["chat"])), told);
        assert_eq!((view.since, &view.failure), (told, &None));
        view.answer(Err("Connection refused".to_owned()), Instant::now());
        assert_eq!((view.since, chosen(&view)), (told, "chat"));
        assert_eq!(view.failure.as_deref(), Some("Connection refused"));
    }
}
