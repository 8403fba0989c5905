//! Progress on stderr: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal as _;

use cnitest::suite::Event;
use cnitest_reports::model::Verdict;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shows how far a run is.
pub(super) struct Progress {
    bar: Mutex<ProgressBar>,
    plugins: usize,
    begun: AtomicUsize,
    failed: AtomicUsize,
}

impl Progress {
    pub(super) fn new(plugins: usize) -> Progress {
        Progress { bar: Mutex::new(bar()), plugins, begun: AtomicUsize::new(0), failed: AtomicUsize::new(0) }
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
                if bar.length() == Some(bar.position()) {
                    bar.finish_and_clear();
                }
            }
        }
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
