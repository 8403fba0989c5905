//! Runs of `cnitest churn`: what attaching and detaching many containers costs, and what goes wrong when it goes on.
//!
//! The JSON form is described by [`schema`]; keys are camelCase, latencies are microseconds, other times milliseconds.

pub mod compare;
pub mod html;
pub mod human;
pub mod plot;
pub mod statistics;

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use self::statistics::{Estimate, Slices};
use crate::model::{ExecutionEvidence, Tool};

/// The version of the format.
pub const CHURN_VERSION: &str = "1";

/// The significant digits of histograms.
const DIGITS: u8 = 3;

/// The JSON Schema (2020-12) of a [`ChurnRun`].
pub fn schema() -> &'static str {
    include_str!("../../../schemas/report/churn.schema.json")
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChurnRun {
    /// [`CHURN_VERSION`].
    pub churn_version: String,
    /// What measured.
    pub tool: Tool,
    /// Where it was measured.
    pub environment: Machine,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// What was measured.
    pub subject: ChurnSubject,
    /// What was asked for.
    pub options: ChurnOptions,
    /// What one attachment after another takes, with nothing else going on; memory is measured here.
    pub quiet: Vec<Quiet>,
    /// Containers that came and went side by side.
    #[serde(default)]
    pub load: Option<Load>,
    /// The next attachment among ever more.
    #[serde(default)]
    pub growth: Option<Growth>,
    /// The same over windows of time.
    #[serde(default)]
    pub soak: Option<Soak>,
    /// What failed, each kind once.
    pub failures: Vec<Failure>,
    /// What was there after the last DEL and not before the first ADD.
    pub leaks: Leaks,
    /// Addresses that two attachments had at the same time.
    pub duplicates: Duplicates,
    /// Whether nothing failed, leaked or was given out twice.
    pub clean: bool,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Architecture, as `uname -m` prints it.
    pub arch: String,
    /// `root` or `user namespace`.
    pub privilege: String,
    /// Processors.
    pub processors: u64,
    /// How many processes wanted to run in the last minute before the run: others share the machine where it is not small.
    pub load_average: Option<f64>,
}

/// Plugins and what they were given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChurnSubject {
    /// What the configuration is called: its file, or `bundled`.
    pub configuration: String,
    /// The networks, by name.
    pub networks: Vec<String>,
    /// The version that was selected.
    pub spec_version: String,
    /// The folder of the plugins; none for the bundled ones.
    pub plugin_dir: Option<String>,
    /// The plugins of the chain in their order, then delegated ones.
    pub plugins: Vec<ChurnPlugin>,
}

/// A plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChurnPlugin {
    /// Its type.
    pub name: String,
    /// The digest of its executable; empty when it cannot be read.
    pub sha256: String,
    /// Whether another plugin executes it.
    pub delegated: bool,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChurnOptions {
    /// How many containers; none until the time is over.
    pub containers: Option<u64>,
    /// How many plugins may run at a time.
    pub concurrency: u64,
    /// For how long, in milliseconds.
    pub duration_ms: Option<f64>,
    /// Containers that arrive in a second, whether the plugins keep up or not; none where each waits for the one before.
    pub rate: Option<f64>,
    /// Attachments that stay all the time.
    pub attached: u64,
    /// Whether each attachment is checked.
    pub check: bool,
    /// The deadline of an execution, in milliseconds.
    pub timeout_ms: u64,
}

/// What one execution after another takes of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quiet {
    /// The plugin.
    pub plugin: String,
    /// The operation.
    pub operation: String,
    /// Whether another plugin executed it; it was watched from between the two then.
    pub delegated: bool,
    /// From start to end.
    pub latency: Distribution,
    /// CPU time, with that of the programs that it executed.
    pub cpu: Distribution,
    /// The most memory that was resident, in KiB: its own, and pages of files, which all executions share.
    pub peak_kib: u64,
    /// The memory of its own, in KiB.
    pub private_kib: u64,
}

/// Containers that came and went side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Load {
    /// Attachments that were added and deleted.
    pub attachments: u64,
    /// Executions of plugins.
    pub executions: u64,
    /// From the first ADD to the last DEL, in milliseconds.
    pub elapsed_ms: f64,
    /// Attachments in a second.
    pub throughput: f64,
    /// The most plugins that ran at the same time.
    pub most_at_once: u64,
    /// The most attachments that were there at the same time.
    pub most_attached: u64,
    /// Whole operations, all plugins of the chain together.
    pub operations: Vec<Timing>,
    /// Each plugin.
    pub plugins: Vec<Timing>,
}

