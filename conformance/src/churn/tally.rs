//! Histograms of what was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use cni_spec::Operation;
use cnitest_reports::churn::{Distribution, Timing, encode, histogram, record};
use hdrhistogram::Histogram;

use crate::invoke::Execution;

/// Slices of a run, at most; half as many at least once there is enough.
const SLICES: usize = 40;

/// What is measured.
#[derive(Debug, Default)]
pub(super) struct Tally {
    operations: BTreeMap<Operation, Measured>,
    plugins: BTreeMap<(usize, Operation), Measured>,
    /// Executions, whether they succeeded or not.
    pub(super) executions: u64,
    /// The most memory of an execution.
    pub(super) peak_kib: u64,
}

#[derive(Debug)]
struct Measured {
    latency: Histogram<u64>,
    response: Option<Histogram<u64>>,
    cpu: Histogram<u64>,
    failed: u64,
    slices: Vec<Histogram<u64>>,
    /// How many a slice holds.
    slice_length: u64,
}

impl Default for Measured {
    fn default() -> Measured {
        Measured {
            latency: histogram(),
            response: None,
            cpu: histogram(),
            failed: 0,
            slices: Vec::new(),
            slice_length: 8,
        }
    }
}

impl Measured {
    fn record(&mut self, wall: Duration, cpu: Duration, waited: Option<Duration>) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        record(&mut self.latency, micros(wall));
        record(&mut self.cpu, micros(cpu));
        if let Some(waited) = waited {
            record(self.response.get_or_insert_with(histogram), micros(wall + waited));
        }
        if self.slices.last().is_none_or(|slice| slice.len() >= self.slice_length) {
            if self.slices.len() == SLICES {
                self.halve();
            }
            self.slices.push(histogram());
        }
        if let Some(slice) = self.slices.last_mut() {
            record(slice, micros(wall));
        }
    }

    /// Makes one slice of every two.
    fn halve(&mut self) {
        let mut before = std::mem::take(&mut self.slices).into_iter();
        while let Some(mut first) = before.next() {
            if let Some(second) = before.next() {
                // Histograms that grow by themselves take every value.
                let _ = first.add(&second);
            }
            self.slices.push(first);
        }
        self.slice_length *= 2;
    }

    fn timing(&self, plugin: Option<String>, operation: Operation) -> Timing {
        Timing {
            plugin,
            operation: operation.to_string(),
            failed: self.failed,
            latency: Distribution::of(&self.latency),
            response: self.response.as_ref().map(Distribution::of),
            cpu: Distribution::of(&self.cpu),
            slices: self.slices.iter().map(encode).collect(),
        }
    }
}

impl Tally {
    /// Notes the execution of a plugin.
    pub(super) fn execution(
        &mut self,
        plugin: usize,
        operation: Operation,
        execution: &Execution,
        succeeded: bool,
    ) {
        self.executions += 1;
        self.peak_kib = self.peak_kib.max(execution.peak_rss_kib);
        let measured = self.plugins.entry((plugin, operation)).or_default();
        match succeeded {
            true => measured.record(execution.wall, execution.user_cpu + execution.system_cpu, None),
            false => measured.failed += 1,
        }
    }

    /// Notes a whole operation.
    pub(super) fn operation(
        &mut self,
        operation: Operation,
        wall: Duration,
        cpu: Duration,
        waited: Option<Duration>,
        succeeded: bool,
    ) {
        let measured = self.operations.entry(operation).or_default();
        match succeeded {
            true => measured.record(wall, cpu, waited),
            false => measured.failed += 1,
        }
    }

    /// Whole operations.
    pub(super) fn operations(&self) -> Vec<Timing> {
        self.operations.iter().map(|(operation, measured)| measured.timing(None, *operation)).collect()
    }

    /// Each plugin, by these names.
    pub(super) fn plugins(&self, names: &[String]) -> Vec<Timing> {
        let timing = |((plugin, operation), measured): (&(usize, Operation), &Measured)| {
            measured.timing(names.get(*plugin).cloned(), *operation)
        };
        self.plugins.iter().map(timing).collect()
    }

    /// A quantile of an operation, in microseconds.
    pub(super) fn quantile(&self, operation: Operation, share: f64) -> u64 {
        let measured = self.operations.get(&operation).filter(|measured| !measured.latency.is_empty());
        measured.map_or(0, |measured| measured.latency.value_at_quantile(share))
    }

    /// The mean CPU time of an operation, in microseconds.
    pub(super) fn mean_cpu(&self, operation: Operation) -> f64 {
        let measured = self.operations.get(&operation).filter(|measured| !measured.cpu.is_empty());
        measured.map_or(0.0, |measured| measured.cpu.mean())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_hold_everything_however_long_a_run_is() {
        for count in [1, 7, 8, 9, 320, 321, 5000] {
            let mut measured = Measured::default();
            for micros in 1..=count {
                measured.record(Duration::from_micros(micros), Duration::from_micros(1), None);
            }
            let sum: u64 = measured.slices.iter().map(Histogram::len).sum();
            assert_eq!((sum, measured.latency.len()), (count, count));
            assert!(measured.slices.len() <= SLICES, "{count}: {}", measured.slices.len());
        }
    }

    #[test]
    fn waiting_counts_as_response_only() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        tally.operation(Operation::Add, ms(2), ms(1), Some(ms(10)), true);
        tally.operation(Operation::Add, ms(2), ms(1), Some(ms(0)), false);
        let timing = tally.operations().remove(0);
        assert_eq!((timing.latency.p50_us, timing.failed), (2000, 1));
        let response = timing.response.expect("an open loop").p50_us;
        assert!(response.abs_diff(12_000) <= 8, "within three digits: {response}");
    }
}
