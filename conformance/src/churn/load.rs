//! Containers that come and go side by side.
//!
//! As many as run at a time stay attached meanwhile, and the one that came first goes first: an address that is given out twice
//! shows only while both have it.
//!
//! Closed loop: an operation begins when another ends. Open loop: containers come at a rate, whether the plugins keep
//! up or not, and one that has to wait for its turn counts as waiting from the moment at which it should have been added.
//! Without that a slow plugin would be asked less often while it is slow, and the worst would be missing from the figures
//! (coordinated omission).

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use cni_spec::Operation;
use cnitest_reports::churn::{Drift, Held, Load, Soak, Window};

use super::driver::Driver;
use super::plan::Container;
use super::{Churn, ChurnError, Event, PATIENCE, Pace, leaks};
use cnitest_reports::churn::statistics::drift;

/// What came of it.
struct Came {
    attachments: u64,
    most_attached: usize,
    elapsed: Duration,
}

impl Churn {
    pub(super) fn load(&self, driver: &mut Driver<'_>, on_event: &dyn Fn(Event)) -> Result<Load, ChurnError> {
        // Those that come and go have the slots before.
        let workers = 2 * self.options.concurrency;
        let staying = if self.options.attached > 0 {
            on_event(Event::Phase(format!("attaching {} that stay", self.options.attached)));
            self.attach(driver, workers..workers + self.options.attached, on_event)?.0
        } else {
            Vec::new()
        };
        driver.tally = Default::default();
        driver.most_at_once = 0;
        on_event(Event::Phase("coming and going".to_owned()));
        let came = self.come_and_go(driver, self.options.containers, self.options.duration, on_event)?;
        let tally = std::mem::take(&mut driver.tally);
        let seconds = came.elapsed.as_secs_f64();
        let load = Load {
            attachments: came.attachments,
            executions: tally.executions,
            elapsed_ms: seconds * 1000.0,
            throughput: came.attachments as f64 / seconds.max(f64::MIN_POSITIVE),
            most_at_once: driver.most_at_once as u64,
            most_attached: (came.most_attached + staying.len()) as u64,
            operations: tally.operations(),
            plugins: tally.plugins(&self.plan.plugins),
        };
        if !staying.is_empty() {
            on_event(Event::Phase("detaching those that stayed".to_owned()));
            self.detach(driver, staying, on_event)?;
        }
        Ok(load)
    }

    /// The same in windows of time, after each of which everything is detached.
    pub(super) fn soak(
        &self,
        driver: &mut Driver<'_>,
        windows: usize,
        on_event: &dyn Fn(Event),
    ) -> Result<Soak, ChurnError> {
        let each = |whole: u64| whole.div_ceil(windows.max(1) as u64);
        let containers = self.options.containers.map(each);
        let duration = self.options.duration.map(|whole| whole / u32::try_from(windows).unwrap_or(1).max(1));
        let begun = Instant::now();
        let mut all: Vec<Window> = Vec::new();
        for number in 1..=windows {
            if self.is_cancelled() {
                break;
            }
            on_event(Event::Phase(format!("window {number} of {windows}")));
            driver.tally = Default::default();
            let start_ms = begun.elapsed().as_secs_f64() * 1000.0;
            let came = self.come_and_go(driver, containers, duration, on_event)?;
            let held = leaks::held(&driver.look()?);
            let tally = std::mem::take(&mut driver.tally);
            all.push(Window {
                start_ms,
                attachments: came.attachments,
                add_p50_us: tally.quantile(Operation::Add, 0.5),
                add_p99_us: tally.quantile(Operation::Add, 0.99),
                del_p50_us: tally.quantile(Operation::Del, 0.5),
                del_p99_us: tally.quantile(Operation::Del, 0.99),
                cpu_us: tally.mean_cpu(Operation::Add) + tally.mean_cpu(Operation::Del),
                peak_kib: tally.peak_kib,
                held,
            });
        }
        Ok(Soak { drifts: drifts(&all), windows: all })
    }

