//! Progress on stderr: a bar on a terminal, a line a minute elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cnitest::suite::Event;
use cnitest_reports::model::Verdict;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a run is.
pub(super) struct Progress {
    bar: Mutex<ProgressBar>,
    plugins: usize,
    begun: AtomicUsize,
    failed: AtomicUsize,
    minutes: Minutes,
}

impl Progress {
    pub(super) fn new(plugins: usize) -> Progress {
        Progress {
            bar: Mutex::new(bar()),
            plugins,
            begun: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            minutes: Minutes::new(),
        }
    }

    pub(super) fn on(&self, event: &Event<'_>) {
        let Ok(bar) = self.bar.lock() else { return };
        match event {
            Event::Started { name, cases } => {
                let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
                self.failed.store(0, Ordering::Relaxed);
                bar.reset();
                bar.set_length(*cases as u64);
                bar.set_style(style("{prefix} {wide_bar} {pos}/{len} {elapsed} {msg}"));
                bar.set_prefix(format!("[{number}/{}] {name}", self.plugins));
                bar.set_message("");
            }
            Event::Finished(result) => {
                if matches!(result.verdict, Verdict::Fail | Verdict::Error) {
                    let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
                    bar.set_message(format!("{failed} failed"));
                }
                bar.inc(1);
                self.minutes.tell(&bar, || format!("{} cases {}", position(&bar), bar.message()));
                if bar.length() == Some(bar.position()) {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

/// How far a bar is, as text: `bridge 12/30`.
pub(super) fn position(bar: &ProgressBar) -> String {
    let of = bar.length().map_or_else(String::new, |of| format!("/{of}"));
    format!("{} {}{of}", bar.prefix(), bar.position())
}

/// Tells how far a run is, each minute, where a bar is not seen.
pub(super) struct Minutes {
    begun: Instant,
    told: AtomicU64,
}

impl Minutes {
    pub(super) fn new() -> Minutes {
        Minutes { begun: Instant::now(), told: AtomicU64::new(0) }
    }

    /// Writes a line to stderr if a minute has passed since the last one, and the bar is not seen.
    pub(super) fn tell(&self, bar: &ProgressBar, line: impl FnOnce() -> String) {
        if bar.is_hidden() && self.is_due(self.begun.elapsed()) {
            eprintln!("{}", line().trim_end());
        }
    }

    fn is_due(&self, elapsed: Duration) -> bool {
        let minute = elapsed.as_secs() / 60;
        self.told.fetch_max(minute, Ordering::Relaxed) < minute
    }
}

/// A bar on stderr; nothing where that is no terminal.
pub(super) fn bar() -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    ProgressBar::with_draw_target(None, target)
}

/// How a bar looks.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute() {
        let minutes = Minutes::new();
        let due = [0, 59, 60, 61, 119, 120, 400, 419, 420]
            .map(|second| minutes.is_due(Duration::from_secs(second)));
        assert_eq!(due, [false, false, true, false, false, true, true, false, true]);
    }

    #[test]
    fn how_far_it_is() {
        let bar = ProgressBar::hidden();
        bar.set_prefix("[2/19] bridge");
        bar.set_position(12);
        assert_eq!(position(&bar), "[2/19] bridge 12");
        bar.set_length(30);
        assert_eq!(position(&bar), "[2/19] bridge 12/30");
    }
}
