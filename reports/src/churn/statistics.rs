//! The statistics of churn: quantiles with confidence intervals, orders of growth, drift.
//!
//! Intervals hold 95 %. They come of the bootstrap with a fixed seed, so that the same figures give the same intervals.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Times that the bootstrap draws.
const ROUNDS: usize = 1000;
/// 97.5 % of the normal distribution.
const Z: f64 = 1.959_964;

/// A figure with its interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Estimate {
    /// Whether the interval lies above a value as a whole.
    pub fn is_above(&self, value: f64) -> bool {
        self.low > value
    }

    fn of(value: f64, mut drawn: Vec<f64>) -> Estimate {
        drawn.retain(|figure| figure.is_finite());
        if drawn.is_empty() {
            return Estimate { value, low: value, high: value };
        }
        drawn.sort_by(f64::total_cmp);
        let at = |share: f64| drawn[((drawn.len() - 1) as f64 * share).round() as usize];
        Estimate { value, low: at(0.025), high: at(0.975) }
    }
}

/// Random numbers of the bootstrap: splitmix64, which is enough to draw from samples.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn new() -> Draw {
        Draw(0x0c41)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }

    /// As many of the samples, each any number of times.
    fn from<'a>(&'a mut self, samples: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        (0..samples.len()).map(|_| samples[self.below(samples.len())])
    }
}

/// The middle of samples; 0 without any.
pub fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = samples.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// The ratio of the medians of samples that were taken side by side.
pub fn ratio_of_medians(samples: &[f64], to: &[f64]) -> Estimate {
    let mut draw = Draw::new();
    let drawn = (0..ROUNDS).map(|_| {
        let above = median(draw.from(samples));
        above / median(draw.from(to))
    });
    let drawn = drawn.collect();
    Estimate::of(median(samples.iter().copied()) / median(to.iter().copied()), drawn)
}

/// The median of samples.
pub fn median_of(samples: &[f64]) -> Estimate {
    let mut draw = Draw::new();
    let drawn = (0..ROUNDS).map(|_| median(draw.from(samples))).collect();
    Estimate::of(median(samples.iter().copied()), drawn)
}

/// The order of growth of a cost: the slope of the logarithm of its median over the logarithm of the size. 0 is constant,
/// 1 linear. A part that does not grow hides one that does: a cost of 10 + n/1000 has a slope near 0 up to n = 1,000.
pub fn growth(points: &[(f64, Vec<f64>)]) -> Option<Estimate> {
    let usable: Vec<&(f64, Vec<f64>)> =
        points.iter().filter(|(size, samples)| *size > 0.0 && !samples.is_empty()).collect();
    if usable.len() < 2 {
        return None;
    }
    let sizes: Vec<f64> = usable.iter().map(|(size, _)| size.ln()).collect();
    let fitted = |medians: Vec<f64>| {
        slope(&sizes, &medians.into_iter().map(|cost| cost.max(f64::MIN_POSITIVE).ln()).collect::<Vec<_>>())
    };
    let value = fitted(usable.iter().map(|(_, samples)| median(samples.iter().copied())).collect());
    let mut draw = Draw::new();
    let drawn = (0..ROUNDS)
        .map(|_| fitted(usable.iter().map(|(_, samples)| median(draw.from(samples))).collect()))
        .collect();
    Some(Estimate::of(value, drawn))
}

/// The slope of the line of least squares.
fn slope(xs: &[f64], ys: &[f64]) -> f64 {
    let count = xs.len() as f64;
    let (mean_x, mean_y) = (xs.iter().sum::<f64>() / count, ys.iter().sum::<f64>() / count);
    let covariance: f64 = xs.iter().zip(ys).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = xs.iter().map(|x| (x - mean_x).powi(2)).sum();
    covariance / variance
}

