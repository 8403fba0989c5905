//! Containers that come and go: attaches and detaches many in one arena, side by side, and measures what it costs.
//!
//! Containers are network namespaces of one arena, so that plugins share the host's side as they do in life: the bridge, the
//! firewall, the store of addresses. Containers use namespaces in turn: what one leaves there meets the next. What plugins
//! read is derived as [`crate::runtime`] derives it, and executions are timed by the arena's agent; neither the deriving nor
//! the bookkeeping between two executions counts.
//!
//! [`plan`] says what is executed, `driver` executes it side by side, `tally` keeps histograms; `load` and `growth` are the kinds
//! of run, [`beside`] has two sets of plugins take turns, and [`spy`] watches plugins.

pub mod beside;
mod driver;
mod growth;
mod leaks;
mod load;
pub mod plan;
pub mod spy;
mod tally;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cni_spec::Operation;
use cnitest_reports::churn::{
    CHURN_VERSION, ChurnOptions, ChurnRun, ChurnSubject, Distribution, Machine, Quiet,
};
use cnitest_reports::model::{Environment, Tool};

use self::driver::Driver;
use self::plan::Plan;
use self::spy::{MEMORY_DIR, Memory, SPY_DIR};
use crate::arena::ArenaError;
use crate::runtime::error::LoadError;
use crate::suite::{environment, rfc3339};

/// Attachments that are made one after another to measure memory.
const MEMORY_ROUNDS: usize = 5;
/// Attachments that are made one after another to measure time.
const QUIET_ROUNDS: usize = 20;

/// The memory that each plugin took for each operation.
type Taken = BTreeMap<(String, String), Memory>;

/// Which plugins a spy stands before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Watched {
    /// None.
    #[default]
    Nobody,
    /// Those that others execute, for their times.
    Delegates,
    /// All, for their memory.
    Memory,
}

impl Watched {
    /// The folder of the spies.
    fn folder(self) -> Option<&'static str> {
        match self {
            Watched::Nobody => None,
            Watched::Delegates => Some(SPY_DIR),
            Watched::Memory => Some(MEMORY_DIR),
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many containers come and go; until the time is over if none.
    pub containers: Option<u64>,
    /// How many plugins may run at a time.
    pub concurrency: usize,
    /// For how long containers come.
    pub duration: Option<Duration>,
    /// Containers that come in a second.
    pub rate: Option<f64>,
    /// Attachments that stay meanwhile.
    pub attached: usize,
    /// Whether every attachment is checked.
    pub check: bool,
    /// What is done.
    pub mode: Mode,
    /// The deadline of an execution.
    pub timeout: Duration,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Containers come and go.
    Load,
    /// One comes and goes among ever more that stay: these numbers.
    Growth(Vec<usize>),
    /// Containers come and go, and after each of so many windows of time it is looked what remains.
    Soak(usize),
}

/// What happens, for progress displays.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something else begins.
    Phase(String),
    /// Containers came and went.
    Progress {
        /// How many have gone.
        attachments: u64,
        /// Of how many, where that is known.
        of: Option<u64>,
        /// In a second, of late.
        rate: f64,
        /// How many executions failed.
        failed: u64,
        /// The median of ADD, in microseconds.
        add_p50_us: u64,
    },
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum ChurnError {
    /// The arena cannot be made, or died.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A configuration is none.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A configuration cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A network cannot be executed.
    #[error("network {name:?}: {reason}")]
    Network {
        /// The network.
        name: String,
        /// Why.
        reason: String,
    },
    /// Two networks have the same name.
    #[error("two networks are called {0:?}: give each a name of its own")]
    SameName(String),
    /// A plugin is missing.
    #[error("no plugin {plugin:?} in {place}: install it there, or name another folder with --plugin-dir")]
    Missing {
        /// The plugin.
        plugin: String,
        /// Where it was looked for.
        place: String,
    },
    /// The folder of plugins cannot be read.
    #[error("cannot use the folder of plugins {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This executable cannot be found.
    #[error("cannot find this executable: {0}")]
    Executable(io::Error),
    /// Nothing can be attached, so nothing can be measured.
    #[error("nothing can be attached: {0}")]
    Useless(String),
    /// CHECK was asked for and the version has none.
    #[error("a network has no CHECK: use version 0.4.0 or newer and no disableCheck, or leave out --check")]
    NoCheck,
}

/// Attaches and detaches containers.
#[derive(Debug)]
pub struct Churn {
    plan: Plan,
    options: Options,
    cancelled: AtomicBool,
}

impl Churn {
    /// What is to be done with these plugins.
    ///
    /// # Errors
    /// When CHECK is asked for and there is none.
    pub fn new(plan: Plan, options: Options) -> Result<Churn, ChurnError> {
        if options.check && !plan.can_check() {
            return Err(ChurnError::NoCheck);
        }
        Ok(Churn { plan, options, cancelled: AtomicBool::new(false) })
    }

