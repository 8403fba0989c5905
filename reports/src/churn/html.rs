//! A page with plots, which needs nothing from elsewhere.

use std::fmt::Write as _;
use std::io;

use super::plot::{Line, Plot, Scale};
use super::{ChurnError, ChurnRun, Load, human};
use crate::human::Style;
use crate::text::unmarked;

/// How the page looks.
const CSS: &str = "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\
                   pre{background:#f6f6f6;padding:1em;overflow-x:auto}svg{max-width:100%;border:1px solid #ddd;margin:.5em 0}";

/// Writes a run as a page.
///
/// # Errors
/// When a histogram cannot be read, or `out` cannot be written to.
pub fn write(run: &ChurnRun, out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = Vec::new();
    human::write(run, &Style { width: 110, ..Style::default() }, &mut table)?;
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>cnitest churn</title><style>{CSS}</style></head>\
         <body>\n<h1>cnitest churn</h1>\n<p>{} {}, {}</p>\n",
        unmarked(&run.tool.name),
        unmarked(&run.tool.version),
        unmarked(&run.started)
    );
    for plot in plots(run).map_err(io::Error::other)? {
        page.push_str(&plot.svg());
    }
    let _ = write!(page, "<pre>{}</pre>\n</body></html>\n", unmarked(&String::from_utf8_lossy(&table)));
    out.write_all(page.as_bytes())
}

/// The plots of a run.
///
/// # Errors
/// When a histogram cannot be read.
pub fn plots(run: &ChurnRun) -> Result<Vec<Plot>, ChurnError> {
    let mut plots = Vec::new();
    if let Some(load) = &run.load {
        plots.push(percentiles("Latency by percentile, whole operations", &[("", load)])?);
        plots.push(over_the_run(load)?);
    }
    if run.growth.is_some() {
        plots.push(growth(&[("", run)]));
    }
    if let Some(soak) = &run.soak {
        let line = |title: &str, of: &dyn Fn(&super::Window) -> f64| Line {
            title: title.to_owned(),
            points: soak.windows.iter().map(|window| (window.start_ms / 1000.0, of(window))).collect(),
        };
        let ms = |us: u64| us as f64 / 1000.0;
        plots.push(Plot {
            title: "Latency over time".to_owned(),
            x: "seconds".to_owned(),
            y: "ms".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_marks: Vec::new(),
            lines: vec![
                line("ADD, median", &|window| ms(window.add_p50_us)),
                line("ADD, 99 %", &|window| ms(window.add_p99_us)),
                line("DEL, median", &|window| ms(window.del_p50_us)),
                line("DEL, 99 %", &|window| ms(window.del_p99_us)),
            ],
        });
        let held = |name: &str, index: usize| line(name, &move |window| window.held.figures()[index] as f64);
        plots.push(Plot {
            title: "What the host holds with nothing attached".to_owned(),
            x: "seconds".to_owned(),
            y: "number".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_marks: Vec::new(),
            lines: vec![held("links", 0), held("routes", 1), held("rules", 2), held("files", 3)],
        });
    }
    Ok(plots)
}

/// Latency over percentiles, the last ones spread out as they matter most. Several runs are told apart by their names.
///
/// # Errors
/// When a histogram cannot be read.
pub fn percentiles(title: &str, runs: &[(&str, &Load)]) -> Result<Plot, ChurnError> {
    const SHARES: [f64; 14] =
        [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999];
    let mut lines = Vec::new();
    for (name, load) in runs {
        for timing in &load.operations {
            let histogram = timing.latency.histogram()?;
            let known = SHARES.iter().filter(|share| (1.0 - **share) * histogram.len() as f64 >= 1.0);
            let ms = |share: f64| histogram.value_at_quantile(share) as f64 / 1000.0;
            let points: Vec<(f64, f64)> = known.map(|share| (1.0 / (1.0 - share), ms(*share))).collect();
            let title = format!("{name} {}", timing.operation).trim().to_owned();
            lines.push(Line { title, points });
        }
    }
    let marks = [("0 %", 1.0), ("50 %", 2.0), ("90 %", 10.0), ("99 %", 100.0), ("99.9 %", 1000.0)];
    Ok(Plot {
        title: title.to_owned(),
        x: "percentile".to_owned(),
        y: "ms".to_owned(),
        x_scale: Scale::Logarithmic,
        y_scale: Scale::Logarithmic,
        x_marks: marks.map(|(text, at)| (at, text.to_owned())).into(),
        lines,
    })
}

fn over_the_run(load: &Load) -> Result<Plot, ChurnError> {
    let mut lines = Vec::new();
    for timing in &load.operations {
        let medians = timing.slices()?.medians();
        let points =
            medians.into_iter().enumerate().map(|(index, us)| (index as f64 + 1.0, us / 1000.0)).collect();
        lines.push(Line { title: format!("{}, median", timing.operation), points });
    }
    Ok(Plot {
        title: "Latency in the course of the run".to_owned(),
        x: "part of the run".to_owned(),
        y: "ms".to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        x_marks: Vec::new(),
        lines,
    })
}

/// The cost of one more among ever more, in milliseconds. Several runs are told apart by their names.
pub fn growth(runs: &[(&str, &ChurnRun)]) -> Plot {
    let mut lines = Vec::new();
    for (name, run) in runs {
        let Some(growth) = &run.growth else { continue };
        for operation in ["ADD", "DEL"] {
            let points = growth.points.iter().filter(|point| point.operation == operation);
            lines.push(Line {
                title: format!("{name} {operation}").trim().to_owned(),
                points: points
                    .map(|point| (point.attachments as f64, point.latency.p50_us as f64 / 1000.0))
                    .collect(),
            });
        }
    }
    let sizes = [1.0, 10.0, 100.0, 1000.0, 4000.0];
    Plot {
        title: "One more attachment among ever more".to_owned(),
        x: "attachments that are there".to_owned(),
        y: "ms, median".to_owned(),
        x_scale: Scale::Logarithmic,
        y_scale: Scale::Logarithmic,
        x_marks: sizes.map(|size| (size, format!("{size}"))).into(),
        lines,
    }
}
