//! What was measured, beside what it is compared with.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) what: String,
    unit: &'static str,
    /// Every run, in the order of the runs.
    runs: Vec<f64>,
    reference: Option<Reference>,
    goal: Option<Goal>,
}

/// The same thing done without us, in the same run.
#[derive(Debug, Clone, PartialEq)]
struct Reference {
    what: &'static str,
    runs: Vec<f64>,
}

/// What the ratio, or the figure where there is nothing to compare with, is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub(super) fn new(what: impl Into<String>, unit: &'static str, runs: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            unit,
            runs,
            reference: None,
            goal: None,
        }
    }

    /// Compares with runs that alternated with ours.
    pub(super) fn against(mut self, what: &'static str, runs: Vec<f64>) -> Self {
        self.reference = Some(Reference { what, runs });
        self
    }

    pub(super) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    fn value(&self) -> f64 {
        median(&self.runs)
    }

    /// The median of the ratios of runs that were neighbours, which a machine that is busy
    /// for a while distorts least; of the medians, where there are not as many of each.
    fn ratio(&self) -> Option<f64> {
        let reference = self.reference.as_ref()?;
        if reference.runs.len() != self.runs.len() {
            return Some(self.value() / median(&reference.runs));
        }
        let pairs = self.runs.iter().zip(&reference.runs);
        let ratios: Vec<_> = pairs.map(|(run, other)| run / other).collect();
        Some(median(&ratios))
    }

    /// Whether the goal is met; nothing where there is none.
    fn met(&self) -> Option<bool> {
        let value = self.ratio().unwrap_or_else(|| self.value());
        Some(match self.goal? {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
        })
    }

    pub(super) fn json(&self) -> Value {
        let reference = self.reference.as_ref().map(|reference| {
            json!({ "what": reference.what, "median": median(&reference.runs), "runs": reference.runs })
        });
        json!({
            "what": self.what, "unit": self.unit, "median": self.value(), "runs": self.runs,
            "reference": reference, "ratio": self.ratio(),
            "goal": self.goal.map(|goal| goal.to_string()), "met": self.met(),
        })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

/// The middle of some runs; of two middles, what lies between. NaN of nothing.
pub(super) fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = sorted.get(half.wrapping_sub(1)).copied();
    (lower.unwrap_or(f64::NAN) + upper) / 2.0
}

/// The figures as a table in Markdown, which a terminal shows as well.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut rows = vec![
        [
            "figure",
            "median",
            "reference",
            "ratio",
            "goal",
            "",
            "spread",
        ]
        .map(str::to_owned),
    ];
    rows.extend(figures.iter().map(row));
    let widths: Vec<usize> = (0..7)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "| {cell:<width$} ");
        }
        out.push_str("|\n");
        if number == 0 {
            out.push_str(&"|---".repeat(widths.len()));
            out.push_str("|\n");
        }
    }
    out
}

fn row(figure: &Figure) -> [String; 7] {
    let reference = figure.reference.as_ref();
    let least = figure.runs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figure
        .runs
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    [
        figure.what.clone(),
        format!("{} {}", short(figure.value()), figure.unit)
            .trim_end()
            .to_owned(),
        reference.map_or_else(String::new, |reference| {
            format!("{} ({})", short(median(&reference.runs)), reference.what)
        }),
        figure
            .ratio()
            .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        figure
            .goal
            .map_or_else(String::new, |goal| goal.to_string()),
        match figure.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
        .to_owned(),
        match figure.runs.len() {
            0 | 1 => String::new(),
            count => format!("{} to {}, {count} runs", short(least), short(most)),
        },
    ]
}

/// Three figures are all that a run is good for.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn neighbours_are_compared_and_not_medians() {
        // The machine was half as fast in the last two rounds.
        let figure = Figure::new("x", "ms", vec![10.0, 20.0, 20.0]);
        let figure = figure.against("by hand", vec![10.0, 20.0, 20.0]);
        assert_eq!(figure.ratio(), Some(1.0));
        let uneven = Figure::new("x", "ms", vec![10.0]).against("by hand", vec![4.0, 5.0, 6.0]);
        assert_eq!(uneven.ratio(), Some(2.0));
    }

    #[test]
    fn a_goal_is_held_against_the_ratio_or_the_figure() {
        let figure = Figure::new("x", "ms", vec![12.0]).goal(Goal::AtMost(10.0));
        assert_eq!(figure.met(), Some(false));
        let figure = figure.against("by hand", vec![6.0]);
        assert_eq!(figure.met(), Some(true));
        assert_eq!(
            Figure::new("x", "/s", vec![9.0])
                .goal(Goal::AtLeast(9.0))
                .met(),
            Some(true)
        );
        assert_eq!(Figure::new("x", "/s", vec![9.0]).met(), None);
    }

    #[test]
    fn a_missed_goal_is_seen_in_the_table() {
        let figure = Figure::new("reloads", "", vec![12.0, 13.0, 11.0]).goal(Goal::AtMost(10.0));
        let table = table(&[figure]);
        let line = table.lines().last().unwrap();
        assert!(line.starts_with("| reloads | 12.0 "), "{table}");
        assert!(line.contains("MISSED"), "{table}");
        assert!(line.contains("11.0 to 13.0, 3 runs"), "{table}");
    }
}