/// How far a figure drifts over windows of time, from the first to the last, as a part of its median: the slope of
/// Theil and Sen, with the interval of Sen (1968). An interval without 0 in it is drift.
pub fn drift(windows: &[f64]) -> Option<Estimate> {
    let count = windows.len();
    let middle = median(windows.iter().copied());
    if count < 4 || middle == 0.0 {
        return None;
    }
    let mut slopes: Vec<f64> = (0..count)
        .flat_map(|first| {
            (first + 1..count).map(move |last| (windows[last] - windows[first]) / (last - first) as f64)
        })
        .collect();
    slopes.sort_by(f64::total_cmp);
    let n = count as f64;
    let width = Z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let at = |rank: f64| slopes[(rank.round().max(0.0) as usize).min(slopes.len() - 1)];
    let all = slopes.len() as f64;
    let whole = (n - 1.0) / middle;
    Some(Estimate {
        value: median(slopes.iter().copied()) * whole,
        low: at((all - width) / 2.0 - 1.0) * whole,
        high: at((all + width) / 2.0) * whole,
    })
}

/// Histograms of consecutive slices of a run, prepared for drawing slices: neighbouring operations are not independent,
/// slices are nearly.
#[derive(Debug)]
pub struct Slices {
    values: Vec<u64>,
    /// For each slice how often each value is there.
    counts: Vec<Vec<u64>>,
}

impl Slices {
    /// The slices of a run.
    pub fn new(histograms: &[Histogram<u64>]) -> Slices {
        let recorded = |histogram: &Histogram<u64>| -> Vec<(u64, u64)> {
            histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
                .collect()
        };
        let slices: Vec<Vec<(u64, u64)>> = histograms.iter().map(recorded).collect();
        let mut values: Vec<u64> = slices.iter().flatten().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values.dedup();
        let counts = slices.iter().map(|slice| {
            let mut counts = vec![0; values.len()];
            for (value, count) in slice {
                if let Ok(index) = values.binary_search(value) {
                    counts[index] += count;
                }
            }
            counts
        });
        Slices { counts: counts.collect(), values }
    }

    /// The median of each slice.
    pub fn medians(&self) -> Vec<f64> {
        (0..self.counts.len()).map(|slice| self.statistic(&[slice], Statistic::Quantile(0.5))).collect()
    }

    fn statistic(&self, chosen: &[usize], which: Statistic) -> f64 {
        let mut sums = vec![0_u64; self.values.len()];
        for slice in chosen {
            for (sum, count) in sums.iter_mut().zip(&self.counts[*slice]) {
                *sum += count;
            }
        }
        let all: u64 = sums.iter().sum();
        match which {
            Statistic::Mean => {
                let total: f64 = sums.iter().zip(&self.values).map(|(c, v)| *c as f64 * *v as f64).sum();
                total / all as f64
            }
            Statistic::Quantile(share) => {
                let rank = ((all as f64 * share).ceil() as u64).max(1);
                let mut seen = 0;
                let reached = sums.iter().zip(&self.values).find(|(count, _)| {
                    seen += **count;
                    seen >= rank
                });
                reached.map_or(f64::NAN, |(_, value)| *value as f64)
            }
        }
    }

    fn drawn(&self, draw: &mut Draw, which: Statistic) -> f64 {
        let chosen: Vec<usize> = (0..self.counts.len()).map(|_| draw.below(self.counts.len())).collect();
        self.statistic(&chosen, which)
    }
}

/// What is told of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The value that this share of all does not exceed.
    Quantile(f64),
    /// The mean.
    Mean,
}

/// The ratio of a statistic of a run to that of another.
pub fn ratio_of_runs(run: &Slices, to: &Slices, which: Statistic) -> Option<Estimate> {
    if run.values.is_empty() || to.values.is_empty() {
        return None;
    }
    let whole = |slices: &Slices| slices.statistic(&(0..slices.counts.len()).collect::<Vec<_>>(), which);
    let mut draw = Draw::new();
    let drawn = (0..ROUNDS).map(|_| {
        let above = run.drawn(&mut draw, which);
        above / to.drawn(&mut draw, which)
    });
    let drawn = drawn.collect();
    Some(Estimate::of(whole(run) / whole(to), drawn))
}