    /// Asks the run to end soon: no more containers come, those that are there go.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Does it.
    ///
    /// # Errors
    /// When there can be no arena, or not even one container can be attached.
    pub fn run(&self, on_event: &dyn Fn(Event)) -> Result<ChurnRun, ChurnError> {
        let (clock, started) = (Instant::now(), SystemTime::now());
        let load_average = load_average();
        let mut driver = Driver::start(&self.plan)?;
        on_event(Event::Phase("one after another".to_owned()));
        let quiet = self.quiet(&mut driver)?;
        let mut run = ChurnRun {
            churn_version: CHURN_VERSION.to_owned(),
            tool: Tool { name: "cnitest".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            environment: machine(load_average),
            started: rfc3339(started),
            duration_ms: 0.0,
            subject: ChurnSubject {
                configuration: self.plan.title.clone(),
                networks: self.plan.networks(),
                spec_version: self.plan.version(),
                plugin_dir: self.plan.folder().map(|folder| folder.display().to_string()),
                plugins: self.plan.described(),
            },
            options: self.recorded(),
            quiet,
            load: None,
            growth: None,
            soak: None,
            failures: Vec::new(),
            leaks: Default::default(),
            duplicates: Default::default(),
            clean: false,
        };
        let before = driver.look()?;
        match &self.options.mode {
            Mode::Load => run.load = Some(self.load(&mut driver, on_event)?),
            Mode::Soak(windows) => run.soak = Some(self.soak(&mut driver, *windows, on_event)?),
            Mode::Growth(sizes) => run.growth = Some(self.growth(&mut driver, sizes, on_event)?),
        }
        on_event(Event::Phase("looking for what is left".to_owned()));
        let left_running = driver.arena.kill_left_overs()?;
        run.leaks = leaks::leaks(&before, &driver.look()?, &left_running);
        run.failures = driver.failures();
        run.duplicates = std::mem::take(&mut driver.duplicates);
        run.duration_ms = clock.elapsed().as_secs_f64() * 1000.0;
        run.finish();
        Ok(run)
    }

    fn recorded(&self) -> ChurnOptions {
        let options = &self.options;
        ChurnOptions {
            containers: options.containers,
            concurrency: options.concurrency as u64,
            duration_ms: options.duration.map(|duration| duration.as_secs_f64() * 1000.0),
            rate: options.rate,
            attached: options.attached as u64,
            check: options.check,
            timeout_ms: u64::try_from(options.timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// What one attachment after another takes. Also makes what lasts, such as the bridge, before it is looked what is there.
    fn quiet(&self, driver: &mut Driver<'_>) -> Result<Vec<Quiet>, ChurnError> {
        for net in 0..self.plan.nets.len() {
            if driver.pair(0, net)?.is_some() {
                continue;
            }
            if let Some(failure) = driver.failures().iter().find(|failure| failure.operation == "ADD") {
                let reason = format!("{} ADD: {}", failure.plugin, failure.what);
                return Err(ChurnError::Useless(reason));
            }
        }
        let memory = driver.memory()?;
        driver.tally = Default::default();
        for _ in 0..QUIET_ROUNDS {
            driver.pair(0, 0)?;
        }
        let mut quiet: Vec<Quiet> = std::mem::take(&mut driver.tally)
            .plugins(&self.plan.plugins)
            .into_iter()
            .map(|timing| {
                let plugin = timing.plugin.unwrap_or_default();
                let taken =
                    memory.get(&(plugin.clone(), timing.operation.clone())).copied().unwrap_or_default();
                Quiet {
                    plugin,
                    operation: timing.operation,
                    delegated: false,
                    latency: timing.latency,
                    cpu: timing.cpu,
                    peak_kib: taken.peak_kib,
                    private_kib: taken.private_kib,
                }
            })
            .collect();
        quiet.extend(self.delegated(driver, &memory)?);
        driver.tally = Default::default();
        Ok(quiet)
    }

    /// What delegated plugins take, as spies see it.
    fn delegated(&self, driver: &mut Driver<'_>, memory: &Taken) -> Result<Vec<Quiet>, ChurnError> {
        if self.plan.delegates.is_empty() {
            return Ok(Vec::new());
        }
        let notes = driver.spied(Watched::Delegates, QUIET_ROUNDS)?;
        let mut seen: BTreeMap<(String, String), Vec<spy::Note>> = BTreeMap::new();
        for note in notes {
            seen.entry((note.plugin.clone(), note.operation.clone())).or_default().push(note);
        }
        let quiet = |((plugin, operation), notes): ((String, String), Vec<spy::Note>)| {
            let taken = memory.get(&(plugin.clone(), operation.clone())).copied().unwrap_or_default();
            Quiet {
                plugin,
                operation,
                delegated: true,
                latency: Distribution::of_samples(notes.iter().map(|note| note.wall_us)),
                cpu: Distribution::of_samples(notes.iter().map(|note| note.cpu_us)),
                peak_kib: taken.peak_kib,
                private_kib: taken.private_kib,
            }
        };
        Ok(seen.into_iter().map(quiet).collect())
    }

    /// Attaches containers that stay until [`Self::detach`], in the slots from `first` on, as many at a time as may run. Stops at the
    /// first that fails.
    fn attach(
        &self,
        driver: &mut Driver<'_>,
        slots: std::ops::Range<usize>,
        on_event: &dyn Fn(Event),
    ) -> Result<(Vec<plan::Container>, bool), ChurnError> {
        let (nets, whole) = (self.plan.nets.len(), slots.len());
        let (mut slots, mut attached, mut failed) = (slots, Vec::new(), false);
        let mut pace = Pace::new(Some(whole as u64));
        loop {
            while !failed && !self.is_cancelled() && driver.busy() < self.options.concurrency {
                let Some(slot) = slots.next() else { break };
                let container = driver.container(slot, slot % nets)?;
                driver.begin(container, Operation::Add, None)?;
            }
            if driver.busy() == 0 {
                return Ok((attached, !failed && !self.is_cancelled()));
            }
            for done in driver.pump(PATIENCE)? {
                match (done.operation, done.succeeded) {
                    (Operation::Add, true) => attached.push(done.container),
                    (Operation::Add, false) => {
                        failed = true;
                        driver.begin(done.container, Operation::Del, None)?;
                    }
                    _ => {}
                }
            }
            pace.tell(attached.len() as u64, driver, on_event);
        }
    }

    /// Detaches containers, as many at a time as may run; a failed DEL is tried once more.
    fn detach(
        &self,
        driver: &mut Driver<'_>,
        containers: Vec<plan::Container>,
        on_event: &dyn Fn(Event),
    ) -> Result<(), ChurnError> {
        let mut pace = Pace::new(Some(containers.len() as u64));
        let (mut rest, mut gone) = (containers.into_iter(), 0);
        let mut tried = std::collections::HashSet::new();
        loop {
            while driver.busy() < self.options.concurrency {
                let Some(container) = rest.next() else { break };
                driver.begin(container, Operation::Del, None)?;
            }
            if driver.busy() == 0 {
                return Ok(());
            }
            for done in driver.pump(PATIENCE)? {
                if !done.succeeded && tried.insert(done.container.id.clone()) {
                    driver.begin(done.container, Operation::Del, None)?;
                } else {
                    gone += 1;
                }
            }
            pace.tell(gone, driver, on_event);
        }
    }
}

/// How long nothing may happen before it is looked whether the run was cancelled.
const PATIENCE: Duration = Duration::from_millis(200);

/// Tells now and then how far a run is.
struct Pace {
    of: Option<u64>,
    told: Instant,
    before: u64,
}

impl Pace {
    const EVERY: Duration = Duration::from_millis(250);

    fn new(of: Option<u64>) -> Pace {
        Pace { of, told: Instant::now(), before: 0 }
    }

    fn tell(&mut self, attachments: u64, driver: &Driver<'_>, on_event: &dyn Fn(Event)) {
        let since = self.told.elapsed();
        if since < Pace::EVERY {
            return;
        }
        on_event(Event::Progress {
            attachments,
            of: self.of,
            rate: attachments.saturating_sub(self.before) as f64 / since.as_secs_f64(),
            failed: driver.failed(),
            add_p50_us: driver.tally.quantile(Operation::Add, 0.5),
        });
        (self.told, self.before) = (Instant::now(), attachments);
    }
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn machine(load_average: Option<f64>) -> Machine {
    let Environment { kernel, arch, privilege, .. } = environment(Vec::new());
    Machine {
        kernel,
        arch,
        privilege,
        processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        load_average,
    }
}