/// How long something took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timing {
    /// The plugin; none for the whole chain.
    pub plugin: Option<String>,
    /// The operation.
    pub operation: String,
    /// How often it failed.
    pub failed: u64,
    /// The executions themselves, of what succeeded.
    pub latency: Distribution,
    /// From the moment at which it should have begun, with an open loop: what waited behind others counts as waiting.
    #[serde(default)]
    pub response: Option<Distribution>,
    /// CPU time, with that of the programs that plugins executed.
    pub cpu: Distribution,
    /// Consecutive parts of the run, each a histogram of latencies as in [`Distribution::histogram`].
    pub slices: Vec<String>,
}

impl Timing {
    /// The slices, prepared for drawing.
    ///
    /// # Errors
    /// When a histogram cannot be read.
    pub fn slices(&self) -> Result<Slices, ChurnError> {
        let histograms: Vec<Histogram<u64>> =
            self.slices.iter().map(|text| decode(text)).collect::<Result<_, _>>()?;
        Ok(Slices::new(&histograms))
    }

    /// What it is about: `ADD`, or `bridge ADD`.
    pub fn title(&self) -> String {
        match &self.plugin {
            Some(plugin) => format!("{plugin} {}", self.operation),
            None => self.operation.clone(),
        }
    }
}

/// A distribution of times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// The least.
    pub min_us: u64,
    /// The mean.
    pub mean_us: f64,
    /// Half are no longer.
    pub p50_us: u64,
    /// 90 % are no longer.
    pub p90_us: u64,
    /// 99 % are no longer.
    pub p99_us: u64,
    /// 99.9 % are no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// All of it, as HdrHistogram writes histograms (V2, compressed), in Base64.
    pub histogram: String,
}

impl Distribution {
    /// The figures of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Distribution {
        let empty = histogram.is_empty();
        let at = |share: f64| if empty { 0 } else { histogram.value_at_quantile(share) };
        Distribution {
            count: histogram.len(),
            min_us: if empty { 0 } else { histogram.min() },
            mean_us: if empty { 0.0 } else { (histogram.mean() * 10.0).round() / 10.0 },
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: if empty { 0 } else { histogram.max() },
            histogram: encode(histogram),
        }
    }

    /// The figures of samples in microseconds.
    pub fn of_samples(samples: impl IntoIterator<Item = f64>) -> Distribution {
        let mut histogram = histogram();
        samples.into_iter().for_each(|sample| record(&mut histogram, sample));
        Distribution::of(&histogram)
    }

    /// All of it.
    ///
    /// # Errors
    /// When the text is no histogram.
    pub fn histogram(&self) -> Result<Histogram<u64>, ChurnError> {
        decode(&self.histogram)
    }
}

/// An empty histogram of microseconds.
///
/// # Panics
/// Never: the number of digits is one that histograms can have.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("a possible number of digits")
}

/// Records a time in microseconds; less than one counts as one, more than a day as a day.
pub fn record(histogram: &mut Histogram<u64>, micros: f64) {
    const DAY: u64 = 86_400_000_000;
    // The histogram grows by itself, up to far more than a day.
    let _ = histogram.record((micros.round() as u64).clamp(1, DAY));
}

/// A histogram as text.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
        Ok(_) => BASE64_STANDARD.encode(bytes),
        // Writing to memory cannot fail, and no count is beyond what the format holds.
        Err(_) => String::new(),
    }
}

fn decode(text: &str) -> Result<Histogram<u64>, ChurnError> {
    let broken = |reason: String| ChurnError::Histogram { reason };
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| broken(error.to_string()))?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| broken(error.to_string()))
}

/// The next attachment among ever more. Each was added and deleted in turn with one in another arena that holds a single
/// attachment, so that what else the machine does touches both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Growth {
    /// How many were there, and what one more took.
    pub points: Vec<GrowthPoint>,
    /// How the costs grow.
    pub fits: Vec<Fit>,
    /// Why it ended before the last size.
    pub ended: Option<String>,
}

/// What one more attachment took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrowthPoint {
    /// Attachments that were there.
    pub attachments: u64,
    /// The operation.
    pub operation: String,
    /// From start to end, all plugins of the chain together.
    pub latency: Distribution,
    /// CPU time.
    pub cpu: Distribution,
    /// The latency as a multiple of that in the other arena, meanwhile.
    pub latency_ratio: Estimate,
    /// The same of CPU time.
    pub cpu_ratio: Estimate,
}

