//! Signals that reach a spy: they are seen, and have their effect afterwards.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals by which a runtime may ask a plugin to end.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// How often is looked for signals.
const PACE: Duration = Duration::from_millis(5);

/// What came.
pub(super) struct Watch {
    descriptor: Option<SignalFd>,
    seen: Vec<String>,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn begin() -> Watch {
        let mask: SigSet = ENDING.into_iter().collect();
        let _ = mask.thread_block();
        Watch {
            descriptor: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok(),
            seen: Vec::new(),
        }
    }

    /// Waits; answers the signal that ended the wait. A stubborn one waits on.
    pub(super) fn wait(&mut self, time: Duration, stubborn: bool) -> Option<Signal> {
        let clock = Instant::now();
        loop {
            if let Some(signal) = self.look().filter(|_| !stubborn) {
                return Some(signal);
            }
            let left = time.saturating_sub(clock.elapsed());
            if left.is_zero() {
                return None;
            }
            thread::sleep(left.min(PACE));
        }
    }

    fn look(&mut self) -> Option<Signal> {
        let info = self.descriptor.as_ref()?.read_signal().ok()??;
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())?;
        self.seen.push(signal.as_str().to_owned());
        Some(signal)
    }

    /// The signals that came, by name.
    pub(super) fn seen(&mut self) -> Vec<String> {
        while self.look().is_some() {}
        std::mem::take(&mut self.seen)
    }

    /// Has the signal its usual effect on this process.
    pub(super) fn die_of(&self, signal: Signal) -> ! {
        let _ = SigSet::from(signal).thread_unblock();
        let _ = raise(signal);
        // Whoever has it ignored dies all the same.
        std::process::abort()
    }
}
