//! The progress bar on standard error; nothing at all where that is no terminal.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How often the spinner turns while nothing else happens.
const TICK: Duration = Duration::from_millis(100);

/// How far the load has come, as the user sees it.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar of `connections` to open.
    pub(crate) fn start(connections: u32) -> Self {
        let bar = ProgressBar::new(u64::from(connections));
        bar.set_style(style(
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec:>10} {eta:>4}",
        ));
        bar.set_message("opening");
        Self(bar)
    }

    /// Moves the bar; failures are part of it.
    pub(crate) fn advance(&self, so_far: wsbalancer_client::Progress) {
        self.0.set_position(so_far.opened + so_far.failed);
        if so_far.failed > 0 {
            self.0
                .set_message(format!("opening ({} failed)", HumanCount(so_far.failed)));
        }
    }

    /// All are open, and stay so for `span`.
    pub(crate) fn hold(&self, connections: usize, span: Duration) {
        self.0.set_style(style("{spinner} {msg}"));
        self.0.set_message(format!(
            "holding {} connections for {}",
            HumanCount(connections as u64),
            humantime::format_duration(span)
        ));
        self.0.enable_steady_tick(TICK);
    }

    /// The connections are being closed.
    pub(crate) fn close(&self) {
        self.0.set_style(style("{spinner} {msg}"));
        self.0.set_message("closing");
        self.0.enable_steady_tick(TICK);
    }

    /// Takes the bar away: what it told stands in the report.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants of this module")
}
