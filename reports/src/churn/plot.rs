//! Plots as SVG: lines over two axes, each linear or logarithmic.

use std::fmt::Write as _;

use crate::text::unmarked;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps are equally long.
    Linear,
    /// Equal ratios are equally long.
    Logarithmic,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it shows.
    pub title: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What the horizontal axis is.
    pub x: String,
    /// What the vertical axis is.
    pub y: String,
    /// How the horizontal axis is divided.
    pub x_scale: Scale,
    /// How the vertical axis is divided.
    pub y_scale: Scale,
    /// Marks of the horizontal axis; chosen where there are none.
    pub x_marks: Vec<(f64, String)>,
    /// The lines.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 48.0;
/// Told apart by people who do not see all colours (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#666666", "#000000"];

/// What an axis spans.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, scale: Scale) -> Axis {
        let usable = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (low, high) = usable
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        match scale {
            Scale::Linear => {
                let high = if high > 0.0 { high } else { 1.0 };
                Axis { low: low.min(0.0), high: nice(high), scale }
            }
            Scale::Logarithmic => {
                let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
                Axis { low, high: if high > low { high } else { low * 10.0 }, scale }
            }
        }
    }

    /// How far along it a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).log10() / (self.high / self.low).log10(),
        }
    }

    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                (0..=4).map(|step| self.low + (self.high - self.low) * f64::from(step) / 4.0).collect()
            }
            Scale::Logarithmic => {
                let (first, last) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
                (first..=last).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

/// The next number with one digit that is 1, 2, 4 or 8.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digits = [1.0, 2.0, 4.0, 8.0, 10.0];
    digits.iter().map(|digit| digit * power).find(|nice| *nice >= value * 0.999_999).unwrap_or(value)
}

fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 1.0 => {
            let whole = format!("{:.0}", value);
            if (value - value.round()).abs() < 0.01 { whole } else { format!("{value:.1}") }
        }
        value => format!("{}", (value * 10_000.0).round() / 10_000.0),
    }
}

impl Plot {
    /// The plot as a document, or a part of an HTML page.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let marked = self.x_marks.iter().map(|(value, _)| *value);
        let x = Axis::of(points().map(|point| point.0).chain(marked), self.x_scale);
        let y = Axis::of(points().map(|point| point.1), self.y_scale);
        let (across, down) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let place_x = |value: f64| LEFT + across * x.place(value);
        let place_y = |value: f64| TOP + down * (1.0 - y.place(value));
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\
             <title>{title}</title><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{title}</text>",
            title = unmarked(&self.title)
        );
        for mark in y.marks() {
            let at = place_y(mark);
            let _ = write!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                number(mark)
            );
        }
        let marks = match self.x_marks.as_slice() {
            [] => x.marks().into_iter().map(|mark| (mark, number(mark))).collect(),
            marks => marks.to_vec(),
        };
        for (mark, text) in marks {
            let at = place_x(mark);
            let _ = write!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                TOP + down,
                TOP + down + 16.0,
                unmarked(&text)
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"14\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {:.1})\">{}</text>",
            LEFT + across / 2.0,
            HEIGHT - 10.0,
            unmarked(&self.x),
            TOP + down / 2.0,
            TOP + down / 2.0,
            unmarked(&self.y)
        );
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let usable = line.points.iter().filter(|(at_x, at_y)| {
                (self.x_scale == Scale::Linear || *at_x > 0.0)
                    && (self.y_scale == Scale::Linear || *at_y > 0.0)
            });
            let places: Vec<String> =
                usable.map(|(at_x, at_y)| format!("{:.1},{:.1}", place_x(*at_x), place_y(*at_y))).collect();
            let _ = write!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                places.join(" ")
            );
            if places.len() <= 12 {
                for place in &places {
                    let (at_x, at_y) = place.split_once(',').unwrap_or_default();
                    let _ = write!(out, "<circle cx=\"{at_x}\" cy=\"{at_y}\" r=\"3\" fill=\"{colour}\"/>");
                }
            }
            let row = TOP + 14.0 + 16.0 * index as f64;
            let _ = write!(
                out,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{:.1}\" y=\"{row:.1}\">{}</text>",
                LEFT + 10.0,
                LEFT + 30.0,
                row - 4.0,
                row - 4.0,
                LEFT + 36.0,
                unmarked(&line.title)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(x_scale: Scale, points: &[(f64, f64)]) -> Plot {
        Plot {
            title: "a < b & \"c\"".to_owned(),
            x: "x".to_owned(),
            y: "y".to_owned(),
            x_scale,
            y_scale: x_scale,
            x_marks: Vec::new(),
            lines: vec![Line { title: "<script>".to_owned(), points: points.to_vec() }],
        }
    }

    #[test]
    fn points_stand_where_they_belong() {
        let svg = plot(Scale::Logarithmic, &[(1.0, 1.0), (10.0, 10.0), (100.0, 100.0)]).svg();
        assert!(svg.contains("points=\"64.0,312.0 384.0,173.0 704.0,34.0\""), "{svg}");
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;") && !svg.contains("<script>"), "{svg}");
    }

    #[test]
    fn any_points_make_a_plot() {
        for points in [&[][..], &[(0.0, 0.0)], &[(0.0, -1.0), (f64::NAN, f64::INFINITY)]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let svg = plot(scale, points).svg();
                assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
            }
        }
        assert_eq!((nice(0.0031), nice(7.0), nice(8.1), nice(1.0)), (0.004, 8.0, 10.0, 1.0));
    }
}
