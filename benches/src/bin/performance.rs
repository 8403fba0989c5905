//! `benches/performance`: the reference plugins beside the Go ones, in turn, and a report of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cnitest::churn::beside::{Beside, beside};
use cnitest::churn::plan::Plan;
use cnitest::churn::{Churn, Mode, Options};
use cnitest_benches::Failed;
use cnitest_benches::crowd::{self, AT_A_TIME, Crowd, TURN, TURNS, crowds};
use cnitest_benches::kernel::{self, Bare, BarePair, bare_pairs};
use cnitest_reports::churn::plot::{Line, Plot, Scale};
use cnitest_reports::churn::statistics::{Estimate, median, ratio_of_medians};
use cnitest_reports::churn::{ChurnRun, html};

/// The deadline of an execution.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is measured: a name, and the plugins of the list. The first [`WITH_A_PAIR`] make a veth pair.
const CASES: [(&str, &str); 4] = [
    (
        "bridge and host-local",
        r#"{ "type": "bridge", "bridge": "perf0", "isDefaultGateway": true, "ipam": { "type": "host-local", "subnet": "10.70.0.0/16" } }"#,
    ),
    (
        "ptp and host-local",
        r#"{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.71.0.0/16" } }"#,
    ),
    (
        "bridge, host-local and portmap",
        r#"{ "type": "bridge", "bridge": "perf0", "isDefaultGateway": true, "hairpinMode": true,
             "ipam": { "type": "host-local", "subnet": "10.72.0.0/16" } },
           { "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true } }"#,
    ),
    (
        "host-local alone",
        r#"{ "type": "host-local", "ipam": { "type": "host-local", "subnet": "10.73.0.0/16" } }"#,
    ),
];

/// How many of the cases make a veth pair.
const WITH_A_PAIR: usize = 3;

/// On how many bridges the containers are among which one more comes and goes: as few as there must be for 4,000, and so
/// many that none has more than 250.
const FEW_BRIDGES: u8 = 4;
const MANY_BRIDGES: u8 = 16;

/// Containers that come and go side by side.
const CONTAINERS: u64 = 400;

