//! What was measured, and its statistics.

/// What the numbers of a scenario are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds, shown as milliseconds.
    Time,
    /// KiB.
    Kib,
    /// Bytes, shown as MiB.
    Bytes,
}

impl Unit {
    /// With its name.
    pub fn with(self, value: &str) -> String {
        let name = match self {
            Unit::Time => "ms",
            Unit::Kib => "KiB",
            Unit::Bytes => "MiB",
        };
        format!("{value} {name}")
    }
}

/// One runtime in one scenario.
#[derive(Clone)]
pub struct Series {
    /// Which runtime.
    pub who: String,
    /// Every measurement, in order.
    pub samples: Vec<f64>,
    /// Why there are no more.
    pub error: Option<String>,
}

/// One scenario.
#[derive(Clone)]
pub struct Measured {
    /// What was done.
    pub title: String,
    /// What the numbers are.
    pub unit: Unit,
    /// One per runtime, in the order of the table.
    pub series: Vec<Series>,
}

/// One line of a growth curve: its runtime, and the points.
pub type Line = (String, Vec<(f64, f64)>);

/// How a cost grows.
pub struct Curve {
    /// The file's name.
    pub name: &'static str,
    /// What was done.
    pub title: &'static str,
    /// What grows.
    pub axis: &'static str,
    /// Medians in milliseconds.
    pub lines: Vec<Line>,
}

impl Series {
    /// The value below which `part` of the samples are.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = part * last as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        Some(low + (high - low) * at.fract())
    }

    /// The middle.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

impl Measured {
    /// The series of a runtime.
    pub fn of(&self, who: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.who == who)
    }

    /// Median of one over median of another.
    pub fn ratio(&self, who: &str, other: &str) -> Option<f64> {
        let (a, b) = (self.of(who)?.median()?, self.of(other)?.median()?);
        (b > 0.0).then_some(a / b)
    }
}

/// A number in the unit of its scenario.
pub fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Time if value < 99_950.0 => format!("{:.2}", value / 1000.0),
        Unit::Time => format!("{:.0}", value / 1000.0),
        Unit::Kib => format!("{value:.0}"),
        Unit::Bytes => format!("{:.2}", value / 1_048_576.0),
    }
}
