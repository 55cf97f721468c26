//! A small plot as SVG text: title, two labelled axes with ticks, series of points with lines and ranges.

use std::fmt::Write;

use crate::stats::figure;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 56.0;
const COLOURS: [&str; 6] = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"];

#[derive(Default)]
pub struct Plot {
    pub title: String,
    /// With its unit, as in `connections`.
    pub x: String,
    pub y: String,
    /// Names for places on the x axis; empty: round numbers.
    pub x_names: Vec<(f64, String)>,
    pub series: Vec<Series>,
}

#[derive(Default)]
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
    /// Points are joined by a line.
    pub joined: bool,
}

#[derive(Clone, Copy)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// Drawn as a bar from the one to the other.
    pub range: Option<(f64, f64)>,
}

pub fn point(x: f64, y: f64) -> Point {
    Point { x, y, range: None }
}

/// One axis: values from `low` to `high` lie on pixels from `start` to `end`.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// Round numbers, about six of them.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= self.high + step * 1e-9).collect()
    }
}

pub fn draw(plot: &Plot) -> String {
    let (x, y) = axes(plot);
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut out, (WIDTH / 2.0, 26.0), "middle", "font-size=\"16\" font-weight=\"bold\"", &plot.title);
    draw_axes(&mut out, plot, &x, &y);
    for (series, colour) in plot.series.iter().zip(COLOURS.iter().cycle()) {
        draw_series(&mut out, series, colour, &x, &y);
    }
    draw_legend(&mut out, plot);
    out.push_str("</svg>\n");
    out
}

fn axes(plot: &Plot) -> (Axis, Axis) {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let xs = || points().map(|point| point.x).chain(plot.x_names.iter().map(|name| name.0));
    let (low, high) = xs().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let top = points().map(|point| point.range.map_or(point.y, |range| range.1.max(point.y))).fold(0.0, f64::max);
    let (low, high) = match (low < high, plot.x_names.is_empty()) {
        (true, true) => (low.min(0.0), high),
        (true, false) => (low - 0.3, high + 0.3),
        (false, _) if low == high => (low - 1.0, high + 1.0),
        (false, _) => (0.0, 1.0),
    };
    let top = if top > 0.0 { top * 1.08 } else { 1.0 };
    (
        Axis { low, high, start: LEFT, end: WIDTH - RIGHT },
        Axis { low: 0.0, high: top, start: HEIGHT - BOTTOM, end: TOP },
    )
}

fn draw_axes(out: &mut String, plot: &Plot, x: &Axis, y: &Axis) {
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(out, "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#d0d7de\"/>", x.end);
        text(out, (LEFT - 8.0, at + 4.0), "end", "", &figure(tick));
    }
    let names: Vec<(f64, String)> = match plot.x_names.is_empty() {
        true => x.ticks().into_iter().map(|tick| (tick, figure(tick))).collect(),
        false => plot.x_names.clone(),
    };
    for (tick, name) in names {
        let at = x.at(tick);
        let _ = writeln!(out, "<path d=\"M{at:.1} {:.1}v5\" stroke=\"#24292f\"/>", y.start);
        text(out, (at, y.start + 20.0), "middle", "", &name);
    }
    let _ = writeln!(out, "<path d=\"M{LEFT} {TOP}V{:.1}H{:.1}\" fill=\"none\" stroke=\"#24292f\"/>", y.start, x.end);
    text(out, ((LEFT + x.end) / 2.0, HEIGHT - 12.0), "middle", "", &plot.x);
    let middle = (TOP + y.start) / 2.0;
    text(out, (18.0, middle), "middle", &format!("transform=\"rotate(-90 18 {middle:.1})\""), &plot.y);
}

fn draw_series(out: &mut String, series: &Series, colour: &str, x: &Axis, y: &Axis) {
    if series.joined {
        let path: Vec<String> =
            series.points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.x), y.at(point.y))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
    }
    for point in &series.points {
        let (at_x, at_y) = (x.at(point.x), y.at(point.y));
        if let Some((low, high)) = point.range {
            let _ = writeln!(
                out,
                "<path d=\"M{at_x:.1} {:.1}V{:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                y.at(low),
                y.at(high)
            );
        }
        let _ = writeln!(out, "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
    }
}

fn draw_legend(out: &mut String, plot: &Plot) {
    let mut at = LEFT;
    for (series, colour) in plot.series.iter().zip(COLOURS.iter().cycle()) {
        let _ = writeln!(out, "<rect x=\"{at:.1}\" y=\"44\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        text(out, (at + 18.0, 54.0), "start", "", &series.name);
        at += 40.0 + series.name.chars().count() as f64 * 6.6;
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{words}</text>");
}
