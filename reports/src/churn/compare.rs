//! Two runs side by side.
//!
//! A figure is a regression when its whole interval lies beyond the threshold. Intervals come of slices of the runs, so that
//! they hold what changed within a run; what differed between the two runs, such as a busier machine, they cannot hold: run
//! both close together on a quiet machine.

use super::statistics::{Estimate, Statistic, ratio_of_means, ratio_of_medians, ratio_of_runs};
use super::{ChurnError, ChurnRun, Distribution, Load, Timing};

/// What of two runs differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// How much worse a figure may be, as a part.
    pub threshold: f64,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What makes the two hard to compare.
    pub notes: Vec<String>,
}

/// A figure of both.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is.
    pub title: String,
    /// In the earlier run.
    pub before: String,
    /// In the later one.
    pub after: String,
    /// The later as a multiple of the earlier, where that says something.
    pub ratio: Option<Estimate>,
    /// Whether it is worse beyond doubt.
    pub regression: bool,
}

impl Comparison {
    /// Compares a run with an earlier one.
    ///
    /// # Errors
    /// When a histogram cannot be read.
    pub fn of(before: &ChurnRun, after: &ChurnRun, threshold: f64) -> Result<Comparison, ChurnError> {
        let mut comparison = Comparison { threshold, figures: Vec::new(), notes: notes(before, after) };
        if let (Some(before), Some(after)) = (&before.load, &after.load) {
            comparison.loads(before, after)?;
        }
        comparison.quiet(before, after)?;
        comparison.growth(before, after);
        comparison.counts(before, after);
        Ok(comparison)
    }

    /// How many figures are worse beyond doubt.
    pub fn regressions(&self) -> usize {
        self.figures.iter().filter(|figure| figure.regression).count()
    }

    fn take(&mut self, title: String, before: String, after: String, ratio: Option<Estimate>) {
        let regression = ratio.is_some_and(|ratio| ratio.is_above(1.0 + self.threshold));
        self.figures.push(Figure { title, before, after, ratio, regression });
    }

    fn loads(&mut self, before: &Load, after: &Load) -> Result<(), ChurnError> {
        let pairs = |before: &[Timing], after: &[Timing]| -> Vec<(Timing, Timing)> {
            let same = |one: &&Timing, other: &Timing| one.title() == other.title();
            before
                .iter()
                .filter_map(|one| Some((one.clone(), after.iter().find(|other| same(&one, other))?.clone())))
                .collect()
        };
        let all = pairs(&before.operations, &after.operations)
            .into_iter()
            .chain(pairs(&before.plugins, &after.plugins));
        for (one, other) in all {
            let (slices, others) = (one.slices()?, other.slices()?);
            let statistics = [
                ("median", Statistic::Quantile(0.5), one.latency.p50_us, other.latency.p50_us),
                ("99 %", Statistic::Quantile(0.99), one.latency.p99_us, other.latency.p99_us),
            ];
            for (name, which, before, after) in statistics {
                let ratio = ratio_of_runs(&others, &slices, which);
                self.take(format!("{}, {name}", one.title()), micros(before), micros(after), ratio);
            }
            let cpu = Some(ratio_of_means(&other.cpu.histogram()?, &one.cpu.histogram()?));
            let mean = |cpu: &Distribution| micros(cpu.mean_us as u64);
            self.take(format!("{}, CPU time", one.title()), mean(&one.cpu), mean(&other.cpu), cpu);
        }
        let rate = |load: &Load| format!("{:.1}/s", load.throughput);
        self.take("throughput".to_owned(), rate(before), rate(after), None);
        Ok(())
    }

    fn quiet(&mut self, before: &ChurnRun, after: &ChurnRun) -> Result<(), ChurnError> {
        for one in &before.quiet {
            let same = |other: &&super::Quiet| {
                (&one.plugin, &one.operation, one.delegated)
                    == (&other.plugin, &other.operation, other.delegated)
            };
            let Some(other) = after.quiet.iter().find(same) else { continue };
            let name = format!("{} {}", one.plugin, one.operation);
            let ratio = ratio_of_medians(&samples(&other.latency)?, &samples(&one.latency)?);
            // Few and one after another: shown, and no reason to fail on.
            self.figures.push(Figure {
                title: format!("{name} alone, median"),
                before: micros(one.latency.p50_us),
                after: micros(other.latency.p50_us),
                ratio: Some(ratio).filter(|ratio| ratio.value.is_finite()),
                regression: false,
            });
            for (what, before, after) in [
                ("memory", one.peak_kib, other.peak_kib),
                ("memory of its own", one.private_kib, other.private_kib),
            ] {
                let share = after as f64 / before.max(1) as f64;
                let exact = Estimate { value: share, low: share, high: share };
                let kib = |kib: u64| format!("{kib} KiB");
                self.take(format!("{name}, {what}"), kib(before), kib(after), Some(exact));
            }
        }
        Ok(())
    }

    fn growth(&mut self, before: &ChurnRun, after: &ChurnRun) {
        let (Some(before), Some(after)) = (&before.growth, &after.growth) else { return };
        for one in &before.fits {
            let same = |other: &&super::Fit| (&one.operation, one.cost) == (&other.operation, other.cost);
            let Some(other) = after.fits.iter().find(same) else { continue };
            let text = |fit: &super::Fit| format!("{:.2}", fit.exponent.value);
            self.figures.push(Figure {
                title: format!("{} {}, order of growth", one.operation, one.cost),
                before: text(one),
                after: text(other),
                ratio: None,
                // A tenth of a power is more than the fits of equal costs differ by.
                regression: other.exponent.low > one.exponent.high + 0.1,
            });
        }
    }

    fn counts(&mut self, before: &ChurnRun, after: &ChurnRun) {
        let counts = [
            ("failures", before.failed(), after.failed()),
            ("leaks", before.leaks.count, after.leaks.count),
            ("duplicate addresses", before.duplicates.count, after.duplicates.count),
        ];
        for (title, before, after) in counts {
            self.figures.push(Figure {
                title: title.to_owned(),
                before: before.to_string(),
                after: after.to_string(),
                ratio: None,
                regression: before == 0 && after > 0,
            });
        }
    }
}

/// What makes two runs hard to compare.
fn notes(before: &ChurnRun, after: &ChurnRun) -> Vec<String> {
    let mut notes = Vec::new();
    if before.options != after.options {
        notes.push("The two runs were asked for different things.".to_owned());
    }
    if before.subject.configuration != after.subject.configuration {
        notes.push("The two runs had different configurations.".to_owned());
    }
    let (machine, other) = (&before.environment, &after.environment);
    if (&machine.kernel, machine.processors) != (&other.kernel, other.processors) {
        notes.push("The two runs were made on different machines.".to_owned());
    }
    if [machine, other].iter().any(|machine| machine.load_average.is_some_and(|load| load >= 0.5)) {
        notes.push("The machine was not quiet.".to_owned());
    }
    notes
}

fn samples(distribution: &Distribution) -> Result<Vec<f64>, ChurnError> {
    let histogram = distribution.histogram()?;
    Ok(histogram
        .iter_recorded()
        .flat_map(|step| {
            let count = usize::try_from(step.count_since_last_iteration()).unwrap_or(0);
            std::iter::repeat_n(step.value_iterated_to() as f64, count)
        })
        .collect())
}

fn micros(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1000.0)
}