    /// So many containers, or as many as come in so long.
    fn come_and_go(
        &self,
        driver: &mut Driver<'_>,
        containers: Option<u64>,
        duration: Option<Duration>,
        on_event: &dyn Fn(Event),
    ) -> Result<Came, ChurnError> {
        let most = self.options.concurrency;
        let mut free: VecDeque<usize> = (0..2 * most).collect();
        let mut live: VecDeque<Container> = VecDeque::new();
        // Before the clock runs: making namespaces is no plugin's work.
        for slot in &free {
            driver.container(*slot, 0)?;
        }
        let nets = self.plan.nets.len();
        let begun = Instant::now();
        let until = duration.and_then(|duration| begun.checked_add(duration));
        let (mut come, mut gone, mut most_attached) = (0_u64, 0_u64, 0_usize);
        let mut tried: HashSet<String> = HashSet::new();
        let mut pace = Pace::new(containers);
        loop {
            let mut patience = PATIENCE;
            let mut more = false;
            while driver.busy() < most {
                more = !self.is_cancelled()
                    && containers.is_none_or(|containers| come < containers)
                    && until.is_none_or(|until| Instant::now() < until);
                if (live.len() >= most || !more)
                    && let Some(container) = live.pop_front()
                {
                    driver.begin(container, Operation::Del, None)?;
                    continue;
                }
                let due = self.options.rate.map(|rate| begun + Duration::from_secs_f64(come as f64 / rate));
                if let Some(early) = due.map(|due| due.saturating_duration_since(Instant::now()))
                    && !early.is_zero()
                {
                    patience = patience.min(early);
                    break;
                }
                if !more {
                    break;
                }
                let Some(slot) = free.pop_front() else { break };
                let container = driver.container(slot, (come % nets as u64) as usize)?;
                driver.begin(container, Operation::Add, due)?;
                come += 1;
            }
            if driver.busy() == 0 && !more && live.is_empty() {
                break;
            }
            if driver.busy() == 0 {
                std::thread::sleep(patience);
                continue;
            }
            for done in driver.pump(patience)? {
                let container = done.container;
                match (done.operation, done.succeeded) {
                    (Operation::Add, true) if self.options.check => {
                        driver.begin(container, Operation::Check, None)?;
                    }
                    // A failed ADD is followed by a DEL, as runtimes do it; that is no attachment that came and went.
                    (Operation::Add, false) => {
                        tried.insert(container.id.clone());
                        driver.begin(container, Operation::Del, None)?;
                    }
                    (Operation::Del, succeeded) => {
                        if !succeeded && tried.insert(container.id.clone()) {
                            driver.begin(container, Operation::Del, None)?;
                            continue;
                        }
                        gone += u64::from(succeeded && container.result.is_some());
                        if !succeeded {
                            driver.renew(container.slot)?;
                        }
                        free.push_back(container.slot);
                    }
                    _ => live.push_back(container),
                }
                most_attached = most_attached.max(live.len());
            }
            pace.tell(gone, driver, on_event);
        }
        Ok(Came { attachments: gone, most_attached, elapsed: begun.elapsed() })
    }
}

/// What drifts over the windows.
fn drifts(windows: &[Window]) -> Vec<Drift> {
    let figure = |name: &str, of: &dyn Fn(&Window) -> f64| {
        let change = drift(&windows.iter().map(of).collect::<Vec<f64>>())?;
        Some(Drift { figure: name.to_owned(), change, grows: change.is_above(0.0) })
    };
    let costs = [
        figure("ADD, median", &|window| window.add_p50_us as f64),
        figure("ADD, 99 %", &|window| window.add_p99_us as f64),
        figure("DEL, median", &|window| window.del_p50_us as f64),
        figure("DEL, 99 %", &|window| window.del_p99_us as f64),
        figure("CPU time", &|window| window.cpu_us),
        figure("memory", &|window| window.peak_kib as f64),
    ];
    let held = Held::NAMES.iter().enumerate();
    let held = held.map(|(index, name)| figure(name, &|window| window.held.figures()[index] as f64));
    costs.into_iter().chain(held).flatten().collect()
}
