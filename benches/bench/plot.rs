//! Plots as SVG, drawn by hand: bars per scenario, each scenario to its own scale, and growth curves.

use super::results::{Curve, Measured, shown};
use std::fmt::Write;

/// Colours that can be told apart, also by the colour-blind (Okabe and Ito); the floor is grey.
fn colour(who: &str) -> &'static str {
    match who {
        "oxrun" => "#0072b2",
        "crun" => "#e69f00",
        "runc" => "#d55e00",
        "youki" => "#009e73",
        "floor" => "#999999",
        _ => "#cc79a7",
    }
}

fn open(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn label(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// A group of bars per scenario; the longest bar of a group has the whole width.
pub fn bars(all: &[Measured]) -> String {
    const BAR: f64 = 14.0;
    const GAP: f64 = 16.0;
    const LEFT: f64 = 420.0;
    const WIDTH: f64 = 380.0;
    let with_values = |m: &Measured| m.series.iter().filter(|s| s.median().is_some()).count();
    let height: f64 = all.iter().map(|m| with_values(m) as f64 * BAR + GAP).sum();
    let mut out = open(LEFT + WIDTH + 140.0, height + 30.0);
    let mut y = 16.0;
    for measured in all {
        let values: Vec<(&str, f64)> =
            measured.series.iter().filter_map(|s| Some((s.who.as_str(), s.median()?))).collect();
        let most = values.iter().map(|(_, v)| *v).fold(f64::MIN_POSITIVE, f64::max);
        label(&mut out, LEFT - 60.0, y + BAR * 0.8, "end", &measured.title);
        for (who, value) in values {
            let width = (value / most * WIDTH).max(1.0);
            label(&mut out, LEFT - 6.0, y + BAR * 0.8, "end", who);
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                BAR - 2.0,
                colour(who)
            );
            label(
                &mut out,
                LEFT + width + 5.0,
                y + BAR * 0.8,
                "start",
                &measured.unit.with(&shown(measured.unit, value)),
            );
            y += BAR;
        }
        y += GAP;
    }
    out.push_str("</svg>\n");
    out
}

/// A line per runtime, both axes from zero but the cost on a logarithmic scale.
pub fn curve(curve: &Curve) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 40.0;
    const WIDTH: f64 = 520.0;
    const HEIGHT: f64 = 280.0;
    let points = || curve.lines.iter().flat_map(|(_, points)| points);
    let most_x = points().map(|p| p.0).fold(1.0, f64::max);
    let low = points().map(|p| p.1).fold(f64::MAX, f64::min).max(0.01);
    let high = points().map(|p| p.1).fold(0.1, f64::max);
    let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
    let place = |(x, y): (f64, f64)| {
        let part = (y.max(low) / low).log10() / (high / low).log10().max(0.1);
        (LEFT + x / most_x * WIDTH, TOP + HEIGHT - part * HEIGHT)
    };
    let mut out = open(LEFT + WIDTH + 90.0, TOP + HEIGHT + 50.0);
    label(&mut out, LEFT, 20.0, "start", &format!("{}: milliseconds", curve.title));
    let mut line = low;
    while line <= high * 1.01 {
        let (_, y) = place((0.0, line));
        let right = LEFT + WIDTH;
        let _ = writeln!(out, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#dddddd\"/>");
        label(&mut out, LEFT - 6.0, y + 4.0, "end", &format!("{}", (line * 100.0).round() / 100.0));
        line *= 10.0;
    }
    for part in 0..=4 {
        let x = most_x * f64::from(part) / 4.0;
        label(&mut out, place((x, low)).0, TOP + HEIGHT + 18.0, "middle", &format!("{x:.0}"));
    }
    label(&mut out, LEFT + WIDTH / 2.0, TOP + HEIGHT + 38.0, "middle", curve.axis);
    for (who, points) in &curve.lines {
        let path: Vec<String> =
            points.iter().map(|p| place(*p)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let colour = colour(who);
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in points.iter().map(|p| place(*p)) {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some((x, y)) = points.last().map(|p| place(*p)) {
            label(&mut out, x + 8.0, y + 4.0, "start", who);
        }
    }
    out.push_str("</svg>\n");
    out
}
