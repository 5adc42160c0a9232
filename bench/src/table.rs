//! Tables on standard output, and the numbers in them.

use std::io::Write as _;

/// Rows of cells under a head, aligned: the first column to the left, the others to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|text| (*text).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints it as Markdown, so that it can stand in the README as it is.
    pub(crate) fn print(&self, title: &str) {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        say(&format!("\n{title}\n"));
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            say(&format!("| {} |", cells.collect::<Vec<_>>().join(" | ")));
            if number == 0 {
                let rule = widths.iter().enumerate().map(|(column, width)| {
                    if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width.saturating_sub(1))) }
                });
                say(&format!("| {} |", rule.collect::<Vec<_>>().join(" | ")));
            }
        }
    }
}

/// A line on standard output.
pub(crate) fn say(text: &str) {
    // Nobody reads it: the measurement goes on all the same.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// What is being done, on standard error.
pub(crate) fn note(text: &str) {
    writeln!(std::io::stderr(), "… {text}").ok();
}

/// A count with thousands apart.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The value below which a share of sorted values lies; 0 of none.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> f64 {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(sorted.len().saturating_sub(1))).map_or(0.0, |value| f64::from(*value))
}
