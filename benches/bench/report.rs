//! The tables: on the terminal while measuring, and docs/benchmarks.md after a whole run.

use super::results::{Measured, Unit, shown};
use super::{Bench, machine, plot};
use std::fmt::Write;
use std::fs;

/// One line on the terminal.
pub fn say(measured: &Measured) {
    let mut line = format!("{:58}", measured.title);
    for series in &measured.series {
        let value = series.median().map_or("–".to_string(), |m| shown(measured.unit, m));
        let _ = write!(line, " {:>6} {value:>8}", series.who);
    }
    for (who, other) in [("oxrun", "crun"), ("oxrun", "floor")] {
        if let Some(ratio) = measured.ratio(who, other) {
            let _ = write!(line, "  /{other} {ratio:.2}");
        }
    }
    eprintln!("{line}");
}

/// Writes the page and its plots. A quick or partial run leaves the checked-in page alone and writes
/// nothing but what was printed.
pub fn write(bench: &Bench) -> Result<(), String> {
    if bench.options.quick || !bench.options.only.is_empty() || bench.options.docs.as_os_str().is_empty() {
        return Ok(());
    }
    let docs = &bench.options.docs;
    let save = |name: &str, content: &str| {
        fs::write(docs.join(name), content).map_err(|e| format!("write {name}: {e}"))
    };
    save("benchmarks.md", &page(bench))?;
    save("benchmarks-scenarios.svg", &plot::bars(&bench.measured))?;
    for curve in &bench.curves {
        save(&format!("benchmarks-{}.svg", curve.name), &plot::curve(curve))?;
    }
    Ok(())
}

fn page(bench: &Bench) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# Benchmarks\n");
    let _ = writeln!(
        out,
        "Written by `make bench` at commit {}; all numbers are of one run on one machine. In every scenario the\n\
         runtimes take turns, one measurement each per round, after a round that does not count. Times are from\n\
         before the start of a command until it has ended, medians, in milliseconds. `make bench SCENARIO=exec`\n\
         repeats one scenario, `make bench QUICK=1` all of them briefly, both without writing this page.\n",
        bench.options.commit
    );
    let _ = writeln!(out, "| | |\n|---|---|");
    for (what, value) in machine::describe() {
        let _ = writeln!(out, "| {what} | {value} |");
    }
    if bench.hidden_unified {
        let _ = writeln!(
            out,
            "| | cgroup2 has controllers here, which crun refuses on a host with v1: it is unmounted for all of them |"
        );
    }
    for who in bench.who.iter().filter(|w| !w.is_floor) {
        let libraries = match who.libraries() {
            (0, _) => "static".to_string(),
            (count, size) => format!("{count} shared libraries, {} MiB", shown(Unit::Bytes, size as f64)),
        };
        let version =
            who.version().trim_start_matches(&who.name).trim_start_matches(" version").trim().to_string();
        let _ = writeln!(out, "| {} | {version}, {libraries} |", who.name);
    }
    out.push_str(FLOOR);
    table(bench, &mut out);
    spreads(bench, &mut out);
    growth(bench, &mut out);
    out
}

const FLOOR: &str = "
*floor* is [`benches/floor.rs`](../benches/floor.rs): a small static program that makes the same system calls
by hand: the same namespaces, mounts, devices, control groups and limits, capabilities, the finished filter, exec, wait,
removal. It reads no JSON, looks for nothing, checks nothing, keeps almost no state, and reports nothing: what the
kernel and the start of a static program cost, and what no runtime can go below.

Nothing is switched off for the numbers: oxrun parts from its executable, walks the root filesystem by
descriptors, checks what it writes, masks, drops and seals as in every run ([security.md](security.md)).
The containers' `true` is a few bytes of machine code, so that the runtimes are measured and not a C
library's start. Docker's config is that of the tests, without its hook, which is a program of Docker's own.

";

/// The names in the order of the table.
fn names(bench: &Bench) -> Vec<String> {
    bench.who.iter().map(|w| w.name.clone()).collect()
}

fn table(bench: &Bench, out: &mut String) {
    let names = names(bench);
    let others: Vec<&String> = names.iter().skip(1).collect();
    let _ = writeln!(out, "## Scenarios\n\n![one bar per scenario and runtime](benchmarks-scenarios.svg)\n");
    let _ = write!(out, "| scenario |");
    for name in &names {
        let _ = write!(out, " {name} |");
    }
    for other in &others {
        let _ = write!(out, " oxrun/{other} |");
    }
    let _ = writeln!(out, "\n|---|{}", "---:|".repeat(names.len() + others.len()));
    for measured in &bench.measured {
        let unit = match measured.unit {
            Unit::Time => "",
            Unit::Kib => ", KiB",
            Unit::Bytes => ", MiB",
        };
        let _ = write!(out, "| {}{unit} |", measured.title);
        for name in &names {
            let median = measured.of(name).and_then(|s| s.median());
            let _ = write!(out, " {} |", median.map_or("–".to_string(), |m| shown(measured.unit, m)));
        }
        for other in &others {
            let ratio = measured.ratio("oxrun", other);
            let _ = write!(out, " {} |", ratio.map_or("–".to_string(), |r| format!("{r:.2}")));
        }
        out.push('\n');
    }
}

fn spreads(bench: &Bench, out: &mut String) {
    let names = names(bench);
    let _ = writeln!(
        out,
        "\n## Spreads\n\nThe fastest, the quarters and the 95th percentile of each, in milliseconds: \
         min · 25 % · **50 %** · 75 % · 95 % (number of measurements).\n"
    );
    let _ = writeln!(out, "| scenario | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for measured in bench.measured.iter().filter(|m| m.unit == Unit::Time) {
        let _ = write!(out, "| {} |", measured.title);
        for name in &names {
            let Some(series) = measured.of(name).filter(|s| !s.samples.is_empty()) else {
                let _ = write!(out, " – |");
                continue;
            };
            let at = |part| series.quantile(part).map_or(String::new(), |v| shown(Unit::Time, v));
            let (least, low, middle, high, most) = (at(0.0), at(0.25), at(0.5), at(0.75), at(0.95));
            let count = series.samples.len();
            let _ = write!(out, " {least} · {low} · **{middle}** · {high} · {most} ({count}) |");
        }
        out.push('\n');
    }
}

fn growth(bench: &Bench, out: &mut String) {
    let _ = writeln!(out, "\n## Growth\n");
    for curve in &bench.curves {
        let _ = writeln!(out, "![{}](benchmarks-{}.svg)\n", curve.title, curve.name);
    }
    let _ = writeln!(out, "| cost in milliseconds | of what, at how many: median |");
    let _ = writeln!(out, "|---|---|");
    for curve in &bench.curves {
        for (who, points) in &curve.lines {
            let points: Vec<String> = points.iter().map(|(x, y)| format!("{x}: {y:.2}")).collect();
            let _ = writeln!(out, "| {} | {who}, {}: {} |", curve.title, curve.axis, points.join(", "));
        }
    }
}
