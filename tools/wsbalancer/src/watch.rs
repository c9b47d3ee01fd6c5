//! `wsbalancer watch`: the state of the balancer, watched live in the terminal, or printed once.
//!
//! In here is all that reads, waits and writes. [`view`] is what the user looks at and what keys
//! do, [`screen`], [`heading`] and [`pods`] draw it into a buffer, [`plain`] makes text of it.

mod arguments;
mod heading;
mod order;
mod plain;
mod pods;
#[cfg(test)]
mod sample;
mod screen;
mod text;
mod view;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub(crate) use self::arguments::WatchArguments;
use self::view::{Outcome, View};
use crate::{signals, terminal};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Shows the state as the user asks for it.
pub(crate) async fn run(arguments: &WatchArguments) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals()?;
    if arguments.once {
        let printed = stop.run_until_cancelled(print_once(arguments)).await;
        return printed.unwrap_or_else(|| Err(anyhow!("interrupted")));
    }
    ensure!(
        io::stdout().is_terminal(),
        "standard output is no terminal: use --once"
    );
    show_live(arguments, &stop).await
}

async fn print_once(arguments: &WatchArguments) -> anyhow::Result<()> {
    let answer = arguments.url.fetch(ANSWER_LIMIT).await;
    let status = answer.map_err(|reason| anyhow!("{}: {}", arguments.url, text::clean(&reason)))?;
    let mut output = io::stdout().lock();
    output
        .write_all(plain::render(&status, terminal::width()).as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write the state to standard output")
}

async fn show_live(arguments: &WatchArguments, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut view = View::new(arguments.url.to_string(), Instant::now());
    let mut window = Window::open().context("cannot take over the terminal")?;
    let mut events = EventStream::new();
    let mut ticks = interval(arguments.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The answer that is under way, if there is one.
    let mut asking = JoinSet::new();
    loop {
        window.draw(&mut view).context("cannot draw")?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) if !key.is_release() => {
                    if view.press(key) == Outcome::Quit {
                        return Ok(());
                    }
                }
                // A window of another size is drawn anew like everything else.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("cannot read keys"),
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                if asking.is_empty() && !view.is_paused {
                    let url = arguments.url.clone();
                    asking.spawn(async move { url.fetch(ANSWER_LIMIT).await });
                }
            }
            Some(answer) = asking.join_next(), if !view.is_paused => {
                view.answer(answer.context("cannot ask")?, Instant::now());
            }
        }
    }
}

/// The terminal while it is ours: whatever happens, it is given back as it was.
struct Window(DefaultTerminal);

impl Window {
    fn open() -> io::Result<Self> {
        ratatui::try_init()
            .map(Self)
            // Half of it may have been done.
            .inspect_err(|_| ratatui::restore())
    }

    fn draw(&mut self, view: &mut View) -> io::Result<()> {
        let draw = |frame: &mut ratatui::Frame<'_>| {
            screen::draw(view, frame.area(), frame.buffer_mut(), Instant::now());
        };
        self.0.draw(draw).map(|_| ())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