/// The ratio of the means of many independent samples, with the interval of Fieller's method to the first order.
pub fn ratio_of_means(samples: &Histogram<u64>, to: &Histogram<u64>) -> Estimate {
    let value = samples.mean() / to.mean();
    let spread = |histogram: &Histogram<u64>| {
        (histogram.stdev() / histogram.mean()).powi(2) / (histogram.len() as f64).max(1.0)
    };
    let width = Z * (spread(samples) + spread(to)).sqrt() * value;
    match value.is_finite() && width.is_finite() {
        true => Estimate { value, low: value - width, high: value + width },
        false => Estimate { value: 1.0, low: 0.0, high: f64::MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(base: f64, count: usize) -> Vec<f64> {
        let mut draw = Draw(7);
        (0..count).map(|_| base * (0.9 + 0.2 * draw.below(1000) as f64 / 1000.0)).collect()
    }

    #[test]
    fn orders_of_growth_are_found() {
        let sizes = [1.0, 10.0, 100.0, 1000.0, 4000.0];
        let fitted = |cost: &dyn Fn(f64) -> f64| {
            growth(&sizes.map(|size| (size, noisy(cost(size), 30)))).expect("points")
        };
        let constant = fitted(&|_| 5.0);
        assert!(constant.low <= 0.0 && constant.high >= 0.0 && constant.value.abs() < 0.02, "{constant:?}");
        let linear = fitted(&|size| 2.0 * size);
        assert!((linear.value - 1.0).abs() < 0.02 && linear.is_above(0.9), "{linear:?}");
        let root = fitted(&f64::sqrt);
        assert!((root.value - 0.5).abs() < 0.02, "{root:?}");
        assert_eq!(growth(&[(1.0, vec![1.0])]), None);
        assert_eq!(growth(&[(1.0, vec![1.0]), (2.0, vec![])]), None);
    }

    #[test]
    fn ratios_hold_the_truth() {
        let ratio = ratio_of_medians(&noisy(6.0, 40), &noisy(2.0, 40));
        assert!(ratio.low < 3.0 && ratio.high > 3.0 && ratio.high - ratio.low < 0.5, "{ratio:?}");
        assert_eq!((median([3.0, 1.0, 2.0]), median([4.0, 1.0, 2.0, 3.0]), median([])), (2.0, 2.5, 0.0));
    }

    #[test]
    fn drift_is_told_from_noise() {
        let steady = drift(&noisy(10.0, 20)).expect("windows");
        assert!(steady.low < 0.0 && steady.high > 0.0, "{steady:?}");
        let growing: Vec<f64> = noisy(10.0, 20).iter().enumerate().map(|(i, v)| v + i as f64 * 0.5).collect();
        let growing = drift(&growing).expect("windows");
        assert!(growing.is_above(0.3), "{growing:?}");
        let flat = drift(&[3.0; 8]).expect("windows");
        assert_eq!((flat.value, flat.low, flat.high), (0.0, 0.0, 0.0));
        assert_eq!(drift(&[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn slices_are_drawn_whole() {
        let slice = |base: u64| {
            let mut histogram = Histogram::<u64>::new(3).expect("histogram");
            (0..100).for_each(|step| histogram.record(base + step).expect("within"));
            histogram
        };
        let steady: Vec<Histogram<u64>> = (0..20).map(|_| slice(1000)).collect();
        let slower: Vec<Histogram<u64>> = (0..20).map(|_| slice(2000)).collect();
        let moody: Vec<Histogram<u64>> = (0..20).map(|index| slice(1000 + index % 2 * 2000)).collect();
        let half = Statistic::Quantile(0.5);
        let ratio =
            |a: &[_], b: &[_], which| ratio_of_runs(&Slices::new(a), &Slices::new(b), which).expect("values");
        let twice = ratio(&slower, &steady, half);
        assert!(twice.is_above(1.9) && twice.high < 2.0, "{twice:?}");
        let wide = ratio(&moody, &steady, Statistic::Mean);
        assert!(wide.high - wide.low > 0.5, "slices that differ make a wide interval: {wide:?}");
        assert_eq!(ratio_of_runs(&Slices::new(&[]), &Slices::new(&steady), half), None);
    }
}
