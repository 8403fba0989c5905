//! One container that comes and goes among ever more that stay.

use std::time::{Duration, Instant};

use cni_spec::Operation;
use cnitest_reports::churn::statistics::{growth, ratio_of_medians};
use cnitest_reports::churn::{Cost, Distribution, Fit, Growth, GrowthPoint};

use super::driver::{Done, Driver};
use super::{Churn, ChurnError, Event};

/// How often one more is added and deleted at each size.
const ROUNDS: usize = 40;
/// The slot of the container that comes and goes; those that stay have the others.
const PROBE: usize = 0;

/// How long the kernel may take to come to rest, for each attachment. Containers that have just got an interface announce
/// themselves to all others: that is the cost of their ADD, not of the next one.
const SETTLING: Duration = Duration::from_millis(10);
/// How long the processors are watched at a time, and the share of their time below which they are at rest.
const WATCHED: Duration = Duration::from_millis(250);
const AT_REST: f64 = 0.05;

/// What one more took, in microseconds.
#[derive(Debug, Default)]
struct Samples {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Samples {
    fn take(&mut self, done: &Done) {
        self.wall.push(done.wall.as_secs_f64() * 1e6);
        self.cpu.push(done.cpu.as_secs_f64() * 1e6);
    }
}

impl Churn {
    pub(super) fn growth(
        &self,
        driver: &mut Driver<'_>,
        sizes: &[usize],
        on_event: &dyn Fn(Event),
    ) -> Result<Growth, ChurnError> {
        let mut other = Driver::start(driver.plan())?;
        let beside = self.attach(&mut other, 1..2, on_event)?.0;
        let mut staying = Vec::new();
        let mut result = Growth { points: Vec::new(), fits: Vec::new(), ended: None };
        // Of each operation: the size, and what was measured at it.
        let mut measured: [Vec<(f64, Samples)>; 2] = Default::default();
        for size in sizes {
            on_event(Event::Phase(format!("attaching up to {size}")));
            let first = staying.len() + 1;
            let (attached, whole) = self.attach(driver, first..size + 1, on_event)?;
            staying.extend(attached);
            if !whole {
                let last = driver.failures().into_iter().find(|failure| failure.operation == "ADD");
                let why = last.map_or_else(
                    || "it was interrupted".to_owned(),
                    |failure| format!("{} ADD: {}", failure.plugin, failure.what),
                );
                result.ended = Some(format!("at {} attachments: {why}", staying.len()));
                break;
            }
            on_event(Event::Phase(format!("waiting until the kernel is at rest, with {size}")));
            rest(SETTLING.saturating_mul(u32::try_from(*size).unwrap_or(u32::MAX)), &|| self.is_cancelled());
            on_event(Event::Phase(format!("one more than {size}")));
            let mut here: [Samples; 2] = Default::default();
            let mut there: [Samples; 2] = Default::default();
            for round in 0..ROUNDS {
                if self.is_cancelled() {
                    break;
                }
                for turn in [round % 2, (round + 1) % 2] {
                    let (driver, samples) = match turn {
                        0 => (&mut *driver, &mut here),
                        _ => (&mut other, &mut there),
                    };
                    if let Some((added, deleted)) = driver.pair(PROBE, 0)? {
                        samples[0].take(&added);
                        samples[1].take(&deleted);
                    }
                }
            }
            for (index, operation) in [Operation::Add, Operation::Del].into_iter().enumerate() {
                let (samples, beside) = (std::mem::take(&mut here[index]), &there[index]);
                if samples.wall.is_empty() || beside.wall.is_empty() {
                    continue;
                }
                result.points.push(GrowthPoint {
                    attachments: *size as u64,
                    operation: operation.to_string(),
                    latency: Distribution::of_samples(samples.wall.iter().copied()),
                    cpu: Distribution::of_samples(samples.cpu.iter().copied()),
                    latency_ratio: ratio_of_medians(&samples.wall, &beside.wall),
                    cpu_ratio: ratio_of_medians(&samples.cpu, &beside.cpu),
                });
                measured[index].push((*size as f64, relative(samples, beside)));
            }
        }
        for (operation, points) in [Operation::Add, Operation::Del].into_iter().zip(&measured) {
            for cost in [Cost::Latency, Cost::Cpu] {
                let of = |samples: &Samples| match cost {
                    Cost::Latency => samples.wall.clone(),
                    Cost::Cpu => samples.cpu.clone(),
                };
                let points: Vec<(f64, Vec<f64>)> =
                    points.iter().map(|(size, samples)| (*size, of(samples))).collect();
                let fit = growth(&points);
                result.fits.extend(fit.map(|exponent| Fit {
                    operation: operation.to_string(),
                    cost,
                    exponent,
                }));
            }
        }
        on_event(Event::Phase("detaching all".to_owned()));
        self.detach(driver, staying, on_event)?;
        self.detach(&mut other, beside, on_event)?;
        driver.adopt(&other);
        Ok(result)
    }
}

/// Waits until the processors have hardly anything to do, or for `patience`.
fn rest(patience: Duration, is_cancelled: &dyn Fn() -> bool) {
    let end = Instant::now() + patience;
    let Some(mut before) = processor_times() else { return };
    while Instant::now() < end && !is_cancelled() {
        std::thread::sleep(WATCHED.min(end.saturating_duration_since(Instant::now())));
        let Some(after) = processor_times() else { return };
        let (idle, all) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
        if all > 0 && all.saturating_sub(idle) as f64 / all as f64 <= AT_REST {
            return;
        }
        before = after;
    }
}

/// The time that all processors were idle, and all of their time.
fn processor_times() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    times(text.lines().next()?)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, ...
fn times(line: &str) -> Option<(u64, u64)> {
    let fields: Option<Vec<u64>> =
        line.strip_prefix("cpu ")?.split_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let fields = fields.filter(|fields| fields.len() == 8)?;
    Some((fields[3] + fields[4], fields.iter().sum()))
}

/// Samples as multiples of the median beside them, so that a machine that became slower meanwhile does not look like growth.
fn relative(samples: Samples, beside: &Samples) -> Samples {
    let median = |all: &[f64]| cnitest_reports::churn::statistics::median(all.iter().copied());
    let by = |all: Vec<f64>, to: f64| all.into_iter().map(|one| one / to.max(1.0)).collect();
    Samples { wall: by(samples.wall, median(&beside.wall)), cpu: by(samples.cpu, median(&beside.cpu)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_told_from_all_time() {
        assert_eq!(times("cpu  100 1 30 500 7 2 9 4 0 0"), Some((507, 653)));
        for other in ["cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3", "cpu  1 2 3 x 5 6 7 8", ""] {
            assert_eq!(times(other), None, "{other}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_asked() {
        rest(Duration::ZERO, &|| false);
        rest(Duration::from_secs(3600), &|| true);
        assert!(processor_times().is_some_and(|(idle, all)| idle <= all && all > 0));
    }
}