fn main() -> ExitCode {
    // This executable is the agent of its arenas, and the spy before delegated plugins.
    cnitest::arena::agent_entry();
    if let Some(spied) = cnitest::churn::spy::called_as() {
        return spied.main();
    }
    match kernel::called_for().map_or_else(run, kernel::measure) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("performance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [reference, go, scratch, report, rest @ ..] = arguments.as_slice() else {
        let usage =
            "usage: performance REFERENCE-DIR GO-DIR SCRATCH-DIR REPORT.md [ROUNDS [SIZES [GO-SIZES]]]";
        return Err(usage.into());
    };
    let word = |index: usize| rest.get(index).and_then(|word| word.to_str());
    let rounds: usize = word(0).unwrap_or("100").parse()?;
    let list = |text: &str| text.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
    let sizes = list(word(1).unwrap_or("1,10,100,1000"))?;
    let go_sizes = word(2).map_or_else(|| Ok(sizes.clone()), list)?;
    let folders = [reference.as_path(), go.as_path()];
    let mut page = Page::new(&machine());
    let mut pairs: [Vec<(f64, f64)>; 2] = Default::default();
    let mut crowded = String::new();
    eprintln!("the kernel by itself");
    let bare = bare_pairs(Bare { rounds, ports: None })?;
    let mut beyond = String::new();
    for (index, (title, plugins)) in CASES.iter().enumerate() {
        eprintln!("{title}");
        let list = scratch.join(format!("{index}.conflist"));
        let text = format!(r#"{{ "cniVersion": "1.0.0", "name": "perf", "plugins": [{plugins}] }}"#);
        std::fs::write(&list, text)?;
        let plan = |folder: &Path| Plan::new(std::slice::from_ref(&list), Some(folder), 1, TIMEOUT);
        let (one, other) = (plan(folders[0])?, plan(folders[1])?);
        let both = beside([&one, &other], rounds)?;
        for (points, one) in pairs.iter_mut().zip(&both) {
            points.push((index as f64 + 1.0, median(one.pair.iter().copied()) / 1000.0));
        }
        page.case(title, &both);
        if index < WITH_A_PAIR {
            let _ = writeln!(beyond, "{}", beyond_kernel(title, &both, &bare));
        }
        eprintln!("{title}, {AT_A_TIME} at a time");
        let _ = writeln!(crowded, "{}", crowd_row(title, &crowds(&list, folders, TIMEOUT)?));
    }
    page.kernel(&bare, &beyond);
    let svg = page.plot(
        report,
        "pairs",
        &Plot {
            title: "ADD and DEL, one after another".to_owned(),
            x: String::new(),
            y: "ms, median".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Logarithmic,
            x_marks: CASES
                .iter()
                .enumerate()
                .map(|(index, (title, _))| (index as f64 + 1.0, (*title).to_owned()))
                .chain([(0.5, String::new()), (4.5, String::new())])
                .collect(),
            lines: ["reference", "Go"]
                .into_iter()
                .zip(&pairs)
                .map(|(name, points)| Line { title: name.to_owned(), points: points.clone() })
                .collect(),
        },
    )?;
    page.text.push_str(&svg);
    let churn = |folder: &Path, options: Options, bridges: u8| -> Result<ChurnRun, Failed> {
        Ok(Churn::new(Plan::new(&[], Some(folder), bridges, TIMEOUT)?, options)?.run(&|_| {})?)
    };
    eprintln!("side by side");
    let load = || crowd::load(CONTAINERS, TIMEOUT);
    let loads = [churn(folders[0], load(), 1)?, churn(folders[1], load(), 1)?];
    page.crowds(&crowded);
    page.loads(&loads);
    let named: Vec<_> = ["reference", "Go"]
        .into_iter()
        .zip(&loads)
        .filter_map(|(name, run)| Some((name, run.load.as_ref()?)))
        .collect();
    let svg = page.plot(
        report,
        "percentiles",
        &html::percentiles(&format!("{AT_A_TIME} at a time: latency by percentile"), &named)?,
    )?;
    page.text.push_str(&svg);
    eprintln!("growth");
    let mut growths = Vec::new();
    for (whose, folder, bridges, sizes) in [
        ("reference", folders[0], FEW_BRIDGES, &sizes),
        ("reference", folders[0], MANY_BRIDGES, &sizes),
        ("Go", folders[1], FEW_BRIDGES, &go_sizes),
    ] {
        let name = format!("{whose}, {bridges} bridges");
        eprintln!("{name}");
        let run = churn(folder, crowd::options(Mode::Growth(sizes.clone()), TIMEOUT), bridges)?;
        growths.push(Grown { name, bridges, run });
    }
    page.growths(&growths);
    page.ports(&growths, rounds)?;
    let named: Vec<(&str, &ChurnRun)> =
        growths.iter().map(|grown| (grown.name.as_str(), &grown.run)).collect();
    let svg = page.plot(report, "growth", &html::growth(&named))?;
    page.text.push_str(&svg);
    std::fs::write(report, page.text)?;
    Ok(())
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{processors} processors, kernel {}, load average {load} before the run", kernel.trim())
}

/// The report.
struct Page {
    text: String,
}

impl Page {
    fn new(machine: &str) -> Page {
        let text = format!(
            "# Performance\n\nMade by `benches/performance`; do not edit. Reference: `cni-plugins`, static. Go: containernetworking/plugins 1.9.1 as Debian\n\
             builds it. Machine: {machine}. Where the load\naverage is not near 0, others used the machine too: the ratios count, \
             not the times, and CPU time more than latency, which then is mostly\nwaiting for others. The two sets took turns, one container each, so that both met the same disturbance.\nIntervals in \
             brackets hold 95 %. Memory is that of the plugin that takes the most, at its last moment; \"its own\" leaves out the pages of files, which \
             all executions of a program share.\n\n## One container after another\n\n\
             | case | reference ADD | Go ADD | reference DEL | Go DEL | Go takes times as long | CPU time | memory of its own, reference | Go | resident, reference | Go |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        Page { text }
    }

    fn case(&mut self, title: &str, [reference, go]: &[Beside; 2]) {
        let ms = |samples: &[f64]| format!("{:.2} ms", median(samples.iter().copied()) / 1000.0);
        let _ = writeln!(
            self.text,
            "| {title} | {} | {} | {} | {} | {} | {} | {} KiB | {} KiB | {} KiB | {} KiB |",
            ms(&reference.add),
            ms(&go.add),
            ms(&reference.del),
            ms(&go.del),
            ratio(&ratio_of_medians(&go.pair, &reference.pair)),
            ratio(&ratio_of_medians(&go.cpu, &reference.cpu)),
            reference.private_kib,
            go.private_kib,
            reference.peak_kib,
            go.peak_kib
        );
        for (whose, one) in [("reference", reference), ("Go", go)] {
            for failure in &one.failures {
                eprintln!(
                    "{whose}: {} {} failed {} times: {}",
                    failure.plugin, failure.operation, failure.count, failure.what
                );
            }
        }
    }

    /// What the kernel takes by itself, and how the two compare beyond that.
    fn kernel(&mut self, bare: &[BarePair], beyond: &str) {
        let ms = |samples: Vec<f64>| median(samples) / 1000.0;
        let create = ms(bare.iter().map(|pair| pair.create).collect());
        let delete = ms(bare.iter().map(|pair| pair.delete).collect());
        let _ = write!(
            self.text,
            "\nWhoever deletes a veth pair waits until the kernel has freed it. By itself, with no plugin, a pair is made in {create:.2} ms \
             and deleted in {delete:.2} ms here,\nmedian: nothing that makes and removes one takes less. What the plugins \
             take beyond that:\n\n| case | reference | Go | Go takes times as long |\n| --- | --- | --- | --- |\n{beyond}"
        );
    }

    /// How many come and go in a second.
    fn crowds(&mut self, rows: &str) {
        let _ = write!(
            self.text,
            "\n## {AT_A_TIME} containers at a time\n\nHere the waits of several overlap, and what the plugins take themselves counts. The two sets \
             took turns, {TURN} containers each, {TURNS} times;\nmedian of the turns.\n\n\
             | case | reference, in a second | Go, in a second | Go takes times as long | failures | leaks | addresses twice |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n{rows}"
        );
    }

    fn loads(&mut self, loads: &[ChurnRun; 2]) {
        let _ = write!(
            self.text,
            "\nLatencies of the chain of bridge, host-local and portmap, {CONTAINERS} containers; the two sets ran one after the other.\n\n\
             | | containers in a second | ADD 50 % | ADD 99 % | DEL 50 % | DEL 99 % | failures | leaks | addresses twice |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        for (name, run) in ["reference", "Go"].into_iter().zip(loads) {
            let Some(load) = &run.load else { continue };
            let of = |operation: &str, late: bool| {
                let timing = load.operations.iter().find(|timing| timing.operation == operation);
                let us = timing
                    .map_or(0, |timing| if late { timing.latency.p99_us } else { timing.latency.p50_us });
                format!("{:.1} ms", us as f64 / 1000.0)
            };
            let _ = writeln!(
                self.text,
                "| {name} | {:.1} | {} | {} | {} | {} | {} | {} | {} |",
                load.throughput,
                of("ADD", false),
                of("ADD", true),
                of("DEL", false),
                of("DEL", true),
                run.failed(),
                run.leaks.count,
                run.duplicates.count
            );
        }
    }

    fn growths(&mut self, growths: &[Grown]) {
        let _ = write!(
            self.text,
            "\n## One more among ever more\n\nThe same chain on {FEW_BRIDGES} bridges, as one bridge of Linux has room for 1,023, and on {MANY_BRIDGES}: the kernel's own work grows with the ports of a\n\
             bridge, see below. Times that of one alone, in an arena beside it at the same time.\n\n| | operation | among | latency | times that of one alone | CPU time, times that of one alone |\n\
             | --- | --- | --- | --- | --- | --- |\n"
        );
        for Grown { name, run, .. } in growths {
            let Some(growth) = &run.growth else { continue };
            for point in &growth.points {
                let _ = writeln!(
                    self.text,
                    "| {name} | {} | {} | {:.2} ms | {} | {} |",
                    point.operation,
                    point.attachments,
                    point.latency.p50_us as f64 / 1000.0,
                    ratio(&point.latency_ratio),
                    ratio(&point.cpu_ratio)
                );
            }
        }
        let _ = write!(
            self.text,
            "\nOrder of growth (0: constant, 1: linear):\n\n| | operation | cost | exponent |\n| --- | --- | --- | --- |\n"
        );
        for Grown { name, run, .. } in growths {
            let Some(growth) = &run.growth else { continue };
            for fit in &growth.fits {
                let _ = writeln!(
                    self.text,
                    "| {name} | {} | {} | {} |",
                    fit.operation,
                    fit.cost,
                    ratio(&fit.exponent)
                );
            }
            if let Some(ended) = &growth.ended {
                let _ = writeln!(self.text, "\n{name} ended early: {ended}\n");
            }
        }
    }

    /// What the kernel takes by itself among ever more ports, and what the plugins take beyond that.
    fn ports(&mut self, growths: &[Grown], rounds: usize) -> Result<(), Failed> {
        let _ = write!(
            self.text,
            "\nWhoever makes an interface a port of a bridge has the kernel walk through the ports that the bridge has, several times. By itself, \
             with no plugin,\na veth pair with one end a port is made in the time of the fourth column, median, where 4 MiB of memory are used \
             in between, as programs do that run there.\nWhat ADD of the whole chain takes beyond that:\n\n\
             | | among | ports of each bridge | the kernel by itself | ADD beyond that |\n| --- | --- | --- | --- | --- |\n"
        );
        let mut measured: BTreeMap<usize, f64> = BTreeMap::new();
        for Grown { name, bridges, run } in growths {
            for point in run.growth.iter().flat_map(|growth| &growth.points) {
                if point.operation != "ADD" {
                    continue;
                }
                let ports = usize::try_from(point.attachments)?.div_ceil((*bridges).into());
                let kernel = match measured.get(&ports) {
                    Some(kernel) => *kernel,
                    None => {
                        let pairs = bare_pairs(Bare { rounds, ports: Some(ports) })?;
                        let kernel = median(pairs.iter().map(|pair| pair.create));
                        measured.insert(ports, kernel);
                        kernel
                    }
                };
                let _ = writeln!(
                    self.text,
                    "| {name} | {} | {ports} | {:.2} ms | {:.2} ms |",
                    point.attachments,
                    kernel / 1000.0,
                    (point.latency.p50_us as f64 - kernel) / 1000.0
                );
            }
        }
        Ok(())
    }

    /// Writes a plot beside the report; returns what shows it there.
    fn plot(&self, report: &Path, name: &str, plot: &Plot) -> Result<String, Failed> {
        let stem = report.file_stem().and_then(|stem| stem.to_str()).ok_or("the report has no name")?;
        let file = format!("{stem}-{name}.svg");
        std::fs::write(report.with_file_name(&file), plot.svg())?;
        Ok(format!("\n![{}]({file})\n", plot.title))
    }
}

/// One more among ever more, as a set of plugins does it.
struct Grown {
    name: String,
    bridges: u8,
    run: ChurnRun,
}

/// A row of the pairs without what the kernel takes for a veth pair by itself.
fn beyond_kernel(title: &str, both: &[Beside; 2], bare: &[BarePair]) -> String {
    let floor = median(bare.iter().map(|pair| pair.create + pair.delete));
    let beyond = |one: &Beside| one.pair.iter().map(|pair| pair - floor).collect::<Vec<f64>>();
    let [reference, go] = both.each_ref().map(beyond);
    let ms = |samples: &[f64]| format!("{:.2} ms", median(samples.iter().copied()) / 1000.0);
    format!("| {title} | {} | {} | {} |", ms(&reference), ms(&go), ratio(&ratio_of_medians(&go, &reference)))
}

/// A row of how many come and go in a second.
fn crowd_row(title: &str, both: &[Crowd; 2]) -> String {
    let [reference, go] = both;
    let in_a_second = |crowd: &Crowd| 1e6 / median(crowd.each.iter().copied());
    format!(
        "| {title} | {:.1} | {:.1} | {} | {} | {} | {} |",
        in_a_second(reference),
        in_a_second(go),
        ratio(&ratio_of_medians(&go.each, &reference.each)),
        beside_each_other(both, |crowd| crowd.failures),
        beside_each_other(both, |crowd| crowd.leaks),
        beside_each_other(both, |crowd| crowd.duplicates)
    )
}

/// The count of the reference, or both where they differ.
fn beside_each_other([reference, go]: &[Crowd; 2], count: fn(&Crowd) -> u64) -> String {
    let (reference, go) = (count(reference), count(go));
    if reference == go { reference.to_string() } else { format!("{reference}, Go {go}") }
}

fn ratio(estimate: &Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", estimate.value, estimate.low, estimate.high)
}