/// How a cost grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fit {
    /// The operation.
    pub operation: String,
    /// Which cost.
    pub cost: Cost,
    /// The exponent: 0 is constant, 1 is linear.
    pub exponent: Estimate,
}

/// A cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Time on the clock.
    Latency,
    /// Time of processors.
    Cpu,
}

/// `latency` or `CPU time`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cost::Latency => "latency",
            Cost::Cpu => "CPU time",
        })
    }
}

/// A run over windows of time; at the end of each everything was detached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Soak {
    /// The windows, in order.
    pub windows: Vec<Window>,
    /// What of it drifts.
    pub drifts: Vec<Drift>,
}

/// A window of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// When it began, in milliseconds from the beginning.
    pub start_ms: f64,
    /// Attachments that came and went.
    pub attachments: u64,
    /// The median of ADD.
    pub add_p50_us: u64,
    /// 99 % of ADD are no longer.
    pub add_p99_us: u64,
    /// The median of DEL.
    pub del_p50_us: u64,
    /// 99 % of DEL are no longer.
    pub del_p99_us: u64,
    /// CPU time of an attachment, ADD and DEL.
    pub cpu_us: f64,
    /// The most memory of an execution.
    pub peak_kib: u64,
    /// What the host held when everything was detached.
    pub held: Held,
}

/// What the host of an arena holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// Interfaces.
    pub links: u64,
    /// Routes of all tables.
    pub routes: u64,
    /// nftables and iptables rules and elements of sets.
    pub rules: u64,
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Processes that plugins left.
    pub processes: u64,
}

/// How a figure drifts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drift {
    /// Which figure.
    pub figure: String,
    /// From the first window to the last, as a part of the median.
    pub change: Estimate,
    /// Whether the interval leaves no doubt that it grows.
    pub grows: bool,
}

/// A kind of failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// The operation.
    pub operation: String,
    /// The plugin that failed.
    pub plugin: String,
    /// How: the error's code and text with what differs from one attachment to the next left out.
    pub what: String,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: ExecutionEvidence,
}

/// What was left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaks {
    /// Things that were left.
    pub count: u64,
    /// Each kind once, the most frequent first.
    pub kinds: Vec<Leak>,
    /// What was there before and is different: no leak, but a change.
    pub changed: Vec<String>,
}

/// A kind of thing that was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leak {
    /// How many.
    pub count: u64,
    /// One of them.
    pub example: String,
}

/// Addresses that two attachments had at the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Duplicates {
    /// How often.
    pub count: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl ChurnRun {
    /// Reads a run.
    ///
    /// # Errors
    /// When it is no run, or one of another version.
    pub fn parse(text: &str) -> Result<ChurnRun, ChurnError> {
        let run: ChurnRun = serde_json::from_str(text).map_err(ChurnError::Json)?;
        match run.churn_version == CHURN_VERSION {
            true => Ok(run),
            false => Err(ChurnError::Version { found: run.churn_version }),
        }
    }

    /// Writes it as JSON, indented, with a newline at the end.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// How many executions failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|failure| failure.count).sum()
    }

    /// Computes [`ChurnRun::clean`] from the rest.
    pub fn finish(&mut self) {
        let grows = self.soak.as_ref().is_some_and(|soak| {
            soak.drifts.iter().any(|drift| drift.grows && Held::NAMES.contains(&drift.figure.as_str()))
        });
        self.clean =
            self.failures.is_empty() && self.leaks.count == 0 && self.duplicates.count == 0 && !grows;
    }
}

impl Held {
    /// The names of the figures, in their order.
    pub const NAMES: [&str; 6] = ["links", "routes", "rules", "files", "bytes", "processes"];

    /// The figures, in the order of their names.
    pub fn figures(&self) -> [u64; 6] {
        [self.links, self.routes, self.rules, self.files, self.bytes, self.processes]
    }
}

/// A run that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChurnError {
    /// It is no JSON, or not this JSON.
    #[error("not a run of churn: {0}")]
    Json(serde_json::Error),
    /// It is of another version.
    #[error(
        "a run of churn in version {found} of the format: this program reads {CHURN_VERSION}; measure again"
    )]
    Version {
        /// The version.
        found: String,
    },
    /// A histogram is broken.
    #[error("a histogram cannot be read: {reason}")]
    Histogram {
        /// Why.
        reason: String,
    },
}
